//! The checker itself.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// How many checks there are, by health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Counts {
    /// All.
    pub total: u64,
    /// Those whose backend may get traffic.
    pub healthy: u64,
    /// Those whose backend may not.
    pub unhealthy: u64,
    /// Those without a verdict yet.
    pub unknown: u64,
    /// Those of them, of any health, whose health is held because of trouble on the checker's own machine.
    pub held: u64,
}

impl From<hc_types::Counts> for Counts {
    fn from(counts: hc_types::Counts) -> Self {
        let hc_types::Counts { healthy, unhealthy, unknown, held } = counts;
        Self { total: healthy + unhealthy + unknown, healthy, unhealthy, unknown, held }
    }
}

/// Whether the checker can do its work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Readiness {
    /// Whether nothing stands in `reasons`.
    pub ready: bool,
    /// What keeps it from its work, in words, the worst first.
    pub reasons: Vec<String>,
    /// What is wrong and does not keep it from its work, in words: a sink that fails and is not `required`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl Readiness {
    /// Ready, if there is no reason against it.
    #[must_use]
    pub fn new(reasons: Vec<String>) -> Self {
        Self { ready: reasons.is_empty(), reasons, warnings: Vec::new() }
    }

    /// The same, with what is wrong beside that.
    #[must_use]
    pub fn with_warnings(mut self, warnings: Vec<String>) -> Self {
        self.warnings = warnings;
        self
    }
}

/// One thread that runs probes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ShardState {
    /// Its number, from 0.
    pub shard: usize,
    /// Checks that it has.
    pub checks: u64,
    /// Probes that run now.
    pub in_flight: u64,
    /// When it last went through its loop. RFC 3339, UTC.
    #[serde(with = "crate::time")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub heartbeat: SystemTime,
    /// Whether that was long ago for the work that it has.
    pub stuck: bool,
}

impl ShardState {
    /// One shard.
    #[must_use]
    pub fn new(shard: usize, checks: u64, in_flight: u64, heartbeat: SystemTime, stuck: bool) -> Self {
        Self { shard, checks, in_flight, heartbeat, stuck }
    }
}

/// The answer to "is something wrong, and is it us?".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Overview {
    /// The machine that checks.
    pub node: String,
    /// Version of hc-server.
    pub version: String,
    /// When it started. RFC 3339, UTC.
    #[serde(with = "crate::time")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub started_at: SystemTime,
    /// Checks by health.
    pub checks: Counts,
    /// Whether the checker can do its work.
    #[serde(flatten)]
    pub readiness: Readiness,
    /// The threads that run probes.
    pub shards: Vec<ShardState>,
}

impl Overview {
    /// One checker.
    #[must_use]
    pub fn new(
        node: impl Into<String>,
        version: impl Into<String>,
        started_at: SystemTime,
        checks: Counts,
        readiness: Readiness,
        shards: Vec<ShardState>,
    ) -> Self {
        Self { node: node.into(), version: version.into(), started_at, checks, readiness, shards }
    }
}

/// An error of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Problem {
    /// What is wrong, in words.
    pub error: String,
}

impl Problem {
    /// These words.
    #[must_use]
    pub fn new(error: impl Into<String>) -> Self {
        Self { error: error.into() }
    }
}
