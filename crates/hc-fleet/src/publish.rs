//! What this node writes of its opinions, and when: at most so many objects a second.
//!
//! A node's opinions are in *base* objects, each with all opinions of a run of slots, and in a
//! *log* of changes that the base objects do not have yet. A change of a few checks is one object of
//! the log. A base object is written again when half of what it has has changed, when the log is
//! full, or in its turn of a slow refresh; then the log loses the objects that no base object needs
//! any more.
//!
//! Example: a node has opinions of a million checks in 1,024 base objects of 24 KiB. When ten
//! thousand checks fail at once, each base object has ten changes, and the log gets four objects of
//! 64 KiB. When all of them fail at once, base objects are written.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::{Duration, Instant};

use hc_types::{CheckKey, Health};

use crate::budget::Budget;
use crate::codec::{Head, encode};
use crate::opinion::{Place, first_of, place};
use crate::{Opinion, Slot, Term};

/// The most base objects of a node.
pub(crate) const MOST_OBJECTS: u16 = 1024;
/// The most bytes of an object.
pub const MOST_BYTES: usize = 64 * 1024;
/// The most objects in a node's log.
pub const MOST_LOGS: u64 = 64;
/// The most objects that are written in one transaction: a megabyte, of the 1.5 that etcd takes.
pub const MOST_IN_A_BATCH: usize = 16;

/// Objects to write, all or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The life under whose lease they are written.
    pub term: Term,
    /// Counts the batches of a node.
    pub ticket: u64,
    /// What follows the node's name in the key, and the value.
    pub puts: Vec<(String, Vec<u8>)>,
    /// What to delete: all keys that begin with one of these, as above.
    pub deletes: Vec<String>,
}

#[derive(Clone, Debug, Default)]
struct Base {
    /// Opinions that are there.
    size: u32,
    /// Changes that are written nowhere.
    dirty: u32,
    /// The first object of the log with changes that this one does not have.
    oldest_log: Option<u64>,
    is_written: bool,
}

#[derive(Debug)]
struct Flight {
    ticket: u64,
    /// Everything up to this change is in what is being written, as far as it is in `written`.
    as_of: u64,
    bases: Vec<usize>,
    /// Objects of the log, and the changes in them.
    logs: Vec<(u64, Vec<(Place, u64)>)>,
    deleted_up_to: u64,
    deletes_old: bool,
}

/// The opinions of this node in its present term.
#[derive(Debug)]
pub(crate) struct Publisher {
    term: Option<Term>,
    number: u64,
    own: BTreeMap<Place, Opinion>,
    /// Checks whose opinion, as it is in `own`, is not written.
    dirty: BTreeSet<Place>,
    dirty_since: Option<Instant>,
    bits: u32,
    bases: Vec<Base>,
    /// The bits of the first of the smaller numbers of base objects of which some are still there.
    /// They are deleted when all the new ones are.
    old_bits: Option<u32>,
    /// The first object of the log that is still there, and the next one.
    logs: (u64, u64),
    flight: Option<Flight>,
    ticket: u64,
    refreshed: Instant,
    next_refresh: usize,
    not_before: Instant,
    /// How long changes are collected before they are written.
    batch: Duration,
    /// How long it takes until each base object has had its turn.
    refresh: Duration,
    budget: Budget,
}

impl Publisher {
    pub(crate) fn new(batch: Duration, refresh: Duration, now: Instant) -> Self {
        Self {
            term: None,
            number: 0,
            own: BTreeMap::new(),
            dirty: BTreeSet::new(),
            dirty_since: None,
            bits: 0,
            bases: vec![Base::default()],
            old_bits: None,
            logs: (0, 0),
            flight: None,
            ticket: 0,
            refreshed: now,
            next_refresh: 0,
            not_before: now,
            batch,
            refresh,
            budget: Budget::new(now),
        }
    }

    /// A new life begins: what is known is to be written anew.
    pub(crate) fn begin(&mut self, term: Term, now: Instant) {
        self.term = Some(term);
        self.flight = None;
        self.old_bits = None;
        self.logs = (0, 0);
        self.own.retain(|_, own| own.health != Health::Unknown);
        for own in self.own.values_mut() {
            self.number += 1;
            own.number = self.number;
        }
        self.dirty = self.own.keys().copied().collect();
        self.dirty_since = (!self.dirty.is_empty()).then_some(now);
        self.bits = 0;
        while self.own.len() >> self.bits > MOST_BYTES / 56 && self.bits < MOST_OBJECTS.ilog2() {
            self.bits += 1;
        }
        self.count();
    }

    /// The life has ended. What is known stays, and may change, until another one begins.
    pub(crate) fn end(&mut self) {
        (self.term, self.flight) = (None, None);
    }

    /// Nothing of what was known counts any more.
    pub(crate) fn clear(&mut self) {
        self.own.clear();
        self.dirty.clear();
        self.dirty_since = None;
        self.flight = None;
        self.count();
    }

    fn count(&mut self) {
        self.bases = vec![Base::default(); 1 << self.bits];
        self.own.keys().for_each(|(slot, _)| self.bases[of(*slot, self.bits)].size += 1);
        self.dirty.iter().for_each(|(slot, _)| self.bases[of(*slot, self.bits)].dirty += 1);
    }

    pub(crate) fn get(&self, key: CheckKey) -> Option<&Opinion> {
        self.own.get(&place(key)).filter(|opinion| opinion.health != Health::Unknown)
    }

    /// Whether this change, or a later one of the check, is in the store.
    pub(crate) fn is_written(&self, key: CheckKey) -> bool {
        !self.dirty.contains(&place(key))
    }

    /// Since when something has not been written that should be.
    pub(crate) fn unwritten_since(&self) -> Option<Instant> {
        self.dirty_since.filter(|_| self.term.is_some())
    }

    /// The node says something else of a check. The number of the opinion is ignored.
    pub(crate) fn set(&mut self, key: CheckKey, mut opinion: Opinion, now: Instant) {
        let place = place(key);
        self.number += 1;
        opinion.number = self.number;
        let base = &mut self.bases[of(place.0, self.bits)];
        base.size += u32::from(self.own.insert(place, opinion).is_none());
        if self.dirty.insert(place) {
            base.dirty += 1;
            self.dirty_since.get_or_insert(now);
        }
    }

    /// The node has no opinion of the check any more. Of one that it never had nothing is written.
    pub(crate) fn withdraw(&mut self, key: CheckKey, now: Instant) {
        if let Some(opinion) = self.get(key) {
            let gone = Opinion { health: Health::Unknown, verdict: Health::Unknown, ..opinion.clone() };
            self.set(key, gone, now);
        }
    }

    /// So many writes a second from now on.
    pub(crate) fn allow(&mut self, per_1000_seconds: u64, now: Instant) {
        self.budget.allow(per_1000_seconds, now);
    }

    /// When [`next`](Self::next) may have something; `None` while only an event gives it that.
    pub(crate) fn due(&self) -> Option<Instant> {
        if self.term.is_none() || self.flight.is_some() {
            return None;
        }
        let changes = self.dirty_since.map(|since| since + self.batch);
        let refresh = self.has_to_refresh().then(|| self.refreshed + self.turn());
        let due = changes.into_iter().chain(refresh).min()?;
        Some(due.max(self.not_before).max(self.budget.next()))
    }

    fn has_to_refresh(&self) -> bool {
        self.logs.0 < self.logs.1 || self.old_bits.is_some()
    }

    fn turn(&self) -> Duration {
        self.refresh / u32::try_from(self.bases.len()).unwrap_or(1)
    }

    /// What is to be written now, if anything. Until [`written`](Self::written) or
    /// [`failed`](Self::failed) there is nothing else.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Batch> {
        let term = self.term?;
        if self.due().is_none_or(|due| due > now) {
            return None;
        }
        self.ticket += 1;
        let mut flight = Flight {
            ticket: self.ticket,
            as_of: self.number,
            bases: Vec::new(),
            logs: Vec::new(),
            deleted_up_to: self.logs.0,
            deletes_old: false,
        };
        let mut batch = Batch { term, ticket: self.ticket, puts: Vec::new(), deletes: Vec::new() };
        let room = usize::try_from(self.budget.left(now)).unwrap_or(MOST_IN_A_BATCH).min(MOST_IN_A_BATCH);
        while batch.puts.len() < room {
            let Some(step) = self.choose(&flight, now) else { break };
            match step {
                Step::Base(index) => match self.base(term, index) {
                    Some(bytes) => {
                        flight.bases.push(index);
                        batch.puts.push((base_key(self.bits, index), bytes));
                    }
                    None => {
                        self.split();
                        return self.next(now);
                    }
                },
                Step::Log => {
                    let (bytes, places) = self.log(term, &flight);
                    let index = self.logs.1 + u64::try_from(flight.logs.len()).unwrap_or_default();
                    batch.puts.push((log_key(index), bytes));
                    flight.logs.push((index, places));
                }
            }
        }
        self.cut(&mut flight, &mut batch, room);
        if batch.puts.is_empty() && batch.deletes.is_empty() {
            self.refreshed = now;
            return None;
        }
        let ops = batch.puts.len() + batch.deletes.len();
        self.budget.spend(u64::try_from(ops).unwrap_or(u64::MAX));
        self.flight = Some(flight);
        Some(batch)
    }

    /// What is best written next: where there are changes, whatever gets rid of most of them.
    fn choose(&mut self, flight: &Flight, now: Instant) -> Option<Step> {
        let is_free = |index: &usize| !flight.bases.contains(index);
        if let Some((first, _)) = self.left(flight).next() {
            let begin = of(first, self.bits);
            let mostly = |index: &usize| {
                let base = &self.bases[*index];
                base.dirty > 0 && base.dirty * 2 >= base.size
            };
            let whole = (begin..self.bases.len()).filter(is_free).find(mostly);
            if let Some(index) = whole {
                return Some(Step::Base(index));
            }
            let logs = self.logs.1 - self.logs.0 + u64::try_from(flight.logs.len()).unwrap_or_default();
            if logs < MOST_LOGS {
                return Some(Step::Log);
            }
            let oldest = (0..self.bases.len())
                .filter(is_free)
                .min_by_key(|index| self.bases[*index].oldest_log.unwrap_or(u64::MAX));
            return oldest.map(Step::Base);
        }
        if now < self.refreshed + self.turn() || !flight.bases.is_empty() || !flight.logs.is_empty() {
            return None;
        }
        let count = self.bases.len();
        let stale = |index: &usize| {
            let base = &self.bases[*index];
            base.oldest_log.is_some() || (self.old_bits.is_some() && !base.is_written)
        };
        let index = (0..count).map(|step| (self.next_refresh + step) % count).filter(is_free).find(stale)?;
        self.next_refresh = index + 1;
        self.refreshed = now;
        Some(Step::Base(index))
    }

    /// Changes that are not in what is about to be written, in order.
    fn left(&self, flight: &Flight) -> impl Iterator<Item = Place> {
        // The log takes them in order.
        let taken = flight.logs.iter().rev().find_map(|(_, places)| places.last());
        let mut after = taken.map_or(Bound::Unbounded, |(place, _)| Bound::Excluded(*place));
        std::iter::from_fn(move || {
            loop {
                let place = *self.dirty.range((after, Bound::Unbounded)).next()?;
                let index = of(place.0, self.bits);
                if !flight.bases.contains(&index) {
                    after = Bound::Excluded(place);
                    return Some(place);
                }
                after = Bound::Included(first_of(self.range(index).end)?);
            }
        })
    }

    fn range(&self, index: usize) -> std::ops::Range<u16> {
        let size = Slot::COUNT >> self.bits;
        let first = u16::try_from(index).unwrap_or_default() * size;
        first..first + size
    }

    /// The bytes of a base object; `None` if they are too many. Of the most objects that there may
    /// be each takes what fits.
    fn base(&self, term: Term, index: usize) -> Option<Vec<u8>> {
        let range = self.range(index);
        let head = Head { term, as_of: self.number, span: Some((range.start, range.end - range.start)) };
        let of_range: Vec<(CheckKey, &Opinion)> = self.within(&range).collect();
        let count = of_range.len();
        let (bytes, taken) = encode(&head, of_range, MOST_BYTES);
        (taken == count || 1 << self.bits == MOST_OBJECTS).then_some(bytes)
    }

    fn within(&self, range: &std::ops::Range<u16>) -> impl Iterator<Item = (CheckKey, &Opinion)> {
        let end = range.end;
        let own = first_of(range.start).map(|first| self.own.range(first..)).into_iter().flatten();
        own.take_while(move |((slot, _), _)| slot.number() < end)
            .filter(|(_, opinion)| opinion.health != Health::Unknown)
            .map(|((_, key), opinion)| (*key, opinion))
    }

    fn log(&self, term: Term, flight: &Flight) -> (Vec<u8>, Vec<(Place, u64)>) {
        let head = Head { term, as_of: self.number, span: None };
        let mut places = Vec::new();
        let changes = self.left(flight).filter_map(|place| Some((place, self.own.get(&place)?)));
        let noted = changes.inspect(|(place, opinion)| places.push((*place, opinion.number)));
        let (bytes, taken) = encode(&head, noted.map(|(place, opinion)| (place.1, opinion)), MOST_BYTES);
        places.truncate(taken);
        (bytes, places)
    }

    /// There are more opinions than fit: twice as many base objects.
    fn split(&mut self) {
        self.old_bits.get_or_insert(self.bits);
        self.bits += 1;
        self.count();
        let oldest = (self.logs.0 < self.logs.1).then_some(self.logs.0);
        self.bases.iter_mut().for_each(|base| base.oldest_log = oldest);
    }

    /// Deletes what no base object needs any more.
    fn cut(&self, flight: &mut Flight, batch: &mut Batch, room: usize) {
        let needed = self.bases.iter().filter_map(|base| base.oldest_log).min().unwrap_or(self.logs.1);
        while flight.deleted_up_to < needed && batch.puts.len() + batch.deletes.len() < room {
            batch.deletes.push(log_key(flight.deleted_up_to));
            flight.deleted_up_to += 1;
        }
        if let Some(old) = self.old_bits
            && self.bases.iter().all(|base| base.is_written)
        {
            batch.deletes.extend((old..self.bits).map(|bits| format!("base/{bits:02}-")));
            flight.deletes_old = true;
        }
    }

    /// A batch is in the store.
    pub(crate) fn written(&mut self, ticket: u64, now: Instant) {
        let Some(flight) = self.flight.take_if(|flight| flight.ticket == ticket) else { return };
        for (index, places) in flight.logs {
            for (place, number) in places {
                let base = &mut self.bases[of(place.0, self.bits)];
                base.oldest_log.get_or_insert(index);
                self.is_clean(place, number);
            }
            self.logs.1 = index + 1;
        }
        for index in flight.bases {
            let range = self.range(index);
            let Some(first) = first_of(range.start) else { continue };
            let own = self.own.range(first..).take_while(|((slot, _), _)| slot.number() < range.end);
            let known: Vec<(Place, u64)> = own
                .map(|(place, own)| (*place, own.number))
                .filter(|(_, number)| *number <= flight.as_of)
                .collect();
            for (place, number) in known {
                self.is_clean(place, number);
                let gone = self.own.get(&place).is_some_and(|own| own.health == Health::Unknown);
                if gone {
                    self.own.remove(&place);
                    self.bases[index].size -= 1;
                }
            }
            (self.bases[index].oldest_log, self.bases[index].is_written) = (None, true);
        }
        self.logs.0 = flight.deleted_up_to;
        if flight.deletes_old {
            self.old_bits = None;
        }
        // Whatever has come meanwhile has waited for this batch already.
        self.dirty_since = (!self.dirty.is_empty()).then_some(now);
    }

    fn is_clean(&mut self, place: Place, number: u64) {
        let is_latest = self.own.get(&place).is_some_and(|own| own.number == number);
        if is_latest && self.dirty.remove(&place) {
            self.bases[of(place.0, self.bits)].dirty -= 1;
        }
    }

    /// A batch is not in the store, or nobody knows: it is written again, not before `retry`.
    pub(crate) fn failed(&mut self, ticket: u64, retry: Instant) {
        if self.flight.take_if(|flight| flight.ticket == ticket).is_some() {
            self.not_before = retry;
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Base(usize),
    Log,
}

fn of(slot: Slot, bits: u32) -> usize {
    usize::from(slot.number()) >> (Slot::BITS - bits)
}

fn base_key(bits: u32, index: usize) -> String {
    format!("base/{bits:02}-{index:04}")
}

fn log_key(index: u64) -> String {
    format!("log/{index:016x}")
}

#[cfg(test)]
mod tests;
