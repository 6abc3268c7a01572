//! How a batch leaves, as far as this crate knows.

use std::error::Error;

use hc_types::Batch;

/// Carries batches to whoever wants to know.
pub trait Delivery: Send + Sync + 'static {
    /// Resolves when a delivery may be tried: there is somebody to deliver to. Until then no batch
    /// is made, so nothing spins without a consumer.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    fn ready(&self) -> impl Future<Output = ()> + Send;

    /// Delivers one batch, which is never empty, and says whether the consumer has it. Only one
    /// delivery is under way at a time.
    ///
    /// The future must resolve within a bounded time: nothing is told while it is pending.
    ///
    /// # Errors
    /// [`DeliveryError`] when it is not certain that the consumer has the batch. What is in it is
    /// then told again.
    ///
    /// # Cancel safety
    /// Dropped only when the grace of a shutdown has passed; the batch may then have been delivered
    /// or not.
    fn deliver(&self, batch: Batch) -> impl Future<Output = Result<(), DeliveryError>> + Send;
}

/// It is not certain that the consumer has the batch.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct DeliveryError(Box<dyn Error + Send + Sync>);

impl DeliveryError {
    /// Wraps the cause: an error or a text.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}
