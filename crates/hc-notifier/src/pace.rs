//! The pace of the rolling refresh.

use std::time::Duration;

/// A refresh goes out when a sixteenth of the checks may be told, or a full batch: few batches, no
/// bursts.
const SLICES: u64 = 16;

/// Hands out the right to tell checks again, at so many in a second that all have their turn within
/// one cycle.
///
/// Instants are nanoseconds since the outbox began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// In this time each check has its turn.
    cycle: u64,
    /// A check that had no turn for so long is told out of turn: the number of checks fell, and the
    /// pace with it.
    deadline: u64,
    /// The right to tell has been used up to here.
    used_to: u64,
}

impl Pace {
    pub(crate) fn new(notify_interval: Duration) -> Self {
        let interval = nanos(notify_interval).max(16);
        Self { cycle: interval - interval / 8, deadline: interval - interval / 16, used_to: 0 }
    }

    /// Starts anew: there was nothing to tell again until now.
    pub(crate) fn restart(&mut self, now: u64) {
        self.used_to = now;
    }

    /// When the next refresh of `checks` checks is due, of which the one told longest ago was told
    /// at `oldest`.
    pub(crate) fn due(&self, checks: usize, batch_size: usize, oldest: u64) -> u64 {
        let checks = (checks as u64).max(1);
        let slice = (checks / SLICES).clamp(1, batch_size as u64);
        let slice_full = self.used_to.saturating_add(muldiv_up(slice, self.cycle, checks));
        slice_full.min(self.deadline_of(oldest))
    }

    /// When a check that was told at `told` is told out of turn.
    pub(crate) fn deadline_of(&self, told: u64) -> u64 {
        told.saturating_add(self.deadline)
    }

    /// How many of `checks` checks may be told now. Rights that were not used while nothing could
    /// be delivered expire.
    pub(crate) fn allowed(&mut self, checks: usize, now: u64) -> u64 {
        let checks = (checks as u64).max(1);
        let kept = (self.cycle / SLICES).max(muldiv_up(1, self.cycle, checks));
        self.used_to = self.used_to.max(now.saturating_sub(kept));
        muldiv(now.saturating_sub(self.used_to), checks, self.cycle)
    }

    /// So many of `checks` checks were told in their turn.
    pub(crate) fn used(&mut self, told: u64, checks: usize) {
        self.used_to = self.used_to.saturating_add(muldiv(told, self.cycle, (checks as u64).max(1)));
    }
}

/// A duration in nanoseconds; the longest that fit are 584 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn muldiv(a: u64, b: u64, divisor: u64) -> u64 {
    u64::try_from(u128::from(a) * u128::from(b) / u128::from(divisor)).unwrap_or(u64::MAX)
}

fn muldiv_up(a: u64, b: u64, divisor: u64) -> u64 {
    u64::try_from((u128::from(a) * u128::from(b)).div_ceil(u128::from(divisor))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn ten_checks_have_ten_turns_in_a_cycle() {
        let mut pace = Pace::new(Duration::from_secs(16));
        pace.restart(0);
        let mut turns = Vec::new();
        for _ in 0..20 {
            let due = pace.due(10, 100, u64::MAX / 2);
            assert_eq!(pace.allowed(10, due), 1);
            pace.used(1, 10);
            turns.push(due);
        }
        assert_eq!((turns[0], turns[9], turns[19]), (14 * SECOND / 10, 14 * SECOND, 28 * SECOND));
    }

    #[test]
    fn many_checks_go_in_full_batches_and_a_few_in_slices() {
        let pace = Pace::new(Duration::from_secs(16));
        assert_eq!(pace.due(10_000, 100, u64::MAX), 14 * SECOND / 100);
        assert_eq!(pace.due(160, 100, u64::MAX), 14 * SECOND / 16);
        assert_eq!(pace.due(10, 100, 0), 14 * SECOND / 10);
        assert_eq!(pace.due(1, 100, 0), 14 * SECOND);
    }

    #[test]
    fn unused_turns_expire() {
        let mut pace = Pace::new(Duration::from_secs(16));
        assert_eq!(pace.allowed(160, 3600 * SECOND), 10);
        assert_eq!(Pace::new(Duration::from_secs(16)).allowed(3, 3600 * SECOND), 1);
    }

    #[test]
    fn a_check_without_a_turn_is_told_at_its_deadline() {
        let mut pace = Pace::new(Duration::from_secs(16));
        pace.restart(14 * SECOND);
        assert_eq!(pace.due(2, 100, 0), 15 * SECOND);
    }
}
