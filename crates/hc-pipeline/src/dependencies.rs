//! Checks that depend on others: while a gateway is down, a failure behind it says nothing.
//!
//! ```text
//!                healthy → unhealthy       each gateway has passed a probe that began since
//!   passed on ─────────────────────► Answer ─────────────────────────────────► passed on
//!      ▲   │                           │  time is over (the gateway has said nothing)   ▲
//!      │   │ a gateway is down         │ a gateway is down                              │
//!      │   └──────────────────► Down ◄─┘                                               │
//!      │                         │ no gateway is down any more                           │
//!      │ healthy again           ▼                        fails in a probe since then    │
//!      └──(from any of them)── NextProbe ──────────────────────────────────────────────┘
//! ```
//!
//! Every stage behind this one sees the failure only when it is passed on. What counts of a gateway
//! is what its probes find, whatever consumers hear of it, but for health that an operator forces.
//! A gateway that is paused holds nothing.

mod graph;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use hc_types::{CheckId, Health, Outcome, Paused, StatusUpdate};

use crate::effects::{Effects, Event};
use crate::guard::later;
use crate::overrides::Names;
use crate::stage::{Stage, Word};
use graph::{Dependant, Gateway, Held, Wait};

/// The name of the stage.
pub(crate) const NAME: &str = "dependency";

/// How soon a gateway that has failed, and is not down yet, is asked again while somebody waits for
/// it.
const AGAIN: Duration = Duration::from_secs(1);

/// A check that is probed more rarely is asked at once when its gateways are back: its failure
/// would be held until its next probe.
const LONG_INTERVAL: Duration = Duration::from_secs(5);

/// The stage of dependencies. It costs nothing while no check depends on another.
pub struct Dependencies {
    names: Arc<dyn Names>,
    paused: Arc<Paused>,
    /// The version of what the names say that the graph was made from.
    version: u64,
    dependants: HashMap<CheckId, Dependant>,
    gateways: HashMap<CheckId, Gateway>,
    /// Health that operators force, of any check: it may become a gateway later.
    forced: HashMap<CheckId, Health>,
    /// When waiting for an answer is over.
    due: BTreeSet<(Instant, CheckId)>,
    /// When gateways are asked again.
    asks: BTreeSet<(Instant, CheckId)>,
    held: Arc<AtomicUsize>,
}

/// What is known of the gateways of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Gate {
    /// All of them have passed a probe since.
    Open,
    /// One of them has said nothing yet.
    Unknown,
    /// One of them is down.
    Shut,
}

impl std::fmt::Debug for Dependencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (dependants, gateways) = (self.dependants.len(), self.gateways.len());
        f.debug_struct("Dependencies")
            .field("dependants", &dependants)
            .field("gateways", &gateways)
            .finish_non_exhaustive()
    }
}

impl Dependencies {
    /// A stage that asks `names` which checks depend on which.
    #[must_use]
    pub fn new(names: Arc<dyn Names>, paused: Arc<Paused>) -> Self {
        Self {
            names,
            paused,
            version: 0,
            dependants: HashMap::new(),
            gateways: HashMap::new(),
            forced: HashMap::new(),
            due: BTreeSet::new(),
            asks: BTreeSet::new(),
            held: Arc::default(),
        }
    }

    /// How many failures are held now; it goes on counting.
    #[must_use]
    pub fn held(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.held)
    }

    fn gate(&self, on: &[CheckId], since: SystemTime) -> Gate {
        let gate = |id: &CheckId| {
            let gateway = self.gateways.get(id)?;
            Some(match self.forced.get(id) {
                Some(Health::Unhealthy) => Gate::Shut,
                Some(_) => Gate::Open,
                None if self.paused.contains(*id) => Gate::Open,
                None if gateway.health == Health::Unhealthy => Gate::Shut,
                None if gateway.passed.is_some_and(|passed| passed >= since) => Gate::Open,
                None => Gate::Unknown,
            })
        };
        on.iter().filter_map(gate).max().unwrap_or(Gate::Open)
    }

    fn of_dependant(&mut self, mut update: StatusUpdate, now: Instant, out: &mut Effects) {
        let id = update.id;
        let Some(known) = self.dependants.get_mut(&id) else { return out.pass.push(update) };
        let is_verdict = update.is_of_verdict();
        if update.status.health != Health::Unhealthy {
            update.transition &= known.told != update.status.health;
            known.told = update.status.health;
            self.unhold(id);
            return out.pass.push(update);
        }
        if known.told == Health::Unhealthy {
            return out.pass.push(update);
        }
        match &mut known.held {
            None => {
                let ended = update.status.last_check.map(|at| at + update.status.duration);
                let since = ended.unwrap_or(SystemTime::UNIX_EPOCH);
                known.held = Some(Held { update, since, wait: Wait::New, due: None });
                self.held.fetch_add(1, Ordering::Relaxed);
                self.judge(id, now, out);
            }
            Some(held) => {
                let began = update.status.last_check;
                held.update = update;
                if held.wait == Wait::NextProbe && is_verdict {
                    self.decide(id, began, now, out);
                }
            }
        }
    }

    /// A check whose gateways were back has failed in a probe that began at `began`.
    fn decide(&mut self, id: CheckId, began: Option<SystemTime>, now: Instant, out: &mut Effects) {
        let Some(known) = self.dependants.get(&id) else { return };
        match self.gate(&known.on, SystemTime::UNIX_EPOCH) {
            Gate::Shut => self.wait(id, Wait::Down, now, out),
            Gate::Open | Gate::Unknown => {
                let up_since = known.on.iter().filter_map(|on| self.gateways.get(on)?.up_since).max();
                // A probe that began while the gateway was down says nothing.
                if began >= up_since {
                    self.release(id, out);
                }
            }
        }
    }

    /// Finds out what a held failure waits for now.
    fn judge(&mut self, id: CheckId, now: Instant, out: &mut Effects) {
        let Some(known) = self.dependants.get(&id) else { return };
        let Some(held) = &known.held else { return };
        match (self.gate(&known.on, held.since), held.wait) {
            (Gate::Shut, Wait::Down)
            | (Gate::Unknown, Wait::Answer | Wait::NextProbe)
            | (Gate::Open, Wait::NextProbe) => {}
            (Gate::Shut, _) => self.wait(id, Wait::Down, now, out),
            (Gate::Unknown, Wait::Down) if self.are_up(&known.on) => self.wait(id, Wait::NextProbe, now, out),
            (Gate::Open, Wait::Down) if !known.on.is_empty() => self.wait(id, Wait::NextProbe, now, out),
            (Gate::Unknown, _) => self.wait(id, Wait::Answer, now, out),
            (Gate::Open, _) => self.release(id, out),
        }
    }

    /// Whether the probes of all these find that they are up, whenever that was.
    fn are_up(&self, on: &[CheckId]) -> bool {
        on.iter().filter_map(|id| self.gateways.get(id)).all(|gateway| gateway.health == Health::Healthy)
    }

    fn wait(&mut self, id: CheckId, wait: Wait, now: Instant, out: &mut Effects) {
        let Some(Dependant { on, held: Some(held), .. }) = self.dependants.get_mut(&id) else { return };
        held.wait = wait;
        if let Some(due) = held.due.take() {
            self.due.remove(&(due, id));
        }
        let gateways = on.iter();
        if wait == Wait::Answer {
            let bound = on.iter().filter_map(|id| self.gateways.get(id)).map(Gateway::patience).max();
            let due = later(now, bound.unwrap_or_default());
            held.due = Some(due);
            self.due.insert((due, id));
            out.probe.extend(gateways.filter(|id| !self.paused.contains(**id)));
            return;
        }
        if wait == Wait::NextProbe && held.update.spec.longest_interval() > LONG_INTERVAL {
            out.probe.insert(id);
        }
        if wait != Wait::Down {
            return;
        }
        let down: Vec<CheckId> =
            on.iter().filter(|id| is_down(&self.forced, &self.gateways, **id)).copied().collect();
        for gateway in down {
            // One that is itself behind a gateway that is down is no alarm of its own.
            let is_held = self.dependants.get(&gateway).is_some_and(|known| known.held.is_some());
            let Some(known) = self.gateways.get_mut(&gateway).filter(|known| !known.alarm && !is_held) else {
                continue;
            };
            known.alarm = true;
            out.events.push(Event::GatewayDown { gateway, name: Arc::clone(&known.name) });
        }
    }

    fn unhold(&mut self, id: CheckId) -> Option<StatusUpdate> {
        let Held { update, due, .. } = self.dependants.get_mut(&id)?.held.take()?;
        self.held.fetch_sub(1, Ordering::Relaxed);
        if let Some(due) = due {
            self.due.remove(&(due, id));
        }
        Some(update)
    }

    fn release(&mut self, id: CheckId, out: &mut Effects) {
        let Some(mut update) = self.unhold(id) else { return };
        if let Some(known) = self.dependants.get_mut(&id) {
            known.told = Health::Unhealthy;
        }
        // The latest status may have come after the one that turned.
        update.transition = true;
        out.pass.push(update);
    }

    fn of_gateway(&mut self, update: &StatusUpdate, now: Instant, out: &mut Effects) {
        let Some(gateway) = self.gateways.get_mut(&update.id) else { return };
        gateway.spec = Some(Arc::clone(&update.spec));
        let is_verdict = update.is_of_verdict();
        let passes = is_verdict && matches!(update.status.outcome, Some(Outcome::Pass(_)));
        let before = std::mem::replace(&mut gateway.health, update.status.health);
        if passes {
            gateway.passed = update.status.last_check;
        }
        let turned = before != update.status.health;
        if turned {
            let is_up = update.status.health == Health::Healthy;
            gateway.up_since = update.status.last_check.filter(|_| is_up);
        }
        let fails = is_verdict && !passes;
        if turned || passes {
            self.judge_behind(update.id, now, out);
        } else if fails && update.status.health == Health::Healthy && self.is_awaited(update.id) {
            self.asks.insert((later(now, AGAIN), update.id));
        }
        if turned {
            self.back(update.id, out);
        }
    }

    fn is_down(&self, id: CheckId) -> bool {
        is_down(&self.forced, &self.gateways, id)
    }

    /// An alarm ends when its gateway is up.
    fn back(&mut self, id: CheckId, out: &mut Effects) {
        if self.is_down(id) {
            return;
        }
        let Some(gateway) = self.gateways.get_mut(&id).filter(|gateway| gateway.alarm) else { return };
        gateway.alarm = false;
        let (name, behind) = (Arc::clone(&gateway.name), gateway.behind.clone());
        let awaiting =
            behind.iter().filter(|id| self.dependants.get(id).is_some_and(|known| known.held.is_some()));
        out.events.push(Event::GatewayBack { gateway: id, name, awaiting: awaiting.count() });
    }

    fn judge_behind(&mut self, id: CheckId, now: Instant, out: &mut Effects) {
        let behind = self.gateways.get(&id).map(|gateway| gateway.behind.clone()).unwrap_or_default();
        behind.into_iter().for_each(|id| self.judge(id, now, out));
    }

    fn is_awaited(&self, id: CheckId) -> bool {
        let waits = |id: &CheckId| {
            let held = self.dependants.get(id).and_then(|known| known.held.as_ref());
            held.is_some_and(|held| held.wait == Wait::Answer)
        };
        self.gateways.get(&id).is_some_and(|gateway| gateway.behind.iter().any(waits))
    }
}

/// What an operator says goes before what its probes find.
fn is_down(forced: &HashMap<CheckId, Health>, gateways: &HashMap<CheckId, Gateway>, id: CheckId) -> bool {
    let by_probes = gateways.get(&id).map(|gateway| gateway.health);
    forced.get(&id).copied().or(by_probes) == Some(Health::Unhealthy)
}

impl Stage for Dependencies {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_idle(&self) -> bool {
        self.dependants.is_empty()
    }

    fn in_effect(&mut self, now: Instant, out: &mut Effects) {
        let Some((version, all)) = self.names.dependants(self.version) else { return };
        self.version = version;
        let before: Vec<CheckId> = self.dependants.keys().copied().collect();
        self.rebuild(all);
        for id in before {
            if self.dependants.get(&id).is_some_and(|known| known.on.is_empty()) {
                self.release(id, out);
                self.dependants.remove(&id);
            } else {
                self.judge(id, now, out);
            }
        }
    }

    fn update(&mut self, update: StatusUpdate, now: Instant, out: &mut Effects) {
        let gateway = self.gateways.contains_key(&update.id).then(|| update.clone());
        self.of_dependant(update, now, out);
        if let Some(update) = gateway {
            self.of_gateway(&update, now, out);
        }
    }

    fn forget(&mut self, id: CheckId, now: Instant, out: &mut Effects) {
        self.forced.remove(&id);
        self.unhold(id);
        if let Some(known) = self.dependants.get_mut(&id) {
            known.told = Health::Unknown;
        }
        if let Some(gateway) = self.gateways.get_mut(&id) {
            (gateway.health, gateway.passed, gateway.alarm) = (Health::Unknown, None, false);
            gateway.up_since = None;
            // Where it was down, checks behind it wait for what becomes of it, but not for ever.
            self.judge_behind(id, now, out);
        }
    }

    fn overruled(&mut self, id: CheckId, word: Word, now: Instant, out: &mut Effects) {
        match word {
            Word::Forced(health) => _ = self.forced.insert(id, health),
            _ => _ = self.forced.remove(&id),
        }
        if self.gateways.contains_key(&id) {
            self.judge_behind(id, now, out);
            self.back(id, out);
        }
    }

    fn expire(&mut self, now: Instant, out: &mut Effects) {
        let mut told = 0;
        while let Some((_, id)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.pop_first();
            self.release(id, out);
            told += 1;
        }
        if told > 0 {
            out.events.push(Event::GatewaySilent { checks: told });
        }
        while let Some((_, id)) = self.asks.first().copied().filter(|(due, _)| *due <= now) {
            self.asks.pop_first();
            out.probe.insert(id);
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let first = |set: &BTreeSet<(Instant, CheckId)>| set.first().map(|(due, _)| *due);
        first(&self.due).into_iter().chain(first(&self.asks)).min()
    }
}

#[cfg(test)]
mod tests;
