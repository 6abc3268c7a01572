//! The state of one check, moved by what its probes find.

use hc_types::{Health, Outcome, Pace, U48};

/// A change of health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The health before.
    pub from: Health,
    /// The health now.
    pub to: Health,
}

/// The state machine of one check (Seesaw: `healthcheck/core.go`, `Check.healthcheck`; `rise` is
/// HAProxy's).
///
/// ```text
///             pass                     retries + 1 failures in a row
///  Unknown ──────────► Healthy ◄──────────────────────────► Unhealthy
///     │                           rise passes in a row          ▲
///     └───────────────────────── one failure ───────────────────┘
/// ```
///
/// The first result decides at once, whatever `retries` and `rise` are. From then on only `rise`
/// passes in a row make an unhealthy check healthy, and only a failure more than `retries` in a row
/// makes a healthy one unhealthy. An inconclusive outcome changes nothing, not even the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckMachine {
    health: Health,
    /// The latest result was a pass, or there was none.
    passed: bool,
    /// Results in a row like the latest one.
    in_a_row: u32,
    failures: U48,
    successes: U48,
}

impl CheckMachine {
    /// A check of which nothing is known.
    pub const NEW: Self = Self {
        health: Health::Unknown,
        passed: true,
        in_a_row: 0,
        failures: U48::ZERO,
        successes: U48::ZERO,
    };

    /// A machine as it was left: `failed` failures in a row up to now, `failures` and `successes`
    /// in all, which are kept up to 2^48. Passes towards `rise` begin anew.
    #[must_use]
    pub fn restored(health: Health, failed: u32, failures: u64, successes: u64) -> Self {
        let (failures, successes) = (failures.into(), successes.into());
        Self { health, passed: failed == 0, in_a_row: failed, failures, successes }
    }

    /// Takes one result. `retries` is the number of failures in a row that a healthy check
    /// survives, `rise` the number of passes in a row after which an unhealthy one is healthy (0
    /// counts as 1). Both may differ from call to call, and those given now count.
    ///
    /// The row is counted up to `u32::MAX` and stays there, so a check with that many retries never
    /// falls.
    pub fn observe(&mut self, outcome: &Outcome, retries: u32, rise: u32) -> Option<Transition> {
        let next = match outcome {
            Outcome::Inconclusive(_) => return None,
            Outcome::Pass(_) => {
                self.count(true);
                self.successes = self.successes.saturating_next();
                if self.health == Health::Unhealthy && self.in_a_row < rise {
                    Health::Unhealthy
                } else {
                    Health::Healthy
                }
            }
            Outcome::Fail(_) => {
                self.count(false);
                self.failures = self.failures.saturating_next();
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

    /// Which of its intervals the check follows now.
    #[must_use]
    pub fn pace(&self) -> Pace {
        match self.health {
            Health::Unknown => Pace::Steady,
            Health::Healthy if self.passed => Pace::Steady,
            Health::Unhealthy if !self.passed || self.in_a_row == 0 => Pace::Down,
            Health::Healthy | Health::Unhealthy => Pace::Changing,
        }
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

    /// Results in a row like the latest one, failures or passes. Passes before a
    /// [restored](Self::restored) state are not among them.
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
        self.failures.get()
    }

    /// Passes since the check began.
    #[must_use]
    pub fn successes(&self) -> u64 {
        self.successes.get()
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
        let transition = machine.observe(&outcome, retries, 1);
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

    /// Seesaw's table, row by row. Its row 13, negative retries that make a check healthy for ever,
    /// cannot be built: retries are a `u32`, and a check with negative ones is rejected where it is
    /// read.
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

    /// Seesaw's machine is the one with a rise of 1. Here: health and row of passes or failures
    /// (below 0) before and after.
    #[test]
    fn an_unhealthy_check_rises_after_its_passes_in_a_row() {
        let observed = |results: &[bool], retries, rise| {
            let mut machine = CheckMachine::NEW;
            let after = results.iter().map(|passes| {
                machine.observe(if *passes { &Outcome::PASS } else { &FAIL }, retries, rise);
                (machine.health(), machine.pace())
            });
            after.collect::<Vec<_>>()
        };
        use Pace::{Changing, Down, Steady};
        // The first result decides at once, whatever is asked for.
        assert_eq!(observed(&[true], 9, 9), [(Healthy, Steady)]);
        assert_eq!(
            observed(&[false, true, true, true, false], 1, 3),
            [
                (Unhealthy, Down),
                (Unhealthy, Changing),
                (Unhealthy, Changing),
                (Healthy, Steady),
                (Healthy, Changing)
            ]
        );
        // A failure ends the row of passes.
        assert_eq!(
            observed(&[false, true, false, true, true], 0, 2),
            [
                (Unhealthy, Down),
                (Unhealthy, Changing),
                (Unhealthy, Down),
                (Unhealthy, Changing),
                (Healthy, Steady)
            ]
        );
        assert_eq!(observed(&[false, true], 0, 0)[1], (Healthy, Steady), "0 counts as 1");
    }

    #[test]
    fn the_rise_given_now_counts_and_inconclusive_probes_leave_the_row() {
        let mut machine = CheckMachine::restored(Unhealthy, 0, 0, 0);
        assert_eq!(machine.pace(), Pace::Down);
        assert_eq!(machine.observe(&Outcome::PASS, 0, 5), None);
        assert_eq!(machine.observe(&Outcome::Inconclusive(LocalFault::Ports), 0, 5), None);
        assert_eq!((machine.in_a_row(), machine.pace()), (1, Pace::Changing));
        let transition = machine.observe(&Outcome::PASS, 0, 2);
        assert_eq!(transition, Some(Transition { from: Unhealthy, to: Healthy }));
    }

    proptest! {
        /// The machine against the rule in one sentence, read off the whole history: the latest row
        /// of `rise` passes or of more than `retries` failures decides, or the first result where
        /// there was no such row.
        #[test]
        fn health_follows_from_the_history(
            results in prop::collection::vec(any::<bool>(), 1..60), retries in 0u32..5, rise in 1u32..5,
        ) {
            let mut machine = CheckMachine::NEW;
            for n in 1..=results.len() {
                let before = machine.health();
                let outcome = if results[n - 1] { Outcome::PASS } else { FAIL };
                let transition = machine.observe(&outcome, retries, rise);
                let ends_in = |end: usize, passes: bool, row: u32| {
                    let row = row as usize;
                    end >= row && results[end - row..end].iter().all(|passed| *passed == passes)
                };
                let decided = (1..=n).rev().find_map(|end| {
                    if ends_in(end, true, rise) {
                        Some(Healthy)
                    } else {
                        ends_in(end, false, retries + 1).then_some(Unhealthy)
                    }
                });
                let first = if results[0] { Healthy } else { Unhealthy };
                prop_assert_eq!(machine.health(), decided.unwrap_or(first));
                let latest = results[n - 1];
                let like_it = results[..n].iter().rev().take_while(|passed| **passed == latest).count();
                prop_assert_eq!(machine.in_a_row() as usize, like_it);
                prop_assert_eq!(machine.failed() as usize, if latest { 0 } else { like_it });
                let pace = match (machine.health(), latest) {
                    (Healthy, true) => Pace::Steady,
                    (Unhealthy, false) => Pace::Down,
                    _ => Pace::Changing,
                };
                prop_assert_eq!(machine.pace(), pace);
                prop_assert_eq!(machine.successes(), results[..n].iter().map(|passed| u64::from(*passed)).sum::<u64>());
                prop_assert_eq!(machine.successes() + machine.failures(), n as u64);
                prop_assert_eq!(transition.is_some(), before != machine.health());
            }
        }
    }
}
