//! When the probes of one check are due.
//!
//! Times are nanoseconds on the manager's monotonic clock; 2^64 of them are 584 years.

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use hc_types::{CheckSpec, Pace, mix64};

use crate::phases::Phase;

/// Nanoseconds on the monotonic clock of the manager, or between two instants of it.
pub(crate) type Nanos = u64;

/// A duration as [`Nanos`]. What does not fit, and no check has it, is cut off at 584 years.
pub(crate) fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The pause before a probe is tried again after an inconclusive one, doubled each time.
const FIRST_RETRY: Nanos = 100_000_000;

/// Two probes of a check start at least so far apart, or a quarter of its interval: more than the
/// delay of a batch.
const CLOSE: Nanos = 250_000_000;

/// Instants at which probes of one check are due: one interval apart, and each later by its share
/// of the jitter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    /// The first point.
    pub(crate) origin: Nanos,
    pub(crate) interval: Nanos,
    /// The longest delay of a point: at most half an interval.
    pub(crate) jitter: Nanos,
}

impl Grid {
    /// The grid of this check at this pace.
    pub(crate) fn of(spec: &CheckSpec, phase: Phase, pace: Pace) -> Self {
        let interval = spec.interval_at(pace);
        let jitter = nanos(spec.jitter().of(interval));
        Self { origin: phase.offset(nanos(interval)), interval: nanos(interval), jitter }
    }

    /// The first point after `instant`, and by how much it is delayed.
    fn after(&self, instant: Nanos) -> (Nanos, Nanos) {
        let steps = instant.checked_sub(self.origin).map_or(0, |since| since / self.interval + 1);
        let point = self.origin.saturating_add(steps.saturating_mul(self.interval));
        (point, self.delay(steps))
    }

    /// The delay of a point, from 0 to the jitter: the same each time it is asked for, and unlike
    /// that of the points around it and of other checks.
    fn delay(&self, step: u64) -> Nanos {
        if self.jitter == 0 {
            return 0;
        }
        let share = scatter(self.origin ^ scatter(step));
        let delay = (u128::from(share) * (u128::from(self.jitter) + 1)) >> 64;
        u64::try_from(delay).unwrap_or(self.jitter)
    }
}

/// A number that looks like chance and follows from `number`: the output function of SplitMix64.
fn scatter(number: u64) -> u64 {
    mix64(number.wrapping_add(0x9e37_79b9_7f4a_7c15))
}

/// The fixed-rate schedule of one check: a [`Grid`] that never drifts, one for each of its paces.
///
/// The grid lies where the check's phase puts it ([`Phase`]). Single probes may come off the grid:
/// the first one of a check, those brought forward, and those tried again. The next one after them
/// is the next point of the grid, or half an interval behind it if that point is too close
/// ([`CLOSE`]). So no two probes are further apart than the interval and its jitter, whichever grid
/// the probe before was on: when the pace changes, the next probe is the next point of the other
/// grid.
///
/// A probe that starts late or runs long does not move the grid. Grid points that pass while no
/// probe could start are skipped; the one that passes first while a probe is in flight is made up
/// for when it ends, as Seesaw's ticker does, so that a timeout above the interval makes probes run
/// back to back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Schedule {
    /// Start of the latest probe, plus one; `None` before the first.
    started: Option<NonZeroU64>,
}

impl Schedule {
    /// No probe has started yet.
    pub(crate) const NEW: Self = Self { started: None };

    /// A probe starts, on the grid or off it.
    pub(crate) fn start(&mut self, now: Nanos) {
        self.started = Some(NonZeroU64::MIN.saturating_add(now));
    }

    fn started(&self) -> Option<Nanos> {
        self.started.map(|started| started.get() - 1)
    }

    /// Whether a probe has started.
    pub(crate) fn has_started(&self) -> bool {
        self.started.is_some()
    }

    /// When the next probe is due, after the latest one ended at `ended` with a verdict.
    pub(crate) fn next(&self, ended: Nanos, grid: &Grid) -> Nanos {
        let started = self.started().unwrap_or(ended);
        let (point, delay) = grid.after(started);
        // Off the grid, a probe may have started just before a point of it. Two probes within the
        // batch delay would be told as one, so the next one comes between this point and the one
        // after it.
        let is_close = point.saturating_sub(started) < CLOSE.min(grid.interval / 4);
        let due = if is_close { point.saturating_add(grid.interval / 2) } else { point };
        due.saturating_add(delay).max(ended)
    }

    /// When to try again, after the latest probe ended at `ended` and `tries` in a row were
    /// inconclusive: soon, then ever more rarely, and never later than the grid.
    pub(crate) fn retry(&self, ended: Nanos, grid: &Grid, tries: u32) -> Nanos {
        let doublings = tries.saturating_sub(1);
        let pause = FIRST_RETRY.checked_shl(doublings).filter(|pause| pause >> doublings == FIRST_RETRY);
        let pause = pause.unwrap_or(grid.interval).min(grid.interval);
        self.next(ended, grid).min(ended.saturating_add(pause))
    }

    /// When the next probe is due now that the check has another grid, at `now`: at the first point
    /// of it after the latest start, or one interval after that start, if that point has passed.
    /// Where both have passed, or none has started, it is due at `latest`, by which such checks are
    /// spread.
    pub(crate) fn retime(&self, now: Nanos, grid: &Grid, latest: Nanos) -> Nanos {
        let Some(started) = self.started() else { return latest };
        let (point, delay) = grid.after(started);
        let due = [point.saturating_add(delay), started.saturating_add(grid.interval)];
        due.into_iter().find(|due| *due > now).unwrap_or(latest)
    }
}

/// How long the first probe of the check at `rank` among `total` new ones waits: they start evenly,
/// `per_second` of them, and none later than its own interval.
pub(crate) fn first_probe(rank: usize, total: usize, per_second: NonZeroUsize, interval: Nanos) -> Nanos {
    let window = total as u128 * 1_000_000_000 / per_second.get() as u128;
    let wait = window.min(u128::from(interval)) * rank as u128 / (total as u128).max(1);
    u64::try_from(wait).unwrap_or(interval)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Nanos = 1_000_000;

    fn grid(origin: Nanos, interval: Nanos) -> Grid {
        Grid { origin, interval, jitter: 0 }
    }

    #[track_caller]
    fn check_next(started: Nanos, ended: Nanos, expected: Nanos) {
        // A grid at 1000, 1100, 1200, …
        let mut schedule = Schedule::NEW;
        schedule.start(started);
        assert_eq!(schedule.next(ended, &grid(1000, 100)), expected);
    }

    #[test]
    fn the_grid_stands_still() {
        check_next(1000, 1010, 1100); // on time
        check_next(1000, 1099, 1100);
        check_next(1030, 1060, 1100); // late start
        check_next(1130, 1140, 1200); // very late start: 1100 is skipped
        check_next(1000, 1100, 1100); // one grid point passed in flight: at once
        check_next(1000, 1150, 1150);
        check_next(1000, 1950, 1950); // many passed: once
        check_next(1950, 1960, 2000); // and back on the grid
        check_next(960, 965, 1000); // a probe before the first grid point
        check_next(990, 995, 1050); // and one just before it
        check_next(1050, 1051, 1100);
    }

    #[test]
    fn inconclusive_probes_are_tried_again_soon_then_on_the_grid() {
        let mut schedule = Schedule::NEW;
        schedule.start(0);
        let retry = |ended, tries| schedule.retry(ended * MS, &grid(0, 10_000 * MS), tries) / MS;
        assert_eq!(retry(5, 1), 105);
        assert_eq!(retry(5, 2), 205);
        assert_eq!(retry(5, 5), 1605);
        assert_eq!(retry(9_990, 1), 10_000);
        for tries in [8, 40, 64, u32::MAX] {
            assert_eq!(retry(5, tries), 10_000);
        }
        assert_eq!(schedule.retry(0, &grid(0, 50 * MS), 1), 50 * MS);
    }

    #[test]
    fn another_interval_counts_from_the_latest_start_and_has_its_own_grid() {
        // The new grid is 40 behind the multiples of the interval. Gives the next probe and the one
        // after it.
        let retimed = |started: Option<Nanos>, now, interval| {
            let mut schedule = Schedule::NEW;
            started.into_iter().for_each(|started| schedule.start(started));
            let due = schedule.retime(now, &grid(40, interval), now + 7);
            schedule.start(due);
            (due, schedule.next(due, &grid(40, interval)))
        };
        assert_eq!(retimed(Some(1200), 1250, 500), (1540, 2040)); // on the grid
        assert_eq!(retimed(Some(1200), 1250, 60), (1260, 1300)); // 1240 has passed: one interval after the start
        assert_eq!(retimed(Some(1200), 1250, 50), (1257, 1290)); // overdue
        assert_eq!(retimed(None, 900, 50), (907, 940));
    }

    #[test]
    fn first_probes_are_spread_by_rate() {
        let rate = NonZeroUsize::new(5000).unwrap();
        assert_eq!(first_probe(0, 1, rate, 5000 * MS), 0);
        assert_eq!(first_probe(9, 10, rate, 5000 * MS), 1_800_000); // ten at once, near enough
        assert_eq!(first_probe(5_000, 10_000, rate, 5000 * MS), 1000 * MS);
        assert_eq!(first_probe(9_999, 10_000, rate, 5000 * MS), 1_999_800_000);
        assert_eq!(first_probe(500_000, 1_000_000, rate, 5000 * MS), 2500 * MS); // within one interval
        assert_eq!(first_probe(999_999, 1_000_000, rate, 86_400_000 * MS) / MS, 199_999);
    }

    /// Example of the module's invariant: 10 s and 10 % are 9 s to 11 s, and 10 s on average.
    #[test]
    fn jitter_moves_each_probe_and_not_the_grid() {
        let jittered = |origin| Grid { origin, interval: 10_000 * MS, jitter: 1000 * MS };
        let starts = |grid: Grid| {
            let mut schedule = Schedule::NEW;
            schedule.start(0);
            let mut next = || {
                let due = schedule.next(schedule.started().unwrap(), &grid);
                schedule.start(due);
                due
            };
            (0..1000).map(|_| next()).collect::<Vec<_>>()
        };
        let (some, others) = (starts(jittered(5000 * MS)), starts(jittered(5000 * MS + 1)));
        assert_eq!(some, starts(jittered(5000 * MS)), "the same each time");
        for (n, start) in some.iter().enumerate() {
            let late = start - (5000 * MS + n as u64 * 10_000 * MS);
            assert!(late <= 1000 * MS, "{late}");
        }
        let mean: u64 = some.iter().map(|start| (start - 5000 * MS) % (10_000 * MS)).sum::<u64>() / 1000;
        assert!((450 * MS..550 * MS).contains(&mean), "{mean}");
        let same = some.iter().zip(&others).filter(|(some, other)| some.abs_diff(**other) < 10 * MS).count();
        assert!(same < 60, "two checks are delayed alike {same} times of 1000");
    }

    proptest! {
        #[test]
        fn the_next_probe_is_after_this_one_and_within_an_interval(
            origin in 0u64..1 << 40, start in 0u64..1 << 40, flight in 0u64..1 << 36, interval in 1u64..1 << 36,
            share in 0u64..=50,
        ) {
            let grid = Grid { origin, interval, jitter: interval * share / 100 };
            let mut schedule = Schedule::NEW;
            let start = start.max(origin);
            schedule.start(start);
            let (ended, next) = (start + flight, schedule.next(start + flight, &grid));
            prop_assert!(next >= ended && next > start);
            // No gap is longer than the interval and its jitter, whichever grid the start was on.
            prop_assert!(next <= ended.max(start + interval + grid.jitter));
            // On the grid, half an interval behind it, or made up for the moment the probe ended.
            let off = (next - origin) % interval;
            let is_on = off <= grid.jitter || (interval / 2..=interval / 2 + grid.jitter).contains(&off);
            prop_assert!(is_on || next == ended);
            prop_assert!(next - start >= CLOSE.min(interval / 4));
            for tries in 1..70 {
                let retry = schedule.retry(ended, &grid, tries);
                prop_assert!(retry >= ended && retry <= next);
            }
        }
    }
}
