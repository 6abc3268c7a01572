//! How a batch leaves, as far as this crate knows.

use std::error::Error;
use std::pin::Pin;

use hc_types::{Batch, Refresh};

/// Resolves when the consumer has told what a refresh is about again, or has not.
pub type Refreshed = Pin<Box<dyn Future<Output = Result<(), RefreshError>> + Send>>;

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

    /// Whether the consumer that is there keeps what it got, so that it need not get it again but
    /// only be told to tell it again ([`refresh`](Self::refresh)). Asked whenever something is
    /// about to be delivered. By default it does not.
    fn keeps(&self) -> bool {
        false
    }

    /// Hands over a refresh, and resolves as soon as what is handed over later reaches the consumer
    /// later. The answer comes through the future that it gives, which must resolve within a
    /// bounded time. Only called where the consumer [`keeps`](Self::keeps) what it got.
    ///
    /// # Errors
    /// [`RefreshError`] when it could not be handed over.
    ///
    /// # Cancel safety
    /// As [`deliver`](Self::deliver).
    fn refresh(&self, refresh: Refresh) -> impl Future<Output = Result<Refreshed, RefreshError>> + Send {
        let _ = refresh;
        async { Err(RefreshError::Failed(DeliveryError::new("this consumer keeps nothing"))) }
    }
}

/// Why a refresh did not come about.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The consumer keeps other checks or other states than the refresh is about. It has dropped
    /// them.
    #[error("the consumer keeps something else")]
    Differs,
    /// It is not certain that the consumer has told them again.
    #[error(transparent)]
    Failed(#[from] DeliveryError),
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
