//! What readers get of one check.

use std::sync::Arc;
use std::time::SystemTime;

use hc_types::{CheckId, CheckSpec, Health, Incarnation, Progress, Status};

/// One check at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckView {
    /// Its id.
    pub id: CheckId,
    /// Which life of that id.
    pub incarnation: Incarnation,
    /// What is checked, and how.
    pub spec: Arc<CheckSpec>,
    /// Where it stands by its latest probes, and whether that is held because of a local fault. [`Status::NEW`] before the
    /// first probe has ended.
    pub status: Status,
    /// What is known beyond the status.
    pub progress: Progress,
    /// What consumers get of it.
    pub reported: Reported,
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
    /// The health that consumers were given, or will be as soon as they take it. `None` when that is none.
    #[must_use]
    pub fn reported_health(&self) -> Option<Health> {
        match &self.reported {
            Reported::Nothing => None,
            Reported::Status => Some(self.status.health),
            Reported::Other(other) => Some(other.status.health),
        }
    }

    /// What the latest probe with a verdict found, in words. `None` before the first, and for health that was restored.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        self.status.outcome.as_ref().map(|outcome| self.spec.text(outcome))
    }
}
