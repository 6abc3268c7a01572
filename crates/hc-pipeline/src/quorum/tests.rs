//! The stage of a fleet with guard, overrides and a table, as a pipeline has them.

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use hc_types::Health::{Healthy, Unhealthy, Unknown};
use hc_types::{Operator, Override, ProbeSpec, Progress, Ruling, Subject, Target, Timing};
use hc_view::{Report, Reported, Table};

use super::*;
use crate::{Moment, Overrides, Stages};

const SECOND: Duration = Duration::from_secs(1);

struct Nameless;

impl Names for Nameless {
    fn metadata(&self, _: CheckId) -> Option<Arc<Metadata>> {
        None
    }
}

struct Rig {
    stages: Stages,
    table: Table,
    at: Moment,
    paused: Arc<Paused>,
    resting: Arc<Paused>,
    /// What consumers hear, in order, where it changes.
    told: Vec<(u64, Health)>,
}

/// What a number stands for: ids from 100 on check the same as those a hundred below.
fn spec(id: u64) -> Arc<CheckSpec> {
    let address = Ipv4Addr::from(0x0a00_0000 + u32::try_from(id % 100).unwrap());
    let timing = Timing::every(SECOND).timeout(SECOND);
    Arc::new(CheckSpec::new(Target::plain(address.into(), 0), ProbeSpec::Icmp, timing).unwrap())
}

fn key(id: u64) -> CheckKey {
    spec(id).key()
}

impl Rig {
    #[allow(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn new(ids: impl IntoIterator<Item = u64>) -> Self {
        let (names, paused) = (Arc::new(Nameless), Arc::<Paused>::default());
        let at = Moment { instant: Instant::now(), wall: SystemTime::UNIX_EPOCH + 1000 * SECOND };
        let quorum = Quorum::new(names.clone(), paused.clone());
        let resting = quorum.resting().clone();
        let overrides = Overrides::new(names, paused.clone(), Vec::new(), at.wall, at.instant);
        let mut stages = Stages::default();
        stages.push_fleet(quorum, overrides);
        let mut rig = Self { stages, table: Table::new(1, 100), at, paused, resting, told: Vec::new() };
        ids.into_iter().for_each(|id| rig.begin(id));
        rig.step(|stages, table, reports, at| stages.in_effect(table, reports, at));
        rig
    }

    fn step<T>(&mut self, step: impl FnOnce(&mut Stages, &mut Table, &mut Vec<Report>, Moment) -> T) -> T {
        let mut reports = Vec::new();
        let result = step(&mut self.stages, &mut self.table, &mut reports, self.at);
        for report in reports.into_iter().filter(|report| report.transition) {
            let told = self.table.reported(report.slot).unwrap();
            self.told.push((told.id.0, told.status.health));
        }
        result
    }

    fn begin(&mut self, id: u64) {
        let spec = spec(id);
        self.table.begin(CheckId(id), Incarnation(id), &spec);
        let check = (CheckId(id), Incarnation(id), &spec);
        self.step(|stages, table, reports, at| stages.begin(check, table, reports, at));
    }

    fn forget(&mut self, id: u64) {
        self.table.forget(CheckId(id), Incarnation(id)).unwrap();
        self.step(|stages, table, reports, at| stages.forget(CheckId(id), table, reports, at));
    }

    fn found(&mut self, id: u64, health: Health, outcome: Outcome) {
        self.at.wall += SECOND;
        let last_check = Some(self.at.wall);
        let progress =
            Progress { last_probe: last_check, next_due: last_check, in_a_row: 1, ..Progress::default() };
        let update = StatusUpdate {
            id: CheckId(id),
            incarnation: Incarnation(id),
            spec: spec(id),
            status: Status { health, last_check, outcome: Some(outcome), ..Status::NEW },
            transition: true,
            reportable: true,
            progress,
            evidence: Evidence::default(),
        };
        self.step(|stages, table, reports, at| stages.record(&mut vec![update], table, reports, at));
    }

    fn up(&mut self, id: u64) {
        self.found(id, Healthy, Outcome::PASS);
    }

    fn down(&mut self, id: u64) {
        self.found(id, Unhealthy, Outcome::Fail(Failure::Refused));
    }

    fn obey(&mut self, order: FleetOrder) -> Vec<(CheckId, Health)> {
        self.step(|stages, table, reports, at| stages.obey(&[order], table, reports, at))
    }

    fn expire(&mut self) {
        self.step(|stages, table, reports, at| stages.expire(table, reports, at));
    }

    fn changes(&mut self) -> Vec<FleetChange> {
        let mut changes = self.stages.take_fleet_changes(usize::MAX);
        changes.sort_by_key(|change| change.key);
        changes
    }

    fn rests(&self, id: u64) -> bool {
        self.resting.contains(CheckId(id))
    }

    #[track_caller]
    fn told(&mut self, expected: &[(u64, Health)]) {
        assert_eq!(std::mem::take(&mut self.told), expected);
    }

    fn check(&self, id: u64) -> CheckView {
        self.table.check(CheckId(id)).unwrap()
    }
}

#[test]
fn nothing_is_told_before_a_verdict_whatever_probes_find() {
    let mut rig = Rig::new([1]);
    assert!(rig.rests(1));
    assert!(rig.changes()[0].wanted);
    assert_eq!(rig.obey(FleetOrder::Probe(key(1), Unknown)), [(CheckId(1), Unknown)]);
    assert!(!rig.rests(1));
    rig.down(1);
    rig.told(&[]);
    let found = rig.changes()[0].found.unwrap();
    assert_eq!((found.health, found.bears_out, found.label), (Unhealthy, true, "refused"));
    rig.obey(FleetOrder::Tell(key(1), Unhealthy));
    rig.told(&[(1, Unhealthy)]);
    // The same again is no news, neither to the fleet nor to consumers.
    rig.down(1);
    rig.obey(FleetOrder::Tell(key(1), Unhealthy));
    rig.told(&[]);
    assert!(rig.changes().is_empty());
}

#[test]
fn consumers_hear_the_verdict_and_readers_see_both() {
    let mut rig = Rig::new([1]);
    rig.obey(FleetOrder::Probe(key(1), Healthy));
    rig.up(1);
    rig.obey(FleetOrder::Tell(key(1), Healthy));
    rig.told(&[(1, Healthy)]);
    rig.down(1);
    rig.told(&[]);
    let check = rig.check(1);
    assert_eq!((check.status.health, check.reported_health()), (Unhealthy, Some(Healthy)));
    assert!(matches!(check.reported, Reported::Other(other) if other.by == NAME));
    rig.obey(FleetOrder::Tell(key(1), Unhealthy));
    rig.told(&[(1, Unhealthy)]);
    assert_eq!(rig.check(1).reported, Reported::Status);
    // Outvoted: this node finds it up, the others do not.
    rig.up(1);
    rig.obey(FleetOrder::Tell(key(1), Healthy));
    rig.obey(FleetOrder::Tell(key(1), Unhealthy));
    rig.told(&[(1, Healthy), (1, Unhealthy)]);
    let Reported::Other(other) = rig.check(1).reported else { panic!("its own") };
    assert!(other.status.note.unwrap().contains("this node finds otherwise"));
}

#[test]
fn a_check_at_rest_is_what_the_others_find() {
    let mut rig = Rig::new([1]);
    rig.obey(FleetOrder::Tell(key(1), Healthy));
    rig.told(&[(1, Healthy)]);
    let check = rig.check(1);
    assert_eq!((check.status.health, &check.reported), (Healthy, &Reported::Status));
    assert_eq!(check.status.note.as_deref(), Some("by the verdict of the fleet"));
    rig.obey(FleetOrder::Tell(key(1), Unhealthy));
    rig.told(&[(1, Unhealthy)]);
    assert_eq!(rig.table.transitions_of(CheckId(1), 9).len(), 2);
    // It takes over, and hands over again: consumers hear nothing.
    rig.obey(FleetOrder::Probe(key(1), Unhealthy));
    rig.down(1);
    assert_eq!(rig.check(1).status.note, None);
    rig.obey(FleetOrder::Rest(key(1)));
    assert!(rig.rests(1));
    // A result that was in flight is no opinion.
    rig.changes();
    rig.up(1);
    rig.told(&[]);
    assert!(rig.changes().is_empty());
}

/// The engine has restarted: all ids are others.
#[test]
fn another_id_hears_at_once_and_the_node_hears_of_no_end() {
    let mut rig = Rig::new([1, 2]);
    rig.obey(FleetOrder::Tell(key(1), Healthy));
    rig.obey(FleetOrder::Probe(key(2), Unknown));
    rig.obey(FleetOrder::Tell(key(2), Healthy));
    rig.told(&[(1, Healthy), (2, Healthy)]);
    rig.changes();
    [1, 2].into_iter().for_each(|id| rig.forget(id));
    [101, 102].into_iter().for_each(|id| rig.begin(id));
    rig.step(|stages, table, reports, at| stages.in_effect(table, reports, at));
    assert!(rig.changes().iter().all(|change| change.wanted && change.resume.is_none()));
    assert!(rig.rests(101) && !rig.rests(102));
    rig.expire();
    rig.told.sort_unstable_by_key(|(id, _)| *id);
    rig.told(&[(101, Healthy), (102, Healthy)]);
    assert_eq!(rig.stages.next_due(), None);
    rig.forget(101);
    rig.step(|stages, table, reports, at| stages.in_effect(table, reports, at));
    let change = &rig.changes()[0];
    assert_eq!((change.key, change.wanted), (key(1), false));
    assert!(rig.changes().is_empty());
}

#[test]
fn of_two_ids_of_one_check_one_is_probed() {
    let mut rig = Rig::new([1, 101]);
    rig.obey(FleetOrder::Probe(key(1), Unknown));
    assert!(!rig.rests(1) && rig.rests(101));
    rig.up(1);
    rig.obey(FleetOrder::Tell(key(1), Healthy));
    rig.told(&[(1, Healthy), (101, Healthy)]);
    rig.changes();
    rig.forget(1);
    assert!(!rig.rests(101));
    assert_eq!(rig.changes()[0].resume, Some((CheckId(101), Healthy)));
    assert!(rig.changes().is_empty());
}

/// What an operator says is for consumers of this node: the fleet goes on hearing what is found.
#[test]
fn an_override_is_no_opinion() {
    let mut rig = Rig::new([1]);
    rig.obey(FleetOrder::Probe(key(1), Unknown));
    rig.up(1);
    rig.obey(FleetOrder::Tell(key(1), Healthy));
    rig.told(&[(1, Healthy)]);
    let order = |ruling| Override {
        subject: Subject::Key(key(1)),
        title: "one".into(),
        ruling,
        by: Operator { uid: 0, user: None },
        reason: "test".into(),
        asked: SystemTime::UNIX_EPOCH,
        from: SystemTime::UNIX_EPOCH,
        until: None,
        weekly: None,
    };
    let set = |rig: &mut Rig, ruling| {
        let numbers =
            rig.step(|stages, table, reports, at| stages.overrule(vec![order(ruling)], table, reports, at));
        rig.step(|stages, table, reports, at| stages.bind(&[CheckId(1)], table, reports, at));
        numbers.unwrap()
    };
    let end = |rig: &mut Rig, numbers: Vec<u64>| {
        let by = Operator { uid: 0, user: None };
        rig.step(|stages, table, reports, at| stages.withdraw(&numbers, &by, table, reports, at));
    };
    let forced = set(&mut rig, Ruling::Force(Unhealthy));
    rig.told(&[(1, Unhealthy)]);
    rig.changes();
    rig.down(1);
    assert_eq!(rig.changes()[0].found.unwrap().health, Unhealthy);
    rig.up(1);
    assert_eq!(rig.changes()[0].found.unwrap().health, Healthy);
    rig.told(&[]);
    end(&mut rig, forced);
    rig.told(&[(1, Healthy)]);
    // While it is paused here the fleet does without this node.
    let pause = set(&mut rig, Ruling::Pause);
    assert!(!rig.changes()[0].wanted && rig.paused.contains(CheckId(1)));
    end(&mut rig, pause);
    assert!(rig.changes()[0].wanted);
    rig.told(&[]);
}

#[test]
fn after_a_new_term_the_same_is_news() {
    let mut rig = Rig::new([1]);
    rig.obey(FleetOrder::Probe(key(1), Unknown));
    rig.up(1);
    rig.changes();
    rig.up(1);
    assert!(rig.changes().is_empty());
    rig.stages.forget_findings();
    rig.up(1);
    assert!(rig.changes()[0].found.is_some());
}
