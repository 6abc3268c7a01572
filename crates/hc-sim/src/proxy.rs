//! hc-proxy's decisions: which sets and deltas it sends, and what an engine may hear
//! (`proxy/internal/bridge/core.go`).

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use fastrand::Rng;
use hc_types::{CheckId, CheckSpec};
use hc_wire::{CheckEntry, CheckLine, UpdateConfigs, UpdateDelta};

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
}

impl ProxyCore {
    pub(crate) fn new(generation: u64) -> Self {
        Self { generation, ..Self::default() }
    }

    pub(crate) fn engine_up(&mut self) {
        (self.engine, self.oldest) = (true, 0);
    }

    pub(crate) fn engine_down(&mut self) {
        self.engine = false;
    }

    pub(crate) fn server_up(&mut self, rng: &mut Rng) -> Vec<Sent> {
        (self.linked, self.base) = (true, 0);
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
        let upsert: Vec<_> = changed.map(|(id, spec)| line(*id, spec)).collect();
        let remove: Vec<_> = old.keys().filter(|id| !self.set.contains_key(id)).copied().collect();
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
        self.base = self.generation;
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
