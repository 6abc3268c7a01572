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
    /// Those of them, of any health, whose health is held because of trouble on the checker's own
    /// machine.
    pub held: u64,
    /// Healthy ones that passed with a warning, such as a certificate that ends soon. 0 from older
    /// servers.
    #[serde(default)]
    pub warned: u64,
}

impl From<hc_types::Counts> for Counts {
    fn from(counts: hc_types::Counts) -> Self {
        let hc_types::Counts { healthy, unhealthy, unknown, held, warned } = counts;
        Self { total: healthy + unhealthy + unknown, healthy, unhealthy, unknown, held, warned }
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
    /// What is wrong and does not keep it from its work, in words: a sink that fails and is not
    /// `required`.
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
    /// Checks that are due now and wait because too many of its probes run.
    #[serde(default)]
    pub waiting: u64,
    /// Probes that it began, since the start.
    #[serde(default)]
    pub started: u64,
    /// The share of the last minute in which it had work and did not wait, 0 to 1. Near 1 it begins
    /// probes late. Absent in its first seconds, and from older servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy: Option<f64>,
    /// How much later than due its probes of the last minute began. Absent from older servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lateness: Option<Lateness>,
}

impl ShardState {
    /// One shard.
    #[must_use]
    pub fn new(shard: usize, checks: u64, in_flight: u64, heartbeat: SystemTime, stuck: bool) -> Self {
        Self {
            shard,
            checks,
            in_flight,
            heartbeat,
            stuck,
            waiting: 0,
            started: 0,
            busy: None,
            lateness: None,
        }
    }
}

/// Probes of all threads, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ProbeCounts {
    /// Probes that began.
    pub started: u64,
    /// Those that run now.
    pub in_flight: u64,
    /// Checks that are due now and wait because too many probes run.
    pub waiting: u64,
    /// Probes that said nothing because of the checker's own machine.
    pub inconclusive: u64,
    /// Times that a thread ran much later than it meant to.
    pub stalls: u64,
    /// How long these were all together, in seconds.
    pub stalled_seconds: f64,
}

impl ProbeCounts {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// How much later than due probes began, since the start, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Lateness {
    /// Half of all were not later than this.
    pub p50_seconds: f64,
    /// 99 of 100 were not later than this.
    pub p99_seconds: f64,
    /// The latest.
    pub max_seconds: f64,
}

impl Lateness {
    /// These three, in seconds.
    #[must_use]
    pub fn new(p50_seconds: f64, p99_seconds: f64, max_seconds: f64) -> Self {
        Self { p50_seconds, p99_seconds, max_seconds }
    }
}

/// The same figures of the last minute, and up to ten seconds more: how it is now. Those since the
/// start keep a stall of an hour ago for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Recent {
    /// Probes that began.
    pub started: u64,
    /// Probes that said nothing because of the checker's own machine.
    pub inconclusive: u64,
    /// Times that a thread ran much later than it meant to.
    pub stalls: u64,
    /// How long these were all together, in seconds.
    pub stalled_seconds: f64,
    /// How much later than due probes began.
    pub lateness: Lateness,
}

impl Recent {
    /// Nothing in the last minute.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// Where checks come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct SourceState {
    /// When a set of checks last took effect. Absent before the first. RFC 3339, UTC.
    #[serde(default, with = "crate::time::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub applied_at: Option<SystemTime>,
    /// Sets that took effect since the start.
    pub applied: u64,
    /// Checks of the latest set that were rejected.
    pub rejected: u64,
}

impl SourceState {
    /// These figures.
    #[must_use]
    pub fn new(applied_at: Option<SystemTime>, applied: u64, rejected: u64) -> Self {
        Self { applied_at, applied, rejected }
    }
}

/// A consumer of health.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct SinkState {
    /// Its name.
    pub name: String,
    /// Checks with something that it has not taken yet.
    pub pending: u64,
    /// How long the oldest of that has been waiting, in seconds. Absent where nothing waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_pending_seconds: Option<f64>,
    /// Batches that it took.
    pub delivered: u64,
    /// Batches that it did not.
    pub failed: u64,
    /// Failures since the last batch that it took.
    pub failures_in_a_row: u32,
    /// Why the latest failed. Empty: none has.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_error: String,
}

impl SinkState {
    /// A consumer that has not been given anything.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            pending: 0,
            oldest_pending_seconds: None,
            delivered: 0,
            failed: 0,
            failures_in_a_row: 0,
            last_error: String::new(),
        }
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
    /// Their probes, since the start.
    #[serde(default)]
    pub probes: ProbeCounts,
    /// How much later than due these began.
    #[serde(default)]
    pub lateness: Lateness,
    /// The same of the last minute. Absent from older servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recent: Option<Recent>,
    /// Where checks come from.
    #[serde(default)]
    pub source: SourceState,
    /// Who gets their health.
    #[serde(default)]
    pub sinks: Vec<SinkState>,
    /// Failures that are held because a check that theirs depends on is down, or has not been probed
    /// again since they failed.
    #[serde(default)]
    pub dependents_held: u64,
    /// Overrides that stand now.
    #[serde(default)]
    pub overrides: u64,
    /// Behind the latest change, of health or of what operators say: `EPOCH-SEQUENCE`.
    #[serde(default)]
    pub position: String,
    /// The checker's clock when this was answered. RFC 3339, UTC. Absent from older servers.
    #[serde(default, with = "crate::time::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub now: Option<SystemTime>,
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
        Self {
            node: node.into(),
            version: version.into(),
            started_at,
            checks,
            readiness,
            shards,
            probes: ProbeCounts::default(),
            lateness: Lateness::default(),
            recent: None,
            source: SourceState::default(),
            sinks: Vec::new(),
            dependents_held: 0,
            overrides: 0,
            position: String::new(),
            now: None,
        }
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
