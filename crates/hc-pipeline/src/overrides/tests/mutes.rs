//! A mute for once and one of each week, of the same check and at the same time.

use super::*;

/// Each Sunday from 02:00 to 04:00, an hour after the rig begins.
fn weekly(rig: &Rig) -> Override {
    let weekly = parse_weekly("Sun 02:00-04:00", "Etc/UTC").unwrap();
    Override { weekly: Some(weekly), ..order(named("web1"), MUTE, rig.wall, None) }
}

fn healthy() -> Rig {
    let mut rig = Rig::new();
    rig.begin(1);
    rig.probe(1, Healthy);
    rig
}

#[test]
fn a_mute_that_outlives_another_keeps_the_same_after_a_force() {
    let mut rig = healthy();
    rig.add(named("web1"), MUTE, Some(80 * MINUTE));
    rig.add_order(weekly(&rig));
    rig.pass(70 * MINUTE);
    rig.add(named("web1"), force(Unhealthy), Some(20 * MINUTE));
    assert_eq!(rig.reported(1), Some(Unhealthy));
    // The first mute ends during the force.
    rig.pass(21 * MINUTE);
    assert_eq!(rig.reported(1), Some(Healthy));
}

#[test]
fn a_mute_that_begins_within_a_force_keeps_what_another_has_kept() {
    let mut rig = healthy();
    rig.add_order(weekly(&rig));
    rig.add(named("web1"), MUTE, None);
    rig.pass(50 * MINUTE);
    rig.add(named("web1"), force(Unhealthy), Some(20 * MINUTE));
    // The weekly one opens during the force.
    rig.pass(21 * MINUTE);
    assert_eq!(rig.reported(1), Some(Healthy));
}

#[test]
fn a_mute_that_is_set_again_within_a_force_keeps_what_it_kept() {
    let mut rig = healthy();
    rig.add(named("web1"), MUTE, Some(30 * MINUTE));
    rig.add(named("web1"), force(Unhealthy), Some(20 * MINUTE));
    rig.add(named("web1"), MUTE, Some(120 * MINUTE));
    rig.pass(21 * MINUTE);
    assert_eq!(rig.reported(1), Some(Healthy));
}
