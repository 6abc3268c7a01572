//! The laws of the outbox, under any sequence of events.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hc_notifier::{DeliveryError, Due, NotifierConfig, Outbox};
use hc_types::{
    CheckId, CheckSpec, CheckStatus, Evidence, Health, Incarnation, Outcome, ProbeSpec, Progress, Status,
    StatusUpdate, Target, Timing,
};
use hc_view::Table;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Event {
    Begin {
        id: u64,
    },
    Forget {
        id: u64,
        late: bool,
    },
    Record {
        id: u64,
        up: bool,
        transition: bool,
        late: bool,
    },
    Set {
        full: bool,
    },
    Wait {
        milliseconds: u64,
    },
    /// Takes a batch if one is due.
    Take,
    /// The consumer gets the batch, and so the outbox learns.
    Delivered,
    /// The consumer does not get it.
    Failed,
    /// The consumer gets it, and the outbox does not learn.
    AckLost,
}

const IDS: u64 = 6;

fn event() -> impl Strategy<Value = Event> {
    let id = 0..IDS;
    prop_oneof![
        2 => id.clone().prop_map(|id| Event::Begin { id }),
        1 => (id.clone(), prop::bool::weighted(0.2)).prop_map(|(id, late)| Event::Forget { id, late }),
        8 => (id, any::<bool>(), any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(id, up, transition, late)| Event::Record { id, up, transition, late }),
        1 => any::<bool>().prop_map(|full| Event::Set { full }),
        4 => (0u64..3000).prop_map(|milliseconds| Event::Wait { milliseconds }),
        6 => Just(Event::Take),
        3 => Just(Event::Delivered),
        2 => Just(Event::Failed),
        2 => Just(Event::AckLost),
    ]
}

/// The outbox, what it should know, and what its consumer does know.
struct World {
    table: Table,
    outbox: Outbox,
    config: NotifierConfig,
    now: Instant,
    spec: Arc<CheckSpec>,
    lives: u64,
    records: u64,
    generation: Option<u64>,
    /// The current life of each id and its latest status.
    live: BTreeMap<u64, (Incarnation, Option<Status>)>,
    under_way: Option<Vec<CheckStatus>>,
    /// How often the clock was moved.
    steps: u32,
    /// What the consumer last heard of each id, and when.
    heard: BTreeMap<u64, (CheckStatus, Instant)>,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "the clock has to begin somewhere")]
    fn new(batch_size: usize) -> Self {
        let config = NotifierConfig::default().batch_size(NonZeroUsize::new(batch_size).unwrap());
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let target = Target::plain("192.0.2.1".parse().unwrap(), 0);
        let spec =
            Arc::new(CheckSpec::new(target, ProbeSpec::Icmp, Timing::every(second).timeout(second)).unwrap());
        Self {
            table: Table::new(0, 0),
            outbox: Outbox::new(&config, now),
            config,
            now,
            spec,
            lives: 0,
            records: 0,
            generation: None,
            live: BTreeMap::new(),
            under_way: None,
            steps: 0,
            heard: BTreeMap::new(),
        }
    }

    fn begin(&mut self, id: u64) {
        self.lives += 1;
        let incarnation = Incarnation(self.lives);
        self.live.insert(id, (incarnation, None));
        let slot = self.table.begin(CheckId(id), incarnation, &self.spec);
        self.outbox.begin(slot, CheckId(id));
    }

    fn forget(&mut self, id: u64, late: bool) {
        let Some((incarnation, _)) = self.live.get(&id) else { return };
        let incarnation = Incarnation(incarnation.0 - u64::from(late));
        if let Some(slot) = self.table.forget(CheckId(id), incarnation) {
            self.outbox.forget(slot, CheckId(id));
        }
        if !late {
            self.live.remove(&id);
        }
    }

    fn record(&mut self, id: u64, up: bool, transition: bool, late: bool) {
        self.records += 1;
        let health = if up { Health::Healthy } else { Health::Unhealthy };
        // Each status is told apart by its count.
        let status = Status { health, successes: self.records, outcome: Some(Outcome::PASS), ..Status::NEW };
        let incarnation = self.live.get(&id).map_or(Incarnation(0), |(incarnation, _)| *incarnation);
        let incarnation = Incarnation(incarnation.0.wrapping_sub(u64::from(late)));
        let spec = self.spec.clone();
        let update = StatusUpdate {
            id: CheckId(id),
            incarnation,
            spec,
            status: status.clone(),
            transition,
            reportable: true,
            progress: Progress::default(),
            evidence: Evidence::default(),
        };
        if let Some(report) = self.table.record(update) {
            self.outbox.reported(report, self.now);
        }
        if let Some((_, latest)) = self.live.get_mut(&id).filter(|_| !late) {
            *latest = Some(status);
        }
    }

    fn set(&mut self, full: bool) {
        self.generation = Some(self.generation.unwrap_or(0) + 1);
        self.outbox.in_effect(self.generation, full, self.now);
    }

    /// Takes a batch if one is due, and checks that it is as it must be.
    fn take(&mut self) {
        let Some(batch) = self.outbox.take(&self.table, self.now) else { return };
        assert!(self.under_way.is_none(), "one batch at a time");
        assert_eq!(batch.generation, self.generation);
        let notifications = batch.statuses;
        assert!((1..=self.config.batch_size.get()).contains(&notifications.len()));
        for told in &notifications {
            let (_, latest) = self.live.get(&told.id.0).expect("only checks that live are told");
            let latest = latest.as_ref().expect("nothing is told before a first status");
            assert_eq!((told.status.health, told.status.successes), (latest.health, latest.successes));
        }
        self.under_way = Some(notifications);
    }

    fn hear(&mut self) {
        for told in self.under_way.take().unwrap_or_default() {
            self.heard.insert(told.id.0, (told, self.now));
        }
    }

    fn settle(&mut self, heard: bool, learned: bool) {
        if self.under_way.is_none() {
            return;
        }
        if heard {
            self.hear();
        }
        self.under_way = None;
        if learned {
            self.outbox.delivered(self.now);
        } else {
            self.outbox.failed(&DeliveryError::new("lost"), self.now);
        }
    }

    /// Moves the clock to the next instant at which something is due, but not beyond `end`.
    fn advance_to_due(&mut self, end: Instant) {
        self.steps += 1;
        assert!(self.steps < 100_000, "it does not come to rest");
        self.now = match self.outbox.due() {
            Due::At(due) => self.now.max(due.min(end)),
            Due::OnChange | Due::Never => end,
        };
    }

    fn apply(&mut self, event: &Event) {
        match *event {
            Event::Begin { id } => self.begin(id),
            Event::Forget { id, late } => self.forget(id, late),
            Event::Record { id, up, transition, late } => self.record(id, up, transition, late),
            Event::Set { full } => self.set(full),
            Event::Wait { milliseconds } => self.now += Duration::from_millis(milliseconds),
            Event::Take => self.take(),
            Event::Delivered => self.settle(true, true),
            Event::Failed => self.settle(false, false),
            Event::AckLost => self.settle(true, false),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// Whatever fails in between: when all is quiet, the consumer knows the latest state of each
    /// check, soon, and the latest counts within the interval.
    #[test]
    fn the_latest_state_is_never_lost(
        batch_size in 1usize..8,
        events in prop::collection::vec(event(), 0..200),
    ) {
        let mut world = World::new(batch_size);
        for event in &events {
            world.apply(event);
        }
        world.settle(false, false);
        let quiet = world.now;
        while world.outbox.stats(world.now).undelivered > 0 {
            world.advance_to_due(quiet + Duration::from_secs(3600));
            world.take();
            world.settle(true, true);
        }
        prop_assert!(world.now - quiet <= Duration::from_millis(2100), "{:?}", world.now - quiet);
        for (id, (_, latest)) in &world.live {
            let Some(latest) = latest else { continue };
            let (heard, _) = world.heard.get(id).expect("every check with a status is told");
            prop_assert_eq!(heard.status.health, latest.health, "check {}", id);
        }
        let end = world.now + world.config.notify_interval;
        while world.now < end {
            world.advance_to_due(end);
            world.take();
            world.settle(true, true);
        }
        for (id, (_, latest)) in &world.live {
            if let Some(latest) = latest {
                prop_assert_eq!(world.heard[id].0.status.successes, latest.successes, "check {}", id);
            }
        }
        prop_assert_eq!(world.outbox.stats(world.now).entries, world.live.len());
    }
}

/// What happens to the set of checks while deliveries work.
#[derive(Clone, Debug)]
enum Change {
    Grow(u64),
    Shrink(u64),
    Flip { first: u64, count: u64 },
    FullSet,
    Nothing,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        2 => (1u64..300).prop_map(Change::Grow),
        2 => (1u64..300).prop_map(Change::Shrink),
        3 => (any::<u64>(), 1u64..100).prop_map(|(first, count)| Change::Flip { first, count }),
        1 => Just(Change::FullSet),
        3 => Just(Change::Nothing),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// While deliveries work, no check goes undelivered for longer than the interval, however the
    /// set grows and shrinks.
    #[test]
    fn every_check_is_told_within_the_interval(
        changes in prop::collection::vec((change(), 0u64..20_000), 1..12),
        latency in 0u64..20,
    ) {
        let latency = Duration::from_millis(latency);
        let mut world = World::new(100);
        let mut next_id = 0;
        for (change, wait) in changes {
            let ids: Vec<u64> = world.live.keys().copied().collect();
            match change {
                Change::Grow(count) => {
                    for id in next_id..next_id + count {
                        world.begin(id);
                        world.record(id, true, true, false);
                    }
                    next_id += count;
                }
                Change::Shrink(count) => {
                    for id in ids.iter().take(usize::try_from(count).unwrap()) {
                        world.forget(*id, false);
                        world.heard.remove(id);
                    }
                }
                Change::Flip { first, count } => {
                    for n in 0..count.min(ids.len() as u64) {
                        let id = ids[usize::try_from((first.wrapping_add(n)) % ids.len() as u64).unwrap()];
                        let up = world.live[&id].1.as_ref().unwrap().health == Health::Healthy;
                        world.record(id, !up, true, false);
                    }
                }
                Change::FullSet => world.set(true),
                Change::Nothing => {}
            }
            let end = world.now + Duration::from_millis(wait);
            while world.now < end {
                world.advance_to_due(end);
                world.take();
                if world.under_way.is_some() {
                    world.now += latency;
                    let now = world.now;
                    for told in world.under_way.as_ref().unwrap() {
                        if let Some((_, before)) = world.heard.get(&told.id.0) {
                            let gap = now - *before;
                            prop_assert!(gap <= world.config.notify_interval, "{}: {gap:?}", told.id);
                        }
                    }
                    world.settle(true, true);
                }
            }
            let interval = world.config.notify_interval;
            let forgotten = world.heard.iter().find(|(_, (_, at))| world.now - *at > interval);
            prop_assert!(forgotten.is_none(), "{:?} at {:?}", forgotten, world.now);
        }
    }
}

/// 1600 checks that all begin at once, and are told again all at once, do not stay together.
#[test]
fn refreshes_come_evenly_not_in_bursts() {
    let mut world = World::new(100);
    for id in 0..1600 {
        world.begin(id);
        world.record(id, true, true, false);
    }
    world.set(true);
    let start = world.now;
    let end = start + Duration::from_secs(60);
    let mut recent: VecDeque<(Instant, usize)> = VecDeque::new();
    let mut most = 0;
    while world.now < end {
        world.advance_to_due(end);
        world.take();
        let told = world.under_way.as_ref().map_or(0, Vec::len);
        world.settle(true, true);
        if world.now - start > Duration::from_secs(1) && told > 0 {
            recent.push_back((world.now, told));
            while recent.front().is_some_and(|(at, _)| world.now - *at >= Duration::from_secs(1)) {
                recent.pop_front();
            }
            most = most.max(recent.iter().map(|(_, told)| told).sum());
        }
    }
    // Evenly would be 1600 / 15 = 107 in a second; at least that, and at most twice that.
    assert!((107..=214).contains(&most), "{most}");
}
