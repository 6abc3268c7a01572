//! Changes of health and of overrides, in their order.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use hc_types::{Health, Operator};
use serde::{Deserialize, Serialize};

use crate::OverrideState;

/// A place in the journal: behind the transition with this sequence number, of the checker that
/// started with this epoch. Written `EPOCH-SEQUENCE`; it is the id of server-sent events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Another one after each start of the checker.
    pub epoch: u64,
    /// 0 is before the first transition.
    pub sequence: u64,
}

/// A text that is no [`Position`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PositionError;

impl fmt::Display for PositionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a position of the journal, which is EPOCH-SEQUENCE")
    }
}

impl std::error::Error for PositionError {}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.sequence)
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let (epoch, sequence) = text.split_once('-').ok_or(PositionError)?;
        let number = |text: &str| text.parse().map_err(|_| PositionError);
        Ok(Self { epoch: number(epoch)?, sequence: number(sequence)? })
    }
}

/// One change of health.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Transition {
    /// Its number in the journal, from 1. Changes of overrides are counted with those of health.
    pub sequence: u64,
    /// When the probe that brought it about began. RFC 3339, UTC.
    #[serde(with = "crate::time")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub time: SystemTime,
    /// The id of the check, a string of digits.
    pub id: String,
    /// The name of a check that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Where its probes go.
    pub target: String,
    /// The health before.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub from: Health,
    /// The health since.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub to: Health,
    /// Why, as a fixed word.
    pub reason: String,
    /// Why, in words.
    pub message: String,
}

impl Transition {
    /// The change of a check to the state that it is in now.
    #[must_use]
    pub fn new(sequence: u64, time: SystemTime, from: Health, check: &crate::CheckState) -> Self {
        Self {
            sequence,
            time,
            id: check.id.clone(),
            name: check.name.clone(),
            labels: check.labels.clone(),
            target: check.target.clone(),
            from,
            to: check.health,
            reason: check.reason.clone().unwrap_or_default(),
            message: check.message.clone(),
        }
    }

    /// The name, or the id of a check without one.
    #[must_use]
    pub fn title(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id)
    }
}

/// What happened to an override.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OverrideChange {
    /// Somebody asked for it. It takes the place of the one before of its kind, if the check had
    /// one.
    Set,
    /// It stands from now on: its beginning, or its part of the week, has come.
    Opened,
    /// Its part of the week is over until the next one.
    Closed,
    /// Somebody ended it.
    Withdrawn,
    /// Its time is over.
    Expired,
}

impl OverrideChange {
    /// The change in one word.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Opened => "opened",
            Self::Closed => "closed",
            Self::Withdrawn => "withdrawn",
            Self::Expired => "expired",
        }
    }
}

/// One change of what operators say of checks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct OverrideEvent {
    /// Its number in the journal, as that of a [`Transition`].
    pub sequence: u64,
    /// When it happened. RFC 3339, UTC.
    #[serde(with = "crate::time")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub time: SystemTime,
    /// What happened: `set`, `opened`, `closed`, `withdrawn` or `expired`.
    pub change: OverrideChange,
    /// The name of the check, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The labels of the check.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The override as it is after that: which check, what, who, why, until when.
    #[serde(rename = "override")]
    pub order: OverrideState,
    /// Who ended it, of one that was withdrawn: the user's name, or `uid 1000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<String>,
    /// That user's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by_uid: Option<u32>,
}

impl OverrideEvent {
    /// A change of this override.
    #[must_use]
    pub fn new(sequence: u64, time: SystemTime, change: OverrideChange, order: OverrideState) -> Self {
        Self {
            sequence,
            time,
            change,
            name: None,
            labels: BTreeMap::new(),
            order,
            ended_by: None,
            ended_by_uid: None,
        }
    }

    /// The same change, with what the check is called.
    #[must_use]
    pub fn of(mut self, name: Option<&str>, labels: impl IntoIterator<Item = (String, String)>) -> Self {
        (self.name, self.labels) = (name.map(str::to_owned), labels.into_iter().collect());
        self
    }

    /// The same change, with who ended the override.
    #[must_use]
    pub fn ended_by(mut self, by: Option<&Operator>) -> Self {
        (self.ended_by, self.ended_by_uid) = (by.map(ToString::to_string), by.map(|by| by.uid));
        self
    }

    /// A sentence about it: `forced unhealthy by root until 2026-11-29T14:00:00Z: disk replaced`,
    /// `no longer muted: ended by root (muted by root: kernel update)`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let OverrideState { by, reason, until, weekly, from, active, .. } = &self.order;
        let word = self.order.word();
        let time = |time| humantime::format_rfc3339_seconds(time);
        let until = until.map(|until| format!(" until {}", time(until))).unwrap_or_default();
        let because = format!("({word} by {by}: {reason})");
        match self.change {
            OverrideChange::Set => {
                let from = if *active || weekly.is_some() {
                    String::new()
                } else {
                    format!(" from {}", time(*from))
                };
                let weekly = weekly.as_ref().map(|weekly| format!(" each week {weekly}")).unwrap_or_default();
                format!("{word} by {by}{from}{until}{weekly}: {reason}")
            }
            OverrideChange::Opened => format!("{word} from now on{until} {because}"),
            OverrideChange::Closed => format!("no longer {word}, until the next window {because}"),
            OverrideChange::Withdrawn => {
                let ended = self.ended_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
                format!("no longer {word}: ended{ended} {because}")
            }
            OverrideChange::Expired => format!("no longer {word}: expired {because}"),
        }
    }
}

/// A part of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Transitions {
    /// Whether what was asked for is not there any more, or belongs to an earlier start of the
    /// checker: ask for all checks again.
    pub resync: bool,
    /// Where to go on: behind the last of these.
    pub next: String,
    /// The changes of health, oldest first.
    pub transitions: Vec<Transition>,
    /// The changes of overrides that lie between them by their numbers, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<OverrideEvent>,
}

/// A change of either kind. `event` says which, in the words of server-sent events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Change {
    /// Of health.
    #[serde(rename = "transition")]
    Health(Transition),
    /// Of what operators say.
    Override(OverrideEvent),
}

impl Change {
    /// Its number in the journal.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        match self {
            Self::Health(transition) => transition.sequence,
            Self::Override(event) => event.sequence,
        }
    }

    /// Changes of both kinds in the order in which they happened, which is that of their numbers: a
    /// change of health has the time at which its probe began, and may come after an override that
    /// was set meanwhile.
    #[must_use]
    pub fn in_order(transitions: Vec<Transition>, overrides: Vec<OverrideEvent>) -> Vec<Self> {
        let of_health = transitions.into_iter().map(Self::Health);
        let mut changes: Vec<Self> = of_health.chain(overrides.into_iter().map(Self::Override)).collect();
        changes.sort_by_key(Self::sequence);
        changes
    }
}

impl Transitions {
    /// These transitions.
    #[must_use]
    pub fn new(resync: bool, next: Position, transitions: Vec<Transition>) -> Self {
        Self { resync, next: next.to_string(), transitions, overrides: Vec::new() }
    }

    /// The same part, with changes of overrides.
    #[must_use]
    pub fn with_overrides(mut self, overrides: Vec<OverrideEvent>) -> Self {
        self.overrides = overrides;
        self
    }

    /// All changes, in the order in which they happened.
    #[must_use]
    pub fn into_changes(self) -> Vec<Change> {
        Change::in_order(self.transitions, self.overrides)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_read_back() {
        let position = Position { epoch: 17, sequence: u64::MAX };
        assert_eq!(position.to_string().parse(), Ok(position));
        for text in ["", "-", "1", "1-", "-1", "1-2-3", "a-b", "1--2"] {
            assert_eq!(text.parse::<Position>(), Err(PositionError), "{text}");
        }
    }
}
