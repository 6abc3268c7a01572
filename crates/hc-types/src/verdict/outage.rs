//! Local faults that last.

use std::time::Duration;

use crate::{Failure, FaultClass, LocalFault, Outcome};

/// Fewer probes without a path do not end the holding: a path that was away at two moments was
/// there in between.
const OUTAGE_PROBES: u32 = 3;

/// For how long local faults hold the state of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldLimits {
    /// How long a path may be down before that is a failure.
    pub hold: Duration,
    /// How far apart two probes that find the path down may be and still belong together.
    pub gap: Duration,
}

impl HoldLimits {
    /// Those of a check: `hold_unreachable`, but at least two intervals, so that three probes fit
    /// in. `longest_interval` is that of all its paces: probes may be that far apart.
    #[must_use]
    pub fn new(
        hold_unreachable: Duration,
        interval: Duration,
        longest_interval: Duration,
        timeout: Duration,
    ) -> Self {
        let hold = hold_unreachable.max(interval.saturating_mul(2));
        Self { hold, gap: hold.max(longest_interval.saturating_add(timeout).saturating_mul(2)) }
    }
}

/// Local faults of one check in a row, and what each amounts to.
///
/// Example: with `hold_unreachable` of 10 s and an interval of 5 s, a route that is gone for 8 s
/// changes nothing. From 10 s on the check is unhealthy. The first probe that passes makes it
/// healthy again.
#[derive(Clone, Copy, Debug, Default)]
pub struct PathOutage(Option<Outage>);

#[derive(Clone, Copy, Debug)]
struct Outage {
    /// End of the first probe: it may have begun while there was a path.
    since: Duration,
    /// End of the latest.
    latest: Duration,
    probes: u32,
}

impl PathOutage {
    /// Takes a probe that ended at `ended` in a local fault, and gives what it amounts to:
    /// inconclusive, or [`Failure::PathDown`] when the path has been down for long enough.
    ///
    /// A fault of the checker alone in between neither prolongs nor ends an outage. But the path
    /// must have been found down within [`HoldLimits::gap`]: nobody knows what it was like for
    /// longer than that.
    pub fn note(&mut self, fault: LocalFault, ended: Duration, limits: HoldLimits) -> Outcome {
        if fault.class() == FaultClass::OwnAlone {
            return fault.into();
        }
        let before = self.0.filter(|outage| ended.saturating_sub(outage.latest) <= limits.gap);
        let since = before.map_or(ended, |outage| outage.since);
        let probes = before.map_or(1, |outage| outage.probes.saturating_add(1));
        self.0 = Some(Outage { since, latest: ended, probes });
        let down = ended.saturating_sub(since);
        if down < limits.hold || probes < OUTAGE_PROBES {
            return fault.into();
        }
        let seconds = u32::try_from(down.as_secs()).unwrap_or(u32::MAX);
        Failure::PathDown { fault, seconds }.into()
    }
}
