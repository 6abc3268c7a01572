//! A row of the table: small, since a million of them may exist.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hc_types::{
    CheckId, CheckSpec, Evidence, Health, Held, Incarnation, Outcome, Progress, Status, StatusUpdate,
    WallTime,
};

use crate::check::{CheckView, LastFailure, Latency, Reported, Withheld};

/// One check.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) id: CheckId,
    pub(crate) incarnation: Incarnation,
    pub(crate) spec: Arc<CheckSpec>,
    last_check: Option<WallTime>,
    since: Option<WallTime>,
    next_due: Option<WallTime>,
    /// Nanoseconds.
    duration: u64,
    failures: u64,
    successes: u64,
    outcome: Option<Outcome>,
    /// Of checks that have failed. Shared with readers, so that a page is cheap.
    last_failure: Option<Arc<LastFailure>>,
    latency: Latency,
    /// What few checks have.
    aside: Option<Box<Aside>>,
    in_a_row: u32,
    health: Health,
    /// Consumers get something of it: the reported status if one stands aside, else the status
    /// itself.
    is_reported: bool,
}

/// What a check has only while it is held, or while consumers get another status than the present
/// one.
#[derive(Debug, Default)]
struct Aside {
    held: Option<Held>,
    /// While it is held: later than the latest probe with a verdict.
    last_probe: Option<WallTime>,
    reported: Option<Withheld>,
}

impl Row {
    pub(crate) fn new(id: CheckId, incarnation: Incarnation, spec: &Arc<CheckSpec>) -> Self {
        Self {
            id,
            incarnation,
            spec: Arc::clone(spec),
            last_check: None,
            since: None,
            next_due: None,
            duration: 0,
            failures: 0,
            successes: 0,
            outcome: None,
            last_failure: None,
            latency: Latency::default(),
            aside: None,
            in_a_row: 0,
            health: Health::Unknown,
            is_reported: false,
        }
    }

    pub(crate) fn health(&self) -> Health {
        self.health
    }

    /// Since when it has this health, where it has it.
    pub(crate) fn since(&self, health: Health) -> Option<SystemTime> {
        self.since.filter(|_| self.health == health).map(SystemTime::from)
    }

    /// How many bytes are kept of the answer that failed last.
    pub(crate) fn answer_length(&self) -> u64 {
        let seen = self.last_failure.as_ref().and_then(|failure| failure.evidence.seen.as_ref());
        seen.map_or(0, |seen| seen.answer.len() as u64)
    }

    /// Whether the latest probes were inconclusive.
    pub(crate) fn is_held(&self) -> bool {
        self.aside.as_ref().is_some_and(|aside| aside.held.is_some())
    }

    /// Whether it is healthy, and its latest probe passed with a warning.
    pub(crate) fn is_warned(&self) -> bool {
        self.health == Health::Healthy
            && self.outcome.as_ref().is_some_and(|latest| latest.warning().is_some())
    }

    /// What consumers get.
    pub(crate) fn reported(&self) -> Option<Status> {
        if !self.is_reported {
            return None;
        }
        Some(self.withheld().map_or_else(|| self.status(), |other| other.status.clone()))
    }

    /// The health that consumers get.
    pub(crate) fn reported_health(&self) -> Option<Health> {
        let health = self.withheld().map_or(self.health, |other| other.status.health);
        self.is_reported.then_some(health)
    }

    fn withheld(&self) -> Option<&Withheld> {
        self.aside.as_ref().and_then(|aside| aside.reported.as_ref())
    }

    pub(crate) fn status(&self) -> Status {
        Status {
            health: self.health,
            last_check: self.last_check.map(SystemTime::from),
            duration: Duration::from_nanos(self.duration),
            failures: self.failures,
            successes: self.successes,
            outcome: self.outcome.clone(),
            held: self.aside.as_ref().and_then(|aside| aside.held).map(Box::new),
            note: None,
        }
    }

    pub(crate) fn view(&self) -> CheckView {
        let last_probe = self.aside.as_ref().and_then(|aside| aside.last_probe).or(self.last_check);
        let reported = match self.withheld() {
            _ if !self.is_reported => Reported::Nothing,
            None => Reported::Status,
            Some(other) => Reported::Other(Box::new(other.clone())),
        };
        CheckView {
            id: self.id,
            incarnation: self.incarnation,
            spec: Arc::clone(&self.spec),
            status: self.status(),
            progress: Progress {
                since: self.since.map(SystemTime::from),
                in_a_row: self.in_a_row,
                last_probe: last_probe.map(SystemTime::from),
                next_due: self.next_due.map(SystemTime::from),
            },
            latency: self.latency,
            last_failure: self.last_failure.clone(),
            reported,
        }
    }

    /// The check stands so now, and that is what consumers get.
    pub(crate) fn pass(&mut self, update: StatusUpdate) {
        self.write(update, None);
        self.is_reported = true;
    }

    /// The stage that is the reason why consumers get another status than the check's own, if they
    /// do.
    pub(crate) fn withheld_by(&self) -> Option<&'static str> {
        self.withheld().map(|other| other.by)
    }

    /// The check stands so now; consumers go on getting what they got, because of the stage `by`.
    pub(crate) fn hold_back(&mut self, update: StatusUpdate, by: &'static str) {
        let since = self.withheld().map_or(update.status.last_check, |other| other.since);
        let before = self.reported().filter(|before| *before != update.status);
        let before = before.map(|status| Withheld { status, by, since });
        self.write(update, before);
    }

    /// Consumers get this from now on, whatever the check's own status is, because of the stage
    /// `by`.
    pub(crate) fn report(&mut self, status: Status, by: &'static str) {
        let own = self.status();
        let Aside { held, last_probe, reported } = self.aside.take().map(|aside| *aside).unwrap_or_default();
        let since = reported.map_or(own.last_check, |other| other.since);
        let reported = (status != own).then_some(Withheld { status, by, since });
        self.set_aside(Aside { held, last_probe, reported });
        self.is_reported = true;
    }

    fn write(&mut self, update: StatusUpdate, reported: Option<Withheld>) {
        let is_verdict = update.is_of_verdict();
        let StatusUpdate { spec, status, progress, evidence, .. } = update;
        if is_verdict {
            self.take(&status, evidence);
        }
        let Status { health, last_check, duration, failures, successes, outcome, held, note: _ } = status;
        self.spec = spec;
        self.health = health;
        self.last_check = last_check.map(WallTime::from);
        self.since = progress.since.map(WallTime::from);
        self.next_due = progress.next_due.map(WallTime::from);
        self.duration = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        (self.failures, self.successes, self.in_a_row) = (failures, successes, progress.in_a_row);
        self.outcome = outcome;
        let last_probe = progress.last_probe.map(WallTime::from).filter(|_| held.is_some());
        self.set_aside(Aside { held: held.map(|held| *held), last_probe, reported });
    }

    /// A probe has ended in a verdict.
    fn take(&mut self, status: &Status, evidence: Evidence) {
        self.latency.take(evidence.phases, status.duration);
        if let Some(Outcome::Fail(failure)) = &status.outcome {
            self.last_failure = Some(Arc::new(LastFailure {
                at: status.last_check.unwrap_or(SystemTime::UNIX_EPOCH),
                duration: status.duration,
                failure: failure.clone(),
                evidence,
            }));
        }
    }

    fn set_aside(&mut self, aside: Aside) {
        let is_needed = aside.held.is_some() || aside.reported.is_some();
        self.aside = is_needed.then(|| Box::new(aside));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_small() {
        assert!(size_of::<Option<Row>>() <= 112 + 40, "{}", size_of::<Option<Row>>());
    }
}
