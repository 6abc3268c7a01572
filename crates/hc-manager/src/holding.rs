//! A check whose probes are inconclusive keeps its state: for how long, and what is said of it.
//!
//! A fault of the checker alone (no descriptors left, the process was stopped) says nothing about the traffic that the
//! load balancer forwards, so the state is held for as long as it lasts. A fault of the path (no route, the interface is
//! down) stops that traffic, too. Then the state is held for a bounded time, and after it the check is unhealthy.
//!
//! Example: with `hold_unreachable` of 10 s and an interval of 5 s, a route that is gone for 8 s goes unnoticed; from 10 s
//! on, the check is unhealthy; the first probe that passes makes it healthy again.

use std::time::{Duration, SystemTime};

use hc_types::{Failure, FaultClass, Held, LocalFault, Outcome};

use crate::schedule::{Nanos, nanos};

/// Local faults in a row, up to the latest probe.
#[derive(Debug)]
pub(crate) struct Holding {
    fault: LocalFault,
    since: SystemTime,
    path: Option<PathDown>,
    /// The state is no longer held.
    given_up: bool,
}

/// Probes that found no way to the backend.
#[derive(Clone, Copy, Debug)]
struct PathDown {
    /// End of the first: it may have begun while there was a path.
    since: Nanos,
    /// End of the latest.
    latest: Nanos,
    /// How many there were.
    probes: u32,
}

/// Fewer probes without a path do not end the holding: a path that was away for two moments was there in between.
const PROBES: u32 = 3;

impl Holding {
    /// The first local fault after a verdict.
    pub(crate) fn new(fault: LocalFault, since: SystemTime) -> Self {
        Self { fault, since, path: None, given_up: false }
    }

    /// The latest fault.
    pub(crate) fn fault(&self) -> LocalFault {
        self.fault
    }

    /// What a status says of it. `None` when the state is not held any more.
    pub(crate) fn shown(&self) -> Option<Box<Held>> {
        let Self { fault, since, given_up, .. } = *self;
        (!given_up).then(|| Box::new(Held { fault, since }))
    }

    /// Takes a probe that ended at `ended` in a local fault, and gives what it amounts to: inconclusive, or a failure when
    /// the path has been down for `hold`.
    ///
    /// Probes with a fault of the checker alone in between neither prolong nor end it. But there must have been a
    /// probe without a path within `gap`: what nobody looked at for longer may have been fine meanwhile.
    pub(crate) fn note(&mut self, fault: LocalFault, ended: Nanos, hold: Nanos, gap: Nanos) -> Outcome {
        self.fault = fault;
        if fault.class() == FaultClass::OwnAlone {
            return fault.into();
        }
        let before = self.path.filter(|path| ended.saturating_sub(path.latest) <= gap);
        let since = before.map_or(ended, |path| path.since);
        let probes = before.map_or(1, |path| path.probes.saturating_add(1));
        self.path = Some(PathDown { since, latest: ended, probes });
        let down = ended.saturating_sub(since);
        if down < hold || probes < PROBES {
            return fault.into();
        }
        self.given_up = true;
        let seconds = u32::try_from(down / 1_000_000_000).unwrap_or(u32::MAX);
        Failure::PathDown { fault, seconds }.into()
    }
}

/// For how long a check is held while its path is down, and how far probes that find it so may be apart.
pub(crate) fn limits(hold_unreachable: Nanos, interval: Duration, timeout: Duration) -> (Nanos, Nanos) {
    let (interval, timeout) = (nanos(interval), nanos(timeout));
    let hold = hold_unreachable.max(interval.saturating_mul(2));
    (hold, hold.max(interval.saturating_add(timeout).saturating_mul(2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    /// Probes that end at these seconds; gives the seconds at which they counted as failures.
    fn failures(probes: &[(u64, LocalFault)], hold: u64, gap: u64) -> Vec<u64> {
        let mut holding = Holding::new(probes[0].1, SystemTime::UNIX_EPOCH);
        let mut counted = Vec::new();
        for (at, fault) in probes {
            let outcome = holding.note(*fault, at * SECOND, hold * SECOND, gap * SECOND);
            assert_eq!(holding.shown().is_none(), !counted.is_empty() || outcome.label() == "path_down");
            if outcome.label() == "path_down" {
                counted.push(*at);
            } else {
                assert_eq!(outcome, (*fault).into());
            }
        }
        counted
    }

    #[test]
    fn a_path_that_is_down_is_held_for_a_bounded_time() {
        let down = |at| (at, LocalFault::NoRoute);
        assert_eq!(failures(&[down(0), down(5), down(9), down(10), down(15)], 10, 20), [10, 15]);
        assert_eq!(failures(&[down(0), (5, LocalFault::InterfaceDown), down(10)], 10, 20), [10]);
    }

    #[test]
    fn a_fault_of_the_checker_alone_is_held_without_limit() {
        let short = |at| (at, LocalFault::Descriptors);
        assert_eq!(failures(&[short(0), short(10), short(1000)], 10, 20), [0; 0]);
        // Starved and cut off at once: it is the path that counts.
        let mixed = [
            (0, LocalFault::NoRoute),
            (2, LocalFault::Late),
            (5, LocalFault::NoRoute),
            (7, LocalFault::Late),
            (10, LocalFault::NoRoute),
            (11, LocalFault::Late),
        ];
        assert_eq!(failures(&mixed, 10, 20), [10]);
        // A path that was away for two moments, far apart.
        let moments = [(0, LocalFault::PathChanged), (5, LocalFault::Late), (10, LocalFault::PathChanged)];
        assert_eq!(failures(&moments, 10, 20), [0; 0]);
    }

    #[test]
    fn what_nobody_looked_at_may_have_been_fine() {
        let probes = [
            (0, LocalFault::NoRoute),
            (5, LocalFault::Ports),
            (40, LocalFault::NoRoute),
            (45, LocalFault::NoRoute),
            (50, LocalFault::NoRoute),
        ];
        assert_eq!(failures(&probes, 10, 20), [50]);
    }

    #[test]
    fn a_check_is_held_for_two_intervals_at_least() {
        let seconds = Duration::from_secs;
        assert_eq!(limits(10 * SECOND, seconds(1), seconds(1)), (10 * SECOND, 10 * SECOND));
        assert_eq!(limits(10 * SECOND, seconds(30), seconds(5)), (60 * SECOND, 70 * SECOND));
        assert_eq!(limits(0, seconds(1), seconds(5)), (2 * SECOND, 12 * SECOND));
    }
}
