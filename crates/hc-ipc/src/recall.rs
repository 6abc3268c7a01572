//! Recognises in a full set what is in effect already, by its text, so that it is neither read nor
//! compared again.
//!
//! The texts of [`TOGETHER`] checks that follow each other are kept as one digest of 64 bits under
//! a key that this process has made up (SipHash): six bytes a check. A text that differs has the
//! same digest once in 2^64 times, whatever a sender does who does not know the key. A sender who
//! may change checks could as well send the other check.
//!
//! Only sets whose ids go up are recognised: hc-proxy sorts them. So no id can come twice unseen,
//! and those that are gone are found by going through both in order.

mod block;
mod memory;
mod text;

use std::sync::Arc;

use hc_types::CheckId;

pub(crate) use self::block::{Block, Digests, TOGETHER};
pub(crate) use self::memory::{Memory, Ticket};
pub(crate) use self::text::{Texts, read};

/// A set in effect, as it was sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remembered {
    /// In the order of their ids.
    blocks: Vec<Block>,
    /// Checks that deltas have added, in order.
    added: std::collections::BTreeSet<u64>,
}

/// What is before and behind what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// So many blocks of what is remembered, from this one on.
    Known(std::ops::Range<usize>),
    /// Checks that were read: so many entries of the message, and what they look like. `None` if
    /// none of them is valid.
    Read(usize, Option<Block>),
}

/// A full set that was compared with what is in effect.
#[derive(Debug)]
pub(crate) struct Compared {
    /// How it looks.
    pub(crate) remembered: Remembered,
    /// The checks that are in effect and not in it.
    pub(crate) removed: Vec<CheckId>,
}

impl Remembered {
    /// The place of the block that begins with this id. `hint` is where it may be.
    fn beginning_with(&self, id: u64, hint: usize) -> Option<usize> {
        if self.blocks.get(hint).is_some_and(|block| block.first() == id) {
            return Some(hint);
        }
        self.blocks.binary_search_by_key(&id, Block::first).ok()
    }

    /// How many checks these blocks are.
    pub(crate) fn count(&self, blocks: &std::ops::Range<usize>) -> usize {
        self.blocks.get(blocks.clone()).unwrap_or_default().iter().map(Block::len).sum()
    }

    /// The text of these checks says nothing any more about what is in effect.
    fn open(&mut self, ids: impl IntoIterator<Item = CheckId>) {
        for CheckId(id) in ids {
            let behind = self.blocks.partition_point(|block| block.first() <= id);
            if let Some(block) = behind.checked_sub(1).and_then(|at| self.blocks.get_mut(at)) {
                block.open();
            }
        }
    }

    /// A delta is in effect.
    fn change(&mut self, upsert: &[CheckId], remove: &[CheckId]) {
        self.open(upsert.iter().chain(remove).copied());
        for CheckId(id) in upsert {
            let behind = self.blocks.partition_point(|block| block.first() <= *id);
            let block = behind.checked_sub(1).and_then(|at| self.blocks.get(at));
            if !block.is_some_and(|block| block.ids().any(|known| known == *id)) {
                self.added.insert(*id);
            }
        }
    }

    /// The set that these items are, `ids` being those of the entries that were read, valid or not.
    /// `None` if its ids do not go up.
    pub(crate) fn compare(
        known: Option<&Arc<Self>>,
        items: &[Item],
        ids: &[Option<CheckId>],
    ) -> Option<Compared> {
        let empty = Self::default();
        let known = known.map_or(&empty, |known| known);
        let mut remembered = Self::default();
        let mut stays = vec![false; known.blocks.len()];
        let (mut read, mut entries) = (Vec::with_capacity(ids.len()), ids.iter());
        let mut latest = None;
        let mut goes_up = |id: u64| latest.replace(id).is_none_or(|before| before < id);
        for item in items {
            match item {
                Item::Known(range) => {
                    let blocks = known.blocks.get(range.clone())?;
                    stays.get_mut(range.clone())?.fill(true);
                    for block in blocks {
                        if !(goes_up(block.first()) && (block.len() == 1 || goes_up(block.last()))) {
                            return None;
                        }
                    }
                    remembered.blocks.extend_from_slice(blocks);
                }
                Item::Read(count, block) => {
                    for _ in 0..*count {
                        // One without an id is rejected wherever it stands.
                        let Some(CheckId(id)) = *entries.next()? else { continue };
                        if !goes_up(id) {
                            return None;
                        }
                        read.push(id);
                    }
                    remembered.blocks.extend(block.clone());
                }
            }
        }
        let gone =
            known.blocks.iter().zip(stays).filter(|(_, stays)| !stays).flat_map(|(block, _)| block.ids());
        // What a delta has added and this set has, it has had to read.
        let gone = gone.chain(known.added.iter().copied());
        let removed = gone.filter(|id| read.binary_search(id).is_err()).map(CheckId).collect();
        Some(Compared { remembered, removed })
    }
}

#[cfg(test)]
mod tests;
