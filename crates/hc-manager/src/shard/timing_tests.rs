//! When probes are due: intervals by pace, rise, start delay.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hc_types::{
    AdaptiveTimeout, CheckId, CheckSpec, Failure, Health, Incarnation, LocalFault, Outcome, PassTimes,
    ProbeSpec, Target, Timing,
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

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Every 10 s on the grid, each second while it changes, every 30 s while it is down.
fn timing() -> Timing {
    Timing::every(seconds(10))
        .timeout(seconds(1))
        .retries(2)
        .rise(3)
        .fast_interval(seconds(1))
        .down_interval(seconds(30))
}

fn check(id: u64, timing: Timing) -> Check {
    let target = Target::plain("192.0.2.1".parse().unwrap(), 0);
    let spec = Arc::new(CheckSpec::new(target, ProbeSpec::Icmp, timing).unwrap());
    Check { id: CheckId(id), incarnation: Incarnation(id), spec }
}

struct Rig {
    core: ShardCore,
    now: Nanos,
}

impl Rig {
    fn new(timing: Timing, known: Option<CheckState>) -> Self {
        let config = ManagerConfig { shards: NonZeroUsize::MIN, ..ManagerConfig::default() };
        let mut rig = Self { core: ShardCore::new(0, &config, Arc::new(Gauges::new())), now: 0 };
        let known = known.map(Box::new);
        rig.apply(Order::Add { slot: 0, check: check(1, timing), phase: Phase::ZERO, after: 0, known });
        rig
    }

    fn apply(&mut self, order: Order) {
        self.core.apply(vec![order], self.now, &mut Vec::new());
    }

    fn retime(&mut self, timing: Timing, after: Nanos) {
        let Check { spec, .. } = check(1, timing);
        self.apply(Order::Retime { slot: 0, spec, phase: Phase::ZERO, after });
    }

    /// Whether a probe is due by then.
    fn is_due(&mut self, second: u64) -> bool {
        self.now = second * SECOND;
        self.core.begin_turn(self.now);
        self.core.can_start()
    }

    /// Lets the next probe start when it is due, and end at once. Gives when that was, in seconds,
    /// and the health.
    fn probe(&mut self, outcome: &Outcome) -> (u64, Health) {
        let (began, health, _) = self.run(outcome);
        (began, health)
    }

    /// The same with the timeout that it has.
    fn run(&mut self, outcome: &Outcome) -> (u64, Health, Duration) {
        let start = loop {
            self.core.begin_turn(self.now);
            if let Some(start) = self.core.start(self.now, SystemTime::UNIX_EPOCH, |_| false) {
                break start;
            }
            self.now = self.core.next_wake().unwrap().max(self.now);
        };
        let (began, ended) = (self.now, self.now);
        let report = ProbeReport { flight: start.flight, result: outcome.clone().into(), began, ended };
        self.core.complete(report);
        let health = self.core.statuses(0, 1).0[0].2.health;
        self.core.updates().clear();
        (began / SECOND, health, start.timeout)
    }

    #[track_caller]
    fn probes(&mut self, outcome: &Outcome, expected: &[(u64, Health)]) {
        for expected in expected {
            assert_eq!(self.probe(outcome), *expected);
        }
    }
}

/// One backend dies and comes back: the gaps are those of the state that each result leads to.
#[test]
fn intervals_follow_the_health() {
    use Health::{Healthy, Unhealthy};
    let mut rig = Rig::new(timing(), None);
    rig.probes(&Outcome::PASS, &[(0, Healthy), (10, Healthy), (20, Healthy)]);
    rig.probes(&FAIL, &[(30, Healthy), (31, Healthy), (32, Unhealthy), (60, Unhealthy), (90, Unhealthy)]);
    rig.probes(&Outcome::PASS, &[(120, Unhealthy), (121, Unhealthy)]);
    // One failure begins the rise anew, and the check is down again meanwhile.
    rig.probes(&FAIL, &[(122, Unhealthy)]);
    rig.probes(&Outcome::PASS, &[(150, Unhealthy), (151, Unhealthy), (152, Healthy), (160, Healthy)]);
}

/// An inconclusive probe is tried again soon, and changes neither the pace nor the row of passes.
#[test]
fn a_local_fault_does_not_end_a_rise() {
    let mut rig = Rig::new(timing(), None);
    rig.probes(&FAIL, &[(0, Health::Unhealthy)]);
    rig.probes(&Outcome::PASS, &[(30, Health::Unhealthy)]);
    rig.probes(&LocalFault::Ports.into(), &[(31, Health::Unhealthy)]);
    rig.probes(&Outcome::PASS, &[(31, Health::Unhealthy), (32, Health::Healthy)]);
}

/// Health, counters and the row stay; only when the next probe is due is another time.
#[test]
fn another_timing_keeps_the_row() {
    let mut rig = Rig::new(timing(), None);
    rig.probes(&FAIL, &[(0, Health::Unhealthy)]);
    rig.retime(timing().down_interval(seconds(5)).rise(2), 0);
    rig.probes(&FAIL, &[(5, Health::Unhealthy)]);
    rig.probes(&Outcome::PASS, &[(10, Health::Unhealthy)]);
    rig.retime(timing().rise(2), 0);
    rig.probes(&Outcome::PASS, &[(11, Health::Healthy)]);
}

#[test]
fn a_start_delay_holds_back_the_first_probe_alone() {
    let delayed = timing().start_delay(seconds(25));
    let mut rig = Rig::new(delayed, None);
    rig.probes(&Outcome::PASS, &[(25, Health::Healthy), (30, Health::Healthy)]);
    // Of a check whose health is remembered, nothing is held back.
    let mut known = CheckState::NEW;
    known.machine = CheckMachine::restored(Health::Unhealthy, 1, 1, 0);
    let mut rig = Rig::new(delayed, Some(known));
    rig.probes(&Outcome::PASS, &[(0, Health::Unhealthy)]);
}

/// Neither another name nor another timing brings it forward; another delay counts from the
/// beginning.
#[test]
fn a_check_that_waits_for_its_start_goes_on_waiting() {
    let mut rig = Rig::new(timing().start_delay(seconds(25)), None);
    rig.now = 5 * SECOND;
    let renamed = check(2, timing().start_delay(seconds(25)));
    rig.apply(Order::Move { slot: 0, check: renamed, phase: Phase::ZERO, after: 0 });
    rig.retime(timing().start_delay(seconds(25)).rise(1), 0);
    assert!(!rig.is_due(24));
    rig.retime(timing().start_delay(seconds(40)), 0);
    assert!(!rig.is_due(39));
    // The delay is over: spread with the others that are.
    rig.retime(timing().start_delay(seconds(1)), SECOND / 2);
    assert!(!rig.is_due(39) && rig.is_due(40));
    rig.probes(&Outcome::PASS, &[(40, Health::Healthy)]);
}

/// The shorter timeout is for a probe after one that passed: no check fails by it alone.
#[test]
fn a_timeout_that_adapts_is_for_the_first_failure_of_a_row() {
    let (full, shorter) = (seconds(5), PassTimes::FLOOR);
    let timeouts = |adaptive, results: &[Outcome]| {
        let mut rig = Rig::new(timing().timeout(full).adaptive_timeout(adaptive), None);
        for _ in 0..PassTimes::WINDOW {
            assert_eq!(rig.run(&Outcome::PASS).2, full, "before enough is known");
        }
        results.iter().map(|outcome| rig.run(outcome).2).collect::<Vec<_>>()
    };
    let local = Outcome::Inconclusive(LocalFault::Ports);
    let results =
        [Outcome::PASS, FAIL, FAIL, Outcome::PASS, Outcome::PASS, local, FAIL, FAIL, FAIL, Outcome::PASS];
    assert_eq!(timeouts(AdaptiveTimeout::Suggest, &results), [full; 10]);
    assert_eq!(
        timeouts(AdaptiveTimeout::Apply, &results),
        [shorter, shorter, full, full, shorter, shorter, full, full, full, full]
    );
}
