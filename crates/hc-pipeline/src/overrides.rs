//! What operators say of checks: forced health, maintenance windows, pauses.
//!
//! ```text
//!            probes of the check ──► truth ──► a check without an override: passed on
//!                                      │
//!   force ──► consumers get the forced health, the truth is kept here ──► over: the truth is told
//!   mute  ──► consumers keep what they have, the truth is kept here   ──► over: the truth is told
//!   pause ──► no probe begins, so there is no news                    ──► over: probed at once
//! ```
//!
//! A force goes before a mute, and of two forces the later one counts. Where the truth is not known
//! when an override ends, since no probe has ended, consumers keep what they have until one has.

mod book;
mod window;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hc_types::{
    CheckId, CheckSpec, Evidence, Health, Incarnation, Known, Metadata, Operator, Override, Paused, Progress,
    Status, StatusUpdate, Subject,
};
use hc_view::{CheckView, OverrideChange, OverrideStep, Reported};

use crate::effects::{Effects, Event, Over};
use crate::guard;
use crate::guard::later;
use crate::stage::{Stage, Word};
use book::Book;

pub use book::{MAX_OVERRIDES, Refused, Standing};
pub use window::{WeeklyError, parse_instant, parse_weekly};

/// How often the clock on the wall is looked at: it may have been set.
const LOOK: Duration = Duration::from_secs(10);

/// What the sources know of checks.
pub trait Names: Send + Sync + 'static {
    /// What is known of a check beside its id.
    fn metadata(&self, id: CheckId) -> Option<Arc<Metadata>>;

    /// The check with this name.
    fn id_of(&self, name: &str) -> Option<CheckId> {
        let _ = name;
        None
    }

    /// The checks that depend on others, and a number that is another one after each change; `None`
    /// if it is still `seen`.
    fn dependants(&self, seen: u64) -> Option<(u64, Known)> {
        let _ = seen;
        None
    }
}

/// The stage of overrides. It costs nothing while there is none.
pub struct Overrides {
    names: Arc<dyn Names>,
    paused: Arc<Paused>,
    book: Book,
    /// The checks that overrides are of.
    checks: HashMap<CheckId, Ruled>,
    /// Overrides that came to their end while no process ran, until that is in the journal.
    lapsed: Vec<Override>,
    wall: SystemTime,
    next: Option<Instant>,
    /// No stage stands behind this one.
    is_last: bool,
}

/// A check with an override, which may or may not stand at present.
#[derive(Debug)]
struct Ruled {
    incarnation: Incarnation,
    spec: Arc<CheckSpec>,
    subject: Subject,
    /// The latest that would have been passed on.
    truth: Option<StatusUpdate>,
    /// Consumers have something of this life of the check.
    is_told: bool,
    hears: Hears,
}

/// What consumers hear of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hears {
    Truth,
    /// What the override with this number says.
    Forced(u64, Health),
    /// Nothing new, because of the override with this number.
    Nothing(u64),
}

impl std::fmt::Debug for Overrides {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Overrides")
            .field("book", &self.book)
            .field("checks", &self.checks.len())
            .finish_non_exhaustive()
    }
}

impl Overrides {
    /// With these overrides, from an earlier process; of those that are over at `wall`, which is
    /// now, the journal says so, and they do nothing else. Checks that are paused are kept in
    /// `paused`.
    #[must_use]
    pub fn new(
        names: Arc<dyn Names>,
        paused: Arc<Paused>,
        overrides: Vec<Override>,
        wall: SystemTime,
        now: Instant,
    ) -> Self {
        let mut book = Book::default();
        let (lapsed, overrides): (Vec<_>, Vec<_>) =
            overrides.into_iter().partition(|order| order.until.is_some_and(|until| until <= wall));
        for order in overrides {
            // One whose time zone is gone cannot stand.
            let _ = book.add(order, wall);
        }
        let mut all =
            Self { names, paused, book, checks: HashMap::new(), lapsed, wall, next: None, is_last: false };
        all.plan(now);
        all
    }

    /// No stage is to stand behind this one.
    pub(crate) fn behind_all(self) -> Self {
        Self { is_last: true, ..self }
    }

    pub(crate) fn paused(&self) -> &Arc<Paused> {
        &self.paused
    }

    /// The clock on the wall shows this.
    pub(crate) fn tick(&mut self, wall: SystemTime) {
        self.wall = wall;
    }

    /// Each override for readers, oldest first.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        self.book.standings()
    }

    /// The overrides as they are to be written down.
    #[must_use]
    pub fn to_keep(&self) -> Vec<Override> {
        self.book.orders().cloned().collect()
    }

    pub(crate) fn book(&self) -> &Book {
        &self.book
    }

    /// Adds overrides, all or none. Checks that have others already follow at once, others with
    /// [`know`](Self::know).
    ///
    /// # Errors
    /// [`Refused`].
    pub(crate) fn add(
        &mut self,
        orders: Vec<Override>,
        now: Instant,
        out: &mut Effects,
    ) -> Result<Vec<u64>, Refused> {
        self.book.has_room(&orders)?;
        let mut numbers = Vec::new();
        for order in orders {
            let subject = order.subject.clone();
            if let Some(number) = self.book.add(order, self.wall)? {
                numbers.push(number);
            }
            self.settle_all(&subject, out);
        }
        self.plan(now);
        Ok(numbers)
    }

    /// Ends overrides before their time, as `by` asks; gives those that there were.
    pub(crate) fn withdraw(
        &mut self,
        numbers: &[u64],
        by: &Operator,
        now: Instant,
        out: &mut Effects,
    ) -> Vec<Override> {
        let step = || OverrideStep::Withdrawn(by.clone());
        let ended = numbers.iter().filter_map(|number| self.end(*number, step(), out)).collect();
        self.plan(now);
        ended
    }

    /// What the journal is to say of overrides that were just set. Those that are over again are
    /// left out.
    pub(crate) fn set(&self, numbers: &[u64]) -> Vec<OverrideChange> {
        numbers.iter().filter_map(|number| self.change(*number, OverrideStep::Set)).collect()
    }

    /// What has just happened to an override that there is.
    fn change(&self, number: u64, step: OverrideStep) -> Option<OverrideChange> {
        let Standing { order, is_open, next, checks, .. } = self.book.standing_of(number)?;
        Some(OverrideChange { sequence: 0, at: self.wall, step, order, is_open, next, checks })
    }

    /// A check that runs, which an override may be of.
    pub(crate) fn know(&mut self, check: &CheckView, now: Instant, out: &mut Effects) {
        let is_told = !matches!(check.reported, Reported::Nothing);
        // Consumers get another status while no override is of the check. If the stage behind this
        // one is not the reason, what the probes found has not come here: a stage before holds it
        // back, also where an override that ended was told last.
        let status = match &check.reported {
            Reported::Other(other) if self.is_last || other.by != guard::NAME => &other.status,
            _ => &check.status,
        };
        let truth = is_told.then(|| StatusUpdate {
            id: check.id,
            incarnation: check.incarnation,
            spec: Arc::clone(&check.spec),
            status: status.clone(),
            transition: false,
            reportable: true,
            progress: check.progress,
            evidence: Evidence::default(),
        });
        self.enter(check.id, check.incarnation, &check.spec, truth, out);
        self.plan(now);
    }

    /// Consumers have this health of a check that the mute with this number is of.
    pub(crate) fn keep(&mut self, number: u64, health: Health) {
        self.book.keep(number, health);
    }

    fn enter(
        &mut self,
        id: CheckId,
        incarnation: Incarnation,
        spec: &Arc<CheckSpec>,
        truth: Option<StatusUpdate>,
        out: &mut Effects,
    ) {
        let is_known = self.checks.get(&id).is_some_and(|known| known.incarnation == incarnation);
        if self.book.is_empty() || is_known {
            return;
        }
        let name = self.names.metadata(id).and_then(|metadata| metadata.name.clone());
        let subject = match name {
            Some(name) => Subject::Name((*name).into()),
            None => Subject::Key(spec.key()),
        };
        if self.book.bind(&subject, id) {
            let (spec, is_told) = (Arc::clone(spec), truth.is_some());
            let ruled = Ruled { incarnation, spec, subject, truth, is_told, hears: Hears::Truth };
            self.checks.insert(id, ruled);
            self.settle(id, out);
        }
    }

    fn end(&mut self, number: u64, step: OverrideStep, out: &mut Effects) -> Option<Override> {
        let change = self.change(number, step);
        out.changes.extend(change.map(|change| OverrideChange { is_open: false, next: None, ..change }));
        let order = self.book.remove(number)?;
        self.settle_all(&order.subject, out);
        if !self.book.has(&order.subject) {
            for id in self.book.unbind_all(&order.subject) {
                self.checks.remove(&id);
            }
        }
        Some(order)
    }

    fn settle_all(&mut self, subject: &Subject, out: &mut Effects) {
        for id in self.book.ids(subject) {
            self.settle(id, out);
        }
    }

    /// Brings what consumers get of a check, and whether it is probed, in line with its overrides.
    fn settle(&mut self, id: CheckId, out: &mut Effects) {
        let Some(ruled) = self.checks.get_mut(&id) else { return };
        let rulings = self.book.standing(&ruled.subject);
        let turned = self.paused.set(id, rulings.paused);
        if turned && !rulings.paused {
            out.probe.insert(id);
        }
        let hears = match (rulings.forced, rulings.muted) {
            (Some((number, health)), _) => Hears::Forced(number, health),
            (None, Some((number, _))) => Hears::Nothing(number),
            (None, None) => Hears::Truth,
        };
        let before = std::mem::replace(&mut ruled.hears, hears);
        let word = match hears {
            Hears::Truth => Word::Probes,
            Hears::Forced(_, health) => Word::Forced(health),
            Hears::Nothing(_) => Word::Kept,
        };
        // Whether it is probed matters to those who wait for it.
        if turned || before != hears {
            out.overruled.push((id, word));
        }
        if before == hears {
            return;
        }
        match hears {
            Hears::Forced(number, health) => {
                out.decided
                    .extend(self.book.get(number).map(|order| ruled.told(id, health, order, self.wall)));
            }
            Hears::Nothing(number) => {
                // Of a new life consumers are told again what they had, and so after a force.
                let kept = rulings.muted.and_then(|(_, kept)| kept);
                let anew = !ruled.is_told || matches!(before, Hears::Forced(..));
                let order = self.book.get(number).filter(|_| anew);
                out.decided
                    .extend(kept.zip(order).map(|(health, order)| ruled.told(id, health, order, self.wall)));
                if ruled.is_told {
                    out.muted.push((id, number));
                }
            }
            Hears::Truth => match ruled.truth.clone() {
                Some(truth) => out.pass.push(truth),
                // Nothing is known, so consumers keep what they have. That should not be for long.
                None => _ = out.probe.insert(id),
            },
        }
    }

    /// When the clock on the wall is to be looked at next.
    fn plan(&mut self, now: Instant) {
        self.next = self.book.next().map(|deadline| {
            let ahead = deadline.duration_since(self.wall).unwrap_or_default();
            // Not before it: an instant and a clock on the wall need not agree to the nanosecond.
            later(now, (ahead + Duration::from_millis(1)).min(LOOK))
        });
        if !self.lapsed.is_empty() {
            self.next = Some(now);
        }
    }
}

impl Ruled {
    /// What consumers get because of an override.
    fn told(&mut self, id: CheckId, health: Health, order: &Override, wall: SystemTime) -> StatusUpdate {
        self.is_told = true;
        let status = self.truth.as_ref().map_or(Status::NEW, |truth| truth.status.clone());
        let last_check = status.last_check.or(Some(wall));
        let note = Some(words(order).into());
        StatusUpdate {
            id,
            incarnation: self.incarnation,
            spec: Arc::clone(&self.spec),
            status: Status { health, last_check, outcome: None, held: None, note, ..status },
            transition: true,
            reportable: true,
            progress: Progress::default(),
            evidence: Evidence::default(),
        }
    }
}

/// `forced unhealthy by root until 2026-11-29T14:00:00Z: disk replaced`.
fn words(order: &Override) -> String {
    let Override { ruling, by, reason, until, .. } = order;
    let until = until.map(|until| format!(" until {}", book::text(until))).unwrap_or_default();
    format!("{ruling} by {by}{until}: {reason}")
}

impl Stage for Overrides {
    fn name(&self) -> &'static str {
        "override"
    }

    fn is_idle(&self) -> bool {
        self.book.is_empty()
    }

    fn begin(
        &mut self,
        id: CheckId,
        incarnation: Incarnation,
        spec: &Arc<CheckSpec>,
        _: Instant,
        out: &mut Effects,
    ) {
        self.enter(id, incarnation, spec, None, out);
    }

    fn update(&mut self, update: StatusUpdate, _: Instant, out: &mut Effects) {
        let Some(ruled) = self.checks.get_mut(&update.id) else { return out.pass.push(update) };
        ruled.truth = Some(StatusUpdate { transition: false, ..update.clone() });
        match ruled.hears {
            Hears::Truth => {
                ruled.is_told = true;
                out.pass.push(update);
            }
            // There is nothing to keep yet.
            Hears::Nothing(number) if !ruled.is_told => {
                ruled.is_told = true;
                out.muted.push((update.id, number));
                out.pass.push(update);
            }
            Hears::Nothing(_) | Hears::Forced(..) => {}
        }
    }

    fn forget(&mut self, id: CheckId, _: Instant, _: &mut Effects) {
        if let Some(ruled) = self.checks.remove(&id) {
            self.book.unbind(&ruled.subject, id);
            self.paused.set(id, false);
        }
    }

    fn expire(&mut self, now: Instant, out: &mut Effects) {
        for order in std::mem::take(&mut self.lapsed) {
            out.changes.push(OverrideChange {
                sequence: 0,
                at: order.until.unwrap_or(self.wall),
                step: OverrideStep::Expired,
                order: Arc::new(order.clone()),
                is_open: false,
                next: None,
                checks: Arc::default(),
            });
            out.events.push(Event::OverrideOver { over: Over::Expired, order: Box::new(order) });
        }
        while let Some(number) = self.book.due(self.wall) {
            if self.book.is_over(number, self.wall) {
                if let Some(order) = self.end(number, OverrideStep::Expired, out) {
                    out.events.push(Event::OverrideOver { over: Over::Expired, order: Box::new(order) });
                }
                continue;
            }
            self.book.turn(number, self.wall);
            if let Some((order, is_open)) = self.book.get(number).cloned().zip(self.book.is_open(number)) {
                let subject = order.subject.clone();
                let step = if is_open { OverrideStep::Opened } else { OverrideStep::Closed };
                out.changes.extend(self.change(number, step));
                out.events.push(Event::OverrideWindow { is_open, order: Box::new(order) });
                self.settle_all(&subject, out);
            }
        }
        self.plan(now);
    }

    fn next_due(&self) -> Option<Instant> {
        self.next
    }
}

#[cfg(test)]
mod tests;
