//! The outbox between the threads that find news and the task that tells it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hc_types::{Batch, CheckId, CheckSpec, Incarnation, Sink, StatusUpdate};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::{DeliveryError, Due, NotifierConfig, Outbox, Stats};

/// An [`Outbox`] behind one lock, which is held for as long as it takes to move a few links; never for a delivery.
#[derive(Debug)]
pub struct SharedOutbox {
    outbox: Mutex<Outbox>,
    /// Something may be due earlier than it was.
    changed: Notify,
}

impl SharedOutbox {
    /// An empty outbox. Emptied by one [`NotifierTask`](crate::NotifierTask).
    #[must_use]
    pub fn new(config: &NotifierConfig) -> Self {
        Self { outbox: Mutex::new(Outbox::new(config, now())), changed: Notify::new() }
    }

    /// A look at it.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.lock().stats(now())
    }

    /// Waits until a batch is due; `false` when nothing is left to tell and nothing will be.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub(crate) async fn due(&self) -> bool {
        loop {
            // `notify_one` leaves a permit behind, so a change between the look and the wait is not missed.
            let due = self.lock().due();
            match due {
                Due::Never => return false,
                Due::At(due) if due <= now() => return true,
                // Whether time came or a change did: look again.
                Due::At(due) => {
                    let _ = timeout_at(due.into(), self.changed.notified()).await;
                }
                Due::OnChange => self.changed.notified().await,
            }
        }
    }

    pub(crate) fn take(&self) -> Option<Batch> {
        self.lock().take(now())
    }

    pub(crate) fn settle(&self, result: &Result<(), DeliveryError>) {
        let mut outbox = self.lock();
        match result {
            Ok(()) => outbox.delivered(now()),
            Err(error) => outbox.failed(error, now()),
        }
    }

    pub(crate) fn drain(&self) {
        self.lock().drain();
        self.changed.notify_one();
    }

    /// The outbox is whole after each of its calls' single steps, so a panic elsewhere is no reason to stop telling.
    fn lock(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for SharedOutbox {
    fn begin(&self, id: CheckId, incarnation: Incarnation, _: &Arc<CheckSpec>) {
        self.lock().begin(id, incarnation);
    }

    fn record(&self, updates: &mut Vec<StatusUpdate>) {
        let now = now();
        let mut outbox = self.lock();
        // Every update counts, so no short circuit.
        let updates = updates.drain(..).filter(|update| update.reportable);
        let nearer = updates.fold(false, |nearer, update| outbox.record(update, now) | nearer);
        drop(outbox);
        if nearer {
            self.changed.notify_one();
        }
    }

    fn forget(&self, id: CheckId, incarnation: Incarnation) {
        self.lock().forget(id, incarnation);
    }

    fn in_effect(&self, generation: Option<u64>, full: bool) {
        self.lock().in_effect(generation, full, now());
        if full {
            self.changed.notify_one();
        }
    }
}

/// Tokio's clock, so that tests can pause it.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}
