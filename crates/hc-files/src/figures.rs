//! How often the files were read again, and what came of it.

use std::sync::Mutex;
use std::time::SystemTime;

/// What came of reading the files again, since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReloadStats {
    /// Readings whose checks took the place of those before.
    pub applied: u64,
    /// Readings that found something wrong with the files.
    pub wrong: u64,
    /// Readings that lacked descriptors or memory.
    pub short: u64,
    /// The latest reading that had enough of both found something wrong: the checks of before run on.
    pub is_wrong: bool,
    /// When the files were last read without fault. The reading at the start counts.
    pub last_success: SystemTime,
}

/// The same, while it is being counted.
#[derive(Debug)]
pub(crate) struct Figures(Mutex<ReloadStats>);

impl Figures {
    pub(crate) fn new(now: SystemTime) -> Self {
        Self(Mutex::new(ReloadStats { applied: 0, wrong: 0, short: 0, is_wrong: false, last_success: now }))
    }

    pub(crate) fn get(&self) -> ReloadStats {
        *self.lock()
    }

    pub(crate) fn applied(&self, now: SystemTime) {
        let mut stats = self.lock();
        (stats.applied, stats.last_success) = (stats.applied + 1, now);
        stats.is_wrong = false;
    }

    pub(crate) fn wrong(&self) {
        let mut stats = self.lock();
        stats.wrong += 1;
        stats.is_wrong = true;
    }

    pub(crate) fn short(&self) {
        self.lock().short += 1;
    }

    /// Numbers are whole at any time.
    fn lock(&self) -> std::sync::MutexGuard<'_, ReloadStats> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
