//! A guard in virtual time, and all that it said.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use hc_types::{Evidence, Incarnation, ProbeSpec, Progress, Status, Target, Timing};

use super::*;

/// A guard in virtual time, and all that it said.
pub(super) struct Rig {
    pub(super) guard: Guard,
    /// The current life of each check: the pipeline drops the updates of others.
    pub(super) lives: BTreeMap<u64, u64>,
    pub(super) start: Instant,
    pub(super) now: Instant,
    /// Statuses recorded so far, by which each can be told from all others.
    pub(super) recorded: u64,
    pub(super) passed: Vec<StatusUpdate>,
    pub(super) probed: Vec<u64>,
    pub(super) events: Vec<Event>,
}

/// Ten checks to a subnet of 24 bits; the interval is 1 s for ids below 1000, and an hour from
/// there on.
pub(super) fn spec(id: u64) -> Arc<CheckSpec> {
    let [.., third, fourth] = u32::try_from(id / 10 * 256 + id % 10).unwrap().to_be_bytes();
    let target = Target::plain(Ipv4Addr::new(10, 0, third, fourth).into(), 0);
    let interval = Duration::from_secs(if id < 1000 { 1 } else { 3600 });
    Arc::new(
        CheckSpec::new(target, ProbeSpec::Icmp, Timing::every(interval).timeout(Duration::from_secs(1)))
            .unwrap(),
    )
}

impl Rig {
    #[allow(clippy::disallowed_methods, reason = "an origin for virtual time")]
    pub(super) fn new(config: GuardConfig) -> Self {
        let (guard, start) = (Guard::new(config), Instant::now());
        let (passed, probed, events) = (Vec::new(), Vec::new(), Vec::new());
        Self { guard, lives: BTreeMap::new(), start, now: start, recorded: 0, passed, probed, events }
    }

    /// With these checks, which are healthy.
    pub(super) fn healthy(config: GuardConfig, ids: RangeInclusive<u64>) -> Self {
        let mut rig = Self::new(config);
        for id in ids {
            rig.begin(id, 1);
            rig.up(id);
        }
        rig.passed.clear();
        rig
    }

    pub(super) fn step(&mut self, step: impl FnOnce(&mut Guard, Instant, &mut Effects)) {
        let mut out = Effects::default();
        step(&mut self.guard, self.now, &mut out);
        self.passed.extend(out.pass);
        self.probed.extend(out.probe.into_iter().map(|id| id.0));
        self.events.extend(out.events);
        let (figures, guard) = (self.guard.figures(), &self.guard);
        assert_eq!((figures.alarms(), figures.held()), (guard.alarms().count(), guard.held()));
    }

    pub(super) fn begin(&mut self, id: u64, life: u64) {
        if self.lives.insert(id, life).is_some() {
            self.step(|guard, now, out| guard.forget(CheckId(id), now, out));
        }
    }

    pub(super) fn forget(&mut self, id: u64, life: u64) {
        if self.lives.get(&id) == Some(&life) {
            self.lives.remove(&id);
            self.step(|guard, now, out| guard.forget(CheckId(id), now, out));
        }
    }

    pub(super) fn record(&mut self, id: u64, life: u64, health: Health) {
        self.recorded += 1;
        if self.lives.get(&id) != Some(&life) {
            return;
        }
        let status = Status { health, failures: self.recorded, ..Status::NEW };
        let (id, incarnation, spec) = (CheckId(id), Incarnation(life), spec(id));
        let update = StatusUpdate {
            id,
            incarnation,
            spec,
            status,
            transition: false,
            reportable: true,
            progress: Progress::default(),
            evidence: Evidence::default(),
        };
        self.step(|guard, now, out| guard.update(update, now, out));
    }

    pub(super) fn up(&mut self, id: u64) {
        self.record(id, 1, Health::Healthy);
    }

    pub(super) fn down(&mut self, id: u64) {
        self.record(id, 1, Health::Unhealthy);
    }

    /// Lets time pass up to so many milliseconds after the start, as the task does.
    pub(super) fn until(&mut self, millis: u32) {
        let end = self.start + MS * millis;
        while let Some(due) = self.guard.next_due().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.step(|guard, now, out| guard.expire(now, out));
            let stuck = self.guard.next_due().is_some_and(|next| next <= self.now);
            assert!(!stuck, "nothing was done about what is due");
        }
        self.now = end;
    }

    /// The ids told unhealthy since this was asked last.
    pub(super) fn told_down(&mut self) -> Vec<u64> {
        let down = |update: StatusUpdate| (update.status.health == Health::Unhealthy).then_some(update.id.0);
        let mut ids: Vec<u64> = self.passed.drain(..).filter_map(down).collect();
        ids.sort_unstable();
        ids
    }

    pub(super) fn take_probed(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.probed)
    }

    #[track_caller]
    pub(super) fn heard(&mut self, expected: &[Event]) {
        assert_eq!(std::mem::take(&mut self.events), expected);
    }
}
