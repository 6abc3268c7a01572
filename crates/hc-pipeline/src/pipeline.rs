//! From the shards to the view: observers, stages, and the lock around them.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hc_types::{CheckId, CheckSpec, Incarnation, Observer, Sink, StatusUpdate};
use hc_view::{Report, Table, View};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::chain::{Chain, Passed, is_unchanged};
use crate::effects::{Effects, Event};
use crate::stage::Stage;

/// What the shards write to. Observers see every update; then the stages decide what consumers get of it.
///
/// Readers of the view see the status itself at once, also while a stage holds it back. What is held comes out again only
/// while a [`PipelineTask`](crate::PipelineTask) runs. Without a stage, updates go straight into the view: there is no
/// further lock, table or copy.
pub struct Pipeline {
    view: Arc<View>,
    observers: Vec<Arc<dyn Observer>>,
    /// `None` without a stage. This lock is taken before that of the view.
    stages: Option<Mutex<Stages>>,
    /// Something may be due earlier or later than it was.
    changed: Notify,
    /// There are checks to be probed.
    asked: Notify,
}

struct Stages {
    chain: Chain,
    out: Effects,
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("view", &self.view).field("has_stages", &self.has_stages()).finish()
    }
}

impl Pipeline {
    /// A pipeline into `view`. The first of `stages` gets an update first.
    #[must_use]
    pub fn new(view: Arc<View>, observers: Vec<Arc<dyn Observer>>, stages: Vec<Box<dyn Stage>>) -> Self {
        let stages = (!stages.is_empty())
            .then(|| Mutex::new(Stages { chain: Chain::new(stages), out: Effects::default() }));
        Self { view, observers, stages, changed: Notify::new(), asked: Notify::new() }
    }

    /// Whether there is a stage, so that a [`PipelineTask`](crate::PipelineTask) has something to do.
    #[must_use]
    pub fn has_stages(&self) -> bool {
        self.stages.is_some()
    }

    /// Waits until a stage has something due and lets it do that.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub(crate) async fn expire(&self) {
        let Some(stages) = &self.stages else { return std::future::pending().await };
        let due = lock(stages).chain.next_due().map(Instant::from_std);
        match due {
            Some(due) if due <= Instant::now() => {
                self.step(stages, |stages, table, reports, now| {
                    let passed = stages.chain.expire(now, &mut stages.out);
                    report(table, reports, passed);
                });
            }
            // `notify_one` leaves a permit behind, so a change between the look and the wait is not missed. Whether time
            // came or a change did: the caller looks again.
            Some(due) => drop(timeout_at(due, self.changed.notified()).await),
            None => self.changed.notified().await,
        }
    }

    /// Waits until there are checks to be probed. Each is given out once.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub(crate) async fn to_probe(&self) -> Vec<CheckId> {
        let Some(stages) = &self.stages else { return std::future::pending().await };
        loop {
            self.asked.notified().await;
            let ids = std::mem::take(&mut lock(stages).out.probe);
            if !ids.is_empty() {
                return ids.into_iter().collect();
            }
        }
    }

    /// Calls `step` under both locks, then does what follows from it.
    fn step(
        &self,
        stages: &Mutex<Stages>,
        step: impl FnOnce(&mut Stages, &mut Table, &mut Vec<Report>, std::time::Instant),
    ) {
        let mut stages = lock(stages);
        let before = stages.chain.next_due();
        self.view.write(|table, reports| step(&mut stages, table, reports, Instant::now().into_std()));
        let (changed, asked) = (stages.chain.next_due() != before, !stages.out.probe.is_empty());
        let events = std::mem::take(&mut stages.out.events);
        drop(stages);
        if changed {
            self.changed.notify_one();
        }
        if asked {
            self.asked.notify_one();
        }
        events.into_iter().for_each(Event::log);
    }

    /// The stages hear that a life has ended.
    fn forgotten(&self, stages: &Mutex<Stages>, id: CheckId) {
        self.step(stages, |stages, table, reports, now| {
            let passed = stages.chain.forget(id, now, &mut stages.out);
            report(table, reports, passed);
        });
    }
}

impl Sink for Pipeline {
    fn begin(&self, id: CheckId, incarnation: Incarnation, spec: &Arc<CheckSpec>) {
        // From here on the table drops updates of the life before, so none of them comes to a stage after this.
        self.view.begin(id, incarnation, spec);
        if let Some(stages) = &self.stages {
            self.forgotten(stages, id);
        }
    }

    fn record(&self, updates: &mut Vec<StatusUpdate>) {
        self.observers.iter().for_each(|observer| observer.updates(updates));
        let Some(stages) = &self.stages else { return self.view.record(updates) };
        self.step(stages, |stages, table, reports, now| {
            for update in updates.drain(..) {
                if !update.reportable {
                    reports.extend(table.record(update));
                } else if table.is_current(update.id, update.incarnation) {
                    let passed = stages.chain.update(&update, now, &mut stages.out);
                    settle(table, reports, update, passed);
                }
            }
        });
    }

    fn forget(&self, id: CheckId, incarnation: Incarnation) {
        if self.view.remove(id, incarnation)
            && let Some(stages) = &self.stages
        {
            self.forgotten(stages, id);
        }
    }

    fn in_effect(&self, generation: Option<u64>, full: bool) {
        self.view.in_effect(generation, full);
    }
}

/// Writes an update, and what the stages made of it. What they pass on may also be of other checks.
fn settle(table: &mut Table, reports: &mut Vec<Report>, update: StatusUpdate, passed: Passed) {
    let Passed { updates, held_by } = passed;
    if !updates.iter().any(|passed| is_unchanged(passed, &update)) {
        table.hold_back(update, held_by);
        return report(table, reports, Passed { updates, held_by });
    }
    for passed in updates {
        if is_unchanged(&passed, &update) {
            reports.extend(table.record(passed));
        } else {
            report(table, reports, Passed { updates: vec![passed], held_by });
        }
    }
}

/// Writes what consumers get from now on.
fn report(table: &mut Table, reports: &mut Vec<Report>, passed: Passed) {
    let Passed { updates, held_by } = passed;
    reports.extend(updates.into_iter().filter_map(|update| {
        let StatusUpdate { id, incarnation, status, transition, .. } = update;
        table.report(id, incarnation, status, transition, held_by)
    }));
}

/// A stage is whole after each of its steps, so a panic elsewhere is no reason to stop.
fn lock(stages: &Mutex<Stages>) -> MutexGuard<'_, Stages> {
    stages.lock().unwrap_or_else(PoisonError::into_inner)
}
