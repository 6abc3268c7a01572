//! The whole of the decisions, registry and shards, in virtual time under sequences of sets,
//! results and ticks.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hc_types::{
    CheckId, CheckSpec, Failure, Health, Incarnation, LocalFault, Outcome, ProbeSpec, SetChange, Status,
    StatusUpdate, Target, TcpProbe, Timing,
};
use proptest::prelude::*;

use crate::config::ManagerConfig;
use crate::machine::CheckMachine;
use crate::plan::Registry;
use crate::schedule::Nanos;
use crate::shard::{FlightId, ProbeReport, ShardCore};
use crate::stats::Gauges;

const SHARDS: usize = 2;
const MS: Nanos = 1_000_000;

/// One check of a set: id, port, interval in ms, retries.
type Wish = (u64, u16, u64, u32);

#[derive(Clone, Debug)]
enum Step {
    Full(Vec<Wish>),
    Delta(Vec<Wish>, Vec<u64>),
    Tick(u64),
    /// The probe that is this far down the list of those in flight ends.
    Land(usize, Outcome),
}

fn wish() -> impl Strategy<Value = Wish> {
    (0u64..6, 1u16..6, prop::sample::select(vec![100, 1000, 5000]), 0u32..3)
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::PASS),
        Just(Outcome::Fail(Failure::Refused)),
        Just(Outcome::Inconclusive(LocalFault::Ports))
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => prop::collection::vec(wish(), 0..8).prop_map(Step::Full),
        1 => (prop::collection::vec(wish(), 0..3), prop::collection::vec(0u64..6, 0..3))
            .prop_map(|(upsert, remove)| Step::Delta(upsert, remove)),
        3 => (1u64..3000).prop_map(Step::Tick),
        4 => (0usize..8, outcome()).prop_map(|(index, outcome)| Step::Land(index, outcome)),
    ]
}

fn spec(port: u16, interval: u64, retries: u32) -> Arc<CheckSpec> {
    let target = Target::plain("192.0.2.1".parse().unwrap(), port);
    let probe = ProbeSpec::Tcp(TcpProbe::default());
    let (interval, timeout) = (Duration::from_millis(interval), Duration::from_secs(1));
    Arc::new(
        CheckSpec::new(target, probe, Timing::every(interval).timeout(timeout).retries(retries)).unwrap(),
    )
}

struct InFlight {
    shard: usize,
    flight: FlightId,
    port: u16,
    began: Nanos,
}

/// The system under test, and what a consumer of its news sees.
struct World {
    registry: Registry,
    shards: Vec<ShardCore>,
    now: Nanos,
    flights: Vec<InFlight>,
    /// What should run.
    desired: BTreeMap<u64, Arc<CheckSpec>>,
    /// The life of each id, and the health it was last told to have.
    told: HashMap<CheckId, (Incarnation, Option<Health>)>,
}

impl World {
    fn new(max_in_flight: usize) -> Self {
        let config = ManagerConfig {
            shards: NonZeroUsize::new(SHARDS).unwrap(),
            max_in_flight: NonZeroUsize::new(max_in_flight * SHARDS).unwrap(),
            remember: Duration::from_secs(3600),
            ..ManagerConfig::default()
        };
        let shard = |shard| ShardCore::new(shard, &config, Arc::new(Gauges::new()));
        Self {
            registry: Registry::new(SHARDS, NonZeroUsize::new(10).unwrap()),
            shards: (0..SHARDS).map(shard).collect(),
            now: 0,
            flights: Vec::new(),
            desired: BTreeMap::new(),
            told: HashMap::new(),
        }
    }

    fn change(&mut self, upsert: &[Wish], remove: Option<&[u64]>) {
        let checks: Vec<_> = upsert
            .iter()
            .map(|(id, port, interval, retries)| (CheckId(*id), spec(*port, *interval, *retries)))
            .collect();
        match remove {
            None => self.desired.clear(),
            Some(ids) => self.desired.retain(|id, _| !ids.contains(id)),
        }
        self.desired.extend(checks.iter().map(|(id, spec)| (id.0, Arc::clone(spec))));
        let change = match remove {
            None => SetChange::Full { generation: None, checks },
            Some(ids) => {
                let remove = ids.iter().copied().map(CheckId).collect();
                SetChange::Delta { generation: None, upsert: checks, remove }
            }
        };
        let plan = self.registry.change(change, self.now);
        for (id, incarnation) in plan.forget {
            assert_eq!(self.told.remove(&id).unwrap().0, incarnation);
        }
        for (id, incarnation, _) in plan.begin {
            self.told.insert(id, (incarnation, None));
        }
        for (shard, orders) in plan.orders.into_iter().enumerate() {
            let mut cancelled = Vec::new();
            self.shards[shard].apply(orders, self.now, &mut cancelled);
            self.flights.retain(|flying| flying.shard != shard || !cancelled.contains(&flying.flight));
        }
        self.turn();
    }

    /// One turn of every shard.
    fn turn(&mut self) {
        for shard in 0..SHARDS {
            let core = &mut self.shards[shard];
            core.begin_turn(self.now);
            while let Some(start) = core.start(self.now, SystemTime::UNIX_EPOCH, |_| false) {
                let port = start.spec.target().port();
                self.flights.push(InFlight { shard, flight: start.flight, port, began: self.now });
            }
            core.end_turn(self.now);
            for update in core.updates().drain(..).filter(|update| update.reportable) {
                hear(&mut self.told, &update);
            }
        }
    }

    /// Lets time pass, with a turn whenever a shard asked for one.
    fn tick(&mut self, until: Nanos) {
        loop {
            let next = self.shards.iter().filter_map(ShardCore::next_wake).min();
            self.now = next.unwrap_or(until).clamp(self.now, until);
            self.turn();
            if self.now == until {
                break;
            }
        }
    }

    fn complete(&mut self, index: usize, outcome: Outcome) -> Option<u16> {
        if self.flights.is_empty() {
            return None;
        }
        let InFlight { shard, flight, port, began } = self.flights.remove(index % self.flights.len());
        self.shards[shard].begin_turn(self.now);
        self.shards[shard].complete(ProbeReport { flight, result: outcome.into(), began, ended: self.now });
        self.turn();
        Some(port)
    }

    fn statuses(&self) -> BTreeMap<u64, (Arc<CheckSpec>, Status)> {
        let all = self.shards.iter().flat_map(|core| core.statuses(0, usize::MAX).0);
        all.map(|(id, spec, status)| (id.0, (spec, status))).collect()
    }

    /// What must hold at any moment.
    fn verify(&self) {
        let statuses = self.statuses();
        let running: BTreeMap<_, _> =
            statuses.iter().map(|(id, (spec, _))| (*id, Arc::clone(spec))).collect();
        assert_eq!(running, self.desired);
        assert_eq!(
            self.shards.iter().map(|core| core.statuses(0, usize::MAX).0.len()).sum::<usize>(),
            running.len()
        );
        // Never two probes of one check: as many of a subject as there are checks of it, at most.
        for port in 1..6 {
            let flights = self.flights.iter().filter(|flying| flying.port == port).count();
            assert!(flights <= self.desired.values().filter(|spec| spec.target().port() == port).count());
        }
        // The consumer knows exactly the lives that run, and the latest health of those it was told
        // of.
        assert_eq!(self.told.len(), self.desired.len());
        for (id, (_, health)) in &self.told {
            let (_, status) = &statuses[&id.0];
            assert!(health.is_none_or(|health| health == status.health), "{id}");
        }
    }

    /// Every check is probed within an interval, the spread of the starts, and the wait for room.
    fn verify_that_all_run(&mut self) {
        while self.complete(0, Outcome::PASS).is_some() {}
        let deadline = self.now + 20_000 * MS;
        while self.now < deadline {
            self.tick(self.now + 50 * MS);
            while self.complete(0, Outcome::PASS).is_some() {}
        }
        self.verify();
        for (id, (_, status)) in self.statuses() {
            assert_eq!(status.health, Health::Healthy, "{id}");
            assert_eq!(self.told[&CheckId(id)].1, Some(Health::Healthy), "{id}");
        }
    }
}

/// News must be of the present life, never unknown, and marked where it differs from what was told
/// before.
fn hear(told: &mut HashMap<CheckId, (Incarnation, Option<Health>)>, update: &StatusUpdate) {
    let (incarnation, health) = told.get_mut(&update.id).unwrap();
    assert_eq!(*incarnation, update.incarnation);
    assert_ne!(update.status.health, Health::Unknown);
    assert!(update.transition || *health == Some(update.status.health));
    *health = Some(update.status.health);
}

/// Keeps the first check of each port, so that a subject has one check.
fn distinct(mut wishes: Vec<Wish>) -> Vec<Wish> {
    let mut ports = Vec::new();
    wishes.retain(|(_, port, ..)| {
        !ports.contains(port) && {
            ports.push(*port);
            true
        }
    });
    wishes
}

proptest! {
    #[test]
    fn running_checks_are_the_desired_ones(
        steps in prop::collection::vec(step(), 1..60),
        max_in_flight in prop::sample::select(vec![1, 2, 100]),
    ) {
        let mut world = World::new(max_in_flight);
        for step in steps {
            match step {
                Step::Full(wishes) => world.change(&wishes, None),
                Step::Delta(upsert, remove) => world.change(&upsert, Some(&remove)),
                Step::Tick(millis) => world.tick(world.now + millis * MS),
                Step::Land(index, outcome) => drop(world.complete(index, outcome)),
            }
            world.verify();
        }
        world.verify_that_all_run();
    }

    /// Whatever becomes of the ids, the health of a subject is what its results say.
    #[test]
    fn health_belongs_to_what_is_checked(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new(100);
        let mut machines: HashMap<u16, CheckMachine> = HashMap::new();
        for step in steps {
            match step {
                Step::Full(wishes) => world.change(&distinct(wishes), None),
                Step::Delta(..) => {}
                Step::Tick(millis) => world.tick(world.now + millis * MS),
                Step::Land(index, outcome) => {
                    if let Some(port) = world.complete(index, outcome.clone()) {
                        let spec = world.desired.values().find(|spec| spec.target().port() == port).unwrap();
                        let machine = machines.entry(port).or_insert(CheckMachine::NEW);
                        machine.observe(&outcome, spec.retries(), spec.rise());
                    }
                }
            }
            for (spec, status) in world.statuses().values() {
                let machine = machines.get(&spec.target().port()).copied().unwrap_or(CheckMachine::NEW);
                prop_assert_eq!(status.health, machine.health());
                prop_assert_eq!((status.failures, status.successes), (machine.failures(), machine.successes()));
            }
        }
    }
}
