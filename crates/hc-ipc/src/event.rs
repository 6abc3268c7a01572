//! What the peer wants, for whoever owns the checks.

use hc_types::wire::Notification;
use hc_types::{Rejection, SetChange};
use tokio::sync::{mpsc, oneshot};

use crate::Peer;

/// Something that the owner has to know or to do.
#[derive(Debug)]
pub enum IpcEvent {
    /// A peer has connected. It takes the place of one that was connected before, of which nothing more is heard.
    Connected {
        /// Who it is.
        peer: Peer,
    },
    /// The set of checks changes.
    Set {
        /// How.
        change: SetChange,
        /// Checks that came with it and do not run.
        rejected: Vec<Rejection>,
        /// To be answered when the change is in effect.
        reply: SetReply,
    },
    /// The peer asks for the status of every check.
    StatusRequest {
        /// To be answered with it.
        reply: StatusReply,
    },
    /// The peer is gone. Checks run on.
    Disconnected {
        /// Why.
        reason: DisconnectReason,
    },
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DisconnectReason {
    /// The peer closed it.
    #[error("closed by the peer")]
    Closed,
    /// The peer said that it leaves.
    #[error("the peer leaves")]
    Shutdown,
    /// Another connection took its place.
    #[error("replaced by a newer connection")]
    Replaced,
    /// The peer speaks another version of the protocol.
    #[error("the peer speaks protocol {0}")]
    Protocol(u32),
    /// The peer did not read for too long.
    #[error("the peer does not read")]
    Stalled,
    /// Reading or writing failed.
    #[error("{0}")]
    Io(String),
    /// The owner dropped the reply to a set: what is in effect is not known any more.
    #[error("a set was not applied")]
    NotApplied,
    /// The server ends.
    #[error("the server ends")]
    ServerEnds,
}

/// The answer to [`IpcEvent::Set`]. Dropping it ends the connection: the peer will connect and send its set again.
#[derive(Debug)]
pub struct SetReply(pub(crate) oneshot::Sender<Vec<Rejection>>);

impl SetReply {
    /// The change is in effect; from now on batches can be delivered. `rejected` is told to the peer: the checks that
    /// came with the event as rejected, and those that the owner does not run.
    pub fn applied(self, rejected: Vec<Rejection>) {
        // The connection may be gone; the next one sends its own set.
        let _ = self.0.send(rejected);
    }
}

/// The answer to [`IpcEvent::StatusRequest`]. Dropping it answers the request with an error.
#[derive(Debug)]
pub struct StatusReply(pub(crate) oneshot::Sender<Vec<Notification>>);

impl StatusReply {
    /// The status of every check, those not yet probed included. Split over several messages if it must be.
    pub fn statuses(self, statuses: Vec<Notification>) {
        let _ = self.0.send(statuses);
    }
}

/// An event and the number of the connection that it comes from.
pub(crate) type Numbered = (u64, IpcEvent);

/// The events, in order. They must be fetched: no set is taken from the peer while a few wait here.
#[derive(Debug)]
pub struct IpcEvents {
    pub(crate) receiver: mpsc::Receiver<Numbered>,
    pub(crate) latest: u64,
}

impl IpcEvents {
    /// The next event; `None` when the task has ended. What an older connection still had to say after a newer one was
    /// announced is left out, so no stale set overtakes a fresh one.
    ///
    /// # Cancel safety
    /// Dropping the future loses no event.
    pub async fn recv(&mut self) -> Option<IpcEvent> {
        loop {
            let (number, event) = self.receiver.recv().await?;
            if number >= self.latest {
                self.latest = number;
                return Some(event);
            }
        }
    }
}
