//! What readers get of one check.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hc_types::{
    CheckId, CheckSpec, ConnectionOrigin, Evidence, Failure, Health, Incarnation, PhaseTimes, Progress,
    Status,
};

/// One check at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckView {
    /// Its id.
    pub id: CheckId,
    /// Which life of that id.
    pub incarnation: Incarnation,
    /// What is checked, and how.
    pub spec: Arc<CheckSpec>,
    /// Where it stands by its latest probes, and whether that is held because of a local fault.
    /// [`Status::NEW`] before the first probe has ended.
    pub status: Status,
    /// What is known beyond the status.
    pub progress: Progress,
    /// How long its probes took.
    pub latency: Latency,
    /// The timeout that its latest passes suggest, of a check that asks for it
    /// ([`AdaptiveTimeout`](hc_types::AdaptiveTimeout)), once enough of them are known.
    pub suggested_timeout: Option<Duration>,
    /// Its latest probe that failed. `None` where none has, or none since the id began.
    pub last_failure: Option<Arc<LastFailure>>,
    /// What consumers get of it.
    pub reported: Reported,
}

/// How long the probes of a check took that ended in a verdict, since the id began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// The phases of the latest one.
    pub latest: PhaseTimes,
    /// An average in which the latest probes weigh most: each counts for 1/8, the one before for
    /// 7/8 of that, and so on. Microseconds.
    pub mean: u32,
    /// The longest. Microseconds.
    pub max: u32,
    /// How the connection of the latest one came about.
    pub origin: ConnectionOrigin,
}

impl Latency {
    /// Takes the next probe, which took `duration` in all.
    pub(crate) fn take(&mut self, phases: PhaseTimes, duration: Duration) {
        let micros = u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
        // The first one is the average of itself.
        self.mean = if self.max == 0 { micros } else { weighted(self.mean, micros) };
        // Not 0, which says that there was none.
        self.max = self.max.max(micros).max(1);
        self.latest = phases;
    }
}

/// 7/8 of the mean and 1/8 of the latest, rounded towards the latest, so that it gets there.
fn weighted(mean: u32, latest: u32) -> u32 {
    let sum = 7 * u64::from(mean) + u64::from(latest);
    let rounded = if latest > mean { sum.div_ceil(8) } else { sum / 8 };
    // Not more than the larger of both.
    u32::try_from(rounded).unwrap_or(u32::MAX)
}

/// A probe that failed.
#[derive(Clone, Debug, PartialEq)]
pub struct LastFailure {
    /// When it began.
    pub at: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// Why it failed.
    pub failure: Failure,
    /// What it saw.
    pub evidence: Evidence,
}

/// What consumers get of a check.
#[derive(Clone, Debug, PartialEq)]
pub enum Reported {
    /// Nothing yet: no probe has ended, or none has confirmed health that was restored.
    Nothing,
    /// The status as it is.
    Status,
    /// Another status: a stage of the pipeline holds the present one back, or replaces it.
    Other(Box<Withheld>),
}

/// What consumers get instead of the status of a check.
#[derive(Clone, Debug, PartialEq)]
pub struct Withheld {
    /// What they get.
    pub status: Status,
    /// The name of the stage that is the reason.
    pub by: &'static str,
    /// Start of the probe whose result was the first that consumers did not get.
    pub since: Option<SystemTime>,
}

impl CheckView {
    /// The health that consumers were given, or will be as soon as they take it. `None` when that
    /// is none.
    #[must_use]
    pub fn reported_health(&self) -> Option<Health> {
        match &self.reported {
            Reported::Nothing => None,
            Reported::Status => Some(self.status.health),
            Reported::Other(other) => Some(other.status.health),
        }
    }

    /// What the latest probe with a verdict found, in words. `None` before the first, and for
    /// health that was restored.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        self.status.outcome.as_ref().map(|outcome| self.spec.text(outcome))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_follows_the_latest_probes_and_the_maximum_stays() {
        let mut latency = Latency::default();
        let mut take = |micros| {
            latency.take(PhaseTimes { connect: 5, ..PhaseTimes::default() }, Duration::from_micros(micros));
            (latency.mean, latency.max)
        };
        assert_eq!(take(800), (800, 800));
        assert_eq!(take(1600), (900, 1600));
        assert_eq!((0..100).map(|_| take(100)).last(), Some((100, 1600)));
        assert_eq!(take(u64::MAX).1, u32::MAX);
    }
}
