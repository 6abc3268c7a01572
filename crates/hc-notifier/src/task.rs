//! Empties the outbox.

use std::sync::Arc;
use std::time::Duration;

use hc_view::View;
use tokio::select;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{Delivery, DeliveryError, RefreshError, Refreshed, SharedOutbox};

/// Takes batches from a [`SharedOutbox`] and gives them to a [`Delivery`], one at a time, until it
/// is told to end.
#[derive(Debug)]
pub struct NotifierTask<D> {
    view: Arc<View>,
    outbox: Arc<SharedOutbox>,
    delivery: D,
    consumer: Arc<str>,
    grace: Duration,
    shutdown: CancellationToken,
}

impl<D: Delivery> NotifierTask<D> {
    /// A task that delivers from `view` what `outbox`, which must be one of its outlets, has
    /// queued. It ends after `shutdown`. It then tells at once what is left to tell, for at most
    /// `grace`, and does not wait for a consumer that is not there.
    #[must_use]
    pub fn new(
        view: Arc<View>,
        outbox: Arc<SharedOutbox>,
        delivery: D,
        grace: Duration,
        shutdown: CancellationToken,
    ) -> Self {
        Self { view, outbox, delivery, consumer: Arc::default(), grace, shutdown }
    }

    /// With the name of its consumer in what it logs.
    #[must_use]
    pub fn named(mut self, consumer: Arc<str>) -> Self {
        self.consumer = consumer;
        self
    }

    /// Runs until the shutdown is done; never ends before. Says how many checks had news that could
    /// not be told.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the batch under way in the outbox for ever: end it by `shutdown`.
    pub async fn run(self) -> usize {
        let end = async {
            self.shutdown.cancelled().await;
            self.outbox.drain();
            sleep(self.grace).await;
        };
        select! {
            // Both branches end the task, so what the other one would lose is of no more use.
            () = self.serve() => {}
            () = end => {}
        }
        let undelivered = self.outbox.stats().undelivered;
        if undelivered > 0 {
            tracing::warn!(checks = undelivered, consumer = self.name(), "ended with news that was not told");
        }
        undelivered
    }

    async fn serve(&self) {
        let mut refreshed: Option<Refreshed> = None;
        let mut has_given_up = false;
        loop {
            select! {
                biased;
                // Nothing of the answer is lost when the other branch is dropped.
                result = answer(&mut refreshed) => {
                    refreshed = None;
                    self.refreshed(&result, &mut has_given_up);
                    continue;
                }
                due = self.outbox.due() => {
                    if !due {
                        return;
                    }
                }
            }
            if !self.consumer().await {
                return;
            }
            self.outbox.consumer(self.delivery.keeps());
            if let Some(refresh) = self.outbox.take_refresh() {
                match self.delivery.refresh(refresh).await {
                    Ok(answer) => refreshed = Some(answer),
                    Err(error) => self.refreshed(&Err(error), &mut has_given_up),
                }
                continue;
            }
            // Made only now: with what is true now, of the set that is in effect now.
            let Some(batch) = self.outbox.take(&self.view) else { continue };
            let notifications = batch.statuses.len();
            let result = self.delivery.deliver(batch).await;
            self.log(&result, notifications);
            self.outbox.settle(&result);
        }
    }

    /// A refresh has ended. Those that fail go with batches that fail, which are loud, or are given
    /// up, which is loud once until one succeeds.
    fn refreshed(&self, result: &Result<(), RefreshError>, has_given_up: &mut bool) {
        let consumer = self.name();
        match result {
            Ok(()) => *has_given_up = false,
            Err(RefreshError::Differs) => {
                tracing::info!(
                    consumer,
                    "the consumer keeps other statuses than were delivered; some are told again"
                );
            }
            Err(RefreshError::Failed(error)) => {
                tracing::debug!(consumer, %error, "statuses were not told again; trying again");
            }
        }
        if self.outbox.settle_refresh(result) && !std::mem::replace(has_given_up, true) {
            tracing::warn!(
                consumer,
                "the consumer does not tell again what it keeps: all of it is sent to it instead"
            );
        }
    }

    /// Waits for somebody to deliver to; `false` when the end comes first.
    async fn consumer(&self) -> bool {
        select! {
            // Whoever is there at the end still gets the last news.
            biased;
            () = self.delivery.ready() => true,
            () = self.shutdown.cancelled() => false,
        }
    }

    /// The first failure in a row is loud, and so is the end of the row; each one between is in the
    /// statistics.
    fn log(&self, result: &Result<(), DeliveryError>, notifications: usize) {
        let consumer = self.name();
        match (result, self.outbox.stats().failures_in_a_row) {
            (Ok(()), 0) => tracing::debug!(notifications, consumer, "batch delivered"),
            (Ok(()), failures) => {
                tracing::info!(notifications, failures, consumer, "batch delivered after failures");
            }
            (Err(error), 0) => {
                tracing::warn!(notifications, consumer, %error, "batch not delivered; trying again");
            }
            (Err(error), failures) => {
                tracing::debug!(notifications, consumer, %error, failures, "batch not delivered again");
            }
        }
    }

    /// `None` without a name.
    fn name(&self) -> Option<&str> {
        Some(&*self.consumer).filter(|name| !name.is_empty())
    }
}

/// The answer to the refresh under way.
async fn answer(refreshed: &mut Option<Refreshed>) -> Result<(), RefreshError> {
    match refreshed {
        Some(refreshed) => refreshed.await,
        None => std::future::pending().await,
    }
}
