//! The way of a batch to the peer.

use std::time::Duration;

use hc_types::Refresh;
use hc_wire::{Notification, writable};
use tokio::sync::{mpsc, oneshot, watch};

/// Why a batch was not delivered, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliverError {
    /// Nobody is connected, or their first set is not in effect yet.
    #[error("no peer with a set in effect")]
    NotConnected,
    /// The connection ended before the answer.
    #[error("the connection ended before the batch was acknowledged")]
    Disconnected,
    /// The peer says that it could not be delivered.
    #[error("the peer could not deliver: {0}")]
    Refused(String),
    /// The peer keeps other statuses than a refresh is about, and has dropped them.
    #[error("the peer keeps other statuses")]
    Differs,
    /// No answer in time.
    #[error("no acknowledgement within {}", format_seconds(*.0))]
    AckTimeout(Duration),
}

fn format_seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

/// Whoever is told what became of a delivery.
pub(crate) type Answer = oneshot::Sender<Result<(), DeliverError>>;

/// What is on its way to the connection, in this order.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// A batch.
    Batch {
        /// Each can be written.
        batch: Vec<Notification>,
        generation: Option<u64>,
        reply: Answer,
    },
    /// What the peer keeps is still so.
    Refresh(Refresh, Answer),
}

/// The connection that is served.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) number: u64,
    pub(crate) deliveries: mpsc::Sender<Delivery>,
    /// Its first set is in effect.
    pub(crate) in_effect: bool,
    /// The peer keeps what it got.
    pub(crate) keeps: bool,
}

/// Takes batches to the peer that is connected. Cheap to clone.
#[derive(Clone, Debug)]
pub struct IpcHandle {
    pub(crate) link: watch::Receiver<Option<Link>>,
}

impl IpcHandle {
    /// Waits until a peer is connected whose first set is in effect. Never resolves once the task
    /// has ended.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn ready(&self) {
        let mut link = self.link.clone();
        let ready = link.wait_for(|link| link.as_ref().is_some_and(|link| link.in_effect)).await.is_ok();
        if !ready {
            std::future::pending::<()>().await;
        }
    }

    /// Whether a peer is connected.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.link.borrow().is_some()
    }

    /// Delivers a batch, made in the set `generation`: until the peer that said `hello` has
    /// acknowledged it, or, to one that never did, until it is written. What does not fit into one
    /// line goes as several batches, each acknowledged before the next.
    ///
    /// Resolves within the two timeouts of [`IpcConfig`](crate::IpcConfig) for each line.
    ///
    /// # Errors
    /// [`DeliverError`]; the peer may have all, some or none of the batch.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the batch back; the next one waits until it is
    /// acknowledged or has failed.
    pub async fn deliver<T: Into<Notification>>(
        &self,
        batch: Vec<T>,
        generation: Option<u64>,
    ) -> Result<(), DeliverError> {
        let (reply, answer) = oneshot::channel();
        self.send(Delivery::Batch { batch: writable(batch), generation, reply }).await?;
        answer.await.unwrap_or(Err(DeliverError::Disconnected))
    }

    /// Whether the peer whose set is in effect keeps what it got, and can be told to tell it again.
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.link.borrow().as_ref().is_some_and(|link| link.in_effect && link.keeps)
    }

    /// Hands over a refresh: it reaches the peer before any batch that is delivered later. What it
    /// gives resolves when the peer has told what it keeps once more, within the timeout for an
    /// acknowledgement for each 100 checks.
    ///
    /// # Errors
    /// [`DeliverError`], from both; [`DeliverError::Refused`] from a peer that does not keep
    /// anything.
    ///
    /// # Cancel safety
    /// Dropping either future does not take the refresh back.
    pub async fn refresh(
        &self,
        refresh: Refresh,
    ) -> Result<impl Future<Output = Result<(), DeliverError>> + Send + 'static, DeliverError> {
        let (reply, answer) = oneshot::channel();
        self.send(Delivery::Refresh(refresh, reply)).await?;
        Ok(async { answer.await.unwrap_or(Err(DeliverError::Disconnected)) })
    }

    async fn send(&self, delivery: Delivery) -> Result<(), DeliverError> {
        let link = self.link.borrow().clone();
        let link = link.filter(|link| link.in_effect).ok_or(DeliverError::NotConnected)?;
        link.deliveries.send(delivery).await.map_err(|_| DeliverError::Disconnected)
    }
}
