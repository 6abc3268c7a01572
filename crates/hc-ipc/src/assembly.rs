//! Sets of checks out of the messages that carry them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use hc_types::{CheckId, CheckSpec, Rejection, SetChange, cut};
use hc_wire::{CheckEntry, ErrorCode, ErrorMessage, UpdateConfigs, UpdateDelta};

/// What is kept of a reason for a rejection: it may quote a field of any length.
const LONGEST_REASON: usize = 1024;

/// The most parts of a set, each of at most [`MAX_LINE`](hc_wire::MAX_LINE) bytes: a bound on what a peer can have kept for it. 128 are what
/// hc-proxy has queued at most.
const MOST_PARTS: u32 = 1024;

/// What a message led to.
#[derive(Debug)]
pub enum Assembled {
    /// Nothing yet, or nothing new.
    Nothing,
    /// A change of the set, and the checks in it that do not run.
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
    /// How many checks there can be in the set in effect: those of the last full one, and all that deltas brought since.
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

    /// A full set or a part of one. Parts come in their order; part 1 discards a set that is not whole yet.
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
        let (checks, rejected) = sort_out(set.entries);
        self.size = checks.len();
        Assembled::Set(SetChange::Full { generation, checks }, rejected)
    }

    /// A change against the latest whole set.
    pub fn delta(&mut self, update: UpdateDelta) -> Assembled {
        let UpdateDelta { generation, base, upsert, mut remove } = update;
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
        let (upsert, rejected) = sort_out(upsert);
        // A rejected check is no part of the set, so it stops if it ran.
        remove.extend(rejected.iter().filter_map(|rejection| rejection.id));
        let upserted: std::collections::HashSet<CheckId> = upsert.iter().map(|(id, _)| *id).collect();
        remove.retain(|id| !upserted.contains(id));
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

/// Parts the checks that run from those that do not. Of an id that comes twice no copy runs, unless all are equal.
fn sort_out(entries: Vec<CheckEntry>) -> (Vec<(CheckId, Arc<CheckSpec>)>, Vec<Rejection>) {
    let mut checks: Vec<Option<(CheckId, Arc<CheckSpec>)>> = Vec::with_capacity(entries.len());
    let mut rejected = Vec::new();
    // Where the good copy of an id stands; `None` when the id has been rejected.
    let mut seen: HashMap<CheckId, Option<usize>> = HashMap::with_capacity(entries.len());
    for entry in entries {
        let id = match &entry {
            Ok(line) => Some(line.id),
            Err(rejection) => rejection.id,
        };
        let mut reject = |mut reason: String| {
            cut(&mut reason, LONGEST_REASON);
            rejected.push(Rejection { id, reason });
        };
        let Some(id) = id else {
            if let Err(rejection) = entry {
                reject(rejection.reason);
            }
            continue;
        };
        match (seen.entry(id), entry) {
            (Entry::Vacant(place), Ok(line)) => {
                place.insert(Some(checks.len()));
                checks.push(Some((id, line.spec)));
            }
            (Entry::Vacant(place), Err(rejection)) => {
                place.insert(None);
                reject(rejection.reason);
            }
            (Entry::Occupied(mut place), entry) => {
                let Some(first) = *place.get() else { continue };
                let reason = match entry {
                    Ok(line) if checks[first].as_ref().is_some_and(|(_, spec)| *spec == line.spec) => {
                        continue;
                    }
                    Ok(_) => "id: comes more than once, with different contents".to_owned(),
                    Err(rejection) => rejection.reason,
                };
                place.insert(None);
                checks[first] = None;
                reject(reason);
            }
        }
    }
    (checks.into_iter().flatten().collect(), rejected)
}

#[cfg(test)]
mod tests;
