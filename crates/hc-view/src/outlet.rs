//! What a consumer's queue hears of the table.

use hc_types::CheckId;

/// The place of a check in the table. Places of checks that ended are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// What consumers get of a check has been written into its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The row.
    pub slot: Slot,
    /// Whether the reported health changed, or is the first of this life of the check. Consumers
    /// get that at once; the rest with the next refresh.
    pub transition: bool,
    /// Whether the words or the health differ from what consumers got before, and not only
    /// counters, times and how long a probe took. Always set in a transition.
    pub changed: bool,
}

/// The queue of one consumer: which rows it has not got yet.
///
/// Every method is called under the lock of the [`View`](crate::View), in the order in which the
/// rows change. So none of them may block, wait for the consumer, or use the view.
pub trait Outlet: Send + Sync + 'static {
    /// A check begins in this slot, or begins again: what was queued of it is void, and nothing of
    /// it is reported yet.
    fn begin(&self, slot: Slot, id: CheckId);

    /// These rows have something new for consumers.
    fn reported(&self, reports: &[Report]);

    /// What operators say of checks has changed: there is something behind what
    /// [`Table::overrides_after`](crate::Table::overrides_after) had before. Does nothing by
    /// default.
    fn overruled(&self) {}

    /// The check of this slot has ended.
    fn forget(&self, slot: Slot, id: CheckId);

    /// A set of checks is in effect: every [`begin`](Self::begin) and [`forget`](Self::forget) that
    /// belongs to it has been called. After a `full` set the consumer gets everything again, since
    /// it may be a new one.
    fn in_effect(&self, generation: Option<u64>, full: bool);
}
