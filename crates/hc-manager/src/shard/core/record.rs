//! A check at rest.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hc_types::verdict::{HoldLimits, SilentRun};
use hc_types::{
    AdaptiveTimeout, CheckId, CheckSpec, Evidence, Failure, Health, Incarnation, LocalFault, Outcome,
    PassTimes, Progress, Status, StatusUpdate, U48,
};
use tracing::info;

use super::FlightId;
use crate::check_state::CheckState;
use crate::holding::Holding;
use crate::phases::Phase;
use crate::plan::Check;
use crate::schedule::{Nanos, Schedule};

/// A probe that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// When it began, on the wall clock.
    pub(super) started: SystemTime,
    /// When the next one is due.
    pub(super) next: SystemTime,
    pub(super) evidence: Evidence,
}

/// A check at rest: 112 bytes.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) id: CheckId,
    pub(super) spec: Arc<CheckSpec>,
    pub(super) phase: Phase,
    pub(super) schedule: Schedule,
    pub(super) flight: Option<FlightId>,
    rare: Option<Box<Rare>>,
    pub(super) known: CheckState,
    pub(super) incarnation: U48,
    /// This life of the id has been told at least once.
    pub(super) told: bool,
    /// No probe is due, because the check is paused.
    pub(super) parked: bool,
}

/// What a check has only while its probes are inconclusive, or its backend is silent.
#[derive(Debug, Default)]
struct Rare {
    silences: SilentRun,
    held: Option<Holding>,
}

impl Record {
    pub(super) fn new(check: Check, phase: Phase) -> Self {
        let Check { id, incarnation, spec } = check;
        Self {
            id,
            spec,
            phase,
            schedule: Schedule::NEW,
            flight: None,
            rare: None,
            known: CheckState::NEW,
            incarnation: incarnation.0.into(),
            told: false,
            parked: false,
        }
    }

    /// The local faults in a row up to the latest probe.
    pub(super) fn held(&self) -> Option<&Holding> {
        self.rare.as_ref()?.held.as_ref()
    }

    /// How many inconclusive probes in a row there were, up to the latest.
    pub(super) fn tries(&self) -> u32 {
        self.held().map_or(0, Holding::tries)
    }

    /// A probe has ended in a verdict: nothing holds the state any more.
    pub(super) fn release(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.held = None;
            self.rare.take_if(|rare| rare.silences.is_over());
        }
    }

    /// Takes the next result, and says whether it is a silence that counts in spite of a stall: see
    /// [`SilentRun::note`].
    pub(super) fn is_proven_silent(&mut self, outcome: &Outcome, began: Nanos, ended: Nanos) -> bool {
        let mut silences = self.rare.as_ref().map(|rare| rare.silences).unwrap_or_default();
        let counts = silences.note(outcome, Duration::from_nanos(began), Duration::from_nanos(ended));
        match &mut self.rare {
            Some(rare) => rare.silences = silences,
            None if silences.is_over() => {}
            None => self.rare = Some(Box::new(Rare { silences, held: None })),
        }
        counts
    }

    /// Takes a probe that ended in a local fault, and gives what it amounts to: see
    /// [`Holding::note`].
    pub(super) fn hold(
        &mut self,
        fault: LocalFault,
        wall: SystemTime,
        ended: Nanos,
        hold_unreachable: Nanos,
    ) -> Outcome {
        let spec = &self.spec;
        let hold_unreachable = Duration::from_nanos(hold_unreachable);
        let limits =
            HoldLimits::new(hold_unreachable, spec.interval(), spec.longest_interval(), spec.timeout());
        let rare = self.rare.get_or_insert_default();
        let held = rare.held.get_or_insert_with(|| Holding::new(fault, wall));
        held.note(fault, wall, ended, limits)
    }

    /// The timeout of the next probe. A shorter one than that of the check is for a healthy check
    /// whose latest probe passed: once one has failed, or could not be made, the next ones have all
    /// the time that they may take, so that only the first failure of a row comes from the shorter
    /// one.
    pub(super) fn timeout<'t>(&self, times: impl FnOnce() -> Option<&'t PassTimes>) -> Duration {
        let timeout = self.spec.timeout();
        let machine = &self.known.machine;
        let may_be_shorter = self.spec.adaptive_timeout() == AdaptiveTimeout::Apply
            && machine.health() == Health::Healthy
            && machine.failed() == 0
            && self.rare.is_none();
        let shorter = if may_be_shorter { times() } else { None };
        shorter.and_then(|times| times.suggestion(timeout)).unwrap_or(timeout)
    }

    /// Where the check stands, and whether that is held.
    pub(super) fn status(&self) -> Status {
        Status { held: self.held().and_then(Holding::shown), ..self.known.status() }
    }

    /// Takes a verdict. Says whether it changed the health.
    ///
    /// A change of health is logged if `has_line` says so.
    pub(super) fn judge(
        &mut self,
        outcome: Outcome,
        wall: SystemTime,
        duration: Duration,
        has_line: impl FnOnce() -> bool,
    ) -> bool {
        let Self { id, ref spec, .. } = *self;
        let retries = if let Outcome::Fail(Failure::PathDown { .. }) = outcome { 0 } else { spec.retries() };
        let transition = self.known.machine.observe(&outcome, retries, spec.rise());
        if let Some(transition) = transition.filter(|_| has_line()) {
            info!(
                %id,
                checker_type = spec.probe().type_name(),
                address = %spec.place(),
                from = %transition.from,
                to = %transition.to,
                label = outcome.label(),
                text = spec.text(&outcome),
                "health changed"
            );
        }
        self.known.keep(wall, duration, outcome, transition.is_some());
        transition.is_some()
    }

    /// Sums up changes that had no line of their own.
    pub(super) fn log_flaps(&self, changes: u32) {
        if changes == 0 {
            return;
        }
        let Self { id, ref spec, .. } = *self;
        let Status { health, outcome, .. } = self.known.status();
        info!(
            %id,
            checker_type = spec.probe().type_name(),
            address = %spec.place(),
            changes,
            health = %health,
            label = outcome.as_ref().map(Outcome::label),
            text = outcome.as_ref().map(|outcome| spec.text(outcome)),
            "health flapped: changes since the last line about this check, and where it stands"
        );
    }

    /// The update that says where the check stands. The first reportable one of a life is a
    /// transition whatever it says.
    pub(super) fn update(
        &mut self,
        transition: bool,
        reportable: bool,
        of_probe: Option<Ended>,
    ) -> StatusUpdate {
        let first = reportable && !self.told;
        self.told |= reportable;
        let latest = self.held().map(Holding::latest);
        let (started, next_due, evidence) = match of_probe {
            Some(Ended { started, next, evidence }) => (Some(started), Some(next), evidence),
            None => (None, None, Evidence::default()),
        };
        StatusUpdate {
            id: self.id,
            incarnation: Incarnation(self.incarnation.get()),
            spec: Arc::clone(&self.spec),
            status: self.status(),
            transition: reportable && transition || first,
            reportable,
            progress: Progress {
                since: self.known.since(),
                in_a_row: self.known.machine.in_a_row(),
                last_probe: started.or(latest).or_else(|| self.known.last_check()),
                next_due,
            },
            evidence,
        }
    }
}
