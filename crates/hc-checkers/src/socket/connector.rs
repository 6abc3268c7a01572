//! Connections that carry nothing, made by sockets that are used again and again.
//!
//! A socket costs more to open, register and close than to connect. `connect` with `AF_UNSPEC`
//! resets a connection, as a close with a linger time of 0 does, and leaves a socket that can
//! connect again. A bare loop takes 0.58 to 0.70 of the processor time so (`cargo xtask bench
//! floors`, docs/performance.md).
//!
//! tokio's readiness of a socket that was once closed never goes back, so these sockets have an
//! epoll instance of their own, which is known to tokio as one readable descriptor. One of the
//! waiting probes reads it for all of them, as a [`Pinger`](crate::Pinger) does.

mod poller;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hc_types::{Failure, LocalFault, Mark, Phase, Target};
use rustix::event::epoll::EventFlags;
use slab::Slab;
use socket2::{Protocol, Socket, Type};
use tokio::time::Instant;

use self::poller::{Poller, Token};
use super::stream::{self, SELF_CONNECT_RETRIES};
use super::{dropped, open};
use crate::deadline::Progress;
use crate::fault::{self, ProbeError};

/// A socket that is used no more is closed after this time.
const IDLE: Duration = Duration::from_secs(10);

/// A socket is used for so long: it keeps what was true of the host when it was opened (its control
/// group, some parameters of `net.ipv4`).
const LIFETIME: Duration = Duration::from_secs(60);

/// A connection that took longer to be made may have seen a retransmission, or an error that the
/// kernel took for one that passes and has not told. Its socket is not used again.
const QUICK: Duration = Duration::from_millis(500);

/// Makes connections and resets them once they stand. Clones share its sockets.
///
/// It lives on the runtime of its latest probe that had to wait.
#[derive(Clone)]
pub(crate) struct Connector(Rc<RefCell<State>>);

struct State {
    poller: Option<Poller>,
    /// How often it was read.
    readings: u64,
    sockets: Slab<Entry>,
    /// Tells a socket from an earlier one in the same place of the slab.
    next_id: u32,
    /// Those to be used again, of IPv4 and IPv6, the latest last.
    idle: [VecDeque<usize>; 2],
    max_idle: usize,
    quick: Duration,
    /// The probes that wait for the poller.
    waiting: BTreeMap<Token, Waker>,
    /// The one that reads the poller for all.
    reader: Option<Token>,
    /// Reports that their probes have yet to take.
    untaken: usize,
    /// Connections were reset since the poller was read, which it will report.
    is_stale: bool,
    /// The probes to be woken, which happens when the state is not borrowed.
    woken: Vec<Waker>,
}

#[derive(Debug)]
struct Entry {
    socket: Socket,
    id: u32,
    mark: Option<Mark>,
    opened: Instant,
    /// When it was last connected or reset.
    used: Instant,
    /// How often the poller had been read before it was connected.
    readings: u64,
    /// What the poller has reported of this connection.
    report: Option<EventFlags>,
    /// A probe has it.
    is_taken: bool,
}

impl Connector {
    /// Keeps at most so many sockets that are not in use.
    pub(crate) fn new(max_idle: usize) -> Self {
        Self(Rc::new(RefCell::new(State {
            poller: None,
            readings: 0,
            sockets: Slab::new(),
            next_id: 0,
            idle: [VecDeque::new(), VecDeque::new()],
            max_idle,
            quick: QUICK,
            waiting: BTreeMap::new(),
            reader: None,
            untaken: 0,
            is_stale: false,
            woken: Vec::new(),
        })))
    }

    /// Connects to the target, mark first, and resets the connection when it stands. The
    /// handshake's last ACK is delayed, so that the RST can overtake it and the peer's application
    /// never sees a connection. Errors before the SYN has left are local faults where they can be;
    /// see [`fault::before_sending`].
    ///
    /// A local target whose port is in the range of ephemeral ports can be met by our own socket
    /// (RFC 9293 section 3.5, simultaneous open); nobody listens there then, so that is
    /// [`Failure::Refused`].
    ///
    /// # Cancel safety
    /// Dropping the future closes the socket.
    pub(crate) async fn touch(&self, target: &Target, progress: &Progress) -> Result<(), ProbeError> {
        for _ in 0..=SELF_CONNECT_RETRIES {
            let attempt = self.begin(target, progress)?;
            let connected = std::future::poll_fn(|context| attempt.poll(context, progress));
            progress.wait_or_final_read(pin!(connected), || attempt.look(target)).await?;
            if !attempt.met_itself(target)? {
                attempt.finish(target, progress.exchanged_at());
                return Ok(());
            }
        }
        Err(Failure::Refused.into())
    }

    fn begin(&self, target: &Target, progress: &Progress) -> Result<Attempt<'_>, ProbeError> {
        let state = &mut *self.0.borrow_mut();
        let now = progress.exchanged_at();
        let token = match state.connect_again(target, now) {
            Some(token) => token,
            None => state.connect_new(target, now)?,
        };
        progress.exchanged();
        Ok(Attempt { connector: self, token })
    }

    /// Does something with the state, and wakes whom that concerns.
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let (result, mut woken) = {
            let state = &mut *self.0.borrow_mut();
            let result = act(state);
            if state.woken.is_empty() {
                return result;
            }
            (result, std::mem::take(&mut state.woken))
        };
        woken.drain(..).for_each(Waker::wake);
        self.0.borrow_mut().woken = woken;
        result
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

/// A connection of a probe.
struct Attempt<'a> {
    connector: &'a Connector,
    token: Token,
}

impl Attempt<'_> {
    /// Whether it stands.
    fn poll(&self, context: &mut Context<'_>, progress: &Progress) -> Poll<Result<(), ProbeError>> {
        self.connector.with(|state| state.poll(self.token, context, progress))
    }

    /// The same by a look at the socket, whatever the poller knows of it.
    fn look(&self, target: &Target) -> Poll<Result<(), ProbeError>> {
        let state = self.connector.0.borrow();
        let socket = &state.sockets[self.token.place()].socket;
        match stands(socket) {
            Err(error) => Poll::Ready(Err(error)),
            Ok(true) => Poll::Ready(Ok(())),
            Ok(false) if dropped::syn_was_dropped_here(local_addr(socket), target.socket_addr()) => {
                Poll::Ready(Err(LocalFault::Filter.into()))
            }
            Ok(false) => Poll::Pending,
        }
    }

    fn met_itself(&self, target: &Target) -> Result<bool, ProbeError> {
        let state = self.connector.0.borrow();
        let socket = &state.sockets[self.token.place()].socket;
        stream::met_itself(|| local_addr(socket), target.socket_addr())
    }

    /// Resets the connection, which stands since `now`.
    fn finish(self, target: &Target, now: Instant) {
        self.connector.with(|state| state.finish(self.token, target, now));
        std::mem::forget(self);
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        // Wakers are dropped when the state is not borrowed.
        let _waker = self.connector.with(|state| state.close(self.token));
    }
}

impl State {
    /// Connects one of the sockets that were used before. `None` if there is none, and if it does
    /// not work: whatever is wrong with it, a new socket shows what is wrong with the host.
    fn connect_again(&mut self, target: &Target, now: Instant) -> Option<Token> {
        if target.way().is_some() {
            // It would have to be bound.
            return None;
        }
        self.trim(now);
        let place = self.idle[family(target)].pop_back()?;
        let entry = &mut self.sockets[place];
        let mark = target.mark();
        let marked = if entry.mark == mark {
            Ok(())
        } else {
            entry.mark = mark;
            entry.socket.set_mark(mark.map_or(0, Mark::get))
        };
        // Dissolving the connection has taken this option back.
        let ready = marked.and_then(|()| entry.socket.set_tcp_quickack(false));
        if ready.and_then(|()| start(&entry.socket, target)).is_err() {
            drop(self.sockets.remove(place));
            return None;
        }
        entry.used = now;
        entry.readings = self.readings;
        entry.is_taken = true;
        Some(Token::new(place, entry.id))
    }

    fn connect_new(&mut self, target: &Target, now: Instant) -> Result<Token, ProbeError> {
        if self.poller.is_none() {
            self.poller = Some(Poller::open().map_err(|error| fault::before_sending(&error))?);
        }
        let socket = match open(target, Type::STREAM, Protocol::TCP) {
            // Those that are not in use give their descriptors back.
            Err(ProbeError::Local(LocalFault::Descriptors)) if self.close_idle() => {
                open(target, Type::STREAM, Protocol::TCP)?
            }
            opened => opened?,
        };
        socket.set_tcp_quickack(false).map_err(|error| fault::before_sending(&error))?;
        start(&socket, target).map_err(|error| stream::connecting(&error, target))?;
        let Some(poller) = &self.poller else { unreachable!("made above") };
        self.next_id = self.next_id.wrapping_add(1);
        let (id, mark, readings) = (self.next_id, target.mark(), self.readings);
        let slot = self.sockets.vacant_entry();
        let token = Token::new(slot.key(), id);
        // Registered only now: before connect the poller would report the unconnected socket as
        // hung up.
        poller.add(&socket, token).map_err(|error| fault::before_sending(&error))?;
        let (opened, used, is_taken) = (now, now, true);
        slot.insert(Entry { socket, id, mark, opened, used, readings, report: None, is_taken });
        Ok(token)
    }

    fn poll(
        &mut self,
        token: Token,
        context: &mut Context<'_>,
        progress: &Progress,
    ) -> Poll<Result<(), ProbeError>> {
        let entry = &self.sockets[token.place()];
        if entry.report.is_none() && entry.readings == self.readings {
            if progress.yields_once() {
                // The others that begin in this turn connect first, and then one system call shows
                // which connections stand already. Near by, that is all of them.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.read();
        }
        if self.sockets[token.place()].report.is_none() {
            self.waiting.insert(token, context.waker().clone());
            if *self.reader.get_or_insert(token) == token
                && let Err(error) = self.read_for_all(context)
            {
                return Poll::Ready(Err(fault::before_sending(&error)));
            }
        }
        let entry = &mut self.sockets[token.place()];
        let Some(report) = entry.report else { return Poll::Pending };
        let broke = report.intersects(EventFlags::ERR | EventFlags::HUP);
        // A connection that stands is only writable; one that failed also has a pending error.
        match if broke { stands(&entry.socket) } else { Ok(true) } {
            Ok(true) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error)),
            Ok(false) => {
                entry.report = None;
                self.untaken -= 1;
                self.waiting.insert(token, context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Waits for the poller on behalf of every probe that waits.
    fn read_for_all(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        loop {
            let Some(poller) = &self.poller else { return Ok(()) };
            match poller.poll_ready(context) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(())) => self.read(),
                Poll::Ready(Err(_)) => {
                    let renewed = self.poller.take().map(Poller::renew).transpose();
                    if renewed.is_err() {
                        // Nobody would report the sockets that it knew.
                        self.max_idle = 0;
                        self.close_idle();
                    }
                    self.poller = renewed?;
                }
            }
        }
    }

    /// Takes every report that the poller has.
    fn read(&mut self) {
        let Self { poller: Some(poller), sockets, waiting, untaken, woken, .. } = self else { return };
        self.is_stale = false;
        self.readings += 1;
        poller.read(|token, flags| {
            let Some(entry) = sockets.get_mut(token.place()) else { return };
            // Not of a socket that was here before, and not that a connection was reset.
            if token.is(entry.id) && entry.is_taken {
                *untaken += usize::from(entry.report.is_none());
                entry.report = Some(entry.report.unwrap_or(EventFlags::empty()) | flags);
                woken.extend(waiting.remove(&token));
            }
        });
    }

    /// The connection of this probe stands: it is reset, and its socket kept if it may be.
    fn finish(&mut self, token: Token, target: &Target, now: Instant) {
        let place = token.place();
        let entry = &mut self.sockets[place];
        let may_be_kept = self.max_idle > 0
            && target.way().is_none()
            && now.duration_since(entry.used) < self.quick
            && now.duration_since(entry.opened) < LIFETIME;
        if may_be_kept && rustix::net::connect_unspec(&entry.socket).is_ok() {
            entry.used = now;
            entry.is_taken = false;
            self.untaken -= usize::from(entry.report.take().is_some());
            self.is_stale = true;
            self.idle[family(target)].push_back(place);
            if self.idle.iter().map(VecDeque::len).sum::<usize>() > self.max_idle {
                self.close_oldest();
            }
            self.waiting.remove(&token);
            self.release(token);
        } else {
            self.close(token);
        }
    }

    /// Closes the socket of a probe with a reset.
    fn close(&mut self, token: Token) -> Option<Waker> {
        let entry = self.sockets.remove(token.place());
        self.untaken -= usize::from(entry.report.is_some());
        // Should it fail, the connection closes the long way, which is no less right.
        let _: io::Result<()> = entry.socket.set_linger(Some(Duration::ZERO));
        drop(entry);
        let waker = self.waiting.remove(&token);
        self.release(token);
        waker
    }

    /// A probe is done. If it is to read for all, it leaves this to another one that waits, which
    /// has the duty from now on: should that one end before it is polled, or find that its own
    /// connection stands, it hands it on in turn.
    fn release(&mut self, token: Token) {
        if self.reader == Some(token) {
            let next = self.waiting.first_key_value().map(|(token, waker)| (*token, waker.clone()));
            self.reader = next.as_ref().map(|(token, _)| *token);
            self.woken.extend(next.map(|(_, waker)| waker));
        }
        // All that was reported is done: what the resets have made ready is read here, since tokio
        // would wake a probe for it.
        if self.is_stale && self.untaken == 0 {
            self.read();
        }
    }

    /// Closes the sockets that nobody has needed for some time.
    fn trim(&mut self, now: Instant) {
        for idle in &mut self.idle {
            while let Some(&oldest) = idle.front()
                && now.duration_since(self.sockets[oldest].used) > IDLE
            {
                idle.pop_front();
                drop(self.sockets.remove(oldest));
            }
        }
    }

    /// Closes the socket that has not been in use for the longest time.
    fn close_oldest(&mut self) {
        let Self { idle, sockets, .. } = self;
        let used = |idle: &VecDeque<usize>| idle.front().map(|oldest| sockets[*oldest].used);
        let oldest = idle.iter_mut().filter(|idle| !idle.is_empty()).min_by_key(|idle| used(idle));
        if let Some(place) = oldest.and_then(VecDeque::pop_front) {
            drop(sockets.remove(place));
        }
    }

    /// Closes all sockets that are not in use, and says whether there were any.
    fn close_idle(&mut self) -> bool {
        let Self { idle, sockets, .. } = self;
        let places = idle.iter_mut().flat_map(|idle| idle.drain(..));
        places.map(|place| sockets.remove(place)).count() > 0
    }
}

fn family(target: &Target) -> usize {
    usize::from(target.ip().is_ipv6())
}

/// Begins to connect.
fn start(socket: &Socket, target: &Target) -> io::Result<()> {
    match socket.connect(&target.socket_addr().into()) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
        result => result,
    }
}

/// Whether the connection stands. The error is the one that it ended with.
fn stands(socket: &Socket) -> Result<bool, ProbeError> {
    match socket.take_error() {
        Ok(None) => Ok(socket.peer_addr().is_ok()),
        Ok(Some(error)) | Err(error) => Err(fault::after_sending(&error, Phase::Connect)),
    }
}

fn local_addr(socket: &Socket) -> io::Result<std::net::SocketAddr> {
    let address = socket.local_addr()?;
    address.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
}
