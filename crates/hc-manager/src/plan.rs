//! From a change of the set of checks to what each shard has to do about it.

mod checks;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use hc_types::{CheckId, CheckKey, CheckSpec, Incarnation, Remembered, SetChange};

use self::checks::{Checks, Entry, Slots};
use crate::check_state::CheckState;
use crate::phases::{Intervals, Phase, Phases, neighbourhood};
use crate::schedule::{Nanos, first_probe, nanos};

/// What a change of the set came to. Every id of the set, and every one that left it, is counted
/// once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// Checks that are new.
    pub added: usize,
    /// Checks that ran under another id before and keep their health.
    pub moved: usize,
    /// Ids that stand for another target or probe now, and start again.
    pub changed: usize,
    /// Checks with another timing, such as another interval or number of retries; they keep their
    /// health.
    pub retimed: usize,
    /// Ids that are no more, and whose check does not run on under another one.
    pub removed: usize,
    /// Checks that run on as they are. Of a delta or a renewal, only those that it names.
    pub unchanged: usize,
}

/// One thing for a shard to do. Slots are places in its table, given out by the [`Registry`].
#[derive(Debug)]
pub(crate) enum Order {
    /// Start a check; its first probe is due `after` from now, and the start delay later if nothing
    /// is known of it. The others are on the grids of its phase. `known` is what an earlier process
    /// left.
    Add { slot: u32, check: Check, phase: Phase, after: Nanos, known: Option<Box<CheckState>> },
    /// Let the check of this slot go on as `check`, which has the same key. A probe is due `after`
    /// from now.
    Move { slot: u32, check: Check, phase: Phase, after: Nanos },
    /// Other timing or other addresses for the check of this slot. If it is overdue by that, a
    /// probe is due `after` from now.
    Retime { slot: u32, spec: Arc<CheckSpec>, phase: Phase, after: Nanos },
    /// Stop the check of this slot.
    Remove { slot: u32 },
}

/// A check under its present name.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    pub(crate) id: CheckId,
    pub(crate) incarnation: Incarnation,
    pub(crate) spec: Arc<CheckSpec>,
}

/// What follows from a change, in the order in which it is to be done.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Lives that ended.
    pub(crate) forget: Vec<(CheckId, Incarnation)>,
    /// Lives that began.
    pub(crate) begin: Vec<(CheckId, Incarnation, Arc<CheckSpec>)>,
    /// The orders of each shard. Slots are vacated before they are given out again.
    pub(crate) orders: Vec<Vec<Order>>,
    pub(crate) applied: Applied,
}

/// What an earlier process left, until it is too old.
#[derive(Debug)]
struct Inherited {
    by_key: HashMap<CheckKey, Remembered>,
    until: Nanos,
    /// Derives the key of an older version; `None` while no entry has one.
    older_key: Option<OlderKey>,
}

/// How a process of an older version derived the key of a check. `None` for a check that it could
/// not have.
pub(crate) type OlderKey = fn(&CheckSpec) -> Option<CheckKey>;

/// The desired set, and where each of its checks runs.
#[derive(Debug)]
pub(crate) struct Registry {
    checks: Checks,
    slots: Vec<Slots>,
    phases: Phases,
    next_incarnation: u64,
    first_probes_per_second: NonZeroUsize,
    inherited: Inherited,
}

struct Leaving {
    entry: Entry,
    key: CheckKey,
    /// The id stands for something else now.
    replaced: bool,
    /// The check runs on under another id.
    taken: bool,
}

impl Leaving {
    fn new(entry: Entry, replaced: bool) -> Self {
        // Computed again: kept in each entry it would cost every check 32 bytes, and this happens
        // once in the life of one.
        Self { key: entry.spec.key(), entry, replaced, taken: false }
    }
}

struct Arriving {
    check: Check,
    key: CheckKey,
    after: Nanos,
    /// The id stood for something else until now.
    changed: bool,
}

struct Retimed {
    id: CheckId,
    key: CheckKey,
    spec: Arc<CheckSpec>,
    before: Arc<CheckSpec>,
    after: Nanos,
}

impl Retimed {
    /// Whether the intervals are those that they were.
    fn is_paced(&self) -> bool {
        Intervals::of(&self.spec) == Intervals::of(&self.before)
    }

    /// Whether a probe may become due by it.
    fn may_be_due(&self) -> bool {
        !self.is_paced() || self.spec.start_delay() != self.before.start_delay()
    }
}

/// A check that runs on under another id: who comes, and which of those that leave it takes over.
struct Moving {
    new: Arriving,
    old: usize,
}

impl Registry {
    pub(crate) fn new(shards: usize, first_probes_per_second: NonZeroUsize) -> Self {
        Self {
            checks: Checks::default(),
            slots: Slots::of(shards),
            phases: Phases::default(),
            next_incarnation: 0,
            first_probes_per_second,
            inherited: Inherited { by_key: HashMap::new(), until: 0, older_key: None },
        }
    }

    /// Takes what an earlier process remembered; it counts up to `until`. Of several with one key
    /// the last one does. `older_key` finds what a process of an older version remembered.
    pub(crate) fn inherit(&mut self, remembered: Vec<Remembered>, until: Nanos, older_key: OlderKey) {
        let is_older = |known: &Remembered| known.key.version() != CheckKey::VERSION;
        let older_key = remembered.iter().any(is_older).then_some(older_key);
        let by_key = remembered.into_iter().map(|known| (known.key, known)).collect();
        self.inherited = Inherited { by_key, until, older_key };
    }

    /// What an earlier process remembered, unless it is too old by now.
    pub(crate) fn inherited(&mut self, now: Nanos) -> impl Iterator<Item = &Remembered> {
        self.expire(now);
        self.inherited.by_key.values()
    }

    /// Applies a change. Of several checks with one id the last one counts.
    pub(crate) fn change(&mut self, change: SetChange, now: Nanos) -> Plan {
        let (wanted, removed, full) = match change {
            SetChange::Full { checks, .. } => (checks, Vec::new(), true),
            SetChange::Delta { upsert, remove, .. } | SetChange::Renewal { upsert, remove, .. } => {
                (upsert, remove, false)
            }
        };
        let last: HashMap<CheckId, usize> =
            wanted.iter().enumerate().map(|(index, (id, _))| (*id, index)).collect();
        let mut gone: Vec<CheckId> = if full {
            self.checks.ids().filter(|id| !last.contains_key(id)).collect()
        } else {
            removed.into_iter().filter(|id| !last.contains_key(id)).collect()
        };
        // Which of several equal checks is matched below must not depend on the order of a hash
        // map.
        gone.sort_unstable();

        let mut applied = Applied::default();
        let mut forget = Vec::with_capacity(gone.len());
        let mut leaving = Vec::with_capacity(gone.len());
        for id in gone {
            if let Some(entry) = self.checks.remove(id) {
                forget.push((id, entry.incarnation()));
                leaving.push(Leaving::new(entry, false));
            }
        }

        let mut arriving = Vec::new();
        let mut retimed = Vec::new();
        for (index, (id, spec)) in wanted.into_iter().enumerate() {
            if last.get(&id) != Some(&index) {
                continue;
            }
            let changed = match self.checks.get_mut(id) {
                Some(known) if known.spec == spec => {
                    applied.unchanged += 1;
                    continue;
                }
                Some(known) if known.spec.same_key(&spec) => {
                    let before = std::mem::replace(&mut known.spec, Arc::clone(&spec));
                    retimed.push(Retimed { id, key: spec.key(), spec, before, after: 0 });
                    continue;
                }
                Some(_) => {
                    leaving.extend(self.checks.remove(id).map(|entry| Leaving::new(entry, true)));
                    true
                }
                None => false,
            };
            self.next_incarnation += 1;
            let key = spec.key();
            let check = Check { id, incarnation: Incarnation(self.next_incarnation), spec };
            arriving.push(Arriving { check, key, after: 0, changed });
        }
        applied.retimed = retimed.len();
        self.spread(&mut arriving, &mut retimed);

        let begin = arriving.iter().map(|new| {
            let Check { id, incarnation, ref spec } = new.check;
            (id, incarnation, Arc::clone(spec))
        });
        let begin = begin.collect();
        // Neighbours get phases beside each other.
        arriving.sort_by_cached_key(|new| neighbourhood(&new.check.spec, new.key));
        retimed.sort_by_cached_key(|old| neighbourhood(&old.spec, old.key));
        let mut orders: Vec<Vec<Order>> = self.slots.iter().map(|_| Vec::new()).collect();
        let (moving, fresh) = match_moves(arriving, &mut leaving);
        applied.moved = moving.len();
        // Slots and phases are vacated before they are given out again.
        for Leaving { entry, replaced, taken, .. } in &leaving {
            if !taken {
                applied.removed += usize::from(!replaced);
                orders[entry.shard()].push(Order::Remove { slot: entry.slot });
                self.slots[entry.shard()].give_back(entry.slot);
                self.phases.release(entry.intervals(), entry.number);
            }
        }
        for old in retimed {
            self.retime(old, &mut orders);
        }
        for Moving { new, old } in moving {
            self.rename(new, &leaving[old].entry, &mut orders);
        }
        for new in fresh {
            if new.changed {
                applied.changed += 1;
            } else {
                applied.added += 1;
            }
            self.add(new, now, &mut orders);
        }
        Plan { forget, begin, orders, applied }
    }

    fn retime(&mut self, old: Retimed, orders: &mut [Vec<Order>]) {
        let Some(entry) = self.checks.get_mut(old.id) else { return };
        if !old.is_paced() {
            self.phases.release(Intervals::of(&old.before), entry.number);
            entry.number = self.phases.take(entry.intervals());
        }
        let Retimed { spec, after, .. } = old;
        orders[entry.shard()].push(Order::Retime { slot: entry.slot, spec, phase: entry.phase(), after });
    }

    /// Lets the check of `old` go on under the id that it has now.
    fn rename(&mut self, new: Arriving, old: &Entry, orders: &mut [Vec<Order>]) {
        let Arriving { check, after, .. } = new;
        let mut number = old.number;
        let intervals = Intervals::of(&check.spec);
        if intervals != old.intervals() {
            self.phases.release(old.intervals(), number);
            number = self.phases.take(intervals);
        }
        let entry = Entry::new(&check, old.place(), number);
        let (shard, slot, phase) = (entry.shard(), entry.slot, entry.phase());
        self.checks.insert(entry);
        orders[shard].push(Order::Move { slot, check, phase, after });
    }

    fn add(&mut self, new: Arriving, now: Nanos, orders: &mut [Vec<Order>]) {
        let Arriving { check, key, after, .. } = new;
        let known = self.inherited_by(&check.spec, key, now);
        let shard = shard_of(key, self.slots.len());
        let place = self.slots[shard].take();
        let number = self.phases.take(Intervals::of(&check.spec));
        let entry = Entry::new(&check, place, number);
        let (slot, phase) = (entry.slot, entry.phase());
        self.checks.insert(entry);
        orders[shard].push(Order::Add { slot, check, phase, after, known });
    }

    /// The slots, by shard, of those of these checks that are in the set, each with what is said of
    /// it.
    pub(crate) fn places<T>(&self, checks: impl IntoIterator<Item = (CheckId, T)>) -> Vec<Vec<(u32, T)>> {
        let mut places: Vec<_> = (0..self.slots.len()).map(|_| Vec::new()).collect();
        for (id, word) in checks {
            if let Some(entry) = self.checks.get(id) {
                places[entry.shard()].push((entry.slot, word));
            }
        }
        places
    }

    /// Spreads the probes that this change makes due, in the order of their keys.
    fn spread(&self, arriving: &mut [Arriving], retimed: &mut [Retimed]) {
        let arriving = arriving.iter_mut().map(|new| (new.key, new.check.spec.interval(), &mut new.after));
        let retimed = retimed.iter_mut().filter(|old| old.may_be_due());
        let retimed = retimed.map(|old| (old.key, old.spec.interval(), &mut old.after));
        let mut probes: Vec<_> = arriving.chain(retimed).collect();
        probes.sort_by_key(|(key, ..)| *key);
        let total = probes.len();
        for (rank, (_, interval, after)) in probes.into_iter().enumerate() {
            *after = first_probe(rank, total, self.first_probes_per_second, nanos(interval));
        }
    }

    /// What an earlier process knew of this check. It stays: several checks may have the key.
    fn inherited_by(&mut self, spec: &CheckSpec, key: CheckKey, now: Nanos) -> Option<Box<CheckState>> {
        self.expire(now);
        let Inherited { by_key, older_key, .. } = &self.inherited;
        let older = || by_key.get(&older_key.as_ref()?(spec)?);
        let remembered = by_key.get(&key).or_else(older)?;
        Some(Box::new(CheckState::from(*remembered)))
    }

    fn expire(&mut self, now: Nanos) {
        if now > self.inherited.until {
            self.inherited.by_key = HashMap::new();
            self.inherited.older_key = None;
        }
    }
}

/// The shard that runs the checks of this key. The order of the first probes is that of the keys'
/// first bytes, which say nothing of their last ones: so at any moment of a start each shard has
/// its share of the probes.
fn shard_of(key: CheckKey, shards: usize) -> usize {
    // Below `shards`, so it fits.
    usize::try_from(key.low_bits() % (shards as u64).max(1)).unwrap_or_default()
}

/// Finds out which of those that arrive are checks that leave under another id, and which are new.
fn match_moves(arriving: Vec<Arriving>, leaving: &mut [Leaving]) -> (Vec<Moving>, Vec<Arriving>) {
    let mut vacated: HashMap<CheckKey, Vec<usize>> = HashMap::new();
    if !arriving.is_empty() {
        for (index, old) in leaving.iter().enumerate().rev() {
            vacated.entry(old.key).or_default().push(index);
        }
    }
    let (mut moving, mut fresh) = (Vec::new(), Vec::new());
    for new in arriving {
        match vacated.get_mut(&new.key).and_then(Vec::pop) {
            Some(old) => {
                leaving[old].taken = true;
                moving.push(Moving { new, old });
            }
            None => fresh.push(new),
        }
    }
    (moving, fresh)
}

#[cfg(test)]
mod tests;
