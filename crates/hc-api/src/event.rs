//! What happened to checks.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::CheckState;

/// The version of [`Events`]. Fields may be added within a version; a reader ignores what it does not know.
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
    /// At most one for each check.
    pub events: Vec<Event>,
}

impl Events {
    /// Events of one node.
    #[must_use]
    pub fn new(node: impl Into<String>, sent_at: SystemTime, events: Vec<Event>) -> Self {
        Self { version: VERSION, node: node.into(), sent_at, events }
    }
}

/// The state of one check after it changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Event {
    /// Whether it is the first that this consumer hears of the check since the checker started: then it need not be a change.
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
