//! Health of checks that were removed a moment ago, in case they return.
//!
//! A restarting engine hands over an empty or a partial set first. Whatever returns within the time
//! given here goes on where it was.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use hc_types::{CheckKey, CheckSpec};

use crate::check_state::CheckState;
use crate::schedule::Nanos;

/// Checks that are remembered however small the set is.
const LEAST: usize = 64;

#[derive(Clone, Debug)]
pub(crate) struct Tombstone {
    pub(crate) spec: Arc<CheckSpec>,
    pub(crate) known: CheckState,
    /// When the check was removed.
    pub(crate) since: Nanos,
}

/// Removed checks of one shard, the oldest first.
#[derive(Debug)]
pub(crate) struct RecentlyRemoved {
    keep: Nanos,
    limit: usize,
    /// Holes are entries that a later removal of the same check replaced.
    entries: VecDeque<Option<(CheckKey, Tombstone)>>,
    /// How many entries have left at the front: the number of the first one that is there.
    first: u64,
    numbers: HashMap<CheckKey, u64>,
}

impl RecentlyRemoved {
    /// Remembers each for `keep`.
    pub(crate) fn new(keep: Nanos) -> Self {
        Self { keep, limit: LEAST, entries: VecDeque::new(), first: 0, numbers: HashMap::new() }
    }

    /// The set has `checks` checks now. Twice the largest set is remembered at most, holes
    /// included.
    pub(crate) fn make_room(&mut self, checks: usize) {
        self.limit = self.limit.max(2 * checks);
    }

    /// A check was removed at `now`. Instants do not go backwards.
    pub(crate) fn remember(&mut self, spec: Arc<CheckSpec>, known: CheckState, now: Nanos) {
        if self.keep == 0 || !known.has_verdict() {
            return;
        }
        let key = spec.key();
        if let Some(entry) = self.numbers.get(&key).and_then(|number| self.position(*number)) {
            self.entries[entry] = None;
        }
        self.numbers.insert(key, self.first + self.entries.len() as u64);
        self.entries.push_back(Some((key, Tombstone { spec, known, since: now })));
        if self.entries.len() > self.limit {
            self.drop_oldest();
        }
    }

    /// What is remembered of what this check checks. It stays until its time is over: several
    /// checks may have the key.
    pub(crate) fn recall(&mut self, spec: &CheckSpec, now: Nanos) -> Option<&Tombstone> {
        self.expire(now);
        if self.numbers.is_empty() {
            return None;
        }
        let number = *self.numbers.get(&spec.key())?;
        self.entries.get(self.position(number)?)?.as_ref().map(|(_, kept)| kept)
    }

    /// Forgets what is too old.
    pub(crate) fn expire(&mut self, now: Nanos) {
        while let Some(entry) = self.entries.front() {
            if entry.as_ref().is_some_and(|(_, kept)| now.saturating_sub(kept.since) <= self.keep) {
                break;
            }
            self.drop_oldest();
        }
    }

    /// Entries from number `from` on, `most` of them at most, and the number to go on from unless
    /// that was all.
    pub(crate) fn page(&self, from: u64, most: usize) -> (Vec<Tombstone>, Option<u64>) {
        let from = from.max(self.first);
        let begin = self.position(from).unwrap_or(self.entries.len());
        let rows = self.entries.range(begin..).take(most);
        let rows = rows.filter_map(|entry| entry.as_ref().map(|(_, kept)| kept.clone())).collect();
        let next = begin.saturating_add(most);
        (rows, (next < self.entries.len()).then(|| self.first + next as u64))
    }

    fn drop_oldest(&mut self) {
        if let Some(Some((key, _))) = self.entries.pop_front() {
            self.numbers.remove(&key);
        }
        self.first += 1;
    }

    fn position(&self, number: u64) -> Option<usize> {
        let position = usize::try_from(number.checked_sub(self.first)?).ok()?;
        (position < self.entries.len()).then_some(position)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use hc_types::{Health, Outcome, ProbeSpec, Target, TcpProbe, Timing};

    use super::*;

    fn spec(port: u16) -> Arc<CheckSpec> {
        let target = Target::plain("192.0.2.1".parse().unwrap(), port);
        let probe = ProbeSpec::Tcp(TcpProbe::default());
        let second = Duration::from_secs(1);
        Arc::new(CheckSpec::new(target, probe, Timing::every(second).timeout(second)).unwrap())
    }

    fn known(successes: u64) -> CheckState {
        let mut known = CheckState::NEW;
        for _ in 0..successes {
            known.machine.observe(&Outcome::PASS, 0, 1);
        }
        known.keep(SystemTime::UNIX_EPOCH, Duration::ZERO, Outcome::PASS, true);
        known
    }

    #[track_caller]
    fn recalled(memory: &mut RecentlyRemoved, port: u16, now: Nanos) -> Option<u64> {
        let kept = memory.recall(&spec(port), now)?;
        assert_eq!(kept.known.machine.health(), Health::Healthy);
        Some(kept.known.machine.successes())
    }

    #[test]
    fn a_check_is_remembered_for_its_time() {
        let mut memory = RecentlyRemoved::new(100);
        memory.remember(spec(1), known(5), 10);
        memory.remember(spec(2), known(6), 20);
        assert_eq!(recalled(&mut memory, 1, 110), Some(5));
        assert_eq!(recalled(&mut memory, 3, 110), None);
        assert_eq!(recalled(&mut memory, 1, 111), None);
        assert_eq!(recalled(&mut memory, 2, 111), Some(6));
        memory.expire(200);
        assert!(memory.entries.is_empty() && memory.numbers.is_empty());
    }

    #[test]
    fn the_later_life_counts() {
        let mut memory = RecentlyRemoved::new(100);
        memory.remember(spec(1), known(5), 10);
        memory.remember(spec(1), known(7), 50);
        assert_eq!(recalled(&mut memory, 1, 120), Some(7));
        assert_eq!(memory.page(0, 10).0.len(), 1);
    }

    #[test]
    fn nothing_known_is_nothing_to_remember() {
        let mut memory = RecentlyRemoved::new(100);
        memory.remember(spec(1), CheckState::NEW, 10);
        assert!(memory.entries.is_empty());
        let mut off = RecentlyRemoved::new(0);
        off.remember(spec(1), known(1), 10);
        assert!(off.entries.is_empty());
    }

    #[test]
    fn the_oldest_give_way_and_pages_hold_the_rest() {
        let mut memory = RecentlyRemoved::new(1000);
        memory.make_room(50);
        for port in 1..=150 {
            memory.remember(spec(port), known(u64::from(port)), 0);
        }
        assert_eq!(recalled(&mut memory, 50, 0), None);
        assert_eq!(recalled(&mut memory, 51, 0), Some(51));
        assert_eq!(memory.numbers.len(), 100);
        let (mut rows, mut from) = (0, Some(0));
        while let Some(next) = from {
            let (page, next) = memory.page(next, 30);
            rows += page.len();
            from = next;
        }
        assert_eq!(rows, 100);
    }
}
