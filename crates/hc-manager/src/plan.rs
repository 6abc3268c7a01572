//! From a change of the set of checks to what each shard has to do about it.

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::num::NonZeroUsize;
use std::sync::Arc;

use hc_types::{CheckId, CheckSpec, Incarnation, Remembered, SetChange, SubjectKey};

use crate::known::Known;
use crate::schedule::{Nanos, first_probe, nanos};
use crate::subject::SubjectHash;

/// What a change of the set came to. Every id of the set, and every one that left it, is counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Checks that are new.
    pub added: usize,
    /// Checks that ran under another id before and keep their health.
    pub moved: usize,
    /// Ids that stand for another target or probe now, and start again.
    pub changed: usize,
    /// Checks with another interval, timeout or number of retries; they keep their health.
    pub retimed: usize,
    /// Ids that are no more, and whose check does not run on under another one.
    pub removed: usize,
    /// Checks that run on as they are. Of a delta, only those that it names.
    pub unchanged: usize,
}

/// One thing for a shard to do. Slots are places in its table, given out by the [`Registry`].
#[derive(Debug)]
pub(crate) enum Order {
    /// Start a check; its first probe is due `after` from now. `known` is what an earlier process left.
    Add { slot: u32, check: Check, after: Nanos, known: Option<Box<Known>> },
    /// Let the check of this slot go on as `check`, which has the same subject. A probe is due `after` from now.
    Move { slot: u32, check: Check, after: Nanos },
    /// Other timing for the check of this slot. If it is overdue by that, a probe is due `after` from now.
    Retime { slot: u32, spec: Arc<CheckSpec>, after: Nanos },
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
    pub(crate) begin: Vec<(CheckId, Incarnation)>,
    /// The orders of each shard. Slots are vacated before they are given out again.
    pub(crate) orders: Vec<Vec<Order>>,
    pub(crate) applied: Applied,
}

#[derive(Debug)]
struct Entry {
    spec: Arc<CheckSpec>,
    incarnation: Incarnation,
    shard: usize,
    slot: u32,
}

/// Places in the table of one shard.
#[derive(Clone, Debug, Default)]
struct Slots {
    free: Vec<u32>,
    used: u32,
}

impl Slots {
    fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.used += 1;
            self.used - 1
        })
    }
}

/// What an earlier process left, until it is too old.
#[derive(Debug, Default)]
struct Inherited {
    by_key: HashMap<SubjectKey, Remembered>,
    until: Nanos,
}

/// The desired set, and where each of its checks runs.
#[derive(Debug)]
pub(crate) struct Registry {
    checks: HashMap<CheckId, Entry>,
    slots: Vec<Slots>,
    lives: u64,
    first_probes_per_second: NonZeroUsize,
    inherited: Inherited,
}

struct Leaving {
    entry: Entry,
    subject: SubjectHash,
    /// The id stands for something else now.
    replaced: bool,
    /// The check runs on under another id.
    taken: bool,
}

impl Leaving {
    fn new(entry: Entry, replaced: bool) -> Self {
        Self { subject: SubjectHash::of(&entry.spec), entry, replaced, taken: false }
    }
}

struct Arriving {
    check: Check,
    subject: SubjectHash,
    after: Nanos,
    /// The id stood for something else until now.
    changed: bool,
}

struct Retimed {
    spec: Arc<CheckSpec>,
    shard: usize,
    slot: u32,
    /// The interval is the one it was, so nothing becomes due.
    paced: bool,
    after: Nanos,
}

impl Registry {
    pub(crate) fn new(shards: usize, first_probes_per_second: NonZeroUsize) -> Self {
        Self {
            checks: HashMap::new(),
            slots: vec![Slots::default(); shards],
            lives: 0,
            first_probes_per_second,
            inherited: Inherited::default(),
        }
    }

    /// Takes what an earlier process remembered; it counts up to `until`. Of several with one key the last one does.
    pub(crate) fn inherit(&mut self, remembered: Vec<Remembered>, until: Nanos) {
        self.inherited =
            Inherited { by_key: remembered.into_iter().map(|known| (known.key, known)).collect(), until };
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
            SetChange::Delta { upsert, remove, .. } => (upsert, remove, false),
        };
        let last: HashMap<CheckId, usize> =
            wanted.iter().enumerate().map(|(index, (id, _))| (*id, index)).collect();
        let mut gone: Vec<CheckId> = if full {
            self.checks.keys().filter(|id| !last.contains_key(id)).copied().collect()
        } else {
            removed.into_iter().filter(|id| !last.contains_key(id)).collect()
        };
        // Which of several equal subjects is matched below must not depend on the order of a hash map.
        gone.sort_unstable();

        let mut applied = Applied::default();
        let mut forget = Vec::with_capacity(gone.len());
        let mut leaving = Vec::with_capacity(gone.len());
        for id in gone {
            if let Some(entry) = self.checks.remove(&id) {
                forget.push((id, entry.incarnation));
                leaving.push(Leaving::new(entry, false));
            }
        }

        let mut arriving = Vec::new();
        let mut retimed = Vec::new();
        for (index, (id, spec)) in wanted.into_iter().enumerate() {
            if last.get(&id) != Some(&index) {
                continue;
            }
            let changed = match self.checks.entry(id) {
                MapEntry::Occupied(known) if known.get().spec == spec => {
                    applied.unchanged += 1;
                    continue;
                }
                MapEntry::Occupied(mut known) if known.get().spec.same_subject(&spec) => {
                    let entry = known.get_mut();
                    let before = std::mem::replace(&mut entry.spec, Arc::clone(&spec));
                    let paced = before.interval() == spec.interval();
                    retimed.push(Retimed { spec, shard: entry.shard, slot: entry.slot, paced, after: 0 });
                    continue;
                }
                MapEntry::Occupied(known) => {
                    leaving.push(Leaving::new(known.remove(), true));
                    true
                }
                MapEntry::Vacant(_) => false,
            };
            self.lives += 1;
            let subject = SubjectHash::of(&spec);
            let check = Check { id, incarnation: Incarnation(self.lives), spec };
            arriving.push(Arriving { check, subject, after: 0, changed });
        }
        applied.retimed = retimed.len();
        self.spread(&mut arriving, &mut retimed);

        let begin = arriving.iter().map(|new| (new.check.id, new.check.incarnation)).collect();
        let mut orders: Vec<Vec<Order>> = self.slots.iter().map(|_| Vec::new()).collect();
        for Retimed { spec, shard, slot, after, .. } in retimed {
            orders[shard].push(Order::Retime { slot, spec, after });
        }
        let fresh = self.match_moves(arriving, &mut leaving, &mut orders, &mut applied);
        for Leaving { entry, replaced, taken, .. } in leaving {
            if !taken {
                applied.removed += usize::from(!replaced);
                orders[entry.shard].push(Order::Remove { slot: entry.slot });
                self.slots[entry.shard].free.push(entry.slot);
            }
        }
        for Arriving { check, subject, after, changed } in fresh {
            if changed {
                applied.changed += 1;
            } else {
                applied.added += 1;
            }
            let known = self.inherited_by(&check.spec, now);
            let shard = subject.shard(self.slots.len());
            let slot = self.slots[shard].take();
            let Check { id, incarnation, ref spec } = check;
            self.checks.insert(id, Entry { spec: Arc::clone(spec), incarnation, shard, slot });
            orders[shard].push(Order::Add { slot, check, after, known });
        }
        Plan { forget, begin, orders, applied }
    }

    /// The slots, by shard, of those of these checks that are in the set.
    pub(crate) fn places(&self, ids: &[CheckId]) -> Vec<Vec<u32>> {
        let mut places = vec![Vec::new(); self.slots.len()];
        for Entry { shard, slot, .. } in ids.iter().filter_map(|id| self.checks.get(id)) {
            places[*shard].push(*slot);
        }
        places
    }

    /// Lets checks go on under the id that their subject has now. Gives back those that are new.
    fn match_moves(
        &mut self,
        arriving: Vec<Arriving>,
        leaving: &mut [Leaving],
        orders: &mut [Vec<Order>],
        applied: &mut Applied,
    ) -> Vec<Arriving> {
        let mut vacated: HashMap<SubjectHash, Vec<usize>> = HashMap::new();
        if !arriving.is_empty() {
            for (index, old) in leaving.iter().enumerate().rev() {
                vacated.entry(old.subject).or_default().push(index);
            }
        }
        let mut fresh = Vec::new();
        for new in arriving {
            let indices = vacated.get_mut(&new.subject);
            let Some(old) = indices.and_then(|indices| take_match(indices, leaving, &new.check.spec)) else {
                fresh.push(new);
                continue;
            };
            applied.moved += 1;
            leaving[old].taken = true;
            let Entry { shard, slot, .. } = leaving[old].entry;
            let Arriving { check, after, .. } = new;
            let entry = Entry { spec: Arc::clone(&check.spec), incarnation: check.incarnation, shard, slot };
            self.checks.insert(check.id, entry);
            orders[shard].push(Order::Move { slot, check, after });
        }
        fresh
    }

    /// Spreads the probes that this change makes due, in the order of their subjects' hashes.
    fn spread(&self, arriving: &mut [Arriving], retimed: &mut [Retimed]) {
        let arriving =
            arriving.iter_mut().map(|new| (new.subject, new.check.spec.interval(), &mut new.after));
        let retimed = retimed.iter_mut().filter(|old| !old.paced);
        let retimed = retimed.map(|old| (SubjectHash::of(&old.spec), old.spec.interval(), &mut old.after));
        let mut probes: Vec<_> = arriving.chain(retimed).collect();
        probes.sort_by_key(|(subject, ..)| *subject);
        let total = probes.len();
        for (rank, (_, interval, after)) in probes.into_iter().enumerate() {
            *after = first_probe(rank, total, self.first_probes_per_second, nanos(interval));
        }
    }

    /// What an earlier process knew of this subject. It stays: several checks may have it.
    fn inherited_by(&mut self, spec: &CheckSpec, now: Nanos) -> Option<Box<Known>> {
        self.expire(now);
        // A key costs more than all the rest of a plan.
        if self.inherited.by_key.is_empty() {
            return None;
        }
        let remembered = self.inherited.by_key.get(&spec.subject_key())?;
        Some(Box::new(Known::from(*remembered)))
    }

    fn expire(&mut self, now: Nanos) {
        if now > self.inherited.until {
            self.inherited.by_key = HashMap::new();
        }
    }
}

/// The first of these entries that has the subject of `spec`, taken off the list.
fn take_match(indices: &mut Vec<usize>, leaving: &[Leaving], spec: &CheckSpec) -> Option<usize> {
    let place = indices.iter().rposition(|index| leaving[*index].entry.spec.same_subject(spec))?;
    Some(indices.remove(place))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use hc_types::{Health, ProbeSpec, Target, TcpProbe};

    use super::*;

    fn spec(port: u16, interval: u64) -> Arc<CheckSpec> {
        let target = Target::plain("192.0.2.1".parse().unwrap(), port);
        let probe = ProbeSpec::Tcp(TcpProbe::default());
        Arc::new(
            CheckSpec::new(target, probe, Duration::from_secs(interval), Duration::from_secs(1), 0).unwrap(),
        )
    }

    fn registry() -> Registry {
        Registry::new(1, NonZeroUsize::new(1000).unwrap())
    }

    fn named(checks: &[(u64, u16, u64)]) -> Vec<(CheckId, Arc<CheckSpec>)> {
        checks.iter().map(|(id, port, interval)| (CheckId(*id), spec(*port, *interval))).collect()
    }

    fn full(registry: &mut Registry, checks: &[(u64, u16, u64)]) -> Plan {
        registry.change(SetChange::Full { generation: None, checks: named(checks) }, 0)
    }

    fn delta(registry: &mut Registry, upsert: &[(u64, u16, u64)], remove: &[u64]) -> Plan {
        let remove = remove.iter().copied().map(CheckId).collect();
        registry.change(SetChange::Delta { generation: None, upsert: named(upsert), remove }, 0)
    }

    /// Orders in short: what, slot, id.
    fn orders(plan: &Plan) -> Vec<String> {
        let order = |order: &Order| match order {
            Order::Add { slot, check, .. } => format!("add {slot} {}", check.id),
            Order::Move { slot, check, .. } => format!("move {slot} {}", check.id),
            Order::Retime { slot, .. } => format!("retime {slot}"),
            Order::Remove { slot } => format!("remove {slot}"),
        };
        plan.orders.iter().flatten().map(order).collect()
    }

    #[track_caller]
    fn check(plan: &Plan, expected: &[&str], forget: &[u64], begin: &[u64], applied: Applied) {
        assert_eq!(orders(plan), expected);
        let ids = |lives: &[(CheckId, Incarnation)]| lives.iter().map(|(id, _)| id.0).collect::<Vec<_>>();
        assert_eq!((ids(&plan.forget), ids(&plan.begin)), (forget.to_vec(), begin.to_vec()));
        assert_eq!(plan.applied, applied);
    }

    #[test]
    fn a_full_set_stops_what_is_not_in_it() {
        let mut registry = registry();
        let plan = full(&mut registry, &[(10, 1, 5), (20, 2, 5)]);
        check(&plan, &["add 0 10", "add 1 20"], &[], &[10, 20], Applied { added: 2, ..Applied::default() });
        let plan = full(&mut registry, &[(20, 2, 5), (30, 3, 5)]);
        let applied = Applied { added: 1, removed: 1, unchanged: 1, ..Applied::default() };
        check(&plan, &["remove 0", "add 0 30"], &[10], &[30], applied);
        let plan = full(&mut registry, &[]);
        let applied = Applied { removed: 2, ..Applied::default() };
        check(&plan, &["remove 1", "remove 0"], &[20, 30], &[], applied);
    }

    #[test]
    fn a_delta_touches_what_it_names() {
        let mut registry = registry();
        full(&mut registry, &[(10, 1, 5), (20, 2, 5), (30, 3, 5)]);
        let plan = delta(&mut registry, &[(20, 2, 9), (30, 3, 5), (40, 4, 5)], &[10, 20, 99, 10]);
        // What is in both lists is upserted; unknown ids are no error.
        let applied = Applied { added: 1, retimed: 1, removed: 1, unchanged: 1, ..Applied::default() };
        check(&plan, &["retime 1", "remove 0", "add 0 40"], &[10], &[40], applied);
    }

    #[test]
    fn an_id_that_stands_for_something_else_starts_again() {
        let mut registry = registry();
        let first = full(&mut registry, &[(10, 1, 5)]);
        let plan = full(&mut registry, &[(10, 2, 5)]);
        let applied = Applied { changed: 1, ..Applied::default() };
        check(&plan, &["remove 0", "add 0 10"], &[], &[10], applied);
        assert!(plan.begin[0].1 > first.begin[0].1);
    }

    #[test]
    fn a_check_runs_on_under_another_id() {
        let mut registry = registry();
        full(&mut registry, &[(10, 1, 5), (20, 2, 5), (30, 3, 5)]);
        // 10 and 20 change places, 30 goes, and 3 with it.
        let plan = full(&mut registry, &[(10, 2, 5), (20, 1, 7)]);
        let applied = Applied { moved: 2, removed: 1, ..Applied::default() };
        check(&plan, &["move 1 10", "move 0 20", "remove 2"], &[30], &[10, 20], applied);
        // An id takes over the check of one that goes, and its own ends.
        let plan = full(&mut registry, &[(10, 1, 7)]);
        let applied = Applied { moved: 1, ..Applied::default() };
        check(&plan, &["move 0 10", "remove 1"], &[20], &[10], applied);
    }

    #[test]
    fn of_equal_subjects_each_is_moved_once() {
        let mut registry = registry();
        full(&mut registry, &[(1, 1, 5), (2, 1, 6)]);
        let plan = full(&mut registry, &[(11, 1, 5), (12, 1, 6), (13, 1, 7)]);
        let applied = Applied { added: 1, moved: 2, ..Applied::default() };
        check(&plan, &["move 0 11", "move 1 12", "add 2 13"], &[1, 2], &[11, 12, 13], applied);
    }

    #[test]
    fn of_equal_ids_the_last_counts() {
        let mut registry = registry();
        let plan = full(&mut registry, &[(1, 1, 5), (2, 2, 5), (1, 3, 5)]);
        check(&plan, &["add 0 2", "add 1 1"], &[], &[2, 1], Applied { added: 2, ..Applied::default() });
        let plan = full(&mut registry, &[(1, 1, 5), (2, 2, 5), (1, 3, 5)]);
        check(&plan, &[], &[], &[], Applied { unchanged: 2, ..Applied::default() });
    }

    #[test]
    fn probes_that_become_due_are_spread_in_the_order_of_their_hashes() {
        let mut registry = registry();
        let checks: Vec<_> = (1..=1000).map(|port| (u64::from(port), port, 5)).collect();
        let plan = full(&mut registry, &checks);
        let mut starts: Vec<(SubjectHash, Nanos)> = plan.orders[0]
            .iter()
            .map(|order| match order {
                Order::Add { check, after, .. } => (SubjectHash::of(&check.spec), *after),
                other => panic!("{other:?}"),
            })
            .collect();
        starts.sort_unstable();
        for (rank, (_, after)) in starts.into_iter().enumerate() {
            assert_eq!(after, rank as u64 * 1_000_000);
        }
    }

    #[test]
    fn what_an_earlier_process_knew_is_found_until_it_is_too_old() {
        let remembered = Remembered {
            key: spec(1, 5).subject_key(),
            health: Health::Healthy,
            consecutive_failures: 0,
            failures: 0,
            successes: 3,
            last_check: SystemTime::UNIX_EPOCH,
            duration: Duration::ZERO,
        };
        let found = |now| {
            let mut registry = registry();
            registry.inherit(vec![remembered], 100);
            let checks = named(&[(1, 1, 9), (2, 2, 5)]);
            let plan = registry.change(SetChange::Full { generation: None, checks }, now);
            let known = |order: &Order| matches!(order, Order::Add { known: Some(_), .. });
            plan.orders[0].iter().map(known).collect::<Vec<_>>()
        };
        assert_eq!(found(100), [true, false]);
        assert_eq!(found(101), [false, false]);
    }
}
