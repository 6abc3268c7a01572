use std::collections::BTreeMap;
use std::sync::Mutex;

use hc_types::Health::{Healthy, Unhealthy};
use hc_types::{
    CheckSpec, Evidence, Failure, Incarnation, Known, Metadata, ProbeSpec, Progress, Status, Target, Timing,
};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Checks by the name of their number, and what each depends on.
#[derive(Default)]
struct Named(Mutex<(u64, BTreeMap<u64, Vec<u64>>)>);

impl Named {
    fn set(&self, edges: &[(u64, &[u64])]) {
        let mut known = self.0.lock().unwrap();
        known.0 += 1;
        known.1 = edges.iter().map(|(id, on)| (*id, on.to_vec())).collect();
    }
}

impl Names for Named {
    fn metadata(&self, _: CheckId) -> Option<Arc<Metadata>> {
        None
    }

    fn id_of(&self, name: &str) -> Option<CheckId> {
        name.parse().ok().map(CheckId).filter(|id| id.0 < 1000)
    }

    fn dependants(&self, seen: u64) -> Option<(u64, Known)> {
        let known = self.0.lock().unwrap();
        let metadata = |on: &Vec<u64>| {
            let depends_on = on.iter().map(|id| id.to_string().into()).collect();
            Arc::new(Metadata { depends_on, ..Metadata::default() })
        };
        let all = || known.1.iter().map(|(id, on)| (CheckId(*id), metadata(on))).collect();
        (known.0 != seen).then(|| (known.0, all()))
    }
}

struct Rig {
    stage: Dependencies,
    names: Arc<Named>,
    paused: Arc<Paused>,
    now: Instant,
    wall: SystemTime,
    passed: Vec<(u64, Health)>,
    probed: Vec<u64>,
    events: Vec<Event>,
}

impl Rig {
    #[allow(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn new(edges: &[(u64, &[u64])]) -> Self {
        let (names, paused) = (Arc::new(Named::default()), Arc::new(Paused::default()));
        let stage = Dependencies::new(names.clone(), paused.clone());
        let (now, wall) = (Instant::now(), SystemTime::UNIX_EPOCH + 1000 * SECOND);
        let mut rig =
            Self { stage, names, paused, now, wall, passed: vec![], probed: vec![], events: vec![] };
        rig.names.set(edges);
        rig.step(|stage, now, out| stage.in_effect(now, out));
        rig
    }

    fn step(&mut self, step: impl FnOnce(&mut Dependencies, Instant, &mut Effects)) {
        let mut out = Effects::default();
        step(&mut self.stage, self.now, &mut out);
        let news = out.pass.iter().filter(|update| update.transition);
        self.passed.extend(news.map(|update| (update.id.0, update.status.health)));
        self.probed.extend(out.probe.iter().map(|id| id.0));
        self.events.extend(out.events);
    }

    /// A probe that has taken 100 ms ends; `health` is what the machine makes of it.
    fn probe(&mut self, id: u64, passes: bool, health: Health, transition: bool) {
        let began = self.wall;
        self.pass(SECOND / 10);
        let outcome = if passes { Outcome::PASS } else { Failure::Refused.into() };
        let target = Target::plain([192, 0, 2, 1].into(), 0);
        let spec = CheckSpec::new(target, ProbeSpec::Icmp, Timing::every(SECOND).timeout(SECOND).retries(1))
            .unwrap();
        let duration = SECOND / 10;
        let status =
            Status { health, last_check: Some(began), duration, outcome: Some(outcome), ..Status::NEW };
        let progress = Progress { next_due: Some(began + SECOND), ..Progress::default() };
        let update = StatusUpdate {
            id: CheckId(id),
            incarnation: Incarnation(1),
            spec: Arc::new(spec),
            status,
            transition,
            reportable: true,
            progress,
            evidence: Evidence::default(),
        };
        self.step(|stage, now, out| stage.update(update, now, out));
    }

    fn up(&mut self, id: u64) {
        self.probe(id, true, Healthy, true);
    }

    fn down(&mut self, id: u64) {
        self.probe(id, false, Unhealthy, true);
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.stage.next_due().filter(|due| *due <= end) {
            self.wall += due.saturating_duration_since(self.now);
            self.now = due.max(self.now);
            self.step(|stage, now, out| stage.expire(now, out));
            assert!(self.stage.next_due().is_none_or(|next| next > self.now));
        }
        self.wall += end - self.now;
        self.now = end;
    }

    #[track_caller]
    fn heard(&mut self, expected: &[(u64, Health)]) {
        assert_eq!(std::mem::take(&mut self.passed), expected);
    }

    #[track_caller]
    fn logged(&mut self, expected: &[&str]) {
        let words = |event: Event| match event {
            Event::GatewayDown { gateway, .. } => format!("{gateway} down"),
            Event::GatewayBack { gateway, awaiting, .. } => format!("{gateway} back, {awaiting}"),
            Event::GatewaySilent { checks } => format!("silent, {checks}"),
            other => panic!("{other:?}"),
        };
        let logged: Vec<String> = std::mem::take(&mut self.events).into_iter().map(words).collect();
        assert_eq!(logged, expected);
    }

    fn held(&self) -> usize {
        self.stage.held().load(Ordering::Relaxed)
    }
}

/// Gateway 1, with 11 and 12 behind it; all are up.
fn rig() -> Rig {
    let mut rig = Rig::new(&[(11, &[1]), (12, &[1])]);
    [1, 11, 12].into_iter().for_each(|id| rig.up(id));
    rig.heard(&[(1, Healthy), (11, Healthy), (12, Healthy)]);
    rig.probed.clear();
    rig
}

#[test]
fn a_failure_waits_for_the_gateway_which_is_asked_at_once_and_is_told_when_it_passes() {
    let mut rig = rig();
    rig.down(11);
    assert_eq!((std::mem::take(&mut rig.probed), rig.held()), (vec![1], 1));
    rig.heard(&[]);
    rig.up(1);
    rig.heard(&[(1, Healthy), (11, Unhealthy)]);
    rig.down(11);
    rig.up(11);
    rig.heard(&[(11, Unhealthy), (11, Healthy)]);
    assert_eq!((rig.held(), rig.events.len()), (0, 0));
}

#[test]
fn a_pass_that_began_before_the_failure_is_no_answer() {
    let mut rig = rig();
    rig.down(11);
    let began = rig.wall - SECOND / 20;
    let gateway = rig.stage.gateways.get_mut(&CheckId(1)).unwrap();
    gateway.passed = Some(began);
    rig.step(|stage, now, out| stage.judge_behind(CheckId(1), now, out));
    rig.heard(&[]);
}

#[test]
fn while_the_gateway_is_down_nothing_is_told_and_there_is_one_alarm() {
    let mut rig = rig();
    rig.down(11);
    rig.down(1);
    rig.down(12);
    rig.heard(&[(1, Unhealthy)]);
    rig.logged(&["1 down"]);
    for _ in 0..200 {
        [1, 11, 12].into_iter().for_each(|id| rig.probe(id, false, Unhealthy, false));
    }
    rig.heard(&[]);
    assert_eq!(rig.held(), 2);
    // A probe that began before the gateway was back says nothing; the next one decides.
    rig.up(1);
    rig.logged(&["1 back, 2"]);
    rig.heard(&[(1, Healthy)]);
    rig.probe(11, true, Healthy, true);
    rig.probe(12, false, Unhealthy, false);
    rig.heard(&[(12, Unhealthy)]);
    rig.logged(&[]);
    assert_eq!(rig.held(), 0);
}

#[test]
fn a_probe_that_began_before_the_gateway_was_back_does_not_decide() {
    let mut rig = rig();
    rig.down(1);
    rig.down(11);
    rig.up(1);
    rig.passed.clear();
    let gateway = rig.stage.gateways.get_mut(&CheckId(1)).unwrap();
    // As if the probe with which the gateway came back had begun after that of the check.
    gateway.up_since = Some(rig.wall + SECOND / 20);
    rig.probe(11, false, Unhealthy, false);
    rig.heard(&[]);
    rig.probe(11, false, Unhealthy, false);
    rig.heard(&[(11, Unhealthy)]);
}

#[test]
fn a_gateway_that_fails_and_is_not_down_yet_is_asked_again_each_second() {
    let mut rig = rig();
    rig.down(11);
    rig.probed.clear();
    rig.probe(1, false, Healthy, false);
    rig.heard(&[]);
    rig.pass(SECOND);
    assert_eq!(std::mem::take(&mut rig.probed), [1]);
    rig.down(1);
    rig.pass(60 * SECOND);
    rig.heard(&[(1, Unhealthy)]);
    assert_eq!(rig.held(), 1);
}

#[test]
fn a_gateway_that_says_nothing_holds_for_a_bounded_time() {
    let mut silent = rig();
    silent.down(11);
    silent.pass(4 * SECOND);
    silent.heard(&[]);
    silent.pass(2 * SECOND);
    silent.heard(&[(11, Unhealthy)]);
    silent.logged(&["silent, 1"]);

    // One without any verdict, of a check whose first result is a failure.
    let mut fresh = Rig::new(&[(11, &[1])]);
    fresh.down(11);
    fresh.heard(&[]);
    fresh.pass(6 * SECOND);
    fresh.heard(&[(11, Unhealthy)]);
}

#[test]
fn a_gateway_that_is_removed_or_begins_again_holds_for_a_bounded_time() {
    for comes_back in [false, true] {
        let mut rig = rig();
        rig.down(1);
        rig.down(11);
        rig.step(|stage, now, out| stage.forget(CheckId(1), now, out));
        rig.pass(SECOND);
        rig.heard(&[(1, Unhealthy)]);
        if comes_back {
            rig.down(1);
            rig.pass(100 * SECOND);
            rig.heard(&[(1, Unhealthy)]);
        } else {
            rig.pass(6 * SECOND);
            rig.heard(&[(11, Unhealthy)]);
        }
    }
}

#[test]
fn a_check_that_depends_on_nothing_any_more_is_told() {
    let mut rig = rig();
    rig.down(1);
    rig.down(11);
    rig.down(12);
    rig.passed.clear();
    rig.names.set(&[(12, &[1])]);
    rig.step(|stage, now, out| stage.in_effect(now, out));
    rig.heard(&[(11, Unhealthy)]);
    // The gateway's name is no check's any more.
    rig.names.set(&[(12, &[1001])]);
    rig.step(|stage, now, out| stage.in_effect(now, out));
    rig.heard(&[(12, Unhealthy)]);
    assert!(rig.stage.is_idle() && rig.held() == 0);
}

#[test]
fn chains_hold_from_end_to_end_and_alarm_once() {
    let mut rig = Rig::new(&[(2, &[1]), (3, &[2]), (4, &[3, 1])]);
    [1, 2, 3, 4].into_iter().for_each(|id| rig.up(id));
    rig.passed.clear();
    [4, 3, 2].into_iter().for_each(|id| rig.down(id));
    rig.heard(&[]);
    rig.down(1);
    rig.heard(&[(1, Unhealthy)]);
    rig.logged(&["1 down"]);
    assert_eq!(rig.held(), 3);
    rig.up(1);
    rig.up(2);
    rig.up(3);
    rig.up(4);
    rig.heard(&[(1, Healthy)]);
    assert_eq!(rig.held(), 0);
}

#[test]
fn an_operator_who_forces_a_gateway_speaks_for_it() {
    let mut rig = rig();
    rig.step(|stage, now, out| stage.overruled(CheckId(1), Word::Forced(Unhealthy), now, out));
    rig.down(11);
    rig.up(1);
    rig.heard(&[(1, Healthy)]);
    rig.step(|stage, now, out| stage.overruled(CheckId(1), Word::Forced(Healthy), now, out));
    rig.probe(11, false, Unhealthy, false);
    rig.heard(&[(11, Unhealthy)]);
    rig.down(1);
    rig.down(12);
    rig.heard(&[(1, Unhealthy), (12, Unhealthy)]);
}

#[test]
fn a_gateway_that_is_paused_holds_nothing() {
    let mut rig = rig();
    rig.paused.set(CheckId(1), true);
    rig.down(11);
    rig.heard(&[(11, Unhealthy)]);
    rig.paused.set(CheckId(1), false);
    rig.down(1);
    rig.down(12);
    rig.heard(&[(1, Unhealthy)]);
    rig.paused.set(CheckId(1), true);
    rig.step(|stage, now, out| stage.overruled(CheckId(1), Word::Probes, now, out));
    rig.probe(12, false, Unhealthy, false);
    rig.heard(&[(12, Unhealthy)]);
}

#[test]
fn a_muted_gateway_counts_as_its_probes_find_it() {
    let mut rig = rig();
    rig.step(|stage, now, out| stage.overruled(CheckId(1), Word::Kept, now, out));
    rig.down(1);
    rig.down(11);
    rig.passed.clear();
    rig.pass(100 * SECOND);
    rig.heard(&[]);
}

#[test]
fn a_probe_that_takes_longer_than_the_gateways_interval_decides() {
    let mut rig = rig();
    rig.down(1);
    rig.down(11);
    rig.up(1);
    rig.passed.clear();
    // It begins now, and five passes of the gateway end before it does.
    let began = rig.wall;
    for _ in 0..5 {
        rig.pass(SECOND);
        rig.probe(1, true, Healthy, false);
    }
    rig.heard(&[]);
    let mut held = rig.stage.dependants[&CheckId(11)].held.as_ref().unwrap().update.clone();
    (held.status.last_check, held.status.duration) = (Some(began), rig.wall.duration_since(began).unwrap());
    rig.step(|stage, now, out| stage.update(held, now, out));
    rig.heard(&[(11, Unhealthy)]);
}

#[test]
fn a_clock_that_is_set_back_holds_nothing() {
    let mut rig = rig();
    rig.wall -= 500 * SECOND;
    rig.down(1);
    rig.down(11);
    rig.up(1);
    rig.passed.clear();
    rig.down(11);
    rig.heard(&[(11, Unhealthy)]);
}

#[test]
fn what_is_forced_before_a_check_is_a_gateway_counts() {
    let mut rig = Rig::new(&[]);
    rig.step(|stage, now, out| stage.overruled(CheckId(1), Word::Forced(Unhealthy), now, out));
    rig.names.set(&[(11, &[1])]);
    rig.step(|stage, now, out| stage.in_effect(now, out));
    rig.up(1);
    rig.up(11);
    rig.passed.clear();
    rig.down(11);
    rig.heard(&[]);
    rig.step(|stage, now, out| stage.overruled(CheckId(1), Word::Probes, now, out));
    rig.down(11);
    rig.heard(&[(11, Unhealthy)]);
}
