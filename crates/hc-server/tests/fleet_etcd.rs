//! Nodes of a fleet with three members of a real etcd, in Debian's version: what consumers hear while
//! nodes and members come, die and lose what they had.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]
#![allow(clippy::print_stdout, reason = "how long each step takes, for docs/fleet.md")]

mod fleet_rig;

use std::time::Instant;

use fleet_rig::{Backends, Fleet};
use hc_testkit::etcd::{Etcd, Version};
use hc_testkit::process::wait_until;
use hc_types::Health::{Healthy, Unhealthy};
use tempfile::TempDir;

const CHECKS: usize = 30;

fn started(backends: &Backends) -> (TempDir, Etcd, Fleet) {
    let directory = TempDir::new().unwrap();
    let etcd = Etcd::start(Version::Debian, directory.path(), 3, &[]);
    let mut fleet = Fleet::with_etcd(backends.addresses(), etcd.endpoints());
    ["a", "b", "c"].iter().for_each(|name| fleet.start(name));
    fleet.wait_told_all(Healthy);
    fleet.wait_shared();
    fleet.forget_tellings();
    (directory, etcd, fleet)
}

#[test]
fn consumers_hear_of_deaths_and_of_nothing_else_whatever_becomes_of_nodes_and_members() {
    let mut backends = Backends::start(CHECKS);
    let (_directory, mut etcd, mut fleet) = started(&backends);
    let took = |what: &str, since: Instant| println!("{what}: {:.1} s", since.elapsed().as_secs_f64());
    let dies = |fleet: &Fleet, backends: &mut Backends, index: usize, when: &str| {
        let since = Instant::now();
        backends.stop(index);
        wait_until(when, || fleet.told(index).iter().all(|told| told == &[Unhealthy]));
        took(when, since);
    };
    dies(&fleet, &mut backends, 0, "all hear of a death");

    fleet.start("d");
    fleet.wait_probes("d");
    fleet.wait_shared();
    let since = Instant::now();
    fleet.stop("d");
    fleet.wait_shared();
    took("it leaves", since);
    let since = Instant::now();
    fleet.kill("b");
    fleet.wait_shared();
    took("a node is killed, and others take over (lease of 2 s)", since);
    dies(&fleet, &mut backends, 1, "the others hear of a death");

    for member in 0..3 {
        etcd.kill(member);
        dies(&fleet, &mut backends, 2 + member, "a death is heard without a member of etcd");
        etcd.restart(member);
    }
    let since = Instant::now();
    (0..3).for_each(|member| etcd.kill(member));
    fleet.wait_probed("a", CHECKS);
    fleet.wait_probed("c", CHECKS);
    took("each goes on alone without etcd", since);
    dies(&fleet, &mut backends, 5, "a death is heard without etcd");

    // It comes back without anything.
    let since = Instant::now();
    (0..3).for_each(|member| etcd.wipe(member));
    etcd.restart_all();
    fleet.wait_shared();
    took("they share again after etcd was wiped", since);
    dies(&fleet, &mut backends, 6, "a death is heard after the wipe");

    for index in 7..CHECKS {
        let told = fleet.told(index);
        assert!(told.iter().all(Vec::is_empty), "{index}: {told:?}");
    }
}
