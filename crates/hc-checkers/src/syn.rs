//! Half-open TCP checks: a SYN, and the peer's SYN with ACK or its RST, with one raw socket for all
//! probes of a family.
//!
//! Our ports are bound by TCP sockets that neither listen nor connect, so the kernel knows of no
//! connection that a SYN with ACK could belong to, and answers it with a RST (RFC 9293 section
//! 3.10.7.1). That ends the connection at the peer, also where the answer comes after the probe has
//! ended. A RST of our own would be the second one. The kernel's has no mark, so a probe with a
//! mark is none of these ([`SpecError::HalfOpen`](hc_types::SpecError::HalfOpen)).

mod filter;
mod ports;
pub mod segment;
mod socket;

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hc_types::{Failure, LocalFault, Outcome, Phase, ProbeResult, Target};
use tokio::time::Instant;

use self::ports::Sequences;
use self::segment::Syn;
use self::socket::{BATCH, Heard, SynSocket};
use crate::deadline::{self, Progress};
use crate::fault::{self, ProbeError};
use crate::icmp::echo::Family;
use crate::mux::{Backlog, Muxes, Turn, Waiters};

/// How often a socket is read for one last look, so that it ends even if more comes in than is
/// taken out.
const MOST_BATCHES: usize = 64;

/// When a SYN that is not answered is sent again (RFC 6298 section 2), as the kernel does. Each
/// time after that is twice as long.
const RETRANSMISSION: Duration = Duration::from_secs(1);

/// A socket that was not read for so long is read before the next SYN leaves.
const UNREAD: Duration = Duration::from_secs(1);

/// Sends SYNs to any number of backends through one raw socket per address family, opened when it
/// is first needed. Clones share it.
///
/// It lives on the runtime of its first probe. At rest it costs nothing and has no task.
#[derive(Clone, Debug, Default)]
pub(crate) struct HalfOpen(Muxes<SynMux>);

impl HalfOpen {
    /// Sends one SYN to `target`, which has no mark, and passes when a SYN with the right ACK comes
    /// back. A RST is [`Failure::Refused`], and an ICMP error what `connect` makes of it.
    ///
    /// Needs `CAP_NET_RAW`; without it the outcome is inconclusive. `timeout` is the deadline of
    /// all of it, from the first poll.
    ///
    /// # Panics
    /// Outside a tokio runtime with time and I/O enabled.
    ///
    /// # Cancel safety
    /// Dropping the future is no harm: the kernel ends what is half open then, too.
    pub(crate) async fn judge(&self, target: &Target, timeout: Duration) -> ProbeResult {
        let mux = self.0.of(target);
        deadline::within(timeout, async |progress| {
            let attempt = Attempt::begin(&mux, target, progress)?;
            attempt.answer(progress).await.map(|()| Outcome::PASS)
        })
        .await
    }
}

/// All probes of one family.
#[derive(Default)]
struct SynMux(RefCell<State>);

#[derive(Default)]
struct State {
    socket: Option<Rc<SynSocket>>,
    sequences: Sequences,
    /// The SYNs that are not answered.
    waiters: Waiters<Flow, Sent>,
    /// Those that leave with the next system call.
    queue: Vec<Flow>,
    /// When the socket was last read before a SYN was queued.
    last_read: Option<Instant>,
    /// The port to try next. Going round through all of them leaves a peer time to forget.
    next: usize,
}

/// The ends of a connection, without our address, which the route decides: no two probes that are
/// in flight have the same ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Flow {
    peer: IpAddr,
    peer_port: u16,
    our_port: u16,
}

/// What a probe in flight has sent.
#[derive(Debug)]
struct Sent {
    syn: Syn,
    /// It has left at least once.
    has_left: bool,
}

impl Flow {
    fn of(syn: &Syn) -> Self {
        Self { peer: syn.to.ip(), peer_port: syn.to.port(), our_port: syn.from.port() }
    }
}

impl fmt::Debug for SynMux {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SynMux").finish_non_exhaustive()
    }
}

impl State {
    fn socket(&mut self, target: &Target) -> Result<Rc<SynSocket>, ProbeError> {
        if let Some(socket) = &self.socket {
            return Ok(Rc::clone(socket));
        }
        let socket = Rc::new(SynSocket::open(Family::of(target.ip()), target)?);
        self.socket = Some(Rc::clone(&socket));
        Ok(socket)
    }

    /// A pair of ends that no probe in flight has.
    fn take_flow(&mut self, target: &Target, ports: &[u16]) -> Option<Flow> {
        let (peer, peer_port) = (target.ip(), target.port());
        for _ in ports {
            self.next = (self.next + 1) % ports.len();
            let flow = Flow { peer, peer_port, our_port: ports[self.next] };
            if !self.waiters.contains(&flow) {
                return Some(flow);
            }
        }
        None
    }

    fn hear(&mut self, heard: Heard<'_>) {
        match heard {
            Heard::Segment { from, answer, segment } => {
                let flow =
                    Flow { peer: from, peer_port: answer.source_port, our_port: answer.destination_port };
                let found = if answer.is_reset { Err(Failure::Refused.into()) } else { Ok(()) };
                self.waiters.found(flow, found, |sent| sent.syn.is_answered_by(&answer, segment));
            }
            // What is said of another SYN is said of another connection, or by somebody who has not
            // seen ours (RFC 5927).
            Heard::Error { syn, errno } => {
                let error = io::Error::from_raw_os_error(errno);
                let found = Err(fault::after_sending(&error, Phase::Connect));
                self.waiters.found(Flow::of(&syn), found, |sent| {
                    sent.syn.sequence == syn.sequence && sent.syn.from.ip() == syn.from.ip()
                });
            }
        }
    }

    /// Reads the socket. If it is broken, all that wait for it learn so, and the next probe opens
    /// another.
    fn read(&mut self, socket: &SynSocket) -> Backlog {
        match socket.read(|heard| self.hear(heard)) {
            Ok(backlog) => backlog,
            Err(error) => {
                self.socket = None;
                self.waiters.fail_all(|| fault::before_sending(&error));
                Backlog::Drained
            }
        }
    }

    /// Sends all that is queued if this one is among it. Otherwise another probe has sent it with
    /// its own, and what is queued by now may wait for more.
    fn flush_with(&mut self, flow: &Flow, socket: &SynSocket) {
        if self.waiters.about(flow).is_some_and(|sent| !sent.has_left) {
            self.flush(socket);
        }
    }

    /// Sends all that is queued, and reads the answers that are there by then: those of this
    /// machine are.
    fn flush(&mut self, socket: &SynSocket) {
        while !self.queue.is_empty() {
            let batch: Vec<Flow> = self.queue.drain(..self.queue.len().min(BATCH)).collect();
            let mut syns: Vec<Syn> =
                batch.iter().filter_map(|flow| self.waiters.about(flow)).map(|sent| sent.syn).collect();
            while !syns.is_empty() {
                let (count, error) = socket.send(&syns);
                for syn in syns.drain(..count) {
                    if let Some(sent) = self.waiters.about_mut(&Flow::of(&syn)) {
                        sent.has_left = true;
                    }
                }
                if let Some(error) = error
                    && !syns.is_empty()
                {
                    self.not_sent(&syns.remove(0), &error);
                }
            }
            self.read(socket);
        }
    }

    /// A SYN did not leave. That says nothing of one that left before: the kernel tries on, too.
    fn not_sent(&mut self, syn: &Syn, error: &io::Error) {
        let error = match error.kind() {
            io::ErrorKind::WouldBlock => LocalFault::Buffers.into(),
            _ => fault::sending(error, syn.to.ip()),
        };
        self.waiters.found(Flow::of(syn), Err(error), |sent| !sent.has_left);
    }
}

/// One SYN in flight.
struct Attempt {
    mux: Rc<SynMux>,
    socket: Rc<SynSocket>,
    flow: Flow,
}

impl Attempt {
    /// Queues the SYN.
    fn begin(mux: &Rc<SynMux>, target: &Target, progress: &Progress) -> Result<Self, ProbeError> {
        let state = &mut *mux.0.borrow_mut();
        let socket = state.socket(target)?;
        let source = socket.source_of(target.ip()).inspect_err(|_| {
            // It may be bound to an interface that was removed and made again: the next probe opens
            // another.
            if target.way().is_some() {
                state.socket = None;
            }
        })?;
        // While no probe waited, late answers were not read.
        let now = progress.exchanged_at();
        if state.waiters.is_idle() && state.last_read.is_none_or(|last| now - last > UNREAD) {
            state.last_read = Some(now);
            state.read(&socket);
        }
        let flow = state.take_flow(target, socket.ports.numbers()).ok_or(LocalFault::Ports)?;
        let (from, to) = (SocketAddr::new(source, flow.our_port), target.socket_addr());
        let syn = Syn { from, to, sequence: state.sequences.next(from, to) };
        state.waiters.enter(flow, Sent { syn, has_left: false });
        state.queue.push(flow);
        Ok(Self { mux: Rc::clone(mux), socket, flow })
    }

    async fn answer(&self, progress: &Progress) -> Result<(), ProbeError> {
        // The others that begin in this turn queue theirs first, and then one system call sends all
        // of them.
        let others = poll_fn(|context| {
            if progress.yields_once() {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        });
        others.await;
        self.mux.0.borrow_mut().flush_with(&self.flow, &self.socket);
        // No later than now.
        progress.exchanged();
        progress.wait_or_final_read(pin!(self.reported_answer()), || self.look()).await
    }

    async fn reported_answer(&self) -> Result<(), ProbeError> {
        let mut retransmission = Retransmission::new();
        loop {
            let turn = poll_fn(|context| {
                retransmission.poll(self);
                self.mux.0.borrow_mut().waiters.poll_turn(self.flow, context)
            });
            if let Turn::Done(found) = turn.await {
                return found;
            }
            let mut ready = pin!(self.socket.ready());
            // The answer may also be read by a probe that is just being sent.
            let guard = poll_fn(|context| {
                retransmission.poll(self);
                match self.poll_found(context) {
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

    fn poll_found(&self, context: &Context<'_>) -> Poll<Result<(), ProbeError>> {
        self.mux.0.borrow_mut().waiters.poll_found(&self.flow, context)
    }

    /// Reads what is there, whatever the poller knows of it, and says whether the answer is among
    /// it.
    fn look(&self) -> Poll<Result<(), ProbeError>> {
        let state = &mut *self.mux.0.borrow_mut();
        for _ in 0..MOST_BATCHES {
            if state.read(&self.socket) == Backlog::Drained {
                return state.waiters.take(&self.flow).map_or(Poll::Pending, Poll::Ready);
            }
        }
        // The answer may be in what is left.
        Poll::Ready(Err(LocalFault::Late.into()))
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.mux.0.borrow_mut().waiters.leave(&self.flow);
    }
}

/// When the SYN of a probe is sent again. A probe that waits is polled each 250 ms
/// (`deadline.rs`), so it has no timer of its own, and is up to that much later.
struct Retransmission {
    at: Instant,
    interval: Duration,
}

impl Retransmission {
    fn new() -> Self {
        Self { at: Instant::now() + RETRANSMISSION, interval: RETRANSMISSION }
    }

    fn poll(&mut self, attempt: &Attempt) {
        let now = Instant::now();
        if now < self.at {
            return;
        }
        self.interval *= 2;
        self.at = now + self.interval;
        let state = &mut *attempt.mux.0.borrow_mut();
        state.queue.push(attempt.flow);
        state.flush(&attempt.socket);
    }
}
