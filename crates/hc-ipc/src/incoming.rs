//! Where connections come from.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, duplex};
use tokio::sync::mpsc;

/// Bytes in flight in each direction of a connection in memory.
const MEMORY_BUFFER: usize = 64 * 1024;

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
    /// Its process, if the system says so.
    pub pid: Option<i32>,
}

/// A source of connections.
pub trait Incoming: Send + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + 'static;

    /// Waits for the next connection of a peer that may be served.
    ///
    /// # Errors
    /// A passing lack of resources, such as descriptors; the caller tries again after a pause.
    ///
    /// # Cancel safety
    /// Dropping the future loses no connection.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;
}

/// Connections without a socket, for tests and for a peer in the same process. Ends when the
/// listener is dropped.
#[must_use]
pub fn memory() -> (MemoryListener, Dialer) {
    let (dial, accept) = mpsc::channel(1);
    (MemoryListener(accept), Dialer(dial))
}

/// The server's end of [`memory`].
#[derive(Debug)]
pub struct MemoryListener(mpsc::Receiver<DuplexStream>);

/// The peer's end of [`memory`].
#[derive(Clone, Debug)]
pub struct Dialer(mpsc::Sender<DuplexStream>);

impl Dialer {
    /// A new connection; `None` when nobody listens any more.
    pub async fn connect(&self) -> Option<DuplexStream> {
        let (ours, theirs) = duplex(MEMORY_BUFFER);
        self.0.send(theirs).await.ok().map(|()| ours)
    }
}

impl Incoming for MemoryListener {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, Peer)> {
        match self.0.recv().await {
            Some(stream) => Ok((stream, Peer { uid: 0, gid: 0, pid: None })),
            // Nobody can dial any more.
            None => std::future::pending().await,
        }
    }
}
