//! What is told when: the decisions, without clock, lock or task.
//!
//! ```text
//!            first status           take()              delivered()
//!   Silent ───────────────► News ───────────► UnderWay ────────────► Told
//!                            ▲  ▲ change         │ │                  │ │
//!                            │  └────────────────┘ │ failed()         │ │ its turn: take()
//!                            ├─────────────────────┘                  │ └──► UnderWay
//!                            └────────────────────────────────────────┘ change
//!   Told, UnderWay ── in_effect(full) ──► Again ── take() ──► UnderWay
//! ```
//!
//! A check that changes while a batch with it is under way leaves `UnderWay` for `News`, so the end of that batch finds
//! it elsewhere and cannot take the change for told. That, the id and the incarnation do the work of a version number.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hc_types::{Batch, CheckId, CheckStatus, Health, Incarnation, StatusUpdate};

use crate::pace::{Pace, nanos};
use crate::slots::{Known, Place, Queue, Slots};
use crate::{DeliveryError, NotifierConfig};

/// The pause after the first failed delivery.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause after a failed delivery.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// When there is something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// A batch can be taken from this instant on; it may have passed.
    At(Instant),
    /// Not before something changes.
    OnChange,
    /// Nothing is left to tell and nothing will be: [`Outbox::drain`] was called.
    Never,
}

/// A look at the outbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Checks.
    pub entries: usize,
    /// Those of them that have a status.
    pub known: usize,
    /// Those of them that have something to be told at once, the batch under way included.
    pub untold: usize,
    /// How long the oldest of that has been waiting.
    pub oldest_untold: Option<Duration>,
    /// Notifications in the batch under way.
    pub under_way: usize,
    /// Batches that were delivered.
    pub delivered: u64,
    /// Batches that were not.
    pub failed: u64,
    /// Failures since the last batch that was delivered.
    pub failures_in_a_row: u32,
    /// Why the latest failed delivery failed.
    pub last_error: Option<String>,
    /// The set of checks in effect.
    pub generation: Option<u64>,
}

/// A check in the batch under way, and which life of it.
#[derive(Clone, Copy, Debug)]
struct Taken {
    id: CheckId,
    incarnation: Incarnation,
}

/// The latest status of each check, and what of it is still to be told.
///
/// One batch is under way at a time: after [`take`](Self::take) comes [`delivered`](Self::delivered) or
/// [`failed`](Self::failed). Instants that run backwards do no harm beyond a batch that comes early or late.
#[derive(Debug)]
pub struct Outbox {
    config: NotifierConfig,
    /// Instants are held as nanoseconds since this one.
    start: Instant,
    slots: Slots,
    index: HashMap<CheckId, u32>,
    known: usize,
    news: Queue,
    again: Queue,
    told: Queue,
    under_way: Vec<Taken>,
    /// The batch under way was made before the latest full set: its failure says nothing about who sent that.
    outdated: bool,
    pace: Pace,
    generation: Option<u64>,
    /// No batch is made before.
    paused_until: u64,
    failures_in_a_row: u32,
    draining: bool,
    delivered: u64,
    failed: u64,
    last_error: Option<String>,
}

impl Outbox {
    /// An empty outbox.
    #[must_use]
    pub fn new(config: &NotifierConfig, now: Instant) -> Self {
        Self {
            config: config.clone(),
            start: now,
            slots: Slots::default(),
            index: HashMap::new(),
            known: 0,
            news: Queue::new(Place::News),
            again: Queue::new(Place::Again),
            told: Queue::new(Place::Told),
            under_way: Vec::new(),
            outdated: false,
            pace: Pace::new(config.notify_interval),
            generation: None,
            paused_until: 0,
            failures_in_a_row: 0,
            draining: false,
            delivered: 0,
            failed: 0,
            last_error: None,
        }
    }

    /// A check begins, or begins again: what was known of it is void, and nothing is told before its first status.
    pub fn begin(&mut self, id: CheckId, incarnation: Incarnation) {
        if let Some(&at) = self.index.get(&id) {
            self.detach(at);
            let slot = self.slots.get_mut(at);
            (slot.incarnation, slot.place) = (incarnation, Place::Silent);
            self.known -= usize::from(slot.known.take().is_some());
        } else {
            self.index.insert(id, self.slots.insert(id, incarnation));
        }
    }

    /// A check is no more. Ignored when `incarnation` is not its current one.
    pub fn forget(&mut self, id: CheckId, incarnation: Incarnation) {
        let Some(at) = self.find(id, incarnation) else { return };
        self.detach(at);
        self.known -= usize::from(self.slots.get(at).known.is_some());
        self.slots.remove(at);
        self.index.remove(&id);
        if self.index.is_empty() {
            self.index = HashMap::new();
        }
    }

    /// A status. It is news when it is marked as a transition, when the health differs from the one held, and when it is
    /// the first. Otherwise it replaces the one held and waits for the next refresh. Ignored when the incarnation is not
    /// the current one of its id, or the health is [`Health::Unknown`], which is never told.
    ///
    /// Says whether [`due`](Self::due) may have come nearer.
    pub fn record(&mut self, update: StatusUpdate, now: Instant) -> bool {
        let StatusUpdate { id, incarnation, spec, status, transition, .. } = update;
        let Some(at) = self.find(id, incarnation).filter(|_| status.health != Health::Unknown) else {
            return false;
        };
        let slot = self.slots.get_mut(at);
        let held = slot.known.replace(Known { spec, status });
        let health = slot.known.as_ref().map(|known| known.status.health);
        self.known += usize::from(held.is_none());
        let news = transition || held.map(|known| known.status.health) != health;
        if !news || slot.place == Place::News {
            return false;
        }
        self.detach(at);
        self.slots.get_mut(at).since = self.nanos(now);
        self.slots.push_back(&mut self.news, at);
        self.news.len() == 1 || self.waiting() == self.config.batch_size.get()
    }

    /// A set of checks is in effect. After a `full` one everything known is told again, behind the news; and at once,
    /// even in the pause after a failure or when the batch under way fails: whoever sent the set is there.
    pub fn in_effect(&mut self, generation: Option<u64>, full: bool, now: Instant) {
        self.generation = generation;
        if !full {
            return;
        }
        let since = self.nanos(now);
        while let Some(at) = self.slots.pop(&mut self.told) {
            self.slots.get_mut(at).since = since;
            self.slots.push_back(&mut self.again, at);
        }
        for taken in &self.under_way {
            if let Some(&at) = self.index.get(&taken.id)
                && self.slots.get(at).place == Place::UnderWay
            {
                self.slots.push_back(&mut self.again, at);
            }
        }
        self.outdated = !self.under_way.is_empty();
        self.resume();
    }

    /// When a batch can be taken.
    #[must_use]
    pub fn due(&self) -> Due {
        if !self.under_way.is_empty() {
            return Due::OnChange;
        }
        let waiting = match self.waiting() {
            0 => None,
            n if self.draining || n >= self.config.batch_size.get() => Some(0),
            _ => {
                let since = [&self.news, &self.again].into_iter().filter_map(|queue| self.slots.first(queue));
                since
                    .map(|slot| slot.since)
                    .min()
                    .map(|since| since.saturating_add(nanos(self.config.batch_delay)))
            }
        };
        if self.draining && waiting.is_none() {
            return Due::Never;
        }
        match waiting.into_iter().chain(self.refresh_due()).min() {
            Some(due) => Due::At(self.start + Duration::from_nanos(due.max(self.paused_until))),
            None => Due::OnChange,
        }
    }

    fn refresh_due(&self) -> Option<u64> {
        let oldest = self.slots.first(&self.told).filter(|_| !self.draining)?;
        let batch_size = self.config.batch_size.get().min(self.told.len());
        Some(self.pace.due(self.known, batch_size, oldest.since))
    }

    /// Makes a batch if one is due: news first, then what is told once more, then the checks whose turn of the refresh it
    /// is, while there is room.
    pub fn take(&mut self, now: Instant) -> Option<Batch> {
        match self.due() {
            Due::At(due) if due <= now => {}
            _ => return None,
        }
        let now = self.nanos(now);
        let room = self.config.batch_size.get();
        let mut batch =
            Batch { generation: self.generation, statuses: Vec::with_capacity(room.min(self.known)) };
        while batch.statuses.len() < room
            && let Some(at) = self.slots.pop(&mut self.news).or_else(|| self.slots.pop(&mut self.again))
        {
            self.put_under_way(at, &mut batch);
        }
        if self.refresh_due().is_some_and(|due| due <= now) {
            self.take_refresh(room, now, &mut batch);
        }
        Some(batch)
    }

    fn take_refresh(&mut self, room: usize, now: u64, batch: &mut Batch) {
        let allowed = self.pace.allowed(self.known, now);
        let mut told = 0;
        while batch.statuses.len() < room
            && let Some(oldest) = self.slots.first(&self.told)
            && (told < allowed || self.pace.deadline_of(oldest.since) <= now)
            && let Some(at) = self.slots.pop(&mut self.told)
        {
            self.slots.get_mut(at).since = now;
            self.put_under_way(at, batch);
            told += 1;
        }
        self.pace.used(told.min(allowed), self.known);
    }

    fn put_under_way(&mut self, at: u32, batch: &mut Batch) {
        let slot = self.slots.get(at);
        if let Some(known) = &slot.known {
            self.under_way.push(Taken { id: slot.id, incarnation: slot.incarnation });
            let (spec, status) = (known.spec.clone(), known.status.clone());
            batch.statuses.push(CheckStatus { id: slot.id, spec, status });
        }
    }

    /// The consumer has the batch. A check in it that changed meanwhile stays news.
    pub fn delivered(&mut self, now: Instant) {
        let now = self.nanos(now);
        if self.told.len() == 0 {
            self.pace.restart(now);
        }
        for Taken { id, incarnation } in std::mem::take(&mut self.under_way) {
            if let Some(at) = self.find(id, incarnation)
                && self.slots.get(at).place == Place::UnderWay
            {
                self.slots.get_mut(at).since = now;
                self.slots.push_back(&mut self.told, at);
            }
        }
        self.delivered += 1;
        self.outdated = false;
        self.resume();
    }

    /// It is not certain that the consumer has the batch: all that is in it is news again, in its order and before all
    /// other, after a pause of 100 ms that doubles with each failure in a row up to 2 s.
    pub fn failed(&mut self, error: &DeliveryError, now: Instant) {
        for Taken { id, incarnation } in std::mem::take(&mut self.under_way).into_iter().rev() {
            let Some(at) = self.find(id, incarnation) else { continue };
            if self.slots.get(at).place == Place::Silent {
                continue;
            }
            self.detach(at);
            self.slots.push_front(&mut self.news, at);
        }
        self.failed += 1;
        self.last_error = Some(error.to_string());
        if std::mem::take(&mut self.outdated) {
            return;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures_in_a_row.min(8)).min(LONGEST_PAUSE);
        self.paused_until = self.nanos(now).saturating_add(nanos(pause));
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
    }

    /// From now on news is due at once and nothing is refreshed; when all is told, [`due`](Self::due) says
    /// [`Due::Never`].
    pub fn drain(&mut self) {
        self.draining = true;
        self.resume();
    }

    /// A look at it.
    #[must_use]
    pub fn stats(&self, now: Instant) -> Stats {
        let first_taken = self.under_way.iter().find_map(|taken| self.find(taken.id, taken.incarnation));
        let first_taken = first_taken.map(|at| self.slots.get(at));
        let firsts = [self.slots.first(&self.news), self.slots.first(&self.again), first_taken];
        let oldest = firsts.into_iter().flatten().map(|slot| slot.since).min();
        Stats {
            entries: self.index.len(),
            known: self.known,
            untold: self.known - self.told.len(),
            oldest_untold: oldest.map(|since| Duration::from_nanos(self.nanos(now).saturating_sub(since))),
            under_way: self.under_way.len(),
            delivered: self.delivered,
            failed: self.failed,
            failures_in_a_row: self.failures_in_a_row,
            last_error: self.last_error.clone(),
            generation: self.generation,
        }
    }

    /// Ends the pause after failures.
    fn resume(&mut self) {
        self.paused_until = 0;
        self.failures_in_a_row = 0;
    }

    fn waiting(&self) -> usize {
        self.news.len() + self.again.len()
    }

    fn find(&self, id: CheckId, incarnation: Incarnation) -> Option<u32> {
        self.index.get(&id).copied().filter(|at| self.slots.get(*at).incarnation == incarnation)
    }

    /// Takes an entry out of its queue, if it is in one.
    fn detach(&mut self, at: u32) {
        match self.slots.get(at).place {
            Place::News => self.slots.unlink(&mut self.news, at),
            Place::Again => self.slots.unlink(&mut self.again, at),
            Place::Told => self.slots.unlink(&mut self.told, at),
            Place::Silent | Place::UnderWay => {}
        }
    }

    fn nanos(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.start))
    }
}

#[cfg(test)]
mod tests;
