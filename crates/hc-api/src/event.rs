//! What happened to checks.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::{CheckState, OverrideEvent};

/// The version of [`Events`]. Fields may be added within a version; a reader ignores what it does
/// not know.
pub const VERSION: u32 = 1;

/// What consumers get at once: the body of a webhook, the standard input of a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Events {
    /// [`VERSION`].
    pub version: u32,
    /// The machine that checks.
    pub node: String,
    /// When this was sent. RFC 3339, UTC.
    #[serde(with = "crate::time")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub sent_at: SystemTime,
    /// Changes of health, at most one for each check.
    pub events: Vec<Event>,
    /// Changes of what operators say, for consumers that asked for them, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<OverrideEvent>,
    /// How many changes of overrides before those are lost to the consumer: more came at once, or
    /// while it took none, than are kept. They are of all checks, also of those that are not for it.
    /// What stands is in `/api/v1/overrides`.
    #[serde(default, skip_serializing_if = "is_none")]
    pub overrides_missed: u64,
}

/// Whether a number is left out of the JSON.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

impl Events {
    /// Events of one node.
    #[must_use]
    pub fn new(node: impl Into<String>, sent_at: SystemTime, events: Vec<Event>) -> Self {
        Self {
            version: VERSION,
            node: node.into(),
            sent_at,
            events,
            overrides: Vec::new(),
            overrides_missed: 0,
        }
    }

    /// The same, with changes of overrides.
    #[must_use]
    pub fn with_overrides(mut self, overrides: Vec<OverrideEvent>) -> Self {
        self.overrides = overrides;
        self
    }

    /// The same, with how many changes of overrides are lost.
    #[must_use]
    pub fn with_overrides_missed(mut self, missed: u64) -> Self {
        self.overrides_missed = missed;
        self
    }
}

/// The state of one check after it changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Event {
    /// Whether it is the first that this consumer hears of the check since the checker started:
    /// then it need not be a change.
    pub initial: bool,
    /// The check as it stands.
    #[serde(flatten)]
    pub check: CheckState,
}

impl Event {
    /// One event.
    #[must_use]
    pub fn new(initial: bool, check: CheckState) -> Self {
        Self { initial, check }
    }
}

/// The content of a state file: every check as it stood at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct States<C = Vec<CheckState>> {
    /// [`VERSION`].
    pub version: u32,
    /// The machine that checks.
    pub node: String,
    /// When this was written. RFC 3339, UTC.
    #[serde(with = "crate::time")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub written_at: SystemTime,
    /// The checks, in the order of their ids as numbers.
    pub checks: C,
}

impl<C> States<C> {
    /// The checks of one node.
    #[must_use]
    pub fn new(node: impl Into<String>, written_at: SystemTime, checks: C) -> Self {
        Self { version: VERSION, node: node.into(), written_at, checks }
    }
}

/// A line of an event log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Line {
    /// When it was written. RFC 3339, UTC.
    #[serde(with = "crate::time")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub time: SystemTime,
    /// The machine that checks.
    pub node: String,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

impl Line {
    /// A line about one event.
    #[must_use]
    pub fn new(node: impl Into<String>, time: SystemTime, event: Event) -> Self {
        Self { time, node: node.into(), event }
    }
}

/// A line of an event log about an override. It has `"event":"override"`, and lines about health
/// have no `event`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct OverrideLine {
    /// The machine that checks.
    pub node: String,
    /// `override`.
    pub event: String,
    /// What happened, and when.
    #[serde(flatten)]
    pub change: OverrideEvent,
}

impl OverrideLine {
    /// A line about one change.
    #[must_use]
    pub fn new(node: impl Into<String>, change: OverrideEvent) -> Self {
        Self { node: node.into(), event: "override".to_owned(), change }
    }
}

/// A line of an event log about changes of overrides that are lost to it. It has
/// `"event":"overrides_missed"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct MissedLine {
    /// When it was written. RFC 3339, UTC.
    #[serde(with = "crate::time")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub time: SystemTime,
    /// The machine that checks.
    pub node: String,
    /// `overrides_missed`.
    pub event: String,
    /// How many: more came at once, or while nothing could be written, than are kept.
    pub missed: u64,
}

impl MissedLine {
    /// A line about so many changes.
    #[must_use]
    pub fn new(node: impl Into<String>, time: SystemTime, missed: u64) -> Self {
        Self { time, node: node.into(), event: "overrides_missed".to_owned(), missed }
    }
}
