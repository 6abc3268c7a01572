//! Changes of health, in their order.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use hc_types::Health;
use serde::{Deserialize, Serialize};

/// A place in the journal: behind the transition with this sequence number, of the checker that started with this epoch.
/// Written `EPOCH-SEQUENCE`; it is the id of server-sent events.
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
    /// Its number in the journal, from 1.
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

/// A part of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Transitions {
    /// Whether what was asked for is not there any more, or belongs to an earlier start of the checker: ask for all checks again.
    pub resync: bool,
    /// Where to go on: behind the last of these.
    pub next: String,
    /// The transitions, oldest first.
    pub transitions: Vec<Transition>,
}

impl Transitions {
    /// These transitions.
    #[must_use]
    pub fn new(resync: bool, next: Position, transitions: Vec<Transition>) -> Self {
        Self { resync, next: next.to_string(), transitions }
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
