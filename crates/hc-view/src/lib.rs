//! The latest status of each check, for readers and for outboxes.
//!
//! A [`View`] is a table with one row for each check, behind one lock that is never held for long.
//! Whatever runs the checks writes to it as a [`Sink`](hc_types::Sink). Readers get a [`CheckView`]
//! by id, or page by page, and the latest transitions and changes of overrides from a bounded
//! journal; they never ask a shard, so a shard that hangs keeps nobody waiting.
//!
//! A row has two sides: where the check stands, and what consumers get of it (`reported`). Both are
//! the same unless a stage of the pipeline (`hc-pipeline`) holds a verdict back, or the health was
//! restored from an earlier process and no probe has confirmed it yet.
//!
//! Each consumer has an [`Outlet`], which notes the rows that its consumer has not got yet. It
//! keeps slots, not statuses: however many consumers there are, a status is stored once.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::{Duration, SystemTime};
//! use hc_types::{
//!     CheckId, CheckSpec, Evidence, Health, Incarnation, Outcome, ProbeSpec, Progress, Sink, Status, StatusUpdate, Target,
//!     Timing,
//! };
//! use hc_view::{View, ViewConfig};
//!
//! let view = View::new(&ViewConfig::default(), Vec::new());
//! let second = Duration::from_secs(1);
//! let spec = CheckSpec::new(Target::plain("192.0.2.1".parse()?, 0), ProbeSpec::Icmp, Timing::every(second).timeout(second))?;
//! let (id, incarnation, spec) = (CheckId(1), Incarnation(1), Arc::new(spec));
//! view.begin(id, incarnation, &spec);
//! assert_eq!(view.check(id).unwrap().status.health, Health::Unknown);
//!
//! let now = SystemTime::now();
//! view.record(&mut vec![StatusUpdate {
//!     id,
//!     incarnation,
//!     spec,
//!     status: Status {
//!         health: Health::Healthy,
//!         last_check: Some(now),
//!         successes: 1,
//!         outcome: Some(Outcome::PASS),
//!         ..Status::NEW
//!     },
//!     transition: true,
//!     reportable: true,
//!     progress: Progress { since: Some(now), in_a_row: 1, last_probe: Some(now), next_due: Some(now + second) },
//!     evidence: Evidence::default(),
//! }]);
//! let check = view.check(id).unwrap();
//! assert_eq!((check.status.health, check.progress.in_a_row), (Health::Healthy, 1));
//! assert_eq!(view.transitions(0, 100).transitions.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod check;
mod journal;
mod outlet;
mod row;
mod table;
mod view;

pub use check::{CheckView, LastFailure, Latency, Reported, Withheld};
pub use journal::{OverrideChange, OverrideChanges, OverrideStep, Transition, Transitions};
pub use outlet::{Outlet, Report, Slot};
pub use table::{Cursor, Page, Table};
pub use view::{View, ViewConfig};
