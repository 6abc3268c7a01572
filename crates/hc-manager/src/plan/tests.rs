use std::time::{Duration, SystemTime};

use hc_types::{Health, ProbeSpec, Target, TcpProbe, Timing};

use super::*;
use crate::phases::Number;

fn spec(port: u16, interval: u64) -> Arc<CheckSpec> {
    let target = Target::plain("192.0.2.1".parse().unwrap(), port);
    let probe = ProbeSpec::Tcp(TcpProbe::default());
    Arc::new(
        CheckSpec::new(
            target,
            probe,
            Timing::every(Duration::from_secs(interval)).timeout(Duration::from_secs(1)),
        )
        .unwrap(),
    )
}

fn registry() -> Registry {
    Registry::new(1, NonZeroUsize::new(1000).unwrap())
}

fn named(checks: &[(u64, u16, u64)]) -> Vec<(CheckId, Arc<CheckSpec>)> {
    checks.iter().map(|(id, port, interval)| (CheckId(*id), spec(*port, *interval))).collect()
}

fn full(registry: &mut Registry, checks: &[(u64, u16, u64)]) -> Plan {
    registry.change(SetChange::Full { generation: None, checks: named(checks) }, 0)
}

fn delta(registry: &mut Registry, upsert: &[(u64, u16, u64)], remove: &[u64]) -> Plan {
    let remove = remove.iter().copied().map(CheckId).collect();
    registry.change(SetChange::Delta { generation: None, upsert: named(upsert), remove }, 0)
}

/// Orders in short: what, slot, id.
fn orders(plan: &Plan) -> Vec<String> {
    let order = |order: &Order| match order {
        Order::Add { slot, check, .. } => format!("add {slot} {}", check.id),
        Order::Move { slot, check, .. } => format!("move {slot} {}", check.id),
        Order::Retime { slot, .. } => format!("retime {slot}"),
        Order::Remove { slot } => format!("remove {slot}"),
    };
    plan.orders.iter().flatten().map(order).collect()
}

#[track_caller]
fn check(plan: &Plan, expected: &[&str], forget: &[u64], begin: &[u64], applied: Applied) {
    assert_eq!(orders(plan), expected);
    assert!(plan.forget.iter().map(|(id, _)| id.0).eq(forget.iter().copied()), "{:?}", plan.forget);
    assert!(plan.begin.iter().map(|(id, ..)| id.0).eq(begin.iter().copied()), "{:?}", plan.begin);
    assert_eq!(plan.applied, applied);
}

#[test]
fn a_full_set_stops_what_is_not_in_it() {
    let mut registry = registry();
    let plan = full(&mut registry, &[(10, 1, 5), (20, 2, 5)]);
    check(&plan, &["add 0 10", "add 1 20"], &[], &[10, 20], Applied { added: 2, ..Applied::default() });
    let plan = full(&mut registry, &[(20, 2, 5), (30, 3, 5)]);
    let applied = Applied { added: 1, removed: 1, unchanged: 1, ..Applied::default() };
    check(&plan, &["remove 0", "add 0 30"], &[10], &[30], applied);
    let plan = full(&mut registry, &[]);
    let applied = Applied { removed: 2, ..Applied::default() };
    check(&plan, &["remove 1", "remove 0"], &[20, 30], &[], applied);
}

#[test]
fn a_delta_touches_what_it_names() {
    let mut registry = registry();
    full(&mut registry, &[(10, 1, 5), (20, 2, 5), (30, 3, 5)]);
    let plan = delta(&mut registry, &[(20, 2, 9), (30, 3, 5), (40, 4, 5)], &[10, 20, 99, 10]);
    // What is in both lists is upserted; unknown ids are no error.
    let applied = Applied { added: 1, retimed: 1, removed: 1, unchanged: 1, ..Applied::default() };
    check(&plan, &["remove 0", "retime 1", "add 0 40"], &[10], &[40], applied);
}

#[test]
fn an_id_that_stands_for_something_else_starts_again() {
    let mut registry = registry();
    let first = full(&mut registry, &[(10, 1, 5)]);
    let plan = full(&mut registry, &[(10, 2, 5)]);
    let applied = Applied { changed: 1, ..Applied::default() };
    check(&plan, &["remove 0", "add 0 10"], &[], &[10], applied);
    assert!(plan.begin[0].1 > first.begin[0].1);
}

#[test]
fn a_check_runs_on_under_another_id() {
    let mut registry = registry();
    full(&mut registry, &[(10, 1, 5), (20, 2, 5), (30, 3, 5)]);
    // 10 and 20 change places, 30 goes, and 3 with it.
    let plan = full(&mut registry, &[(10, 2, 5), (20, 1, 7)]);
    let applied = Applied { moved: 2, removed: 1, ..Applied::default() };
    check(&plan, &["remove 2", "move 0 20", "move 1 10"], &[30], &[10, 20], applied);
    // An id takes over the check of one that goes, and its own ends.
    let plan = full(&mut registry, &[(10, 1, 7)]);
    let applied = Applied { moved: 1, ..Applied::default() };
    check(&plan, &["remove 1", "move 0 10"], &[20], &[10], applied);
}

#[test]
fn of_equal_checks_each_is_moved_once() {
    let mut registry = registry();
    full(&mut registry, &[(1, 1, 5), (2, 1, 6)]);
    let plan = full(&mut registry, &[(11, 1, 5), (12, 1, 6), (13, 1, 7)]);
    let applied = Applied { added: 1, moved: 2, ..Applied::default() };
    check(&plan, &["move 0 11", "move 1 12", "add 2 13"], &[1, 2], &[11, 12, 13], applied);
}

#[test]
fn of_equal_ids_the_last_counts() {
    let mut registry = registry();
    let plan = full(&mut registry, &[(1, 1, 5), (2, 2, 5), (1, 3, 5)]);
    check(&plan, &["add 0 2", "add 1 1"], &[], &[2, 1], Applied { added: 2, ..Applied::default() });
    let plan = full(&mut registry, &[(1, 1, 5), (2, 2, 5), (1, 3, 5)]);
    check(&plan, &[], &[], &[], Applied { unchanged: 2, ..Applied::default() });
}

#[test]
fn probes_that_become_due_are_spread_in_the_order_of_their_hashes() {
    let mut registry = registry();
    let checks: Vec<_> = (1..=1000).map(|port| (u64::from(port), port, 5)).collect();
    let plan = full(&mut registry, &checks);
    let mut starts: Vec<(CheckKey, Nanos)> = plan.orders[0]
        .iter()
        .map(|order| match order {
            Order::Add { check, after, .. } => (check.spec.key(), *after),
            other => panic!("{other:?}"),
        })
        .collect();
    starts.sort_unstable();
    for (rank, (_, after)) in starts.into_iter().enumerate() {
        assert_eq!(after, rank as u64 * 1_000_000);
    }
}

#[test]
fn what_an_earlier_process_knew_is_found_until_it_is_too_old() {
    let remembered = Remembered {
        key: spec(1, 5).key(),
        health: Health::Healthy,
        consecutive_failures: 0,
        failures: 0,
        successes: 3,
        last_check: SystemTime::UNIX_EPOCH,
        since: None,
        duration: Duration::ZERO,
    };
    let found = |now| {
        let mut registry = registry();
        registry.inherit(vec![remembered], 100, |_| None);
        let checks = named(&[(1, 1, 9), (2, 2, 5)]);
        let plan = registry.change(SetChange::Full { generation: None, checks }, now);
        let known = |order: &Order| matches!(order, Order::Add { known: Some(_), .. });
        plan.orders[0].iter().map(known).collect::<Vec<_>>()
    };
    assert_eq!(found(100), [true, false]);
    assert_eq!(found(101), [false, false]);
}

/// A snapshot of the version before has other keys.
#[test]
fn what_a_process_of_an_older_version_knew_is_found_and_kept_for_the_next() {
    const OLDER: u8 = CheckKey::VERSION - 1;
    let older_key =
        |spec: &CheckSpec| (spec.target().port() != 3).then(|| CheckKey::from_digest(OLDER, [7; 32]));
    let remembered = |key, successes| Remembered {
        key,
        health: Health::Healthy,
        consecutive_failures: 0,
        failures: 0,
        successes,
        last_check: SystemTime::UNIX_EPOCH,
        since: None,
        duration: Duration::ZERO,
    };
    let mut registry = registry();
    let old = remembered(CheckKey::from_digest(OLDER, [7; 32]), 3);
    // What the new key says is newer.
    let new = remembered(spec(2, 5).key(), 4);
    registry.inherit(vec![old, new], 100, older_key);
    assert_eq!(registry.inherited(0).count(), 2);
    let checks = named(&[(1, 1, 5), (2, 2, 5), (3, 3, 5)]);
    let plan = registry.change(SetChange::Full { generation: None, checks }, 100);
    let mut found: Vec<(u64, Option<u64>)> = plan.orders[0]
        .iter()
        .map(|order| match order {
            Order::Add { check, known, .. } => {
                (check.id.0, known.as_ref().map(|known| known.machine.successes()))
            }
            other => panic!("{other:?}"),
        })
        .collect();
    found.sort_unstable();
    assert_eq!(found, [(1, Some(3)), (2, Some(4)), (3, None)]);
}

/// Phases by address, of a set that came in any order.
fn phases(registry: &Registry, mut of: impl FnMut(&Target) -> u64) -> HashMap<u64, Vec<Number>> {
    let mut phases: HashMap<u64, Vec<Number>> = HashMap::new();
    for id in registry.checks.ids() {
        let entry = registry.checks.get(id).unwrap();
        phases.entry(of(entry.spec.target())).or_default().push(entry.number);
    }
    phases.values_mut().for_each(|phases| phases.sort_unstable());
    phases
}

#[test]
fn checks_of_one_address_get_consecutive_phases_whatever_the_order_of_the_set() {
    let mut registry = registry();
    let checks = (0..200u64).map(|id| {
        // Addresses and ports mixed, as out of a Go map.
        let (address, port) = (id * 7 % 20, 1 + id * 11 % 200 / 20);
        let ip = std::net::Ipv4Addr::new(192, 0, 2, u8::try_from(address).unwrap());
        let target = Target::plain(ip.into(), u16::try_from(port).unwrap());
        let probe = ProbeSpec::Tcp(TcpProbe::default());
        let (interval, timeout) = (Duration::from_secs(10), Duration::from_secs(1));
        (
            CheckId(id),
            Arc::new(CheckSpec::new(target, probe, Timing::every(interval).timeout(timeout)).unwrap()),
        )
    });
    registry.change(SetChange::Full { generation: None, checks: checks.collect() }, 0);
    let by_address = phases(&registry, |target| match target.ip() {
        std::net::IpAddr::V4(ip) => u64::from(ip.octets()[3]),
        std::net::IpAddr::V6(_) => unreachable!("no IPv6 here"),
    });
    assert_eq!(by_address.len(), 20);
    for phases in by_address.values() {
        let first = phases[0];
        let consecutive: Vec<Number> = registry_run(first, phases.len());
        assert_eq!(*phases, consecutive);
    }
}

/// The phases from `first` on, `count` of them.
fn registry_run(first: Number, count: usize) -> Vec<Number> {
    let mut all = Phases::default();
    let intervals = Intervals::of(&spec(1, 1));
    std::iter::repeat_with(|| all.take(intervals)).skip_while(|phase| *phase != first).take(count).collect()
}

#[test]
fn a_phase_outlives_the_id_and_changes_with_the_interval() {
    let mut registry = registry();
    full(&mut registry, &[(10, 1, 5), (20, 2, 5), (30, 3, 5)]);
    let before = registry.checks.get(CheckId(20)).unwrap().number;
    full(&mut registry, &[(11, 1, 5), (21, 2, 5), (31, 3, 5)]);
    assert_eq!(registry.checks.get(CheckId(21)).unwrap().number, before);
    // The phase of what has another interval now is free for the next check.
    full(&mut registry, &[(11, 1, 5), (21, 2, 9), (31, 3, 5)]);
    full(&mut registry, &[(11, 1, 5), (21, 2, 9), (31, 3, 5), (40, 4, 5)]);
    assert_eq!(registry.checks.get(CheckId(40)).unwrap().number, before);
    // The same when interval and id change together, as Seesaw's engine does it.
    full(&mut registry, &[(11, 1, 5), (21, 2, 9), (31, 3, 5), (41, 4, 9)]);
    full(&mut registry, &[(11, 1, 5), (21, 2, 9), (31, 3, 5), (41, 4, 9), (50, 5, 5)]);
    assert_eq!(registry.checks.get(CheckId(50)).unwrap().number, before);
}
