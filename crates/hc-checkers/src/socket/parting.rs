//! How the connections of marked probes end.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;

use hc_types::{Outcome, Target};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

// TCP repeats what is not acknowledged, and asks a closed window, after 0.2 s, 0.6 s, 1.4 s, 3 s (RFC 6298 from Linux's least
// timeout). A socket should not go at one of these moments: what comes just after it finds none. So the limits lie between.

/// How long a peer may take to close, after the verdict.
const FAREWELL: Duration = Duration::from_millis(2200);

/// What is taken of an answer that goes on after the verdict, in bytes. Of a longer one the rest is left to the socket's
/// buffer, and then the peer has to stop.
const REST: usize = 256 * 1024;

/// How long a peer that may close by itself is given to do so.
const PEERS_TURN: Duration = Duration::from_millis(400);

/// How long the connection stays when the peer has closed it: our acknowledgement may be lost, and the peer repeat its FIN.
const QUIET: Duration = Duration::from_millis(400);

/// A connection after its last word.
#[derive(Debug)]
pub(crate) struct Used {
    pub(crate) stream: TcpStream,
    /// The bytes that say so, in TLS.
    pub(crate) goodbye: Vec<u8>,
}

impl From<TcpStream> for Used {
    fn from(stream: TcpStream) -> Self {
        Self { stream, goodbye: Vec::new() }
    }
}

impl Used {
    /// Takes leave, if that needs no waiting. It is politeness: whether it arrives changes no verdict.
    pub(crate) fn say_goodbye(self) -> TcpStream {
        if !self.goodbye.is_empty() {
            let _: io::Result<usize> = self.stream.try_write(&self.goodbye);
        }
        self.stream
    }

    /// Takes leave and closes our side, in one packet: a peer that hears the goodbye alone closes before we do, and then, if our
    /// FIN is lost, both repeat theirs at the same moment, and our socket is gone before the peer's comes.
    fn leave(&self) -> io::Result<()> {
        let socket = SockRef::from(&self.stream);
        if !self.goodbye.is_empty() {
            // A socket that takes no more has better things to say than this.
            let _: io::Result<usize> = socket.send_with_flags(&self.goodbye, libc::MSG_MORE);
        }
        socket.shutdown(Shutdown::Write)
    }
}

/// Who closes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// The peer, if it does so soon. Then we say nothing any more, and end with a RST when nothing can come from it: our socket would
    /// be gone with the first answer to a FIN, and a FIN that is repeated is answered twice.
    Peer,
    /// We do: nothing is to come. What comes nevertheless is for the socket in TIME_WAIT, which has the mark.
    Us,
}

/// The connection of a marked probe after its last word.
///
/// What arrives when the socket is gone is answered by the kernel with a RST that has no mark, and goes wherever packets without
/// one go: not to the backend that spoke. Session tickets behind a TLS handshake and the rest of a long body are such. So the
/// socket stays until the peer has closed, too; but no longer than 2.2 s.
///
/// An answer that comes after the deadline of the probe still finds no socket.
#[derive(Debug)]
pub(crate) struct Parting {
    used: Used,
    first: First,
}

impl Parting {
    /// Gives the connection back when there is nothing to wait for: it is not marked.
    pub(crate) fn of(used: Used, target: &Target, first: First) -> Result<Self, Used> {
        if target.mark().is_none() { Err(used) } else { Ok(Self { used, first }) }
    }

    /// Like [`of`](Self::of); what is not marked is closed.
    pub(crate) fn or_close(used: Used, target: &Target, first: First) -> Option<Self> {
        let of = Self::of(used, target, first);
        of.map_err(|used| drop(used.say_goodbye())).ok()
    }

    /// Waits for the peer, and closes.
    ///
    /// # Cancel safety
    /// Dropping the future closes the socket.
    pub(crate) async fn see_off(self) {
        let Self { mut used, first } = self;
        let both = async {
            let mut rest = REST;
            if first == First::Peer {
                match timeout(PEERS_TURN, drain(&used.stream, &mut rest)).await {
                    Ok(Drained::Ended) => {
                        sleep(QUIET).await;
                        return super::reset(used.stream);
                    }
                    // A peer that is cut short with words unread answers with a RST, and has much on the way.
                    Ok(Drained::Full) => used.goodbye.clear(),
                    Err(_elapsed) => {}
                }
            }
            // It fails where the connection is broken, and then there is nothing to wait for.
            if used.leave().is_err() {
                return;
            }
            if drain(&used.stream, &mut rest).await == Drained::Full {
                wait_for_end(&used.stream).await;
            }
        };
        let _elapsed = timeout(FAREWELL, both).await;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drained {
    /// The peer has closed, or the connection is broken.
    Ended,
    /// All was taken that may be taken.
    Full,
}

/// Takes up to `rest` bytes and forgets them.
async fn drain(stream: &TcpStream, rest: &mut usize) -> Drained {
    while *rest > 0 {
        if stream.readable().await.is_err() {
            return Drained::Ended;
        }
        // Not kept while nothing comes.
        let mut buffer = [0; 4096];
        match stream.try_read(&mut buffer) {
            Ok(length @ 1..) => *rest = rest.saturating_sub(length),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return Drained::Ended,
        }
    }
    Drained::Full
}

/// Waits without reading.
async fn wait_for_end(stream: &TcpStream) {
    while let Ok(ready) = stream.ready(Interest::READABLE).await {
        if ready.is_read_closed() {
            return;
        }
        let _: io::Result<()> = stream.try_io(Interest::READABLE, || Err(io::ErrorKind::WouldBlock.into()));
    }
}

/// Sees connections off beside the probes that follow. Dropping the last clone closes them.
#[derive(Clone, Debug)]
pub(crate) struct Partings(Rc<RefCell<Ongoing>>);

#[derive(Debug)]
struct Ongoing {
    most: usize,
    tasks: JoinSet<()>,
    /// Oldest first. Those that have ended may be left in it.
    order: VecDeque<AbortHandle>,
}

impl Partings {
    /// For at most so many at once, and one at least.
    pub(crate) fn new(most: usize) -> Self {
        Self(Rc::new(RefCell::new(Ongoing { most, tasks: JoinSet::new(), order: VecDeque::new() })))
    }

    /// The outcome of a probe; what it left is seen off.
    pub(crate) fn outcome(&self, (outcome, left): (Outcome, Option<Parting>)) -> Outcome {
        if let Some(parting) = left {
            self.see_off(parting);
        }
        outcome
    }

    /// Takes one more. If there are too many the oldest has had its time.
    fn see_off(&self, parting: Parting) {
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
        order.push_back(tasks.spawn(parting.see_off()));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use hc_types::{Mark, Mode};

    use super::*;

    /// A half-closed connection to a peer that does not close, and the peer's side of it.
    async fn parting(peer: &TcpListener) -> (Parting, std::net::TcpStream) {
        let stream = TcpStream::connect(peer.local_addr().unwrap()).await.unwrap();
        let mark = Mark::new(1 << 16).unwrap();
        let target = Target::marked([127, 0, 0, 1].into(), 1, Mode::Dsr, mark, None);
        (Parting::of(stream.into(), &target, First::Peer).unwrap(), peer.accept().unwrap().0)
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
        let partings = Partings::new(2);
        let mut peers = Vec::new();
        let mut begin = async || {
            let (parting, side) = parting(&peer).await;
            partings.see_off(parting);
            side.set_nonblocking(true).unwrap();
            peers.push(side);
            settle().await;
            partings.0.borrow().order.iter().filter(|task| !task.is_finished()).count()
        };
        assert_eq!([begin().await, begin().await, begin().await], [1, 2, 2]);
        assert_eq!(partings.0.borrow().order.len(), 2);
    }

    #[tokio::test]
    async fn a_peer_that_closes_ends_it() {
        let peer = TcpListener::bind("127.0.0.1:0").unwrap();
        let partings = Partings::new(2);
        let (parting, side) = parting(&peer).await;
        let begun = tokio::time::Instant::now();
        partings.see_off(parting);
        drop(side);
        let mut tasks = std::mem::take(&mut partings.0.borrow_mut().tasks);
        assert!(tasks.join_next().await.unwrap().is_ok());
        assert!(begun.elapsed() < FAREWELL, "{:?}", begun.elapsed());
    }

    /// What a peer hears that does this, until we close.
    async fn heard(first: First, peer_does: impl FnOnce(&std::net::TcpStream)) -> Vec<u8> {
        let peer = TcpListener::bind("127.0.0.1:0").unwrap();
        let (Parting { mut used, .. }, mut side) = parting(&peer).await;
        used.goodbye = b"goodbye".to_vec();
        peer_does(&side);
        let listening = std::thread::spawn(move || {
            let mut heard = Vec::new();
            // We end with a FIN, or with a RST.
            let _: std::io::Result<usize> = side.read_to_end(&mut heard);
            heard
        });
        Parting { used, first }.see_off().await;
        listening.join().unwrap()
    }

    #[tokio::test]
    async fn a_peer_that_closes_or_does_not_end_is_told_nothing() {
        let closes = |side: &std::net::TcpStream| side.shutdown(Shutdown::Write).unwrap();
        assert_eq!(heard(First::Peer, closes).await, b"");
        assert_eq!(heard(First::Peer, |_| ()).await, b"goodbye");
        assert_eq!(heard(First::Us, |_| ()).await, b"goodbye");
        let says_too_much = |side: &std::net::TcpStream| {
            let mut side = side.try_clone().unwrap();
            // It ends when we do.
            std::thread::spawn(move || side.write_all(&vec![0; 16 << 20]));
        };
        assert_eq!(heard(First::Peer, says_too_much).await, b"");
    }

    #[tokio::test]
    async fn what_is_not_marked_is_given_back() {
        let peer = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(peer.local_addr().unwrap()).await.unwrap();
        assert!(Parting::of(stream.into(), &Target::plain([127, 0, 0, 1].into(), 1), First::Us).is_err());
    }
}
