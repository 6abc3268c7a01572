//! Names and labels of checks.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use hc_types::{CheckId, CheckSpec, Known, Metadata, OpinionKeys};

/// Names and labels of the checks that have any, for readers. Empty while only Seesaw's checks run.
#[derive(Debug, Default)]
pub struct Directory(RwLock<Entries>);

#[derive(Debug, Default)]
struct Entries {
    by_id: HashMap<CheckId, Arc<Metadata>>,
    by_name: HashMap<Arc<str>, CheckId>,
    /// The checks that depend on others.
    dependants: HashMap<CheckId, Arc<Metadata>>,
    /// The checks that ask for series of their own in the metrics.
    metered: BTreeSet<CheckId>,
    /// How many checks say how a fleet judges them.
    judged: usize,
    /// Goes up with each change while there are dependants, or checks that say how they are judged.
    version: u64,
}

impl Directory {
    /// Name and labels of a check, if it has any.
    #[must_use]
    pub fn get(&self, id: CheckId) -> Option<Arc<Metadata>> {
        self.read(|entries| entries.by_id.get(&id).cloned())
    }

    /// The check with this name.
    #[must_use]
    pub fn id_of(&self, name: &str) -> Option<CheckId> {
        self.read(|entries| entries.by_name.get(name).copied())
    }

    /// The checks that depend on others, and a number that is another one after each change that
    /// may matter to them, or to how a fleet judges checks; `None` if it is still `seen`. Begin with 0.
    #[must_use]
    pub fn dependants(&self, seen: u64) -> Option<(u64, Known)> {
        self.read(|entries| {
            let all =
                || entries.dependants.iter().map(|(id, metadata)| (*id, Arc::clone(metadata))).collect();
            (entries.version != seen).then(|| (entries.version, all()))
        })
    }

    /// The checks that ask for series of their own in the metrics, those of the lowest ids and at
    /// most `most` of them, and how many there are.
    #[must_use]
    pub fn metered(&self, most: usize) -> (Known, usize) {
        self.read(|entries| {
            let first = entries.metered.iter().take(most);
            let known = first.filter_map(|id| Some((*id, Arc::clone(entries.by_id.get(id)?))));
            (known.collect(), entries.metered.len())
        })
    }

    /// Replaces all entries: those of checks that `keep` takes stay, and beside them is what
    /// `checks` are called. Readers see what was before or what is then, and never less.
    pub(crate) fn replace(
        &self,
        keep: impl Fn(CheckId) -> bool,
        checks: &[(CheckId, Arc<CheckSpec>)],
        metadata: &HashMap<CheckId, Arc<Metadata>>,
    ) {
        if metadata.is_empty() && self.read(|entries| entries.by_id.is_empty()) {
            return;
        }
        // Put together beside the old ones: there is one writer, who waits for nobody.
        let mut entries = Entries::default();
        self.read(|before| {
            let kept = before.by_id.iter().filter(|(id, _)| keep(**id));
            kept.for_each(|(id, metadata)| entries.set(*id, Some(Arc::clone(metadata))));
            entries.version = before.version + before.matters();
        });
        for (id, _) in checks {
            entries.set(*id, metadata.get(id).map(Arc::clone));
        }
        entries.version += entries.matters();
        let mut place = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *place, entries);
        drop(place);
        drop(before);
    }

    /// Forgets some checks and enters what others are called now, in one step for readers.
    pub(crate) fn change(
        &self,
        forget: &[CheckId],
        checks: &[(CheckId, Arc<CheckSpec>)],
        metadata: &HashMap<CheckId, Arc<Metadata>>,
    ) {
        if metadata.is_empty() && self.read(|entries| entries.by_id.is_empty()) {
            return;
        }
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        entries.version += entries.matters();
        // All old names are given back first, so that two checks can change places.
        forget.iter().chain(checks.iter().map(|(id, _)| id)).for_each(|id| entries.set(*id, None));
        for (id, _) in checks {
            entries.set(*id, metadata.get(id).map(Arc::clone));
        }
        entries.version += entries.matters();
    }

    /// Each entry is whole after every single step, so a panic elsewhere is no reason to stop
    /// reading.
    fn read<T>(&self, read: impl FnOnce(&Entries) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Entries {
    /// 1 if a change may matter to a stage.
    fn matters(&self) -> u64 {
        u64::from(!self.dependants.is_empty() || self.judged > 0)
    }

    /// Replaces the entry of a check. A name that it had before is free again.
    fn set(&mut self, id: CheckId, metadata: Option<Arc<Metadata>>) {
        let name = metadata.as_ref().and_then(|metadata| metadata.name.clone());
        match metadata.as_ref().filter(|metadata| !metadata.depends_on.is_empty()) {
            Some(metadata) => self.dependants.insert(id, Arc::clone(metadata)),
            None => self.dependants.remove(&id),
        };
        match metadata.as_ref().is_some_and(|metadata| metadata.metrics) {
            true => self.metered.insert(id),
            false => self.metered.remove(&id),
        };
        let is_judged = |metadata: &Arc<Metadata>| metadata.opinions != OpinionKeys::default();
        self.judged += usize::from(metadata.as_ref().is_some_and(is_judged));
        let before = match metadata {
            Some(metadata) => self.by_id.insert(id, metadata),
            None => self.by_id.remove(&id),
        };
        self.judged -= usize::from(before.as_ref().is_some_and(is_judged));
        if let Some(name) = before.and_then(|before| before.name.clone()) {
            self.by_name.remove(&name);
        }
        if let Some(name) = name {
            self.by_name.insert(name, id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use hc_types::{ProbeSpec, Target, Timing};

    use super::*;

    #[test]
    fn dependants_are_listed_and_each_change_has_another_number() {
        let second = Duration::from_secs(1);
        let target = Target::plain("192.0.2.1".parse().unwrap(), 0);
        let spec = CheckSpec::new(target, ProbeSpec::Icmp, Timing::every(second).timeout(second)).unwrap();
        let checks: Vec<_> = (1..=2).map(|id| (CheckId(id), Arc::new(spec.clone()))).collect();
        let named = |depends_on: &[&str]| {
            let depends_on = depends_on.iter().map(|name| (*name).into()).collect();
            Arc::new(Metadata { name: Some("a".into()), depends_on, ..Metadata::default() })
        };
        let of = |metadata| HashMap::from([(CheckId(2), metadata)]);
        let directory = Directory::default();
        directory.replace(|_| false, &checks, &of(named(&[])));
        assert_eq!(directory.dependants(0), None);
        directory.replace(|_| false, &checks, &of(named(&["gateway"])));
        let (first, all) = directory.dependants(0).unwrap();
        assert_eq!((all.len(), all[0].0, directory.dependants(first)), (1, CheckId(2), None));
        // The gateway may have come or gone.
        directory.change(&[CheckId(1)], &[], &of(named(&[])));
        let (second, all) = directory.dependants(first).unwrap();
        assert_eq!(all.len(), 1);
        directory.replace(|_| false, &checks, &of(named(&[])));
        assert_eq!(directory.dependants(second).unwrap().1, []);
    }

    #[test]
    fn checks_that_ask_for_series_are_found_without_looking_at_all() {
        let second = Duration::from_secs(1);
        let target = Target::plain("192.0.2.1".parse().unwrap(), 0);
        let spec = CheckSpec::new(target, ProbeSpec::Icmp, Timing::every(second).timeout(second)).unwrap();
        let checks: Vec<_> = (1..=9).map(|id| (CheckId(id), Arc::new(spec.clone()))).collect();
        let asks = |id: u64, metrics| {
            let name = Some(id.to_string().into());
            (CheckId(id), Arc::new(Metadata { name, metrics, ..Metadata::default() }))
        };
        let metadata = (1..=9).map(|id| asks(id, id > 4)).collect();
        let directory = Directory::default();
        directory.replace(|_| false, &checks, &metadata);
        let ids = |most| {
            let (known, all) = directory.metered(most);
            (known.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), all)
        };
        assert_eq!(ids(3), (vec![5, 6, 7], 5));
        directory.change(&[CheckId(9)], &checks[5..6], &[asks(6, false)].into());
        assert_eq!(ids(3), (vec![5, 7, 8], 3));
        directory.replace(|_| false, &checks, &HashMap::new());
        assert_eq!(ids(3), (vec![], 0));
    }

    /// A reader who looks all the time, while the same set comes again and again.
    #[test]
    fn readers_see_no_gap_while_sets_are_replaced() {
        let second = Duration::from_secs(1);
        let target = Target::plain("192.0.2.1".parse().unwrap(), 0);
        let spec = CheckSpec::new(target, ProbeSpec::Icmp, Timing::every(second).timeout(second)).unwrap();
        let spec = Arc::new(spec);
        let checks: Vec<_> = (1..=100).map(|id| (CheckId(id), spec.clone())).collect();
        let named = |id: u64| Metadata { name: Some(id.to_string().into()), ..Metadata::default() };
        let metadata = (1..=100).map(|id| (CheckId(id), Arc::new(named(id)))).collect();
        let (directory, over) = (Directory::default(), AtomicBool::new(false));
        directory.replace(|_| false, &checks, &metadata);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..1000 {
                    directory.replace(|_| false, &checks, &metadata);
                    directory.change(&[], &checks, &metadata);
                }
                over.store(true, Ordering::Relaxed);
            });
            while !over.load(Ordering::Relaxed) {
                assert_eq!(directory.id_of("100"), Some(CheckId(100)));
                assert!(directory.get(CheckId(1)).is_some());
            }
        });
    }
}
