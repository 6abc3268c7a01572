//! Which checks of a shard are due, and which one next.
//!
//! A heap of 12 bytes an entry, beside the instant of each slot, with entries that no longer hold
//! left in it until they surface or outnumber the others. Against a timing wheel it keeps exact instants, wakes nobody for a
//! cascade, and knows the next instant at once; at a million checks both cost some hundred
//! nanoseconds a probe, mostly in cache misses, beside tens of microseconds for the probe itself.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet, VecDeque};

use crate::schedule::Nanos;

/// Instants beyond any clock: a slot that is not armed.
const NEVER: Nanos = Nanos::MAX;

/// Entries that may be out of date before a sweep is thought of.
const SLACK: usize = 1024;

/// An instant at which a slot becomes due, the earliest first: 12 bytes. It holds while the slot is
/// armed for that instant; of two that are equal, one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// The instant, its high half and its low one.
    at: [u32; 2],
    slot: u32,
}

impl Entry {
    #[allow(clippy::cast_possible_truncation, reason = "both halves are kept")]
    fn new(at: Nanos, slot: u32) -> Self {
        Self { at: [(at >> 32) as u32, at as u32], slot }
    }

    fn at(&self) -> Nanos {
        let [high, low] = self.at.map(Nanos::from);
        high << 32 | low
    }
}

/// At most one instant for each slot; slots that are due wait in a queue, the one that came first
/// at its head.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// What each slot is armed for, or [`NEVER`].
    slots: Vec<Nanos>,
    /// Instants to come.
    heap: BinaryHeap<Reverse<Entry>>,
    /// Instants that have come.
    due: VecDeque<Entry>,
    /// Up to here instants have been moved from the heap to the queue.
    horizon: Nanos,
    armed_count: usize,
    due_count: usize,
}

impl Timers {
    /// Arms a slot for `at`, instead of the instant it was armed for.
    pub(crate) fn arm(&mut self, slot: u32, at: Nanos) {
        if self.armed_at(slot) == Some(at) {
            return;
        }
        self.disarm(slot);
        let index = slot as usize;
        if self.slots.len() <= index {
            self.slots.resize(index + 1, NEVER);
        }
        let at = at.min(NEVER - 1);
        self.slots[index] = at;
        let entry = Entry::new(at, slot);
        self.armed_count += 1;
        if at <= self.horizon {
            self.due_count += 1;
            self.due.push_back(entry);
        } else {
            self.heap.push(Reverse(entry));
        }
        self.sweep();
    }

    /// Makes a slot not due at all.
    pub(crate) fn disarm(&mut self, slot: u32) {
        if let Some(at) = self.armed_at(slot) {
            self.slots[slot as usize] = NEVER;
            self.armed_count -= 1;
            if at <= self.horizon {
                self.due_count -= 1;
            }
        }
    }

    /// The instant for which a slot is armed.
    pub(crate) fn armed_at(&self, slot: u32) -> Option<Nanos> {
        self.slots.get(slot as usize).copied().filter(|at| *at != NEVER)
    }

    /// Queues every slot whose instant has come.
    pub(crate) fn advance(&mut self, now: Nanos) {
        self.horizon = self.horizon.max(now);
        let mut latest = None;
        while let Some(Reverse(entry)) = self.heap.peek().copied() {
            let current = is_current(&self.slots, &entry);
            if current && entry.at() > self.horizon {
                break;
            }
            self.heap.pop();
            // A slot that was armed for one instant twice has two equal entries, one behind the
            // other.
            if current && latest.replace(entry) != Some(entry) {
                self.due_count += 1;
                self.due.push_back(entry);
            }
        }
    }

    /// Takes the slot that has been due for the longest, with the instant it was due at.
    pub(crate) fn take_due(&mut self) -> Option<(Nanos, u32)> {
        while let Some(entry) = self.due.pop_front() {
            if is_current(&self.slots, &entry) {
                self.disarm(entry.slot);
                return Some((entry.at(), entry.slot));
            }
        }
        None
    }

    /// How many slots are due.
    pub(crate) fn due_count(&self) -> usize {
        self.due_count
    }

    /// The next instant at which a slot becomes due. Never later than the truth.
    pub(crate) fn next(&self) -> Option<Nanos> {
        self.heap.peek().map(|Reverse(entry)| entry.at())
    }

    /// Keeps what is out of date, or there twice, below what is not, give or take [`SLACK`].
    fn sweep(&mut self) {
        if !self.is_crowded() {
            return;
        }
        let Self { slots, heap, due, .. } = self;
        heap.retain(|Reverse(entry)| is_current(slots, entry));
        due.retain(|entry| is_current(slots, entry));
        if self.is_crowded() {
            // Slots that were disarmed and armed for the same instant, again and again.
            let mut entries = std::mem::take(&mut self.heap).into_vec();
            entries.sort_unstable();
            entries.dedup();
            self.heap = entries.into();
            let mut seen = HashSet::new();
            self.due.retain(|entry| seen.insert(entry.slot));
        }
    }

    fn is_crowded(&self) -> bool {
        self.heap.len() + self.due.len() > 2 * self.armed_count + SLACK
    }
}

fn is_current(slots: &[Nanos], entry: &Entry) -> bool {
    slots.get(entry.slot as usize).is_some_and(|at| *at == entry.at())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Arm(u32, Nanos),
        Disarm(u32),
        Advance(Nanos),
        Take,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0u32..8, 0u64..200).prop_map(|(slot, at)| Step::Arm(slot, at)),
            1 => (0u32..8).prop_map(Step::Disarm),
            2 => (0u64..20).prop_map(Step::Advance),
            3 => Just(Step::Take),
        ]
    }

    proptest! {
        #[test]
        fn timers_agree_with_a_sorted_map(steps in prop::collection::vec(step(), 0..200)) {
            let mut timers = Timers::default();
            let mut model: BTreeMap<u32, Nanos> = BTreeMap::new();
            let mut now = 0;
            for step in steps {
                match step {
                    Step::Arm(slot, at) => {
                        timers.arm(slot, at);
                        model.insert(slot, at);
                    }
                    Step::Disarm(slot) => {
                        timers.disarm(slot);
                        model.remove(&slot);
                    }
                    Step::Advance(by) => {
                        now += by;
                        timers.advance(now);
                    }
                    Step::Take => match timers.take_due() {
                        Some((at, slot)) => prop_assert_eq!(model.remove(&slot), Some(at)),
                        None => prop_assert!(model.values().all(|at| *at > now)),
                    },
                }
                prop_assert_eq!(timers.due_count(), model.values().filter(|at| **at <= now).count());
                if let Some(first) = model.values().filter(|at| **at > now).min() {
                    prop_assert!(timers.next().is_some_and(|next| next <= *first));
                }
                for (slot, at) in &model {
                    prop_assert_eq!(timers.armed_at(*slot), Some(*at));
                }
            }
        }
    }

    #[test]
    fn a_slot_that_is_armed_twice_for_one_instant_is_due_once() {
        assert_eq!(size_of::<Entry>(), 12);
        let mut timers = Timers::default();
        for _ in 0..3 {
            timers.arm(0, 10);
            timers.arm(1, 10);
            timers.disarm(0);
        }
        timers.arm(0, 10);
        timers.advance(10);
        assert_eq!(timers.due_count(), 2);
        // And due at once, twice over.
        timers.arm(0, 5);
        timers.arm(0, 5);
        let taken: Vec<_> = std::iter::from_fn(|| timers.take_due()).collect();
        assert_eq!((taken, timers.due_count()), (vec![(10, 1), (5, 0)], 0));
    }

    #[test]
    fn slots_are_taken_in_the_order_of_their_instants() {
        let mut timers = Timers::default();
        for (slot, at) in [(0, 30), (1, 10), (2, 20), (3, 99)] {
            timers.arm(slot, at);
        }
        timers.advance(50);
        let taken: Vec<_> = std::iter::from_fn(|| timers.take_due()).collect();
        assert_eq!(taken, [(10, 1), (20, 2), (30, 0)]);
        assert_eq!(timers.next(), Some(99));
    }

    #[test]
    fn entries_out_of_date_do_not_pile_up() {
        let mut timers = Timers::default();
        for at in 1..100_000 {
            timers.arm(0, at);
        }
        timers.advance(50);
        assert!(timers.heap.len() + timers.due.len() <= 2 + SLACK + 1);
        timers.advance(99_999);
        assert_eq!(timers.take_due(), Some((99_999, 0)));
        for at in 0..100_000 {
            timers.arm(1, at);
        }
        assert!(timers.heap.len() + timers.due.len() <= 2 + SLACK + 1);
        for at in [5, 200_000] {
            for _ in 0..10_000 {
                timers.arm(2, at);
                timers.disarm(2);
            }
            timers.arm(2, at);
            assert!(timers.heap.len() + timers.due.len() <= 4 + SLACK + 1);
        }
    }
}
