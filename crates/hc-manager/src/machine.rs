//! The state of one check, moved by what its probes find.

use hc_types::{Health, Outcome};

/// A change of health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The health before.
    pub from: Health,
    /// The health now.
    pub to: Health,
}

/// The state machine of one check (Seesaw: `healthcheck/core.go`, `Check.healthcheck`).
///
/// ```text
///             pass                     retries + 1 failures in a row
///  Unknown ──────────► Healthy ◄──────────────────────────► Unhealthy
///     │                              one pass                   ▲
///     └───────────────────────── one failure ───────────────────┘
/// ```
///
/// The first result decides. From then on one pass makes a check healthy, and only a failure more than `retries` in a row
/// makes a healthy one unhealthy. An inconclusive outcome changes nothing, not even the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckMachine {
    health: Health,
    /// The latest result was a pass, or there was none.
    passed: bool,
    /// Results in a row like the latest one.
    in_a_row: u32,
    failures: u64,
    successes: u64,
}

impl CheckMachine {
    /// A check of which nothing is known.
    pub const NEW: Self =
        Self { health: Health::Unknown, passed: true, in_a_row: 0, failures: 0, successes: 0 };

    /// A machine as it was left: `failed` failures in a row up to now, `failures` and `successes` in all.
    #[must_use]
    pub fn restored(health: Health, failed: u32, failures: u64, successes: u64) -> Self {
        Self { health, passed: failed == 0, in_a_row: failed, failures, successes }
    }

    /// Takes one result. `retries` is the number of failures in a row that a healthy check survives; it may differ from
    /// call to call, and the one given now counts.
    ///
    /// The row of failures is counted up to `u32::MAX` and stays there, so a check with that many retries never falls.
    pub fn observe(&mut self, outcome: &Outcome, retries: u32) -> Option<Transition> {
        let next = match outcome {
            Outcome::Inconclusive(_) => return None,
            Outcome::Pass(_) => {
                self.count(true);
                self.successes = self.successes.saturating_add(1);
                Health::Healthy
            }
            Outcome::Fail(_) => {
                self.count(false);
                self.failures = self.failures.saturating_add(1);
                if self.health == Health::Healthy && self.in_a_row <= retries {
                    Health::Healthy
                } else {
                    Health::Unhealthy
                }
            }
        };
        let from = std::mem::replace(&mut self.health, next);
        (from != next).then_some(Transition { from, to: next })
    }

    /// The health that the results so far amount to.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health
    }

    /// Failures in a row up to now.
    #[must_use]
    pub fn failed(&self) -> u32 {
        if self.passed { 0 } else { self.in_a_row }
    }

    /// Results in a row like the latest one, failures or passes. Passes before a [restored](Self::restored) state are
    /// not among them.
    #[must_use]
    pub fn in_a_row(&self) -> u32 {
        self.in_a_row
    }

    fn count(&mut self, passed: bool) {
        let before = if self.passed == passed { self.in_a_row } else { 0 };
        (self.passed, self.in_a_row) = (passed, before.saturating_add(1));
    }

    /// Failures since the check began.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// Passes since the check began.
    #[must_use]
    pub fn successes(&self) -> u64 {
        self.successes
    }
}

#[cfg(test)]
mod tests {
    use hc_types::Health::{Healthy, Unhealthy, Unknown};
    use hc_types::{Failure, LocalFault, Phase};
    use proptest::prelude::*;

    use super::*;

    const FAIL: Outcome = Outcome::Fail(Failure::Refused);
    const TIMEOUT: Outcome = Outcome::Fail(Failure::timeout(Phase::Response));

    #[track_caller]
    fn row(from: (Health, u32), outcome: Outcome, retries: u32, to: (Health, u32), notify: bool) {
        let mut machine = CheckMachine::restored(from.0, from.1, 10, 20);
        let transition = machine.observe(&outcome, retries);
        assert_eq!((machine.health(), machine.failed()), to);
        let expected = notify.then_some(Transition { from: from.0, to: to.0 });
        assert_eq!(transition, expected);
        let counted = (machine.failures() - 10, machine.successes() - 20);
        let count = match outcome {
            Outcome::Pass(_) => (0, 1),
            Outcome::Fail(_) => (1, 0),
            Outcome::Inconclusive(_) => (0, 0),
        };
        assert_eq!(counted, count);
    }

    /// Seesaw's table, row by row. Its row 13, negative retries that make a check healthy for ever, cannot be built:
    /// retries are a `u32`, and a check with negative ones is rejected where it is read.
    #[test]
    fn the_table_of_seesaw_holds() {
        row((Unknown, 0), Outcome::PASS, 0, (Healthy, 0), true); // 1
        row((Unknown, 0), Outcome::PASS, 7, (Healthy, 0), true); // 1
        row((Unknown, 0), FAIL, 0, (Unhealthy, 1), true); // 2
        row((Unknown, 0), FAIL, 5, (Unhealthy, 1), true); // 3
        row((Healthy, 0), Outcome::PASS, 3, (Healthy, 0), false); // 4
        row((Healthy, 0), FAIL, 0, (Unhealthy, 1), true); // 5
        row((Healthy, 0), FAIL, 2, (Healthy, 1), false); // 6
        row((Healthy, 1), FAIL, 2, (Healthy, 2), false); // 7
        row((Healthy, 2), FAIL, 2, (Unhealthy, 3), true); // 8
        row((Healthy, 2), Outcome::PASS, 2, (Healthy, 0), false); // 9
        row((Unhealthy, 3), FAIL, 2, (Unhealthy, 4), false); // 10
        row((Unhealthy, 0), Outcome::PASS, 2, (Healthy, 0), true); // 11
        row((Unhealthy, 9), Outcome::PASS, 2, (Healthy, 0), true); // 11
        row((Unhealthy, 0), FAIL, 5, (Unhealthy, 1), false); // 12
        row((Healthy, 2), FAIL, 1, (Unhealthy, 3), true); // 14: retries lowered from 5 to 1
        row((Healthy, 0), TIMEOUT, 0, (Unhealthy, 1), true); // 15, as 5
        row((Healthy, 0), TIMEOUT, 1, (Healthy, 1), false); // 15, as 6
        for health in [Unknown, Unhealthy, Healthy] {
            // 16: no probe, no result. Here: nothing learned.
            row((health, 4), Outcome::Inconclusive(LocalFault::Ports), 0, (health, 4), false);
        }
    }

    #[test]
    fn the_row_of_failures_does_not_wrap() {
        row((Unhealthy, u32::MAX), FAIL, 0, (Unhealthy, u32::MAX), false);
        row((Healthy, u32::MAX), FAIL, u32::MAX, (Healthy, u32::MAX), false);
        row((Healthy, u32::MAX - 1), FAIL, u32::MAX - 1, (Unhealthy, u32::MAX), true);
    }

    proptest! {
        /// The machine against the rule in one sentence, read off the whole history.
        #[test]
        fn health_follows_from_the_history(results in prop::collection::vec(any::<bool>(), 1..60), retries in 0u32..5) {
            let mut machine = CheckMachine::NEW;
            for n in 1..=results.len() {
                let before = machine.health();
                let outcome = if results[n - 1] { Outcome::PASS } else { FAIL };
                let transition = machine.observe(&outcome, retries);
                let row = results[..n].iter().rev().take_while(|passed| !**passed).count();
                let survives = row < n && row <= retries as usize;
                prop_assert_eq!(machine.health(), if survives { Healthy } else { Unhealthy });
                prop_assert_eq!(machine.failed() as usize, row);
                let latest = results[n - 1];
                let like_it = results[..n].iter().rev().take_while(|passed| **passed == latest).count();
                prop_assert_eq!(machine.in_a_row() as usize, like_it);
                prop_assert_eq!(machine.successes(), results[..n].iter().map(|passed| u64::from(*passed)).sum::<u64>());
                prop_assert_eq!(machine.successes() + machine.failures(), n as u64);
                prop_assert_eq!(transition.is_some(), before != machine.health());
            }
        }
    }
}
