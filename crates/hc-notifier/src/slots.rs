//! The entries of the outbox, and the queues that they stand in.
//!
//! An entry is in at most one queue, so the queues are linked through the entries: moving one costs a few writes and no
//! memory, however many there are.

use std::sync::Arc;

use hc_types::{CheckId, CheckSpec, Incarnation, Status};

/// No entry.
const NONE: u32 = u32::MAX;

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nothing is known of it yet.
    Silent,
    /// In the queue of news, first change first.
    News,
    /// In the queue of what is told once more to a new consumer.
    Again,
    /// In the queue of what was told, longest ago first.
    Told,
    /// In the batch that is under way.
    UnderWay,
}

/// What is known of a check.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) spec: Arc<CheckSpec>,
    pub(crate) status: Status,
}

/// One check. A million of them may exist: about 130 bytes.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) id: CheckId,
    pub(crate) incarnation: Incarnation,
    /// `None` before the first status.
    pub(crate) known: Option<Known>,
    /// In nanoseconds since the outbox began: when it became news or was put under way, when it was told.
    pub(crate) since: u64,
    previous: u32,
    next: u32,
    pub(crate) place: Place,
}

/// A queue of entries that all have the same [`Place`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queue {
    place: Place,
    head: u32,
    tail: u32,
    len: usize,
}

impl Queue {
    pub(crate) const fn new(place: Place) -> Self {
        Self { place, head: NONE, tail: NONE, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

/// All entries. Places of removed ones are used again.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Slots {
    /// Adds an entry of which nothing is known.
    ///
    /// # Panics
    /// At 2^32 − 1 entries, which need more than half a terabyte.
    pub(crate) fn insert(&mut self, id: CheckId, incarnation: Incarnation) -> u32 {
        let slot =
            Slot { id, incarnation, known: None, since: 0, previous: NONE, next: NONE, place: Place::Silent };
        if let Some(at) = self.free.pop() {
            self.slots[at as usize] = slot;
            return at;
        }
        let at = u32::try_from(self.slots.len()).ok().filter(|at| *at != NONE).expect("2^32 - 1 checks");
        self.slots.push(slot);
        at
    }

    /// Gives the place of an entry free, which must be in no queue, and its memory.
    pub(crate) fn remove(&mut self, at: u32) {
        self.slots[at as usize].known = None;
        self.free.push(at);
        if self.free.len() == self.slots.len() {
            *self = Self::default();
        }
    }

    pub(crate) fn get(&self, at: u32) -> &Slot {
        &self.slots[at as usize]
    }

    pub(crate) fn get_mut(&mut self, at: u32) -> &mut Slot {
        &mut self.slots[at as usize]
    }

    /// The first entry of a queue.
    pub(crate) fn first(&self, queue: &Queue) -> Option<&Slot> {
        (queue.head != NONE).then(|| self.get(queue.head))
    }

    /// Puts an entry that is in no queue at the end of one.
    pub(crate) fn push_back(&mut self, queue: &mut Queue, at: u32) {
        let tail = queue.tail;
        let slot = self.get_mut(at);
        (slot.previous, slot.next, slot.place) = (tail, NONE, queue.place);
        if tail == NONE {
            queue.head = at;
        } else {
            self.get_mut(tail).next = at;
        }
        queue.tail = at;
        queue.len += 1;
    }

    /// Puts an entry that is in no queue at the front of one.
    pub(crate) fn push_front(&mut self, queue: &mut Queue, at: u32) {
        let head = queue.head;
        let slot = self.get_mut(at);
        (slot.previous, slot.next, slot.place) = (NONE, head, queue.place);
        if head == NONE {
            queue.tail = at;
        } else {
            self.get_mut(head).previous = at;
        }
        queue.head = at;
        queue.len += 1;
    }

    /// Takes an entry out of the queue that it is in, which must be this one. Its place is then the caller's to say.
    pub(crate) fn unlink(&mut self, queue: &mut Queue, at: u32) {
        let Slot { previous, next, place, .. } = *self.get(at);
        debug_assert_eq!(place, queue.place);
        if previous == NONE {
            queue.head = next;
        } else {
            self.get_mut(previous).next = next;
        }
        if next == NONE {
            queue.tail = previous;
        } else {
            self.get_mut(next).previous = previous;
        }
        queue.len -= 1;
    }

    /// Takes the first entry out of a queue and puts it under way.
    pub(crate) fn pop(&mut self, queue: &mut Queue) -> Option<u32> {
        if queue.head == NONE {
            return None;
        }
        let at = queue.head;
        self.unlink(queue, at);
        self.get_mut(at).place = Place::UnderWay;
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Slot>() <= 136, "{}", size_of::<Slot>());
    }

    #[test]
    fn queues_keep_their_order() {
        let mut slots = Slots::default();
        let mut news = Queue::new(Place::News);
        let at: Vec<u32> = (0..4).map(|id| slots.insert(CheckId(id), Incarnation(0))).collect();
        slots.push_back(&mut news, at[1]);
        slots.push_back(&mut news, at[2]);
        slots.push_front(&mut news, at[0]);
        slots.push_back(&mut news, at[3]);
        slots.unlink(&mut news, at[2]);
        let order: Vec<u64> =
            std::iter::from_fn(|| slots.pop(&mut news).map(|at| slots.get(at).id.0)).collect();
        assert_eq!((order, news.len()), (vec![0, 1, 3], 0));
        assert!(slots.first(&news).is_none());
    }

    #[test]
    fn an_empty_table_gives_its_memory_back() {
        let mut slots = Slots::default();
        let first = slots.insert(CheckId(1), Incarnation(0));
        let second = slots.insert(CheckId(2), Incarnation(0));
        slots.remove(first);
        assert_eq!(slots.insert(CheckId(3), Incarnation(0)), first);
        slots.remove(first);
        slots.remove(second);
        assert_eq!(slots.slots.capacity(), 0);
    }
}
