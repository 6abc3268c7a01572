//! The verdicts of a fleet in place of what this node finds.
//!
//! ```text
//!   own probes ──► dependency ──► guard ──► quorum ──────────────► override ──► consumers
//!                                            │  ▲
//!                        opinion of this node │  │ verdict of the fleet
//!                                            ▼  │
//!                                        the node of the fleet
//! ```
//!
//! What stands before this stage says whether this node may believe its own probes, so what comes
//! here is its opinion. What stands behind it, the overrides, is of this node's consumers alone and
//! no opinion.
//!
//! A check that other nodes probe is at rest: it is in a set of ids that shards ask for before each
//! probe, as a pause is. Of several ids with one key one is probed. A check that others depend on is
//! probed by every node, since its failures behind a gateway are those of its own way.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use hc_types::{
    CheckId, CheckKey, CheckSpec, Evidence, Failure, Health, Incarnation, Metadata, Outcome, Paused, Status,
    StatusUpdate,
};
use hc_view::CheckView;

use crate::effects::Effects;
use crate::overrides::Names;
use crate::stage::{Stage, Word};

/// The name of the stage.
pub(crate) const NAME: &str = "quorum";

/// What a node of a fleet orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleetOrder {
    /// Probe this check from now on. It begins with this health, if that is known.
    Probe(CheckKey, Health),
    /// Probe it no longer.
    Rest(CheckKey),
    /// Consumers hear this of it.
    Tell(CheckKey, Health),
}

/// What the probes of this node find of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The state of the check by them.
    pub health: Health,
    /// Results in a row like the latest one.
    pub streak: u32,
    /// The fixed word of the latest result.
    pub label: &'static str,
    /// That result is the reason for the health.
    pub bears_out: bool,
    /// The way from this node to the backend is down, so it knows nothing of the backend.
    pub is_blind: bool,
}

/// What a node of a fleet is to know of a check.
#[derive(Clone, Debug)]
pub struct FleetChange {
    /// The check.
    pub key: CheckKey,
    /// Whether consumers of this node need it, and may have it probed.
    pub wanted: bool,
    /// What its source knows of it.
    pub metadata: Option<Arc<Metadata>>,
    /// What probes of this node find, if it probes it.
    pub found: Option<Found>,
    /// It goes on under this id, which has rested so far, with this health.
    pub resume: Option<(CheckId, Health)>,
}

/// The stage of a fleet.
pub struct Quorum {
    names: Arc<dyn Names>,
    /// Checks that operators pause.
    paused: Arc<Paused>,
    /// Checks that are not probed here, since other nodes do.
    resting: Arc<Paused>,
    /// The version of what the names say that the gateways were taken from.
    version: u64,
    /// Checks that others depend on.
    gateways: HashSet<CheckId>,
    places: HashMap<CheckId, u32>,
    by_key: HashMap<CheckKey, u32>,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    /// Checks of which the node is to know something else.
    changed: BTreeSet<CheckKey>,
    /// Checks whose last id has ended since a set took effect: most begin again under another one.
    left: Vec<CheckKey>,
    /// Ids that have begun and have not been told yet what is known of their check.
    begun: Vec<CheckId>,
    /// Since when some of these may be told.
    tell_from: Option<Instant>,
    /// What was found counts if it is of this term of the node.
    term: u32,
}

struct Entry {
    key: CheckKey,
    /// The first one is probed.
    ids: Vec<CheckId>,
    own: Option<Found>,
    term: u32,
    is_probed: bool,
    /// The first id has rested so far.
    must_resume: bool,
    verdict: Health,
}

impl std::fmt::Debug for Quorum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Quorum").field("checks", &self.by_key.len()).finish_non_exhaustive()
    }
}

impl Found {
    /// What a result says. `None` of one that is no verdict.
    fn of(update: &StatusUpdate) -> Option<Self> {
        let outcome = update.status.outcome.as_ref().filter(|_| update.is_of_verdict())?;
        let health = update.status.health;
        let bears_out = match outcome {
            Outcome::Pass(_) => health == Health::Healthy,
            Outcome::Fail(_) => health == Health::Unhealthy,
            Outcome::Inconclusive(_) => false,
        };
        let is_blind = matches!(outcome, Outcome::Fail(Failure::PathDown { .. }));
        let streak = update.progress.in_a_row;
        Some(Self { health, streak, label: outcome.label(), bears_out, is_blind })
    }

    /// Whether it says more than how often that was found.
    fn is_news_after(&self, before: Option<&Self>) -> bool {
        before.is_none_or(|before| Self { streak: self.streak, ..*before } != *self)
    }
}

impl Quorum {
    /// A stage without checks. `names` knows them; operators pause those in `paused`.
    #[must_use]
    pub fn new(names: Arc<dyn Names>, paused: Arc<Paused>) -> Self {
        Self {
            names,
            paused,
            resting: Arc::default(),
            version: 0,
            gateways: HashSet::new(),
            places: HashMap::new(),
            by_key: HashMap::new(),
            entries: Vec::new(),
            free: Vec::new(),
            changed: BTreeSet::new(),
            left: Vec::new(),
            begun: Vec::new(),
            tell_from: None,
            term: 0,
        }
    }

    pub(crate) fn resting(&self) -> &Arc<Paused> {
        &self.resting
    }

    /// Whether [`take_changes`](Self::take_changes) has something.
    pub(crate) fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    /// At most so many of the changes that the node is to know of; each is given out once.
    pub(crate) fn take_changes(&mut self, most: usize) -> Vec<FleetChange> {
        let keys: Vec<CheckKey> = self.changed.iter().take(most).copied().collect();
        let change = |key: CheckKey| {
            self.changed.remove(&key);
            let gone = FleetChange { key, wanted: false, metadata: None, found: None, resume: None };
            let place = *self.by_key.get(&key)?;
            let entry = self.entries[place as usize].as_mut()?;
            let Some(lead) = entry.ids.first().copied() else {
                self.by_key.remove(&key);
                self.entries[place as usize] = None;
                self.free.push(place);
                return Some(gone);
            };
            let must_resume = std::mem::take(&mut entry.must_resume) && entry.is_probed;
            Some(FleetChange {
                wanted: entry.ids.iter().any(|id| !self.paused.contains(*id)),
                metadata: self.names.metadata(lead),
                found: entry.own.filter(|_| entry.is_probed && entry.term == self.term),
                resume: must_resume.then_some((lead, entry.verdict)),
                ..gone
            })
        };
        keys.into_iter().filter_map(change).collect()
    }

    /// What was found so far counts no more: the next result of each check is news, whatever it is.
    pub(crate) fn forget_findings(&mut self) {
        self.term = self.term.wrapping_add(1);
    }

    /// A check is probed from now on. Gives the id under which it is.
    pub(crate) fn start(&mut self, key: CheckKey) -> Option<CheckId> {
        let entry = self.entry(key)?;
        (entry.is_probed, entry.own, entry.must_resume) = (true, None, false);
        let lead = *entry.ids.first()?;
        self.settle(lead);
        Some(lead)
    }

    /// A check is probed no longer. Gives its ids.
    pub(crate) fn rest(&mut self, key: CheckKey) -> Vec<CheckId> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        (entry.is_probed, entry.own, entry.must_resume) = (false, None, false);
        let ids = entry.ids.clone();
        for id in &ids {
            self.settle(*id);
        }
        ids
    }

    /// Consumers hear this of a check. Gives its ids, if that is news.
    pub(crate) fn judge(&mut self, key: CheckKey, health: Health) -> Vec<CheckId> {
        match self.entry(key) {
            Some(entry) if entry.verdict != health => {
                entry.verdict = health;
                entry.ids.clone()
            }
            _ => Vec::new(),
        }
    }

    /// What consumers hear of a check, if it is known, and whether it is at rest.
    pub(crate) fn verdict(&self, id: CheckId) -> Option<(Health, bool)> {
        let entry = self.entries[*self.places.get(&id)? as usize].as_ref()?;
        (entry.verdict != Health::Unknown).then(|| (entry.verdict, self.resting.contains(id)))
    }

    /// At most so many of the ids that have begun.
    pub(crate) fn take_begun(&mut self, most: usize) -> Vec<CheckId> {
        let rest = self.begun.len().saturating_sub(most);
        let ids = self.begun.split_off(rest);
        self.tell_from = self.tell_from.filter(|_| rest > 0);
        ids
    }

    /// Passes on what consumers hear of a check that stands so.
    pub(crate) fn tell(check: &CheckView, health: Health, out: &mut Effects) {
        let CheckView { id, incarnation, spec, status, progress, .. } = check;
        let status = match status.health == health {
            true => status.clone(),
            false => Status {
                health,
                outcome: None,
                held: None,
                note: Some(words(health).into()),
                ..status.clone()
            },
        };
        out.pass.push(StatusUpdate {
            id: *id,
            incarnation: *incarnation,
            spec: Arc::clone(spec),
            status,
            transition: false,
            reportable: true,
            progress: *progress,
            evidence: Evidence::default(),
        });
    }

    fn entry(&mut self, key: CheckKey) -> Option<&mut Entry> {
        self.entries[*self.by_key.get(&key)? as usize].as_mut()
    }

    /// Brings whether an id is probed in line with what is known.
    fn settle(&self, id: CheckId) -> bool {
        let entry = self.places.get(&id).and_then(|place| self.entries[*place as usize].as_ref());
        let leads = entry.is_some_and(|entry| entry.is_probed && entry.ids.first() == Some(&id));
        self.resting.set(id, !leads && !self.gateways.contains(&id))
    }

    /// Checks that others depend on are probed by every node.
    fn find_gateways(&mut self, out: &mut Effects) {
        let Some((version, dependants)) = self.names.dependants(self.version) else { return };
        self.version = version;
        // How they are judged may have changed, too.
        self.changed.extend(self.by_key.keys());
        let names = dependants.iter().flat_map(|(_, metadata)| metadata.depends_on.iter());
        let gateways: HashSet<CheckId> = names.filter_map(|name| self.names.id_of(name)).collect();
        let before = std::mem::replace(&mut self.gateways, gateways);
        for id in before.symmetric_difference(&self.gateways).filter(|id| self.places.contains_key(id)) {
            if self.settle(*id) && !self.resting.contains(*id) {
                out.probe.insert(*id);
            }
        }
    }
}

fn words(health: Health) -> &'static str {
    match health {
        Health::Healthy => "healthy by the verdict of the fleet; this node finds otherwise",
        Health::Unhealthy => "unhealthy by the verdict of the fleet; this node finds otherwise",
        Health::Unknown => "no verdict",
    }
}

impl Stage for Quorum {
    fn name(&self) -> &'static str {
        NAME
    }

    fn begin(&mut self, id: CheckId, _: Incarnation, spec: &Arc<CheckSpec>, _: Instant, _: &mut Effects) {
        let key = spec.key();
        let place = self.by_key.get(&key).copied().unwrap_or_else(|| {
            let entry = Entry {
                key,
                ids: Vec::new(),
                own: None,
                term: self.term,
                is_probed: false,
                must_resume: false,
                verdict: Health::Unknown,
            };
            let place = self.free.pop().unwrap_or_else(|| {
                self.entries.push(None);
                u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 checks")
            });
            self.entries[place as usize] = Some(entry);
            self.by_key.insert(key, place);
            place
        });
        self.places.insert(id, place);
        if let Some(entry) = &mut self.entries[place as usize] {
            entry.ids.push(id);
            if entry.verdict != Health::Unknown {
                self.begun.push(id);
            }
        }
        self.changed.insert(key);
        self.settle(id);
    }

    fn in_effect(&mut self, now: Instant, out: &mut Effects) {
        self.changed.extend(std::mem::take(&mut self.left));
        self.find_gateways(out);
        if !self.begun.is_empty() {
            self.tell_from.get_or_insert(now);
        }
    }

    fn update(&mut self, mut update: StatusUpdate, _: Instant, out: &mut Effects) {
        let place = self.places.get(&update.id).copied();
        let Some(entry) = place.and_then(|place| self.entries[place as usize].as_mut()) else { return };
        if entry.is_probed
            && entry.ids.first() == Some(&update.id)
            && let Some(found) = Found::of(&update)
        {
            let before = entry.own.as_ref().filter(|_| entry.term == self.term);
            if found.is_news_after(before) {
                self.changed.insert(entry.key);
            }
            (entry.own, entry.term) = (Some(found), self.term);
        }
        // Whether that is news to consumers follows from what they have.
        update.transition = false;
        if entry.verdict == update.status.health {
            out.pass.push(update);
        }
    }

    fn forget(&mut self, id: CheckId, _: Instant, _: &mut Effects) {
        let Some(place) = self.places.remove(&id) else { return };
        self.resting.set(id, false);
        let Some(entry) = &mut self.entries[place as usize] else { return };
        let has_led = entry.ids.first() == Some(&id);
        entry.ids.retain(|other| *other != id);
        let key = entry.key;
        match entry.ids.first().copied() {
            None => self.left.push(key),
            Some(next) if has_led => {
                entry.must_resume = entry.is_probed;
                self.settle(next);
                self.changed.insert(key);
            }
            Some(_) => {}
        }
    }

    /// Only whether it is paused matters: what operators say is for consumers of this node alone.
    fn overruled(&mut self, id: CheckId, _: Word, _: Instant, _: &mut Effects) {
        let entry = self.places.get(&id).and_then(|place| self.entries[*place as usize].as_ref());
        self.changed.extend(entry.map(|entry| entry.key));
    }

    fn expire(&mut self, _: Instant, _: &mut Effects) {}

    /// What has begun is told by [`Stages`](crate::Stages).
    fn next_due(&self) -> Option<Instant> {
        self.tell_from
    }
}

#[cfg(test)]
mod tests;
