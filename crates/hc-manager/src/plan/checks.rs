//! The table of the checks that run, and their places in the tables of the shards.

use std::sync::Arc;

use hc_types::{CheckId, CheckSpec, IdIndex, Incarnation, U48};

use crate::phases::{Intervals, Number, Phase};
use crate::plan::Check;

/// A check that runs: 32 bytes.
#[derive(Debug)]
pub(super) struct Entry {
    id: CheckId,
    pub(super) spec: Arc<CheckSpec>,
    pub(super) slot: u32,
    pub(super) number: Number,
    incarnation: U48,
    shard: u16,
}

impl Entry {
    pub(super) fn new(check: &Check, Place { shard, slot }: Place, number: Number) -> Self {
        let Check { id, incarnation, ref spec } = *check;
        Self { id, spec: Arc::clone(spec), slot, number, incarnation: incarnation.0.into(), shard }
    }

    pub(super) fn incarnation(&self) -> Incarnation {
        Incarnation(self.incarnation.get())
    }

    pub(super) fn shard(&self) -> usize {
        self.shard.into()
    }

    pub(super) fn place(&self) -> Place {
        Place { shard: self.shard, slot: self.slot }
    }

    pub(super) fn intervals(&self) -> Intervals {
        Intervals::of(&self.spec)
    }

    pub(super) fn phase(&self) -> Phase {
        self.number.phase(&self.intervals())
    }
}

/// A place in the table of a shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    shard: u16,
    slot: u32,
}

/// The places in the table of one shard.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    shard: u16,
    free: Vec<u32>,
    used: u32,
}

impl Slots {
    /// Those of each shard. Only the first 65,536 shards get checks: more threads than a machine
    /// has.
    pub(super) fn of(shards: usize) -> Vec<Self> {
        (0..=u16::MAX).take(shards).map(|shard| Self { shard, free: Vec::new(), used: 0 }).collect()
    }

    pub(super) fn take(&mut self) -> Place {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.used += 1;
            self.used - 1
        });
        Place { shard: self.shard, slot }
    }

    pub(super) fn give_back(&mut self, slot: u32) {
        self.free.push(slot);
    }
}

/// The checks that run, found by their ids.
#[derive(Debug, Default)]
pub(super) struct Checks {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    index: IdIndex,
}

impl Checks {
    pub(super) fn get(&self, id: CheckId) -> Option<&Entry> {
        let at = self.index.find(id, |at| id_at(&self.entries, at))?;
        self.entries.get(at as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: CheckId) -> Option<&mut Entry> {
        let at = self.index.find(id, |at| id_at(&self.entries, at))?;
        self.entries.get_mut(at as usize)?.as_mut()
    }

    /// In no order that means anything.
    pub(super) fn ids(&self) -> impl Iterator<Item = CheckId> {
        self.entries.iter().flatten().map(|entry| entry.id)
    }

    /// Its id must not be there.
    pub(super) fn insert(&mut self, entry: Entry) {
        let id = entry.id;
        let at = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 checks")
        });
        self.entries[at as usize] = Some(entry);
        self.index.insert(id, at, |at| id_at(&self.entries, at));
    }

    pub(super) fn remove(&mut self, id: CheckId) -> Option<Entry> {
        let at = self.index.remove(id, |at| id_at(&self.entries, at))?;
        let entry = self.entries.get_mut(at as usize)?.take();
        self.free.push(at);
        if self.index.is_empty() {
            // Give the memory back.
            *self = Self::default();
        }
        entry
    }
}

/// Every place in the index has a check.
fn id_at(entries: &[Option<Entry>], at: u32) -> CheckId {
    entries[at as usize].as_ref().map_or(CheckId(0), |entry| entry.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_in_the_plan_is_small() {
        assert!(size_of::<Option<Entry>>() <= 32, "{}", size_of::<Option<Entry>>());
    }
}
