//! Finds the row of a check by its id.

use hashbrown::HashTable;

use crate::{CheckId, mix64};

/// Where in a table the check with an id is. It holds places only, since the rows have the ids: some
/// 10 bytes a check. Each call is given the way from a place to the id of its row.
///
/// The hash has no key: ids come from the engine or from files of the operator, and who may choose
/// them may as well send checks that do nothing but load this machine.
///
/// ```
/// use hc_types::{CheckId, IdIndex};
///
/// let rows = [CheckId(7), CheckId(u64::MAX)];
/// let id_at = |place: u32| rows[place as usize];
/// let mut index = IdIndex::default();
/// index.insert(CheckId(7), 0, id_at);
/// index.insert(CheckId(u64::MAX), 1, id_at);
/// assert_eq!(index.find(CheckId(u64::MAX), id_at), Some(1));
/// assert_eq!(index.remove(CheckId(7), id_at), Some(0));
/// assert_eq!((index.find(CheckId(7), id_at), index.len()), (None, 1));
/// ```
#[derive(Clone, Debug, Default)]
pub struct IdIndex(HashTable<u32>);

impl IdIndex {
    /// How many ids there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The place of an id.
    #[must_use]
    pub fn find(&self, id: CheckId, id_at: impl Fn(u32) -> CheckId) -> Option<u32> {
        self.0.find(hash(id), |place| id_at(*place) == id).copied()
    }

    /// Enters an id that is not there.
    pub fn insert(&mut self, id: CheckId, place: u32, id_at: impl Fn(u32) -> CheckId) {
        self.0.insert_unique(hash(id), place, |place| hash(id_at(*place)));
    }

    /// Takes an id out and gives the place that it had, whose row still has it.
    pub fn remove(&mut self, id: CheckId, id_at: impl Fn(u32) -> CheckId) -> Option<u32> {
        let found = self.0.find_entry(hash(id), |place| id_at(*place) == id).ok()?;
        Some(found.remove().0)
    }
}

/// No two ids have the same hash, and ids in a row are scattered.
fn hash(CheckId(id): CheckId) -> u64 {
    mix64(id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_agrees_with_a_sorted_map(steps in prop::collection::vec((0u64..40, any::<bool>()), 0..300)) {
            let (mut rows, mut index, mut model) = (Vec::new(), IdIndex::default(), BTreeMap::new());
            for (id, inserts) in steps {
                // Far apart, as the engine's, and one beside the other.
                let id = CheckId(if id < 20 { id << 48 } else { id });
                if inserts && !model.contains_key(&id) {
                    let place = u32::try_from(rows.len()).unwrap();
                    rows.push(id);
                    index.insert(id, place, |place| rows[place as usize]);
                    model.insert(id, place);
                } else if !inserts {
                    let removed = index.remove(id, |place| rows[place as usize]);
                    prop_assert_eq!(removed, model.remove(&id));
                }
                prop_assert_eq!(index.find(id, |place| rows[place as usize]), model.get(&id).copied());
                prop_assert_eq!((index.len(), index.is_empty()), (model.len(), model.is_empty()));
            }
        }
    }
}
