//! One limit for what backends can make all probes together hold.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

/// What a probe holds without being counted, in bytes. Most answers need less, so that most probes
/// lock nothing.
const FREE: usize = 4096;

/// What a TLS session is counted with, in bytes.
const TLS_SESSION: usize = 24 * 1024;

/// From this age on, in milliseconds, holders differ by their size alone.
const OLD: u128 = 1000;

/// A limit for the bytes of answers that all probes together hold: heads of HTTP responses, bodies
/// that are compared or decompressed, DNS replies over TCP. A clone is a reference to the same
/// limit; all shards of a process share one.
///
/// The first 4 KiB of each probe are not counted, so a probe with a short answer never waits for a
/// lock. When the limit is reached the probe that holds the most gives back all of it, and goes on
/// without: it watches the connection and keeps nothing. Its backend is judged where that is
/// enough: a peer that stops sending, or closes, or never ends its head, fails as it would have
/// failed otherwise. Where it is not enough (the answer went on and came to its end) the outcome is
/// [`LocalFault::ProbeMemory`](hc_types::LocalFault::ProbeMemory), and the probe is repeated.
/// Probes that have held their bytes for less than a second count as smaller, in proportion to
/// their age, so that a long answer that comes at once is not the first to go. So backends that
/// send much and hang are found unhealthy in time, and others are checked beside them.
///
/// A TLS session is counted with 24 KiB; all sessions together leave at least half of the limit to
/// answers, and none is ended.
#[derive(Clone)]
pub struct ProbeMemory(Arc<Shared>);

struct Shared {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used: usize,
    most_used: usize,
    sessions: usize,
    next: u64,
    holders: HashMap<u64, Holder>,
}

struct Holder {
    bytes: usize,
    since: Instant,
    waker: Option<Waker>,
}

impl ProbeMemory {
    /// The default limit: 64 MiB. 256 heads of the greatest length (256 KiB) fit at once, and half
    /// a million answers of a usual length would come and go in it.
    pub const DEFAULT: usize = 64 * 1024 * 1024;

    /// A limit of so many bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Shared { limit, state: Mutex::default() }))
    }

    /// Bytes that are counted now, TLS sessions not included.
    #[must_use]
    pub fn used(&self) -> usize {
        self.state().used
    }

    /// The most bytes that were counted at any moment, TLS sessions not included. Never above the
    /// limit.
    #[must_use]
    pub fn most_used(&self) -> usize {
        self.state().most_used
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Numbers are right whatever panicked beside them.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a TLS session until the guard is dropped.
    pub(crate) fn session(&self) -> Session {
        self.state().sessions += 1;
        Session(self.clone())
    }
}

impl Default for ProbeMemory {
    fn default() -> Self {
        Self::new(Self::DEFAULT)
    }
}

impl fmt::Debug for ProbeMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProbeMemory").field("limit", &self.0.limit).finish_non_exhaustive()
    }
}

impl State {
    /// Takes from those that hold the most until no more than `capacity` is used, and says whom to
    /// wake. A little more is freed than is needed, so that the next to grow does not have to look
    /// again.
    fn make_room(&mut self, capacity: usize) -> Vec<Waker> {
        if self.used <= capacity {
            return Vec::new();
        }
        let mut order: Vec<_> = self.holders.iter().map(|(id, holder)| (holder.weight(), *id)).collect();
        order.sort_unstable();
        let mut wakers = Vec::new();
        while self.used > capacity - capacity / 16
            && let Some((_, id)) = order.pop()
        {
            if let Some(holder) = self.holders.remove(&id) {
                self.used -= holder.bytes;
                wakers.extend(holder.waker);
            }
        }
        wakers
    }
}

impl Holder {
    fn weight(&self) -> u128 {
        self.bytes as u128 * self.since.elapsed().as_millis().clamp(1, OLD)
    }
}

/// What one probe holds.
pub(crate) struct Held<'a> {
    memory: &'a ProbeMemory,
    /// Its number among the holders, once it is counted.
    id: Option<u64>,
}

impl<'a> Held<'a> {
    pub(crate) fn new(memory: &'a ProbeMemory) -> Self {
        Self { memory, id: None }
    }

    /// The probe holds so many bytes now. It may have to give them back: see
    /// [`poll_taken`](Self::poll_taken).
    pub(crate) fn set(&mut self, bytes: usize) {
        if bytes > FREE || self.id.is_some() {
            self.count(bytes);
        }
    }

    #[cold]
    fn count(&mut self, bytes: usize) {
        let mut guard = self.memory.state();
        let state = &mut *guard;
        let id = *self.id.get_or_insert_with(|| {
            state.next += 1;
            state.holders.insert(state.next, Holder { bytes: 0, since: Instant::now(), waker: None });
            state.next
        });
        // Nothing is counted of what has to be given back anyway.
        let Some(holder) = state.holders.get_mut(&id) else { return };
        state.used = state.used - holder.bytes + bytes;
        holder.bytes = bytes;
        let limit = self.memory.0.limit;
        let capacity = limit.saturating_sub(state.sessions * TLS_SESSION).max(limit / 2);
        let wakers = state.make_room(capacity);
        state.most_used = state.most_used.max(state.used);
        drop(guard);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Ready when the probe has to give back all that it holds, and go on without.
    pub(crate) fn poll_taken(&self, context: &Context<'_>) -> Poll<()> {
        let Some(id) = self.id else { return Poll::Pending };
        let mut state = self.memory.state();
        match state.holders.get_mut(&id) {
            None => Poll::Ready(()),
            Some(Holder { waker: Some(waker), .. }) => {
                waker.clone_from(context.waker());
                Poll::Pending
            }
            Some(holder) => {
                holder.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let mut state = self.memory.state();
        if let Some(holder) = state.holders.remove(&id) {
            state.used -= holder.bytes;
        }
    }
}

/// A TLS session that is counted.
#[derive(Debug)]
pub(crate) struct Session(ProbeMemory);

impl Drop for Session {
    fn drop(&mut self) {
        self.0.state().sessions -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    fn taken(held: &Held<'_>) -> bool {
        held.poll_taken(&Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn the_largest_gives_back_all_when_the_limit_is_reached() {
        let memory = ProbeMemory::new(64 * KIB);
        let [mut small, mut large, mut new] = [(); 3].map(|()| Held::new(&memory));
        small.set(16 * KIB);
        large.set(40 * KIB);
        assert_eq!(memory.used(), 56 * KIB);
        new.set(16 * KIB);
        assert!(taken(&large) && !taken(&small) && !taken(&new));
        assert_eq!(memory.used(), 32 * KIB);
        // What was taken is not counted again, and not given back twice.
        large.set(48 * KIB);
        drop(large);
        assert_eq!(memory.used(), 32 * KIB);
        drop((small, new));
        assert_eq!(memory.used(), 0);
        assert!(memory.most_used() <= 64 * KIB);
    }

    #[test]
    fn whoever_asks_for_the_most_gets_nothing() {
        let memory = ProbeMemory::new(64 * KIB);
        let [mut other, mut greedy] = [(); 2].map(|()| Held::new(&memory));
        other.set(8 * KIB);
        greedy.set(100 * KIB);
        assert!(taken(&greedy) && !taken(&other));
        assert_eq!(memory.used(), 8 * KIB);
    }

    #[test]
    fn little_is_not_counted() {
        let memory = ProbeMemory::new(0);
        let mut held = Held::new(&memory);
        held.set(FREE);
        assert!(!taken(&held));
        assert_eq!(memory.used(), 0);
        held.set(FREE + 1);
        assert!(taken(&held));
    }

    #[test]
    fn tls_sessions_leave_half_of_it() {
        let memory = ProbeMemory::new(64 * KIB);
        let sessions: Vec<Session> = (0..10).map(|_| memory.session()).collect();
        let [mut first, mut second] = [(); 2].map(|()| Held::new(&memory));
        first.set(30 * KIB);
        assert!(!taken(&first));
        second.set(10 * KIB);
        assert!(taken(&first) && !taken(&second));
        drop(sessions);
        second.set(60 * KIB);
        assert!(!taken(&second));
    }

    #[test]
    fn a_probe_that_must_give_back_is_woken() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        struct Count(AtomicUsize);
        impl std::task::Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let memory = ProbeMemory::new(64 * KIB);
        let [mut old, mut new] = [(); 2].map(|()| Held::new(&memory));
        old.set(60 * KIB);
        assert!(old.poll_taken(&Context::from_waker(&Arc::clone(&count).into())).is_pending());
        new.set(10 * KIB);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
