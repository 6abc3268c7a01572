//! ICMP and ICMPv6 echo (Seesaw's `healthcheck/ping.go`), with one socket for all probes of a
//! family.

pub mod echo;
mod filter;
mod socket;

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::Poll;
use std::time::Duration;

use hc_types::{Failure, LocalFault, Outcome, Phase, ProbeResult, Target};

use crate::deadline::{self, Progress};
use crate::fault::{self, ProbeError};
use crate::mux::{Backlog, Muxes, Turn, Waiters};
use echo::{Family, Heard};
use socket::{EchoSocket, SendError};

/// Requests that may leave before replies are read, so that those of a burst do not overflow the
/// socket's buffer.
const UNREAD: u32 = 64;

/// How often a socket is read for one last look, so that it ends even if more comes in than is
/// taken out.
const MOST_BATCHES: usize = 64;

/// Identifiers of raw sockets: no two of this process are the same, and other processes have
/// others, most likely.
static NEXT_ID: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(rand::random()));

/// Pings any number of hosts through one socket per address family, opened when it is first needed.
/// Clones share it.
///
/// Replies are matched by the sender's address, the identifier and the sequence number; whatever
/// else arrives is ignored. One of the waiting probes reads for all of them, so a pinger at rest
/// costs nothing and has no task.
///
/// It lives on the runtime of its first probe.
#[derive(Clone, Debug, Default)]
pub struct Pinger {
    muxes: Muxes<EchoMux>,
}

impl Pinger {
    /// Sends one echo request of 64 bytes to `target`, with its mark, and passes when the reply
    /// comes. The port of the target means nothing.
    ///
    /// An ICMP error about this very request is [`Failure::Unreachable`]. Without the privilege for
    /// either kind of socket (`CAP_NET_RAW`, or a group in `net.ipv4.ping_group_range`), or for the
    /// mark (`CAP_NET_ADMIN`, or `CAP_NET_RAW` since Linux 5.17), the outcome is inconclusive.
    ///
    /// `timeout` is the deadline of all of it, from the first poll.
    ///
    /// # Panics
    /// Outside a tokio runtime with time and I/O enabled.
    ///
    /// # Cancel safety
    /// Dropping the future frees its sequence number; a reply that comes later is ignored.
    pub async fn probe(&self, target: &Target, timeout: Duration) -> Outcome {
        self.judge(target, timeout).await.outcome
    }

    /// The same with what was seen.
    pub(crate) async fn judge(&self, target: &Target, timeout: Duration) -> ProbeResult {
        let family = Family::of(target.ip());
        let mux = self.muxes.of(target);
        deadline::within(timeout, async |progress| {
            progress.enter(Phase::Send);
            let request = Request::send(&mux, family, target)?;
            progress.exchanged();
            progress.enter(Phase::Response);
            request.answer(progress).await.map(|()| Outcome::PASS)
        })
        .await
    }
}

/// All probes of one family.
#[derive(Default)]
struct EchoMux(RefCell<State>);

#[derive(Default)]
struct State {
    socket: Option<Rc<EchoSocket>>,
    /// The requests in flight, by sequence number, and the address that each went to.
    waiters: Waiters<u16, IpAddr>,
    /// The sequence number to try next. Going round through all of them keeps late replies apart.
    next: u16,
    /// Requests sent since the socket was last read.
    unread: u32,
}

impl fmt::Debug for EchoMux {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EchoMux").finish_non_exhaustive()
    }
}

impl State {
    fn socket(&mut self, family: Family, target: &Target) -> Result<Rc<EchoSocket>, ProbeError> {
        if let Some(socket) = &self.socket {
            return Ok(Rc::clone(socket));
        }
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let socket = EchoSocket::open(family, id).map_err(|e| fault::opening(&e, family == Family::V4))?;
        if target.way().is_some() {
            socket.bind(target)?;
        }
        let socket = Rc::new(socket);
        self.next = rand::random();
        self.socket = Some(Rc::clone(&socket));
        Ok(socket)
    }

    /// A sequence number that no request in flight has.
    fn take_sequence(&mut self, ip: IpAddr) -> Option<u16> {
        if self.waiters.len() > usize::from(u16::MAX) {
            return None;
        }
        while self.waiters.contains(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let sequence = self.next;
        self.next = sequence.wrapping_add(1);
        self.waiters.enter(sequence, ip);
        Some(sequence)
    }

    fn hear(&mut self, from: IpAddr, heard: Heard) {
        let (tag, ip, found) = match heard {
            Heard::Reply(tag) => (tag, from, Ok(())),
            Heard::Error { tag, destination, reason } => {
                (tag, destination, Err(Failure::Unreachable(reason).into()))
            }
        };
        self.waiters.found(tag.sequence, found, |asked| *asked == ip);
    }

    /// Reads the socket. If it is broken, all that wait for it learn so, and the next probe opens
    /// another.
    fn read(&mut self, socket: &EchoSocket) -> Backlog {
        self.unread = 0;
        match socket.read(|from, heard| self.hear(from, heard)) {
            Ok(backlog) => backlog,
            Err(error) => {
                self.socket = None;
                self.waiters.fail_all(|| fault::before_sending(&error));
                Backlog::Drained
            }
        }
    }
}

/// One request in flight.
struct Request {
    mux: Rc<EchoMux>,
    socket: Rc<EchoSocket>,
    sequence: u16,
}

impl Request {
    fn send(mux: &Rc<EchoMux>, family: Family, target: &Target) -> Result<Self, ProbeError> {
        let state = &mut *mux.0.borrow_mut();
        let socket = state.socket(family, target)?;
        // While no probe waited, late replies were not read; in a burst, those of the burst are
        // not.
        if state.waiters.is_idle() || state.unread >= UNREAD {
            state.read(&socket);
        }
        let sequence = state.take_sequence(target.ip()).ok_or(LocalFault::Buffers)?;
        state.unread += 1;
        if let Err(error) = socket.send(target.ip(), target.mark(), sequence) {
            state.waiters.leave(&sequence);
            return Err(match error {
                SendError::Mark(error) => fault::opening(&error, family == Family::V4),
                SendError::Send(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    LocalFault::Buffers.into()
                }
                SendError::Send(error) => {
                    // It may be bound to an interface that was removed and made again: the next
                    // probe opens another.
                    if target.way().is_some() {
                        state.socket = None;
                    }
                    fault::sending(&error, target.ip())
                }
            });
        }
        Ok(Self { mux: Rc::clone(mux), socket, sequence })
    }

    async fn answer(&self, progress: &Progress) -> Result<(), ProbeError> {
        progress.wait_or_final_read(pin!(self.reported_answer()), || self.look()).await
    }

    async fn reported_answer(&self) -> Result<(), ProbeError> {
        loop {
            let turn = poll_fn(|context| self.mux.0.borrow_mut().waiters.poll_turn(self.sequence, context));
            if let Turn::Done(found) = turn.await {
                return found;
            }
            let mut ready = pin!(self.socket.ready());
            // The answer may also be read by a probe that is just being sent.
            let guard = poll_fn(|context| {
                match self.mux.0.borrow_mut().waiters.poll_found(&self.sequence, context) {
                    Poll::Ready(found) => Poll::Ready(Err(found)),
                    Poll::Pending => ready.as_mut().poll(context).map(Ok),
                }
            });
            let mut guard = match guard.await {
                Ok(guard) => guard.map_err(|error| fault::before_sending(&error))?,
                Err(found) => return found,
            };
            let backlog = self.mux.0.borrow_mut().read(&self.socket);
            if backlog == Backlog::Drained {
                guard.clear_ready();
            }
        }
    }

    /// Reads what is there, whatever the poller knows of it, and says whether the answer is among
    /// it.
    fn look(&self) -> Poll<Result<(), ProbeError>> {
        let state = &mut *self.mux.0.borrow_mut();
        for _ in 0..MOST_BATCHES {
            if state.read(&self.socket) == Backlog::Drained {
                return state.waiters.take(&self.sequence).map_or(Poll::Pending, Poll::Ready);
            }
        }
        // The answer may be in what is left.
        Poll::Ready(Err(LocalFault::Late.into()))
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.mux.0.borrow_mut().waiters.leave(&self.sequence);
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use hc_testkit::network::{in_own_network, set_parameter};

    use super::*;

    #[test]
    fn a_last_look_sees_what_the_poller_has_not_reported() {
        in_own_network(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let _inside = runtime.enter();
            let mux = Rc::default();
            let progress = Progress::at_final_read();
            let ask = || {
                let target = Target::plain([127, 0, 0, 1].into(), 0);
                let request = Request::send(&mux, Family::V4, &target).unwrap();
                pin!(request.answer(&progress)).poll(&mut Context::from_waker(Waker::noop()))
            };
            assert_eq!(ask(), Poll::Ready(Ok(())));
            set_parameter("net.ipv4.icmp_echo_ignore_all", "1").unwrap();
            assert_eq!(ask(), Poll::Pending);
        });
    }
}
