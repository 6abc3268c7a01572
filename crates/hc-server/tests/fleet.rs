//! Nodes of a fleet: servers of one process around a store in memory that answers as etcd does.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]

mod fleet_rig;

use fleet_rig::{Backends, Fleet};
use hc_testkit::process::wait_until;
use hc_types::Health::{Healthy, Unhealthy};

const CHECKS: usize = 12;

/// A fleet whose nodes have all heard that all backends are healthy, and of which each check is
/// probed by one.
fn started(backends: &Backends, names: &[&str]) -> Fleet {
    let mut fleet = Fleet::new(backends.addresses());
    names.iter().for_each(|name| fleet.start(name));
    fleet.wait_told_all(Healthy);
    fleet.wait_shared();
    fleet.forget_tellings();
    fleet
}

#[test]
fn checks_are_shared_and_every_consumer_hears_the_verdict() {
    let mut backends = Backends::start(CHECKS);
    let fleet = started(&backends, &["a", "b", "c"]);
    // A check that others probe is not probed here, and none is probed twice in an interval.
    backends.stop(3);
    wait_until("all hear of the death", || fleet.told(3).iter().all(|told| told == &[Unhealthy]));
    backends.restart(3);
    wait_until("all hear of its return", || fleet.told(3).iter().all(|told| told == &[Unhealthy, Healthy]));
    for index in (0..CHECKS).filter(|index| *index != 3) {
        assert!(fleet.told(index).iter().all(Vec::is_empty), "{index}: {:?}", fleet.told(index));
    }
}

#[test]
fn nodes_come_and_go_and_nobody_hears_anything() {
    let backends = Backends::start(CHECKS);
    let mut fleet = started(&backends, &["a", "b"]);
    fleet.start("c");
    fleet.wait_told_all(Healthy);
    fleet.wait_shared();
    // In order, and by a kill.
    fleet.stop("a");
    fleet.wait_shared();
    fleet.kill("b");
    fleet.wait_probed("c", CHECKS);
    fleet.assert_never_told(Unhealthy);
}

#[test]
fn a_death_is_heard_while_its_node_is_gone() {
    let mut backends = Backends::start(CHECKS);
    let mut fleet = started(&backends, &["a", "b", "c"]);
    fleet.kill("b");
    backends.stop(0);
    backends.stop(1);
    wait_until("the others hear of both", || {
        [0, 1].iter().all(|index| fleet.told(*index).iter().all(|told| told == &[Unhealthy]))
    });
    for index in 2..CHECKS {
        assert!(fleet.told(index).iter().all(Vec::is_empty), "{index}");
    }
}

#[test]
fn without_the_store_each_node_goes_on_alone_and_back_again_they_share() {
    let mut backends = Backends::start(CHECKS);
    let fleet = started(&backends, &["a", "b"]);
    fleet.store.refuse(true);
    fleet.wait_probed("a", CHECKS);
    fleet.wait_probed("b", CHECKS);
    fleet.assert_never_told(Unhealthy);
    backends.stop(5);
    wait_until("both find that out", || fleet.told(5).iter().all(|told| told == &[Unhealthy]));
    fleet.store.refuse(false);
    fleet.wait_shared();
    backends.restart(5);
    wait_until("both hear of it", || fleet.told(5).iter().all(|told| told == &[Unhealthy, Healthy]));
    for index in (0..CHECKS).filter(|index| *index != 5) {
        assert!(fleet.told(index).iter().all(Vec::is_empty), "{index}");
    }
}

#[test]
fn a_store_that_is_wiped_and_a_node_that_is_partitioned_change_nothing() {
    let backends = Backends::start(CHECKS);
    let fleet = started(&backends, &["a", "b", "c"]);
    fleet.store.wipe();
    fleet.wait_shared();
    fleet.store.cut("c", true);
    fleet.wait_probed("c", CHECKS);
    fleet.store.cut("c", false);
    fleet.wait_shared();
    fleet.assert_never_told(Unhealthy);
}

/// A server that starts while nobody answers tells nothing before a verdict, and then its own.
#[test]
fn a_node_that_starts_without_a_store_goes_on_alone() {
    let mut backends = Backends::start(CHECKS);
    backends.stop(1);
    let mut fleet = Fleet::new(backends.addresses());
    fleet.store.refuse(true);
    fleet.start("a");
    wait_until("it tells what it finds", || {
        (0..CHECKS).all(|index| fleet.told(index) == [[if index == 1 { Unhealthy } else { Healthy }]])
    });
}

/// Three opinions are the probes of three nodes; a fourth rests.
#[test]
fn as_many_nodes_probe_a_check_as_it_wants_opinions() {
    let mut backends = Backends::start(4);
    let mut fleet = Fleet::new(backends.addresses());
    fleet.opinions(3);
    ["a", "b", "c", "d"].iter().for_each(|name| fleet.start(name));
    fleet.wait_told_all(Healthy);
    fleet.wait_shared();
    backends.stop(2);
    wait_until("all hear of the death", || fleet.told(2).iter().all(|told| told == &[Healthy, Unhealthy]));
    for index in [0, 1, 3] {
        assert!(fleet.told(index).iter().all(|told| told == &[Healthy]), "{index}");
    }
}
