use std::time::Duration;

use hc_types::{
    Evidence, Failure, Held, LocalFault, Operator, Outcome, Override, Pass, ProbeSpec, Progress, Ruling,
    Seen, Subject, Target, Timing,
};

use super::*;
use crate::check::{Reported, Withheld};
use crate::journal::OverrideStep;

const FIRST: Incarnation = Incarnation(1);
const SECOND: Incarnation = Incarnation(2);

fn wall(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn spec() -> Arc<CheckSpec> {
    let target = Target::plain("192.0.2.1".parse().unwrap(), 0);
    let second = Duration::from_secs(1);
    Arc::new(CheckSpec::new(target, ProbeSpec::Icmp, Timing::every(second).timeout(second)).unwrap())
}

/// What a probe that began at this second made of a check.
fn update(id: u64, incarnation: Incarnation, health: Health, at: u64) -> StatusUpdate {
    let outcome = match health {
        Health::Healthy => Outcome::PASS,
        Health::Unhealthy | Health::Unknown => Failure::Refused.into(),
    };
    let status = Status {
        health,
        last_check: Some(wall(at)),
        duration: Duration::from_millis(at),
        failures: 3,
        successes: 4,
        outcome: Some(outcome),
        held: None,
        note: None,
    };
    let (since, next) = (Some(wall(at)), Some(wall(at + 1)));
    StatusUpdate {
        id: CheckId(id),
        incarnation,
        spec: spec(),
        status,
        transition: false,
        reportable: true,
        progress: Progress { since, in_a_row: 2, last_probe: since, next_due: next },
        evidence: Evidence::default(),
    }
}

fn table(ids: std::ops::RangeInclusive<u64>) -> Table {
    let mut table = Table::new(7, 3);
    for id in ids {
        table.begin(CheckId(id), FIRST, &spec());
    }
    table
}

#[test]
fn a_row_gives_back_what_was_written() {
    let mut table = table(1..=1);
    let before = table.check(CheckId(1)).unwrap();
    assert_eq!((before.status, before.progress), (Status::NEW, Progress::default()));
    assert_eq!((before.reported, before.spec), (Reported::Nothing, spec()));
    let mut update = update(1, FIRST, Health::Unhealthy, 5);
    for held in [None, Some(Box::new(Held { fault: LocalFault::Ports, since: wall(6) }))] {
        if held.is_some() {
            update.progress.last_probe = Some(wall(9));
        }
        update.status.held = held;
        table.record(update.clone());
        let check = table.check(CheckId(1)).unwrap();
        assert_eq!((&check.status, check.progress), (&update.status, update.progress));
        assert_eq!((&check.reported, check.reported_health()), (&Reported::Status, Some(Health::Unhealthy)));
        assert_eq!(table.reported(Slot(0)).unwrap().status, update.status);
    }
}

#[test]
fn a_late_update_of_an_old_life_is_dropped() {
    let mut table = table(1..=1);
    table.begin(CheckId(1), SECOND, &spec());
    assert_eq!(table.record(update(1, FIRST, Health::Healthy, 5)), None);
    table.hold_back(update(1, FIRST, Health::Healthy, 5), "guard");
    let status = update(1, FIRST, Health::Healthy, 5).status;
    assert_eq!(table.report(CheckId(1), FIRST, status, true, "guard"), None);
    assert_eq!(table.check(CheckId(1)).unwrap().status, Status::NEW);
    assert_eq!(table.forget(CheckId(1), FIRST), None);
    assert_eq!((table.forget(CheckId(1), SECOND), table.len(), table.slots()), (Some(Slot(0)), 0, 0));
}

#[test]
fn what_is_held_back_is_seen_by_readers_and_not_by_consumers() {
    use Health::{Healthy, Unhealthy};
    let mut table = table(1..=1);
    let id = CheckId(1);
    let healthy = update(1, FIRST, Healthy, 5);
    // Restored, and not confirmed yet.
    assert_eq!(table.record(StatusUpdate { reportable: false, ..healthy.clone() }), None);
    assert_eq!((table.check(id).unwrap().reported, table.reported(Slot(0))), (Reported::Nothing, None));
    let report = |transition| Some(Report { slot: Slot(0), transition, changed: transition });
    assert_eq!(table.record(healthy.clone()), report(true));
    assert_eq!(table.record(update(1, FIRST, Healthy, 6)), report(false));
    for at in 7..9 {
        table.hold_back(update(1, FIRST, Unhealthy, at), "guard");
        let check = table.check(id).unwrap();
        assert_eq!((check.status.health, check.reported_health()), (Unhealthy, Some(Healthy)));
        let Reported::Other(other) = check.reported else { panic!("{:?}", check.reported) };
        assert_eq!((other.by, other.since), ("guard", Some(wall(7))));
        assert_eq!(table.reported(Slot(0)).unwrap().status, update(1, FIRST, Healthy, 6).status);
    }
    let released = update(1, FIRST, Unhealthy, 8).status;
    assert_eq!(table.report(id, FIRST, released, false, "guard"), report(true));
    assert_eq!(table.check(id).unwrap().reported, Reported::Status);
    // A stage may say otherwise than the probes.
    let forced = Status { health: Healthy, ..update(1, FIRST, Unhealthy, 9).status };
    assert_eq!(table.report(id, FIRST, forced.clone(), false, "override"), report(true));
    let withheld = Withheld { status: forced, by: "override", since: Some(wall(8)) };
    assert_eq!(table.check(id).unwrap().reported, Reported::Other(Box::new(withheld)));
}

/// What a consumer that keeps statuses is to get at once, and what may wait.
#[test]
fn other_words_are_a_change_and_counters_are_not() {
    let (mut table, id) = (table(1..=1), CheckId(1));
    let says = |at, outcome: Outcome| {
        let mut update = update(1, FIRST, Health::Healthy, at);
        (update.status.outcome, update.status.successes) = (Some(outcome), at);
        update
    };
    let report = |transition, changed| Some(Report { slot: Slot(0), transition, changed });
    let fine = || Outcome::Pass(Pass::http(200, "200 Fine"));
    assert_eq!(table.record(says(5, Outcome::PASS)), report(true, true));
    assert_eq!(table.record(says(6, Outcome::PASS)), report(false, false));
    assert_eq!(table.record(says(7, Failure::Refused.into())), report(false, true));
    assert_eq!(table.record(says(8, fine())), report(false, true), "a text that a row has aside");
    assert_eq!(table.record(says(9, fine())), report(false, false));
    assert_eq!(table.record(says(10, Outcome::PASS)), report(false, true));
    let mut noted = says(11, Outcome::PASS);
    noted.status.note = Some("a word".into());
    assert_eq!(table.record(noted), report(false, true));
    let target = Target::plain("192.0.2.2".parse().unwrap(), 0);
    let other = CheckSpec::new(target, ProbeSpec::Icmp, Timing::every(Duration::from_secs(1))).unwrap();
    assert_eq!(table.record(says(12, Outcome::PASS)), report(false, false));
    let moved = StatusUpdate { spec: Arc::new(other), ..says(13, Outcome::PASS) };
    assert_eq!(table.record(moved), report(false, true));
    // While consumers get another status than the check's own.
    let forced = |at| Status { note: Some("forced".into()), ..says(at, Outcome::PASS).status };
    assert_eq!(table.report(id, FIRST, forced(14), false, "override"), report(false, true));
    assert_eq!(table.report(id, FIRST, forced(15), false, "override"), report(false, false));
}

#[test]
fn pages_have_each_check_once() {
    let mut table = table(1..=10);
    table.forget(CheckId(4), FIRST);
    let mut ids = Vec::new();
    let mut next = Some(Cursor::default());
    while let Some(from) = next {
        let page = table.page(from, 3);
        ids.extend(page.checks.iter().map(|check| check.id.0));
        next = page.next;
        // Slots of checks that ended are used again, so no other one moves.
        table.forget(CheckId(1), FIRST);
        table.begin(CheckId(20), FIRST, &spec());
    }
    assert_eq!(ids, [1, 2, 3, 5, 6, 7, 8, 9, 10]);
    assert_eq!(table.page(Cursor(99), 3).checks, []);
    assert!(table.page(Cursor::default(), usize::MAX).next.is_none());
}

#[test]
fn the_journal_has_the_latest_transitions_and_counts_the_rest() {
    use Health::{Healthy, Unhealthy, Unknown};
    let mut table = table(1..=1);
    for (at, health) in [(1, Healthy), (2, Healthy), (3, Unhealthy), (4, Healthy), (5, Unhealthy)] {
        table.record(update(1, FIRST, health, at));
    }
    let all = table.transitions(0, 10);
    let shown: Vec<_> = all.transitions.iter().map(|one| (one.sequence, one.at, one.from, one.to)).collect();
    let expected = [
        (2, wall(3), Healthy, Unhealthy),
        (3, wall(4), Unhealthy, Healthy),
        (4, wall(5), Healthy, Unhealthy),
    ];
    assert_eq!((shown, all.missed, all.last, all.epoch), (expected.to_vec(), 1, 4, 7));
    assert_eq!(table.transitions_to(), (2, 2), "also those that are not kept");
    let of_it: Vec<u64> = table.transitions_of(CheckId(1), 2).iter().map(|one| one.sequence).collect();
    assert_eq!((of_it, table.transitions_of(CheckId(9), 2)), (vec![3, 4], vec![]));
    let some = table.transitions(2, 1);
    assert_eq!((some.transitions.len(), some.missed, some.last), (1, 0, 3));
    let none = table.transitions(4, 1);
    assert_eq!((none.transitions.len(), none.missed, none.last), (0, 0, 4));
    // Of another process, or made up.
    assert_eq!(table.transitions(99, 1).last, 4);
    // Under another id, or restored: nothing has changed.
    table.begin(CheckId(2), FIRST, &spec());
    let mut moved = update(2, FIRST, Unhealthy, 5);
    moved.progress.next_due = None;
    table.record(moved);
    table.record(update(2, FIRST, Unhealthy, 6));
    assert_eq!(table.transitions(4, 9).transitions, []);
    table.begin(CheckId(3), FIRST, &spec());
    table.hold_back(update(3, FIRST, Healthy, 7), "guard");
    assert_eq!(table.transitions(4, 9).transitions[0].from, Unknown);
}

#[test]
fn overrides_are_counted_with_transitions_and_drive_none_of_them_out() {
    use Health::{Healthy, Unhealthy};
    let mut table = table(1..=1);
    let named = |check: u64| Subject::Name(format!("web-{check}").into());
    let change = |check| OverrideChange {
        sequence: 0,
        at: wall(1),
        step: OverrideStep::Set,
        order: Arc::new(Override {
            subject: named(check),
            title: "web".into(),
            ruling: Ruling::Pause,
            by: Operator { uid: 0, user: None },
            reason: "a test".into(),
            asked: wall(1),
            from: wall(1),
            until: None,
            weekly: None,
        }),
        is_open: true,
        next: None,
        checks: [CheckId(check)].into(),
    };
    table.record(update(1, FIRST, Healthy, 1));
    (1..=5).for_each(|check| table.note_override(change(check)));
    table.record(update(1, FIRST, Unhealthy, 2));
    let numbers = |found: &Transitions| {
        let of_health: Vec<u64> = found.transitions.iter().map(|one| one.sequence).collect();
        let of_overrides: Vec<u64> = found.overrides.iter().map(|one| one.sequence).collect();
        (of_health, of_overrides, found.missed, found.last)
    };
    // Three of each kind are kept: 1 and 7, and 4 to 6.
    assert_eq!(numbers(&table.transitions(0, 9)), (vec![1, 7], vec![4, 5, 6], 2, 7));
    assert_eq!(numbers(&table.transitions(0, 1)), (vec![1], vec![], 0, 1));
    assert_eq!(numbers(&table.transitions(1, 2)), (vec![], vec![4, 5], 2, 5));
    assert_eq!(numbers(&table.transitions(5, 2)), (vec![7], vec![6], 0, 7));
    assert_eq!(numbers(&table.transitions(7, 2)), (vec![], vec![], 0, 7));
    assert_eq!(numbers(&table.transitions(1, 0)), (vec![], vec![], 0, 1), "nothing is read, nor gone over");
    // By themselves they are the first to the fifth.
    let counted = |after, most| {
        let OverrideChanges { changes, missed, last } = table.overrides_after(after, most);
        (changes.iter().map(|one| one.sequence).collect::<Vec<_>>(), missed, last)
    };
    assert_eq!(counted(0, 9), (vec![4, 5, 6], 2, 5), "the two of which nobody would know otherwise");
    assert_eq!(counted(1, 1), (vec![4], 1, 3));
    assert_eq!(counted(3, 9), (vec![5, 6], 0, 5));
    assert_eq!(counted(0, 0), (vec![], 2, 2));
    assert_eq!((counted(5, 9), counted(99, 9)), ((vec![], 0, 5), (vec![], 0, 5)));
    assert_eq!(table.override_changes(), 5);
    let of_it = |check, most| table.overrides_of(&named(check), most).len();
    assert_eq!([of_it(4, 9), of_it(1, 9), of_it(4, 0)], [1, 0, 0], "also of a check that does not run");
    assert_eq!(table.transitions_to(), (1, 1));
}

/// The counts are kept with each change; here they are compared with a walk over all rows.
#[test]
fn the_counts_are_those_of_the_rows() {
    let mut table = table(1..=9);
    let mut seen = Counts::default();
    let mut state = 1_u64;
    for step in 0..2000_u64 {
        // A linear congruential generator (Knuth's MMIX).
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (id, at) = ((state >> 33) % 11 + 1, step);
        let health = if (state >> 40).is_multiple_of(2) { Health::Healthy } else { Health::Unhealthy };
        let mut new = update(id, FIRST, health, at);
        match (state >> 50) % 9 {
            0 => _ = table.begin(CheckId(id), FIRST, &spec()),
            1 => _ = table.forget(CheckId(id), FIRST),
            2 => table.hold_back(new, "guard"),
            3 => {
                new.status.held = Some(Box::new(Held { fault: LocalFault::Ports, since: wall(at) }));
                table.record(new);
            }
            5 => {
                new.status.outcome = Some(Outcome::Pass(Pass::Plain.warned(Some("soon".into()))));
                table.record(new);
            }
            4 => _ = table.report(CheckId(id), FIRST, new.status, true, "guard"),
            _ => _ = table.record(new),
        }
        let mut walked = Counts::default();
        for check in table.page(Cursor::default(), usize::MAX).checks {
            match check.status.health {
                Health::Healthy => walked.healthy += 1,
                Health::Unhealthy => walked.unhealthy += 1,
                Health::Unknown => walked.unknown += 1,
            }
            walked.held += u64::from(check.status.held.is_some());
            walked.warned += u64::from(check.status.warning().is_some());
        }
        assert_eq!(table.counts(), walked, "after step {step}");
        (seen.healthy, seen.unhealthy) =
            (seen.healthy.max(walked.healthy), seen.unhealthy.max(walked.unhealthy));
        (seen.held, seen.warned) = (seen.held.max(walked.held), seen.warned.max(walked.warned));
    }
    assert!(seen.healthy > 1 && seen.unhealthy > 1 && seen.held > 1 && seen.warned > 1, "{seen:?}");
}

#[test]
fn failing_answers_have_a_limit_in_all_and_give_their_room_back() {
    let kilobyte = vec![b'x'; 1024];
    let checks = MAX_ANSWERS / 1024 + 2;
    let mut table = table(1..=checks);
    let fails = |id| {
        let mut update = update(id, FIRST, Health::Unhealthy, 5);
        let seen = Seen { answer: kilobyte.clone().into(), tls: None };
        update.evidence.seen = Some(Box::new(seen));
        update
    };
    let kept = |table: &Table, id| {
        let failure = table.check(CheckId(id)).unwrap().last_failure.unwrap();
        failure.evidence.seen.as_ref().unwrap().answer.len()
    };
    for id in 1..=checks {
        table.record(fails(id));
    }
    assert_eq!((kept(&table, checks - 2), kept(&table, checks - 1), kept(&table, checks)), (1024, 0, 0));
    // One that fails again has its own room.
    table.record(fails(3));
    assert_eq!(kept(&table, 3), 1024);
    // The room of a check that has ended, and of one that begins again.
    table.forget(CheckId(1), FIRST);
    table.begin(CheckId(2), SECOND, &spec());
    for id in [checks - 1, checks] {
        table.record(fails(id));
        assert_eq!(kept(&table, id), 1024);
    }
    assert_eq!(table.sums.answers, MAX_ANSWERS);
}

#[test]
fn a_timeout_is_suggested_to_those_who_ask_for_it() {
    let suggested = |adaptive: AdaptiveTimeout| {
        let mut table = Table::new(0, 8);
        let timing =
            Timing::every(Duration::from_secs(5)).timeout(Duration::from_secs(5)).adaptive_timeout(adaptive);
        let spec = Arc::new(CheckSpec::new(spec().target().clone(), spec().probe().clone(), timing).unwrap());
        table.begin(CheckId(1), Incarnation(1), &spec);
        for _ in 0..PassTimes::WINDOW {
            assert_eq!(table.check(CheckId(1)).unwrap().suggested_timeout, None);
            // It takes as many milliseconds.
            let _ = table.record(StatusUpdate {
                spec: Arc::clone(&spec),
                ..update(1, Incarnation(1), Health::Healthy, 500)
            });
        }
        let shown = table.check(CheckId(1)).unwrap().suggested_timeout;
        assert_eq!(table.page(Cursor::default(), 8).checks[0].suggested_timeout, shown);
        table.begin(CheckId(1), Incarnation(2), &spec);
        assert_eq!(table.check(CheckId(1)).unwrap().suggested_timeout, None, "another life");
        shown
    };
    assert_eq!(suggested(AdaptiveTimeout::Off), None);
    assert_eq!(suggested(AdaptiveTimeout::Suggest), Some(Duration::from_millis(1500)));
}
