//! What probes have in common that share one socket: whose answer it is, and who reads for all.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::btree_map::{BTreeMap, Entry};
use std::hash::Hash;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use hc_types::{Target, Via};

use crate::fault::ProbeError;
use crate::icmp::echo::Family;

/// How far a reading of the socket got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backlog {
    /// Nothing is left.
    Drained,
    /// There may be more.
    More,
}

/// One mux for each family, and one for each way of its own. Clones share them.
#[derive(Debug, Default)]
pub(crate) struct Muxes<M> {
    v4: Rc<M>,
    v6: Rc<M>,
    /// Those of probes with a source or an interface of their own.
    others: Rc<RefCell<Vec<OfWay<M>>>>,
}

impl<M> Clone for Muxes<M> {
    fn clone(&self) -> Self {
        let Self { v4, v6, others } = self;
        Self { v4: Rc::clone(v4), v6: Rc::clone(v6), others: Rc::clone(others) }
    }
}

/// All probes of one family that go one way.
#[derive(Debug)]
struct OfWay<M> {
    family: Family,
    way: Arc<Via>,
    mux: Rc<M>,
}

impl<M: Default> Muxes<M> {
    /// The one that probes of this target share.
    pub(crate) fn of(&self, target: &Target) -> Rc<M> {
        let family = Family::of(target.ip());
        match target.way() {
            None => Rc::clone(if family == Family::V4 { &self.v4 } else { &self.v6 }),
            Some(way) => self.by_way(family, way),
        }
    }

    fn by_way(&self, family: Family, way: &Arc<Via>) -> Rc<M> {
        let mut others = self.others.borrow_mut();
        // Those that no probe uses go, with their sockets, unless they are wanted now.
        others.retain(|other| other.way == *way || Rc::strong_count(&other.mux) > 1);
        if let Some(known) = others.iter().find(|other| other.family == family && other.way == *way) {
            return Rc::clone(&known.mux);
        }
        let mux = Rc::new(M::default());
        others.push(OfWay { family, way: Arc::clone(way), mux: Rc::clone(&mux) });
        mux
    }
}

/// The probes that wait for answers over one socket. `K` names a probe in what comes, `W` is what
/// else is known of it. One of them reads the socket for all.
pub(crate) struct Waiters<K, W> {
    waiting: BTreeMap<K, Waiter<W>>,
    /// What was found for the others, until their probes fetch it.
    found: HashMap<K, Result<(), ProbeError>>,
    reader: Option<K>,
}

struct Waiter<W> {
    about: W,
    /// `None` from when the probe is woken to when it is polled.
    waker: Option<Waker>,
}

/// What a probe that waits has to do next.
pub(crate) enum Turn {
    Done(Result<(), ProbeError>),
    Read,
}

impl<K, W> Default for Waiters<K, W> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), found: HashMap::new(), reader: None }
    }
}

impl<K: Copy + Ord + Hash, W> Waiters<K, W> {
    /// How many probes are in flight.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.found.len()
    }

    /// Whether no probe waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether a probe of this name is in flight.
    pub(crate) fn contains(&self, key: &K) -> bool {
        self.waiting.contains_key(key) || self.found.contains_key(key)
    }

    /// A probe begins to wait.
    pub(crate) fn enter(&mut self, key: K, about: W) {
        self.waiting.insert(key, Waiter { about, waker: None });
    }

    /// What is known of a probe that waits.
    pub(crate) fn about(&self, key: &K) -> Option<&W> {
        self.waiting.get(key).map(|waiter| &waiter.about)
    }

    /// The same, to be changed.
    pub(crate) fn about_mut(&mut self, key: &K) -> Option<&mut W> {
        self.waiting.get_mut(key).map(|waiter| &mut waiter.about)
    }

    /// Something came for a probe: it counts if the probe waits and `is_its` holds.
    pub(crate) fn found(&mut self, key: K, found: Result<(), ProbeError>, is_its: impl FnOnce(&W) -> bool) {
        if let Entry::Occupied(waiting) = self.waiting.entry(key)
            && is_its(&waiting.get().about)
        {
            self.found.insert(key, found);
            waiting.remove().wake();
        }
    }

    /// All that wait learn that this has happened.
    pub(crate) fn fail_all(&mut self, error: impl Fn() -> ProbeError) {
        while let Some((key, mut waiter)) = self.waiting.pop_first() {
            self.found.insert(key, Err(error()));
            waiter.wake();
        }
    }

    /// What was found for this probe.
    pub(crate) fn take(&mut self, key: &K) -> Option<Result<(), ProbeError>> {
        self.found.remove(key)
    }

    /// Waits until something is found for this probe.
    pub(crate) fn poll_found(&mut self, key: &K, context: &Context<'_>) -> Poll<Result<(), ProbeError>> {
        if let Some(found) = self.take(key) {
            return Poll::Ready(found);
        }
        // Without an answer the entry is there until the probe leaves.
        if let Some(waiting) = self.waiting.get_mut(key) {
            match &mut waiting.waker {
                Some(waker) => waker.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
        }
        Poll::Pending
    }

    /// Ends when there is an answer, or when no other probe reads and this one has to.
    pub(crate) fn poll_turn(&mut self, key: K, context: &Context<'_>) -> Poll<Turn> {
        if let Poll::Ready(found) = self.poll_found(&key, context) {
            return Poll::Ready(Turn::Done(found));
        }
        if *self.reader.get_or_insert(key) == key { Poll::Ready(Turn::Read) } else { Poll::Pending }
    }

    /// The probe has ended, or is given up.
    pub(crate) fn leave(&mut self, key: &K) {
        self.waiting.remove(key);
        self.found.remove(key);
        // Also when no probe reads: this one may have been woken to do it and was never polled.
        if self.reader.is_none_or(|reader| reader == *key) {
            self.reader = None;
            // If that one has been woken already, it will read, or be dropped and come here.
            if let Some(mut next) = self.waiting.first_entry() {
                next.get_mut().wake();
            }
        }
    }
}

impl<W> Waiter<W> {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The address of a packet's sender or destination, without its port.
pub(crate) fn ip_of(address: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}
