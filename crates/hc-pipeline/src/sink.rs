//! The guard between the threads that find statuses and the sink that tells them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hc_types::{CheckId, CheckSpec, Incarnation, Sink, StatusUpdate};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::actions::{Actions, Event};
use crate::{Group, Guard, GuardConfig};

/// A sink with a [`Guard`] in front of it.
///
/// Verdicts that are held come out again only while a [`GuardTask`](crate::GuardTask) runs. Until then the sink behind
/// keeps telling what it was told last, so whoever listens goes on hearing that those checks are healthy.
#[derive(Debug)]
pub struct GuardedSink<S: ?Sized> {
    state: Mutex<State>,
    share: f64,
    /// Time has to be looked at anew.
    changed: Notify,
    /// There are checks to be probed.
    asked: Notify,
    sink: Arc<S>,
}

#[derive(Debug)]
struct State {
    guard: Guard,
    actions: Actions,
}

/// A look at a guard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuardStats {
    /// Verdicts that are held, those included that only wait for company.
    pub held: usize,
    /// Groups whose alarm stands, in order.
    pub alarms: Vec<Group>,
}

impl<S: Sink + ?Sized> GuardedSink<S> {
    /// Puts a guard in front of `sink`.
    #[must_use]
    pub fn new(config: GuardConfig, sink: Arc<S>) -> Self {
        Self {
            share: config.share,
            state: Mutex::new(State { guard: Guard::new(config), actions: Actions::default() }),
            changed: Notify::new(),
            asked: Notify::new(),
            sink,
        }
    }

    /// A look at it.
    #[must_use]
    pub fn stats(&self) -> GuardStats {
        let State { guard, .. } = &*self.lock();
        GuardStats { held: guard.held(), alarms: guard.alarms().collect() }
    }

    /// Waits until a verdict or a round is due and deals with it.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub(crate) async fn keep_time(&self) {
        let due = self.lock().guard.next_due().map(Instant::from_std);
        match due {
            Some(due) if due <= now() => self.step(|guard, now, actions| guard.expire(now, actions)),
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
        loop {
            self.asked.notified().await;
            let ids = std::mem::take(&mut self.lock().actions.probe);
            if !ids.is_empty() {
                return ids.into_iter().collect();
            }
        }
    }

    fn step(&self, step: impl FnOnce(&mut Guard, std::time::Instant, &mut Actions)) {
        let mut state = self.lock();
        let State { guard, actions } = &mut *state;
        let before = guard.next_due();
        step(guard, now().into_std(), actions);
        if !actions.pass.is_empty() {
            // Under the lock: elsewhere a newer status of the same check could go first.
            self.sink.record(&mut actions.pass);
        }
        let (changed, asked) = (guard.next_due() != before, !actions.probe.is_empty());
        let events = std::mem::take(&mut actions.events);
        drop(state);
        if changed {
            self.changed.notify_one();
        }
        if asked {
            self.asked.notify_one();
        }
        events.into_iter().for_each(|event| self.say(event));
    }

    fn say(&self, event: Event) {
        match event {
            Event::Tripped { group, failed, size } => {
                let share = self.share;
                warn!(%group, failed, size, share, "many checks failed at once: their verdicts are held");
            }
            Event::Released { group, verdicts, cause } => {
                warn!(%group, verdicts, %cause, "held verdicts are told");
            }
            Event::Recovered { group, awaiting } => {
                info!(%group, awaiting, "failures are in doubt: the next probe of each held check decides");
            }
            Event::Ended { group } => info!(%group, "few enough checks are down: the alarm is over"),
        }
    }

    /// The guard is whole after each of its steps, so a panic elsewhere is no reason to stop telling.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Sink + ?Sized> Sink for GuardedSink<S> {
    fn begin(&self, id: CheckId, incarnation: Incarnation, spec: &Arc<CheckSpec>) {
        self.step(|guard, now, actions| {
            self.sink.begin(id, incarnation, spec);
            guard.begin(id, incarnation, now, actions);
        });
    }

    fn record(&self, updates: &mut Vec<StatusUpdate>) {
        self.step(|guard, now, actions| {
            let (reportable, mut rest): (Vec<_>, Vec<_>) =
                updates.drain(..).partition(|update| update.reportable);
            // Readers see those at once.
            self.sink.record(&mut rest);
            reportable.into_iter().for_each(|update| guard.record(update, now, actions));
        });
    }

    fn forget(&self, id: CheckId, incarnation: Incarnation) {
        self.step(|guard, now, actions| {
            self.sink.forget(id, incarnation);
            guard.forget(id, incarnation, now, actions);
        });
    }

    fn in_effect(&self, generation: Option<u64>, full: bool) {
        self.step(|_, _, _| self.sink.in_effect(generation, full));
    }
}

/// Tokio's clock, so that tests can pause it.
fn now() -> Instant {
    Instant::now()
}
