//! What is told at once.

use std::sync::Arc;

use hc_types::wire::{Notification, StatusLine};
use hc_types::{CheckId, CheckSpec, Status};

/// A batch as the outbox hands it out: the statuses are the latest at that moment, the texts not yet made.
#[derive(Debug)]
pub struct Batch {
    /// The set of checks in effect when the batch was made.
    pub generation: Option<u64>,
    pub(crate) items: Vec<(CheckId, Arc<CheckSpec>, Status)>,
}

impl Batch {
    /// How many checks it tells of; never 0.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// What it tells, in order.
    pub fn iter(&self) -> impl Iterator<Item = (CheckId, &Arc<CheckSpec>, &Status)> {
        self.items.iter().map(|(id, spec, status)| (*id, spec, status))
    }

    /// Puts the batch into words. Done apart from the outbox, so that its lock is not held meanwhile.
    #[must_use]
    pub fn notifications(&self) -> Vec<Notification> {
        let told = self.items.iter();
        told.map(|(id, spec, status)| Notification { id: *id, status: StatusLine::new(spec, status) })
            .collect()
    }
}
