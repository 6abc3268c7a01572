//! Delivers to one consumer where checks stand, without ever losing the latest state of one.
//!
//! The statuses are in a [`View`], once for all consumers. An [`Outbox`] keeps which of them its
//! consumer has not got yet and decides what is delivered when; [`SharedOutbox`] follows the view
//! as one of its outlets; [`NotifierTask`] empties it through a [`Delivery`], of which this crate
//! does not know how it travels.
//!
//! - A transition waits at most `batch_delay` for company and is delivered oldest first, at most
//!   `batch_size` in a batch.
//! - A batch that was not delivered is sent again, with what is true *then*, after a pause that
//!   doubles from 100 ms to 2 s.
//! - Every check is delivered again within `notify_interval`, evenly spread and never in a burst.
//! - A consumer that keeps what it got ([`Delivery::keeps`]) does not get it again: it hears that it
//!   is still so, and itself tells it again to whoever wants to know.
//! - A consumer that is slow or hangs blocks nobody: 24 bytes a check is all that its outbox ever
//!   needs.
//! - Nothing of a check is delivered before its first report.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::{Duration, SystemTime};
//! use hc_notifier::{Delivery, DeliveryError, NotifierConfig, NotifierTask, SharedOutbox};
//! use hc_types::{Batch, CheckId, CheckSpec, Evidence, Health, Incarnation, Outcome, ProbeSpec, Progress, Sink, Status, StatusUpdate, Target, Timing};
//! use hc_view::{View, ViewConfig};
//! use tokio_util::sync::CancellationToken;
//!
//! struct Print;
//!
//! impl Delivery for Print {
//!     async fn ready(&self) {}
//!
//!     async fn deliver(&self, batch: Batch) -> Result<(), DeliveryError> {
//!         for check in batch.statuses {
//!             println!("{}: {}", check.id, check.status.health);
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let outbox = Arc::new(SharedOutbox::new(&NotifierConfig::default()));
//! let shutdown = CancellationToken::new();
//! let view = Arc::new(View::new(&ViewConfig::default(), vec![outbox.clone()]));
//! let task = NotifierTask::new(view.clone(), outbox, Print, Duration::from_secs(2), shutdown.clone());
//!
//! let second = Duration::from_secs(1);
//! let spec = CheckSpec::new(Target::plain("192.0.2.1".parse()?, 0), ProbeSpec::Icmp, Timing::every(second).timeout(second))?;
//! let status = Status {
//!     health: Health::Healthy,
//!     last_check: Some(SystemTime::now()),
//!     successes: 1,
//!     outcome: Some(Outcome::PASS),
//!     ..Status::NEW
//! };
//! let (id, incarnation) = (CheckId(1), Incarnation(1));
//! let spec = Arc::new(spec);
//! view.begin(id, incarnation, &spec);
//! view.record(&mut vec![StatusUpdate {
//!     id, incarnation, spec, status, transition: true, reportable: true, progress: Progress::default(),
//!     evidence: Evidence::default(),
//! }]);
//!
//! // A task that is to end delivers first what is pending.
//! shutdown.cancel();
//! assert_eq!(task.run().await, 0);
//! # Ok(())
//! # }
//! ```
//!
//! [`View`]: hc_view::View

mod config;
mod delivered;
mod delivery;
mod links;
mod outbox;
mod pace;
mod shared;
mod task;

pub use config::NotifierConfig;
pub use delivery::{Delivery, DeliveryError, RefreshError, Refreshed};
pub use outbox::{Due, Outbox, Stats};
pub use shared::SharedOutbox;
pub use task::NotifierTask;
