//! Schedules health checks and keeps their state.
//!
//! A [`Manager`] takes the set of checks ([`SetChange`](hc_types::SetChange)), runs their probes on
//! a fixed-rate schedule through a [`Prober`](hc_types::Prober), moves a [`CheckMachine`] for each
//! by what they find, and hands every status to a [`Sink`](hc_types::Sink). It opens no socket
//! itself.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use hc_manager::{Manager, ManagerConfig};
//! use hc_types::{CheckId, CheckSpec, Health, Outcome, ProbeResult, ProbeSpec, Prober, SetChange, Sink, StatusUpdate, Target, TcpProbe, Timing};
//! use tokio_util::sync::CancellationToken;
//!
//! /// A probe that always passes.
//! struct Optimist;
//! impl Prober for Optimist {
//!     fn probe(&self, _spec: Arc<CheckSpec>) -> impl Future<Output = ProbeResult> + 'static {
//!         async { Outcome::PASS.into() }
//!     }
//! }
//!
//! /// Passes on what is news.
//! struct News(tokio::sync::mpsc::Sender<(CheckId, Health)>);
//! impl Sink for News {
//!     fn record(&self, updates: &mut Vec<StatusUpdate>) {
//!         for update in updates.drain(..).filter(|update| update.transition) {
//!             let _ = self.0.try_send((update.id, update.status.health));
//!         }
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let (news, mut heard) = tokio::sync::mpsc::channel(16);
//! let (manager, task) = Manager::start(ManagerConfig::default(), || Optimist, Arc::new(News(news)))?;
//! let stop = CancellationToken::new();
//! let mut tasks = tokio::task::JoinSet::new();
//! tasks.spawn(task.run(stop.clone()));
//!
//! let target = Target::plain("192.0.2.1".parse()?, 80);
//! let second = Duration::from_secs(1);
//! let timing = Timing::every(5 * second).timeout(second).retries(2);
//! let spec = CheckSpec::new(target, ProbeSpec::Tcp(TcpProbe::default()), timing)?;
//! let checks = vec![(CheckId(123), Arc::new(spec))];
//! let applied = manager.apply(SetChange::Full { generation: None, checks }).await?;
//! assert_eq!(applied.added, 1);
//! assert_eq!(heard.recv().await, Some((CheckId(123), Health::Healthy)));
//!
//! stop.cancel();
//! while let Some(ended) = tasks.join_next().await {
//!     ended??;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it is cut
//!
//! [`ManagerTask`] holds the desired set and plans each change: which ids are new, which stand for
//! something else now, which checks only changed their id or their timing. The work is done by
//! *shards*, each a thread with a runtime and a table of its own; no lock is shared between them
//! but the sink's.
//!
//! **A shard is chosen by what is checked** ([`CheckKey`](hc_types::CheckKey)), not by the id. So a
//! check that comes back under another id, which is what every check does when Seesaw's engine
//! restarts, finds its health on the same thread.
//!
//! The decisions (plan, schedule, state, what to make of a late loop) take the time as an argument;
//! clocks and threads are in two files, `shard/task.rs` and `threads.rs`.
//!
//! # What holds
//!
//! - Nothing is told of a check before a probe of what it checks has ended. The first status of
//!   each life of an id is news.
//! - The k-th probe is due at `first + k × interval`; two probes of one check never overlap; a late
//!   or long one does not move the next. First probes of many new checks are spread by rate and
//!   none waits for longer than its interval.
//! - What a stall of this process may have brought about is
//!   [`Inconclusive(Late)`](hc_types::LocalFault::Late), and no inconclusive probe changes a state.
//!   It is tried again after 100 ms, then ever more rarely up to the interval.
//! - The health of a check survives another id, another interval, and [`ManagerConfig::remember`]
//!   of absence. After an absence it is told at once only if that was no longer than the check's
//!   interval; else a probe comes first, and while probes contradict it, nothing is told until the
//!   retries are used up.
//! - A removed check's probe is dropped, with its socket.
//!
//! # Panics in probes
//!
//! The release profile aborts on a panic, so a panic in a probe ends the process; what it knew is
//! in the snapshot. Where panics unwind (tests), the probe counts as inconclusive, an error is
//! logged, and all other checks run on.

mod check_state;
mod config;
mod flaps;
mod holding;
mod lateness;
mod local_fault_log;
mod machine;
mod manager;
mod phases;
mod plan;
mod processors;
mod recent;
mod recently_removed;
mod schedule;
mod shard;
#[cfg(test)]
mod simulation;
mod stall;
mod stats;
#[cfg(any(test, feature = "stepped"))]
pub mod stepped;
mod threads;
mod timers;

pub use config::ManagerConfig;
pub use lateness::Lateness;
pub use machine::{CheckMachine, Transition};
pub use manager::{Manager, ManagerTask, Stopped};
pub use plan::Applied;
pub use recent::Recent;
pub use stats::{Episode, Heartbeat, ManagerStats};
pub use threads::{ManagerError, StartError};
