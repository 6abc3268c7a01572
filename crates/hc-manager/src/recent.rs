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
    /// For how long of [`watched`](Self::watched) shards had work and did not wait. A shard that is
    /// busy for all of it begins its probes late.
    pub busy: Duration,
    /// How long shards were watched for that, all together. Zero when none ran.
    pub watched: Duration,
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
    /// When the shard's loop first went through this period, and how long the shard had been busy
    /// by then. 0: not yet.
    marked: AtomicU64,
    busy: AtomicU64,
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

    /// A turn of the loop begins. `busy` says how long the shard has been busy since its start; it
    /// is asked once in each period.
    pub(crate) fn turn(&self, now: Nanos, busy: impl FnOnce() -> Nanos) {
        let slot = self.at(now);
        if slot.marked.load(Relaxed) == 0 {
            slot.busy.store(busy(), Relaxed);
            slot.marked.store(now.max(1), Relaxed);
        }
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

    /// Adds what is known at `now`, when the shard has been busy for `busy` since its start.
    pub(crate) fn add_to(&self, recent: &mut Recent, now: Nanos, busy: Nanos) {
        let period = period(now);
        let mut since: Option<(Nanos, Nanos)> = None;
        for slot in &self.slots {
            if period.saturating_sub(slot.period.load(Relaxed)) >= SLOTS as u64 {
                continue;
            }
            slot.lateness.add_to(&mut recent.lateness);
            recent.inconclusive += slot.inconclusive.load(Relaxed);
            recent.stalls += slot.stalls.load(Relaxed);
            recent.stalled += Duration::from_nanos(slot.stalled.load(Relaxed));
            let mark = (slot.marked.load(Relaxed), slot.busy.load(Relaxed));
            if mark.0 > 0 && since.is_none_or(|since| mark.0 < since.0) {
                since = Some(mark);
            }
        }
        if let Some((at, before)) = since {
            let watched = now.saturating_sub(at);
            recent.watched += Duration::from_nanos(watched);
            // What is read at two moments may differ by a turn.
            recent.busy += Duration::from_nanos(busy.saturating_sub(before).min(watched));
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
            marked: AtomicU64::new(0),
            busy: AtomicU64::new(0),
        }
    }

    fn clear(&self) {
        self.lateness.reset();
        for figure in [&self.inconclusive, &self.stalls, &self.stalled, &self.marked, &self.busy] {
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
        gauge.add_to(&mut recent, now, 0);
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

    /// Busy for half of the first 100 s, then for all of it.
    #[test]
    fn how_busy_a_shard_is_is_said_of_the_last_minute() {
        let busy = |now: Nanos| now.min(100 * SECOND) / 2 + now.saturating_sub(100 * SECOND);
        let gauge = RecentGauge::new();
        let share = |now: Nanos| {
            let mut recent = Recent::default();
            gauge.add_to(&mut recent, now, busy(now));
            (recent.watched.as_secs(), recent.busy.as_secs())
        };
        assert_eq!(share(SECOND), (0, 0), "nobody has watched");
        for tenth in 5..=1000 {
            gauge.turn(tenth * SECOND / 10, || busy(tenth * SECOND / 10));
        }
        assert_eq!(share(100 * SECOND), (60, 30));
        for second in 101..=199 {
            gauge.turn(second * SECOND, || busy(second * SECOND));
        }
        assert_eq!(share(199 * SECOND), (69, 69));
        // The shard hangs: its last mark is too old to say anything.
        assert_eq!(share(1000 * SECOND), (0, 0));
    }

    #[test]
    fn what_comes_late_does_not_empty_a_newer_slot() {
        let gauge = RecentGauge::new();
        gauge.started(75 * SECOND, 0);
        gauge.inconclusive(5 * SECOND);
        assert_eq!(read(&gauge, 75 * SECOND).lateness.count(), 1);
    }
}
