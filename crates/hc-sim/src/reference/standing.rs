//! What the verdicts of one check amount to.

use std::time::{Duration, SystemTime};

use hc_types::{Health, Outcome, Remembered, Status};

use crate::clock::Nanos;

/// What verdicts amount to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Standing {
    pub(crate) status: Status,
    /// Start of the probe with which the health became what it is.
    began: Option<SystemTime>,
    failed: u32,
    /// Passes in a row, up to the latest verdict; those before a restart are not known.
    passed: u32,
    /// When the next probe is due; means nothing while one is in flight.
    pub(crate) due: Nanos,
    /// A probe has borne it out, or it has changed, since it was remembered.
    pub(super) certain: bool,
}

impl Standing {
    pub(super) const NEW: Self =
        Self { status: Status::NEW, began: None, failed: 0, passed: 0, due: 0, certain: false };

    /// Takes a verdict: the first one decides, then `rise` passes in a row, or more failures in a
    /// row than `retries`.
    pub(super) fn judge(
        &mut self,
        outcome: &Outcome,
        (retries, rise): (u32, u32),
        wall: SystemTime,
        duration: Duration,
    ) {
        let before = self.status.health;
        let status = &mut self.status;
        if matches!(outcome, Outcome::Pass(_)) {
            (self.failed, self.passed) = (0, self.passed + 1);
            status.successes += 1;
            if status.health != Health::Unhealthy || self.passed >= rise {
                status.health = Health::Healthy;
            }
        } else {
            (self.failed, self.passed) = (self.failed + 1, 0);
            status.failures += 1;
            if status.health != Health::Healthy || self.failed > retries {
                status.health = Health::Unhealthy;
            }
        }
        (status.last_check, status.duration) = (Some(wall), duration);
        if status.health != before {
            self.began = Some(wall);
        }
        // The clock may have been set back.
        self.began = self.began.min(Some(wall));
        status.outcome = Some(outcome.clone());
        // A failure that the retries cover says nothing for the health that it leaves, nor does a
        // pass before the rise.
        self.certain |= (self.failed == 0) == (status.health == Health::Healthy);
    }

    /// Which of the three intervals counts: the usual one, the fast one while the latest result
    /// speaks against the health, or that of a check that is down.
    pub(super) fn pace(&self) -> usize {
        match self.status.health {
            Health::Unknown => 0,
            Health::Healthy => usize::from(self.failed > 0),
            Health::Unhealthy => 2 - usize::from(self.passed > 0),
        }
    }

    /// Whether this is what was remembered of it.
    pub(crate) fn is(&self, other: &Remembered) -> bool {
        let Remembered {
            key: _,
            health,
            consecutive_failures,
            failures,
            successes,
            last_check,
            since,
            duration,
        } = *other;
        let status = &self.status;
        (status.health, self.failed, self.began) == (health, consecutive_failures, since)
            && (status.failures, status.successes) == (failures, successes)
            && (status.last_check, status.duration) == (Some(last_check), duration)
    }

    /// Failures or passes in a row up to the latest verdict.
    pub(super) fn in_a_row(&self) -> u32 {
        self.failed.max(self.passed)
    }

    /// The same, in doubt.
    pub(super) fn doubted(&self) -> Self {
        Self { certain: false, ..self.clone() }
    }

    pub(super) fn is_something(&self) -> bool {
        self.status.health != Health::Unknown
    }
}

impl From<&Remembered> for Standing {
    fn from(remembered: &Remembered) -> Self {
        let Remembered {
            key: _,
            health,
            consecutive_failures,
            failures,
            successes,
            last_check,
            since: began,
            duration,
        } = *remembered;
        let last_check = Some(last_check);
        let status = Status { health, last_check, duration, failures, successes, ..Status::NEW };
        Self { status, began, failed: consecutive_failures, passed: 0, due: 0, certain: false }
    }
}
