//! A fleet of nodes, and what it makes of a check.

use std::fmt::Write as _;

use hc_types::Health;
use serde::{Deserialize, Serialize};

/// The fleet as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct FleetState {
    /// The name of this node.
    pub node: String,
    /// Whether this node neither hears of the fleet nor reaches it: its verdicts are its own.
    pub cut_off: bool,
    /// Checks that consumers of this node need.
    pub checks: u64,
    /// How many of them this node probes.
    pub probed: u64,
    /// All nodes, by name.
    pub nodes: Vec<FleetNode>,
}

/// A node of a fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct FleetNode {
    /// Its name.
    pub name: String,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// Its share of the checks beside others.
    pub capacity: u16,
    /// The version of its program.
    #[serde(default)]
    pub version: String,
    /// Slots of which it is the first to probe the checks, of 16,384.
    pub slots: u32,
    /// Why its opinions do not count. Absent while they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abstains: Option<String>,
}

impl FleetState {
    /// The fleet as the node with this name sees it.
    #[must_use]
    pub fn new(node: impl Into<String>, cut_off: bool, nodes: Vec<FleetNode>) -> Self {
        Self { node: node.into(), cut_off, checks: 0, probed: 0, nodes }
    }
}

impl FleetNode {
    /// A node whose opinions count.
    #[must_use]
    pub fn new(name: impl Into<String>, capacity: u16, version: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            zone: String::new(),
            capacity,
            version: version.into(),
            slots: 0,
            abstains: None,
        }
    }
}

/// What a fleet makes of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct VerdictState {
    /// What consumers hear, unless an operator says otherwise.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub health: Health,
    /// On what that rests: `fleet`, the opinions of its nodes; `held`, the verdict before, since they
    /// decide nothing now; `alone`, this node's own probes, since it is cut off.
    pub basis: String,
    /// How many opinions are wanted.
    pub wanted: u8,
    /// Whether this node probes it.
    pub probed_here: bool,
    /// The nodes that have an opinion or should have one: those first whose turn it is.
    pub opinions: Vec<OpinionState>,
}

/// What a node says of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct OpinionState {
    /// The node.
    pub node: String,
    /// What its probes find. Absent while it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub health: Option<Health>,
    /// The fixed word of the result that it rests on: `pass`, `timeout_connect`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// Results in a row that bore it out when it was written.
    #[serde(default)]
    pub in_a_row: u32,
    /// Whether it counts.
    pub counts: bool,
}

impl VerdictState {
    /// A verdict without opinions.
    #[must_use]
    pub fn new(health: Health, basis: impl Into<String>, wanted: u8, probed_here: bool) -> Self {
        Self { health, basis: basis.into(), wanted, probed_here, opinions: Vec::new() }
    }

    /// What follows from it for this node's consumers, and who says what.
    pub(crate) fn sentences(&self) -> Vec<String> {
        let verdict = match (self.health, &*self.basis) {
            (Health::Unknown, _) => "The fleet has no verdict yet; nothing is reported before.".to_owned(),
            (health, "fleet") => format!("The verdict of the fleet is {health}."),
            (health, "alone") => format!("This node is cut off from the fleet; its own verdict is {health}."),
            (health, _) => format!(
                "The verdict of the fleet is {health}, as before: the opinions that are there decide nothing."
            ),
        };
        let mut lines = vec![verdict];
        for OpinionState { node, health, label, in_a_row, counts } in &self.opinions {
            let mut line = match health {
                Some(health) => format!("{node} finds it {health} ({label}, {in_a_row} in a row)"),
                None => format!("{node} has said nothing yet"),
            };
            if health.is_some() && !counts {
                let _ = write!(line, "; that does not count");
            }
            lines.push(line + ".");
        }
        lines
    }
}

impl OpinionState {
    /// A node that has said nothing.
    #[must_use]
    pub fn new(node: impl Into<String>) -> Self {
        Self { node: node.into(), health: None, label: String::new(), in_a_row: 0, counts: false }
    }

    /// It says this.
    #[must_use]
    pub fn with_opinion(
        mut self,
        health: Health,
        label: impl Into<String>,
        in_a_row: u32,
        counts: bool,
    ) -> Self {
        (self.health, self.label, self.in_a_row, self.counts) =
            (Some(health), label.into(), in_a_row, counts);
        self
    }
}
