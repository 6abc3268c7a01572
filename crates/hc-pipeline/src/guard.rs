//! The guard: a stage that holds verdicts while many checks fail at once.
//!
//! ```text
//!                 healthy → unhealthy              window over, no group of it tripped
//!   passed on ─────────────────────────► Window ─────────────────────────────────────► passed on
//!      ▲                                 ▲  │ window over, a group has tripped             ▲ ▲
//!      │                           fails │  ▼                     sample fails, max_hold   │ │
//!      │                           again │ Tripped ────────────────────────────────────────┘ │
//!      │ healthy again                   │  │ sample recovers, or the share falls            │
//!      │ (from any of the three)         │  ▼                                       max_hold │
//!      └─────────────────────────────── NextProbe ───────────────────────────────────────────┘
//! ```
//!
//! Only failures in `Window` count towards the share: those of the last `window`. When a group
//! trips, they are released or rechecked with the others that it holds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hc_types::{CheckId, CheckSpec, Health, StatusUpdate};

use crate::effects::{Cause, Effects, Event};
use crate::recheck::{Decision, Recheck};
use crate::stage::{Stage, Word};
use crate::{Group, GuardConfig};

mod figures;

pub use figures::GuardFigures;

/// The name of the stage.
pub(crate) const NAME: &str = "guard";

/// Holds the verdicts of groups in which too many checks fail at once.
///
/// A verdict is the step from healthy to unhealthy of a check that whoever is told takes for
/// healthy. Everything else passes. Memory is bounded by the number of checks. Instants must not
/// run backwards.
#[derive(Debug)]
pub struct Guard {
    config: GuardConfig,
    /// Where each check stands, from its first status on.
    checks: HashMap<CheckId, Seen>,
    held: BTreeMap<CheckId, Held>,
    /// When each held verdict has to be looked at.
    due: BTreeSet<(Instant, CheckId)>,
    tallies: HashMap<Group, Tally>,
    /// Tripped groups whose verdicts are held.
    rechecks: BTreeMap<Group, Recheck>,
    alarms: BTreeMap<Group, Alarm>,
    /// Alarms so far.
    begun: u64,
    /// What operators say is no matter of this guard.
    is_for_fleet: bool,
    figures: Arc<GuardFigures>,
}

#[derive(Debug)]
struct Seen {
    spec: Arc<CheckSpec>,
    /// What was passed on last.
    told: Health,
    /// How many alarms had begun when it was last told to be down.
    alarms_before: u64,
    /// The latest status says unhealthy.
    down: bool,
}

/// A verdict that is held.
#[derive(Debug)]
struct Held {
    /// The latest status.
    update: StatusUpdate,
    since: Instant,
    due: Instant,
    wait: Wait,
}

/// What a held verdict waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// For the end of its window.
    Window,
    /// For the sample of a tripped group.
    Tripped,
    /// For the next probe of its check, which decides.
    NextProbe,
}

/// The checks of a group that have a status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    members: usize,
    /// Told healthy, so those with a held verdict are among them.
    healthy: usize,
    /// Down by the latest status.
    down: usize,
    /// With a held verdict that is fresh.
    fresh: usize,
}

#[derive(Debug)]
struct Alarm {
    /// Which alarm it is, counted from 1.
    number: u64,
    /// Checks that were down before it and have been so ever since. The share is one of the others.
    before: usize,
    /// The verdicts were told: what fails now is not held again before the alarm has ended.
    released: bool,
}

impl GuardConfig {
    /// Whether so many of so many are more than the share.
    pub(crate) fn exceeded(&self, part: usize, whole: usize) -> bool {
        part as f64 > self.share * whole as f64
    }
}

impl Stage for Guard {
    fn name(&self) -> &'static str {
        NAME
    }

    fn update(&mut self, update: StatusUpdate, now: Instant, out: &mut Effects) {
        if self.config.groups.is_empty() {
            out.pass.push(update);
            return;
        }
        let (id, spec) = (update.id, Arc::clone(&update.spec));
        let (health, failed) = (update.status.health, update.status.health == Health::Unhealthy);
        let first = !self.checks.contains_key(&id);
        let fresh = || Seen { spec: Arc::clone(&spec), told: Health::Unknown, alarms_before: 0, down: false };
        let seen = self.checks.entry(id).or_insert_with(fresh);
        seen.spec = Arc::clone(&spec);
        let turned = std::mem::replace(&mut seen.down, failed) != failed;
        let told = seen.told;
        if !first && !turned && told == health && self.rechecks.is_empty() {
            // Nearly every update: as before.
            out.pass.push(update);
            return;
        }
        let falls = failed && told == Health::Healthy;
        let risen = (!failed && told == Health::Unhealthy).then_some(seen.alarms_before);
        if !falls && told != health {
            (seen.told, seen.alarms_before) = (health, self.begun);
        }
        let groups = self.groups(&spec);
        for group in &groups {
            let tally = self.tallies.entry(*group).or_default();
            tally.members += usize::from(first);
            tally.healthy += usize::from(!failed && told != Health::Healthy);
            tally.down += usize::from(turned && failed);
            tally.down -= usize::from(turned && !failed);
        }
        if let Some(alarms_before) = risen {
            self.down_no_more(&groups, alarms_before);
        }
        // The failure that trips a group says nothing about its sample.
        let mut tripped = groups.clone();
        tripped.retain(|group| self.rechecks.contains_key(group));
        if falls {
            self.hold(update, &groups, now, out);
        } else {
            self.pass(update, told, &groups, out);
        }
        for group in tripped {
            let decision =
                self.rechecks.get_mut(&group).map(|recheck| recheck.answer(id, failed, now, &self.config));
            self.conclude(group, decision, now, out);
        }
        // One of them is up again, or there is one more.
        if !failed && (turned || first) {
            self.end_alarms(&groups, now, out);
        }
        self.show();
    }

    fn forget(&mut self, id: CheckId, now: Instant, out: &mut Effects) {
        if let Some(seen) = self.checks.remove(&id) {
            self.remove(id, seen, now, out);
            self.show();
        }
    }

    fn overruled(&mut self, id: CheckId, word: Word, now: Instant, out: &mut Effects) {
        if word != Word::Probes && !self.is_for_fleet {
            self.forget(id, now, out);
        }
    }

    fn expire(&mut self, now: Instant, out: &mut Effects) {
        while let Some((_, id)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            let Some(held) = self.held.get(&id) else { break };
            let (cap, spec) = (later(held.since, self.config.max_hold), Arc::clone(&held.update.spec));
            let mut tripped = self.groups(&spec);
            tripped.retain(|group| self.rechecks.contains_key(group));
            if tripped.is_empty() {
                self.tell(id, out);
            } else if cap <= now {
                tripped.into_iter().for_each(|group| self.release(group, Cause::MaxHold, out));
            } else {
                self.wait_for(id, Wait::Tripped, cap);
            }
        }
        for recheck in
            self.rechecks.values_mut().filter(|recheck| recheck.next().is_some_and(|next| next <= now))
        {
            recheck.begin_round();
            out.probe.extend(recheck.sample());
        }
        self.show();
    }

    fn next_due(&self) -> Option<Instant> {
        let rounds = self.rechecks.values().filter_map(Recheck::next);
        self.due.first().map(|(due, _)| *due).into_iter().chain(rounds).min()
    }
}

impl Guard {
    /// A guard without checks.
    #[must_use]
    pub fn new(config: GuardConfig) -> Self {
        Self {
            config,
            checks: HashMap::new(),
            held: BTreeMap::new(),
            due: BTreeSet::new(),
            tallies: HashMap::new(),
            rechecks: BTreeMap::new(),
            alarms: BTreeMap::new(),
            begun: 0,
            is_for_fleet: false,
            figures: Arc::default(),
        }
    }

    /// It stands before the stage of a fleet: what it judges is this node's opinion, also of a check
    /// whose health an operator forces for the consumers of this node.
    #[must_use]
    pub fn for_fleet(self) -> Self {
        Self { is_for_fleet: true, ..self }
    }

    /// What it holds now, for whoever wants to show it.
    #[must_use]
    pub fn figures(&self) -> Arc<GuardFigures> {
        Arc::clone(&self.figures)
    }

    fn show(&self) {
        self.figures.set(self.alarms.len(), self.held.len());
    }

    /// Verdicts that are held now, those included that only wait for company.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Groups whose alarm stands.
    pub fn alarms(&self) -> impl Iterator<Item = Group> + '_ {
        self.alarms.keys().copied()
    }

    fn groups(&self, spec: &CheckSpec) -> Vec<Group> {
        let mut groups: Vec<Group> = self.config.groups.iter().map(|grouping| grouping.of(spec)).collect();
        // Two groupings may say the same of a check.
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    fn held_of(&self, group: Group) -> Vec<CheckId> {
        let held = self.held.iter();
        held.filter(|(_, held)| self.groups(&held.update.spec).contains(&group)).map(|(id, _)| *id).collect()
    }

    fn hold(&mut self, update: StatusUpdate, groups: &[Group], now: Instant, out: &mut Effects) {
        let id = update.id;
        let window = later(now, self.config.window);
        let (since, fresh) = match self.held.get_mut(&id) {
            Some(held) => {
                held.update = update;
                (held.since, held.wait == Wait::NextProbe)
            }
            None => {
                // Not fresh yet, so that there is one place where it becomes so.
                let held = Held { update, since: now, due: now, wait: Wait::NextProbe };
                self.due.insert((now, id));
                self.held.insert(id, held);
                (now, true)
            }
        };
        if fresh {
            self.wait_for(id, Wait::Window, window.min(later(since, self.config.max_hold)));
            groups.iter().for_each(|group| self.trip(*group, out));
        }
    }

    fn trip(&mut self, group: Group, out: &mut Effects) {
        let Tally { members, healthy: size, fresh, .. } =
            self.tallies.get(&group).copied().unwrap_or_default();
        let confirmed = self.alarms.get(&group).is_some_and(|alarm| alarm.released);
        if confirmed || self.rechecks.contains_key(&group) {
            return;
        }
        if size < self.config.min_group || !self.config.exceeded(fresh, size) {
            return;
        }
        let failed = self.held_of(group);
        let recheck = Recheck::new(&failed, &self.config);
        out.probe.extend(recheck.sample());
        self.rechecks.insert(group, recheck);
        self.alarms.entry(group).or_insert_with(|| {
            self.begun += 1;
            Alarm { number: self.begun, before: members - size, released: false }
        });
        let share = self.config.share;
        out.events.push(Event::Tripped { group, failed: failed.len(), size, share });
    }

    /// Passes on what is no verdict to hold.
    fn pass(&mut self, mut update: StatusUpdate, told: Health, groups: &[Group], out: &mut Effects) {
        if let Some(held) = self.unhold(update.id) {
            self.count_fresh(groups, held.wait, None);
        }
        // To whom the fall was not told, the rise is no news. The first status of a life always is.
        update.transition &= told != update.status.health;
        out.pass.push(update);
    }

    fn conclude(&mut self, group: Group, decision: Option<Decision>, now: Instant, out: &mut Effects) {
        match decision {
            None | Some(Decision::Open) => {}
            Some(Decision::Fails) => self.release(group, Cause::Confirmed, out),
            Some(Decision::Recovers) => self.recover(group, now, out),
        }
    }

    /// Tells all held verdicts of a group.
    fn release(&mut self, group: Group, cause: Cause, out: &mut Effects) {
        if self.rechecks.remove(&group).is_none() {
            return;
        }
        if let Some(alarm) = self.alarms.get_mut(&group) {
            alarm.released = true;
        }
        let held = self.held_of(group);
        held.iter().for_each(|id| self.tell(*id, out));
        out.events.push(Event::Released { group, verdicts: held.len(), cause });
    }

    /// Lets the next probe of each held check of a group decide.
    fn recover(&mut self, group: Group, now: Instant, out: &mut Effects) {
        if self.rechecks.remove(&group).is_none() {
            return;
        }
        let mut awaiting = 0;
        for id in self.held_of(group) {
            let Some(held) = self.held.get(&id) else { continue };
            let (spec, cap) = (Arc::clone(&held.update.spec), later(held.since, self.config.max_hold));
            if self.groups(&spec).iter().any(|group| self.rechecks.contains_key(group)) {
                continue;
            }
            awaiting += 1;
            self.wait_for(id, Wait::NextProbe, cap);
            // A verdict of which doubt is left should not be told just because the check is rarely
            // probed.
            if later(now, spec.longest_interval() + spec.timeout()) >= cap {
                out.probe.insert(id);
            }
        }
        out.events.push(Event::Recovered { group, awaiting });
    }

    fn end_alarms(&mut self, groups: &[Group], now: Instant, out: &mut Effects) {
        for group in groups {
            let Tally { members, down, .. } = self.tallies.get(group).copied().unwrap_or_default();
            let Some(Alarm { before, .. }) = self.alarms.get(group) else { continue };
            if !self.config.exceeded(down - before, members - before) {
                self.recover(*group, now, out);
                self.alarms.remove(group);
                out.events.push(Event::Ended { group: *group });
            }
        }
    }

    /// A check that was told to be down after so many alarms is up, or is no more.
    fn down_no_more(&mut self, groups: &[Group], alarms_before: u64) {
        for group in groups {
            if let Some(alarm) = self.alarms.get_mut(group).filter(|alarm| alarms_before < alarm.number) {
                alarm.before -= 1;
            }
        }
    }

    fn tell(&mut self, id: CheckId, out: &mut Effects) {
        let Some(Held { mut update, wait, .. }) = self.unhold(id) else { return };
        let groups = self.groups(&update.spec);
        self.count_fresh(&groups, wait, None);
        for group in groups {
            self.tallies.entry(group).or_default().healthy -= 1;
        }
        if let Some(seen) = self.checks.get_mut(&id) {
            (seen.told, seen.alarms_before) = (Health::Unhealthy, self.begun);
        }
        // The latest status may have come after the one that turned.
        update.transition = true;
        out.pass.push(update);
    }

    fn remove(&mut self, id: CheckId, seen: Seen, now: Instant, out: &mut Effects) {
        let groups = self.groups(&seen.spec);
        if let Some(held) = self.unhold(id) {
            self.count_fresh(&groups, held.wait, None);
        }
        for group in &groups {
            let tally = self.tallies.entry(*group).or_default();
            tally.members -= 1;
            tally.healthy -= usize::from(seen.told == Health::Healthy);
            tally.down -= usize::from(seen.down);
            if tally.members == 0 {
                self.tallies.remove(group);
            }
        }
        if seen.told == Health::Unhealthy {
            self.down_no_more(&groups, seen.alarms_before);
        }
        for group in &groups {
            let decision = self.rechecks.get_mut(group).map(|recheck| recheck.leave(id, now, &self.config));
            self.conclude(*group, decision, now, out);
        }
        self.end_alarms(&groups, now, out);
    }

    fn unhold(&mut self, id: CheckId) -> Option<Held> {
        let held = self.held.remove(&id)?;
        self.due.remove(&(held.due, id));
        Some(held)
    }

    /// Moves a held verdict to another wait, to be looked at again at `due`.
    fn wait_for(&mut self, id: CheckId, wait: Wait, due: Instant) {
        let Some(held) = self.held.get_mut(&id) else { return };
        self.due.remove(&(held.due, id));
        self.due.insert((due, id));
        held.due = due;
        let before = std::mem::replace(&mut held.wait, wait);
        let spec = Arc::clone(&held.update.spec);
        let groups = self.groups(&spec);
        self.count_fresh(&groups, before, Some(wait));
    }

    fn count_fresh(&mut self, groups: &[Group], before: Wait, after: Option<Wait>) {
        for group in groups {
            let tally = self.tallies.entry(*group).or_default();
            tally.fresh += usize::from(after == Some(Wait::Window));
            tally.fresh -= usize::from(before == Wait::Window);
        }
    }
}

/// An instant that much later; a hundred years where no instant is late enough.
pub(crate) fn later(instant: Instant, by: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    instant.checked_add(by).unwrap_or_else(|| instant + FAR)
}

#[cfg(test)]
mod tests;
