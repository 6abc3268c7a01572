//! What an update says of a check: for consumers, and for readers alone.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hc_types::{
    CheckId, CheckSpec, Failure, Health, Incarnation, LocalFault, Outcome, ProbeSpec, StatusUpdate, Target,
    Timing,
};

use super::{ProbeReport, ShardCore};
use crate::check_state::CheckState;
use crate::config::ManagerConfig;
use crate::machine::CheckMachine;
use crate::phases::Phase;
use crate::plan::{Check, Order};
use crate::schedule::Nanos;
use crate::stats::Gauges;

const SECOND: Nanos = 1_000_000_000;
const FAIL: Outcome = Outcome::Fail(Failure::Refused);

struct Rig {
    core: ShardCore,
    now: Nanos,
}

fn wall(at: Nanos) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(at)
}

/// Every 10 s, on the grid.
fn spec(retries: u32) -> Arc<CheckSpec> {
    let target = Target::plain("192.0.2.1".parse().unwrap(), 0);
    let seconds = Duration::from_secs;
    Arc::new(
        CheckSpec::new(
            target,
            ProbeSpec::Icmp,
            Timing::every(seconds(10)).timeout(seconds(1)).retries(retries),
        )
        .unwrap(),
    )
}

impl Rig {
    fn new(known: Option<CheckState>, retries: u32) -> Self {
        let config = ManagerConfig { shards: NonZeroUsize::MIN, ..ManagerConfig::default() };
        let mut rig = Self { core: ShardCore::new(0, &config, Arc::new(Gauges::new())), now: 0 };
        let check = Check { id: CheckId(7), incarnation: Incarnation(1), spec: spec(retries) };
        let known = known.map(Box::new);
        rig.apply(Order::Add { slot: 0, check, phase: Phase::ZERO, after: 0, known });
        rig
    }

    fn apply(&mut self, order: Order) {
        self.core.apply(vec![order], self.now, &mut Vec::new());
    }

    /// Lets the next probe start when it is due, and end with `outcome` half a second later.
    fn probe(&mut self, outcome: impl Into<Outcome>) -> StatusUpdate {
        let start = loop {
            self.core.begin_turn(self.now);
            if let Some(start) = self.core.start(self.now, wall(self.now), |_| false) {
                break start;
            }
            self.now = self.core.next_wake().unwrap().max(self.now);
        };
        let began = self.now;
        self.now += SECOND / 2;
        self.core.begin_turn(self.now);
        self.core.updates().clear();
        let result = outcome.into().into();
        let report = ProbeReport { flight: start.flight, result, began, ended: self.now };
        self.core.complete(report);
        let update = self.core.updates().pop().unwrap();
        assert!(self.core.updates().is_empty());
        update
    }
}

/// Health, whether it is a transition, whether it is reportable, results in a row, seconds since
/// the health changed.
fn shown(update: &StatusUpdate) -> (Health, bool, bool, u32, Option<u64>) {
    let since = update.progress.since.map(|at| at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs());
    (update.status.health, update.transition, update.reportable, update.progress.in_a_row, since)
}

#[test]
fn an_update_says_since_when_and_how_often_in_a_row() {
    use Health::{Healthy, Unhealthy};
    let mut rig = Rig::new(None, 1);
    let first = rig.probe(Outcome::PASS);
    assert_eq!(shown(&first), (Healthy, true, true, 1, Some(0)));
    assert_eq!(
        (first.progress.last_probe, first.progress.next_due),
        (Some(wall(0)), Some(wall(10 * SECOND)))
    );
    assert_eq!(shown(&rig.probe(Outcome::PASS)), (Healthy, false, true, 2, Some(0)));
    assert_eq!(shown(&rig.probe(FAIL)), (Healthy, false, true, 1, Some(0)));
    let down = rig.probe(FAIL);
    assert_eq!(shown(&down), (Unhealthy, true, true, 2, Some(30)));
    assert_eq!(
        (down.progress.last_probe, down.progress.next_due),
        (Some(wall(30 * SECOND)), Some(wall(40 * SECOND)))
    );
    assert_eq!(shown(&rig.probe(Outcome::PASS)), (Healthy, true, true, 1, Some(40)));
}

/// Consumers get the first of several inconclusive probes in a row, readers see each.
#[test]
fn each_inconclusive_probe_is_an_update_but_only_the_first_is_reportable() {
    let mut rig = Rig::new(None, 0);
    rig.probe(Outcome::PASS);
    let first = rig.probe(LocalFault::Ports);
    assert_eq!(shown(&first), (Health::Healthy, false, true, 1, Some(0)));
    let second = rig.probe(LocalFault::Ports);
    assert_eq!(shown(&second), (Health::Healthy, false, false, 1, Some(0)));
    assert_eq!(second.status, first.status);
    assert!(second.progress.last_probe > first.progress.last_probe);
    let mut unknown = Rig::new(None, 0);
    let update = unknown.probe(LocalFault::Ports);
    assert_eq!(shown(&update), (Health::Unknown, false, false, 0, None));
    assert_eq!(update.status.held.map(|held| held.fault), Some(LocalFault::Ports));
}

#[test]
fn restored_health_is_not_reportable_before_a_probe_confirms_it() {
    use Health::{Healthy, Unhealthy};
    let mut known = CheckState::NEW;
    known.machine = CheckMachine::restored(Healthy, 0, 3, 4);
    let mut rig = Rig::new(Some(known.clone()), 1);
    assert_eq!(shown(&rig.core.updates()[0]), (Healthy, false, false, 0, None));
    assert_eq!(shown(&rig.probe(FAIL)), (Healthy, false, false, 1, None));
    assert_eq!(shown(&rig.probe(FAIL)), (Unhealthy, true, true, 2, Some(10)));
    let mut rig = Rig::new(Some(known), 1);
    assert_eq!(shown(&rig.probe(Outcome::PASS)), (Healthy, true, true, 1, None));
}

#[test]
fn another_timing_is_an_update_for_readers_and_another_id_one_for_consumers() {
    let mut rig = Rig::new(None, 0);
    rig.probe(Outcome::PASS);
    rig.apply(Order::Retime { slot: 0, spec: spec(5), phase: Phase::ZERO, after: 0 });
    let update = rig.core.updates().pop().unwrap();
    assert_eq!((shown(&update), update.spec.retries()), ((Health::Healthy, false, false, 1, Some(0)), 5));
    let check = Check { id: CheckId(8), incarnation: Incarnation(2), spec: spec(5) };
    rig.apply(Order::Move { slot: 0, check, phase: Phase::ZERO, after: 0 });
    let update = rig.core.updates().pop().unwrap();
    assert_eq!((shown(&update), update.id), ((Health::Healthy, true, true, 1, Some(0)), CheckId(8)));
    assert!(!update.is_of_probe());
}

#[test]
fn another_timing_does_not_change_when_the_latest_probe_was() {
    let mut rig = Rig::new(None, 0);
    rig.probe(Outcome::PASS);
    let held = rig.probe(LocalFault::Ports);
    assert!(held.is_of_probe() && held.progress.last_probe > held.status.last_check);
    rig.apply(Order::Retime { slot: 0, spec: spec(5), phase: Phase::ZERO, after: 0 });
    let update = rig.core.updates().pop().unwrap();
    assert_eq!(update.progress.last_probe, held.progress.last_probe);
}

/// A check that is paused when it is due waits, whatever its grid says, until it is asked for; and
/// another id may not be paused.
#[test]
fn a_paused_check_is_probed_no_more_until_it_is_asked_for() {
    let mut rig = Rig::new(None, 0);
    let start = |rig: &mut Rig, paused: bool| {
        rig.core.begin_turn(rig.now);
        rig.core.start(rig.now, wall(rig.now), |id| paused && id == CheckId(7)).is_some()
    };
    assert!(!start(&mut rig, true));
    assert_eq!((rig.core.can_start(), rig.core.next_wake()), (false, None));
    rig.now += 100 * SECOND;
    assert!(!start(&mut rig, false), "nobody has asked");
    rig.core.probe_now(0, rig.now);
    assert!(!start(&mut rig, true), "still paused");
    rig.core.probe_now(0, rig.now);
    rig.core.probe_now(0, rig.now);
    assert_eq!(rig.probe(Outcome::PASS).status.health, Health::Healthy);

    rig.now += 100 * SECOND;
    assert!(!start(&mut rig, true));
    let check = Check { id: CheckId(8), incarnation: Incarnation(2), spec: spec(0) };
    rig.apply(Order::Move { slot: 0, check, phase: Phase::ZERO, after: SECOND });
    rig.now += SECOND;
    assert!(start(&mut rig, true), "the new id is not paused");
}

/// A check that another node has probed goes on with the health that it is given, at the next point
/// of its grid; one of which nothing is known is probed as soon as there is room.
#[test]
fn a_check_is_resumed_with_a_health_that_one_failure_does_not_end() {
    let mut rig = Rig::new(None, 1);
    let park = |rig: &mut Rig| {
        rig.core.begin_turn(rig.now);
        assert!(rig.core.start(rig.now, wall(rig.now), |_| true).is_none());
        assert_eq!(rig.core.next_wake(), None);
    };
    park(&mut rig);
    rig.now += 3 * SECOND;
    rig.core.resume(vec![(0, Health::Healthy)], rig.now);
    assert_eq!(rig.core.next_wake(), Some(10 * SECOND), "the next point of its grid");
    rig.now = 10 * SECOND;
    let update = rig.probe(FAIL);
    assert_eq!((update.status.health, update.reportable), (Health::Healthy, false));
    rig.now += 10 * SECOND;
    let update = rig.probe(FAIL);
    assert_eq!((update.status.health, update.reportable), (Health::Unhealthy, true));

    let mut rig = Rig::new(None, 1);
    park(&mut rig);
    rig.now += 3 * SECOND;
    rig.core.resume(vec![(0, Health::Unknown)], rig.now);
    assert_eq!(rig.core.next_wake(), Some(rig.now));
    assert_eq!(rig.probe(FAIL).status.health, Health::Unhealthy, "the first result decides");
}

/// The path was down for so long that the check failed; then a fault of the checker alone says
/// nothing, and the status is still that of the failure.
#[test]
fn an_inconclusive_probe_of_a_check_that_is_not_held_any_more_is_no_verdict() {
    let mut rig = Rig::new(None, 0);
    assert!(rig.probe(Outcome::PASS).is_of_verdict());
    let down = loop {
        let update = rig.probe(LocalFault::NoRoute);
        if update.status.held.is_none() {
            break update;
        }
        assert!(!update.is_of_verdict());
    };
    assert!(down.is_of_verdict() && down.status.health == Health::Unhealthy);
    let late = rig.probe(LocalFault::Late);
    assert!(late.is_of_probe() && late.status == down.status && !late.is_of_verdict());
    assert!(rig.probe(Outcome::PASS).is_of_verdict());
}
