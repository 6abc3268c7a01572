use std::num::NonZeroUsize;
use std::sync::Arc;

use hc_types::{
    CheckId, CheckSpec, Evidence, Health, Incarnation, Outcome, ProbeSpec, Progress, Status, StatusUpdate,
    Target, Timing,
};

use super::*;

pub(super) const FIRST_LIFE: Incarnation = Incarnation(1);

/// An outbox and a clock that the test moves.
pub(super) struct Desk {
    pub(super) outbox: Outbox,
    pub(super) table: Table,
    pub(super) now: Instant,
}

#[expect(clippy::disallowed_methods, reason = "the clock has to begin somewhere")]
pub(super) fn desk(batch_size: usize) -> Desk {
    let now = Instant::now();
    let batch_size = NonZeroUsize::new(batch_size).unwrap();
    let outbox = Outbox::new(&NotifierConfig { batch_size, ..NotifierConfig::default() }, now);
    Desk { outbox, table: Table::new(0, 0), now }
}

pub(super) fn update(id: u64, incarnation: Incarnation, health: Health, transition: bool) -> StatusUpdate {
    let second = Duration::from_secs(1);
    let target = Target::plain("192.0.2.1".parse().unwrap(), 0);
    let spec =
        Arc::new(CheckSpec::new(target, ProbeSpec::Icmp, Timing::every(second).timeout(second)).unwrap());
    let status = Status { health, outcome: Some(Outcome::PASS), ..Status::NEW };
    StatusUpdate {
        id: CheckId(id),
        incarnation,
        spec,
        status,
        transition,
        reportable: true,
        progress: Progress::default(),
        evidence: Evidence::default(),
    }
}

impl Desk {
    fn wait(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
    }

    pub(super) fn begin(&mut self, id: u64, life: Incarnation) {
        let slot = self.table.begin(CheckId(id), life, &update(id, life, Health::Unknown, false).spec);
        self.outbox.begin(slot, CheckId(id));
    }

    pub(super) fn forget(&mut self, id: u64, life: Incarnation) {
        if let Some(slot) = self.table.forget(CheckId(id), life) {
            self.outbox.forget(slot, CheckId(id));
        }
    }

    pub(super) fn update(&mut self, update: StatusUpdate) -> bool {
        self.table.record(update).is_some_and(|report| self.outbox.reported(report, self.now))
    }

    pub(super) fn record(&mut self, id: u64, health: Health) -> bool {
        self.update(update(id, FIRST_LIFE, health, true))
    }

    pub(super) fn begin_up(&mut self, ids: impl IntoIterator<Item = u64>) {
        for id in ids {
            self.begin(id, FIRST_LIFE);
            self.record(id, Health::Healthy);
        }
    }

    /// Milliseconds until a batch is due.
    pub(super) fn due_in(&self) -> Option<u128> {
        match self.outbox.due() {
            Due::At(due) => Some(due.saturating_duration_since(self.now).as_millis()),
            Due::OnChange | Due::Never => None,
        }
    }

    /// Waits until a batch is due and takes it.
    #[track_caller]
    pub(super) fn take(&mut self) -> Vec<(u64, Health)> {
        let Due::At(due) = self.outbox.due() else { panic!("{:?}", self.outbox.due()) };
        self.now = self.now.max(due);
        let batch = self.outbox.take(&self.table, self.now).unwrap();
        batch.statuses.iter().map(|check| (check.id.0, check.status.health)).collect()
    }

    #[track_caller]
    pub(super) fn takes(&mut self, ids: impl IntoIterator<Item = u64>) {
        let taken: Vec<u64> = self.take().into_iter().map(|(id, _)| id).collect();
        assert_eq!(taken, ids.into_iter().collect::<Vec<_>>());
    }

    pub(super) fn deliver(&mut self) {
        self.outbox.delivered(self.now);
    }

    pub(super) fn fail(&mut self) {
        self.outbox.failed(&DeliveryError::new("no"), self.now);
    }

    pub(super) fn full_set(&mut self) {
        self.outbox.in_effect(Some(7), true, self.now);
    }
}

#[test]
fn an_empty_outbox_waits_for_a_change() {
    let mut desk = desk(100);
    assert_eq!(desk.outbox.due(), Due::OnChange);
    desk.begin(1, FIRST_LIFE);
    assert_eq!(desk.outbox.due(), Due::OnChange);
    assert!(desk.outbox.take(&desk.table, desk.now).is_none());
}

#[test]
fn the_task_is_woken_by_the_first_news_and_by_a_full_batch_only() {
    let mut desk = desk(3);
    let woken: Vec<bool> = (1..=4)
        .map(|id| {
            desk.begin(id, FIRST_LIFE);
            desk.record(id, Health::Healthy)
        })
        .collect();
    assert_eq!(woken, [true, false, true, false]);
    assert!(!desk.record(1, Health::Unhealthy));
}

#[test]
fn a_change_while_its_batch_is_under_way_is_told_afterwards() {
    let mut desk = desk(100);
    desk.begin_up([1, 2]);
    desk.takes([1, 2]);
    desk.record(1, Health::Unhealthy);
    assert_eq!(desk.outbox.due(), Due::OnChange);
    desk.deliver();
    assert_eq!(desk.take(), [(1, Health::Unhealthy)]);
}

#[test]
fn a_failed_batch_is_told_again_in_order_with_what_is_true_then() {
    let mut desk = desk(100);
    desk.begin_up([1, 2, 3]);
    desk.takes([1, 2, 3]);
    desk.begin_up([4]);
    desk.record(2, Health::Unhealthy);
    desk.update(update(3, FIRST_LIFE, Health::Healthy, false));
    desk.fail();
    let up = Health::Healthy;
    assert_eq!(desk.take(), [(1, up), (2, Health::Unhealthy), (3, up), (4, up)]);
}

#[test]
fn pauses_double_to_two_seconds_and_end_with_a_success() {
    let mut desk = desk(100);
    desk.begin_up([1]);
    let mut pauses = Vec::new();
    for _ in 0..7 {
        desk.takes([1]);
        desk.fail();
        pauses.push(desk.due_in().unwrap());
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 2000, 2000]);
    assert_eq!(desk.outbox.stats(desk.now).failures_in_a_row, 7);
    desk.takes([1]);
    desk.deliver();
    desk.record(1, Health::Unhealthy);
    desk.takes([1]);
    desk.fail();
    assert_eq!(desk.due_in(), Some(100));
}

#[test]
fn news_during_a_pause_waits_for_its_end() {
    let mut desk = desk(1);
    desk.begin_up([1]);
    desk.takes([1]);
    desk.fail();
    desk.begin_up([2]);
    assert_eq!(desk.due_in(), Some(100));
}

#[test]
fn a_full_set_ends_the_pause_and_has_everything_told_again() {
    let mut desk = desk(2);
    desk.begin_up([1, 2, 3]);
    desk.takes([1, 2]);
    desk.deliver();
    desk.takes([3]);
    for _ in 0..3 {
        desk.fail();
        desk.takes([3]);
    }
    desk.fail();
    assert_eq!(desk.due_in(), Some(800));
    desk.full_set();
    assert_eq!(desk.due_in(), Some(0));
    desk.takes([3, 1]);
    desk.deliver();
    desk.takes([2]);
}

#[test]
fn the_failure_of_a_batch_from_before_a_full_set_is_no_reason_to_pause() {
    let mut desk = desk(1);
    desk.begin_up([1]);
    desk.takes([1]);
    desk.full_set();
    desk.fail();
    assert_eq!(desk.due_in(), Some(0));
    desk.takes([1]);
    desk.fail();
    assert_eq!(desk.due_in(), Some(100));
}

#[test]
fn what_is_under_way_when_a_full_set_comes_is_told_again() {
    let mut desk = desk(100);
    desk.begin_up([1]);
    desk.takes([1]);
    desk.full_set();
    desk.deliver();
    desk.takes([1]);
}

#[test]
fn a_delta_has_nothing_told_again() {
    let mut desk = desk(100);
    desk.begin_up([1]);
    desk.takes([1]);
    desk.deliver();
    desk.outbox.in_effect(Some(8), false, desk.now);
    assert!(desk.due_in().unwrap() > 10_000);
    assert_eq!(desk.outbox.stats(desk.now).generation, Some(8));
}

#[test]
fn news_goes_before_what_is_told_again() {
    let mut desk = desk(2);
    desk.begin_up([1, 2, 3, 4]);
    for _ in 0..2 {
        desk.take();
        desk.deliver();
    }
    desk.full_set();
    desk.record(3, Health::Unhealthy);
    desk.takes([3, 1]);
    desk.deliver();
    desk.takes([2, 4]);
}

#[test]
fn a_new_life_voids_the_old_one() {
    let mut desk = desk(100);
    let second_life = Incarnation(2);
    desk.begin_up([1, 2]);
    desk.takes([1, 2]);
    desk.begin(1, second_life);
    desk.fail();
    desk.takes([2]);
    desk.deliver();
    assert!(!desk.record(1, Health::Unhealthy));
    desk.forget(1, FIRST_LIFE);
    assert!(desk.update(update(1, second_life, Health::Healthy, false)));
    desk.takes([1]);
}

#[test]
fn the_end_of_a_batch_does_not_touch_a_check_that_began_again() {
    let mut desk = desk(100);
    desk.begin_up([1]);
    desk.takes([1]);
    desk.forget(1, FIRST_LIFE);
    desk.begin_up([1]);
    desk.deliver();
    desk.takes([1]);
}

#[test]
fn a_forgotten_check_is_told_no_more() {
    let mut desk = desk(100);
    desk.begin_up([1, 2]);
    desk.forget(1, FIRST_LIFE);
    desk.takes([2]);
    desk.forget(2, FIRST_LIFE);
    desk.fail();
    assert_eq!(desk.outbox.due(), Due::OnChange);
    assert_eq!(Stats { failed: 0, ..desk.outbox.stats(desk.now) }.entries, 0);
}

#[test]
fn unknown_is_never_told() {
    let mut desk = desk(100);
    desk.begin(1, FIRST_LIFE);
    assert!(!desk.record(1, Health::Unknown));
    desk.full_set();
    assert_eq!(desk.outbox.due(), Due::OnChange);
}

#[test]
fn a_health_that_differs_is_news_even_without_the_mark() {
    let mut desk = desk(100);
    desk.begin_up([1]);
    desk.takes([1]);
    desk.deliver();
    desk.update(update(1, FIRST_LIFE, Health::Healthy, false));
    assert!(desk.due_in().unwrap() > 10_000);
    desk.update(update(1, FIRST_LIFE, Health::Unhealthy, false));
    assert_eq!(desk.due_in(), Some(100));
}

#[test]
fn a_told_check_counts_as_refreshed() {
    let mut desk = desk(100);
    desk.begin_up([1, 2]);
    desk.takes([1, 2]);
    desk.deliver();
    desk.wait(1000);
    desk.record(1, Health::Unhealthy);
    desk.takes([1]);
    desk.deliver();
    desk.takes([2]);
    desk.deliver();
    desk.takes([1]);
}

#[test]
fn after_an_outage_what_is_overdue_goes_in_full_batches() {
    let mut desk = desk(100);
    desk.begin_up(0..160);
    for _ in 0..2 {
        desk.take();
        desk.deliver();
    }
    desk.wait(60_000);
    assert_eq!(desk.take().len(), 100);
    desk.deliver();
    assert_eq!(desk.take().len(), 60);
}

#[test]
fn a_drained_outbox_tells_its_news_at_once_and_nothing_else() {
    let mut desk = desk(2);
    desk.begin_up([1, 2, 3, 4]);
    for _ in 0..2 {
        desk.take();
        desk.deliver();
    }
    desk.wait(60_000);
    desk.record(2, Health::Unhealthy);
    desk.outbox.drain();
    assert_eq!(desk.due_in(), Some(0));
    desk.takes([2]);
    assert_eq!(desk.outbox.due(), Due::OnChange);
    desk.deliver();
    assert_eq!(desk.outbox.due(), Due::Never);
}

#[test]
fn the_statistics_say_what_waits_and_for_how_long() {
    let mut desk = desk(2);
    desk.begin_up([1, 2, 3]);
    desk.begin(4, FIRST_LIFE);
    desk.take();
    desk.wait(70);
    let stats = desk.outbox.stats(desk.now);
    assert_eq!((stats.entries, stats.known, stats.undelivered, stats.in_flight), (4, 3, 3, 2));
    assert_eq!(stats.oldest_undelivered, Some(Duration::from_millis(70)));
    desk.fail();
    desk.takes([1, 2]);
    desk.deliver();
    let stats = desk.outbox.stats(desk.now);
    assert_eq!((stats.undelivered, stats.delivered, stats.failed), (1, 1, 1));
    assert_eq!(stats.last_error.as_deref(), Some("no"));
}
