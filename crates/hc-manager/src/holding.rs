//! What is kept and shown of a check whose probes are inconclusive. For how long its state is held
//! is decided by [`hc_types::verdict::PathOutage`].

use std::time::{Duration, SystemTime};

use hc_types::verdict::{HoldLimits, PathOutage};
use hc_types::{Held, LocalFault, Outcome};

use crate::schedule::Nanos;

/// Local faults in a row, up to the latest probe.
#[derive(Debug)]
pub(crate) struct Holding {
    fault: LocalFault,
    since: SystemTime,
    /// Start of the latest probe.
    latest: SystemTime,
    /// How many there were.
    tries: u32,
    outage: PathOutage,
    /// The state is no longer held.
    given_up: bool,
}

impl Holding {
    /// The first local fault after a verdict.
    pub(crate) fn new(fault: LocalFault, since: SystemTime) -> Self {
        Self { fault, since, latest: since, tries: 0, outage: PathOutage::default(), given_up: false }
    }

    /// The latest fault.
    pub(crate) fn fault(&self) -> LocalFault {
        self.fault
    }

    /// How many inconclusive probes in a row there were.
    pub(crate) fn tries(&self) -> u32 {
        self.tries
    }

    /// Start of the latest probe, on the wall clock.
    pub(crate) fn latest(&self) -> SystemTime {
        self.latest
    }

    /// What a status says of it. `None` when the state is not held any more.
    pub(crate) fn shown(&self) -> Option<Box<Held>> {
        let Self { fault, since, given_up, .. } = *self;
        (!given_up).then(|| Box::new(Held { fault, since }))
    }

    /// Takes a probe from `began` to `ended` that came to a local fault, and gives what it amounts
    /// to.
    pub(crate) fn note(
        &mut self,
        fault: LocalFault,
        began: SystemTime,
        ended: Nanos,
        limits: HoldLimits,
    ) -> Outcome {
        (self.fault, self.latest) = (fault, began);
        self.tries = self.tries.saturating_add(1);
        let outcome = self.outage.note(fault, Duration::from_nanos(ended), limits);
        self.given_up |= matches!(outcome, Outcome::Fail(_));
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_is_given_up_does_not_show_as_held() {
        const SECOND: Nanos = 1_000_000_000;
        let limits = HoldLimits { hold: Duration::from_secs(10), gap: Duration::from_secs(20) };
        let mut holding = Holding::new(LocalFault::Late, SystemTime::UNIX_EPOCH);
        for (second, held) in [(0, true), (5, true), (10, false)] {
            holding.note(LocalFault::NoRoute, SystemTime::UNIX_EPOCH, second * SECOND, limits);
            assert_eq!(holding.shown().is_some(), held, "{second}");
        }
        holding.note(LocalFault::Late, SystemTime::UNIX_EPOCH, 11 * SECOND, limits);
        assert_eq!((holding.fault(), holding.shown()), (LocalFault::Late, None));
    }
}
