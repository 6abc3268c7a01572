//! Lingering close: how the connections of marked probes end.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;

use hc_types::{Outcome, ProbeResult, Target};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

// TCP retransmits, and probes a closed window, after 0.2 s, 0.6 s, 1.4 s and 3 s (RFC 6298 with
// Linux's smallest timeout). A packet that arrives just after its socket is gone is answered
// without the mark, so the limits lie between these moments.

/// How long a connection may linger in all, counted from the verdict.
const LINGER_TIMEOUT: Duration = Duration::from_millis(2200);

/// How many bytes of an answer are read and dropped after the verdict. The rest fills the socket's
/// buffer, and then flow control stops the peer.
const MAX_DRAINED: usize = 256 * 1024;

/// How long a peer that may close first is given to do so.
const PEER_CLOSE_TIMEOUT: Duration = Duration::from_millis(400);

/// How long the socket stays after the peer has closed: if our acknowledgement is lost, the peer
/// retransmits its FIN.
const QUIET: Duration = Duration::from_millis(400);

/// A connection whose exchange is complete and that is about to be closed.
#[derive(Debug)]
pub(crate) struct FinishedConn {
    pub(crate) stream: TcpStream,
    /// TLS: the close_notify alert, encrypted. Empty without TLS.
    pub(crate) close_notify: Vec<u8>,
}

impl From<TcpStream> for FinishedConn {
    fn from(stream: TcpStream) -> Self {
        Self { stream, close_notify: Vec::new() }
    }
}

impl FinishedConn {
    /// Sends close_notify if the send buffer has room. Whether it arrives changes no verdict.
    pub(crate) fn send_close_notify(self) -> TcpStream {
        if !self.close_notify.is_empty() {
            let _: io::Result<usize> = self.stream.try_write(&self.close_notify);
        }
        self.stream
    }

    /// Sends close_notify and FIN in one packet. A peer that gets close_notify alone closes before
    /// we do. If our FIN is then lost, both sides retransmit at the same moment, and our socket is
    /// gone before the peer's FIN arrives.
    fn leave(&self) -> io::Result<()> {
        let socket = SockRef::from(&self.stream);
        if !self.close_notify.is_empty() {
            // Best effort: skip close_notify if the send buffer is full.
            let _: io::Result<usize> = socket.send_with_flags(&self.close_notify, libc::MSG_MORE);
        }
        socket.shutdown(Shutdown::Write)
    }
}

/// Who closes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseOrder {
    /// The peer, if it does so within 400 ms. Then we send nothing any more, and end with a RST
    /// when nothing can come from it: after a FIN our socket would be gone with the first
    /// acknowledgement, and a retransmitted FIN is acknowledged twice.
    Peer,
    /// We do: no answer is expected. What comes nevertheless meets the socket in TIME_WAIT, which
    /// has the mark.
    Us,
}

/// The connection of a marked probe, kept until the peer has closed too, for at most 2.2 s.
///
/// The kernel answers a packet that finds no socket with a RST without the mark, and that RST takes
/// the route of unmarked packets: not to the backend that sent the packet. Session tickets after a
/// TLS handshake and the rest of a long body are such packets.
///
/// An answer that arrives after the deadline of the probe still finds no socket.
#[derive(Debug)]
pub(crate) struct LingeringClose {
    used: FinishedConn,
    first: CloseOrder,
}

impl LingeringClose {
    /// Gives the connection back if it is not marked: then there is nothing to wait for.
    pub(crate) fn of(used: FinishedConn, target: &Target, first: CloseOrder) -> Result<Self, FinishedConn> {
        if target.mark().is_none() { Err(used) } else { Ok(Self { used, first }) }
    }

    /// Like [`of`](Self::of); what is not marked is closed.
    pub(crate) fn or_close(used: FinishedConn, target: &Target, first: CloseOrder) -> Option<Self> {
        let of = Self::of(used, target, first);
        of.map_err(|used| drop(used.send_close_notify())).ok()
    }

    /// Waits for the peer, and closes.
    ///
    /// # Cancel safety
    /// Dropping the future closes the socket.
    pub(crate) async fn outcome((result, rest): (ProbeResult, Option<Self>)) -> Outcome {
        if let Some(rest) = rest {
            rest.finish().await;
        }
        result.outcome
    }

    pub(crate) async fn finish(self) {
        let Self { mut used, first } = self;
        let both = async {
            let mut rest = MAX_DRAINED;
            if first == CloseOrder::Peer {
                match timeout(PEER_CLOSE_TIMEOUT, drain(&used.stream, &mut rest)).await {
                    Ok(Drained::Ended) => {
                        sleep(QUIET).await;
                        return super::reset(used.stream);
                    }
                    // The peer still sends, and will get a RST; close_notify would be lost among
                    // its data.
                    Ok(Drained::Full) => used.close_notify.clear(),
                    Err(_elapsed) => {}
                }
            }
            // Fails if the connection is broken; then nothing more can come.
            if used.leave().is_err() {
                return;
            }
            if drain(&used.stream, &mut rest).await == Drained::Full {
                wait_for_end(&used.stream).await;
            }
        };
        let _elapsed = timeout(LINGER_TIMEOUT, both).await;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drained {
    /// The peer has closed, or the connection is broken.
    Ended,
    /// The limit of bytes was read.
    Full,
}

/// Reads up to `rest` bytes and drops them.
async fn drain(stream: &TcpStream, rest: &mut usize) -> Drained {
    while *rest > 0 {
        if stream.readable().await.is_err() {
            return Drained::Ended;
        }
        // On the stack after the wait, so that the future holds no buffer.
        let mut buffer = [0; 4096];
        match stream.try_read(&mut buffer) {
            Ok(length @ 1..) => *rest = rest.saturating_sub(length),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return Drained::Ended,
        }
    }
    Drained::Full
}

/// Waits for the peer's end without reading.
async fn wait_for_end(stream: &TcpStream) {
    while let Ok(ready) = stream.ready(Interest::READABLE).await {
        if ready.is_read_closed() {
            return;
        }
        let _: io::Result<()> = stream.try_io(Interest::READABLE, || Err(io::ErrorKind::WouldBlock.into()));
    }
}

/// Lingering closes in the background. Dropping the last clone closes all connections at once.
#[derive(Clone, Debug)]
pub(crate) struct Lingering(Rc<RefCell<Ongoing>>);

#[derive(Debug)]
struct Ongoing {
    most: usize,
    tasks: JoinSet<()>,
    /// Oldest first. May hold tasks that have ended.
    order: VecDeque<AbortHandle>,
}

impl Lingering {
    /// At most so many at once, and at least one.
    pub(crate) fn new(most: usize) -> Self {
        Self(Rc::new(RefCell::new(Ongoing { most, tasks: JoinSet::new(), order: VecDeque::new() })))
    }

    /// The result of a probe, whose connection is closed in the background.
    pub(crate) fn result(&self, (result, left): (ProbeResult, Option<LingeringClose>)) -> ProbeResult {
        if let Some(lingering) = left {
            self.finish(lingering);
        }
        result
    }

    /// Adds one. If there are too many, the oldest is closed at once.
    fn finish(&self, lingering: LingeringClose) {
        let Ongoing { most, tasks, order } = &mut *self.0.borrow_mut();
        while tasks.try_join_next().is_some() {}
        while order.front().is_some_and(AbortHandle::is_finished) {
            order.pop_front();
        }
        if order.len() >= *most {
            order.retain(|task| !task.is_finished());
        }
        if order.len() >= *most
            && let Some(oldest) = order.pop_front()
        {
            oldest.abort();
        }
        order.push_back(tasks.spawn(lingering.finish()));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use hc_types::{Mark, Mode};

    use super::*;

    /// A half-closed connection to a peer that does not close, and the peer's side of it.
    async fn close_to(peer: &TcpListener) -> (LingeringClose, std::net::TcpStream) {
        let stream = TcpStream::connect(peer.local_addr().unwrap()).await.unwrap();
        let mark = Mark::new(1 << 16).unwrap();
        let target = Target::marked([127, 0, 0, 1].into(), 1, Mode::Dsr, mark, None);
        (LingeringClose::of(stream.into(), &target, CloseOrder::Peer).unwrap(), peer.accept().unwrap().0)
    }

    /// Lets every task run that can.
    async fn settle() {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn the_oldest_makes_room() {
        let peer = TcpListener::bind("127.0.0.1:0").unwrap();
        let lingering = Lingering::new(2);
        let mut peers = Vec::new();
        let mut begin = async || {
            let (close, side) = close_to(&peer).await;
            lingering.finish(close);
            side.set_nonblocking(true).unwrap();
            peers.push(side);
            settle().await;
            lingering.0.borrow().order.iter().filter(|task| !task.is_finished()).count()
        };
        assert_eq!([begin().await, begin().await, begin().await], [1, 2, 2]);
        assert_eq!(lingering.0.borrow().order.len(), 2);
    }

    #[tokio::test]
    async fn a_peer_that_closes_ends_it() {
        let peer = TcpListener::bind("127.0.0.1:0").unwrap();
        let lingering = Lingering::new(2);
        let (close, side) = close_to(&peer).await;
        let begun = tokio::time::Instant::now();
        lingering.finish(close);
        drop(side);
        let mut tasks = std::mem::take(&mut lingering.0.borrow_mut().tasks);
        assert!(tasks.join_next().await.unwrap().is_ok());
        assert!(begun.elapsed() < LINGER_TIMEOUT, "{:?}", begun.elapsed());
    }

    /// What a peer hears that does this, until we close.
    async fn heard(first: CloseOrder, peer_does: impl FnOnce(&std::net::TcpStream)) -> Vec<u8> {
        let peer = TcpListener::bind("127.0.0.1:0").unwrap();
        let (LingeringClose { mut used, .. }, mut side) = close_to(&peer).await;
        used.close_notify = b"close_notify".to_vec();
        peer_does(&side);
        let listening = std::thread::spawn(move || {
            let mut heard = Vec::new();
            // We end with a FIN, or with a RST.
            let _: std::io::Result<usize> = side.read_to_end(&mut heard);
            heard
        });
        LingeringClose { used, first }.finish().await;
        listening.join().unwrap()
    }

    #[tokio::test]
    async fn a_peer_that_closes_or_does_not_end_is_told_nothing() {
        let closes = |side: &std::net::TcpStream| side.shutdown(Shutdown::Write).unwrap();
        assert_eq!(heard(CloseOrder::Peer, closes).await, b"");
        assert_eq!(heard(CloseOrder::Peer, |_| ()).await, b"close_notify");
        assert_eq!(heard(CloseOrder::Us, |_| ()).await, b"close_notify");
        let says_too_much = |side: &std::net::TcpStream| {
            let mut side = side.try_clone().unwrap();
            // It ends when we do.
            std::thread::spawn(move || side.write_all(&vec![0; 16 << 20]));
        };
        assert_eq!(heard(CloseOrder::Peer, says_too_much).await, b"");
    }

    #[tokio::test]
    async fn what_is_not_marked_is_given_back() {
        let peer = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(peer.local_addr().unwrap()).await.unwrap();
        assert!(
            LingeringClose::of(stream.into(), &Target::plain([127, 0, 0, 1].into(), 1), CloseOrder::Us)
                .is_err()
        );
    }
}
