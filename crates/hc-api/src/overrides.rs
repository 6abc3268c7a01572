//! What operators say of checks.

use std::time::SystemTime;

use hc_types::{Health, Override, Ruling};
use serde::{Deserialize, Serialize};

/// The longest reason, in bytes.
pub const MAX_REASON: usize = 500;

/// A kind of override.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum OverrideKind {
    /// Consumers get another health.
    Force,
    /// Consumers keep what they have.
    Mute,
    /// No probe begins.
    Pause,
}

impl OverrideKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Force, Self::Mute, Self::Pause];

    /// The kind in one word.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Force => "force",
            Self::Mute => "mute",
            Self::Pause => "pause",
        }
    }
}

impl From<&Ruling> for OverrideKind {
    fn from(ruling: &Ruling) -> Self {
        match ruling {
            Ruling::Force(_) => Self::Force,
            Ruling::Mute { .. } => Self::Mute,
            Ruling::Pause => Self::Pause,
        }
    }
}

/// Which checks: some by id or name, or all that a filter takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Selection {
    /// Ids or names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
    /// A filter, written like the query of `/api/v1/checks`. It counts once: checks that begin
    /// later are not in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

/// A request for overrides. One of `for`, `until`, `weekly` and `forever` says how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OverrideRequest {
    /// What is asked for.
    pub kind: OverrideKind,
    /// For `force`: `healthy` or `unhealthy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub health: Option<Health>,
    /// Of which checks.
    pub of: Selection,
    /// Why. Required, at most 500 bytes.
    pub reason: String,
    /// For so long from now on: `90s`, `2h 30m`.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub for_: Option<String>,
    /// From this instant on (RFC 3339), for a `mute` that begins later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Until this instant (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// For a `mute`: in this part of each week, `Sun 02:00-04:00`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weekly: Option<String>,
    /// The time zone of `weekly`: `Europe/Berlin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Until somebody ends it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forever: bool,
}

/// A request to end overrides before their time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WithdrawRequest {
    /// Of this kind.
    pub kind: OverrideKind,
    /// Of which checks; a check that does not run at present is named as it was called.
    pub of: Selection,
}

/// An override.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct OverrideState {
    /// Of which check: its name or id when the override was asked for.
    pub check: String,
    /// The ids of the checks that run and that it is of, strings of digits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// `force`, `mute` or `pause`.
    pub kind: OverrideKind,
    /// What consumers get: the forced health, or what a muted check is kept at, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub health: Option<Health>,
    /// Whether it stands now: not before its beginning, nor outside of its part of the week.
    pub active: bool,
    /// Why.
    pub reason: String,
    /// Who asked for it: the user's name, or `uid 1000`.
    pub by: String,
    /// The user's id.
    pub uid: u32,
    /// When it was asked for. RFC 3339, UTC.
    #[serde(with = "crate::time")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub asked_at: SystemTime,
    /// When it begins. RFC 3339, UTC.
    #[serde(with = "crate::time")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub from: SystemTime,
    /// When it is over; absent if only somebody ends it. RFC 3339, UTC.
    #[serde(default, with = "crate::time::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub until: Option<SystemTime>,
    /// The part of each week in which it stands: `Sun 02:00-04:00 Europe/Berlin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weekly: Option<String>,
    /// When `active` changes, if time alone does that. RFC 3339, UTC.
    #[serde(default, with = "crate::time::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub next_change: Option<SystemTime>,
}

impl OverrideState {
    /// This override, whether it stands, when that changes, and of which checks it is.
    #[must_use]
    pub fn new(order: &Override, active: bool, next_change: Option<SystemTime>, ids: Vec<u64>) -> Self {
        let health = match order.ruling {
            Ruling::Force(health) => Some(health),
            Ruling::Mute { kept } => kept,
            Ruling::Pause => None,
        };
        Self {
            check: order.title.to_string(),
            ids: ids.into_iter().map(|id| id.to_string()).collect(),
            kind: (&order.ruling).into(),
            health,
            active,
            reason: order.reason.to_string(),
            by: order.by.to_string(),
            uid: order.by.uid,
            asked_at: order.asked,
            from: order.from,
            until: order.until,
            weekly: order.weekly.as_ref().map(ToString::to_string),
            next_change,
        }
    }

    /// `forced unhealthy`, `muted`, `paused`.
    #[must_use]
    pub fn word(&self) -> String {
        match (self.kind, self.health) {
            (OverrideKind::Force, Some(health)) => format!("forced {health}"),
            (OverrideKind::Force, None) => "forced".to_owned(),
            (OverrideKind::Mute, _) => "muted".to_owned(),
            (OverrideKind::Pause, _) => "paused".to_owned(),
        }
    }

    /// A sentence about it.
    #[must_use]
    pub fn sentence(&self) -> String {
        let time = |time| humantime::format_rfc3339_seconds(time);
        let (word, by, reason) = (self.word(), &self.by, &self.reason);
        let begin = if self.active { "" } else { "Not at present: " };
        let weekly = self.weekly.as_ref().map(|weekly| format!(", each week {weekly}")).unwrap_or_default();
        let from =
            if self.from > self.asked_at { format!(" from {}", time(self.from)) } else { String::new() };
        let until = self
            .until
            .map_or(", until somebody ends that".to_owned(), |until| format!(" until {}", time(until)));
        format!("{begin}{word} by {by} at {}{from}{until}{weekly}: {reason}", time(self.asked_at))
    }
}

/// All overrides, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Overrides {
    /// The overrides.
    pub overrides: Vec<OverrideState>,
}

impl Overrides {
    /// These.
    #[must_use]
    pub fn new(overrides: Vec<OverrideState>) -> Self {
        Self { overrides }
    }
}

/// What consumers get of a check instead of its health.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ReportedState {
    /// The health that they get; absent while they get none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub health: Option<Health>,
    /// Why: `override`, `dependency`, `guard`, or `unconfirmed` for health that is remembered and
    /// no probe has confirmed yet.
    pub by: String,
}

impl ReportedState {
    /// This health, for this reason.
    #[must_use]
    pub fn new(health: Option<Health>, by: impl Into<String>) -> Self {
        Self { health, by: by.into() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use hc_types::{Operator, Subject};

    use super::*;

    #[test]
    fn an_override_reads_back_and_has_a_sentence() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let order = Override {
            subject: Subject::Name("web".into()),
            title: "web".into(),
            ruling: Ruling::Force(Health::Unhealthy),
            by: Operator { uid: 0, user: Some("root".into()) },
            reason: "disk replaced".into(),
            asked: at(0),
            from: at(0),
            until: Some(at(3600)),
            weekly: None,
        };
        let state = OverrideState::new(&order, true, Some(at(3600)), vec![u64::MAX]);
        let json = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<OverrideState>(&json).unwrap(), state);
        assert!(
            json.contains(r#""ids":["18446744073709551615"],"kind":"force","health":"unhealthy""#),
            "{json}"
        );
        assert_eq!(
            state.sentence(),
            "forced unhealthy by root at 1970-01-01T00:00:00Z until 1970-01-01T01:00:00Z: disk replaced"
        );
    }

    #[test]
    fn a_request_with_a_misspelt_field_is_an_error() {
        let request = |text| serde_json::from_str::<OverrideRequest>(text);
        let fine = request(r#"{"kind":"pause","of":{"checks":["web"]},"reason":"r","for":"1h"}"#).unwrap();
        assert_eq!((fine.for_.as_deref(), fine.of.checks.len()), (Some("1h"), 1));
        assert!(request(r#"{"kind":"pause","of":{},"reason":"r","fore":"1h"}"#).is_err());
        assert!(request(r#"{"kind":"pause","of":{"check":"web"},"reason":"r"}"#).is_err());
    }
}
