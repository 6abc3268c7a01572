//! Virtual time: nanoseconds since the simulation began, and the queue of what happens when.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

/// An instant, or a length of time, in nanoseconds.
pub(crate) type Nanos = u64;

pub(crate) const MILLISECOND: Nanos = 1_000_000;
pub(crate) const SECOND: Nanos = 1_000_000_000;

/// A duration as [`Nanos`]; none here is near the 584 years that fit.
pub(crate) fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX)
}

#[derive(Debug)]
struct Entry<E> {
    at: Nanos,
    /// Events of one instant happen in the order in which they were put in.
    number: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// What is going to happen, the next first.
#[derive(Debug)]
pub(crate) struct Agenda<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    numbers: u64,
}

impl<E> Agenda<E> {
    pub(crate) fn new() -> Self {
        Self { heap: BinaryHeap::new(), numbers: 0 }
    }

    pub(crate) fn put(&mut self, at: Nanos, event: E) {
        self.numbers += 1;
        self.heap.push(Reverse(Entry { at, number: self.numbers, event }));
    }

    pub(crate) fn next(&self) -> Option<Nanos> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    /// The next event, and its number for [`postpone`](Self::postpone).
    pub(crate) fn take(&mut self) -> Option<(u64, E)> {
        self.heap.pop().map(|Reverse(entry)| (entry.number, entry.event))
    }

    /// Puts an event back for later. It keeps its number: what waits for one and the same process
    /// happens in the order in which it came, however often it was put off. Lines of one stream
    /// cannot overtake each other.
    pub(crate) fn postpone(&mut self, at: Nanos, number: u64, event: E) {
        self.heap.push(Reverse(Entry { at, number, event }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first is put off to the end of one stall, the second, which comes later, to the end of a
    /// longer one, and then the first again.
    #[test]
    fn what_is_put_off_twice_is_not_overtaken() {
        let mut agenda = Agenda::new();
        agenda.put(1, "first");
        agenda.put(2, "second");
        let (number, first) = agenda.take().unwrap();
        agenda.postpone(5, number, first);
        let (number, second) = agenda.take().unwrap();
        agenda.postpone(9, number, second);
        let (number, first) = agenda.take().unwrap();
        agenda.postpone(9, number, first);
        let order: Vec<_> = std::iter::from_fn(|| agenda.take()).map(|(_, event)| event).collect();
        assert_eq!(order, ["first", "second"]);
    }
}
