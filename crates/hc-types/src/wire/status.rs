//! Statuses as they travel.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::{CheckId, CheckSpec, Health, RawBytes, Status};

/// The status of one check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusLine {
    /// Start of the latest probe; RFC 3339 in UTC. Absent before the first one.
    #[serde(with = "humantime_serde", default, skip_serializing_if = "Option::is_none")]
    pub last_check: Option<SystemTime>,
    /// How long that probe took; a humantime string.
    #[serde(with = "humantime_serde")]
    pub duration: Duration,
    /// Failed probes since the check began.
    pub failures: u64,
    /// Passed probes since the check began.
    pub successes: u64,
    /// The state.
    pub state: Health,
    /// The latest result in words.
    pub message: RawBytes,
}

impl StatusLine {
    /// Puts a status into words.
    #[must_use]
    pub fn new(spec: &CheckSpec, status: &Status) -> Self {
        Self {
            last_check: status.last_check,
            duration: status.duration,
            failures: status.failures,
            successes: status.successes,
            state: status.health,
            message: status.outcome.as_ref().map(|outcome| spec.text(outcome)).unwrap_or_default().into(),
        }
    }
}

/// The status of one check, under its id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// The check.
    pub id: CheckId,
    /// Where it stands.
    pub status: StatusLine,
}
