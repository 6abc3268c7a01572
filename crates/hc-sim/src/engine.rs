//! The Seesaw Engine: what it means by its ids, and what it has been told.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use hc_types::{CheckId, CheckSpec, Health, Incarnation, Jitter, Status};

use crate::clock::{Nanos, SECOND};
use crate::proxy::Set;
use crate::truth::{Subject, Timing, Truth};

/// What the operator has configured; it outlives the engine.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) checks: Vec<(Subject, Timing)>,
}

#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) health: Health,
    pub(crate) at: Nanos,
    /// Whose counters these are.
    pub(crate) life: (u32, Incarnation),
    pub(crate) counted: u64,
}

/// One process of it.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) life: u32,
    pub(crate) began: Nanos,
    checks: HashMap<CheckId, Meant>,
    next_id: u64,
    nil_until: Nanos,
    pub(crate) told: HashMap<CheckId, Told>,
}

#[derive(Debug)]
struct Meant {
    spec: Arc<CheckSpec>,
    subject: Subject,
    /// When its vserver is built.
    from: Nanos,
}

impl Wanted {
    pub(crate) fn new(subjects: usize, size: usize, rng: &mut Rng) -> Self {
        let checks = (0..size).map(|_| (rng.usize(..subjects), timing(rng))).collect();
        Self { checks }
    }
}

/// Some timing or other, sometimes with a timeout above the interval. Half of them use nothing that
/// Seesaw does not have.
pub(crate) fn timing(rng: &mut Rng) -> Timing {
    let interval = [1000, 1000, 1500, 2000, 3000, 5000, 5000, 10_000][rng.usize(..8)];
    let timeout = match rng.u8(..10) {
        0 => interval + 500,
        1 => interval,
        _ => [200, 500, 1000, 2000][rng.usize(..4)].min(interval),
    };
    let mut timing = Timing {
        interval: Duration::from_millis(interval),
        timeout: Duration::from_millis(timeout),
        retries: [0, 0, 1, 2, 3][rng.usize(..5)],
        rise: 1,
        fast_interval: None,
        down_interval: None,
        jitter: Jitter::None,
        start_delay: Duration::ZERO,
    };
    if rng.bool() {
        beyond_seesaw(&mut timing, rng);
    }
    timing
}

fn beyond_seesaw(timing: &mut Timing, rng: &mut Rng) {
    timing.rise = [1, 2, 2, 3, 5][rng.usize(..5)];
    if rng.bool() {
        timing.fast_interval = Some(timing.interval / [2, 3, 5][rng.usize(..3)]);
    }
    if rng.bool() {
        let down = [timing.interval / 2, timing.interval * 2, timing.interval * 3];
        timing.down_interval = Some(down[rng.usize(..3)]);
    }
    let shortest = [timing.fast_interval, timing.down_interval].into_iter().flatten().min();
    timing.jitter = match rng.u8(..4) {
        0 => Jitter::Percent(rng.u8(1..=50)),
        1 => Jitter::Time(shortest.unwrap_or(timing.interval).min(timing.interval) / rng.u32(2..20)),
        _ => Jitter::None,
    };
    if rng.u8(..3) == 0 {
        timing.start_delay = Duration::from_millis(rng.u64(1..20_000));
    }
}

impl Engine {
    /// A new process with ids from `base` on. It builds its checks in an order of its own, and not
    /// all at once.
    pub(crate) fn start(life: u32, base: u64, wanted: &Wanted, now: Nanos, rng: &mut Rng) -> Self {
        let nil_until = now + if rng.bool() { rng.u64(..3 * SECOND) } else { 0 };
        let mut engine =
            Self { life, began: now, checks: HashMap::new(), next_id: base, nil_until, told: HashMap::new() };
        let mut order: Vec<usize> = (0..wanted.checks.len()).collect();
        rng.shuffle(&mut order);
        let slow = rng.u8(..4) == 0;
        let mut from = nil_until;
        for index in order {
            engine.add(wanted.checks[index], from);
            from += if slow { rng.u64(..SECOND / 2) } else { 0 };
        }
        engine
    }

    /// A new check gets a new id; an edited one, too.
    pub(crate) fn add(&mut self, (subject, timing): (Subject, Timing), from: Nanos) {
        let spec = Arc::new(Truth::spec(subject, timing));
        self.checks.insert(CheckId(self.next_id), Meant { spec, subject, from });
        self.next_id += 1;
    }

    /// Drops one check of this subject and timing.
    pub(crate) fn drop(&mut self, (subject, timing): (Subject, Timing)) {
        let spec = Truth::spec(subject, timing);
        let found = self.checks.iter().filter(|(_, meant)| *meant.spec == spec).map(|(id, _)| *id).min();
        if let Some(id) = found {
            self.checks.remove(&id);
            self.told.remove(&id);
        }
    }

    /// The answer to a fetch; `None` while nothing is built.
    pub(crate) fn answer(&self, now: Nanos) -> Option<Rc<Set>> {
        if now < self.nil_until {
            return None;
        }
        let built = self.checks.iter().filter(|(_, meant)| meant.from <= now);
        Some(Rc::new(built.map(|(id, meant)| (*id, Arc::clone(&meant.spec))).collect()))
    }

    /// What an id means.
    pub(crate) fn meaning(&self, id: CheckId) -> Option<(Subject, &Arc<CheckSpec>)> {
        self.checks.get(&id).map(|meant| (meant.subject, &meant.spec))
    }

    /// All ids, in order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = CheckId> {
        let mut ids: Vec<_> = self.checks.keys().copied().collect();
        ids.sort_unstable();
        ids.into_iter()
    }

    /// What an id means, and since when.
    pub(crate) fn entry(&self, id: CheckId) -> Option<(Subject, &Arc<CheckSpec>, Nanos)> {
        self.checks.get(&id).map(|meant| (meant.subject, &meant.spec, meant.from))
    }

    /// Takes a status; gives the one before.
    pub(crate) fn hear(
        &mut self,
        id: CheckId,
        status: &Status,
        life: (u32, Incarnation),
        now: Nanos,
    ) -> Option<Told> {
        let counted = status.failures + status.successes;
        self.told.insert(id, Told { health: status.health, at: now, life, counted })
    }
}
