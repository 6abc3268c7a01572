//! What holds whatever happens.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Record {
        id: u64,
        healthy: bool,
    },
    /// Of all checks, those whose id leaves this rest when divided by 4.
    Wave {
        rest: u64,
        healthy: bool,
    },
    Begin(u64),
    Forget(u64),
    Wait(u32),
}

fn step(checks: u64) -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..checks, any::<bool>()).prop_map(|(id, healthy)| Step::Record { id, healthy }),
        2 => (0..4_u64, any::<bool>()).prop_map(|(rest, healthy)| Step::Wave { rest, healthy }),
        1 => (0..checks).prop_map(Step::Begin),
        1 => (0..checks).prop_map(Step::Forget),
        4 => (0..1_500_u32).prop_map(Step::Wait),
    ]
}

fn config() -> impl Strategy<Value = GuardConfig> {
    let groupings = [Grouping::All, Grouping::Subnet { v4: 24, v6: 64 }, Grouping::CheckType];
    let groups = prop::sample::subsequence(groupings.to_vec(), 0..=3);
    let times = (0..3_000_u32, 0..2_000_u32, 0..6_000_u32);
    (groups, 0.1..1.0_f64, times, 0..8_usize, 1..10_usize, 1..4_u32).prop_map(
        |(groups, share, (window, pause, hold), min_group, sample, rounds)| GuardConfig {
            share,
            window: MS * window,
            min_group,
            groups,
            sample: sample.try_into().unwrap(),
            rounds: rounds.try_into().unwrap(),
            round_pause: MS * pause,
            max_hold: MS * hold,
        },
    )
}

/// What a check is known to be, from the outside.
#[derive(Clone, Copy, Debug, Default)]
struct Model {
    life: u64,
    latest: Option<(Health, u64)>,
    told: Option<(Health, u64)>,
    /// Unhealthy since, while told healthy.
    since: Option<Instant>,
}

struct Checked {
    rig: Rig,
    millis: u32,
    models: BTreeMap<u64, Model>,
    lives: u64,
}

impl Checked {
    fn record(&mut self, id: u64, healthy: bool) {
        let Some(model) = self.models.get_mut(&id) else { return };
        let health = if healthy { Health::Healthy } else { Health::Unhealthy };
        self.rig.record(id, model.life, health);
        model.latest = Some((health, self.rig.recorded));
        if healthy {
            model.since = None;
        } else if model.told.is_some_and(|(told, _)| told == Health::Healthy) {
            model.since.get_or_insert(self.rig.now);
        }
        self.hear();
    }

    fn hear(&mut self) {
        for update in self.rig.passed.drain(..) {
            let model = self.models.get_mut(&update.id.0).expect("only checks that are there are told");
            assert_eq!(update.incarnation.0, model.life, "an old life was told");
            model.told = Some((update.status.health, update.status.failures));
            assert_eq!(model.told, model.latest, "something else than the latest was told");
            model.since = None;
        }
    }

    fn play(&mut self, step: Step, checks: u64) {
        match step {
            Step::Record { id, healthy } => self.record(id, healthy),
            Step::Wave { rest, healthy } => {
                (0..checks).filter(|id| id % 4 == rest).for_each(|id| self.record(id, healthy));
            }
            Step::Begin(id) => {
                self.lives += 1;
                self.models.insert(id, Model { life: self.lives, ..Model::default() });
                self.rig.begin(id, self.lives);
            }
            Step::Forget(id) => {
                if let Some(model) = self.models.remove(&id) {
                    self.rig.forget(id, model.life);
                }
            }
            Step::Wait(by) => {
                self.millis += by;
                self.rig.until(self.millis);
            }
        }
        self.hear();
        self.check();
    }

    fn check(&self) {
        let guard = &self.rig.guard;
        let limit = guard.config.max_hold;
        for (id, model) in &self.models {
            let held = guard.held.contains_key(&CheckId(*id));
            assert_eq!(held, model.since.is_some(), "check {id} is held without need, or told and forgotten");
            // What is not held was passed on.
            assert!(held || model.told == model.latest, "check {id} was lost: {model:?}");
            let longest = model.since.map_or(Duration::ZERO, |since| self.rig.now - since);
            assert!(longest <= limit, "check {id} was held for {longest:?}");
        }
        assert!(guard.held.len() <= self.models.len());
        assert_eq!(guard.due.len(), guard.held.len());
        self.count();
    }

    /// The tallies, counted anew.
    fn count(&self) {
        let guard = &self.rig.guard;
        let mut tallies: HashMap<Group, Tally> = HashMap::new();
        for (id, seen) in &guard.checks {
            let wait = guard.held.get(id).map(|held| held.wait);
            for group in guard.groups(&seen.spec) {
                let tally = tallies.entry(group).or_default();
                tally.members += 1;
                tally.healthy += usize::from(seen.told == Health::Healthy);
                tally.down += usize::from(seen.down);
                tally.fresh += usize::from(wait == Some(Wait::Window));
            }
        }
        assert_eq!(tallies, guard.tallies);
        for group in guard.rechecks.keys() {
            assert!(guard.alarms.contains_key(group), "{group} is held without an alarm");
        }
        for (group, alarm) in &guard.alarms {
            assert!(guard.tallies.contains_key(group), "{group} has an alarm and no checks");
            let members = guard.checks.values().filter(|seen| guard.groups(&seen.spec).contains(group));
            let before = members
                .filter(|seen| seen.told == Health::Unhealthy && seen.alarms_before < alarm.number)
                .count();
            assert_eq!(alarm.before, before, "{group}");
            let Tally { members, down, .. } = guard.tallies[group];
            assert!(guard.config.exceeded(down - before, members - before), "the alarm of {group} is over");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_nothing_is_held_for_too_long(
        config in config(), steps in prop::collection::vec(step(24), 0..150),
    ) {
        let end = u32::try_from((config.max_hold + config.window).as_millis()).unwrap();
        let mut all = Checked { rig: Rig::new(config), millis: 0, models: BTreeMap::new(), lives: 0 };
        (0..24).for_each(|id| all.play(Step::Begin(id), 24));
        (0..24).for_each(|id| all.play(Step::Record { id, healthy: true }, 24));
        steps.into_iter().for_each(|step| all.play(step, 24));
        all.play(Step::Wait(end), 24);
        prop_assert_eq!(all.rig.guard.held(), 0);
    }

    #[test]
    fn a_guard_without_groups_is_no_guard(steps in prop::collection::vec(step(24), 0..60)) {
        let off = GuardConfig { groups: Vec::new(), ..GuardConfig::default() };
        let mut all = Checked { rig: Rig::new(off), millis: 0, models: BTreeMap::new(), lives: 0 };
        (0..24).for_each(|id| all.play(Step::Begin(id), 24));
        for step in steps {
            all.play(step, 24);
            prop_assert!(all.models.values().all(|model| model.told == model.latest));
        }
        prop_assert_eq!(all.rig.guard.next_due(), None);
        prop_assert!(all.rig.events.is_empty() && all.rig.probed.is_empty());
    }

    /// Failures that never exceed the share within a window: each is told exactly when its window
    /// is over.
    #[test]
    fn a_lone_failure_waits_for_the_window_and_no_longer(
        size in 5..40_u64, failures in prop::collection::vec((0..40_u64, 0..3_000_u32), 0..40),
    ) {
        let window = 1_000;
        let config = GuardConfig { window: MS * window, ..GuardConfig::default() };
        let mut rig = Rig::healthy(config, 0..=size - 1);
        let mut now = 0;
        for (id, wait) in failures {
            let id = id % size;
            rig.down(id);
            rig.until(now + window - 1);
            prop_assert_eq!(rig.told_down(), Vec::<u64>::new());
            rig.until(now + window);
            prop_assert_eq!(rig.told_down(), vec![id]);
            rig.up(id);
            now += window + wait;
            rig.until(now);
            rig.passed.clear();
        }
        prop_assert!(rig.events.is_empty());
    }
}
