//! The table: rows by slot, found by id. Synchronous, without a clock or a lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use hc_types::{
    AdaptiveTimeout, CheckId, CheckSpec, CheckStatus, Counts, Health, IdIndex, Incarnation, Outcome,
    PassTimes, RawBytes, Status, StatusUpdate, Subject,
};

use crate::check::CheckView;
use crate::journal::{Journal, OverrideChange, OverrideChanges, Transition, Transitions};
use crate::outlet::{Report, Slot};
use crate::row::Row;

/// Where to go on reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(u32);

impl Cursor {
    /// The place that [`number`](Self::number) gave; behind the last check if there is none so far.
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        Self(u32::try_from(number).unwrap_or(u32::MAX))
    }

    /// The place as a number, for readers outside of this process.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0.into()
    }
}

/// Some checks, and where to go on.
#[derive(Clone, Debug)]
pub struct Page {
    /// The checks, in the order of their slots.
    pub checks: Vec<CheckView>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<Cursor>,
}

/// The bytes of failing answers that are kept in all: 64 MiB, for example those of 65,536 checks
/// with a kilobyte each. Beyond it an answer is not kept; the rest of the evidence is.
const MAX_ANSWERS: u64 = 64 << 20;

/// What is counted over all rows.
#[derive(Debug, Default)]
struct Sums {
    counts: Counts,
    /// Bytes of failing answers.
    answers: u64,
}

impl Sums {
    /// Takes a row in, or out.
    fn count(&mut self, row: &Row, step: fn(u64, u64) -> u64) {
        let Self { counts, answers } = self;
        let of_health = match row.health() {
            Health::Healthy => &mut counts.healthy,
            Health::Unhealthy => &mut counts.unhealthy,
            Health::Unknown => &mut counts.unknown,
        };
        *of_health = step(*of_health, 1);
        counts.held = step(counts.held, row.is_held().into());
        counts.warned = step(counts.warned, row.is_warned().into());
        *answers = step(*answers, row.answer_length());
    }

    /// Drops the answer of an update for which there is no room, once that of the failure before it
    /// is taken out.
    fn fit(&self, row: &Row, update: &mut StatusUpdate) {
        let others = self.answers.saturating_sub(row.answer_length());
        if let Some(seen) = &mut update.evidence.seen
            && others.saturating_add(seen.answer.len() as u64) > MAX_ANSWERS
        {
            seen.answer = RawBytes::default();
        }
    }
}

/// The latest status of each check.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Option<Row>>,
    free: Vec<u32>,
    index: IdIndex,
    journal: Journal,
    /// Of all rows, kept with each change, so that a reader need not walk over a million of them.
    sums: Sums,
    /// Of the checks, by slot, that want a timeout suggested.
    pass_times: HashMap<u32, PassTimes>,
}

impl Table {
    /// An empty table. `epoch` tells this process from others in its journal, which keeps
    /// `transitions` of them.
    #[must_use]
    pub fn new(epoch: u64, transitions: usize) -> Self {
        Self {
            rows: Vec::new(),
            free: Vec::new(),
            index: IdIndex::default(),
            journal: Journal::new(epoch, transitions),
            sums: Sums::default(),
            pass_times: HashMap::new(),
        }
    }

    /// A check begins, or begins again: what was known of this id is void.
    ///
    /// # Panics
    /// At 2^32 checks, which need more than half a terabyte.
    pub fn begin(&mut self, id: CheckId, incarnation: Incarnation, spec: &Arc<CheckSpec>) -> Slot {
        let row = Row::new(id, incarnation, spec);
        self.sums.count(&row, u64::wrapping_add);
        if let Some(Slot(at)) = self.find(id) {
            self.pass_times.remove(&at);
            if let Some(before) = self.rows[at as usize].replace(row) {
                self.sums.count(&before, u64::wrapping_sub);
            }
            return Slot(at);
        }
        let at = self.free.pop().unwrap_or_else(|| {
            self.rows.push(None);
            u32::try_from(self.rows.len() - 1).expect("fewer than 2^32 checks")
        });
        self.rows[at as usize] = Some(row);
        self.index.insert(id, at, |at| id_at(&self.rows, at));
        Slot(at)
    }

    /// A check has ended. `None` when `incarnation` is not the current one of its id.
    pub fn forget(&mut self, id: CheckId, incarnation: Incarnation) -> Option<Slot> {
        let Slot(at) = self.slot(id, incarnation)?;
        self.index.remove(id, |at| id_at(&self.rows, at));
        if let Some(before) = self.rows[at as usize].take() {
            self.sums.count(&before, u64::wrapping_sub);
        }
        self.free.push(at);
        self.pass_times.remove(&at);
        if self.index.is_empty() {
            // Give the memory back.
            (self.rows, self.free, self.index) = (Vec::new(), Vec::new(), IdIndex::default());
        }
        Some(Slot(at))
    }

    /// Takes an update as it is: where the check stands, and, if it is reportable, what consumers
    /// get. `None` when the incarnation is not the current one, or consumers get nothing new.
    pub fn record(&mut self, mut update: StatusUpdate) -> Option<Report> {
        let slot = self.slot(update.id, update.incarnation)?;
        if !update.reportable || update.status.health == Health::Unknown {
            // What a stage holds back it still does.
            let by = self.row(slot).and_then(Row::withheld_by).unwrap_or("unconfirmed");
            self.hold_back(update, by);
            return None;
        }
        self.journalize(slot, &update);
        let row = self.row(slot)?;
        self.sums.fit(row, &mut update);
        let before = row.reported_health();
        let transition = update.transition || before != Some(update.status.health);
        let changed = transition || !row.is_specified_by(&update.spec) || !row.says(&update.status);
        self.write(slot, |row| row.pass(update));
        Some(Report { slot, transition, changed })
    }

    /// Takes an update of which consumers get nothing: they go on getting what they got, because of
    /// the stage `by`. Ignored when the incarnation is not the current one.
    pub fn hold_back(&mut self, mut update: StatusUpdate, by: &'static str) {
        let Some(slot) = self.slot(update.id, update.incarnation) else { return };
        self.journalize(slot, &update);
        if let Some(row) = self.row(slot) {
            self.sums.fit(row, &mut update);
        }
        self.write(slot, |row| row.hold_back(update, by));
    }

    /// Other nodes find this health of a check since `at`, and no probe of this node does: readers see
    /// it, and consumers go on getting what they got, because of the stage `by`, until
    /// [`report`](Self::report). Ignored when the incarnation is not the current one.
    pub fn adopt(
        &mut self,
        id: CheckId,
        incarnation: Incarnation,
        health: Health,
        at: SystemTime,
        by: &'static str,
    ) {
        let Some(slot) = self.slot(id, incarnation) else { return };
        let Some(row) = self.row(slot) else { return };
        let (from, spec) = (row.health(), Arc::clone(&row.spec));
        if from != health {
            self.journal.push(Transition { sequence: 0, at, id, spec, from, to: health, outcome: None });
        }
        self.write(slot, |row| row.adopt(health, at, by));
    }

    /// Consumers get this of a check, because of the stage `by`, and readers go on seeing where it
    /// stands. `None` when the incarnation is not the current one.
    pub fn report(
        &mut self,
        id: CheckId,
        incarnation: Incarnation,
        status: Status,
        transition: bool,
        by: &'static str,
    ) -> Option<Report> {
        let slot = self.slot(id, incarnation)?;
        let row = self.row_mut(slot)?;
        let transition = transition || row.reported_health() != Some(status.health);
        let changed = transition || !row.says(&status);
        row.report(status, by);
        Some(Report { slot, transition, changed })
    }

    /// What consumers get of the check in this slot. `None` when that is nothing.
    #[must_use]
    pub fn reported(&self, slot: Slot) -> Option<CheckStatus> {
        let row = self.row(slot)?;
        Some(CheckStatus { id: row.id, spec: Arc::clone(&row.spec), status: row.reported()? })
    }

    /// What the check with this id checks now. `None` when its id is not in the set.
    #[must_use]
    pub fn spec(&self, id: CheckId) -> Option<&Arc<CheckSpec>> {
        self.find(id).and_then(|slot| self.row(slot)).map(|row| &row.spec)
    }

    /// Since when the check has this health. `None` when it has another one, or it is not known.
    #[must_use]
    pub fn since(&self, id: CheckId, health: Health) -> Option<SystemTime> {
        self.find(id).and_then(|slot| self.row(slot)).and_then(|row| row.since(health))
    }

    /// Whether this is the current life of the id.
    #[must_use]
    pub fn is_current(&self, id: CheckId, incarnation: Incarnation) -> bool {
        self.slot(id, incarnation).is_some()
    }

    /// One check.
    #[must_use]
    pub fn check(&self, id: CheckId) -> Option<CheckView> {
        let slot = self.find(id)?;
        self.row(slot).map(|row| self.view(slot, row))
    }

    /// Checks from `from` on, of at most `slots` slots. A check that is there from the first page
    /// to the last is in exactly one of them.
    #[must_use]
    pub fn page(&self, Cursor(from): Cursor, slots: usize) -> Page {
        let from = from as usize;
        let until = from.saturating_add(slots).min(self.rows.len());
        let rows = self.rows.get(from..until).unwrap_or_default();
        let next = u32::try_from(until).ok().filter(|_| until < self.rows.len());
        let slots = (from..).map_while(|at| u32::try_from(at).ok()).map(Slot);
        let rows = slots.zip(rows).filter_map(|(slot, row)| Some(self.view(slot, row.as_ref()?)));
        Page { checks: rows.collect(), next: next.map(Cursor) }
    }

    /// At most `most` transitions and changes of overrides after the one with this number; 0 is
    /// before the first.
    #[must_use]
    pub fn transitions(&self, after: u64, most: usize) -> Transitions {
        self.journal.after(after, most)
    }

    /// The latest transitions of one check that are kept, at most `most`, oldest first.
    #[must_use]
    pub fn transitions_of(&self, id: CheckId, most: usize) -> Vec<Transition> {
        self.journal.of(id, most)
    }

    /// What operators say of checks has changed. The change is given its number.
    pub fn note_override(&mut self, change: OverrideChange) {
        self.journal.push_override(change);
    }

    /// At most `most` changes of overrides after the first `after` that there were since the start.
    /// Ask again after [`OverrideChanges::last`].
    #[must_use]
    pub fn overrides_after(&self, after: u64, most: usize) -> OverrideChanges {
        self.journal.overrides_after(after, most)
    }

    /// How many changes of overrides there were since the start.
    #[must_use]
    pub fn override_changes(&self) -> u64 {
        self.journal.of_overrides()
    }

    /// The latest changes of overrides of the checks with this subject that are kept, at most
    /// `most`, oldest first: also of those that do not run at present, or ran under another id.
    #[must_use]
    pub fn overrides_of(&self, subject: &Subject, most: usize) -> Vec<OverrideChange> {
        self.journal.overrides_of(subject, most)
    }

    /// How many transitions there were since the start: to healthy, and to unhealthy.
    #[must_use]
    pub fn transitions_to(&self) -> (u64, u64) {
        self.journal.to()
    }

    /// How many checks there are, by where they stand.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.sums.counts
    }

    /// How many checks there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is no check.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// How many slots there are, also of checks that ended.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.rows.len()
    }

    /// A change of health goes into the journal when a probe brought it about. A check that goes on
    /// under another id, or whose health was restored, has not changed.
    fn journalize(&mut self, slot: Slot, update: &StatusUpdate) {
        if update.spec.adaptive_timeout() != AdaptiveTimeout::Off
            && update.is_of_verdict()
            && matches!(update.status.outcome, Some(Outcome::Pass(_)))
        {
            self.pass_times.entry(slot.0).or_default().pass(update.status.duration);
        }
        let Some(row) = self.row(slot) else { return };
        let (from, to) = (row.health(), update.status.health);
        if from == to || !update.is_of_probe() {
            return;
        }
        self.journal.push(Transition {
            sequence: 0,
            at: update.status.last_check.unwrap_or(SystemTime::UNIX_EPOCH),
            id: update.id,
            spec: Arc::clone(&update.spec),
            from,
            to,
            outcome: update.status.outcome.clone(),
        });
    }

    fn view(&self, Slot(at): Slot, row: &Row) -> CheckView {
        let suggested = |times: &PassTimes| times.suggestion(row.spec.timeout());
        let is_wanted = row.spec.adaptive_timeout() != AdaptiveTimeout::Off;
        let times = if is_wanted { self.pass_times.get(&at) } else { None };
        CheckView { suggested_timeout: times.and_then(suggested), ..row.view() }
    }

    fn slot(&self, id: CheckId, incarnation: Incarnation) -> Option<Slot> {
        let slot = self.find(id)?;
        self.row(slot).filter(|row| row.incarnation() == incarnation).map(|_| slot)
    }

    fn find(&self, id: CheckId) -> Option<Slot> {
        self.index.find(id, |at| id_at(&self.rows, at)).map(Slot)
    }

    fn row(&self, Slot(at): Slot) -> Option<&Row> {
        self.rows.get(at as usize)?.as_ref()
    }

    /// Changes where a check stands.
    fn write(&mut self, slot: Slot, change: impl FnOnce(&mut Row)) {
        let Self { rows, sums, .. } = self;
        let Some(row) = rows.get_mut(slot.0 as usize).and_then(Option::as_mut) else { return };
        sums.count(row, u64::wrapping_sub);
        change(row);
        sums.count(row, u64::wrapping_add);
    }

    fn row_mut(&mut self, Slot(at): Slot) -> Option<&mut Row> {
        self.rows.get_mut(at as usize)?.as_mut()
    }
}

/// The id of the check in this slot: every slot in the index has one.
fn id_at(rows: &[Option<Row>], at: u32) -> CheckId {
    rows[at as usize].as_ref().map_or(CheckId(0), |row| row.id)
}

#[cfg(test)]
mod tests;
