mod mutes;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use hc_types::Health::{Healthy, Unhealthy};
use hc_types::{Operator, Outcome, ProbeSpec, Ruling, Target, Timing, Weekly};
use hc_view::Table;

use super::*;
use crate::stages::{Moment, Stages};
use crate::{Grouping, Guard, GuardConfig};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// A Sunday, 01:00 UTC.
const START: u64 = 1_795_914_000;

/// Checks from 100 on have no name.
struct Named;

impl Names for Named {
    fn metadata(&self, id: CheckId) -> Option<Arc<Metadata>> {
        let metadata = |name: String| Arc::new(Metadata { name: Some(name.into()), ..Metadata::default() });
        (id.0 < 100).then(|| metadata(format!("web{}", id.0 % 10)))
    }
}

/// Stages in virtual time, and what consumers heard.
struct Rig {
    stages: Stages,
    table: Table,
    paused: Arc<Paused>,
    instant: Instant,
    wall: SystemTime,
    lives: BTreeMap<u64, u64>,
    heard: Vec<(u64, Health)>,
    probed: Vec<u64>,
    events: Vec<Event>,
}

fn spec(id: u64) -> Arc<CheckSpec> {
    let target = Target::plain([192, 0, 2, u8::try_from(id % 10).unwrap()].into(), 0);
    Arc::new(CheckSpec::new(target, ProbeSpec::Icmp, Timing::every(SECOND).timeout(SECOND)).unwrap())
}

fn order(subject: Subject, ruling: Ruling, from: SystemTime, until: Option<SystemTime>) -> Override {
    let by = Operator { uid: 0, user: Some("root".into()) };
    let (title, reason) = ("it".into(), "a test".into());
    Override { subject, title, ruling, by, reason, asked: from, from, until, weekly: None }
}

fn named(name: &str) -> Subject {
    Subject::Name(name.into())
}

impl Rig {
    fn new() -> Self {
        Self::with(Vec::new())
    }

    #[allow(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn with(overrides: Vec<Override>) -> Self {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(START);
        let (paused, mut stages, instant) = (Arc::new(Paused::default()), Stages::default(), Instant::now());
        stages.push_overrides(Overrides::new(Arc::new(Named), paused.clone(), overrides, wall, instant));
        Self {
            stages,
            table: Table::new(1, 8),
            paused,
            instant,
            wall,
            lives: BTreeMap::new(),
            heard: Vec::new(),
            probed: Vec::new(),
            events: Vec::new(),
        }
    }

    fn step<T>(
        &mut self,
        step: impl FnOnce(&mut Stages, &mut Table, &mut Vec<hc_view::Report>, Moment) -> T,
    ) -> T {
        let mut reports = Vec::new();
        let at = Moment { instant: self.instant, wall: self.wall };
        let result = step(&mut self.stages, &mut self.table, &mut reports, at);
        for report in reports.into_iter().filter(|report| report.transition) {
            let told = self.table.reported(report.slot).unwrap();
            self.heard.push((told.id.0, told.status.health));
        }
        self.probed.extend(self.stages.take_probes().into_iter().map(|id| id.0));
        self.events.extend(self.stages.take_events());
        result
    }

    fn begin(&mut self, id: u64) {
        let life = self.lives.entry(id).or_default();
        *life += 1;
        let (id, incarnation, spec) = (CheckId(id), Incarnation(*life), spec(id));
        self.table.begin(id, incarnation, &spec);
        self.step(|stages, table, reports, at| stages.begin((id, incarnation, &spec), table, reports, at));
    }

    fn remove(&mut self, id: u64) {
        let incarnation = Incarnation(self.lives[&id]);
        assert!(self.table.forget(CheckId(id), incarnation).is_some());
        self.step(|stages, table, reports, at| stages.forget(CheckId(id), table, reports, at));
    }

    fn probe(&mut self, id: u64, health: Health) {
        let status =
            Status { health, last_check: Some(self.wall), outcome: Some(Outcome::PASS), ..Status::NEW };
        let update = StatusUpdate {
            id: CheckId(id),
            incarnation: Incarnation(self.lives[&id]),
            spec: spec(id),
            status,
            transition: false,
            reportable: true,
            progress: Progress::default(),
            evidence: Evidence::default(),
        };
        self.step(|stages, table, reports, at| stages.record(&mut vec![update], table, reports, at));
    }

    fn add(&mut self, subject: Subject, ruling: Ruling, length: Option<Duration>) -> u64 {
        let order = order(subject, ruling, self.wall, length.map(|length| self.wall + length));
        self.add_order(order)
    }

    fn add_order(&mut self, order: Override) -> u64 {
        let numbers =
            self.step(|stages, table, reports, at| stages.overrule(vec![order], table, reports, at));
        let ids: Vec<CheckId> = self.lives.keys().map(|id| CheckId(*id)).collect();
        self.step(|stages, table, reports, at| stages.bind(&ids, table, reports, at));
        let numbers = numbers.unwrap();
        self.step(|stages, table, _, at| stages.announce(&numbers, table, at));
        numbers[0]
    }

    fn withdraw(&mut self, number: u64) {
        let by = Operator { uid: 7, user: None };
        let ended =
            self.step(|stages, table, reports, at| stages.withdraw(&[number], &by, table, reports, at));
        assert_eq!(ended.len(), 1);
    }

    /// Lets time pass, as the task does.
    fn pass(&mut self, time: Duration) {
        let (end, wall) = (self.instant + time, self.wall + time);
        while let Some(due) = self.stages.next_due().filter(|due| *due <= end) {
            let due = due.max(self.instant);
            self.wall += due - self.instant;
            self.instant = due;
            self.step(|stages, table, reports, at| stages.expire(table, reports, at));
            assert!(
                self.stages.next_due().is_none_or(|next| next > self.instant),
                "nothing was done about what is due"
            );
        }
        (self.instant, self.wall) = (end, wall);
    }

    fn heard(&mut self) -> Vec<(u64, Health)> {
        std::mem::take(&mut self.heard)
    }

    fn probed(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.probed)
    }

    fn reported(&self, id: u64) -> Option<Health> {
        self.table.check(CheckId(id)).unwrap().reported_health()
    }

    fn by(&self, id: u64) -> Option<&'static str> {
        match self.table.check(CheckId(id)).unwrap().reported {
            Reported::Other(other) => Some(other.by),
            _ => None,
        }
    }
}

fn force(health: Health) -> Ruling {
    Ruling::Force(health)
}

const MUTE: Ruling = Ruling::Mute { kept: None };

#[test]
fn forced_health_is_told_at_once_and_the_truth_when_it_is_over() {
    let mut rig = Rig::new();
    rig.begin(1);
    rig.probe(1, Healthy);
    assert_eq!(rig.heard(), [(1, Healthy)]);
    rig.add(named("web1"), force(Unhealthy), Some(MINUTE));
    assert_eq!((rig.heard(), rig.by(1)), (vec![(1, Unhealthy)], Some("override")));
    let told = rig.table.check(CheckId(1)).unwrap().reported;
    let Reported::Other(told) = told else { panic!("{told:?}") };
    assert_eq!(
        told.status.note.as_deref(),
        Some("forced unhealthy by root until 2026-11-29T01:01:00Z: a test")
    );
    for health in [Healthy, Unhealthy, Healthy] {
        rig.probe(1, health);
        let check = rig.table.check(CheckId(1)).unwrap();
        assert_eq!(
            (check.status.health, check.reported_health()),
            (health, Some(Unhealthy)),
            "readers see both"
        );
    }
    rig.pass(MINUTE - SECOND);
    assert_eq!(rig.heard(), []);
    rig.pass(2 * SECOND);
    assert_eq!((rig.heard(), rig.reported(1), rig.by(1)), (vec![(1, Healthy)], Some(Healthy), None));
    assert!(matches!(&*rig.events, [Event::OverrideOver { over: Over::Expired, .. }]), "{:?}", rig.events);
    assert!(rig.stages.is_idle());
}

#[test]
fn a_force_that_is_over_tells_nothing_where_it_was_true() {
    let mut rig = Rig::new();
    rig.begin(1);
    rig.probe(1, Healthy);
    let number = rig.add(named("web1"), force(Unhealthy), None);
    rig.probe(1, Unhealthy);
    rig.heard();
    rig.withdraw(number);
    assert_eq!((rig.heard(), rig.reported(1), rig.by(1)), (vec![], Some(Unhealthy), None));
}

#[test]
fn a_check_without_a_verdict_is_told_as_forced_and_stays_so_until_one() {
    let mut rig = Rig::new();
    rig.begin(1);
    let number = rig.add(named("web1"), force(Healthy), None);
    assert_eq!(rig.heard(), [(1, Healthy)]);
    rig.withdraw(number);
    assert_eq!((rig.reported(1), rig.probed()), (Some(Healthy), vec![1]), "never unknown");
    rig.probe(1, Unhealthy);
    assert_eq!((rig.heard(), rig.by(1)), (vec![(1, Unhealthy)], None));
}

#[test]
fn the_later_force_counts_and_takes_the_place_of_the_one_before() {
    let mut rig = Rig::new();
    rig.begin(1);
    rig.probe(1, Healthy);
    rig.add(named("web1"), force(Unhealthy), Some(MINUTE));
    rig.add(named("web1"), force(Healthy), Some(2 * MINUTE));
    rig.add(named("web2"), force(Unhealthy), None);
    assert_eq!(rig.heard(), [(1, Healthy), (1, Unhealthy), (1, Healthy)]);
    rig.pass(MINUTE + SECOND);
    assert_eq!((rig.heard(), rig.by(1)), (vec![], Some("override")));
    assert_eq!(rig.stages.overrides().unwrap().book().standings().len(), 2);
}

#[test]
fn a_muted_check_is_kept_and_the_latest_is_told_at_the_end_if_it_differs() {
    for (last, told) in [(Healthy, vec![]), (Unhealthy, vec![(1, Unhealthy)])] {
        let mut rig = Rig::new();
        rig.begin(1);
        rig.probe(1, Healthy);
        rig.add(named("web1"), MUTE, Some(MINUTE));
        rig.heard();
        for health in [Unhealthy, Healthy, Unhealthy, last] {
            rig.probe(1, health);
            assert_eq!(rig.reported(1), Some(Healthy));
        }
        rig.pass(MINUTE + SECOND);
        assert_eq!((rig.heard(), rig.reported(1), rig.by(1)), (told, Some(last), None));
    }
}

#[test]
fn the_first_verdict_passes_a_mute_since_there_is_nothing_to_keep() {
    let mut rig = Rig::new();
    rig.begin(1);
    rig.add(named("web1"), MUTE, None);
    rig.probe(1, Unhealthy);
    rig.probe(1, Healthy);
    assert_eq!(rig.heard(), [(1, Unhealthy)]);
}

/// What consumers had is in the override, so that the next process tells them the same.
#[test]
fn a_mute_goes_on_in_the_next_process_and_in_the_next_life() {
    let mut rig = Rig::new();
    rig.begin(1);
    rig.probe(1, Healthy);
    rig.add(named("web1"), MUTE, Some(MINUTE));
    rig.probe(1, Unhealthy);
    let kept: Vec<Override> = rig.stages.overrides().unwrap().book().orders().cloned().collect();
    assert_eq!(kept[0].ruling, Ruling::Mute { kept: Some(Healthy) });

    let mut next = Rig::with(kept);
    next.begin(11);
    assert_eq!(next.heard(), [(11, Healthy)], "another id with the same name");
    next.probe(11, Unhealthy);
    assert_eq!(next.heard(), []);
    next.pass(MINUTE + SECOND);
    assert_eq!(next.heard(), [(11, Unhealthy)]);
}

#[test]
fn a_mute_of_each_week_opens_and_closes() {
    let mut rig = Rig::new();
    rig.begin(1);
    rig.probe(1, Healthy);
    let weekly: Weekly = parse_weekly("Sun 02:00-04:00", "Etc/UTC").unwrap();
    let mut weekly = Override { weekly: Some(weekly), ..order(named("web1"), MUTE, rig.wall, None) };
    weekly.asked = rig.wall;
    rig.add_order(weekly);
    rig.probe(1, Unhealthy);
    rig.probe(1, Healthy);
    assert_eq!(rig.heard(), [(1, Healthy), (1, Unhealthy), (1, Healthy)], "not yet");
    rig.pass(61 * MINUTE);
    rig.probe(1, Unhealthy);
    assert_eq!((rig.heard(), rig.reported(1)), (vec![], Some(Healthy)));
    rig.pass(118 * MINUTE);
    assert_eq!(rig.heard(), []);
    rig.pass(2 * MINUTE);
    assert_eq!(rig.heard(), [(1, Unhealthy)]);
    rig.probe(1, Healthy);
    rig.pass(7 * 24 * 60 * MINUTE - 60 * MINUTE);
    rig.probe(1, Unhealthy);
    assert_eq!((rig.heard(), rig.reported(1)), (vec![(1, Healthy)], Some(Healthy)), "a week later");
    assert_eq!(rig.events.len(), 3, "{:?}", rig.events);
}

#[test]
fn a_mute_that_begins_later_and_one_within_a_force() {
    let mut rig = Rig::new();
    rig.begin(1);
    rig.probe(1, Healthy);
    let from = rig.wall + MINUTE;
    rig.add_order(order(named("web1"), MUTE, from, Some(from + 2 * MINUTE)));
    rig.add(named("web1"), force(Unhealthy), Some(2 * MINUTE));
    rig.pass(MINUTE + SECOND);
    rig.heard();
    rig.pass(MINUTE);
    assert_eq!(
        (rig.heard(), rig.reported(1)),
        (vec![], Some(Unhealthy)),
        "the force is over: they keep what they have"
    );
    rig.pass(MINUTE);
    assert_eq!(rig.heard(), [(1, Healthy)]);
}

#[test]
fn a_pause_stops_probes_and_a_resume_asks_for_one() {
    let mut rig = Rig::new();
    rig.begin(1);
    rig.probe(1, Healthy);
    let number = rig.add(named("web1"), Ruling::Pause, None);
    assert!(rig.paused.contains(CheckId(1)));
    rig.withdraw(number);
    assert_eq!((rig.paused.contains(CheckId(1)), rig.probed()), (false, vec![1]));
    rig.add(named("web1"), Ruling::Pause, Some(MINUTE));
    rig.remove(1);
    assert!(!rig.paused.contains(CheckId(1)), "an id that is no more");
    rig.lives.remove(&1);
    rig.begin(1);
    assert!(rig.paused.contains(CheckId(1)), "before its first probe");
    rig.pass(MINUTE + SECOND);
    assert_eq!((rig.paused.contains(CheckId(1)), rig.probed()), (false, vec![1]));
    assert_eq!(rig.heard(), [(1, Healthy)]);
}

#[test]
fn an_override_waits_for_its_check_and_finds_it_under_another_id() {
    let mut rig = Rig::new();
    rig.begin(1);
    rig.probe(1, Healthy);
    rig.add(named("web1"), force(Unhealthy), Some(MINUTE));
    rig.remove(1);
    rig.heard();
    rig.begin(21);
    assert_eq!(rig.heard(), [(21, Unhealthy)]);
    rig.remove(21);
    rig.pass(2 * MINUTE);
    rig.begin(31);
    rig.probe(31, Healthy);
    assert_eq!(rig.heard(), [(31, Healthy)], "it has expired meanwhile");
}

/// Seesaw's checks have no names, and two of them may check the same.
#[test]
fn an_override_without_a_name_is_of_every_check_of_the_same() {
    let mut rig = Rig::new();
    for id in [101, 111, 102] {
        rig.begin(id);
        rig.probe(id, Healthy);
    }
    rig.begin(1);
    rig.heard();
    rig.add(Subject::Key(spec(101).key()), force(Unhealthy), Some(MINUTE));
    assert_eq!(rig.heard(), [(101, Unhealthy), (111, Unhealthy)]);
    rig.begin(121);
    assert_eq!(rig.heard(), [(121, Unhealthy)]);
    rig.pass(MINUTE + SECOND);
    assert_eq!(rig.heard(), [(101, Healthy), (111, Healthy)]);
}

/// The guard neither holds what an operator says, nor takes it for evidence.
#[test]
fn a_force_of_many_is_no_alarm() {
    let mut rig = Rig::new();
    let sample = NonZeroUsize::MIN;
    let config = GuardConfig { groups: vec![Grouping::All], min_group: 2, sample, ..GuardConfig::default() };
    rig.stages.push(Box::new(Guard::new(config)));
    for id in 1..=9 {
        rig.begin(id);
        rig.probe(id, Healthy);
    }
    rig.heard();
    // One that the guard has held at the moment.
    rig.probe(9, Unhealthy);
    assert_eq!((rig.heard(), rig.by(9)), (vec![], Some("guard")));
    let numbers: Vec<u64> =
        (2..=9).map(|id| rig.add(named(&format!("web{id}")), force(Unhealthy), None)).collect();
    let expected: Vec<(u64, Health)> = (2..=9).map(|id| (id, Unhealthy)).collect();
    assert_eq!((rig.heard(), &rig.events), (expected, &vec![]));
    rig.pass(MINUTE);
    numbers.into_iter().for_each(|number| rig.withdraw(number));
    let expected: Vec<(u64, Health)> = (2..=8).map(|id| (id, Healthy)).collect();
    assert_eq!((rig.heard(), &rig.events), (expected, &vec![]));
}

/// A clock that is set forward ends what is over by then within seconds.
#[test]
fn a_clock_that_is_set_is_noticed() {
    let mut rig = Rig::new();
    rig.begin(1);
    rig.probe(1, Healthy);
    rig.add(named("web1"), force(Unhealthy), Some(60 * MINUTE));
    rig.heard();
    rig.wall += 60 * MINUTE;
    rig.pass(LOOK);
    assert_eq!(rig.heard(), [(1, Healthy)]);
}

#[test]
fn what_is_over_is_not_taken_from_an_earlier_process() {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(START);
    let over = order(named("web1"), force(Unhealthy), wall - MINUTE, Some(wall));
    assert!(Rig::with(vec![over]).stages.is_idle());
}

/// What the journal says of overrides: of which checks, what happened, and whether they stand then.
fn journal(rig: &Rig) -> Vec<(Vec<u64>, OverrideStep, bool)> {
    let changes = rig.table.overrides_after(0, 99).changes.into_iter();
    let ids = |checks: &[CheckId]| checks.iter().map(|id| id.0).collect();
    changes.map(|change| (ids(&change.checks), change.step, change.is_open)).collect()
}

#[test]
fn the_journal_has_every_step_of_an_override() {
    let mut rig = Rig::new();
    rig.begin(1);
    rig.probe(1, Healthy);
    rig.add(named("web1"), force(Unhealthy), Some(MINUTE));
    rig.pass(2 * MINUTE);
    let (begin, end) = (rig.wall + MINUTE, rig.wall + 2 * MINUTE);
    rig.add_order(order(named("web1"), Ruling::Mute { kept: None }, begin, Some(end)));
    rig.pass(3 * MINUTE);
    let number = rig.add(named("web9"), Ruling::Pause, None);
    rig.withdraw(number);
    let by = Operator { uid: 7, user: None };
    assert_eq!(
        journal(&rig),
        [
            (vec![1], OverrideStep::Set, true),
            (vec![1], OverrideStep::Expired, false),
            (vec![1], OverrideStep::Set, false),
            (vec![1], OverrideStep::Opened, true),
            (vec![1], OverrideStep::Expired, false),
            (vec![], OverrideStep::Set, true),
            (vec![], OverrideStep::Withdrawn(by), false),
        ]
    );
    let latest = rig.table.overrides_of(&named("web1"), 2).into_iter().map(|change| change.step);
    assert_eq!(latest.collect::<Vec<_>>(), [OverrideStep::Opened, OverrideStep::Expired]);
}

#[test]
fn an_override_that_expired_while_no_process_ran_is_in_the_journal() {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(START);
    let over = order(named("web1"), force(Unhealthy), wall - 2 * MINUTE, Some(wall - MINUTE));
    let mut rig = Rig::with(vec![over]);
    rig.pass(SECOND);
    assert_eq!(journal(&rig), [(vec![], OverrideStep::Expired, false)]);
    assert_eq!(rig.table.overrides_after(0, 9).changes[0].at, wall - MINUTE);
    assert_eq!(rig.table.overrides_of(&named("web1"), 9).len(), 1, "it did not run when that happened");
    assert!(matches!(&*rig.events, [Event::OverrideOver { .. }]), "{:?}", rig.events);
}
