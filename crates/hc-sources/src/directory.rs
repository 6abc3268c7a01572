//! Names and labels of checks.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use hc_types::{CheckId, CheckSpec, Metadata};

/// Names and labels of the checks that have any, for readers. Empty while only Seesaw's checks run.
#[derive(Debug, Default)]
pub struct Directory(RwLock<Entries>);

#[derive(Debug, Default)]
struct Entries {
    by_id: HashMap<CheckId, Arc<Metadata>>,
    by_name: HashMap<Arc<str>, CheckId>,
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

    /// Enters what these checks are called now.
    pub(crate) fn enter(
        &self,
        checks: &[(CheckId, Arc<CheckSpec>)],
        metadata: &HashMap<CheckId, Arc<Metadata>>,
    ) {
        if metadata.is_empty() && self.read(|entries| entries.by_id.is_empty()) {
            return;
        }
        // All old names are given back first, so that two checks can change places.
        checks.iter().for_each(|(id, _)| self.set(*id, None));
        for (id, _) in checks {
            if let Some(metadata) = metadata.get(id) {
                self.set(*id, Some(Arc::clone(metadata)));
            }
        }
    }

    /// Replaces the entry of a check. A name that it had before is free again.
    pub(crate) fn set(&self, id: CheckId, metadata: Option<Arc<Metadata>>) {
        // Nearly always there is nothing to do, and readers need not wait for that.
        if metadata.is_none() && self.read(|entries| !entries.by_id.contains_key(&id)) {
            return;
        }
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Entries { by_id, by_name } = &mut *entries;
        let name = metadata.as_ref().and_then(|metadata| metadata.name.clone());
        let before = match metadata {
            Some(metadata) => by_id.insert(id, metadata),
            None => by_id.remove(&id),
        };
        if let Some(name) = before.and_then(|before| before.name.clone()) {
            by_name.remove(&name);
        }
        if let Some(name) = name {
            by_name.insert(name, id);
        }
    }

    /// Drops the entries of all checks that `keep` does not take.
    pub(crate) fn retain(&self, keep: impl Fn(CheckId) -> bool) {
        if self.read(|entries| entries.by_id.is_empty()) {
            return;
        }
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Entries { by_id, by_name } = &mut *entries;
        by_id.retain(|id, _| keep(*id));
        by_name.retain(|_, id| by_id.contains_key(id));
    }

    /// Each entry is whole after every single step, so a panic elsewhere is no reason to stop reading.
    fn read<T>(&self, read: impl FnOnce(&Entries) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}
