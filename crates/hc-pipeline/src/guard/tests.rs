//! The guard by examples. Its laws are in `laws.rs`.

mod laws;
mod rig;

use std::net::Ipv4Addr;

use hc_types::{Evidence, Incarnation, Progress, Status};

use super::*;
use crate::Grouping;
use rig::{Rig, spec};

const NONE: [u64; 0] = [];
const MS: Duration = Duration::from_millis(1);

const ALL: Group = Group::All;

fn tripped(failed: usize, size: usize) -> Event {
    Event::Tripped { group: ALL, failed, size, share: 0.5 }
}

fn released(verdicts: usize, cause: Cause) -> Event {
    Event::Released { group: ALL, verdicts, cause }
}

#[test]
fn a_lone_failure_waits_for_the_window() {
    let mut rig = Rig::healthy(GuardConfig::default(), 1..=20);
    rig.until(100);
    rig.down(7);
    rig.until(2_099);
    assert_eq!((rig.told_down(), rig.guard.held()), (vec![], 1));
    rig.until(2_100);
    assert_eq!((rig.told_down(), rig.guard.held()), (vec![7], 0));
    // From here on it passes, as does all that is healthy.
    rig.down(7);
    assert_eq!(rig.told_down(), [7]);
    rig.up(7);
    assert_eq!(rig.passed.len(), 1);
    assert_eq!((rig.guard.next_due(), rig.take_probed()), (None, vec![]));
    rig.heard(&[]);
}

#[test]
fn many_failures_are_told_once_a_sample_has_failed_in_each_round() {
    let mut rig = Rig::healthy(GuardConfig::default(), 1..=20);
    (1..=11).for_each(|id| rig.down(id));
    rig.heard(&[tripped(11, 20)]);
    let sample = rig.take_probed();
    assert_eq!(sample.len(), 8);
    assert!(sample.iter().all(|id| (1..=11).contains(id)), "{sample:?}");
    // What follows in the group is held too, beyond the window.
    rig.until(1_500);
    rig.down(12);
    for round in 1..=3 {
        rig.until(round * 4_000);
        sample.iter().for_each(|id| rig.down(*id));
        if round < 3 {
            rig.until(round * 4_000 + 999);
            assert_eq!(rig.take_probed(), NONE);
            rig.until(round * 4_000 + 1_000);
            assert_eq!(rig.take_probed(), sample);
            assert_eq!(rig.told_down(), NONE);
        }
    }
    assert_eq!(rig.told_down(), (1..=12).collect::<Vec<_>>());
    rig.heard(&[released(12, Cause::Confirmed)]);
    // The alarm stands: nothing is held again.
    (13..=20).for_each(|id| rig.down(id));
    rig.until(14_000);
    assert_eq!(rig.told_down(), (13..=20).collect::<Vec<_>>());
    (1..=9).for_each(|id| rig.up(id));
    rig.heard(&[]);
    assert_eq!(rig.guard.alarms().collect::<Vec<_>>(), [ALL]);
    rig.up(10);
    rig.heard(&[Event::Ended { group: ALL }]);
    (11..=20).for_each(|id| rig.up(id));
    (1..=11).for_each(|id| rig.down(id));
    rig.heard(&[tripped(11, 20)]);
}

/// An alarm whose verdicts were told, with 11 of 20 checks down.
fn alarmed() -> Rig {
    let mut rig = Rig::healthy(GuardConfig::default(), 1..=20);
    (1..=11).for_each(|id| rig.down(id));
    rig.until(30_000);
    rig.heard(&[tripped(11, 20), released(11, Cause::MaxHold)]);
    rig
}

#[test]
fn an_alarm_ends_by_the_group_as_it_is_now() {
    // Grown: the same 11 are few.
    let mut rig = alarmed();
    rig.begin(21, 1);
    rig.heard(&[]);
    rig.up(21);
    rig.heard(&[]);
    rig.begin(22, 1);
    rig.up(22);
    rig.heard(&[Event::Ended { group: ALL }]);
    // Grown by checks that are down, too.
    let mut rig = alarmed();
    for id in 21..=24 {
        rig.begin(id, 1);
        rig.down(id);
    }
    (1..=2).for_each(|id| rig.up(id));
    rig.heard(&[]);
    rig.up(3);
    rig.heard(&[Event::Ended { group: ALL }]);
    // Shrunk: ten are still nearly all.
    let mut rig = alarmed();
    (14..=20).for_each(|id| rig.forget(id, 1));
    (1..=4).for_each(|id| rig.up(id));
    rig.heard(&[]);
    rig.up(5);
    rig.heard(&[Event::Ended { group: ALL }]);
}

#[test]
fn what_was_down_before_an_alarm_is_no_part_of_its_share_while_it_stays_down() {
    let alarmed = || {
        let mut rig = Rig::healthy(GuardConfig::default(), 1..=30);
        (21..=30).for_each(|id| rig.down(id));
        rig.until(2_000);
        (1..=12).for_each(|id| rig.down(id));
        rig.until(32_000);
        rig.heard(&[tripped(11, 20), released(12, Cause::MaxHold)]);
        rig
    };
    // 12 of 20: one up is not enough, two are.
    let mut rig = alarmed();
    rig.up(1);
    rig.heard(&[]);
    rig.up(2);
    rig.heard(&[Event::Ended { group: ALL }]);
    // Removed, they change nothing.
    let mut rig = alarmed();
    (21..=30).for_each(|id| rig.forget(id, 1));
    rig.up(1);
    rig.heard(&[]);
    rig.up(2);
    rig.heard(&[Event::Ended { group: ALL }]);
    // Up, they count as all others do, also when they are down again: 12 of 23, 12 of 24.
    let mut rig = alarmed();
    (21..=23).for_each(|id| rig.up(id));
    (21..=22).for_each(|id| rig.down(id));
    (21..=22).for_each(|id| rig.up(id));
    rig.heard(&[]);
    rig.up(24);
    rig.heard(&[Event::Ended { group: ALL }]);
}

#[test]
fn the_share_is_one_of_healthy_checks_and_must_be_exceeded_within_the_window() {
    // All at once: as many as the share, one more.
    let mut rig = Rig::healthy(GuardConfig::default(), 1..=20);
    (1..=10).for_each(|id| rig.down(id));
    rig.heard(&[]);
    rig.down(11);
    rig.heard(&[tripped(11, 20)]);
    // Those that came back do not count.
    let mut rig = Rig::healthy(GuardConfig::default(), 1..=20);
    (1..=10).for_each(|id| rig.down(id));
    (1..=5).for_each(|id| rig.up(id));
    (11..=15).for_each(|id| rig.down(id));
    rig.heard(&[]);
    // Nor do those that are down already, on either side.
    let mut rig = Rig::healthy(GuardConfig::default(), 1..=20);
    (1..=10).for_each(|id| rig.down(id));
    rig.until(2_000);
    (11..=15).for_each(|id| rig.down(id));
    rig.heard(&[]);
    rig.down(16);
    rig.heard(&[tripped(6, 10)]);
    // Slowly: never.
    let mut rig = Rig::healthy(GuardConfig::default(), 1..=20);
    for id in 1..=20_u32 {
        rig.down(id.into());
        rig.until(id * 2_000);
    }
    rig.heard(&[]);
    assert_eq!(rig.told_down().len(), 20);
}

#[test]
fn a_small_group_is_never_held() {
    let mut rig = Rig::healthy(GuardConfig::default(), 1..=4);
    (1..=4).for_each(|id| rig.down(id));
    rig.until(2_000);
    assert_eq!(rig.told_down(), [1, 2, 3, 4]);
    rig.heard(&[]);
}

#[test]
fn each_check_decides_for_itself_when_the_sample_recovers() {
    let mut rig = Rig::healthy(GuardConfig::default(), 1..=20);
    (1..=20).for_each(|id| rig.down(id));
    let sample = rig.take_probed();
    rig.until(5_000);
    let (up, down) = sample.split_at(4);
    down.iter().for_each(|id| rig.down(*id));
    up.iter().for_each(|id| rig.up(*id));
    // Half of the sample fails, which is not more than the share.
    rig.heard(&[tripped(11, 20), Event::Recovered { group: ALL, awaiting: 16 }]);
    assert_eq!(rig.take_probed(), NONE, "their own probes come soon enough");
    rig.until(6_000);
    let rest: Vec<u64> = (1..=20).filter(|id| !up.contains(id)).collect();
    let (fails, passes, silent) = (rest[0], &rest[1..10], &rest[10..]);
    rig.down(fails);
    passes.iter().for_each(|id| rig.up(*id));
    rig.heard(&[Event::Ended { group: ALL }]);
    rig.until(7_999);
    assert_eq!(rig.told_down(), NONE);
    rig.until(8_000);
    assert_eq!(rig.told_down(), [fails], "it failed again, alone: the window");
    rig.until(29_999);
    assert_eq!(rig.told_down(), NONE);
    rig.until(30_000);
    assert_eq!(rig.told_down(), silent);
}

#[test]
fn a_second_wave_of_failures_is_held_again_and_never_beyond_max_hold() {
    let mut rig = Rig::healthy(GuardConfig::default(), 1..=20);
    (1..=20).for_each(|id| rig.down(id));
    let sample = rig.take_probed();
    sample.iter().for_each(|id| rig.up(*id));
    rig.heard(&[tripped(11, 20), Event::Recovered { group: ALL, awaiting: 12 }]);
    rig.until(20_000);
    (1..=20).for_each(|id| rig.down(id));
    rig.heard(&[tripped(20, 20)]);
    rig.until(29_999);
    assert_eq!(rig.told_down(), NONE);
    rig.until(30_000);
    assert_eq!(rig.told_down().len(), 20);
    rig.heard(&[released(20, Cause::MaxHold)]);
}

#[test]
fn a_sample_that_does_not_answer_says_nothing() {
    let mut rig = Rig::healthy(GuardConfig::default(), 1..=20);
    (1..=20).for_each(|id| rig.down(id));
    let sample = rig.take_probed();
    // Every answer but one, again and again.
    for second in 1..=29 {
        rig.until(second * 1_000);
        sample[1..].iter().for_each(|id| rig.down(*id));
    }
    rig.until(29_999);
    assert_eq!((rig.told_down(), rig.take_probed()), (vec![], vec![]));
    rig.until(30_000);
    assert_eq!(rig.told_down().len(), 20);
    rig.heard(&[tripped(11, 20), released(20, Cause::MaxHold)]);
}

#[test]
fn only_answers_of_its_rounds_count() {
    // The failure that trips the group is that of a check in the sample, and no answer.
    let once = GuardConfig { rounds: std::num::NonZeroU32::MIN, ..GuardConfig::default() };
    let mut rig = Rig::healthy(once, 1..=5);
    (1..=3).for_each(|id| rig.down(id));
    assert_eq!(rig.take_probed(), [1, 2, 3]);
    (1..=2).for_each(|id| rig.down(id));
    rig.heard(&[tripped(3, 5)]);
    rig.down(3);
    rig.heard(&[released(3, Cause::Confirmed)]);
    // Probes between two rounds are none either.
    let mut rig = Rig::healthy(GuardConfig::default(), 1..=20);
    (1..=20).for_each(|id| rig.down(id));
    rig.heard(&[tripped(11, 20)]);
    let sample = rig.take_probed();
    (0..5).for_each(|_| sample.iter().for_each(|id| rig.down(*id)));
    rig.heard(&[]);
    // Without a sample there is nothing to wait for.
    sample.iter().for_each(|id| rig.forget(*id, 1));
    rig.heard(&[Event::Recovered { group: ALL, awaiting: 12 }]);
    assert_eq!(rig.guard.next_due(), Some(rig.start + GuardConfig::default().max_hold));
}

#[test]
fn what_is_told_is_the_latest_and_is_news() {
    let mut rig = Rig::healthy(GuardConfig::default(), 1..=20);
    rig.down(1);
    rig.down(1);
    let latest = rig.recorded;
    rig.until(2_000);
    let [told] = &rig.passed[..] else { panic!("{:?}", rig.passed) };
    assert_eq!((told.status.failures, told.transition), (latest, true));
    // A rise after a fall that nobody heard of is no news.
    rig.passed.clear();
    rig.down(2);
    let (id, incarnation) = (CheckId(2), Incarnation(1));
    let status = Status { health: Health::Healthy, ..Status::NEW };
    let update = StatusUpdate {
        id,
        incarnation,
        spec: spec(2),
        status,
        transition: true,
        reportable: true,
        progress: Progress::default(),
        evidence: Evidence::default(),
    };
    rig.step(|guard, now, out| guard.update(update, now, out));
    assert!(matches!(&rig.passed[..], [told] if !told.transition), "{:?}", rig.passed);
}

#[test]
fn groups_stand_for_themselves() {
    let subnets = GuardConfig { groups: vec![Grouping::Subnet { v4: 24, v6: 64 }], ..GuardConfig::default() };
    let mut rig = Rig::healthy(subnets, 10..=49);
    (20..=29).for_each(|id| rig.down(id));
    rig.down(45);
    let group = Group::Subnet { network: Ipv4Addr::new(10, 0, 2, 0).into(), prefix: 24 };
    rig.heard(&[Event::Tripped { group, failed: 6, size: 10, share: 0.5 }]);
    rig.until(2_000);
    assert_eq!(rig.told_down(), [45]);
    assert_eq!(rig.guard.held(), 10);
}

/// A verdict that two groups hold is told when either is sure, and awaits its next probe when
/// neither holds it.
#[test]
fn a_check_in_two_groups() {
    let groups = vec![Grouping::All, Grouping::Subnet { v4: 24, v6: 64 }, Grouping::All];
    let config = || GuardConfig { groups: groups.clone(), ..GuardConfig::default() };
    let mut rig = Rig::healthy(config(), 10..=29);
    (10..=29).for_each(|id| rig.down(id));
    assert_eq!(rig.events.len(), 3, "{:?}", rig.events);
    rig.take_probed();
    // The subnet of 20…29 recovers, and that of 10…19 is sure.
    (20..=29).for_each(|id| rig.up(id));
    assert!(rig.events.contains(&Event::Ended { group: ALL }), "{:?}", rig.events);
    for round in 0..3 {
        rig.until(round * 1_000);
        (10..=19).for_each(|id| rig.down(id));
    }
    let mut told = rig.told_down();
    told.dedup();
    assert_eq!(told, (10..=19).collect::<Vec<_>>());
    let alarms: Vec<String> = rig.guard.alarms().map(|group| group.to_string()).collect();
    assert_eq!(alarms, ["subnet 10.0.1.0/24"]);
}

#[test]
fn a_check_that_is_rarely_probed_is_probed_when_its_verdict_is_in_doubt() {
    let mut rig = Rig::healthy(GuardConfig::default(), 1000..=1019);
    (1000..=1019).for_each(|id| rig.down(id));
    let sample = rig.take_probed();
    sample.iter().for_each(|id| rig.up(*id));
    let rest: Vec<u64> = (1000..=1019).filter(|id| !sample.contains(id)).collect();
    assert_eq!(rig.take_probed(), rest);
}

#[test]
fn removed_checks_leave_no_trace() {
    let mut rig = Rig::healthy(GuardConfig::default(), 1..=20);
    (1..=20).for_each(|id| rig.down(id));
    rig.forget(1, 7);
    assert_eq!(rig.guard.held(), 20, "not this life");
    (1..=19).for_each(|id| rig.forget(id, 1));
    rig.begin(20, 2);
    rig.heard(&[tripped(11, 20), Event::Recovered { group: ALL, awaiting: 10 }, Event::Ended { group: ALL }]);
    rig.forget(20, 2);
    let Guard {
        checks,
        held,
        due,
        tallies,
        rechecks,
        alarms,
        config: _,
        begun: _,
        figures: _,
        is_for_fleet: _,
    } = &rig.guard;
    assert!(checks.is_empty() && held.is_empty() && due.is_empty() && tallies.is_empty());
    assert!(rechecks.is_empty() && alarms.is_empty());
    rig.until(60_000);
    assert_eq!(rig.told_down(), NONE);
}

#[test]
fn the_first_status_of_a_life_passes() {
    let mut rig = Rig::healthy(GuardConfig::default(), 1..=20);
    for id in 1..=20 {
        rig.begin(id, 2);
        rig.down(id);
        assert_eq!(rig.told_down(), NONE, "an old life");
        rig.record(id, 2, Health::Unhealthy);
        assert_eq!(rig.told_down(), [id]);
    }
    rig.heard(&[]);
}

#[test]
fn no_time_is_too_long() {
    let forever = GuardConfig { window: Duration::MAX, max_hold: Duration::MAX, ..GuardConfig::default() };
    let mut rig = Rig::healthy(forever, 1..=20);
    (1..=20).for_each(|id| rig.down(id));
    rig.heard(&[tripped(11, 20)]);
    // A hold shorter than the window is still the longest.
    let short = GuardConfig { max_hold: MS * 500, ..GuardConfig::default() };
    let mut rig = Rig::healthy(short, 1..=20);
    rig.down(1);
    rig.until(500);
    assert_eq!(rig.told_down(), [1]);
}
