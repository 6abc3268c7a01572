//! Finds out when a shard's loop was stalled.
//!
//! While probes are in flight the loop means to run every 10 ms. When it runs much later, because
//! the process was stopped, its quota of processor time was used up or the loop had too much to do,
//! the time in between is a *stall*: answers that came then were not read, and deadlines that
//! passed then prove nothing. What a stall makes of a result is decided in [`hc_types::verdict`].

use hc_types::verdict::TOLERATED_DELAY;

use crate::schedule::{Nanos, nanos};

/// Time between two ticks while probes are in flight.
const TICK: Nanos = 10_000_000;

/// Adds up the stalls of one shard.
#[derive(Debug, Default)]
pub(crate) struct StallDetector {
    expected: Option<Nanos>,
    stalled: Nanos,
}

impl StallDetector {
    /// The loop runs. Gives the length of the stall that ends here, if one does.
    pub(crate) fn tick(&mut self, now: Nanos) -> Option<Nanos> {
        let late = now.saturating_sub(self.expected?);
        if late <= nanos(TOLERATED_DELAY) {
            return None;
        }
        self.stalled = self.stalled.saturating_add(late);
        // Work before the next rest, such as a large set of orders, is not time that nobody saw.
        self.expected = Some(now.saturating_add(TICK));
        Some(late)
    }

    /// The loop goes to rest after a turn that began at `now`. Nothing is expected of it while no
    /// probe is in flight.
    pub(crate) fn rest(&mut self, now: Nanos, in_flight: bool) {
        self.expected = in_flight.then(|| now.saturating_add(TICK));
    }

    /// When the loop should run next, whatever else there is to do.
    pub(crate) fn expected(&self) -> Option<Nanos> {
        self.expected
    }

    /// All stalls up to now. The difference between the start and the end of a probe is how long it
    /// was stalled.
    pub(crate) fn stalled(&self) -> Nanos {
        self.stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    #[test]
    fn only_late_ticks_are_stalls() {
        let mut stalls = StallDetector::default();
        assert_eq!(stalls.tick(5 * MS), None);
        stalls.rest(5 * MS, true);
        assert_eq!(stalls.expected(), Some(15 * MS));
        assert_eq!(stalls.tick(35 * MS), None);
        stalls.rest(35 * MS, true);
        assert_eq!(stalls.tick(66 * MS), Some(21 * MS));
        // A second one before the loop has come to rest: 10 ms were its own.
        assert_eq!(stalls.tick(1066 * MS), Some(990 * MS));
        stalls.rest(1066 * MS, true);
        assert_eq!(stalls.tick(11_076 * MS), Some(10_000 * MS));
        assert_eq!(stalls.stalled(), 11_011 * MS);
        // And nothing is expected when nothing is in flight.
        stalls.rest(11_076 * MS, false);
        assert_eq!(stalls.tick(60_000 * MS), None);
    }

    #[test]
    fn an_idle_shard_cannot_be_late() {
        let mut stalls = StallDetector::default();
        stalls.rest(0, true);
        stalls.rest(5 * MS, false);
        assert_eq!(stalls.expected(), None);
        assert_eq!(stalls.tick(60_000 * MS), None);
        assert_eq!(stalls.stalled(), 0);
    }
}
