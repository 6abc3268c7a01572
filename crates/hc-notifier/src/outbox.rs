//! What is delivered when: the decisions, without clock, lock or task.
//!
//! ```text
//!              first report            take()             delivered()
//!   Unreported ────────────► Pending ───────────► InFlight ───────────► Delivered
//!                            ▲   ▲  transition      │ │                   │  │
//!                            │   └──────────────────┘ │ failed()          │  │ its turn: take()
//!                            ├────────────────────────┘                   │  └──► InFlight
//!                            └────────────────────────────────────────────┘ transition
//!   Delivered, InFlight ── in_effect(full) ──► Resend ── take() ──► InFlight
//! ```
//!
//! A consumer that keeps statuses ([`Delivery::keeps`](crate::Delivery::keeps)) is not told what it
//! has once more: `refresh.rs`.
//!
//! A check that changes while a batch with it is in flight leaves `InFlight` for `Pending`, so the
//! end of that batch finds it elsewhere and cannot count the change as delivered. Likewise a check
//! that begins in the slot of another one is `Unreported` first.

use std::time::{Duration, Instant};

use hc_types::{Batch, CheckId, Health};
use hc_view::{Report, Slot, Table};

use crate::delivered::Delivered;
use crate::links::{Kept, Links, Place, Queue};
use crate::pace::{Pace, nanos};
use crate::{DeliveryError, NotifierConfig};

mod refresh;

/// The pause after the first failed delivery.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause after a failed delivery.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The pause after one more failure, of a batch or of a refresh.
fn pause(failures_in_a_row: u32) -> u64 {
    nanos(FIRST_PAUSE.saturating_mul(1 << failures_in_a_row.min(8)).min(LONGEST_PAUSE))
}

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
#[non_exhaustive]
pub struct Stats {
    /// Checks.
    pub entries: usize,
    /// Those of them that have a status.
    pub known: usize,
    /// Those of them that have something to be delivered at once, the batch in flight included.
    pub undelivered: usize,
    /// How long the oldest of that has been waiting.
    pub oldest_undelivered: Option<Duration>,
    /// Notifications in the batch in flight.
    pub in_flight: usize,
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

/// What one consumer has not got yet. The statuses themselves are in the [`Table`].
///
/// One batch is in flight at a time: after [`take`](Self::take) comes
/// [`delivered`](Self::delivered) or [`failed`](Self::failed). Instants that run backwards do no
/// harm beyond a batch that comes early or late.
#[derive(Debug)]
pub struct Outbox {
    config: NotifierConfig,
    /// Instants are held as nanoseconds since this one.
    start: Instant,
    links: Links,
    /// Checks of which something is reported.
    known: usize,
    pending: Queue,
    resend: Queue,
    words: Queue,
    delivered: Delivered,
    in_flight: Vec<u32>,
    /// What is in the batch in flight.
    sent: Vec<(u32, CheckId, Health)>,
    refresh: refresh::State,
    /// The batch in flight was made before the latest full set: its failure says nothing about who
    /// sent that.
    outdated: bool,
    pace: Pace,
    generation: Option<u64>,
    /// No batch is made before.
    paused_until: u64,
    failures_in_a_row: u32,
    draining: bool,
    batches_delivered: u64,
    batches_failed: u64,
    last_error: Option<String>,
}

impl Outbox {
    /// An empty outbox.
    #[must_use]
    pub fn new(config: &NotifierConfig, now: Instant) -> Self {
        Self {
            config: config.clone(),
            start: now,
            links: Links::default(),
            known: 0,
            pending: Queue::new(Place::Pending),
            resend: Queue::new(Place::Resend),
            words: Queue::new(Place::Words),
            delivered: Delivered::new(false),
            in_flight: Vec::new(),
            sent: Vec::new(),
            refresh: refresh::State::default(),
            outdated: false,
            pace: Pace::new(config.notify_interval),
            generation: None,
            paused_until: 0,
            failures_in_a_row: 0,
            draining: false,
            batches_delivered: 0,
            batches_failed: 0,
            last_error: None,
        }
    }

    /// A check begins in this slot, or begins again: what was queued of it is void, and nothing is
    /// delivered before its first report.
    pub fn begin(&mut self, slot: Slot, id: CheckId) {
        self.void(slot.0, id);
        self.links.begin(slot, id);
    }

    /// The check of this slot has ended.
    pub fn forget(&mut self, Slot(at): Slot, id: CheckId) {
        if self.links.place(at) != Place::Vacant {
            self.void(at, id);
            self.links.forget(at);
        }
    }

    /// A row has something new. A transition and the first report of a check are delivered at once,
    /// the rest with the next refresh. Says whether [`due`](Self::due) may have come nearer.
    pub fn reported(&mut self, report: Report, now: Instant) -> bool {
        let Report { slot: Slot(at), transition, changed } = report;
        match self.links.place(at) {
            Place::Vacant | Place::Pending => return false,
            Place::Unreported => {}
            Place::Delivered | Place::InFlight if changed && !transition && self.delivered.keeps() => {
                return self.reword(at, self.nanos(now));
            }
            _ if !transition => return false,
            _ => self.detach(at),
        }
        let now = self.nanos(now);
        let link = self.links.get_mut(at);
        self.known += usize::from(link.place == Place::Unreported);
        link.since = now;
        self.links.push_back(&mut self.pending, at);
        self.pending.len() == 1 || self.waiting() == self.config.batch_size.get()
    }

    /// A set of checks is in effect. A `full` one queues every known status for resending, behind
    /// pending transitions, and ends any back-off, also when the batch in flight fails: its arrival
    /// proves that the consumer is connected.
    pub fn in_effect(&mut self, generation: Option<u64>, full: bool, now: Instant) {
        self.generation = generation;
        if !full {
            return;
        }
        self.forget_what_is_kept(self.delivered.keeps(), self.nanos(now));
        for at in &self.in_flight {
            if self.links.place(*at) == Place::InFlight {
                self.links.push_back(&mut self.resend, *at);
            }
        }
        self.outdated = !self.in_flight.is_empty();
        self.resume();
    }

    /// When a batch or a refresh can be taken.
    #[must_use]
    pub fn due(&self) -> Due {
        if !self.in_flight.is_empty() {
            return Due::OnChange;
        }
        if self.draining && self.waiting() == 0 {
            return Due::Never;
        }
        match self.batch_due().into_iter().chain(self.keeper_due()).min() {
            Some(due) => Due::At(self.start + Duration::from_nanos(due)),
            None => Due::OnChange,
        }
    }

    fn batch_due(&self) -> Option<u64> {
        if !self.in_flight.is_empty() {
            return None;
        }
        let waiting = match self.waiting() {
            0 => None,
            n if self.draining || n >= self.config.batch_size.get() => Some(0),
            _ => {
                let since =
                    [&self.pending, &self.resend].into_iter().filter_map(|queue| self.links.first(queue));
                since
                    .map(|link| link.since)
                    .min()
                    .map(|since| since.saturating_add(nanos(self.config.batch_delay)))
            }
        };
        let due = [waiting, self.words_due(), self.refresh_due()].into_iter().flatten().min()?;
        Some(due.max(self.paused_until))
    }

    fn refresh_due(&self) -> Option<u64> {
        let delivered = self.delivered.all()?.queue;
        let oldest = self.links.first(&delivered).filter(|_| !self.draining)?;
        let batch_size = self.config.batch_size.get().min(delivered.len());
        Some(self.pace.due(self.known, batch_size, oldest.since))
    }

    /// Makes a batch of what `table` says now, if one is due: transitions first, then what is sent
    /// once more, then other words, then the checks whose turn of the refresh it is, while there is
    /// room.
    pub fn take(&mut self, table: &Table, now: Instant) -> Option<Batch> {
        let now = self.nanos(now);
        self.batch_due().filter(|due| *due <= now)?;
        let room = self.config.batch_size.get();
        while self.in_flight.len() < room
            && let Some(at) = self.links.pop(&mut self.pending).or_else(|| self.links.pop(&mut self.resend))
        {
            self.in_flight.push(at);
        }
        self.take_words(room, now);
        if self.refresh_due().is_some_and(|due| due <= now) {
            self.take_refreshed(room, now);
        }
        self.refresh.is_next = true;
        let mut statuses = Vec::with_capacity(self.in_flight.len());
        for at in std::mem::take(&mut self.in_flight) {
            self.in_flight.push(at);
            let Some(check) = table.reported(Slot(at)) else { continue };
            self.send(at, check.id, check.status.health);
            statuses.push(check);
        }
        Some(Batch { generation: self.generation, statuses })
    }

    fn take_refreshed(&mut self, room: usize, now: u64) {
        let allowed = self.pace.allowed(self.known, now);
        let mut taken = 0;
        while self.in_flight.len() < room
            && let Some(all) = self.delivered.all()
            && let Some(oldest) = self.links.first(&all.queue)
            && (taken < allowed || self.pace.deadline_of(oldest.since) <= now)
            && let Some(at) = self.links.pop(&mut self.delivered.run(0).queue)
        {
            self.delivered.len -= 1;
            self.links.get_mut(at).since = now;
            self.in_flight.push(at);
            taken += 1;
        }
        self.pace.used(taken.min(allowed), self.known);
    }

    /// The consumer has the batch. A check in it that changed meanwhile stays pending.
    pub fn delivered(&mut self, now: Instant) {
        let now = self.nanos(now);
        if self.delivered.len == 0 && self.delivered.kept == 0 {
            self.pace.restart(now);
        }
        self.settle_sent(true, now);
        for at in std::mem::take(&mut self.in_flight) {
            if self.links.place(at) == Place::InFlight {
                let link = self.links.get_mut(at);
                link.since = now;
                let queue = &mut self.delivered.run(link.bucket).queue;
                self.links.push_back(queue, at);
                self.delivered.len += 1;
            }
        }
        self.batches_delivered += 1;
        self.outdated = false;
        self.resume();
    }

    /// It is not certain that the consumer has the batch: all that is in it is pending again, in
    /// its order and before all else, after a pause of 100 ms that doubles with each failure in a
    /// row up to 2 s.
    pub fn failed(&mut self, error: &DeliveryError, now: Instant) {
        self.settle_sent(false, 0);
        for at in std::mem::take(&mut self.in_flight).into_iter().rev() {
            if matches!(self.links.place(at), Place::Vacant | Place::Unreported) {
                continue;
            }
            self.detach(at);
            self.links.push_front(&mut self.pending, at);
        }
        self.batches_failed += 1;
        self.last_error = Some(error.to_string());
        if std::mem::take(&mut self.outdated) {
            return;
        }
        self.paused_until = self.nanos(now).saturating_add(pause(self.failures_in_a_row));
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
    }

    /// From now on transitions are due at once and nothing is refreshed; when all is delivered,
    /// [`due`](Self::due) says [`Due::Never`].
    pub fn drain(&mut self) {
        self.draining = true;
        self.resume();
    }

    /// A look at it.
    #[must_use]
    pub fn stats(&self, now: Instant) -> Stats {
        let first_taken = self.in_flight.iter().find(|at| self.links.place(**at) != Place::Vacant);
        let first_taken = first_taken.map(|at| self.links.get(*at));
        let firsts = [self.links.first(&self.pending), self.links.first(&self.resend), first_taken];
        let oldest = firsts.into_iter().flatten().map(|link| link.since).min();
        Stats {
            entries: self.links.len(),
            known: self.known,
            undelivered: self.known - self.delivered.len - self.words.len(),
            oldest_undelivered: oldest
                .map(|since| Duration::from_nanos(self.nanos(now).saturating_sub(since))),
            in_flight: self.in_flight.len(),
            delivered: self.batches_delivered,
            failed: self.batches_failed,
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
        self.pending.len() + self.resend.len()
    }

    /// Nothing is known of a check any more; its place is then the caller's to say.
    fn void(&mut self, at: u32, id: CheckId) {
        self.detach(at);
        if self.links.place(at) != Place::Vacant
            && let link = self.links.get(at)
            && let Kept::As(health) = link.kept
        {
            self.delivered.drop(link.bucket, id, health);
        }
        self.known -= usize::from(!matches!(self.links.place(at), Place::Vacant | Place::Unreported));
    }

    /// Takes a check out of the queue that it is in, if any; its place is then the caller's to say.
    fn detach(&mut self, at: u32) {
        match self.links.place(at) {
            Place::Pending => self.links.unlink(&mut self.pending, at),
            Place::Resend => self.links.unlink(&mut self.resend, at),
            Place::Words => self.links.unlink(&mut self.words, at),
            Place::Delivered => {
                let queue = &mut self.delivered.run(self.links.get(at).bucket).queue;
                self.links.unlink(queue, at);
                self.delivered.len -= 1;
            }
            Place::Vacant | Place::Unreported | Place::InFlight => {}
        }
    }

    fn nanos(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.start))
    }
}

#[cfg(test)]
mod keeping_tests;
#[cfg(test)]
mod tests;
