//! Connections of HTTP probes that are kept until the next probe of the same check.
//!
//! A kept connection is watched: when its peer closes it, or sends anything that nobody asked for,
//! it is closed. There is at most one for each check, and a bounded number in all.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, SystemTime};

use hc_types::{CheckSpec, ProbeSpec, Target};
use rustls::ClientConnection;
use socket2::SockRef;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::memory;
use crate::socket::{CloseOrder, FinishedConn, LingeringClose};
use crate::tls::{self, Lineage, MAX_AGE};

/// How long a connection is kept that no probe uses: longer than most servers keep it.
const IDLE: Duration = MAX_AGE;

/// How often connections are looked for that no probe uses any more, such as those of checks that
/// ended.
const SWEEP: Duration = Duration::from_secs(60);

/// A connection between two probes.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) tls: Option<Tls>,
    pub(crate) opened: Instant,
    /// How many probes it has carried.
    pub(crate) probes: u16,
}

/// The TLS session of a connection.
pub(crate) struct Tls {
    pub(crate) session: Box<ClientConnection>,
    /// The full handshake that it comes from.
    pub(crate) lineage: Lineage,
    pub(crate) _counted: memory::Session,
}

impl Connection {
    /// Whether a probe may still use it.
    fn is_usable(&self, now: Instant, wall: SystemTime) -> bool {
        let is_proven = |tls: &Tls| tls.lineage.holds(now, wall);
        now.duration_since(self.opened) < MAX_AGE && self.tls.as_ref().is_none_or(is_proven)
    }

    /// Whether nothing has come. If so, the waker hears of what comes next.
    fn is_quiet(&mut self, context: &mut Context<'_>) -> bool {
        let mut byte = [0];
        Pin::new(&mut self.stream).poll_read(context, &mut ReadBuf::new(&mut byte)).is_pending()
    }

    /// The same by a look at the socket, whatever the poller knows of it.
    fn has_nothing(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let looked = SockRef::from(&self.stream).peek(&mut byte);
        looked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// The connection, to be closed.
    pub(crate) fn finished(self) -> FinishedConn {
        let close_notify = self.tls.map(|mut tls| tls::close_notify(&mut tls.session)).unwrap_or_default();
        FinishedConn { stream: self.stream, close_notify }
    }
}

/// The kept connections of one [`Checkers`](crate::Checkers). Clones share them; with the last one
/// all are closed.
#[derive(Clone)]
pub(crate) struct KeptConnections(Arc<Mutex<State>>);

struct State {
    most: usize,
    next: u64,
    /// The one that was kept first is the first.
    entries: BTreeMap<u64, Entry>,
    /// Those to each target: one for each check of it.
    by_target: HashMap<Target, Vec<u64>>,
    bells: Arc<Bells>,
    /// What closes connections: one task for those whose peer has closed, and lingering closes.
    tasks: JoinSet<()>,
    is_watched: bool,
}

struct Entry {
    connection: Connection,
    spec: CheckSpec,
    target: Target,
    kept: Instant,
    waker: Waker,
}

/// Which connections have something to read.
#[derive(Default)]
struct Bells {
    rung: Mutex<Vec<u64>>,
    notify: Notify,
}

/// Wakes for one connection.
struct Bell {
    number: u64,
    bells: Arc<Bells>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.bells.rung.lock().unwrap_or_else(PoisonError::into_inner).push(self.number);
        self.bells.notify.notify_one();
    }
}

impl KeptConnections {
    /// At most so many.
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            most,
            next: 0,
            entries: BTreeMap::new(),
            by_target: HashMap::new(),
            bells: Arc::default(),
            tasks: JoinSet::new(),
            is_watched: false,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whatever panicked beside it, entries are whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the connection of this check to `target`, if there is one that can carry a probe.
    pub(crate) fn take(&self, spec: &CheckSpec, target: &Target) -> Option<Connection> {
        let state = &mut *self.state();
        let number = state.find(spec.probe(), target)?;
        let connection = state.remove(number)?.connection;
        #[allow(clippy::disallowed_methods, reason = "certificates are valid by this clock")]
        let wall = SystemTime::now();
        if connection.has_nothing() && connection.is_usable(Instant::now(), wall) {
            return Some(connection);
        }
        state.close(connection, target);
        None
    }

    /// Keeps a connection whose exchange is complete. To be called inside the runtime.
    pub(crate) fn keep(&self, connection: Connection, spec: &CheckSpec, target: &Target) {
        let state = &mut *self.state();
        if let Some(number) = state.find(spec.probe(), target) {
            state.discard(number);
        }
        state.insert(connection, spec, target);
        state.sweep(Instant::now());
        while state.entries.len() > state.most
            && let Some((&oldest, _)) = state.entries.first_key_value()
        {
            state.discard(oldest);
        }
        if !state.is_watched && !state.entries.is_empty() {
            state.is_watched = true;
            let (bells, weak) = (Arc::clone(&state.bells), Arc::downgrade(&self.0));
            state.tasks.spawn(watch(weak, bells));
        }
    }

    /// Closes a connection that is not kept. To be called inside the runtime.
    pub(crate) fn close(&self, connection: Connection, target: &Target) {
        self.state().close(connection, target);
    }

    /// Closes the connection that was not in use for the longest time. Gives whether there was one.
    pub(crate) fn give_up_one(&self) -> bool {
        let state = &mut *self.state();
        let oldest = state.entries.first_key_value().map(|(number, _)| *number);
        oldest.is_some_and(|number| state.discard(number))
    }
}

impl fmt::Debug for KeptConnections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptConnections").finish_non_exhaustive()
    }
}

impl State {
    fn find(&self, probe: &ProbeSpec, target: &Target) -> Option<u64> {
        let of_check = |number: &&u64| self.entries[*number].spec.probe() == probe;
        self.by_target.get(target)?.iter().find(of_check).copied()
    }

    fn insert(&mut self, mut connection: Connection, spec: &CheckSpec, target: &Target) {
        let number = self.next;
        self.next += 1;
        let waker = Waker::from(Arc::new(Bell { number, bells: Arc::clone(&self.bells) }));
        if !connection.is_quiet(&mut Context::from_waker(&waker)) {
            return self.close(connection, target);
        }
        let (spec, target, kept) = (spec.clone(), target.clone(), Instant::now());
        self.by_target.entry(target.clone()).or_default().push(number);
        self.entries.insert(number, Entry { connection, spec, target, kept, waker });
    }

    fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        if let Some(numbers) = self.by_target.get_mut(&entry.target) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.by_target.remove(&entry.target);
            }
        }
        Some(entry)
    }

    /// Removes one and closes it. Gives whether it was there.
    fn discard(&mut self, number: u64) -> bool {
        let Some(Entry { connection, target, .. }) = self.remove(number) else { return false };
        self.close(connection, &target);
        true
    }

    fn close(&mut self, connection: Connection, target: &Target) {
        while self.tasks.try_join_next().is_some() {}
        if let Some(rest) = LingeringClose::or_close(connection.finished(), target, CloseOrder::Us) {
            self.tasks.spawn(rest.finish());
        }
    }

    /// Something has come over this connection, or it has only looked so.
    fn look(&mut self, number: u64) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        if !entry.connection.is_quiet(&mut Context::from_waker(&entry.waker)) {
            self.discard(number);
        }
    }

    /// Closes those that no probe has used for a long time.
    fn sweep(&mut self, now: Instant) {
        while let Some((&oldest, entry)) = self.entries.first_key_value()
            && now.duration_since(entry.kept) >= IDLE
        {
            self.discard(oldest);
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        for entry in std::mem::take(&mut self.entries).into_values() {
            let stream = entry.connection.finished().send_close_notify();
            // Should it fail, the connection is gone already.
            let _: std::io::Result<()> = SockRef::from(&stream).shutdown(Shutdown::Write);
        }
    }
}

/// Closes connections over which something comes, and in the end those that nobody uses.
async fn watch(state: Weak<Mutex<State>>, bells: Arc<Bells>) {
    loop {
        let _elapsed = timeout(SWEEP, bells.notify.notified()).await;
        let rung = std::mem::take(&mut *bells.rung.lock().unwrap_or_else(PoisonError::into_inner));
        let Some(state) = state.upgrade() else { return };
        let state = &mut *state.lock().unwrap_or_else(PoisonError::into_inner);
        rung.into_iter().for_each(|number| state.look(number));
        state.sweep(Instant::now());
        if state.entries.is_empty() {
            // Nothing wakes it until there is one again.
            state.is_watched = false;
            return;
        }
    }
}
