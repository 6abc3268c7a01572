//! Arrivals at the backends: even over the interval from the second probe of each check on.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::Ipv4Addr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hc_manager::ManagerConfig;
use hc_manager::stepped::Stepped;
use hc_types::{CheckId, CheckSpec, Failure, Outcome, ProbeSpec, SetChange, Target, TcpProbe, Timing};

const MS: u64 = 1_000_000;
const INTERVAL: u64 = 10_000 * MS;

fn check(id: u64, address: u64, port: u64) -> (CheckId, Arc<CheckSpec>) {
    let ip = Ipv4Addr::from(0x0a00_0000 + u32::try_from(address).unwrap());
    let target = Target::plain(ip.into(), u16::try_from(port + 1).unwrap());
    let probe = ProbeSpec::Tcp(TcpProbe::default());
    let (interval, timeout) = (Duration::from_nanos(INTERVAL), Duration::from_secs(1));
    (CheckId(id), Arc::new(CheckSpec::new(target, probe, Timing::every(interval).timeout(timeout)).unwrap()))
}

/// A manager in virtual time whose probes pass at once.
struct World {
    manager: Stepped,
    now: u64,
    /// What all probes find.
    finds: Outcome,
    /// When each probe started, and where it went.
    arrivals: Vec<(u64, Target)>,
}

impl World {
    fn new() -> Self {
        let config = ManagerConfig::default().shards(NonZeroUsize::new(2).unwrap());
        Self { manager: Stepped::new(&config), now: 0, finds: Outcome::PASS, arrivals: Vec::new() }
    }

    fn set(&mut self, checks: Vec<(CheckId, Arc<CheckSpec>)>) {
        let planned = self.manager.plan(SetChange::Full { generation: None, checks }, self.now);
        let now = self.now;
        for (shard, orders) in self.manager.shards().iter_mut().zip(planned.orders) {
            shard.apply(orders, now);
        }
    }

    fn run(&mut self, length: u64) {
        let until = self.now + length;
        while self.now < until {
            let now = self.now;
            for shard in self.manager.shards() {
                shard.begin_turn(now);
                while let Some((flight, spec)) = shard.start(now, SystemTime::UNIX_EPOCH) {
                    self.arrivals.push((now, spec.target().clone()));
                    shard.complete(flight, self.finds.clone(), now, now);
                }
                shard.updates().clear();
                shard.end_turn(now);
            }
            let next = self.manager.shards().iter().filter_map(|shard| shard.next_wake()).min();
            self.now = next.unwrap_or(until).clamp(now + 1, until);
        }
    }

    /// The largest part of the arrivals of an interval, of those that `of` lets through, that lies
    /// in any 1 % of it: in thousandths, over `rounds` intervals from `from` on. Every check is
    /// probed once an interval.
    fn fullest(&self, from: u64, rounds: u64, of: impl Fn(&Target) -> bool) -> usize {
        let until = from + rounds * INTERVAL;
        let at: Vec<u64> = self
            .arrivals
            .iter()
            .filter(|(at, target)| (from..until).contains(at) && of(target))
            .map(|(at, _)| *at)
            .collect();
        let each = at.len() / usize::try_from(rounds).unwrap();
        let ends = |begin: &u64| at.partition_point(|at| *at < begin + INTERVAL / 100);
        at.iter().enumerate().map(|(index, begin)| (ends(begin) - index) * 1000 / each).max().unwrap()
    }

    /// No check waits longer than an interval for its next probe.
    fn assert_no_probe_is_late(&self, checks: usize) {
        let mut latest = std::collections::HashMap::new();
        for (at, target) in &self.arrivals {
            let before = latest.insert(target.to_string(), *at).unwrap_or(*at);
            assert!(at - before <= INTERVAL, "{target} waited for {} ms", (at - before) / MS);
        }
        assert_eq!(latest.len(), checks);
    }
}

#[track_caller]
fn check_evenness(addresses: u64, ports: u64) {
    let mut world = World::new();
    let count = addresses * ports;
    // Ids without any order, as out of a Go map.
    let set = |base: u64| {
        let mut set: Vec<_> =
            (0..count).map(|n| check(base + n * 7919 % count, n / ports, n % ports)).collect();
        set.sort_by_key(|(id, _)| *id);
        set
    };
    world.set(set(1 << 20));
    world.run(3 * INTERVAL);
    let ten = world.now;
    world.run(10 * INTERVAL);
    // An engine that restarts calls everything by another name, and everything is probed at once
    // for it.
    world.set(set(1 << 40));
    let restarted = world.now + INTERVAL;
    world.run(3 * INTERVAL);
    world.assert_no_probe_is_late(usize::try_from(count).unwrap());
    for (from, rounds) in [(ten, 10), (restarted, 2)] {
        let all = world.fullest(from, rounds, |_| true);
        assert!(all <= 20, "of all, {all} of 1000");
        if ports >= 100 {
            let first = check(0, 0, 0).1.target().ip();
            let one = world.fullest(from, rounds, |target| target.ip() == first);
            assert!(one <= 20, "of one backend, {one} of 1000");
        }
    }
}

#[test]
fn four_hundred_checks_of_one_backend_arrive_evenly() {
    check_evenness(1, 400);
}

#[test]
fn checks_of_many_backends_arrive_evenly() {
    check_evenness(400, 1);
    check_evenness(20, 20);
    check_evenness(5, 200);
}

#[test]
fn many_checks_arrive_evenly() {
    check_evenness(10_000, 1);
}

/// Checks of one backend that fail together are even over the down interval soon, and over the fast
/// one while they rise.
#[test]
fn checks_that_fail_together_arrive_evenly_at_each_pace() {
    const COUNT: u64 = 400;
    let timing = Timing::every(Duration::from_nanos(INTERVAL))
        .timeout(Duration::from_secs(1))
        .rise(1000)
        .fast_interval(Duration::from_secs(2))
        .down_interval(Duration::from_secs(30));
    let check = |n: u64| {
        let target = check(n, 0, n).1.target().clone();
        let spec = CheckSpec::new(target, ProbeSpec::Tcp(TcpProbe::default()), timing).unwrap();
        (CheckId(n), Arc::new(spec))
    };
    let mut world = World::new();
    world.set((0..COUNT).map(check).collect());
    world.run(2 * INTERVAL);
    for (finds, interval) in [(Outcome::Fail(Failure::Refused), 30_000 * MS), (Outcome::PASS, 2000 * MS)] {
        world.finds = finds;
        // The first round is at the pace of before.
        world.run(30_000 * MS + interval);
        let from = world.now;
        world.run(interval);
        let mut counts = vec![0; 100];
        let at = world.arrivals.iter().filter(|(at, _)| *at >= from);
        for (at, _) in at {
            counts[usize::try_from((at - from) * 100 / interval).unwrap().min(99)] += 1;
        }
        assert_eq!(counts.iter().sum::<u64>(), COUNT, "each once");
        // 4 on average.
        assert!(counts.iter().all(|count| (2..=6).contains(count)), "{interval}: {counts:?}");
    }
}
