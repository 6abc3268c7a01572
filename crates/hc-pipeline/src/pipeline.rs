//! From the shards to the view: observers, stages, and the lock around them.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use hc_types::{
    CheckId, CheckSpec, Health, Incarnation, Observer, Operator, Override, Paused, Sink, StatusUpdate,
};
use hc_view::{Report, Table, View};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::effects::Event;
use crate::overrides::{Overrides, Refused, Standing};
use crate::quorum::{FleetChange, FleetOrder, Quorum};
use crate::stage::Stage;
use crate::stages::{Moment, Stages};

/// Overrides, or checks of them, that are gone through under the locks in one go.
const AT_ONCE: usize = 64;

/// What the shards write to. Observers see every update; then the stages decide what consumers get
/// of it.
///
/// Readers of the view see the status itself at once, also while a stage holds it back. What is
/// held comes out again only while a [`PipelineTask`](crate::PipelineTask) runs. Without a stage,
/// or while all of them are idle, updates go straight into the view: there is no further lock,
/// table or copy.
pub struct Pipeline {
    view: Arc<View>,
    observers: Vec<Arc<dyn Observer>>,
    /// This lock is taken before that of the view.
    stages: Mutex<Stages>,
    has_stages: bool,
    /// Written under both locks, so what is read under that of the view is true.
    is_idle: AtomicBool,
    paused: Option<Arc<Paused>>,
    /// Checks that other nodes of a fleet probe.
    resting: Option<Arc<Paused>>,
    /// What readers see of overrides, as it was made for the last one.
    standings: Mutex<Arc<Standings>>,
    /// Something may be due earlier or later than it was.
    changed: Notify,
    /// There are checks to be probed.
    asked: Notify,
    /// The node of a fleet is to know something.
    fleet: Notify,
}

/// The overrides at one moment.
#[derive(Clone, Debug, Default)]
pub struct Standings {
    version: Option<u64>,
    /// All of them, oldest first.
    pub all: Vec<Standing>,
    by_check: HashMap<CheckId, Vec<usize>>,
}

impl Standings {
    /// Those of one check, oldest first.
    pub fn of(&self, id: CheckId) -> impl Iterator<Item = &Standing> {
        self.by_check.get(&id).into_iter().flatten().filter_map(|place| self.all.get(*place))
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("view", &self.view).field("has_stages", &self.has_stages).finish()
    }
}

impl Pipeline {
    /// A pipeline into `view`. The first of `stages` gets an update first.
    #[must_use]
    pub fn new(view: Arc<View>, observers: Vec<Arc<dyn Observer>>, stages: Vec<Box<dyn Stage>>) -> Self {
        let mut all = Stages::default();
        stages.into_iter().for_each(|stage| all.push(stage));
        Self {
            view,
            observers,
            has_stages: !all.is_empty(),
            is_idle: AtomicBool::new(all.is_idle()),
            stages: Mutex::new(all),
            paused: None,
            resting: None,
            standings: Mutex::default(),
            changed: Notify::new(),
            asked: Notify::new(),
            fleet: Notify::new(),
        }
    }

    /// With overrides before all stages that it has so far.
    #[must_use]
    pub fn with_overrides(mut self, overrides: Overrides) -> Self {
        self.paused = Some(Arc::clone(overrides.paused()));
        self.with(|stages| stages.push_overrides(overrides))
    }

    /// With the stage of a fleet behind all stages that it has so far, and overrides behind that: what
    /// operators say is for consumers of this node, and no opinion for others. A guard before them is
    /// one [for a fleet](crate::Guard::for_fleet).
    #[must_use]
    pub fn with_fleet(mut self, quorum: Quorum, overrides: Overrides) -> Self {
        self.paused = Some(Arc::clone(overrides.paused()));
        self.resting = Some(Arc::clone(quorum.resting()));
        self.with(|stages| stages.push_fleet(quorum, overrides))
    }

    /// With a stage before all that it has so far.
    #[must_use]
    pub fn with_first(self, stage: Box<dyn Stage>) -> Self {
        self.with(|stages| stages.push_first(stage))
    }

    fn with(mut self, push: impl FnOnce(&mut Stages)) -> Self {
        {
            let mut stages = lock(&self.stages);
            push(&mut stages);
            self.is_idle.store(stages.is_idle(), Ordering::Release);
        }
        self.has_stages = true;
        self
    }

    /// Whether there is a stage, so that a [`PipelineTask`](crate::PipelineTask) has something to
    /// do.
    #[must_use]
    pub fn has_stages(&self) -> bool {
        self.has_stages
    }

    /// Adds overrides, all or none, and gives their numbers. One takes the place of another one of
    /// its kind and subject. Those of checks that have no override yet reach them with
    /// [`bind`](Self::bind); checks that begin later find theirs.
    ///
    /// # Errors
    /// [`Refused`]; then nothing has changed.
    pub fn overrule(&self, orders: Vec<Override>) -> Result<Vec<u64>, Refused> {
        self.step(|stages, table, reports, at| stages.overrule(orders, table, reports, at))
    }

    /// Lets overrides apply to these checks, those of them that run.
    pub fn bind(&self, ids: &[CheckId]) {
        // In between others have their turn: the shards wait for this lock.
        for ids in ids.chunks(AT_ONCE) {
            self.step(|stages, table, reports, at| stages.bind(ids, table, reports, at));
        }
    }

    /// The journal of the view says that these overrides were set: to be called after
    /// [`bind`](Self::bind), so that it knows of which checks they are. Their end, and when they
    /// begin to stand and no longer do, is in the journal by itself.
    pub fn announce(&self, numbers: &[u64]) {
        for numbers in numbers.chunks(AT_ONCE) {
            self.step(|stages, table, _, at| stages.announce(numbers, table, at));
        }
    }

    /// Ends overrides before their time, as `by` asks; gives those that there were.
    pub fn withdraw(&self, numbers: &[u64], by: &Operator) -> Vec<Override> {
        let ended = numbers.chunks(AT_ONCE).map(|numbers| {
            self.step(|stages, table, reports, at| stages.withdraw(numbers, by, table, reports, at))
        });
        ended.flatten().collect()
    }

    /// The overrides, for readers.
    #[must_use]
    pub fn overrides(&self) -> Arc<Standings> {
        let mut known = self.standings.lock().unwrap_or_else(PoisonError::into_inner);
        let stages = lock(&self.stages);
        let Some(overrides) = stages.overrides() else { return Arc::clone(&known) };
        let version = Some(overrides.book().version());
        if known.version != version {
            let all = overrides.book().standings();
            drop(stages);
            let mut by_check: HashMap<CheckId, Vec<usize>> = HashMap::new();
            for (place, standing) in all.iter().enumerate() {
                standing.checks.iter().for_each(|id| by_check.entry(*id).or_default().push(place));
            }
            *known = Arc::new(Standings { version, all, by_check });
        }
        Arc::clone(&known)
    }

    /// The overrides as they are to be written down, and a number that is another one after each
    /// change of them.
    #[must_use]
    pub fn overrides_to_keep(&self) -> (u64, Vec<Override>) {
        let stages = lock(&self.stages);
        let book = stages.overrides().map(Overrides::book);
        book.map(|book| (book.edition(), book.orders().cloned().collect())).unwrap_or_default()
    }

    /// The number of [`overrides_to_keep`](Self::overrides_to_keep) alone.
    #[must_use]
    pub fn overrides_edition(&self) -> u64 {
        lock(&self.stages).overrides().map(|overrides| overrides.book().edition()).unwrap_or_default()
    }

    /// Waits until the node of the fleet is to know something, and gives that.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn fleet_changes(&self) -> Vec<FleetChange> {
        loop {
            let changes = {
                let mut stages = lock(&self.stages);
                let changes = stages.take_fleet_changes(AT_ONCE);
                if stages.has_fleet_changes() {
                    self.fleet.notify_one();
                }
                changes
            };
            if !changes.is_empty() {
                return changes;
            }
            self.fleet.notified().await;
        }
    }

    /// Carries out orders of the node of the fleet. Gives the checks that are to be
    /// probed again, and the health with which each begins.
    pub fn obey(&self, orders: &[FleetOrder]) -> Vec<(CheckId, Health)> {
        // In between others have their turn.
        let obeyed = orders
            .chunks(AT_ONCE)
            .map(|orders| self.step(|stages, table, reports, at| stages.obey(orders, table, reports, at)));
        obeyed.flatten().collect()
    }

    /// The next result of each check is a change for the node of the fleet, whatever it is.
    pub fn forget_findings(&self) {
        lock(&self.stages).forget_findings();
    }

    /// Waits until a stage has something due and lets it do that.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub(crate) async fn expire(&self) {
        let due = lock(&self.stages).next_due().map(Instant::from_std);
        match due {
            Some(due) if due <= Instant::now() => {
                self.step(|stages, table, reports, at| stages.expire(table, reports, at));
            }
            // `notify_one` leaves a permit behind, so a change between the look and the wait is not
            // missed. Whether time came or a change did: the caller looks again.
            Some(due) => drop(timeout_at(due, self.changed.notified()).await),
            None => self.changed.notified().await,
        }
    }

    /// Waits until there are checks to be probed. Each is given out once.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub(crate) async fn to_probe(&self) -> Vec<CheckId> {
        loop {
            self.asked.notified().await;
            let ids = lock(&self.stages).take_probes();
            if !ids.is_empty() {
                return ids.into_iter().collect();
            }
        }
    }

    /// Calls `step` under both locks, then does what follows from it.
    fn step<T>(&self, step: impl FnOnce(&mut Stages, &mut Table, &mut Vec<Report>, Moment) -> T) -> T {
        let mut stages = lock(&self.stages);
        let before = stages.next_due();
        let result = self.view.write(|table, reports| {
            let at = Moment { instant: Instant::now().into_std(), wall: SystemTime::now() };
            let result = step(&mut stages, table, reports, at);
            self.is_idle.store(stages.is_idle(), Ordering::Release);
            result
        });
        let (changed, asked) = (stages.next_due() != before, stages.has_probes());
        let concerns_fleet = stages.has_fleet_changes();
        let events = stages.take_events();
        drop(stages);
        if changed {
            self.changed.notify_one();
        }
        if asked {
            self.asked.notify_one();
        }
        if concerns_fleet {
            self.fleet.notify_one();
        }
        events.into_iter().for_each(Event::log);
        result
    }

    /// Writes updates past the stages, if all of them are idle. Says whether it did.
    fn record_idle(&self, updates: &mut Vec<StatusUpdate>) -> bool {
        self.is_idle.load(Ordering::Acquire)
            && self.view.write(|table, reports| {
                // A stage may have been given something to do meanwhile.
                let is_idle = self.is_idle.load(Ordering::Acquire);
                if is_idle {
                    reports.extend(updates.drain(..).filter_map(|update| table.record(update)));
                }
                is_idle
            })
    }
}

impl Sink for Pipeline {
    fn begin(&self, id: CheckId, incarnation: Incarnation, spec: &Arc<CheckSpec>) {
        // From here on the table drops updates of the life before, so none of them comes to a stage
        // after this.
        self.view.begin(id, incarnation, spec);
        if self.has_stages && !self.is_idle.load(Ordering::Acquire) {
            let check = (id, incarnation, spec);
            self.step(|stages, table, reports, at| stages.begin(check, table, reports, at));
        }
    }

    fn record(&self, updates: &mut Vec<StatusUpdate>) {
        self.observers.iter().for_each(|observer| observer.updates(updates));
        if !self.has_stages {
            return self.view.record(updates);
        }
        if self.record_idle(updates) {
            return;
        }
        self.step(|stages, table, reports, at| stages.record(updates, table, reports, at));
    }

    fn forget(&self, id: CheckId, incarnation: Incarnation) {
        if self.view.remove(id, incarnation) && self.has_stages && !self.is_idle.load(Ordering::Acquire) {
            self.step(|stages, table, reports, at| stages.forget(id, table, reports, at));
        }
    }

    fn is_paused(&self, id: CheckId) -> bool {
        [&self.paused, &self.resting].into_iter().flatten().any(|paused| paused.contains(id))
    }

    fn in_effect(&self, generation: Option<u64>, full: bool) {
        if self.has_stages {
            self.step(|stages, table, reports, at| stages.in_effect(table, reports, at));
        }
        self.view.in_effect(generation, full);
    }
}

/// A stage is whole after each of its steps, so a panic elsewhere is no reason to stop.
fn lock(stages: &Mutex<Stages>) -> MutexGuard<'_, Stages> {
    stages.lock().unwrap_or_else(PoisonError::into_inner)
}
