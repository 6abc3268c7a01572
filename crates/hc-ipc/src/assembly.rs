//! Sets of checks out of the messages that carry them.

use std::sync::Arc;

use hc_types::{CheckId, CheckSpec, Rejection, SetChange};
use hc_wire::{CheckEntry, ErrorCode, ErrorMessage, UpdateConfigs, UpdateDelta};

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
}

#[derive(Debug)]
struct Partial {
    generation: Option<u64>,
    parts: u32,
    /// The part that comes next.
    next: u32,
    entries: Vec<CheckEntry>,
}

impl Assembly {
    /// No set yet. A set of more than `max_checks` checks is refused.
    #[must_use]
    pub fn new(max_checks: usize) -> Self {
        Self { max_checks, base: None, size: 0, partial: None, spoiled: None, asked: false }
    }

    /// A full set or a part of one. Parts come in their order; part 1 discards a set that is not
    /// whole yet.
    pub fn configs(&mut self, update: UpdateConfigs) -> Assembled {
        let UpdateConfigs { configs, generation, part, parts } = update;
        let (part, parts) = match (part, parts) {
            (None, None) => (1, 1),
            (Some(part), Some(parts)) if (1..=parts).contains(&part) => (part, parts),
            (part, parts) => {
                let or_none = |n: Option<u32>| n.map_or("none".to_owned(), |n| n.to_string());
                return malformed(format!("part: {} of {} makes no sense", or_none(part), or_none(parts)));
            }
        };
        if parts > MOST_PARTS {
            return malformed(format!("parts: {parts} of one set are more than {MOST_PARTS}"));
        }
        if parts > 1 && generation.is_none() {
            return malformed("generation: a set in parts needs one".to_owned());
        }
        if part == 1 {
            self.partial = Some(Partial { generation, parts, next: 1, entries: Vec::new() });
            (self.spoiled, self.asked) = (None, false);
        }
        let fits = |set: &Partial| (set.generation, set.parts, set.next) == (generation, parts, part);
        let Some(mut set) = self.partial.take().filter(fits) else {
            return self.part_missing(part, parts, generation);
        };
        if set.entries.len() + configs.len() > self.max_checks {
            self.spoiled = generation;
            return malformed(format!("configs: more than {} checks in a set", self.max_checks));
        }
        if set.entries.is_empty() {
            set.entries = configs;
        } else {
            set.entries.extend(configs);
        }
        if part < parts {
            set.next += 1;
            self.partial = Some(set);
            return Assembled::Nothing;
        }
        self.base = generation;
        let (checks, rejected) = partition(set.entries);
        self.size = checks.len();
        Assembled::Set(SetChange::Full { generation, checks }, rejected)
    }

    /// A change against the latest whole set.
    pub fn delta(&mut self, update: UpdateDelta) -> Assembled {
        let UpdateDelta { generation, base, upsert, remove } = update;
        if self.base != Some(base) {
            if std::mem::replace(&mut self.asked, true) {
                return Assembled::Nothing;
            }
            return Assembled::Ask(format!(
                "set {base}, which the delta to set {generation} builds upon, is not in effect"
            ));
        }
        // As if every check were new: a whole set says how many there are indeed.
        if self.size + upsert.len() > self.max_checks {
            self.base = None;
            self.asked = true;
            return Assembled::Ask(format!(
                "set {base} may have grown above {} checks by deltas",
                self.max_checks
            ));
        }
        self.size += upsert.len();
        self.base = Some(generation);
        let (upsert, rejected) = partition(upsert);
        Assembled::Set(SetChange::Delta { generation: Some(generation), upsert, remove }, rejected)
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
