//! Which checks a sink has heard of, so that it forgets those that end.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hc_notifier::SharedOutbox;
use hc_types::CheckId;
use hc_view::{Outlet, Report, Slot};
use tokio::sync::Notify;

/// The checks that a sink has heard of, and those of them that have ended and that it has yet to
/// forget.
///
/// Bounded by the number of checks: what has ended is kept only if the sink was told of it, and it
/// is told of nothing more before it has forgotten.
#[derive(Debug, Default)]
pub(crate) struct Told {
    state: Mutex<State>,
    ended: Notify,
    overruled: Notify,
}

#[derive(Debug, Default)]
struct State {
    told: HashSet<CheckId>,
    gone: Vec<CheckId>,
}

impl Told {
    /// The sink is about to hear of these.
    pub(crate) fn tell(&self, ids: impl Iterator<Item = CheckId>) {
        self.lock().told.extend(ids);
    }

    /// It does not hear of this one after all, which has ended.
    pub(crate) fn take_back(&self, id: CheckId) {
        self.lock().told.remove(&id);
    }

    /// This life of a check has ended.
    pub(crate) fn end(&self, id: CheckId) {
        let mut state = self.lock();
        if state.told.remove(&id) {
            state.gone.push(id);
            drop(state);
            self.ended.notify_one();
        }
    }

    /// What the sink is to forget now.
    pub(crate) fn take_gone(&self) -> Vec<CheckId> {
        std::mem::take(&mut self.lock().gone)
    }

    /// Waits until there is something to forget.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub(crate) async fn ended(&self) {
        self.ended.notified().await;
    }

    /// Waits until what operators say may have changed.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub(crate) async fn overruled(&self) {
        self.overruled.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The outbox of a sink, which also hears what ends.
pub(crate) struct SinkOutlet {
    pub(crate) outbox: Arc<SharedOutbox>,
    pub(crate) told: Arc<Told>,
}

impl Outlet for SinkOutlet {
    fn begin(&self, slot: Slot, id: CheckId) {
        self.outbox.begin(slot, id);
        // One that begins again with another target is another check.
        self.told.end(id);
    }

    fn reported(&self, reports: &[Report]) {
        self.outbox.reported(reports);
    }

    fn overruled(&self) {
        self.told.overruled.notify_one();
    }

    fn forget(&self, slot: Slot, id: CheckId) {
        self.outbox.forget(slot, id);
        self.told.end(id);
    }

    fn in_effect(&self, generation: Option<u64>, full: bool) {
        self.outbox.in_effect(generation, full);
    }
}
