//! The links of the outbox, one for each row of the table, and the queues that they stand in.
//!
//! A check is in at most one queue, so the queues are linked through the links: moving one costs a
//! few writes and no memory, however many there are.

use hc_types::{CheckId, Health, bucket};
use hc_view::Slot;

/// No entry.
const NONE: u32 = u32::MAX;

/// What is to be done about a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// There is no check in this slot.
    Vacant,
    /// Nothing of it is reported yet.
    Unreported,
    /// In the queue of transitions, first change first.
    Pending,
    /// In the queue of what a new consumer gets once more.
    Resend,
    /// In the queue of what was delivered, longest ago first.
    Delivered,
    /// In the queue of what was delivered and has other words since, first change first.
    Words,
    /// In the batch in flight.
    InFlight,
}

/// What a consumer that keeps statuses has of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Nothing.
    No,
    /// What is in the batch in flight, if that arrives.
    Sent,
    /// This health.
    As(Health),
}

/// One check. A million of them may exist.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// In nanoseconds since the outbox began: when it became pending or was put in flight, when it
    /// was delivered.
    pub(crate) since: u64,
    previous: u32,
    next: u32,
    /// Of its id.
    pub(crate) bucket: u16,
    pub(crate) place: Place,
    pub(crate) kept: Kept,
}

impl Link {
    const VACANT: Self =
        Self { since: 0, previous: NONE, next: NONE, bucket: 0, place: Place::Vacant, kept: Kept::No };
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

/// The links of all checks, by slot.
#[derive(Debug, Default)]
pub(crate) struct Links {
    links: Vec<Link>,
    /// Those that are not vacant.
    used: usize,
}

impl Links {
    /// How many checks there are.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// A check begins in a slot whose link is in no queue.
    pub(crate) fn begin(&mut self, Slot(at): Slot, id: CheckId) {
        let index = at as usize;
        if self.links.len() <= index {
            self.links.resize(index + 1, Link::VACANT);
        }
        self.used += usize::from(self.links[index].place == Place::Vacant);
        self.links[index] = Link { place: Place::Unreported, bucket: bucket(id), ..Link::VACANT };
    }

    /// The check of a slot, whose link is in no queue, has ended. Gives the memory back with the
    /// last one.
    pub(crate) fn forget(&mut self, at: u32) {
        self.links[at as usize] = Link::VACANT;
        self.used -= 1;
        if self.used == 0 {
            self.links = Vec::new();
        }
    }

    /// The place of a slot, [`Place::Vacant`] if it never had a check.
    pub(crate) fn place(&self, at: u32) -> Place {
        self.links.get(at as usize).map_or(Place::Vacant, |link| link.place)
    }

    pub(crate) fn get(&self, at: u32) -> &Link {
        &self.links[at as usize]
    }

    pub(crate) fn get_mut(&mut self, at: u32) -> &mut Link {
        &mut self.links[at as usize]
    }

    /// The entries of a queue.
    pub(crate) fn of(&self, queue: &Queue) -> impl Iterator<Item = u32> {
        let next = |at: u32| Some(at).filter(|at| *at != NONE);
        std::iter::successors(next(queue.head), move |at| next(self.get(*at).next))
    }

    /// The consumer keeps nothing.
    pub(crate) fn keep_nothing(&mut self) {
        self.links.iter_mut().for_each(|link| link.kept = Kept::No);
    }

    /// The first entry of a queue.
    pub(crate) fn first(&self, queue: &Queue) -> Option<&Link> {
        (queue.head != NONE).then(|| self.get(queue.head))
    }

    /// Puts an entry that is in no queue at the end of one.
    pub(crate) fn push_back(&mut self, queue: &mut Queue, at: u32) {
        let tail = queue.tail;
        let link = self.get_mut(at);
        (link.previous, link.next, link.place) = (tail, NONE, queue.place);
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
        let link = self.get_mut(at);
        (link.previous, link.next, link.place) = (NONE, head, queue.place);
        if head == NONE {
            queue.tail = at;
        } else {
            self.get_mut(head).previous = at;
        }
        queue.head = at;
        queue.len += 1;
    }

    /// Takes an entry out of the queue that it is in, which must be this one. Its place is then the
    /// caller's to say.
    pub(crate) fn unlink(&mut self, queue: &mut Queue, at: u32) {
        let Link { previous, next, place, .. } = *self.get(at);
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

    /// Takes the first entry out of a queue and puts it in flight.
    pub(crate) fn pop(&mut self, queue: &mut Queue) -> Option<u32> {
        if queue.head == NONE {
            return None;
        }
        let at = queue.head;
        self.unlink(queue, at);
        self.get_mut(at).place = Place::InFlight;
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_small() {
        assert_eq!(size_of::<Link>(), 24);
    }

    #[test]
    fn queues_keep_their_order() {
        let mut links = Links::default();
        let mut pending = Queue::new(Place::Pending);
        (0..4).for_each(|at| links.begin(Slot(at), CheckId(at.into())));
        links.push_back(&mut pending, 1);
        links.push_back(&mut pending, 2);
        links.push_front(&mut pending, 0);
        links.push_back(&mut pending, 3);
        links.unlink(&mut pending, 2);
        let order: Vec<u32> = std::iter::from_fn(|| links.pop(&mut pending)).collect();
        assert_eq!((order, pending.len()), (vec![0, 1, 3], 0));
        assert!(links.first(&pending).is_none());
    }

    #[test]
    fn without_checks_there_is_no_memory() {
        let mut links = Links::default();
        links.begin(Slot(5), CheckId(5));
        links.begin(Slot(1), CheckId(1));
        links.forget(5);
        assert_eq!((links.len(), links.place(5), links.place(1)), (1, Place::Vacant, Place::Unreported));
        links.forget(1);
        assert_eq!(links.links.capacity(), 0);
        assert_eq!(links.place(1), Place::Vacant);
    }
}
