//! Which checks of which source run.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use hc_types::{CheckId, CheckSpec, Metadata, Proposal, Rejection, Reply, SetChange};

use crate::Directory;
use crate::repeats::judge;

/// Names a source of an [`Admission`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceId(usize);

/// What a proposal came to.
#[derive(Debug)]
pub struct Admitted {
    /// The change of the set of all sources. No id is in it twice.
    pub change: SetChange,
    /// The checks of the proposal that do not run, each id once.
    pub rejected: Vec<Rejection>,
}

type Specs = HashMap<CheckId, Arc<CheckSpec>>;
type Checks = Vec<(CheckId, Arc<CheckSpec>)>;

#[derive(Debug)]
struct Member {
    name: Arc<str>,
    /// Its checks that run. Kept only while there are several sources.
    checks: Specs,
}

/// Judges proposals for all sources, and joins them into one set.
///
/// Ids and names are one space for all sources: the first source that uses one has it until it
/// gives it back. With one source nothing is kept of its checks but their names, if they have any.
#[derive(Debug)]
pub struct Admission {
    members: Vec<Member>,
    directory: Arc<Directory>,
    /// The latest generation that any source gave: consumers know sets by it, also after a change
    /// by a source that gives none.
    generation: Option<u64>,
}

impl Admission {
    /// Without sources. Names and labels of checks that run are kept in `directory`.
    #[must_use]
    pub fn new(directory: Arc<Directory>) -> Self {
        Self { members: Vec::new(), directory, generation: None }
    }

    /// A source, under the name that rejections give for it. All sources are added before the first
    /// proposal.
    pub fn add(&mut self, name: impl Into<Arc<str>>) -> SourceId {
        self.members.push(Member { name: name.into(), checks: Specs::new() });
        SourceId(self.members.len() - 1)
    }

    /// Judges a proposal. The reply is to be answered with [`Admitted::rejected`] when the change
    /// is in effect.
    pub fn admit(&mut self, source: SourceId, proposal: Proposal) -> (Admitted, Reply) {
        let Proposal { change, metadata, rejected, reply } = proposal;
        let metadata: HashMap<CheckId, Arc<Metadata>> = metadata.into_iter().collect();
        let admitted = match change {
            SetChange::Full { generation, checks } => {
                // What this source had before ends, so its names are free.
                let stays = |id| self.owner(source, id).is_some();
                let (checks, rejected) = self.judge(source, checks, rejected, &metadata, stays);
                self.directory.replace(|id| self.owner(source, id).is_some(), &checks, &metadata);
                let checks = self.replace(source, checks);
                Admitted { change: SetChange::Full { generation: self.stamp(generation), checks }, rejected }
            }
            SetChange::Delta { generation, upsert, remove } => {
                let (upsert, remove, rejected) =
                    self.admit_changes(source, (upsert, remove), rejected, &metadata);
                let generation = self.stamp(generation);
                Admitted { change: SetChange::Delta { generation, upsert, remove }, rejected }
            }
            SetChange::Renewal { generation, upsert, remove } => {
                let (upsert, remove, rejected) =
                    self.admit_changes(source, (upsert, remove), rejected, &metadata);
                let generation = self.stamp(generation);
                Admitted { change: SetChange::Renewal { generation, upsert, remove }, rejected }
            }
        };
        (admitted, reply)
    }

    /// Judges what differs from the set in effect.
    fn admit_changes(
        &mut self,
        source: SourceId,
        (upsert, mut remove): (Checks, Vec<CheckId>),
        rejected: Vec<Rejection>,
        metadata: &HashMap<CheckId, Arc<Metadata>>,
    ) -> (Checks, Vec<CheckId>, Vec<Rejection>) {
        let named: HashSet<CheckId> =
            upsert.iter().map(|(id, _)| *id).chain(remove.iter().copied()).collect();
        let stays = |id| self.owner(source, id).is_some() || !named.contains(&id);
        let (upsert, rejected) = self.judge(source, upsert, rejected, metadata, stays);
        // A rejected check is not part of the set, so it stops if it ran.
        remove.extend(rejected.iter().filter_map(|rejection| rejection.id));
        let kept: HashSet<CheckId> = upsert.iter().map(|(id, _)| *id).collect();
        remove.retain(|id| !kept.contains(id) && self.owner(source, *id).is_none());
        self.directory.change(&remove, &upsert, metadata);
        self.change(source, &upsert, &remove);
        (upsert, remove, rejected)
    }

    /// The name of the other source that uses an id.
    fn owner(&self, source: SourceId, id: CheckId) -> Option<&Arc<str>> {
        let mut others = self.members.iter().enumerate().filter(|(index, _)| *index != source.0);
        others.find(|(_, other)| other.checks.contains_key(&id)).map(|(_, other)| &other.name)
    }

    /// `stays` says whether a check keeps its name beside this proposal.
    fn judge(
        &self,
        source: SourceId,
        checks: Vec<(CheckId, Arc<CheckSpec>)>,
        rejected: Vec<Rejection>,
        metadata: &HashMap<CheckId, Arc<Metadata>>,
        stays: impl Fn(CheckId) -> bool,
    ) -> (Vec<(CheckId, Arc<CheckSpec>)>, Vec<Rejection>) {
        let (mut checks, mut rejected) = judge(checks, rejected);
        let mut names: HashMap<&str, CheckId> = HashMap::new();
        checks.retain(|(id, _)| {
            let reason = match self.owner(source, *id) {
                Some(owner) => Some(format!("id: used by a check of {owner}")),
                None => metadata
                    .get(id)
                    .and_then(|metadata| self.name_conflict(*id, metadata, &mut names, &stays)),
            };
            let Some(reason) = reason else { return true };
            rejected.push(Rejection { id: Some(*id), reason });
            false
        });
        (checks, rejected)
    }

    /// Why a check cannot have its name: another one of this proposal has it, or one that stays.
    fn name_conflict<'a>(
        &self,
        id: CheckId,
        metadata: &'a Metadata,
        names: &mut HashMap<&'a str, CheckId>,
        stays: impl Fn(CheckId) -> bool,
    ) -> Option<String> {
        let name: &str = metadata.name.as_ref()?;
        let other = match names.entry(name) {
            Entry::Occupied(other) => Some(*other.get()),
            Entry::Vacant(free) => {
                free.insert(id);
                self.directory.id_of(name).filter(|other| *other != id && stays(*other))
            }
        };
        other.map(|other| format!("name: {name:?} is the name of check {other}"))
    }

    /// The whole set of all sources, with these checks as those of `source`.
    fn replace(
        &mut self,
        source: SourceId,
        checks: Vec<(CheckId, Arc<CheckSpec>)>,
    ) -> Vec<(CheckId, Arc<CheckSpec>)> {
        if self.members.len() <= 1 {
            return checks;
        }
        self.members[source.0].checks = checks.iter().cloned().collect();
        let all = self.members.iter().enumerate().filter(|(index, _)| *index != source.0);
        let others = all.flat_map(|(_, member)| member.checks.iter().map(|(id, spec)| (*id, spec.clone())));
        checks.into_iter().chain(others).collect()
    }

    fn change(&mut self, source: SourceId, upsert: &[(CheckId, Arc<CheckSpec>)], remove: &[CheckId]) {
        if self.members.len() > 1 {
            let checks = &mut self.members[source.0].checks;
            remove.iter().for_each(|id| _ = checks.remove(id));
            checks.extend(upsert.iter().cloned());
        }
    }

    /// The generation of the set that results.
    fn stamp(&mut self, generation: Option<u64>) -> Option<u64> {
        if self.members.len() > 1 {
            self.generation = generation.or(self.generation);
            return self.generation;
        }
        generation
    }
}

#[cfg(test)]
mod tests;
