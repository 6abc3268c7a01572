//! A row of the table: small, since a million of them may exist.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use hc_types::{
    CheckId, CheckSpec, ConnectionOrigin, Evidence, Health, Held, Incarnation, Outcome, PhaseTimes, Progress,
    SmallOutcome, Status, StatusUpdate, U48, WallTime,
};

use crate::check::{CheckView, LastFailure, Latency, Reported, Withheld};

/// One check: 96 bytes.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) id: CheckId,
    pub(crate) spec: Arc<CheckSpec>,
    last_check: Option<WallTime>,
    since: Option<WallTime>,
    next_due: Option<WallTime>,
    /// What few checks have.
    aside: Option<Box<Aside>>,
    /// Unless it stands aside.
    outcome: Option<SmallOutcome>,
    in_a_row: u32,
    /// Of [`Latency`], in microseconds. The other phases stand aside, where there are any.
    connect: u32,
    mean: u32,
    max: u32,
    incarnation: U48,
    /// Nanoseconds.
    duration: U48,
    failures: U48,
    successes: U48,
    health: Health,
    /// Consumers get something of it: the reported status if one stands aside, else the status
    /// itself.
    is_reported: bool,
    /// Of [`Latency`].
    origin: ConnectionOrigin,
    /// Its health is what other nodes of a fleet find.
    is_adopted: bool,
}

/// The words of a status that comes from other nodes.
static ADOPTED: LazyLock<Arc<str>> = LazyLock::new(|| "by the verdict of the fleet".into());

/// What a check has only if its probes do more than connect, once one has failed, while it is held,
/// or while consumers get another status than the present one.
#[derive(Debug, Default, PartialEq)]
struct Aside {
    /// Shared with readers, so that a page is cheap.
    last_failure: Option<Arc<LastFailure>>,
    outcome: Option<Box<Outcome>>,
    phases: LaterPhases,
    held: Option<Box<Held>>,
    /// While it is held: later than the latest probe with a verdict.
    last_probe: Option<WallTime>,
    reported: Option<Box<Withheld>>,
}

/// The phases of a probe behind connecting, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct LaterPhases {
    tls: u32,
    send: u32,
    first_byte: u32,
    response: u32,
}

impl Row {
    pub(crate) fn new(id: CheckId, incarnation: Incarnation, spec: &Arc<CheckSpec>) -> Self {
        Self {
            id,
            spec: Arc::clone(spec),
            last_check: None,
            since: None,
            next_due: None,
            aside: None,
            outcome: None,
            in_a_row: 0,
            connect: 0,
            mean: 0,
            max: 0,
            incarnation: incarnation.0.into(),
            duration: U48::ZERO,
            failures: U48::ZERO,
            successes: U48::ZERO,
            health: Health::Unknown,
            is_reported: false,
            origin: ConnectionOrigin::New,
            is_adopted: false,
        }
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        Incarnation(self.incarnation.get())
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
        let seen = self.last_failure().and_then(|failure| failure.evidence.seen.as_ref());
        seen.map_or(0, |seen| seen.answer.len() as u64)
    }

    /// Whether the latest probes were inconclusive.
    pub(crate) fn is_held(&self) -> bool {
        self.aside.as_ref().is_some_and(|aside| aside.held.is_some())
    }

    /// Whether it is healthy, and its latest probe passed with a warning.
    pub(crate) fn is_warned(&self) -> bool {
        self.health == Health::Healthy
            && self.large_outcome().is_some_and(|latest| latest.warning().is_some())
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

    /// Whether consumers have got this of it but for counters and times. The health is not looked
    /// at.
    pub(crate) fn says(&self, status: &Status) -> bool {
        if !self.is_reported {
            return false;
        }
        match self.withheld() {
            Some(Withheld { status: Status { outcome, held, note, .. }, .. }) => {
                (outcome, held, note) == (&status.outcome, &status.held, &status.note)
            }
            None => {
                let held = self.aside.as_ref().and_then(|aside| aside.held.as_ref());
                let is_same_outcome = match (self.outcome, &status.outcome) {
                    (Some(small), Some(outcome)) => SmallOutcome::of(outcome) == Some(small),
                    (Some(_), None) => false,
                    (None, outcome) => self.large_outcome() == outcome.as_ref(),
                };
                let is_same_note = status.note.is_some() == self.is_adopted;
                is_same_outcome && held == status.held.as_ref() && is_same_note
            }
        }
    }

    /// Whether this is the specification that consumers get with its status.
    pub(crate) fn is_specified_by(&self, spec: &Arc<CheckSpec>) -> bool {
        self.spec == *spec
    }

    fn withheld(&self) -> Option<&Withheld> {
        self.aside.as_ref().and_then(|aside| aside.reported.as_deref())
    }

    fn last_failure(&self) -> Option<&Arc<LastFailure>> {
        self.aside.as_ref().and_then(|aside| aside.last_failure.as_ref())
    }

    /// The latest outcome, if it is none of the small ones.
    fn large_outcome(&self) -> Option<&Outcome> {
        self.aside.as_ref().and_then(|aside| aside.outcome.as_deref())
    }

    fn outcome(&self) -> Option<Outcome> {
        self.outcome.map(Outcome::from).or_else(|| self.large_outcome().cloned())
    }

    fn latency(&self) -> Latency {
        let later = self.aside.as_ref().map(|aside| aside.phases).unwrap_or_default();
        let LaterPhases { tls, send, first_byte, response } = later;
        let latest = PhaseTimes { connect: self.connect, tls, send, first_byte, response };
        Latency { latest, mean: self.mean, max: self.max, origin: self.origin }
    }

    pub(crate) fn status(&self) -> Status {
        Status {
            health: self.health,
            last_check: self.last_check.map(SystemTime::from),
            duration: Duration::from_nanos(self.duration.get()),
            failures: self.failures.get(),
            successes: self.successes.get(),
            outcome: self.outcome(),
            held: self.aside.as_ref().and_then(|aside| aside.held.clone()),
            note: self.is_adopted.then(|| ADOPTED.clone()),
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
            incarnation: self.incarnation(),
            spec: Arc::clone(&self.spec),
            status: self.status(),
            progress: Progress {
                since: self.since.map(SystemTime::from),
                in_a_row: self.in_a_row,
                last_probe: last_probe.map(SystemTime::from),
                next_due: self.next_due.map(SystemTime::from),
            },
            latency: self.latency(),
            suggested_timeout: None,
            last_failure: self.last_failure().cloned(),
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

    /// Other nodes of a fleet find this health since `at`, and no probe of this node does any more;
    /// consumers go on getting what they got, because of the stage `by`.
    pub(crate) fn adopt(&mut self, health: Health, at: SystemTime, by: &'static str) {
        let before = self.reported();
        if self.health != health {
            (self.health, self.since) = (health, Some(at.into()));
        }
        (self.is_adopted, self.outcome, self.in_a_row, self.next_due) = (true, None, 0, None);
        let own = self.status();
        let mut aside = self.take_aside();
        (aside.outcome, aside.held, aside.last_probe) = (None, None, None);
        let withheld = before.filter(|before| *before != Status { held: None, outcome: None, ..own });
        aside.reported = withheld.map(|status| Box::new(Withheld { status, by, since: Some(at) }));
        self.set_aside(aside);
    }

    /// Consumers get this from now on, whatever the check's own status is, because of the stage
    /// `by`.
    pub(crate) fn report(&mut self, status: Status, by: &'static str) {
        let own = self.status();
        let mut aside = self.take_aside();
        let since = aside.reported.map_or(own.last_check, |other| other.since);
        aside.reported = (status != own).then(|| Box::new(Withheld { status, by, since }));
        self.set_aside(aside);
        self.is_reported = true;
    }

    fn write(&mut self, update: StatusUpdate, reported: Option<Withheld>) {
        let is_verdict = update.is_of_verdict();
        let StatusUpdate { spec, status, progress, evidence, .. } = update;
        let mut aside = self.take_aside();
        if is_verdict {
            self.take(&mut aside, &status, evidence);
        }
        let Status { health, last_check, duration, failures, successes, outcome, held, note: _ } = status;
        self.spec = spec;
        self.is_adopted = false;
        self.health = health;
        self.last_check = last_check.map(WallTime::from);
        self.since = progress.since.map(WallTime::from);
        self.next_due = progress.next_due.map(WallTime::from);
        self.duration = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).into();
        (self.failures, self.successes) = (failures.into(), successes.into());
        self.in_a_row = progress.in_a_row;
        self.outcome = outcome.as_ref().and_then(SmallOutcome::of);
        aside.outcome = outcome.filter(|_| self.outcome.is_none()).map(Box::new);
        aside.last_probe = progress.last_probe.map(WallTime::from).filter(|_| held.is_some());
        (aside.held, aside.reported) = (held, reported.map(Box::new));
        self.set_aside(aside);
    }

    /// A probe has ended in a verdict.
    fn take(&mut self, aside: &mut Aside, status: &Status, evidence: Evidence) {
        let mut latency = Latency { mean: self.mean, max: self.max, ..Latency::default() };
        latency.take(evidence.phases, status.duration);
        self.origin = evidence.origin;
        let PhaseTimes { connect, tls, send, first_byte, response } = latency.latest;
        (self.connect, self.mean, self.max) = (connect, latency.mean, latency.max);
        aside.phases = LaterPhases { tls, send, first_byte, response };
        if let Some(Outcome::Fail(failure)) = &status.outcome {
            aside.last_failure = Some(Arc::new(LastFailure {
                at: status.last_check.unwrap_or(SystemTime::UNIX_EPOCH),
                duration: status.duration,
                failure: failure.clone(),
                evidence,
            }));
        }
    }

    /// What stands aside, to be given back by [`set_aside`](Self::set_aside): its memory stays here.
    fn take_aside(&mut self) -> Aside {
        self.aside.as_deref_mut().map(std::mem::take).unwrap_or_default()
    }

    fn set_aside(&mut self, aside: Aside) {
        match &mut self.aside {
            place if aside == Aside::default() => *place = None,
            Some(place) => **place = aside,
            place => *place = Some(Box::new(aside)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_small() {
        assert!(size_of::<Option<Row>>() <= 96, "{}", size_of::<Option<Row>>());
        assert!(size_of::<Aside>() <= 56, "{}", size_of::<Aside>());
    }
}
