//! Checks that change their health again and again: summed up in the log instead of a line for each
//! change.
//!
//! The first [`LINES`] changes of a check within a minute have a line each. Further ones are
//! counted, and told in one line when the minute is over. While that goes on, each minute has one
//! line for the check; after a minute without a change that was only counted, every change has its
//! line again.
//!
//! Example: 100 checks that change twice a second write 100 lines a minute, instead of 12,000.

use std::collections::{HashMap, VecDeque};

use crate::schedule::Nanos;

/// Changes of one check within [`MINUTE`] that have a line each.
const LINES: u32 = 4;

/// How long changes are counted together.
const MINUTE: Nanos = 60_000_000_000;

/// The changes of one check in its current minute.
#[derive(Clone, Copy, Debug)]
struct Changes {
    /// Those with a line of their own.
    lines: u32,
    /// Those without.
    counted: u32,
}

/// The checks of one shard that changed within the last minute, by slot.
#[derive(Debug, Default)]
pub(crate) struct Flaps {
    changes: HashMap<u32, Changes>,
    /// When the minute of each ends, the earliest first. Slots that were given to another check are
    /// in it twice.
    ends: VecDeque<(Nanos, u32)>,
}

impl Flaps {
    /// The check of this slot changed. Says whether the log is to have a line for it.
    pub(crate) fn note(&mut self, slot: u32, now: Nanos) -> bool {
        let ends = &mut self.ends;
        let changes = self.changes.entry(slot).or_insert_with(|| {
            ends.push_back((now.saturating_add(MINUTE), slot));
            Changes { lines: 0, counted: 0 }
        });
        if changes.lines < LINES {
            changes.lines += 1;
            return true;
        }
        changes.counted = changes.counted.saturating_add(1);
        false
    }

    /// A slot whose minute is over, and how many changes were only counted, if any were. To be
    /// called until it gives none.
    pub(crate) fn expire(&mut self, now: Nanos) -> Option<(u32, u32)> {
        while let Some((_, slot)) = self.ends.pop_front_if(|(end, _)| *end <= now) {
            let Some(changes) = self.changes.get_mut(&slot) else { continue };
            let counted = std::mem::take(&mut changes.counted);
            if counted == 0 {
                self.changes.remove(&slot);
                continue;
            }
            // It flaps: from now on one line a minute.
            changes.lines = LINES;
            self.ends.push_back((now.saturating_add(MINUTE), slot));
            return Some((slot, counted));
        }
        None
    }

    /// The check of this slot is no more. Gives how many changes were only counted.
    pub(crate) fn forget(&mut self, slot: u32) -> u32 {
        self.changes.remove(&slot).map_or(0, |changes| changes.counted)
    }

    /// When there is something to sum up, at the earliest.
    pub(crate) fn next(&self) -> Option<Nanos> {
        self.ends.front().map(|(end, _)| *end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    #[test]
    fn a_flapping_check_has_one_line_a_minute() {
        let mut flaps = Flaps::default();
        let (mut lines, mut summed) = (0, Vec::new());
        // Twice a second for three minutes.
        for half in 0..360 {
            let now = half * SECOND / 2;
            summed.extend(std::iter::from_fn(|| flaps.expire(now)));
            lines += u32::from(flaps.note(7, now));
        }
        assert_eq!((lines, summed), (LINES, vec![(7, 120 - LINES), (7, 120)]));
        assert_eq!(flaps.expire(180 * SECOND), Some((7, 120)));
        // A minute of rest, and it is as any other.
        assert_eq!(flaps.expire(240 * SECOND), None);
        assert_eq!(flaps.next(), None);
        assert!(flaps.note(7, 241 * SECOND));
    }

    #[test]
    fn checks_that_change_now_and_then_have_a_line_each_time() {
        let mut flaps = Flaps::default();
        for quarter in 0..100 {
            let now = quarter * 20 * SECOND;
            assert_eq!(flaps.expire(now), None);
            assert!(flaps.note(1, now) && flaps.note(2, now));
        }
        assert!(flaps.changes.len() <= 2 && flaps.ends.len() <= 2);
    }

    #[test]
    fn a_removed_check_leaves_nothing_to_the_next_one_in_its_slot() {
        let mut flaps = Flaps::default();
        for _ in 0..10 {
            flaps.note(3, 0);
        }
        assert_eq!(flaps.forget(3), 10 - LINES);
        assert!((0..LINES).all(|_| flaps.note(3, SECOND)));
        // The minute of the one before ends, and says nothing of this one.
        assert_eq!(flaps.expire(60 * SECOND), None);
        assert_eq!(flaps.forget(3), 0);
    }
}
