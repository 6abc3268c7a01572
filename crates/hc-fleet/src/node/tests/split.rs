//! Nodes that are cut off, and a store that fails.

use super::fleet::{Fleet, key, seconds};
use super::*;
use hc_types::Health::{Healthy, Unhealthy};

/// It probes what its consumers need, marks its verdicts as its own, and is one of the fleet again
/// when it hears it.
#[test]
fn who_is_cut_off_goes_on_alone() {
    let mut fleet = Fleet::started(&["a", "b", "c"], 60, Policy::default());
    fleet.forget_tellings();
    fleet.cut("c", true);
    fleet.run(seconds(25));
    assert!(fleet.node("c").is_cut_off());
    assert_eq!(fleet.node("c").probed(), 60);
    assert_eq!(fleet.node("a").probed() + fleet.node("b").probed(), 60);
    assert_eq!(fleet.false_tellings(), 0);
    fleet.down(key(5));
    fleet.run(seconds(4));
    assert_eq!(fleet.told("c")[&key(5)], (Unhealthy, Basis::Alone));
    assert_eq!(fleet.told("a")[&key(5)], (Unhealthy, Basis::Fleet));
    fleet.cut("c", false);
    fleet.run(seconds(10));
    assert!(!fleet.node("c").is_cut_off());
    assert!(fleet.told("c").values().all(|told| told.1 == Basis::Fleet));
    assert_eq!(fleet.names().iter().map(|name| fleet.node(name).probed()).sum::<usize>(), 60);
    assert_eq!(fleet.false_tellings(), 0);
}

/// In a fleet of more nodes than a check has opinions it is far down most orders.
#[test]
fn who_is_back_rests() {
    let mut fleet = Fleet::started(&["a", "b", "c", "d", "e"], 60, Policy::default());
    fleet.cut("e", true);
    fleet.run(seconds(25));
    assert_eq!(fleet.node("e").probed(), 60);
    fleet.cut("e", false);
    fleet.run(seconds(10));
    assert_eq!(fleet.names().iter().map(|name| fleet.node(name).probed()).sum::<usize>(), 60);
}

/// Cut off from the backends as well, and from all of them: back in the fleet it says nothing of
/// that time, and a verdict of the fleet is not moved by it.
#[test]
fn who_is_back_overrules_nobody() {
    for opinions in [1, 3] {
        let mut fleet = Fleet::started(&["a", "b", "c"], 30, Policy { opinions, ..Policy::default() });
        fleet.cut("c", true);
        (0..30).for_each(|number| fleet.blind("c", key(number)));
        fleet.run(seconds(30));
        assert!(fleet.told("c").values().all(|told| *told == (Unhealthy, Basis::Alone)));
        fleet.forget_tellings();
        fleet.see_again();
        fleet.cut("c", false);
        fleet.run(seconds(10));
        assert_eq!((fleet.changes_told("a"), fleet.changes_told("b")), (0, 0), "{opinions} opinions");
        assert!(fleet.told("c").values().all(|told| *told == (Healthy, Basis::Fleet)));
    }
}

/// Its opinion was outvoted; that the others cannot be heard is no news of the backend.
#[test]
fn who_was_outvoted_does_not_say_so_when_cut_off() {
    let mut fleet = Fleet::started(&["a", "b", "c"], 10, Policy { opinions: 3, ..Policy::default() });
    fleet.blind("c", key(4));
    fleet.run(seconds(20));
    fleet.forget_tellings();
    fleet.cut("c", true);
    fleet.run(seconds(30));
    assert_eq!((fleet.told("c")[&key(4)], fleet.changes_told("c")), ((Healthy, Basis::Alone), 0));
    // It sees it up, and then down again: that is news.
    fleet.see_again();
    fleet.run(seconds(5));
    fleet.down(key(4));
    fleet.run(seconds(5));
    assert_eq!(fleet.told("c")[&key(4)], (Unhealthy, Basis::Alone));
}

#[test]
fn a_store_that_is_away_changes_no_verdict() {
    let mut fleet = Fleet::started(&["a", "b", "c"], 60, Policy::default());
    fleet.forget_tellings();
    fleet.cut_all(true);
    fleet.run(seconds(60));
    for name in fleet.names() {
        assert_eq!((fleet.node(&name).probed(), fleet.changes_told(&name)), (60, 0));
    }
    fleet.cut_all(false);
    fleet.run(seconds(20));
    assert_eq!(fleet.names().iter().map(|name| fleet.node(name).probed()).sum::<usize>(), 60);
    assert_eq!((fleet.false_tellings(), fleet.changes_told("a")), (0, 0));
}

/// Nobody is cut off, no check moves: the nodes write themselves again.
#[test]
fn a_wiped_store_is_filled_again() {
    let mut fleet = Fleet::started(&["a", "b", "c"], 60, Policy::default());
    fleet.forget_tellings();
    let before = fleet.probes_begun();
    fleet.wipe();
    fleet.run(seconds(10));
    for name in fleet.names() {
        assert!(!fleet.node(&name).is_cut_off());
        assert_eq!(fleet.changes_told(&name), 0);
        assert!(fleet.told(&name).values().all(|told| *told == (Healthy, Basis::Fleet)));
    }
    assert_eq!(fleet.probes_begun(), before);
    assert_eq!(fleet.names().iter().map(|name| fleet.node(name).probed()).sum::<usize>(), 60);
}

/// An old leader takes leases for expired: each node is registered again at once.
#[test]
fn revoked_leases_are_asked_for_again() {
    let mut fleet = Fleet::started(&["a", "b", "c"], 60, Policy::default());
    fleet.forget_tellings();
    fleet.revoke_all();
    fleet.run(seconds(10));
    for name in fleet.names() {
        assert!(fleet.logged(&name, |note| *note == Note::LeaseLost));
        assert_eq!((fleet.node(&name).is_cut_off(), fleet.changes_told(&name)), (false, 0));
    }
    assert_eq!(fleet.names().iter().map(|name| fleet.node(name).probed()).sum::<usize>(), 60);
    assert!(fleet.told("a").values().all(|told| told.1 == Basis::Fleet));
}

/// What was heard has a gap, and is read again.
#[test]
fn a_compacted_watch_loses_nothing() {
    let mut fleet = Fleet::started(&["a", "b", "c"], 60, Policy::default());
    fleet.deafen("a");
    fleet.run(seconds(2));
    (0..60).for_each(|number| fleet.down(key(number)));
    fleet.run(seconds(3));
    fleet.read_anew("a");
    fleet.run(seconds(1));
    assert!(fleet.told("a").values().all(|told| *told == (Unhealthy, Basis::Fleet)));
}

/// Leases are kept alive, and nothing is heard: such a node must not go on as if nothing had
/// changed.
#[test]
fn a_silent_watch_is_as_good_as_none() {
    let mut fleet = Fleet::started(&["a", "b", "c"], 60, Policy::default());
    fleet.deafen("a");
    fleet.run(seconds(22));
    assert!(fleet.node("a").is_cut_off());
    assert_eq!(fleet.node("a").probed(), 60);
    assert_eq!(fleet.node("b").probed() + fleet.node("c").probed(), 60);
    fleet.read_anew("a");
    fleet.run(seconds(10));
    assert!(!fleet.node("a").is_cut_off());
    assert_eq!(fleet.names().iter().map(|name| fleet.node(name).probed()).sum::<usize>(), 60);
}

/// Its quota is full: whoever cannot write gives its lease up, and decides by itself in the end.
#[test]
fn a_store_that_takes_no_writes_freezes_nothing() {
    let mut fleet = Fleet::started(&["a", "b"], 40, Policy::default());
    fleet.refuse_writes(true);
    (0..40).for_each(|number| fleet.down(key(number)));
    fleet.run(seconds(45));
    for name in fleet.names() {
        assert!(
            fleet.told(&name).values().all(|told| *told == (Unhealthy, Basis::Alone)),
            "{:?}",
            fleet.told(&name)
        );
    }
    fleet.refuse_writes(false);
    fleet.run(seconds(30));
    assert!(fleet.told("a").values().all(|told| *told == (Unhealthy, Basis::Fleet)));
    assert_eq!(fleet.names().iter().map(|name| fleet.node(name).probed()).sum::<usize>(), 40);
}

/// The first node of all does not wait for others, and one without a store decides by itself.
#[test]
fn a_node_alone_is_soon_of_use() {
    let mut fleet = Fleet::started(&["a"], 5, Policy { opinions: 3, ..Policy::default() });
    assert!(fleet.told("a").values().all(|told| *told == (Healthy, Basis::Fleet)));
    assert!(fleet.node("a").is_first());
    fleet.cut_all(true);
    fleet.join("b");
    fleet.cut("b", true);
    fleet.run(seconds(16));
    assert!(fleet.told("b").values().all(|told| *told == (Healthy, Basis::Alone)));
    assert_eq!(fleet.told("b").len(), 5);
}
