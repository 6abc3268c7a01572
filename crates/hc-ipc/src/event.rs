//! What the peer wants, for whoever owns the checks.

use std::fmt;

use hc_types::Proposal;
use hc_wire::{Notification, fitting, pieces, writable};
use tokio::sync::{mpsc, oneshot};

use crate::Peer;

/// Something that the owner has to know or to do.
#[derive(Debug)]
pub enum IpcEvent {
    /// A peer has connected and has said its first message. It takes the place of one that was
    /// connected before, of which nothing more is heard, not even its end.
    Connected {
        /// Who it is.
        peer: Peer,
    },
    /// The set of checks changes. If the reply is dropped, the connection ends: the peer will
    /// connect and send its set again. Once it is answered batches can be delivered.
    Set(Proposal),
    /// The peer, or a reader beside it, asks for the status of every check.
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
    /// Another connection took its place. Only in logs: the owner hears [`IpcEvent::Connected`] of
    /// the other one.
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

/// The answer to [`IpcEvent::StatusRequest`]. Dropping it answers the request with an error.
#[derive(Debug)]
pub struct StatusReply(pub(crate) oneshot::Sender<Statuses>);

/// An answer, page by page. A page is made when the one before has been written.
pub(crate) struct Statuses {
    pub(crate) parts: u32,
    pub(crate) pages: Box<dyn Iterator<Item = Vec<Notification>> + Send>,
}

impl fmt::Debug for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statuses").field("parts", &self.parts).finish_non_exhaustive()
    }
}

impl StatusReply {
    /// The status of every check, those not yet probed included. Split over several messages if it
    /// must be.
    pub fn statuses<T: Into<Notification>>(self, statuses: Vec<T>) {
        self.send(pieces(writable(statuses)).into_iter());
    }

    /// The same in pages of the owner's choice, each a message of its own: a page is fetched when
    /// the one before has been written, so an answer about very many checks is never in memory as a
    /// whole. Where a page does not fit into a line, its texts are cut; up to 500 statuses always
    /// fit.
    pub fn pages<I, T>(self, pages: I)
    where
        I: ExactSizeIterator<Item = Vec<T>> + Send + 'static,
        T: Into<Notification> + 'static,
    {
        self.send(pages.map(fitting));
    }

    fn send(self, pages: impl ExactSizeIterator<Item = Vec<Notification>> + Send + 'static) {
        let parts = u32::try_from(pages.len()).unwrap_or(u32::MAX);
        // Whoever asked may be gone.
        let _ = self.0.send(match parts {
            0 => Statuses { parts: 1, pages: Box::new(std::iter::once(Vec::new())) },
            parts => Statuses { parts, pages: Box::new(pages) },
        });
    }
}

/// An event and the number of the connection that it comes from.
pub(crate) type Numbered = (u64, IpcEvent);

/// The number of all readers, which stand beside the connection that is served.
pub(crate) const READER: u64 = 0;

/// The events, in order. They must be fetched: nothing is taken from the peer while they wait.
#[derive(Debug)]
pub struct IpcEvents {
    pub(crate) receiver: mpsc::Receiver<Numbered>,
    pub(crate) latest: u64,
}

impl IpcEvents {
    /// The next event; `None` when the task has ended. What an older connection still had to say
    /// after a newer one was announced is left out, so no stale set overtakes a fresh one.
    ///
    /// # Cancel safety
    /// Dropping the future loses no event.
    pub async fn recv(&mut self) -> Option<IpcEvent> {
        loop {
            let (number, event) = self.receiver.recv().await?;
            if number == READER {
                return Some(event);
            }
            if number >= self.latest {
                self.latest = number;
                return Some(event);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hc_types::SetChange;

    use super::*;

    #[tokio::test]
    async fn nothing_is_heard_of_a_connection_after_a_newer_one_was_announced() {
        let (events, receiver) = mpsc::channel(8);
        let mut heard = IpcEvents { receiver, latest: 0 };
        let peer = Peer { uid: 0, gid: 0, pid: None };
        let set = || {
            let change = SetChange::Full { generation: None, checks: Vec::new() };
            IpcEvent::Set(Proposal::new(change))
        };
        let gone = || IpcEvent::Disconnected { reason: DisconnectReason::Replaced };
        for event in [
            (2, IpcEvent::Connected { peer }),
            (1, IpcEvent::Connected { peer }),
            (1, set()),
            (1, gone()),
            (2, set()),
            (3, IpcEvent::Connected { peer }),
            (2, gone()),
        ] {
            events.send(event).await.unwrap();
        }
        drop(events);
        let mut kinds = Vec::new();
        while let Some(event) = heard.recv().await {
            kinds.push(match event {
                IpcEvent::Connected { .. } => "connected",
                IpcEvent::Set(_) => "set",
                IpcEvent::StatusRequest { .. } => "status request",
                IpcEvent::Disconnected { .. } => "disconnected",
            });
        }
        assert_eq!(kinds, ["connected", "set", "connected"]);
    }
}
