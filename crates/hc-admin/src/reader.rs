//! What the API shows and does, as the server provides it.

use std::pin::Pin;

use hc_api::{
    CheckDetail, Filter, FleetState, OverrideRequest, Overrides, Overview, Page, PageOf, Position, Readiness,
    Rows, RowsOf, Transitions, WithdrawRequest,
};
use serde::{Deserialize, Serialize};

/// A future that a trait object returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The forms of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsFormat {
    /// Prometheus text format 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// Everything that is shown. No call may wait for a shard, a consumer or a source: an answer takes
/// milliseconds.
pub trait Reader: Send + Sync + 'static {
    /// Is something wrong, and is it us?
    fn overview(&self) -> Overview;

    /// Whether the checker can do its work.
    fn readiness(&self) -> Readiness;

    /// The checks that `filter` takes, a page of them.
    fn page(&self, filter: &Filter, page: &PageOf) -> Page;

    /// Checks in columns: many of them in one answer.
    fn rows(&self, of: &RowsOf) -> Rows;

    /// The check with this id or this name.
    fn check(&self, id_or_name: &str) -> Option<CheckDetail>;

    /// The nodes that share their checks with this one. `None`, as by default, without a fleet.
    fn fleet(&self) -> Option<FleetState> {
        None
    }

    /// What operators say of checks.
    fn overrides(&self) -> Overrides;

    /// Behind the latest transition.
    fn position(&self) -> Position;

    /// At most `limit` changes of health and of overrides behind `after`, oldest first.
    fn transitions(&self, after: Position, limit: usize) -> Transitions;

    /// Resolves when there are changes behind `sequence`.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    fn grown(&self, sequence: u64) -> BoxFuture<'_, ()>;

    /// Metrics of the whole program.
    fn metrics(&self, format: MetricsFormat) -> String;
}

/// What can be done through the Unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Probe a check now. Its result counts like any other.
    Probe {
        /// Id or name.
        check: String,
    },
    /// Force, mute or pause checks.
    Override(OverrideRequest),
    /// End overrides before their time.
    Withdraw(WithdrawRequest),
    /// Read the checks from their source again.
    Reload,
    /// Change what is logged until the next restart.
    LogLevel {
        /// As in the configuration: `info`, or `info,hc_manager=debug`.
        level: String,
    },
}

/// Who asks, as the kernel vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// User id.
    pub uid: u32,
    /// Process id, where it is known.
    pub pid: Option<i32>,
}

/// Why an action was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ActionError {
    /// There is no such check.
    NotFound(String),
    /// It makes no sense, or not now.
    Rejected(String),
    /// It was tried and failed.
    Failed(String),
}

/// Everything that can be changed.
pub trait Actions: Send + Sync + 'static {
    /// Does it, and says in words what was done.
    ///
    /// # Errors
    /// [`ActionError`], with words for the person who asked.
    fn act(&self, action: Action, caller: Caller) -> BoxFuture<'_, Result<String, ActionError>>;
}
