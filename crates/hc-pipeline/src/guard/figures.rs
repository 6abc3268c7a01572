//! What the guard holds now, for readers beside it.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What a [`Guard`](crate::Guard) holds now. It goes on counting.
///
/// Each number is right by itself; a reader may see one of them a step before the other.
#[derive(Debug, Default)]
pub struct GuardFigures {
    alarms: AtomicUsize,
    held: AtomicUsize,
}

impl GuardFigures {
    /// Groups in which too many checks failed at once, and have not recovered.
    #[must_use]
    pub fn alarms(&self) -> usize {
        self.alarms.load(Ordering::Relaxed)
    }

    /// Verdicts that are held, those included that only wait for company.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, alarms: usize, held: usize) {
        self.alarms.store(alarms, Ordering::Relaxed);
        self.held.store(held, Ordering::Relaxed);
    }
}
