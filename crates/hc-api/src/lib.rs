//! How the state of checks is written as JSON, in one place for all who write or read it: state
//! file, webhooks, commands, admin API and `hcctl`.
//!
//! ```
//! use std::time::Duration;
//! use hc_api::CheckState;
//! use hc_types::{CheckId, CheckSpec, ProbeSpec, Status, Target, Timing};
//!
//! let second = Duration::from_secs(1);
//! let spec = CheckSpec::new(Target::plain("192.0.2.1".parse()?, 0), ProbeSpec::Icmp, Timing::every(second).timeout(second))?;
//! let state = CheckState::new(CheckId(7), &spec, &Status::NEW).with_name(Some("gateway"));
//! let json = serde_json::to_value(&state)?;
//! assert_eq!(json["id"], "7");
//! assert_eq!(json["health"], "unknown");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod detail;
mod event;
mod evidence;
mod filter;
mod fleet;
mod journal;
mod overrides;
mod reproduce;
mod rows;
mod state;
mod status;
mod time;

pub use detail::CheckDetail;
pub use event::{Event, Events, Line, MissedLine, OverrideLine, States, VERSION};
pub use evidence::{Difference, LatencyState, Phases, ProbeState, TlsState};
pub use filter::{DEFAULT_PAGE, Filter, FilterError, MAX_PAGE, Page, PageOf};
pub use fleet::{FleetNode, FleetState, OpinionState, VerdictState};
pub use journal::{Change, OverrideChange, OverrideEvent, Position, PositionError, Transition, Transitions};
pub use overrides::{
    MAX_REASON, OverrideKind, OverrideRequest, OverrideState, Overrides, ReportedState, Selection,
    WithdrawRequest,
};
pub use reproduce::{Reproduction, reproduce};
pub use rows::{DEFAULT_ROWS, MAX_IDS, MAX_ROWS, RowOf, Rows, RowsOf, RowsWriter};
pub use state::{CheckState, HeldState};
pub use status::{
    Counts, Lateness, Overview, ProbeCounts, Problem, Readiness, Recent, ShardState, SinkState, SourceState,
};
pub use time::latest_instant;
