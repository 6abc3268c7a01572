//! The table behind its lock, and the outlets that follow it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use hc_types::{CheckId, CheckSpec, Incarnation, Sink, StatusUpdate, WallTime};

use crate::check::CheckView;
use crate::journal::Transitions;
use crate::outlet::{Outlet, Report};
use crate::table::{Cursor, Page, Table};

/// Rows that a reader copies under the lock at once: some microseconds.
const ROWS_PER_LOCK: usize = 64;

/// Settings of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewConfig {
    /// Transitions that the journal keeps, some 100 bytes each, and as many changes of overrides,
    /// some 500 bytes each. Default 1024. Zero keeps none.
    pub transitions: usize,
}

impl Default for ViewConfig {
    fn default() -> Self {
        Self { transitions: 1024 }
    }
}

/// The latest status of each check. Shared by shards, readers and consumers.
///
/// As a [`Sink`] it passes every reportable update to the outlets at once; `hc-pipeline` puts
/// stages in between.
pub struct View {
    state: Mutex<State>,
    outlets: Vec<Arc<dyn Outlet>>,
}

struct State {
    table: Table,
    /// Empty between two calls; kept for its memory.
    reports: Vec<Report>,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("checks", &self.len()).field("outlets", &self.outlets.len()).finish()
    }
}

impl View {
    /// An empty view with one outlet for each consumer. The epoch of its journal is the time of
    /// this call.
    #[must_use]
    pub fn new(config: &ViewConfig, outlets: Vec<Arc<dyn Outlet>>) -> Self {
        let table = Table::new(WallTime::from(SystemTime::now()).nanos(), config.transitions);
        Self { state: Mutex::new(State { table, reports: Vec::new() }), outlets }
    }

    /// One check; `None` when its id is not in the set.
    #[must_use]
    pub fn check(&self, id: CheckId) -> Option<CheckView> {
        self.lock().table.check(id)
    }

    /// Checks from `from` on, of at most `slots` slots. Begin with [`Cursor::default`]. A check
    /// that is there from the first page to the last is in exactly one of them; each row is true by
    /// itself, they are not of the same instant.
    ///
    /// The lock is given up in between, so a page may be as large as the caller has time for: some
    /// 100 ns a check.
    #[must_use]
    pub fn page(&self, from: Cursor, slots: usize) -> Page {
        let mut page = Page { checks: Vec::new(), next: Some(from) };
        let mut left = slots;
        while let Some(from) = page.next.filter(|_| left > 0) {
            let slots = left.min(ROWS_PER_LOCK);
            left -= slots;
            let Page { checks, next } = self.lock().table.page(from, slots);
            page.checks.extend(checks);
            page.next = next;
        }
        page
    }

    /// At most `most` transitions and changes of overrides after the one with this number; 0 is
    /// before the first. Ask again after [`Transitions::last`].
    #[must_use]
    pub fn transitions(&self, after: u64, most: usize) -> Transitions {
        self.lock().table.transitions(after, most)
    }

    /// How many checks there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().table.len()
    }

    /// Whether there is no check.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many slots there are: with [`page`](Self::page), the number of pages.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.lock().table.slots()
    }

    /// Reads the table under its lock, which shards wait for: not for long.
    pub fn read<T>(&self, read: impl FnOnce(&Table) -> T) -> T {
        read(&self.lock().table)
    }

    /// Writes to the table. What `write` adds to the reports reaches every outlet before the lock
    /// is given up.
    pub fn write<T>(&self, write: impl FnOnce(&mut Table, &mut Vec<Report>) -> T) -> T {
        let State { table, reports } = &mut *self.lock();
        let before = table.override_changes();
        let result = write(table, reports);
        if table.override_changes() != before {
            self.outlets.iter().for_each(|outlet| outlet.overruled());
        }
        if !reports.is_empty() {
            self.outlets.iter().for_each(|outlet| outlet.reported(reports));
            reports.clear();
        }
        result
    }

    /// A check has ended, as for [`Sink::forget`]. Says whether it did: not when `incarnation` is
    /// not the current one.
    pub fn remove(&self, id: CheckId, incarnation: Incarnation) -> bool {
        self.write(|table, _| {
            let slot = table.forget(id, incarnation);
            slot.iter().for_each(|slot| self.outlets.iter().for_each(|outlet| outlet.forget(*slot, id)));
            slot.is_some()
        })
    }

    /// The table is whole after each of its calls' single steps, so a panic elsewhere is no reason
    /// to stop.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for View {
    fn begin(&self, id: CheckId, incarnation: Incarnation, spec: &Arc<CheckSpec>) {
        self.write(|table, _| {
            let slot = table.begin(id, incarnation, spec);
            self.outlets.iter().for_each(|outlet| outlet.begin(slot, id));
        });
    }

    fn record(&self, updates: &mut Vec<StatusUpdate>) {
        self.write(|table, reports| {
            reports.extend(updates.drain(..).filter_map(|update| table.record(update)));
        });
    }

    fn forget(&self, id: CheckId, incarnation: Incarnation) {
        self.remove(id, incarnation);
    }

    fn in_effect(&self, generation: Option<u64>, full: bool) {
        self.write(|_, _| self.outlets.iter().for_each(|outlet| outlet.in_effect(generation, full)));
    }
}
