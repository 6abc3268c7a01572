//! The stages with what they have to do: everything that happens under the locks, without a lock, a
//! clock or a task.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use hc_types::{CheckId, CheckSpec, Health, Incarnation, Operator, Override, StatusUpdate};
use hc_view::{Report, Table};

use crate::chain::{Chain, Link, Passed, is_unchanged};
use crate::effects::{Effects, Event};
use crate::overrides::{Overrides, Refused};
use crate::quorum::{self, FleetChange, FleetOrder, Quorum};
use crate::stage::Stage;

/// Checks that are told in one go what was known of them when they began.
const AT_ONCE: usize = 64;

/// A moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// For pauses.
    pub instant: Instant,
    /// For what people say of times.
    pub wall: SystemTime,
}

/// The stages, the first one first, in front of a table. What they add to the reports, consumers
/// are to get.
#[derive(Default)]
pub struct Stages {
    chain: Chain,
    out: Effects,
}

impl std::fmt::Debug for Stages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stages").field("out", &self.out).finish_non_exhaustive()
    }
}

impl Stages {
    /// A stage behind all others.
    pub fn push(&mut self, stage: Box<dyn Stage>) {
        self.chain.put_last(Link::Stage(stage));
    }

    /// A stage before all others.
    pub fn push_first(&mut self, stage: Box<dyn Stage>) {
        self.chain.put_first(Link::Stage(stage));
    }

    /// The overrides, before all other stages.
    pub fn push_overrides(&mut self, overrides: Overrides) {
        self.chain.put_first(Link::Overrides(Box::new(overrides)));
    }

    /// The stage of a fleet, behind all stages so far, and the overrides behind that.
    pub fn push_fleet(&mut self, quorum: Quorum, overrides: Overrides) {
        self.chain.put_last(Link::Quorum(Box::new(quorum)));
        self.chain.put_last(Link::Overrides(Box::new(overrides.behind_all())));
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chain.is_empty()
    }

    /// Whether all of them are idle.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.chain.is_idle()
    }

    /// The stage of overrides.
    #[must_use]
    pub fn overrides(&self) -> Option<&Overrides> {
        self.chain.overrides()
    }

    /// When [`expire`](Self::expire) has something to do.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.chain.next_due()
    }

    /// Checks to be probed at once; each is given out once.
    pub fn take_probes(&mut self) -> BTreeSet<CheckId> {
        std::mem::take(&mut self.out.probe)
    }

    /// Whether there are checks to be probed.
    #[must_use]
    pub fn has_probes(&self) -> bool {
        !self.out.probe.is_empty()
    }

    /// What the log is to say.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.out.events)
    }

    /// A check begins; the table knows.
    pub fn begin(
        &mut self,
        check: (CheckId, Incarnation, &Arc<CheckSpec>),
        table: &mut Table,
        reports: &mut Vec<Report>,
        at: Moment,
    ) {
        let (id, incarnation, spec) = check;
        self.step(table, reports, at, |chain, out| chain.begin(id, incarnation, spec, at.instant, out));
    }

    /// Takes updates of checks in the table.
    pub fn record(
        &mut self,
        updates: &mut Vec<StatusUpdate>,
        table: &mut Table,
        reports: &mut Vec<Report>,
        at: Moment,
    ) {
        self.chain.tick(at.wall);
        for update in updates.drain(..) {
            if !update.reportable {
                reports.extend(table.record(update));
            } else if table.is_current(update.id, update.incarnation) {
                let passed = self.chain.update(&update, at.instant, &mut self.out);
                settle(table, reports, update, passed);
                self.note_kept(table);
            }
        }
    }

    /// A check has ended; the table knows.
    pub fn forget(&mut self, id: CheckId, table: &mut Table, reports: &mut Vec<Report>, at: Moment) {
        self.step(table, reports, at, |chain, out| chain.forget(id, at.instant, out));
    }

    /// A set of checks is in effect.
    pub fn in_effect(&mut self, table: &mut Table, reports: &mut Vec<Report>, at: Moment) {
        self.step(table, reports, at, |chain, out| chain.in_effect(at.instant, out));
    }

    /// Time has come.
    pub fn expire(&mut self, table: &mut Table, reports: &mut Vec<Report>, at: Moment) {
        self.step(table, reports, at, |chain, out| chain.expire(at.instant, out));
        let is_due = |quorum: &&mut Quorum| quorum.next_due().is_some_and(|due| due <= at.instant);
        if let Some(quorum) = self.chain.quorum_mut().filter(is_due) {
            let ids = quorum.take_begun(AT_ONCE);
            self.show(&ids, table, reports, at);
        }
    }

    /// Whether the node of the fleet is to know something.
    #[must_use]
    pub fn has_fleet_changes(&self) -> bool {
        self.chain.quorum().is_some_and(Quorum::has_changes)
    }

    /// At most so many of the changes that the node of the fleet is to know of; each is given out
    /// once.
    pub fn take_fleet_changes(&mut self, most: usize) -> Vec<FleetChange> {
        self.chain.quorum_mut().map(|quorum| quorum.take_changes(most)).unwrap_or_default()
    }

    /// The next result of each check is a change for the node of the fleet, whatever it is.
    pub fn forget_findings(&mut self) {
        if let Some(quorum) = self.chain.quorum_mut() {
            quorum.forget_findings();
        }
    }

    /// Carries out orders of the node of the fleet. Gives the checks that are to be probed again, and
    /// the health with which each begins.
    pub fn obey(
        &mut self,
        orders: &[FleetOrder],
        table: &mut Table,
        reports: &mut Vec<Report>,
        at: Moment,
    ) -> Vec<(CheckId, Health)> {
        let mut resumed = Vec::new();
        for order in orders {
            let Some(quorum) = self.chain.quorum_mut() else { break };
            match *order {
                FleetOrder::Probe(key, health) => {
                    let Some(id) = quorum.start(key) else { continue };
                    resumed.push((id, health));
                    if let Some(check) = table.check(id).filter(|_| health == Health::Healthy) {
                        self.chain.begin_healthy(&check, at.instant, &mut self.out);
                    }
                }
                FleetOrder::Rest(key) => {
                    let ids = quorum.rest(key);
                    for id in &ids {
                        if quorum_rests(&self.chain, *id) {
                            self.chain.rest(*id, at.instant, &mut self.out);
                        }
                    }
                    self.show(&ids, table, reports, at);
                }
                FleetOrder::Tell(key, health) => {
                    let ids = quorum.judge(key, health);
                    self.show(&ids, table, reports, at);
                }
            }
        }
        resumed
    }

    /// Lets consumers, and readers of checks that are at rest, have what the fleet finds.
    fn show(&mut self, ids: &[CheckId], table: &mut Table, reports: &mut Vec<Report>, at: Moment) {
        for id in ids {
            let known = self.chain.quorum().and_then(|quorum| quorum.verdict(*id));
            let Some((mut check, (health, rests))) = table.check(*id).zip(known) else { continue };
            if rests {
                table.adopt(*id, check.incarnation, health, at.wall, quorum::NAME);
                check = table.check(*id).unwrap_or(check);
            }
            self.step(table, reports, at, |chain, out| chain.tell(&check, health, at.instant, out));
        }
    }

    /// Adds overrides, all or none, and gives their numbers.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn overrule(
        &mut self,
        orders: Vec<Override>,
        table: &mut Table,
        reports: &mut Vec<Report>,
        at: Moment,
    ) -> Result<Vec<u64>, Refused> {
        let mut result = Ok(Vec::new());
        let now = at.instant;
        self.step(table, reports, at, |chain, out| {
            chain.overrule(now, out, |overrides, out| result = overrides.add(orders, now, out))
        });
        result
    }

    /// Lets overrides apply to these checks, those of them that run.
    pub fn bind(&mut self, ids: &[CheckId], table: &mut Table, reports: &mut Vec<Report>, at: Moment) {
        let now = at.instant;
        for id in ids {
            let Some(check) = table.check(*id) else { continue };
            self.step(table, reports, at, |chain, out| {
                chain.overrule(now, out, |overrides, out| overrides.know(&check, now, out))
            });
        }
    }

    /// The journal of the table says that these overrides were set. To be called when they are
    /// bound to their checks.
    pub fn announce(&mut self, numbers: &[u64], table: &mut Table, at: Moment) {
        self.chain.tick(at.wall);
        let changes = self.chain.overrides().map(|overrides| overrides.set(numbers)).unwrap_or_default();
        changes.into_iter().for_each(|change| table.note_override(change));
    }

    /// Ends overrides before their time, as `by` asks; gives those that there were.
    pub fn withdraw(
        &mut self,
        numbers: &[u64],
        by: &Operator,
        table: &mut Table,
        reports: &mut Vec<Report>,
        at: Moment,
    ) -> Vec<Override> {
        let mut ended = Vec::new();
        let now = at.instant;
        self.step(table, reports, at, |chain, out| {
            chain.overrule(now, out, |overrides, out| ended = overrides.withdraw(numbers, by, now, out))
        });
        ended
    }

    fn step(
        &mut self,
        table: &mut Table,
        reports: &mut Vec<Report>,
        at: Moment,
        step: impl FnOnce(&mut Chain, &mut Effects) -> Passed,
    ) {
        self.chain.tick(at.wall);
        let passed = step(&mut self.chain, &mut self.out);
        report(table, reports, passed);
        self.out.changes.drain(..).for_each(|change| table.note_override(change));
        self.note_kept(table);
    }

    /// Tells the overrides what consumers have of checks that were muted.
    fn note_kept(&mut self, table: &Table) {
        for (id, number) in std::mem::take(&mut self.out.muted) {
            let health = table.check(id).and_then(|check| check.reported_health());
            if let Some((health, overrides)) = health.zip(self.chain.overrides_mut()) {
                overrides.keep(number, health);
            }
        }
    }
}

fn quorum_rests(chain: &Chain, id: CheckId) -> bool {
    chain.quorum().is_some_and(|quorum| quorum.resting().contains(id))
}

/// Writes an update, and what the stages made of it. What they pass on may also be of other checks.
fn settle(table: &mut Table, reports: &mut Vec<Report>, update: StatusUpdate, passed: Passed) {
    let Passed { updates, held_by } = passed;
    let is_held = !updates.iter().any(|(passed, _)| is_unchanged(passed, &update));
    if is_held {
        table.hold_back(update.clone(), held_by);
    }
    for (passed, by) in updates {
        if !is_held && is_unchanged(&passed, &update) {
            reports.extend(table.record(passed));
        } else {
            report(table, reports, Passed { updates: vec![(passed, by)], held_by });
        }
    }
}

/// Writes what consumers get from now on.
fn report(table: &mut Table, reports: &mut Vec<Report>, passed: Passed) {
    reports.extend(passed.updates.into_iter().filter_map(|(update, by)| {
        let StatusUpdate { id, incarnation, status, transition, .. } = update;
        table.report(id, incarnation, status, transition, by)
    }));
}
