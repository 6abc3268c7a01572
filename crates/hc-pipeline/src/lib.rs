//! Holds the verdicts when many checks fail at once.
//!
//! Everything down at once is more often the checker's own network than all backends. A [`GuardedSink`] stands in front of
//! any [`Sink`](hc_types::Sink). When more than a share of the healthy checks of a [`Group`] fails within a window, it
//!
//! 1. holds their verdicts, and those that follow in the group: the sink behind keeps telling that they are healthy;
//! 2. has a sample of them probed at once, in a few quick rounds, and logs an alarm;
//! 3. tells the held verdicts if the sample fails in every round, or when [`GuardConfig::max_hold`] is over; if the sample
//!    recovers, the next probe of each held check decides.
//!
//! After verdicts were told nothing is held again until the alarm is over: when no more than the share of the group is down,
//! as the group is by then, without the checks that were down before the alarm and still are.
//!
//! # What it costs
//!
//! A verdict that has left cannot be called back, so every step from healthy to unhealthy waits for [`GuardConfig::window`]
//! before it is told, also that of a lone failure. Detection takes that much longer, all the time. Everything else, a
//! recovery above all, passes at once. Failures that come more slowly than the window are never held.
//!
//! # What it does not do
//!
//! It remembers nothing across processes, and the first status of each life of an id passes: a new consumer hears where
//! checks stand. Inconclusive probes are no statuses, so they count neither as failed nor as passed.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::{Duration, SystemTime};
//! use hc_pipeline::{GuardConfig, GuardTask, GuardedSink, Reprobe};
//! use hc_types::{CheckId, CheckSpec, Health, Incarnation, Outcome, ProbeSpec, Progress, Sink, Status, StatusUpdate, Target};
//! use tokio_util::sync::CancellationToken;
//!
//! struct Print;
//! impl Sink for Print {
//!     fn begin(&self, _: CheckId, _: Incarnation, _: &Arc<CheckSpec>) {}
//!     fn record(&self, updates: &mut Vec<StatusUpdate>) {
//!         updates.drain(..).for_each(|update| println!("{} is {}", update.id, update.status.health));
//!     }
//!     fn forget(&self, _: CheckId, _: Incarnation) {}
//!     fn in_effect(&self, _: Option<u64>, _: bool) {}
//! }
//!
//! /// Whoever runs the checks probes these at once.
//! struct Checker;
//! impl Reprobe for Checker {
//!     async fn probe_now(&self, ids: Vec<CheckId>) {
//!         println!("probe {ids:?}");
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let guarded = Arc::new(GuardedSink::new(GuardConfig::default(), Arc::new(Print)));
//! let stop = CancellationToken::new();
//! let task = GuardTask::new(Arc::clone(&guarded), Checker);
//!
//! let (second, target) = (Duration::from_secs(1), Target::plain("192.0.2.1".parse()?, 0));
//! let spec = Arc::new(CheckSpec::new(target, ProbeSpec::Icmp, second, second, 0)?);
//! let status = |health| Status { health, last_check: Some(SystemTime::now()), ..Status::NEW };
//! for health in [Health::Healthy, Health::Unhealthy] {
//!     for id in 1..=5 {
//!         let (id, incarnation, spec) = (CheckId(id), Incarnation(1), Arc::clone(&spec));
//!         if health == Health::Healthy {
//!             guarded.begin(id, incarnation, &spec);
//!         }
//!         guarded.record(&mut vec![StatusUpdate {
//!             id, incarnation, spec, status: status(health), transition: true, reportable: true, progress: Progress::default(),
//!         }]);
//!     }
//! }
//! assert_eq!((guarded.stats().held, guarded.stats().alarms.len()), (5, 1));
//! stop.cancel();
//! task.run(stop).await;
//! # Ok(())
//! # }
//! ```

mod actions;
mod config;
mod group;
mod guard;
mod sink;
mod task;
mod trial;

pub use actions::{Actions, Cause, Event};
pub use config::GuardConfig;
pub use group::{Group, Grouping};
pub use guard::Guard;
pub use sink::{GuardStats, GuardedSink};
pub use task::{GuardTask, Reprobe};
