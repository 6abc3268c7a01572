//! hc-proxy's decisions: which sets and deltas it sends, and what an engine may hear
//! (`proxy/internal/bridge/core.go`).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use fastrand::Rng;
use hc_types::{CheckId, CheckSpec, Digest, Refresh, bucket};
use hc_wire::{CheckEntry, CheckLine, UpdateConfigs, UpdateDelta};

use crate::server::{Batched, Item, Taken};

/// A set of checks.
pub(crate) type Set = BTreeMap<CheckId, Arc<CheckSpec>>;

/// A message about sets, and the set that it leads to.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) update: Update,
    pub(crate) generation: u64,
    pub(crate) set: Rc<Set>,
}

#[derive(Debug)]
pub(crate) enum Update {
    Configs(UpdateConfigs),
    Delta(UpdateDelta),
}

#[derive(Debug, Default)]
pub(crate) struct ProxyCore {
    set: Rc<Set>,
    known: bool,
    generation: u64,
    base: u64,
    linked: bool,
    engine: bool,
    oldest: u64,
    /// What was told since the last full set, by bucket; nothing with a server that tells it again.
    kept: Option<BTreeMap<Place, Item>>,
    /// The generation of the last full set.
    pub(crate) whole: u64,
    /// Checks of the deltas since that the server may not have seen when it made its batch.
    gone: BTreeSet<CheckId>,
}

/// Where a check is among those that are kept.
pub(crate) type Place = (u16, CheckId);

fn place(id: CheckId) -> Place {
    (bucket(id), id)
}

impl ProxyCore {
    pub(crate) fn new(generation: u64) -> Self {
        Self { generation, ..Self::default() }
    }

    /// A batch comes in: nothing older of its checks is told again.
    pub(crate) fn begun(&mut self, batch: &Batched) {
        if batch.generation.unwrap_or(self.generation) == self.generation {
            self.gone.clear();
        }
        batch.items.iter().for_each(|item| self.drop_kept(item.id));
    }

    /// The engine has taken a batch.
    pub(crate) fn told(&mut self, batch: Batched) {
        if batch.generation.unwrap_or(self.generation) < self.whole {
            return;
        }
        let Some(kept) = &mut self.kept else { return };
        let same = batch.items.into_iter().filter(|item| !self.gone.contains(&item.id));
        kept.extend(same.map(|item| (place(item.id), item)));
    }

    /// What to answer to a refresh at once; `Yes` when it is to be told to the engine first.
    pub(crate) fn refresh(&mut self, refresh: &Refresh) -> Taken {
        let generation = refresh.generation.unwrap_or(self.generation);
        if generation != self.generation || !self.admits(Some(generation)) {
            return Taken::No;
        }
        let Some(kept) = &mut self.kept else { return Taken::No };
        let mut digest = Digest::default();
        let of_it = kept.values().filter(|item| refresh.buckets.contains(&bucket(item.id)));
        of_it.for_each(|item| digest.put(item.id, item.status.health));
        if digest == refresh.digest {
            return Taken::Yes;
        }
        kept.retain(|(bucket, _), _| !refresh.buckets.contains(bucket));
        Taken::Differs
    }

    /// At most so many checks of a refresh, behind the one that was told last.
    pub(crate) fn next_kept(&self, refresh: &Refresh, after: Option<Place>, most: usize) -> Vec<Item> {
        let kept = self.kept.iter().flatten();
        let left = kept.filter(|(place, _)| refresh.buckets.contains(&place.0) && Some(**place) > after);
        left.take(most).map(|(_, item)| item.clone()).collect()
    }

    fn drop_kept(&mut self, id: CheckId) {
        if let Some(kept) = &mut self.kept {
            kept.remove(&place(id));
        }
    }

    pub(crate) fn engine_up(&mut self) {
        (self.engine, self.oldest) = (true, 0);
    }

    pub(crate) fn engine_down(&mut self) {
        self.engine = false;
    }

    pub(crate) fn server_up(&mut self, keeps: bool, rng: &mut Rng) -> Vec<Sent> {
        (self.linked, self.base) = (true, 0);
        self.kept = keeps.then(BTreeMap::new);
        self.full(rng)
    }

    pub(crate) fn server_down(&mut self) {
        self.linked = false;
    }

    /// The engine's set, fetched over its present connection.
    pub(crate) fn fetched(&mut self, set: Rc<Set>, rng: &mut Rng) -> Vec<Sent> {
        let old = std::mem::replace(&mut self.set, set);
        self.known = true;
        if self.oldest == 0 {
            self.oldest = self.generation + 1;
            return self.full(rng);
        }
        let changed = self.set.iter().filter(|(id, spec)| old.get(id) != Some(spec));
        let upsert: Vec<_> = changed.map(|(id, spec)| (*id, line(*id, spec))).collect();
        let remove: Vec<_> = old.keys().filter(|id| !self.set.contains_key(id)).copied().collect();
        upsert.iter().map(|(id, _)| id).chain(&remove).for_each(|id| self.drop_kept(*id));
        self.gone.extend(upsert.iter().map(|(id, _)| id).chain(&remove));
        let upsert: Vec<_> = upsert.into_iter().map(|(_, line)| line).collect();
        let size = upsert.len() + remove.len();
        if size == 0 {
            return Vec::new();
        }
        if !self.linked || self.base == 0 || 2 * size >= self.set.len() {
            return self.full(rng);
        }
        self.generation += 1;
        let generation = self.generation;
        let delta =
            UpdateDelta { generation, base: std::mem::replace(&mut self.base, generation), upsert, remove };
        vec![Sent { update: Update::Delta(delta), generation, set: Rc::clone(&self.set) }]
    }

    /// The whole set, here and there in parts.
    pub(crate) fn full(&mut self, rng: &mut Rng) -> Vec<Sent> {
        if !self.linked || !self.known {
            return Vec::new();
        }
        self.generation += 1;
        (self.base, self.whole) = (self.generation, self.generation);
        self.gone.clear();
        if let Some(kept) = &mut self.kept {
            kept.clear();
        }
        let checks: Vec<_> = self.set.iter().map(|(id, spec)| line(*id, spec)).collect();
        let size = if rng.u8(..4) == 0 { checks.len() / 3 + 1 } else { checks.len().max(1) };
        let mut parts: Vec<Vec<CheckEntry>> = checks.chunks(size).map(<[_]>::to_vec).collect();
        if parts.is_empty() {
            parts.push(Vec::new());
        }
        let count = u32::try_from(parts.len()).ok().filter(|count| *count > 1);
        let sent = (1..).zip(parts).map(|(part, configs)| Sent {
            update: Update::Configs(UpdateConfigs {
                configs,
                generation: Some(self.generation),
                part: count.map(|_| part),
                parts: count,
            }),
            generation: self.generation,
            set: Rc::clone(&self.set),
        });
        sent.collect()
    }

    /// Whether the engine may hear of a batch made under this generation.
    pub(crate) fn admits(&self, generation: Option<u64>) -> bool {
        self.engine && self.oldest != 0 && generation.unwrap_or(self.base) >= self.oldest
    }
}

/// As it would come out of JSON: a check of its own each time.
fn line(id: CheckId, spec: &Arc<CheckSpec>) -> CheckEntry {
    Ok(CheckLine { id, spec: Arc::new((**spec).clone()) })
}
