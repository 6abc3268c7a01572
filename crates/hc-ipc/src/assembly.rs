//! Sets of checks out of the messages that carry them.

use std::sync::Arc;

use hc_types::{CheckId, CheckSpec, Rejection, SetChange};
use hc_wire::{CheckEntry, ErrorCode, ErrorMessage, UpdateConfigs, UpdateDelta};

use crate::recall::{Compared, Item, Memory, Remembered, Texts, Ticket};

/// The most parts of a set, each of at most [`MAX_LINE`](hc_wire::MAX_LINE) bytes: a bound on what
/// a peer can have kept for it. 128 are what hc-proxy has queued at most.
const MOST_PARTS: u32 = 1024;

/// What a message led to.
#[derive(Debug)]
pub enum Assembled {
    /// Nothing yet, or nothing new.
    Nothing,
    /// A change of the set, in which ids may be repeated, and the invalid checks that came with it.
    Set(SetChange, Vec<Rejection>),
    /// Something is missing: the full set is needed. Why, for the peer's log.
    Ask(String),
    /// The message cannot be taken.
    Refuse(ErrorMessage),
}

/// The sets of one connection.
#[derive(Debug)]
pub struct Assembly {
    max_checks: usize,
    /// The generation of the latest whole set; what a delta must build upon.
    base: Option<u64>,
    /// How many checks there can be in the set in effect: those of the last full one, and all that
    /// deltas brought since.
    size: usize,
    /// The set whose parts are arriving.
    partial: Option<Partial>,
    /// A set whose further parts are of no use: the peer has been told.
    spoiled: Option<u64>,
    /// The full set has been asked for, and has not begun to come.
    asked: bool,
    /// What is in effect, by the sets of all connections.
    memory: Memory,
}

#[derive(Debug)]
struct Partial {
    generation: Option<u64>,
    parts: u32,
    /// The part that comes next.
    next: u32,
    /// The checks that were read.
    entries: Vec<CheckEntry>,
    /// How all of them look; `None` if a part did not say.
    items: Option<Vec<Item>>,
    /// What those that were not read are blocks of.
    known: Option<Arc<Remembered>>,
    /// How many were not read.
    recognised: usize,
}

impl Partial {
    /// Adds a part. Says whether it fits to those before: what is known is all of one set.
    fn add(&mut self, configs: Vec<CheckEntry>, texts: Option<Texts>) -> bool {
        if self.entries.is_empty() {
            self.entries = configs;
        } else {
            self.entries.extend(configs);
        }
        let Some(Texts { known, items }) = texts else {
            self.items = None;
            return self.known.is_none();
        };
        if let Some(known) = known {
            let count = |item: &Item| if let Item::Known(blocks) = item { known.count(blocks) } else { 0 };
            self.recognised += items.iter().map(count).sum::<usize>();
            if !Arc::ptr_eq(self.known.get_or_insert_with(|| Arc::clone(&known)), &known) {
                return false;
            }
        }
        if let Some(all) = &mut self.items {
            all.extend(items);
        }
        self.items.is_some() || self.known.is_none()
    }
}

impl Assembly {
    /// No set yet. A set of more than `max_checks` checks is refused.
    #[must_use]
    pub fn new(max_checks: usize) -> Self {
        Self::with_memory(max_checks, Memory::default())
    }

    /// The same for texts in which what is in effect was recognised by `memory`.
    pub(crate) fn with_memory(max_checks: usize, memory: Memory) -> Self {
        Self { max_checks, base: None, size: 0, partial: None, spoiled: None, asked: false, memory }
    }

    /// A full set or a part of one. Parts come in their order; part 1 discards a set that is not
    /// whole yet.
    pub fn configs(&mut self, update: UpdateConfigs) -> Assembled {
        self.part(update, None).0
    }

    /// The same for checks of which some are known, with what is to be told when the set is in
    /// effect.
    pub(crate) fn part(
        &mut self,
        update: UpdateConfigs,
        texts: Option<Texts>,
    ) -> (Assembled, Option<Ticket>) {
        match self.add(update, texts) {
            Ok(whole) => self.whole(whole),
            Err(assembled) => (assembled, None),
        }
    }

    /// Takes a part; gives the set if it is whole, and otherwise what to do.
    fn add(&mut self, update: UpdateConfigs, texts: Option<Texts>) -> Result<Partial, Assembled> {
        let UpdateConfigs { configs, generation, part, parts } = update;
        let (part, parts) = match (part, parts) {
            (None, None) => (1, 1),
            (Some(part), Some(parts)) if (1..=parts).contains(&part) => (part, parts),
            (part, parts) => {
                let or_none = |n: Option<u32>| n.map_or("none".to_owned(), |n| n.to_string());
                return Err(malformed(format!(
                    "part: {} of {} makes no sense",
                    or_none(part),
                    or_none(parts)
                )));
            }
        };
        if parts > MOST_PARTS {
            return Err(malformed(format!("parts: {parts} of one set are more than {MOST_PARTS}")));
        }
        if parts > 1 && generation.is_none() {
            return Err(malformed("generation: a set in parts needs one".to_owned()));
        }
        if part == 1 {
            self.partial = Some(Partial {
                generation,
                parts,
                next: 1,
                entries: Vec::new(),
                items: Some(Vec::new()),
                known: None,
                recognised: 0,
            });
            (self.spoiled, self.asked) = (None, false);
        }
        let fits = |set: &Partial| (set.generation, set.parts, set.next) == (generation, parts, part);
        let Some(mut set) = self.partial.take().filter(fits) else {
            return Err(self.part_missing(part, parts, generation));
        };
        let fits = set.add(configs, texts);
        if set.entries.len() + set.recognised > self.max_checks {
            self.spoiled = generation;
            return Err(malformed(format!("configs: more than {} checks in a set", self.max_checks)));
        }
        if !fits {
            self.spoiled = generation;
            return Err(self.ask_again(generation));
        }
        if part < parts {
            set.next += 1;
            self.partial = Some(set);
            return Err(Assembled::Nothing);
        }
        Ok(set)
    }

    /// The set as what differs from the one in effect, if parts of it were recognised.
    fn whole(&mut self, set: Partial) -> (Assembled, Option<Ticket>) {
        let Partial { generation, entries, items, known, recognised, .. } = set;
        let ids: Vec<_> = entries.iter().map(id_of).collect();
        let compared = items.and_then(|items| Remembered::compare(known.as_ref(), &items, &ids));
        let (removed, remembered) = match compared {
            Some(Compared { remembered, removed }) => (removed, Some(remembered)),
            None if known.is_some() => return (self.ask_again(generation), None),
            None => (Vec::new(), None),
        };
        let Some(ticket) = self.memory.full(known.as_ref(), remembered) else {
            return (self.ask_again(generation), None);
        };
        self.base = generation;
        let (checks, rejected) = partition(entries);
        self.size = checks.len() + recognised;
        let change = match known {
            None => SetChange::Full { generation, checks },
            Some(_) => SetChange::Renewal { generation, upsert: checks, remove: removed },
        };
        (Assembled::Set(change, rejected), Some(ticket))
    }

    /// What was recognised is in effect no more: another connection has changed it meanwhile.
    fn ask_again(&mut self, generation: Option<u64>) -> Assembled {
        self.memory.forget();
        self.asked = true;
        let set = generation.unwrap_or_default();
        Assembled::Ask(format!("set {set} was compared with one that is in effect no more"))
    }

    /// A change against the latest whole set.
    pub fn delta(&mut self, update: UpdateDelta) -> Assembled {
        self.change(update).0
    }

    /// The same, with what is to be told when it is in effect.
    pub(crate) fn change(&mut self, update: UpdateDelta) -> (Assembled, Option<Ticket>) {
        let UpdateDelta { generation, base, upsert, remove } = update;
        if let Err(assembled) = self.build_upon(base, generation, upsert.len()) {
            return (assembled, None);
        }
        let named = upsert.iter().filter_map(id_of).collect();
        let ticket = self.memory.delta(named, remove.clone());
        let (upsert, rejected) = partition(upsert);
        let change = SetChange::Delta { generation: Some(generation), upsert, remove };
        (Assembled::Set(change, rejected), Some(ticket))
    }

    /// Says whether a delta to set `generation` can be taken.
    fn build_upon(&mut self, base: u64, generation: u64, upsert: usize) -> Result<(), Assembled> {
        if self.base != Some(base) {
            if std::mem::replace(&mut self.asked, true) {
                return Err(Assembled::Nothing);
            }
            return Err(Assembled::Ask(format!(
                "set {base}, which the delta to set {generation} builds upon, is not in effect"
            )));
        }
        // As if every check were new: a whole set says how many there are indeed.
        if self.size + upsert > self.max_checks {
            self.base = None;
            self.asked = true;
            return Err(Assembled::Ask(format!(
                "set {base} may have grown above {} checks by deltas",
                self.max_checks
            )));
        }
        self.size += upsert;
        self.base = Some(generation);
        Ok(())
    }

    /// Asked for once, not for each of the parts that follow.
    fn part_missing(&mut self, part: u32, parts: u32, generation: Option<u64>) -> Assembled {
        if std::mem::replace(&mut self.spoiled, generation) == generation {
            return Assembled::Nothing;
        }
        self.asked = true;
        let set = generation.unwrap_or_default();
        Assembled::Ask(format!("part {part} of {parts} of set {set} came without the parts before it"))
    }
}

fn malformed(message: String) -> Assembled {
    Assembled::Refuse(ErrorMessage { code: ErrorCode::Malformed, message })
}

/// The id of a check, valid or not.
fn id_of(entry: &CheckEntry) -> Option<CheckId> {
    match entry {
        Ok(line) => Some(line.id),
        Err(rejection) => rejection.id,
    }
}

/// The valid checks, and the others.
fn partition(entries: Vec<CheckEntry>) -> (Vec<(CheckId, Arc<CheckSpec>)>, Vec<Rejection>) {
    let mut checks = Vec::with_capacity(entries.len());
    let mut rejected = Vec::new();
    for entry in entries {
        match entry {
            Ok(line) => checks.push((line.id, line.spec)),
            Err(rejection) => rejected.push(rejection),
        }
    }
    (checks, rejected)
}

#[cfg(test)]
mod tests;
