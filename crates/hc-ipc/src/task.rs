//! Accepts connections, serves the newest one, and lets a few read beside it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hc_types::Throttle;
use tokio::select;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::connection::Connection;
use crate::event::Numbered;
use crate::handle::Link;
use crate::parser::Parser;
use crate::reader::Turn;
use crate::seats::Seats;
use crate::throttle::{Chatter, complaint};
use crate::{Incoming, IpcConfig, IpcEvents, IpcHandle, Peer};

/// Events that wait for the owner. One more waits in the connection, which takes no input
/// meanwhile.
const EVENTS: usize = 1;
/// Connections at once: the one that is served, 8 guests (`seats.rs`), and those that are being
/// closed. More wait to be accepted.
const CONNECTIONS: usize = 24;
/// The pause after a failed accept, which is a lack of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves connections: one at a time, and readers beside it.
#[derive(Debug)]
pub struct IpcTask<I> {
    incoming: I,
    config: IpcConfig,
    shutdown: CancellationToken,
    events: mpsc::Sender<Numbered>,
    link: Arc<watch::Sender<Option<Link>>>,
    /// Each connection, also while it is being closed.
    connections: JoinSet<()>,
    seats: Arc<Seats>,
    parser: Parser,
    /// Which reader is answered.
    turn: Arc<Turn>,
    complaints: Throttle,
    chatter: Chatter,
}

/// The task that serves what comes in, the way to the peer, and what the peer wants. The task ends
/// after `shutdown`, or when [`IpcEvents`] is dropped.
///
/// # Errors
/// When the system gives no thread for long lines.
pub fn serve<I: Incoming>(
    incoming: I,
    config: IpcConfig,
    shutdown: CancellationToken,
) -> io::Result<(IpcTask<I>, IpcHandle, IpcEvents)> {
    let (events, receiver) = mpsc::channel(EVENTS);
    let (link, linked) = watch::channel(None);
    let link = Arc::new(link);
    let task = IpcTask {
        incoming,
        config,
        shutdown,
        events,
        link: Arc::clone(&link),
        connections: JoinSet::new(),
        seats: Arc::new(Seats::new(link)),
        parser: Parser::start()?,
        turn: Arc::new(Turn::new()),
        complaints: complaint(),
        chatter: Chatter::new(),
    };
    Ok((task, IpcHandle { link: linked }, IpcEvents { receiver, latest: 0 }))
}

impl<I: Incoming> IpcTask<I> {
    /// Serves until the shutdown. Then the socket is closed and its file removed first, and each
    /// connection gets the farewell time of the configuration for its last lines.
    ///
    /// # Cancel safety
    /// Dropping the future closes everything at once.
    pub async fn run(mut self) {
        loop {
            // All cancel safe: cancellation, `closed`, `join_next`, and `accept` by its contract.
            select! {
                biased;
                () = self.shutdown.cancelled() => break,
                () = self.events.closed() => break,
                Some(ended) = self.connections.join_next() => propagate(ended),
                accepted = self.incoming.accept(), if self.connections.len() < CONNECTIONS => match accepted {
                    Ok((stream, peer)) => self.start(stream, peer),
                    Err(error) => {
                        if let Some(held_back) = self.complaints.pass(Instant::now().into_std()) {
                            tracing::warn!(%error, held_back, "cannot accept connections; trying again");
                        }
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        let Self { incoming, mut connections, shutdown, .. } = self;
        drop(incoming);
        // So that the connections end too when it was the owner who went.
        shutdown.cancel();
        while let Some(ended) = connections.join_next().await {
            propagate(ended);
        }
    }

    fn start(&mut self, stream: I::Stream, peer: Peer) {
        let connection = Connection {
            guest: self.seats.admit(),
            peer,
            config: self.config.clone(),
            events: self.events.clone(),
            link: self.link.clone(),
            shutdown: self.shutdown.clone(),
            chatter: self.chatter.clone(),
            parser: self.parser.clone(),
            turn: self.turn.clone(),
        };
        self.connections.spawn(connection.run(stream));
    }
}

/// A panic in a connection is one of the server.
fn propagate(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}
