//! What consumers get of the statuses that shards find.
//!
//! A [`Pipeline`] stands between the shards and a [`View`](hc_view::View).
//! [Observers](hc_types::Observer) see every update as it is. Then a chain of [`Stage`]s decides
//! what is reported to consumers: a stage passes an update on, holds it back, or changes it.
//! Readers of the view see both, where a check stands and what consumers get of it. Without a
//! stage, and while all of them are idle, updates go straight into the view.
//!
//! To add a stage: implement [`Stage`] in a file of its own, and add it to the list that hc-server
//! gives to [`Pipeline::new`].
//!
//! # The guard
//!
//! Everything down at once is more often the checker's own network than all backends. When more
//! than a share of the healthy checks of a [`Group`] fails within a window, the [`Guard`]
//!
//! 1. holds their verdicts, and those that follow in the group: consumers go on getting that they
//!    are healthy;
//! 2. has a sample of them probed at once, in a few quick rounds, and logs an alarm;
//! 3. passes the held verdicts on if the sample fails in every round, or when
//!    [`GuardConfig::max_hold`] is over; if the sample recovers, the next probe of each held check
//!    decides.
//!
//! After verdicts were passed on, nothing is held again until the alarm is over: when no more than
//! the share of the group is down, as the group is by then, without the checks that were down
//! before the alarm and still are.
//!
//! A verdict that has left cannot be called back, so every step from healthy to unhealthy waits for
//! [`GuardConfig::window`], also that of a lone failure. Detection takes that much longer, all the
//! time. Everything else, a recovery above all, passes at once. Failures that come more slowly than
//! the window are never held.
//!
//! The guard remembers nothing across processes, and the first status of each life of an id passes,
//! since a new consumer needs to know where checks stand. Inconclusive probes count neither as
//! failed nor as passed.
//!
//! # Overrides
//!
//! What operators say goes before what probes find ([`Overrides`], the stage before the guard; in a
//! fleet the last one): `force` gives consumers another health, `mute` lets them keep what they have, `pause`
//! lets no probe begin. Each has an end or none, and a mute may stand in a part of each week. The
//! machine of the check goes on learning the truth, which consumers get when the override is over.
//! An override is of a name, or of what is checked: it waits for its check and finds it under
//! another id. The guard neither holds what is forced nor takes it for evidence.
//!
//! # A fleet
//!
//! Where several nodes share their checks, [`Quorum`] stands behind the guard: what comes to it is
//! this node's opinion, and what leaves it is the fleet's verdict. The node takes what is new from
//! [`Pipeline::fleet_changes`] and answers by [`Pipeline::obey`].
//!
//! [`Stages`] is all of this without locks, clock and task.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::{Duration, SystemTime};
//! use hc_pipeline::{Guard, GuardConfig, Pipeline, PipelineTask, Reprobe};
//! use hc_types::{
//!     CheckId, CheckSpec, Evidence, Health, Incarnation, ProbeSpec, Progress, Sink, Status, StatusUpdate, Target, Timing,
//! };
//! use hc_view::{View, ViewConfig};
//! use tokio_util::sync::CancellationToken;
//!
//! /// Has checks probed at once: in hc-server that is the manager.
//! struct Checker;
//! impl Reprobe for Checker {
//!     async fn probe_now(&self, ids: Vec<CheckId>) {
//!         println!("probe {ids:?}");
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let view = Arc::new(View::new(&ViewConfig::default(), Vec::new()));
//! let guard = Guard::new(GuardConfig::default());
//! let pipeline = Arc::new(Pipeline::new(view.clone(), Vec::new(), vec![Box::new(guard)]));
//! let stop = CancellationToken::new();
//! let task = PipelineTask::new(pipeline.clone(), Checker);
//!
//! let (second, target) = (Duration::from_secs(1), Target::plain("192.0.2.1".parse()?, 0));
//! let spec = Arc::new(CheckSpec::new(target, ProbeSpec::Icmp, Timing::every(second).timeout(second))?);
//! for health in [Health::Healthy, Health::Unhealthy] {
//!     for id in 1..=5 {
//!         let (id, incarnation, spec) = (CheckId(id), Incarnation(1), Arc::clone(&spec));
//!         if health == Health::Healthy {
//!             pipeline.begin(id, incarnation, &spec);
//!         }
//!         let status = Status { health, last_check: Some(SystemTime::now()), ..Status::NEW };
//!         let progress = Progress::default();
//!         let update =
//!             StatusUpdate { id, incarnation, spec, status, transition: true, reportable: true, progress, evidence: Evidence::default() };
//!         pipeline.record(&mut vec![update]);
//!     }
//! }
//! let check = view.check(CheckId(1)).unwrap();
//! assert_eq!(check.status.health, Health::Unhealthy);
//! assert_eq!(check.reported_health(), Some(Health::Healthy));
//! stop.cancel();
//! task.run(stop).await;
//! # Ok(())
//! # }
//! ```

mod chain;
mod config;
mod dependencies;
mod effects;
mod group;
mod guard;
mod overrides;
mod pipeline;
mod quorum;
mod recheck;
mod stage;
mod stages;
mod task;

pub use config::GuardConfig;
pub use dependencies::Dependencies;
pub use effects::{Cause, Effects, Event, Over};
pub use group::{Group, Grouping};
pub use guard::{Guard, GuardFigures};
pub use overrides::{
    MAX_OVERRIDES, Names, Overrides, Refused, Standing, WeeklyError, parse_instant, parse_weekly,
};
pub use pipeline::{Pipeline, Standings};
pub use quorum::{FleetChange, FleetOrder, Found, Quorum};
pub use stage::{Stage, Word};
pub use stages::{Moment, Stages};
pub use task::{PipelineTask, Reprobe};
