//! What a node says of a check.

use std::sync::Arc;

use hc_types::{CheckKey, Health};

use crate::Slot;

/// Where a check is found in a table by slot.
pub(crate) type Place = (Slot, CheckKey);

pub(crate) fn place(key: CheckKey) -> Place {
    (Slot::of(key), key)
}

/// The first place of a slot.
pub(crate) fn first_of(slot: u16) -> Option<Place> {
    Slot::new(slot).map(|slot| (slot, CheckKey::from_bytes([0; 16])))
}

/// What a node says of a check.
///
/// There is no time in it: the clocks of two nodes may be an hour apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opinion {
    /// What its own probes find. [`Health::Unknown`] means that the node has no opinion any more:
    /// it does not probe the check.
    pub health: Health,
    /// What it tells its consumers, as the fleet's verdict; [`Health::Unknown`] for nothing. Another
    /// node that cannot decide, since half of the opinions are against the other half, tells the
    /// same.
    pub verdict: Health,
    /// Counts the changes that a node writes in one term: the higher number is the later one.
    pub number: u64,
    /// Results in a row that bear the health out, when it was written.
    pub streak: u32,
    /// The fixed word of the latest result, such as `pass` or `timeout_connect`.
    pub label: Arc<str>,
}
