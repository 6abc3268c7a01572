//! Figures of the last minute. Those since the start say little of how it is now: a stall of an
//! hour ago stays in their largest delay for ever, and a day of punctual probes hides a new one.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::lateness::{Lateness, LatenessGauge};
use crate::schedule::Nanos;

/// How much time goes into one slot.
const PERIOD: Nanos = 10_000_000_000;

/// The period of now, and the six before it: one minute is always whole.
const SLOTS: usize = 7;

/// What probes came to in the last minute, up to ten seconds more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recent {
    /// How much later than due probes started.
    pub lateness: Lateness,
    /// Probes that said nothing because of this machine.
    pub inconclusive: u64,
    /// Times that a shard ran much later than it meant to.
    pub stalls: u64,
    /// How long these were, all together.
    pub stalled: Duration,
}

/// The same of one shard, while it is being counted: a ring of slots. Written by the shard's thread
/// alone; a slot is used again by whoever counts something when its time has come round, so that
/// nobody has to empty it in time.
#[derive(Debug)]
pub(crate) struct RecentGauge {
    slots: [Slot; SLOTS],
}

#[derive(Debug)]
struct Slot {
    /// Which period it is of, counted from 1. 0: of none.
    period: AtomicU64,
    lateness: LatenessGauge,
    inconclusive: AtomicU64,
    stalls: AtomicU64,
    stalled: AtomicU64,
}

impl RecentGauge {
    pub(crate) fn new() -> Self {
        Self { slots: std::array::from_fn(|_| Slot::new()) }
    }

    pub(crate) fn started(&self, now: Nanos, late: Nanos) {
        self.at(now).lateness.record(late);
    }

    pub(crate) fn inconclusive(&self, now: Nanos) {
        self.at(now).inconclusive.fetch_add(1, Relaxed);
    }

    pub(crate) fn stalled(&self, now: Nanos, length: Nanos) {
        let slot = self.at(now);
        slot.stalls.fetch_add(1, Relaxed);
        slot.stalled.fetch_add(length, Relaxed);
    }

    /// The slot of `now`, emptied if it is of another time.
    fn at(&self, now: Nanos) -> &Slot {
        let period = period(now);
        let slot = &self.slots[usize::try_from(period % SLOTS as u64).unwrap_or_default()];
        // What ended long ago, before a stall, may come late: it must not empty a newer slot.
        if slot.period.load(Relaxed) < period {
            slot.clear();
            slot.period.store(period, Relaxed);
        }
        slot
    }

    pub(crate) fn add_to(&self, recent: &mut Recent, now: Nanos) {
        let period = period(now);
        for slot in &self.slots {
            if period.saturating_sub(slot.period.load(Relaxed)) >= SLOTS as u64 {
                continue;
            }
            slot.lateness.add_to(&mut recent.lateness);
            recent.inconclusive += slot.inconclusive.load(Relaxed);
            recent.stalls += slot.stalls.load(Relaxed);
            recent.stalled += Duration::from_nanos(slot.stalled.load(Relaxed));
        }
    }
}

impl Slot {
    fn new() -> Self {
        Self {
            period: AtomicU64::new(0),
            lateness: LatenessGauge::new(),
            inconclusive: AtomicU64::new(0),
            stalls: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
        }
    }

    fn clear(&self) {
        self.lateness.reset();
        for figure in [&self.inconclusive, &self.stalls, &self.stalled] {
            figure.store(0, Relaxed);
        }
    }
}

fn period(now: Nanos) -> u64 {
    now / PERIOD + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn read(gauge: &RecentGauge, now: Nanos) -> Recent {
        let mut recent = Recent::default();
        gauge.add_to(&mut recent, now);
        recent
    }

    #[test]
    fn a_stall_is_forgotten_after_a_minute_and_no_history_hides_a_new_one() {
        let gauge = RecentGauge::new();
        gauge.started(5 * SECOND, 3 * SECOND);
        gauge.stalled(5 * SECOND, 3 * SECOND);
        gauge.inconclusive(6 * SECOND);
        for second in 6..=65 {
            gauge.started(second * SECOND, 0);
        }
        let recent = read(&gauge, 65 * SECOND);
        assert_eq!((recent.lateness.count(), recent.lateness.max()), (61, Duration::from_secs(3)));
        assert_eq!((recent.stalls, recent.stalled, recent.inconclusive), (1, Duration::from_secs(3), 1));
        let recent = read(&gauge, 70 * SECOND);
        assert_eq!((recent.lateness.count(), recent.lateness.max()), (56, Duration::ZERO));
        assert_eq!((recent.stalls, recent.stalled, recent.inconclusive), (0, Duration::ZERO, 0));
        gauge.started(71 * SECOND, 2 * SECOND);
        let recent = read(&gauge, 71 * SECOND);
        assert_eq!((recent.lateness.count(), recent.lateness.max()), (57, Duration::from_secs(2)));
        // Nothing is counted any more: nobody empties the slots, and they say nothing all the same.
        assert_eq!(
            read(&gauge, 1000 * SECOND),
            Recent { lateness: Lateness::default(), ..Recent::default() }
        );
    }

    #[test]
    fn what_comes_late_does_not_empty_a_newer_slot() {
        let gauge = RecentGauge::new();
        gauge.started(75 * SECOND, 0);
        gauge.inconclusive(5 * SECOND);
        assert_eq!(read(&gauge, 75 * SECOND).lateness.count(), 1);
    }
}
