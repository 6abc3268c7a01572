//! Each situation of a fleet, with a store that answers as etcd does.

mod desk;
mod fleet;
mod split;

use super::*;
use fleet::{Fleet, finding, key, seconds};
use hc_types::Health::{Healthy, Unhealthy};

use crate::{Quorum, Seat};

#[test]
fn a_fleet_shares_its_checks() {
    let fleet = Fleet::started(&["a", "b", "c"], 300, Policy::default());
    let shares: Vec<usize> = fleet.names().iter().map(|name| fleet.node(name).probed()).collect();
    assert_eq!(shares.iter().sum::<usize>(), 300);
    assert!(shares.iter().all(|share| (60..140).contains(share)), "{shares:?}");
    // Consumers of every node hear of every check.
    for name in fleet.names() {
        assert_eq!(fleet.told(&name).len(), 300);
        assert!(fleet.told(&name).values().all(|told| *told == (Healthy, Basis::Fleet)));
    }
}

#[test]
fn a_change_is_told_by_all() {
    let mut fleet = Fleet::started(&["a", "b", "c"], 50, Policy::default());
    fleet.down(key(7));
    fleet.run(seconds(3));
    for name in fleet.names() {
        assert_eq!(fleet.told(&name)[&key(7)], (Unhealthy, Basis::Fleet));
    }
    assert_eq!(fleet.false_tellings(), 0);
}

#[test]
fn who_joins_takes_its_share_and_nobody_is_told_anything() {
    let mut fleet = Fleet::started(&["a", "b", "c"], 300, Policy::default());
    let before = fleet.probes_begun();
    fleet.forget_tellings();
    fleet.join("d");
    fleet.run(seconds(10));
    let share = fleet.node("d").probed();
    assert!((45..110).contains(&share), "{share}");
    // Only those that moved were begun, and only once the joiner had opinions did others rest.
    assert_eq!(fleet.probes_begun() - before, share);
    assert_eq!(fleet.names().iter().map(|name| fleet.node(name).probed()).sum::<usize>(), 300);
    assert_eq!(fleet.tellings("a"), 0);
    assert_eq!(fleet.false_tellings(), 0);
    assert!(fleet.never_without_a_prober(), "a check was probed by nobody");
}

#[test]
fn who_leaves_hands_over_at_once() {
    let mut fleet = Fleet::started(&["a", "b", "c"], 90, Policy::default());
    fleet.forget_tellings();
    fleet.leave("c");
    fleet.run(seconds(3));
    assert_eq!(fleet.node("a").probed() + fleet.node("b").probed(), 90);
    assert_eq!((fleet.false_tellings(), fleet.changes_told("a")), (0, 0));
}

/// Within its lease, and the interval of a check, its checks are probed by others; until then the
/// verdict before stands.
#[test]
fn who_is_killed_is_replaced_within_its_lease() {
    let mut fleet = Fleet::started(&["a", "b", "c"], 90, Policy::default());
    fleet.forget_tellings();
    fleet.kill("c");
    fleet.run(seconds(12));
    assert_eq!(fleet.node("a").probed() + fleet.node("b").probed(), 90);
    assert_eq!((fleet.false_tellings(), fleet.changes_told("a")), (0, 0));
    (0..90).for_each(|number| fleet.down(key(number)));
    fleet.run(seconds(4));
    assert!(fleet.told("a").values().all(|told| *told == (Unhealthy, Basis::Fleet)));
}

/// A process that returns under its name waits for the lease of the one before.
#[test]
fn a_name_belongs_to_one_process() {
    let mut fleet = Fleet::started(&["a", "b"], 20, Policy::default());
    fleet.kill("b");
    fleet.join("b");
    fleet.run(seconds(2));
    assert!(fleet.logged("b", |note| *note == Note::NameTaken));
    assert!(!fleet.logged("b", |note| *note == Note::Joined));
    fleet.run(seconds(12));
    assert!(fleet.logged("b", |note| *note == Note::Joined));
    assert_eq!(fleet.false_tellings(), 0);
}

#[test]
fn three_opinions_outvote_one() {
    let policy = Policy { opinions: 3, quorum: Quorum::Majority };
    let mut fleet = Fleet::started(&["a", "b", "c"], 20, policy);
    fleet.blind("c", key(3));
    fleet.run(seconds(5));
    for name in fleet.names() {
        assert_eq!(fleet.told(&name)[&key(3)], (Healthy, Basis::Fleet));
    }
    let explained = fleet.node("a").explain(key(3)).unwrap();
    let said: Vec<_> =
        explained.voters.iter().filter_map(|voter| Some(voter.opinion.as_ref()?.health)).collect();
    assert_eq!(said.iter().filter(|health| **health == Unhealthy).count(), 1);
    assert_eq!((said.len(), explained.wanted), (3, 3));
    fleet.down(key(3));
    fleet.run(seconds(5));
    assert!(fleet.names().iter().all(|name| fleet.told(name)[&key(3)] == (Unhealthy, Basis::Fleet)));
}

#[test]
fn any_and_all_count_as_they_are_called() {
    for (quorum, expected) in
        [(Quorum::Any, Healthy), (Quorum::All, Unhealthy), (Quorum::AtLeast(2), Healthy)]
    {
        let mut fleet = Fleet::started(&["a", "b", "c"], 5, Policy { opinions: 3, quorum });
        fleet.blind("b", key(1));
        fleet.run(seconds(5));
        assert_eq!(fleet.told("a")[&key(1)].0, expected, "{quorum}");
    }
}

/// Half against half is what it was before, on every node, also on one that comes later.
#[test]
fn a_tie_is_the_same_everywhere() {
    let policy = Policy { opinions: 2, quorum: Quorum::Majority };
    let mut fleet = Fleet::started(&["a", "b", "c"], 40, policy);
    (0..40).for_each(|number| fleet.blind("b", key(number)));
    fleet.run(seconds(5));
    fleet.join("d");
    fleet.run(seconds(10));
    for number in 0..40 {
        let verdicts: BTreeSet<_> = fleet
            .names()
            .iter()
            .map(|name| fleet.told(name).get(&key(number)).map(|told| told.0 == Healthy))
            .collect();
        assert_eq!(verdicts.len(), 1, "{number}: {verdicts:?}");
    }
    assert_eq!(fleet.false_tellings(), 0);
}

/// It goes on probing, its opinions do not count, and others probe in its place.
#[test]
fn who_abstains_is_not_counted() {
    let mut fleet = Fleet::started(&["a", "b", "c"], 60, Policy::default());
    fleet.forget_tellings();
    fleet.abstain("b", Some("its guard has tripped".into()));
    (0..60).for_each(|number| fleet.blind("b", key(number)));
    fleet.run(seconds(5));
    assert_eq!(fleet.node("a").probed() + fleet.node("c").probed(), 60);
    assert_eq!((fleet.false_tellings(), fleet.changes_told("b")), (0, 0));
    assert!(
        fleet.logged(
            "a",
            |note| matches!(note, Note::Abstains(_, Some(why)) if why == "its guard has tripped")
        )
    );
    fleet.see_again();
    fleet.run(seconds(3));
    fleet.abstain("b", None);
    fleet.run(seconds(5));
    assert_eq!(fleet.names().iter().map(|name| fleet.node(name).probed()).sum::<usize>(), 60);
}

#[test]
fn when_all_abstain_the_last_verdict_stands() {
    let mut fleet = Fleet::started(&["a", "b"], 10, Policy::default());
    fleet.forget_tellings();
    fleet.abstain("a", Some("late".into()));
    fleet.abstain("b", Some("late".into()));
    (0..10).for_each(|number| fleet.down(key(number)));
    fleet.run(seconds(20));
    assert_eq!(fleet.changes_told("a") + fleet.changes_told("b"), 0);
    assert!(fleet.logged("a", |note| *note == Note::AllAbstain));
    // One who comes now hears what stood.
    fleet.abstain("a", None);
    fleet.run(seconds(5));
    assert_eq!(fleet.told("b")[&key(1)], (Unhealthy, Basis::Fleet));
}

/// Node b does not have the check that falls to it: somebody who has it stands in, and rests again
/// when b has it.
#[test]
fn a_check_that_its_node_lacks_is_probed_by_another() {
    let mut fleet = Fleet::started(&["a", "b", "c"], 40, Policy::default());
    let now = fleet.now();
    let mine: Vec<u16> = (0..40).filter(|number| fleet.probes("b", key(*number))).collect();
    mine.iter().for_each(|number| fleet.act("b", |node| node.remove(key(*number), now)));
    fleet.run(seconds(70));
    for number in &mine {
        let others = ["a", "c"].iter().filter(|name| fleet.probes(name, key(*number))).count();
        assert_eq!(others, 1, "{number}");
    }
    let now = fleet.now();
    mine.iter().for_each(|number| fleet.act("b", |node| node.add(key(*number), Policy::default(), now)));
    fleet.run(seconds(5));
    assert_eq!(fleet.names().iter().map(|name| fleet.node(name).probed()).sum::<usize>(), 40);
    assert_eq!(fleet.false_tellings(), 0);
}

/// A later version has fields, keys and flags of which this one knows nothing.
#[test]
fn two_versions_live_side_by_side() {
    let mut fleet = Fleet::started(&["a", "b"], 20, Policy::default());
    fleet.write("schema2", b"{}".to_vec());
    fleet.write("opinions/b/moods/1", b"\x09?".to_vec());
    fleet.write("opinions/zz/base/00-0000", b"?".to_vec());
    fleet.run(seconds(1));
    assert!(
        fleet.logged("a", |note| matches!(note, Note::Unreadable(key, _) if key == "opinions/b/moods/1"))
    );
    fleet.down(key(2));
    fleet.run(seconds(4));
    assert_eq!(
        (fleet.told("a")[&key(2)], fleet.told("b")[&key(2)]),
        ((Unhealthy, Basis::Fleet), (Unhealthy, Basis::Fleet))
    );
}

/// A result that does not bear its health out is no news, and one of a check that is not probed
/// here is none at all.
#[test]
fn doubtful_results_are_not_published() {
    let mut fleet = Fleet::started(&["a"], 0, Policy::default());
    let now = fleet.now();
    fleet.act("a", |node| {
        node.add(key(1), Policy::default(), now);
        node.found(key(1), finding(Unhealthy), false, now);
        node.found(key(2), finding(Unhealthy), true, now);
    });
    assert_eq!(fleet.told("a").len(), 0);
    fleet.act("a", |node| node.found(key(1), finding(Healthy), true, now));
    assert_eq!(fleet.told("a").len(), 1);
}
