//! Where a check stands.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::{CheckId, CheckKey, CheckSpec, Evidence, Incarnation, LocalFault, Outcome};

/// The state of a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// No probe has ended yet. Seesaw's engine takes it for down, so it is never sent as news.
    #[default]
    Unknown,
    /// The backend is not to get traffic.
    Unhealthy,
    /// The backend may get traffic.
    Healthy,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Health::Unknown => "unknown",
            Health::Unhealthy => "unhealthy",
            Health::Healthy => "healthy",
        })
    }
}

/// Where a check stands after its latest probe that ended in a verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// The state.
    pub health: Health,
    /// Start of the latest probe, on the wall clock. `None` before the first verdict.
    pub last_check: Option<SystemTime>,
    /// How long that probe took.
    pub duration: Duration,
    /// Failed probes since the check began.
    pub failures: u64,
    /// Passed probes since the check began.
    pub successes: u64,
    /// What that probe found. `None` before the first verdict.
    pub outcome: Option<Outcome>,
    /// Set while the latest probes were inconclusive: the rest of the status is what was known
    /// before them.
    pub held: Option<Box<Held>>,
    /// Words that stand in for those of the outcome: the health is what an operator says, not what
    /// probes found; or it is the verdict of other nodes, and no probe of this one found it.
    pub note: Option<Arc<str>>,
}

/// How many checks there are, by health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Healthy ones.
    pub healthy: u64,
    /// Unhealthy ones.
    pub unhealthy: u64,
    /// Those without a verdict yet.
    pub unknown: u64,
    /// Those of them, of any health, whose health is held because of a local fault.
    pub held: u64,
    /// Healthy ones that passed with a warning, such as a certificate that ends soon.
    pub warned: u64,
}

/// Why a check keeps its state although it is not known whether it is still true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The fault of this machine that made the latest probe inconclusive.
    pub fault: LocalFault,
    /// Start of the first inconclusive probe in a row, on the wall clock.
    pub since: SystemTime,
}

impl Status {
    /// A check that has not been probed.
    pub const NEW: Self = Self {
        health: Health::Unknown,
        last_check: None,
        duration: Duration::ZERO,
        failures: 0,
        successes: 0,
        outcome: None,
        held: None,
        note: None,
    };

    /// What somebody should look at although the check is healthy, such as a certificate that ends
    /// soon.
    #[must_use]
    pub fn warning(&self) -> Option<&str> {
        self.outcome.as_ref().filter(|_| self.health == Health::Healthy)?.warning()
    }
}

/// What is remembered of a check beyond its life: enough to go on as if nothing had happened.
///
/// Kept for a while after a check is removed, and in the snapshot for the next process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// What was checked.
    pub key: CheckKey,
    /// The state; never [`Health::Unknown`].
    pub health: Health,
    /// Consecutive failures up to the latest verdict.
    pub consecutive_failures: u32,
    /// Failed probes since the check began.
    pub failures: u64,
    /// Passed probes since the check began.
    pub successes: u64,
    /// Start of the latest probe with a verdict, on the wall clock.
    pub last_check: SystemTime,
    /// Start of the probe with which the health became what it is, on the wall clock; not after
    /// `last_check`. `None` where that is not known.
    pub since: Option<SystemTime>,
    /// How long the latest probe with a verdict took.
    pub duration: Duration,
}

/// What readers see of a check beyond its status, as of its latest update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Start of the probe with which the health became what it is, also where that was in an
    /// earlier process. `None` while the health is unknown, or if that process did not write it
    /// down. Not after the latest probe with a verdict: where the clock was set back, it is the
    /// start of the first probe after that.
    pub since: Option<SystemTime>,
    /// How many of the latest verdicts in a row were like the latest one: failures if it failed,
    /// passes if it passed. Passes before a restart of the process are not counted.
    pub in_a_row: u32,
    /// Start of the latest probe, whatever it found.
    pub last_probe: Option<SystemTime>,
    /// When the next probe is due. `None` where a change of the set has moved it, until that probe
    /// has ended.
    pub next_due: Option<SystemTime>,
}

/// The status of one check, with what it checks: words are made from both.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckStatus {
    /// The check.
    pub id: CheckId,
    /// What is checked.
    pub spec: Arc<CheckSpec>,
    /// Where it stands.
    pub status: Status,
}

/// Statuses that are delivered together: the latest ones at the moment when the batch was made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The set of checks that was in effect then.
    pub generation: Option<u64>,
    /// The statuses, the oldest change first. No check twice.
    pub statuses: Vec<CheckStatus>,
}

/// A status on its way from a shard to observers and consumers.
///
/// Carries what the text is made from instead of the text: most updates are overtaken by the next
/// one before anybody reads them.
#[derive(Clone, Debug)]
pub struct StatusUpdate {
    /// The check.
    pub id: CheckId,
    /// Which life of that id.
    pub incarnation: Incarnation,
    /// What is checked.
    pub spec: Arc<CheckSpec>,
    /// Where it stands. Its `health` is never [`Health::Unknown`] in an update that is reportable.
    pub status: Status,
    /// Whether the health changed, which consumers get at once. Otherwise the update waits for the
    /// next refresh. Never set in an update that is not reportable.
    pub transition: bool,
    /// Whether consumers get it. Not if its health was restored and no probe has confirmed it yet,
    /// nor if it says the same as the one before: a further inconclusive probe, another timing.
    pub reportable: bool,
    /// What only readers see.
    pub progress: Progress,
    /// What the probe saw that has brought the update about; nothing where none has.
    pub evidence: Evidence,
}

impl StatusUpdate {
    /// Whether a probe that ended has brought it about. Otherwise the set of checks has changed:
    /// the check goes on under another id or timing, or its health was restored.
    #[must_use]
    pub fn is_of_probe(&self) -> bool {
        self.progress.next_due.is_some()
    }

    /// Whether that probe ended in a verdict, which [`status`](Self::status) then holds. After one
    /// that was inconclusive it holds the verdict before, of a probe that began at another time,
    /// also where the health is not held any more ([`Failure::PathDown`](crate::Failure::PathDown)).
    #[must_use]
    pub fn is_of_verdict(&self) -> bool {
        let Progress { last_probe, .. } = self.progress;
        let is_older = last_probe.is_some_and(|began| Some(began) != self.status.last_check);
        self.is_of_probe() && self.status.held.is_none() && !is_older
    }
}
