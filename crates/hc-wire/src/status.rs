//! Statuses as they travel.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use hc_types::{CheckId, CheckSpec, CheckStatus, Health, Held, RawBytes, Status};
use serde::{Deserialize, Serialize};

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
    /// The latest result in words; of a check that is held, also since when and why; of one whose
    /// health an operator has forced, who did so and why.
    #[serde(with = "crate::bytes")]
    pub message: RawBytes,
}

impl StatusLine {
    /// Puts a status into words.
    #[must_use]
    pub fn new(spec: &CheckSpec, status: &Status) -> Self {
        let words = || status.outcome.as_ref().map(|outcome| spec.text(outcome));
        let note = status.note.as_deref().map(str::to_owned);
        let mut message = note.or_else(words).unwrap_or_default();
        if let Some(held) = &status.held {
            let Held { fault, since } = **held;
            let since = humantime::format_rfc3339_seconds(since);
            let lead = if message.is_empty() { "" } else { "; " };
            // Writing to a String cannot fail.
            let _ = write!(message, "{lead}held {} since {since}: {fault}", status.health);
        }
        Self {
            last_check: status.last_check,
            duration: status.duration,
            failures: status.failures,
            successes: status.successes,
            state: status.health,
            message: message.into(),
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

/// Puts the status into words.
impl From<CheckStatus> for Notification {
    fn from(CheckStatus { id, spec, status }: CheckStatus) -> Self {
        Self { id, status: StatusLine::new(&spec, &status) }
    }
}
