//! Tells somebody where checks stand, without ever losing the latest state of one.
//!
//! The [`Outbox`] keeps the latest status of each check and decides what is told when; [`SharedOutbox`] is the [`Sink`]
//! that whoever runs the checks writes to; [`NotifierTask`] empties it through a [`Delivery`], of which this crate does
//! not know how it travels.
//!
//! - News (a check whose health changed) waits at most `batch_delay` for company and is told oldest first, at most
//!   `batch_size` in a batch.
//! - A batch that was not delivered is told again, with what is true *then*, after a pause that doubles from 100 ms to 2 s.
//! - Every check is told again within `notify_interval`, evenly spread and never in a burst.
//! - Nothing blocks whoever records a status, and memory is bounded by the number of checks.
//! - Nothing is told about a check before its first status.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::{Duration, SystemTime};
//! use hc_notifier::{Delivery, DeliveryError, NotifierConfig, NotifierTask, SharedOutbox};
//! use hc_types::{Batch, CheckId, CheckSpec, Health, Incarnation, Outcome, ProbeSpec, Progress, Sink, Status, StatusUpdate, Target};
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
//! let task = NotifierTask::new(outbox.clone(), Print, Duration::from_secs(2), shutdown.clone());
//!
//! let second = Duration::from_secs(1);
//! let spec = CheckSpec::new(Target::plain("192.0.2.1".parse()?, 0), ProbeSpec::Icmp, second, second, 0)?;
//! let status = Status {
//!     health: Health::Healthy,
//!     last_check: Some(SystemTime::now()),
//!     successes: 1,
//!     outcome: Some(Outcome::PASS),
//!     ..Status::NEW
//! };
//! let (id, incarnation) = (CheckId(1), Incarnation(1));
//! let spec = Arc::new(spec);
//! outbox.begin(id, incarnation, &spec);
//! outbox.record(&mut vec![StatusUpdate {
//!     id, incarnation, spec, status, transition: true, reportable: true, progress: Progress::default(),
//! }]);
//!
//! // A task that is told to end tells first what is left to tell.
//! shutdown.cancel();
//! assert_eq!(task.run().await, 0);
//! # Ok(())
//! # }
//! ```
//!
//! [`Sink`]: hc_types::Sink

mod config;
mod delivery;
mod outbox;
mod pace;
mod shared;
mod slots;
mod task;

pub use config::NotifierConfig;
pub use delivery::{Delivery, DeliveryError};
pub use outbox::{Due, Outbox, Stats};
pub use shared::SharedOutbox;
pub use task::NotifierTask;
