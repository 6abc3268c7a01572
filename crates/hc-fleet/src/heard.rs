//! What one other node has written, as it was heard.

use std::collections::BTreeMap;

use hc_types::CheckKey;

use crate::codec::Object;
use crate::opinion::{Place, first_of, place};
use crate::publish::MOST_OBJECTS;
use crate::{Opinion, Slot, Term};

/// Slots in the smallest run of which an object has all opinions.
const RUN: u16 = Slot::COUNT / MOST_OBJECTS;

/// The opinions of a node in one term. Objects may come in any order, more than once, and older
/// ones after newer ones, as they do when the store is read from the beginning.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    term: Term,
    /// Of each run of slots: everything up to this change is in the table.
    covered: Vec<u64>,
    /// Also those with [`Health::Unknown`](hc_types::Health), until an object covers them.
    table: BTreeMap<Place, Opinion>,
}

impl Heard {
    pub(crate) fn new(term: Term) -> Self {
        Self { term, covered: vec![0; usize::from(MOST_OBJECTS)], table: BTreeMap::new() }
    }

    pub(crate) fn term(&self) -> Term {
        self.term
    }

    pub(crate) fn get(&self, place: &Place) -> Option<&Opinion> {
        self.table.get(place)
    }

    /// The checks of which the node has said something.
    pub(crate) fn keys(&self) -> impl Iterator<Item = CheckKey> {
        self.table.keys().map(|(_, key)| *key)
    }

    /// Takes an object of this term. Adds the checks of which something else is known now.
    pub(crate) fn apply(&mut self, object: Object, changed: &mut Vec<CheckKey>) {
        let as_of = object.head.as_of;
        let mut complete: Option<BTreeMap<Place, ()>> = object.head.span.map(|_| BTreeMap::new());
        for (key, opinion) in object.opinions {
            let place = place(key);
            if let Some(complete) = &mut complete {
                complete.insert(place, ());
            }
            let covered = self.covered[run(place.0)];
            let is_old = match object.head.span {
                Some(_) => as_of < covered,
                None => opinion.number <= covered,
            };
            if !is_old && self.table.get(&place).is_none_or(|known| known.number < opinion.number) {
                self.table.insert(place, opinion);
                changed.push(key);
            }
        }
        if let (Some((first, count)), Some(complete)) = (object.head.span, complete) {
            self.complete(first, count, as_of, &complete, changed);
        }
    }

    /// Forgets what a complete object does not have.
    fn complete(
        &mut self,
        first: u16,
        count: u16,
        as_of: u64,
        complete: &BTreeMap<Place, ()>,
        changed: &mut Vec<CheckKey>,
    ) {
        let end = first + count;
        let Some(begin) = first_of(first) else { return };
        let within = self.table.range(begin..).take_while(|((slot, _), _)| slot.number() < end);
        let gone: Vec<Place> = within
            .filter(|(place, known)| {
                known.number <= as_of && self.covered[run(place.0)] <= as_of && !complete.contains_key(place)
            })
            .map(|(place, _)| *place)
            .collect();
        for place in gone {
            self.table.remove(&place);
            changed.push(place.1);
        }
        // Of a run that is covered in part only nothing is known; ours never are.
        for covered in &mut self.covered[usize::from(first.div_ceil(RUN))..usize::from(end / RUN)] {
            *covered = as_of.max(*covered);
        }
    }
}

fn run(slot: Slot) -> usize {
    (slot.number() / RUN).into()
}
