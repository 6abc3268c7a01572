//! States at the time of a scrape.

use std::time::{Duration, SystemTime};

use hc_types::Counts;

use crate::checks::CheckSeries;

/// States at the time of a scrape. Instants, not ages: an age is true for a moment only.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// When the process started.
    pub started: Option<SystemTime>,
    /// Whether the checker can do its work.
    pub ready: bool,
    /// Checks by health.
    pub checks: Counts,
    /// The threads that run probes, in their order.
    pub shards: Vec<Shard>,
    /// The consumers.
    pub sinks: Vec<Sink>,
    /// Where the checks come from.
    pub source: Source,
    /// Probes that ended, by the label of their outcome.
    pub results: Vec<(&'static str, u64)>,
    /// Probes that were started.
    pub started_probes: u64,
    /// Checks that are due and wait because too many probes run.
    pub waiting: u64,
    /// How much later than due probes started.
    pub lateness: Histogram,
    /// How often a shard ran much later than it meant to, and how long that was in all.
    pub stalls: (u64, Duration),
    /// Episodes of inconclusive probes that began, by the label of the local fault.
    pub episodes: Vec<(&'static str, u64)>,
    /// Checks that are held by each local fault that is going on.
    pub held: Vec<(&'static str, u64)>,
    /// Changes of health since the start: to healthy, and to unhealthy.
    pub transitions: (u64, u64),
    /// Failures that are held because a check that theirs depends on is down, or has said nothing
    /// yet.
    pub dependents_held: u64,
    /// What the guard holds. `None` where it is off.
    pub guard: Option<Guard>,
    /// This node's part in a fleet. `None` without one.
    pub fleet: Option<Fleet>,
    /// What became of snapshots of health.
    pub snapshots: Snapshots,
    /// Overrides that stand, by kind.
    pub overrides: Vec<(&'static str, u64)>,
    /// What came of reading the files of checks again. `None` where they come from elsewhere.
    pub reloads: Option<Reloads>,
    /// What the process has given up.
    pub sandbox: Sandbox,
    /// The checks that have series of their own.
    pub check_series: CheckSeries,
    /// Spans of probes for a collector. `None` where none are made.
    pub spans: Option<Spans>,
}

/// What the guard holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Groups in which too many checks failed at once, and have not recovered.
    pub alarms: u64,
    /// Verdicts that are held, those included that only wait for company.
    pub held: u64,
}

/// A node's part in a fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// Nodes that it knows of, itself included.
    pub nodes: u64,
    /// Those of them whose opinions do not count.
    pub abstaining: u64,
    /// Whether its own do not.
    pub abstains: bool,
    /// Whether it is cut off from the others.
    pub cut_off: bool,
    /// Checks that it shares with others.
    pub checks: u64,
    /// Those of them that it probes.
    pub probed: u64,
    /// Its registrations that the store has ended.
    pub leases_lost: u64,
    /// Requests to the store that failed.
    pub failed_requests: u64,
    /// Objects that it has written into the store.
    pub objects_written: u64,
}

/// What became of snapshots of health, which a restart needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshots {
    /// None is written now: there is no directory, the latest try failed, or the disk hangs.
    pub failing: bool,
    /// Tries that failed.
    pub failures: u64,
    /// When one was last written.
    pub last_success: Option<SystemTime>,
}

/// What became of spans of probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    /// Those that the collector took.
    pub exported: u64,
    /// Those for which the queue had no room.
    pub dropped: u64,
    /// Those that the collector refused.
    pub rejected: u64,
}

/// Readings of files of checks after the one at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reloads {
    /// Those that took effect.
    pub applied: u64,
    /// Those that found something wrong.
    pub wrong: u64,
    /// Those that lacked descriptors or memory.
    pub short: u64,
    /// The latest of these found something wrong, leaving out those that lacked something.
    pub is_wrong: bool,
    /// When the files were last read without fault, also at the start.
    pub last_success: SystemTime,
}

/// How far something is confined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Confined {
    /// As it should be.
    Full,
    /// As far as an older kernel can.
    Partial,
    /// Not at all.
    #[default]
    None,
}

/// What the process has given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// Capabilities.
    pub capabilities: Confined,
    /// Files, by Landlock.
    pub files: Confined,
    /// System calls, by seccomp.
    pub syscalls: Confined,
}

/// Durations that were counted elsewhere.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Upper limits, rising, and how many durations are within each and above the one before. What
    /// is above the last one is known from `count`.
    pub buckets: Vec<(Duration, u64)>,
    /// All together.
    pub sum: Duration,
    /// How many there are.
    pub count: u64,
}

/// A thread that runs probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Checks that it has.
    pub checks: u64,
    /// Probes that run now.
    pub in_flight: u64,
    /// Checks that are due and wait because too many probes run.
    pub waiting: u64,
    /// Probes that it has started.
    pub started: u64,
    /// How long it has had work and did not wait.
    pub busy: Duration,
    /// How much later than due 99 of 100 probes of the last minute started, at most.
    pub late: Duration,
    /// When it last went through its loop.
    pub heartbeat: SystemTime,
}

/// A consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink {
    /// Its name.
    pub name: String,
    /// Checks with something that it has not taken yet.
    pub pending: u64,
    /// Since when the oldest of that waits.
    pub oldest_pending: Option<SystemTime>,
    /// Batches that it took.
    pub delivered: u64,
    /// Batches that it did not.
    pub failed: u64,
    /// Whether it did not take the latest one.
    pub failing: bool,
}

/// Where the checks come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// When the set of checks last changed, or was confirmed.
    pub applied: Option<SystemTime>,
    /// Sets that took effect.
    pub applied_total: u64,
    /// Checks of the latest set that were rejected.
    pub rejected: u64,
}
