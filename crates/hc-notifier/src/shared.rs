//! The outbox between the table of statuses and the task that delivers.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hc_types::{Batch, CheckId, Refresh};
use hc_view::{Outlet, Report, Slot, View};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::{DeliveryError, Due, NotifierConfig, Outbox, RefreshError, Stats};

/// An [`Outbox`] behind one lock, which is held for as long as it takes to move a few links; never
/// for a delivery.
///
/// Where both locks are needed, that of the [`View`] is taken first.
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

    /// Waits until a batch is due; `false` when nothing is left to deliver and nothing will be.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub(crate) async fn due(&self) -> bool {
        loop {
            // `notify_one` leaves a permit behind, so a change between the look and the wait is not
            // missed.
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

    /// A batch of what the view says now, if one is due. Under both locks, so that no set comes
    /// into effect in between.
    pub(crate) fn take(&self, view: &View) -> Option<Batch> {
        view.read(|table| self.lock().take(table, now()))
    }

    /// Whether the consumer that is there keeps what it got.
    pub(crate) fn consumer(&self, keeps: bool) {
        self.lock().consumer(keeps, now());
    }

    /// A refresh, if one is due. A set that comes into effect later is in a later batch.
    pub(crate) fn take_refresh(&self) -> Option<Refresh> {
        self.lock().take_refresh(now())
    }

    /// Says whether the refresh was given up.
    pub(crate) fn settle_refresh(&self, result: &Result<(), RefreshError>) -> bool {
        let mut outbox = self.lock();
        match result {
            Ok(()) => {
                outbox.refreshed(now());
                false
            }
            Err(error) => outbox.not_refreshed(error, now()),
        }
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

    /// The outbox is whole after each of its calls' single steps, so a panic elsewhere is no reason
    /// to stop.
    fn lock(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outlet for SharedOutbox {
    fn begin(&self, slot: Slot, id: CheckId) {
        self.lock().begin(slot, id);
    }

    fn reported(&self, reports: &[Report]) {
        let now = now();
        let mut outbox = self.lock();
        // Every report counts, so no short circuit.
        let nearer = reports.iter().fold(false, |nearer, report| outbox.reported(*report, now) | nearer);
        drop(outbox);
        if nearer {
            self.changed.notify_one();
        }
    }

    fn forget(&self, slot: Slot, id: CheckId) {
        self.lock().forget(slot, id);
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
