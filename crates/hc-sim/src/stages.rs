//! What stands between the machines and the consumers, under one seed: overrides, dependencies and
//! the guard in virtual time.
//!
//! Checks, some behind gateways, go up and down; operators force, mute and pause them at random,
//! for a while, for ever or for a part of each week; checks are removed and come back under other
//! ids, and the process restarts with what it has written down. From time to time everything fails
//! at once, for a moment or for minutes. A model that knows nothing of the stages says what
//! consumers must have.

mod audit;
mod outage;
mod said;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;
use hc_pipeline::{Dependencies, Guard, GuardConfig, Moment, Names, Overrides, Stages};
use hc_types::Health::{Healthy, Unhealthy};
use hc_types::{
    CheckId, CheckSpec, Evidence, Failure, Health, Incarnation, Known, Metadata, Operator, Outcome, Override,
    Paused, ProbeSpec, Progress, Ruling, Status, StatusUpdate, Subject, Target, Timing, Weekly,
};
use hc_view::{Report, Table};

use self::said::{Part, Said};
use crate::invariant::Step;

const SECOND: Duration = Duration::from_secs(1);
/// Checks; the first two are gateways, the second of them behind the first. More than half of them
/// are behind none.
const CHECKS: u64 = 24;
/// Later than any wait for a gateway, and for the guard behind it.
const BOUND: Duration = Duration::from_secs(110);
/// So many seconds: some wild ones, and calm ones with an outage of everything late enough for all
/// to be healthy before it, and early enough for the bound after it.
const CYCLE: u32 = 700;
const WILD: u32 = 400;
const OUTAGE: u32 = 560;
/// Ends of overrides lie between two steps.
const HALF: Duration = Duration::from_millis(500);

/// What is left out on purpose, to see that an invariant finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Failures behind a gateway are not held.
    NoDependencies,
    /// Nothing ends by itself.
    NothingExpires,
    /// A new process knows nothing of overrides.
    ForgottenAtRestart,
    /// There is no guard.
    NoGuard,
    /// Weekly mutes are in UTC, whatever zone was asked for.
    ForgottenZone,
}

/// Simulates one seed for so many virtual seconds.
///
/// # Errors
/// The first [`Violation`](crate::Violation) of an invariant.
pub fn run_stages(seed: u64, seconds: u32, fault: Option<Fault>) -> Step {
    let mut world = World::new(seed, fault);
    for second in 0..seconds {
        // The last minutes are calm, and so are some between, in which everything fails at once.
        let has_time = second + 400 < seconds;
        let (cycle, within) = (second / CYCLE, second % CYCLE);
        match within {
            WILD if has_time => world.mend(),
            OUTAGE if has_time && cycle.is_multiple_of(2) => world.blink()?,
            OUTAGE if has_time => world.all_down(),
            _ => {}
        }
        world.step(has_time && within < WILD)?;
    }
    world.at_the_end()
}

/// Every second check has a name.
#[derive(Default)]
struct Directory(Mutex<(u64, BTreeMap<CheckId, u64>)>);

fn name(check: u64) -> Option<String> {
    (check.is_multiple_of(2) || check < 2).then(|| format!("c{check}"))
}

/// The gateways of a check.
fn gateways(check: u64) -> &'static [u64] {
    match check {
        0 => &[],
        1 => &[0],
        2..=5 => &[1],
        6 | 7 => &[0],
        8 => &[0, 1],
        _ => &[],
    }
}

impl Names for Directory {
    fn metadata(&self, id: CheckId) -> Option<Arc<Metadata>> {
        let checks = self.0.lock().ok()?;
        let check = *checks.1.get(&id)?;
        let depends_on = gateways(check).iter().filter_map(|gateway| Some(name(*gateway)?.into())).collect();
        Some(Arc::new(Metadata { name: name(check).map(Into::into), depends_on, ..Metadata::default() }))
    }

    fn id_of(&self, wanted: &str) -> Option<CheckId> {
        let checks = self.0.lock().ok()?;
        checks.1.iter().find(|(_, check)| name(**check).as_deref() == Some(wanted)).map(|(id, _)| *id)
    }

    fn dependants(&self, seen: u64) -> Option<(u64, Known)> {
        let (version, ids): (u64, Vec<CheckId>) = {
            let checks = self.0.lock().ok()?;
            (checks.0, checks.1.keys().copied().collect())
        };
        let all = || ids.into_iter().filter_map(|id| Some((id, self.metadata(id)?)));
        (version != seen)
            .then(|| (version, all().filter(|(_, known)| !known.depends_on.is_empty()).collect()))
    }
}

/// A check, as it is and as the model knows it.
#[derive(Clone, Debug)]
struct Check {
    id: Option<CheckId>,
    is_up: bool,
    /// What the latest probe of this life has found.
    truth: Option<Health>,
    /// Since when that, and whatever else decides, is as it is.
    calm: Duration,
    /// Since it is down there was a moment at which no gateway was in the way, so the failure may
    /// have been let through.
    let_through: bool,
}

struct World {
    rng: Rng,
    fault: Option<Fault>,
    names: Arc<Directory>,
    paused: Arc<Paused>,
    stages: Stages,
    table: Table,
    origin: Instant,
    now: Duration,
    lives: u64,
    checks: Vec<Check>,
    /// Of a check at most one of each kind, and beside it one for a part of each week.
    said: BTreeMap<(u64, &'static str, bool), Said>,
    /// Until when nobody may be told of the latest short outage.
    blink: Option<Duration>,
}

fn spec(check: u64) -> Arc<CheckSpec> {
    let last = u8::try_from(check).unwrap_or(u8::MAX);
    let target = Target::plain([192, 0, 2, last].into(), 0);
    let spec = CheckSpec::new(target, ProbeSpec::Icmp, Timing::every(SECOND).timeout(SECOND));
    Arc::new(spec.unwrap_or_else(|_| unreachable!("a check of an address")))
}

fn subject(check: u64) -> Subject {
    name(check).map_or_else(|| Subject::Key(spec(check).key()), |name| Subject::Name(name.into()))
}

impl World {
    #[allow(
        clippy::disallowed_methods,
        reason = "an Instant comes from nowhere else; only differences to it are used"
    )]
    fn new(seed: u64, fault: Option<Fault>) -> Self {
        let check = Check { id: None, is_up: true, truth: None, calm: Duration::ZERO, let_through: false };
        let mut world = Self {
            rng: Rng::with_seed(seed),
            fault,
            names: Arc::default(),
            paused: Arc::default(),
            stages: Stages::default(),
            table: Table::new(0, 0),
            origin: Instant::now(),
            now: Duration::from_secs(1_000_000),
            lives: 0,
            checks: vec![check; usize::try_from(CHECKS).unwrap_or_default()],
            said: BTreeMap::new(),
            blink: None,
        };
        world.restart(Vec::new());
        world
    }

    fn at(&self) -> Moment {
        Moment { instant: self.origin + self.now, wall: SystemTime::UNIX_EPOCH + self.now }
    }

    fn call<T>(&mut self, call: impl FnOnce(&mut Stages, &mut Table, &mut Vec<Report>, Moment) -> T) -> T {
        let at = self.at();
        call(&mut self.stages, &mut self.table, &mut Vec::new(), at)
    }

    /// A process begins, with these overrides.
    fn restart(&mut self, overrides: Vec<Override>) {
        let Moment { instant, wall } = self.at();
        (self.paused, self.names) = (Arc::default(), Arc::default());
        self.stages = Stages::default();
        self.stages.push_overrides(Overrides::new(
            self.names.clone(),
            self.paused.clone(),
            overrides,
            wall,
            instant,
        ));
        if self.fault != Some(Fault::NoDependencies) {
            self.stages.push_first(Box::new(Dependencies::new(self.names.clone(), self.paused.clone())));
        }
        if self.fault != Some(Fault::NoGuard) {
            self.stages.push(Box::new(Guard::new(GuardConfig::default())));
        }
        self.table = Table::new(0, 0);
        self.checks.iter_mut().for_each(|check| check.id = None);
        (0..CHECKS).for_each(|check| self.begin(check));
        self.in_effect();
    }

    fn check(&mut self, check: u64) -> &mut Check {
        &mut self.checks[usize::try_from(check).unwrap_or_default()]
    }

    fn begin(&mut self, check: u64) {
        self.lives += 1;
        let (id, incarnation, spec) = (CheckId(self.lives), Incarnation(self.lives), spec(check));
        let now = self.now;
        let known = self.check(check);
        (known.id, known.truth, known.calm, known.let_through) = (Some(id), None, now, false);
        if let Ok(mut names) = self.names.0.lock() {
            names.0 += 1;
            names.1.insert(id, check);
        }
        self.table.begin(id, incarnation, &spec);
        self.call(|stages, table, reports, at| stages.begin((id, incarnation, &spec), table, reports, at));
    }

    fn remove(&mut self, check: u64) {
        let Some(id) = self.check(check).id.take() else { return };
        if let Ok(mut names) = self.names.0.lock() {
            names.0 += 1;
            names.1.remove(&id);
        }
        self.table.forget(id, Incarnation(id.0));
        self.call(|stages, table, reports, at| stages.forget(id, table, reports, at));
    }

    fn in_effect(&mut self) {
        self.call(|stages, table, reports, at| stages.in_effect(table, reports, at));
    }

    /// What happens in a second, and what must hold after it.
    fn step(&mut self, is_wild: bool) -> Step {
        let end = self.now + SECOND;
        while self.fault != Some(Fault::NothingExpires)
            && let Some(due) = self.stages.next_due().filter(|due| *due <= self.origin + end)
        {
            self.now = self.now.max(due - self.origin);
            self.audited("time", |world| {
                world.call(|stages, table, reports, at| stages.expire(table, reports, at));
            })?;
        }
        self.now = end;
        let now = self.now;
        self.said.retain(|_, said| said.until.is_none_or(|until| until > now));
        if is_wild {
            self.trouble()?;
        } else {
            // Nothing stands for ever.
            self.said.values_mut().for_each(|said| said.until = said.until.or(Some(now)));
            self.withdraw_all()?;
        }
        let mut due: BTreeSet<CheckId> = self.stages.take_probes();
        for check in 0..CHECKS {
            let Some(id) = self.check(check).id else { continue };
            if due.remove(&id) || self.rng.u8(..3) == 0 {
                self.probe(check)?;
            }
        }
        self.audit()
    }

    fn trouble(&mut self) -> Step {
        let check = self.rng.u64(..CHECKS);
        match self.rng.u8(..100) {
            0..8 => {
                let known = self.check(check);
                known.is_up = !known.is_up;
            }
            8..11 => {
                let health = if self.rng.bool() { Healthy } else { Unhealthy };
                self.set(check, Ruling::Force(health))?;
            }
            11..13 => self.set(check, Ruling::Mute { kept: None })?,
            13 => self.mute_weekly(check)?,
            14..16 => self.set(check, Ruling::Pause)?,
            16 => self.audited("withdraw", |world| world.withdraw(check))?,
            17 => {
                self.remove(check);
                self.in_effect();
            }
            18 if self.check(check).id.is_none() => {
                self.begin(check);
                self.in_effect();
            }
            19 if self.rng.u8(..4) == 0 => {
                let kept = self.stages.overrides().map(Overrides::to_keep).unwrap_or_default();
                self.restart(if self.fault == Some(Fault::ForgottenAtRestart) { Vec::new() } else { kept });
            }
            _ => {}
        }
        Ok(())
    }

    fn mute_weekly(&mut self, check: u64) -> Step {
        let forget_zone = self.fault == Some(Fault::ForgottenZone);
        let weekly = Part::soon(self.now, forget_zone, &mut self.rng);
        self.set_in(check, Ruling::Mute { kept: None }, Some(weekly))
    }

    fn set(&mut self, check: u64, ruling: Ruling) -> Step {
        self.set_in(check, ruling, None)
    }

    fn set_in(&mut self, check: u64, ruling: Ruling, weekly: Option<(Part, Weekly)>) -> Step {
        let (part, weekly) = weekly.unzip();
        let length = self.rng.bool().then(|| SECOND * self.rng.u32(..120) + HALF);
        let until = length.map(|length| self.now + length);
        let wall = self.at().wall;
        let order = Override {
            subject: subject(check),
            title: "it".into(),
            ruling,
            by: Operator { uid: 0, user: None },
            reason: "because".into(),
            asked: wall,
            from: wall,
            until: length.map(|length| wall + length),
            weekly,
        };
        let place = (check, ruling.label(), part.is_some());
        // A mute that is set again keeps what it kept.
        let kept = self.said.get(&place).filter(|said| said.stands(self.now)).and_then(|said| said.kept);
        self.said.insert(place, Said { ruling, until, weekly: part, kept });
        let ids: Vec<CheckId> = self.check(check).id.into_iter().collect();
        self.audited("set", |world| {
            let numbers =
                world.call(|stages, table, reports, at| stages.overrule(vec![order], table, reports, at));
            drop(numbers);
            world.call(|stages, table, reports, at| stages.bind(&ids, table, reports, at));
        })
    }

    /// Ends all overrides of a check.
    fn withdraw(&mut self, check: u64) {
        let subject = subject(check);
        let all = self.stages.overrides().map(Overrides::standings).unwrap_or_default();
        let of = all.iter().filter(|one| one.order.subject == subject);
        let numbers: Vec<u64> = of.map(|one| one.number).collect();
        self.said.retain(|(other, ..), _| *other != check);
        let by = Operator { uid: 0, user: None };
        self.call(|stages, table, reports, at| stages.withdraw(&numbers, &by, table, reports, at));
    }

    fn withdraw_all(&mut self) -> Step {
        if self.fault == Some(Fault::NothingExpires) || self.said.is_empty() {
            return Ok(());
        }
        self.audited("withdraw", |world| (0..CHECKS).for_each(|check| world.withdraw(check)))
    }

    /// Nothing is probed that is paused, and nothing passes behind a gateway that is down.
    fn probe(&mut self, check: u64) -> Step {
        let Some(id) = self.check(check).id.filter(|id| !self.paused.contains(*id)) else { return Ok(()) };
        let passes = self.reaches(check);
        let health = if passes { Healthy } else { Unhealthy };
        let Moment { wall, .. } = self.at();
        let now = self.now;
        let known = self.check(check);
        let transition = known.truth != Some(health);
        if transition {
            known.calm = now;
        }
        known.truth = Some(health);
        known.let_through &= !passes;
        let outcome = if passes { Outcome::PASS } else { Failure::Refused.into() };
        let update = StatusUpdate {
            id,
            incarnation: Incarnation(id.0),
            spec: spec(check),
            status: Status { health, last_check: Some(wall), outcome: Some(outcome), ..Status::NEW },
            transition,
            reportable: true,
            progress: Progress { next_due: Some(wall + SECOND), ..Progress::default() },
            evidence: Evidence::default(),
        };
        self.audited("a probe", |world| {
            world.call(|stages, table, reports, at| stages.record(&mut vec![update], table, reports, at));
        })
    }

    fn reaches(&self, check: u64) -> bool {
        let is_up =
            usize::try_from(check).ok().and_then(|at| self.checks.get(at)).is_some_and(|check| check.is_up);
        is_up && gateways(check).iter().all(|gateway| self.reaches(*gateway))
    }
}
