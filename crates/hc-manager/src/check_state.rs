//! What is known of a check, apart from its name and its schedule.

use std::time::{Duration, SystemTime};

use hc_types::{CheckKey, Health, Outcome, Remembered, SmallOutcome, Status, U48, WallTime};

use crate::machine::CheckMachine;
use crate::schedule::nanos;

/// The state of a check and its latest result: what outlives its id.
#[derive(Clone, Debug)]
pub(crate) struct CheckState {
    pub(crate) machine: CheckMachine,
    last_check: Option<WallTime>,
    /// Start of the probe with which the health became what it is.
    since: Option<WallTime>,
    /// The latest result, if it has a text or is larger for another reason.
    large_outcome: Option<Box<Outcome>>,
    /// The latest result otherwise. Both are `None` before the first, and in what comes from
    /// another process.
    outcome: Option<SmallOutcome>,
    /// Nanoseconds.
    duration: U48,
    /// A probe has borne out the health, or changed it, since it was remembered.
    confirmed: bool,
}

impl CheckState {
    /// Nothing.
    pub(crate) const NEW: Self = Self {
        machine: CheckMachine::NEW,
        last_check: None,
        since: None,
        large_outcome: None,
        outcome: None,
        duration: U48::ZERO,
        confirmed: false,
    };

    /// Whether there is anything worth remembering.
    pub(crate) fn has_verdict(&self) -> bool {
        self.machine.health() != Health::Unknown
    }

    /// Whether it can be told. Health that was remembered cannot, until a probe has borne it out or
    /// it has changed: the consumer keeps what it heard last, which may be newer than the memory.
    /// The process before may have told of a death and been killed before it wrote that down.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.has_verdict() && self.confirmed
    }

    /// Begins anew with this health, unless it is unknown. It cannot be told before a probe has borne
    /// it out.
    pub(crate) fn begin_with(&mut self, health: Health) {
        self.confirmed = false;
        if health == Health::Unknown {
            return;
        }
        if self.machine.health() != health {
            (self.since, self.outcome, self.large_outcome) = (None, None, None);
        }
        let (failures, successes) = (self.machine.failures(), self.machine.successes());
        self.machine = CheckMachine::restored(health, 0, failures, successes);
    }

    /// From memory, and too old to be told as it is.
    pub(crate) fn unconfirmed(mut self) -> Self {
        self.confirmed = false;
        self
    }

    /// Start of the latest probe with a verdict.
    pub(crate) fn last_check(&self) -> Option<SystemTime> {
        self.last_check.map(SystemTime::from)
    }

    /// Start of the probe with which the health became what it is, if that is known.
    pub(crate) fn since(&self) -> Option<SystemTime> {
        self.since.map(SystemTime::from)
    }

    /// Keeps the latest result, after the machine has taken it; `changed` if that changed the
    /// health.
    pub(crate) fn keep(&mut self, started: SystemTime, duration: Duration, outcome: Outcome, changed: bool) {
        // Failures that the retries cover, and passes before the rise, leave a health that they
        // speak against.
        let disputed = match outcome {
            Outcome::Fail(_) => self.machine.health() == Health::Healthy,
            _ => self.machine.health() == Health::Unhealthy,
        };
        self.confirmed |= !disputed;
        self.last_check = Some(started.into());
        // The clock may have been set back since. What is shown must not lie in the future, and it
        // stays from now on, so the check is not younger with each probe.
        if changed || self.since > self.last_check {
            self.since = self.last_check;
        }
        self.duration = nanos(duration).into();
        self.outcome = SmallOutcome::of(&outcome);
        self.large_outcome = self.outcome.is_none().then(|| Box::new(outcome));
    }

    fn outcome(&self) -> Option<Outcome> {
        self.outcome.map(Outcome::from).or_else(|| self.large_outcome.as_deref().cloned())
    }

    /// All of it but the row of failures, as it is told.
    pub(crate) fn status(&self) -> Status {
        Status {
            health: self.machine.health(),
            last_check: self.last_check(),
            duration: Duration::from_nanos(self.duration.get()),
            failures: self.machine.failures(),
            successes: self.machine.successes(),
            outcome: self.outcome(),
            held: None,
            note: None,
        }
    }

    /// What the next process is to know, under the name of what was checked. `None` before the
    /// first verdict.
    pub(crate) fn remembered(&self, key: CheckKey) -> Option<Remembered> {
        Some(Remembered {
            key,
            health: self.machine.health(),
            consecutive_failures: self.machine.failed(),
            failures: self.machine.failures(),
            successes: self.machine.successes(),
            last_check: self.last_check()?,
            since: self.since(),
            duration: Duration::from_nanos(self.duration.get()),
        })
    }
}

impl From<Remembered> for CheckState {
    fn from(remembered: Remembered) -> Self {
        let Remembered {
            key: _,
            health,
            consecutive_failures,
            failures,
            successes,
            last_check,
            since,
            duration,
        } = remembered;
        let machine = CheckMachine::restored(health, consecutive_failures, failures, successes);
        Self {
            machine,
            last_check: Some(last_check.into()),
            since: since.map(Into::into),
            large_outcome: None,
            outcome: None,
            duration: nanos(duration).into(),
            confirmed: false,
        }
    }
}
