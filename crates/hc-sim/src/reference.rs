//! What a server must know and do, worked out a second time and in the plainest way.
//!
//! The simulation tells this model what it hands to the shards, and holds what comes out of them
//! against it.

mod standing;
mod timing;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hc_manager::stepped::{Deed, Flight};
use hc_types::{
    CheckId, CheckSpec, Failure, FaultClass, Held, Incarnation, LocalFault, Outcome, Remembered, Status,
    StatusUpdate, TimeoutEvidence,
};

pub(crate) use self::standing::Standing;
use self::timing::intervals;
use crate::clock::{Nanos, SECOND, nanos};
use crate::truth::{Subject, Truth};

/// Where a check runs: its shard, and its place in the table there.
pub(crate) type Place = (usize, u32);

/// A probe in flight.
#[derive(Clone, Debug)]
pub(crate) struct InFlight {
    pub(crate) flight: Flight,
    pub(crate) started: Nanos,
    pub(crate) wall: SystemTime,
    pub(crate) timeout: Duration,
    /// The backend was up, answers in time, and nothing local was in the way.
    pub(crate) honest: bool,
}

/// Local faults in a row, up to the latest probe.
#[derive(Debug)]
struct Hold {
    fault: LocalFault,
    since: SystemTime,
    /// Ends of the first and of the latest probe without a path, and how many there were.
    path: Option<(Nanos, Nanos, u32)>,
    given_up: bool,
}

/// A check that runs.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) id: CheckId,
    pub(crate) incarnation: Incarnation,
    pub(crate) subject: Subject,
    pub(crate) spec: Arc<CheckSpec>,
    /// Where it may stand. More than one only where the bound of the memory makes it uncertain.
    pub(crate) standings: Vec<Standing>,
    pub(crate) flight: Option<InFlight>,
    /// When its life began, under whatever name.
    began: Nanos,
    /// Since when it has this name and this timing, and no probe of the time before is in flight.
    pub(crate) since: Nanos,
    told: bool,
    /// How far the grids are behind the multiples of the usual, the fast and the down interval.
    offsets: [Nanos; 3],
    started: Option<Nanos>,
    /// When the latest probe ended.
    ended: Nanos,
    tries: u32,
    held: Option<Hold>,
    /// Silences in a row, up to the latest result.
    silences: u32,
    /// When the first of these probes began.
    silent_since: Nanos,
}

/// Whether a status is to follow from an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Yes,
    No,
    Perhaps,
}

impl Speaks {
    fn of(standings: &[Standing]) -> Self {
        match standings.iter().filter(|standing| standing.certain).count() {
            0 => Self::No,
            certain if certain == standings.len() => Self::Yes,
            _ => Self::Perhaps,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) runs: BTreeMap<Place, Run>,
    places: HashMap<*const CheckSpec, Place>,
    memory: HashMap<Subject, (Vec<Standing>, Nanos)>,
    inherited: HashMap<Subject, Standing>,
    remember: Nanos,
    /// Removals so recent that the memory may have been full of them.
    removals: VecDeque<Nanos>,
}

/// Removals within the time of the memory from which on it may forget early.
const CROWD: usize = 64;

impl Run {
    /// A probe starts.
    pub(crate) fn start(&mut self, flight: InFlight) {
        self.started = Some(flight.started);
        self.flight = Some(flight);
    }

    fn landed(&mut self, ended: Nanos) {
        self.ended = ended;
        if self.flight.take().is_some_and(|flight| flight.started < self.since) {
            self.since = ended;
        }
    }

    /// A probe of the time before its name or timing changed is in flight.
    pub(crate) fn is_changing(&self) -> bool {
        self.flight.as_ref().is_some_and(|flight| flight.started < self.since)
    }

    /// A probe ends so. Gives the silences in a row.
    pub(crate) fn hear(&mut self, outcome: &Outcome, flight: &InFlight) -> u32 {
        if !matches!(outcome, Outcome::Fail(Failure::Timeout { evidence, .. }) if *evidence == TimeoutEvidence::SILENT)
        {
            self.silences = 0;
            return 0;
        }
        if self.silences == 0 {
            self.silent_since = flight.started;
        }
        self.silences += 1;
        self.silences
    }

    /// Since when it has been silent, if it is.
    pub(crate) fn silent_since(&self) -> Nanos {
        self.silent_since
    }

    /// How often it has been silent, up to the latest result.
    pub(crate) fn silences(&self) -> u32 {
        self.silences
    }

    /// A probe ended at `ended` in a local fault. Gives the failure that it counts as, if this
    /// machine has had no path for too long, and whether a status is to say that the check is held.
    pub(crate) fn held(
        &mut self,
        fault: LocalFault,
        flight: &InFlight,
        ended: Nanos,
        hold: Nanos,
    ) -> (Option<Outcome>, bool) {
        self.landed(ended);
        self.tries += 1;
        self.plan(ended);
        let [interval, _, down] = intervals(&self.spec);
        let (longest, timeout) = (interval.max(down), nanos(self.spec.timeout()));
        let hold = hold.max(2 * interval);
        let news = self.held.as_ref().is_none_or(|held| held.fault != fault);
        let held = self.held.get_or_insert(Hold { fault, since: flight.wall, path: None, given_up: false });
        held.fault = fault;
        if fault.class() == FaultClass::OwnAlone {
            return (None, news);
        }
        let (first, probes) = match held.path {
            Some((first, latest, probes)) if ended - latest <= hold.max(2 * (longest + timeout)) => {
                (first, probes + 1)
            }
            _ => (ended, 1),
        };
        held.path = Some((first, ended, probes));
        if ended - first < hold || probes < 3 {
            return (None, news);
        }
        held.given_up = true;
        let seconds = u32::try_from((ended - first) / SECOND).expect("hours");
        (Some(Failure::PathDown { fault, seconds }.into()), false)
    }

    /// Whether a status that says that the check is held is right, or that there is none.
    pub(crate) fn told_held(&mut self, update: Option<&StatusUpdate>, expected: bool) -> bool {
        if !expected {
            return update.is_none();
        }
        match update {
            None => self.kept_silent(),
            Some(update) => {
                let first = !std::mem::replace(&mut self.told, true);
                self.keep_certain(&update.status) && update.transition == first
            }
        }
    }

    /// What a status says of this standing.
    fn shown(&self, standing: &Standing) -> Status {
        let held = self.held.as_ref().filter(|held| !held.given_up);
        let held = held.map(|held| Box::new(Held { fault: held.fault, since: held.since }));
        Status { held, ..standing.status.clone() }
    }

    /// Keeps what may be told like this.
    fn keep_certain(&mut self, status: &Status) -> bool {
        let mut standings = std::mem::take(&mut self.standings);
        standings.retain(|standing| standing.certain && self.shown(standing) == *status);
        self.standings = standings;
        !self.standings.is_empty()
    }

    /// A probe ended at `ended` with a verdict. Gives whether the status that follows, or that none
    /// does, is right.
    ///
    /// What was remembered is told when a probe has borne it out, or when it has changed; failures
    /// that the retries cover leave it in doubt.
    pub(crate) fn judged(
        &mut self,
        outcome: &Outcome,
        flight: &InFlight,
        ended: Nanos,
        update: Option<&StatusUpdate>,
    ) -> bool {
        let retries = if let Outcome::Fail(Failure::PathDown { .. }) = outcome {
            0
        } else {
            self.landed(ended);
            self.tries = 0;
            self.held = None;
            self.spec.retries()
        };
        let rise = self.spec.rise();
        let duration = Duration::from_nanos(ended - flight.started);
        let first = !self.told;
        self.told |= update.is_some();
        self.standings.retain_mut(|standing| {
            let before = standing.status.health;
            standing.judge(outcome, (retries, rise), flight.wall, duration);
            let news = first || before != standing.status.health;
            update.map_or(!standing.certain, |update| {
                standing.certain && standing.status == update.status && news == update.transition
            })
        });
        self.plan(ended);
        !self.standings.is_empty()
    }

    /// What the shard says of it after a verdict, told or not: its health, and how many of the
    /// latest results were alike.
    pub(crate) fn stands_so(&mut self, update: &StatusUpdate) -> bool {
        let said = (update.status.health, update.progress.in_a_row);
        self.standings.retain(|standing| (standing.status.health, standing.in_a_row()) == said);
        !self.standings.is_empty()
    }

    /// It is told under a new name, or out of the memory.
    pub(crate) fn spoke(&mut self, update: &StatusUpdate) -> bool {
        self.told = true;
        self.keep_certain(&update.status) && update.transition
    }

    /// It is not: what is known of it is in doubt.
    pub(crate) fn kept_silent(&mut self) -> bool {
        self.standings.retain(|standing| !standing.certain);
        !self.standings.is_empty()
    }
}

impl Reference {
    pub(crate) fn new(remember: Nanos, inherited: HashMap<Subject, Standing>) -> Self {
        Self {
            runs: BTreeMap::new(),
            places: HashMap::new(),
            memory: HashMap::new(),
            inherited,
            remember,
            removals: VecDeque::new(),
        }
    }

    /// The check that a spec out of a shard belongs to.
    pub(crate) fn place(&self, spec: &Arc<CheckSpec>) -> Option<Place> {
        self.places.get(&Arc::as_ptr(spec)).copied()
    }

    /// Follows an order that a shard applies at `now` and that was planned at `planned`.
    ///
    /// Gives the place if a check runs there now, whether a status follows, and the flight that
    /// must be dropped; or what is wrong with the order.
    pub(crate) fn apply(
        &mut self,
        shard: usize,
        deed: Deed,
        planned: Nanos,
        now: Nanos,
    ) -> Result<(Option<Place>, Speaks, Option<Flight>), String> {
        match deed {
            Deed::Add { slot, id, incarnation, spec, after, offsets } => {
                let place = (shard, slot);
                let subject = Truth::subject_of(&spec);
                let (mut standings, speaks) = self.recall(subject, intervals(&spec), planned, now);
                self.places.insert(Arc::as_ptr(&spec), place);
                for standing in &mut standings {
                    let delay = if standing.is_something() { 0 } else { nanos(spec.start_delay()) };
                    standing.due = now + nanos(after) + delay;
                }
                let run = Run {
                    id,
                    incarnation,
                    subject,
                    spec,
                    standings,
                    flight: None,
                    began: now,
                    since: now,
                    told: false,
                    offsets: offsets.map(nanos),
                    started: None,
                    ended: 0,
                    tries: 0,
                    held: None,
                    silences: 0,
                    silent_since: 0,
                };
                match self.runs.insert(place, run) {
                    None => Ok((Some(place), speaks, None)),
                    Some(before) => Err(format!("{id} is put where {} runs", before.id)),
                }
            }
            Deed::Move { slot, id, incarnation, spec, after, offsets } => {
                let place = (shard, slot);
                let run = self.runs.get_mut(&place).ok_or_else(|| format!("{id} takes over nothing"))?;
                if run.subject != Truth::subject_of(&spec) {
                    return Err(format!("{id} takes over the health of another subject"));
                }
                self.places.remove(&Arc::as_ptr(&run.spec));
                self.places.insert(Arc::as_ptr(&spec), place);
                (run.id, run.incarnation, run.since, run.told) = (id, incarnation, now, false);
                run.retime(&spec, offsets.map(nanos), nanos(after), now, true);
                Ok((Some(place), Speaks::of(&run.standings), None))
            }
            Deed::Retime { slot, spec, after, offsets } => {
                let place = (shard, slot);
                let run = self.runs.get_mut(&place).ok_or("nothing is retimed")?;
                self.places.remove(&Arc::as_ptr(&run.spec));
                self.places.insert(Arc::as_ptr(&spec), place);
                run.since = now;
                run.retime(&spec, offsets.map(nanos), nanos(after), now, false);
                Ok((Some(place), Speaks::No, None))
            }
            Deed::Remove { slot } => {
                let run = self.runs.remove(&(shard, slot)).ok_or("nothing is removed")?;
                self.places.remove(&Arc::as_ptr(&run.spec));
                if run.standings.iter().any(Standing::is_something) && self.remember > 0 {
                    let mut standings = run.standings;
                    // If it knew nothing, what was remembered before is remembered still, and may
                    // be older.
                    if standings.iter().any(|standing| !standing.is_something())
                        && let Some((older, _)) = self.memory.remove(&run.subject)
                    {
                        let doubted = older.iter().map(Standing::doubted);
                        standings.extend(doubted.collect::<Vec<_>>());
                        standings.extend(older);
                    }
                    self.memory.insert(run.subject, (standings, now));
                    self.removals.push_back(now);
                }
                Ok((None, Speaks::No, run.flight.map(|flight| flight.flight)))
            }
        }
    }

    /// Whether something remembered is true: of a check that runs, that was removed, or from
    /// before.
    pub(crate) fn knows(&self, subject: Subject, remembered: &Remembered) -> bool {
        let running = self.runs.values().filter(|run| run.subject == subject).flat_map(|run| &run.standings);
        let kept = self.memory.get(&subject).into_iter().flat_map(|(standings, _)| standings);
        running.chain(kept).chain(self.inherited.get(&subject)).any(|standing| standing.is(remembered))
    }

    /// The most that the shards may remember of removed checks.
    pub(crate) fn forget_old(&mut self, now: Nanos) {
        while self.removals.front().is_some_and(|at| at + self.remember < now) {
            self.removals.pop_front();
        }
    }

    fn recall(
        &mut self,
        subject: Subject,
        intervals: [Nanos; 3],
        planned: Nanos,
        now: Nanos,
    ) -> (Vec<Standing>, Speaks) {
        self.forget_old(now);
        let inherited = self.inherited.get(&subject).filter(|_| planned <= self.remember);
        let otherwise = inherited.cloned().unwrap_or(Standing::NEW);
        let kept = self.memory.get(&subject).filter(|(_, since)| now - since <= self.remember);
        let Some((standings, since)) = kept else { return (vec![otherwise], Speaks::No) };
        let mut standings = standings.clone();
        for standing in &mut standings {
            standing.certain &= now - since <= intervals[standing.pace()];
        }
        if self.removals.len() >= CROWD {
            standings.push(otherwise);
        }
        let speaks = Speaks::of(&standings);
        (standings, speaks)
    }
}
