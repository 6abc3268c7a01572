//! What the notifier promises, seen by its consumer.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod rig;

use std::num::NonZeroUsize;
use std::time::Duration;

use hc_notifier::NotifierConfig;
use hc_types::{CheckId, Failure, Health, Incarnation, Outcome, Sink};
use rig::{rig, update};

use Health::{Healthy, Unhealthy, Unknown};

fn batches_of(batch_size: usize) -> NotifierConfig {
    NotifierConfig::default().batch_size(NonZeroUsize::new(batch_size).unwrap())
}

#[tokio::test(start_paused = true)]
async fn test_notifier_batches_notifications() {
    let mut rig = rig(batches_of(100)).await;
    rig.first(1, Healthy);
    tokio::time::advance(Duration::from_millis(60)).await;
    rig.first(2, Unhealthy);
    rig.view.in_effect(Some(17), false);

    let batch = rig.accept().await;
    assert_eq!((batch.at, batch.ids(), batch.generation), (100, vec![1, 2], Some(17)));
}

#[tokio::test(start_paused = true)]
async fn test_notifier_sends_full_batch_immediately() {
    let mut three = rig(batches_of(3)).await;
    for id in 1..=3 {
        three.first(id, Healthy);
    }
    let batch = three.accept().await;
    assert_eq!((batch.at, batch.ids()), (0, vec![1, 2, 3]));

    // A size of 1 is 1.
    let mut single = rig(batches_of(1)).await;
    single.first(1, Healthy);
    single.first(2, Healthy);
    for id in 1..=2 {
        let batch = single.accept().await;
        assert_eq!((batch.at, batch.ids()), (0, vec![id]));
    }
}

#[tokio::test(start_paused = true)]
async fn test_notifier_handles_multiple_batches() {
    let mut rig = rig(batches_of(100)).await;
    for id in 0..250 {
        rig.first(id, Healthy);
    }
    let mut told = Vec::new();
    for (at, size) in [(0, 100), (0, 100), (100, 50)] {
        let batch = rig.accept().await;
        assert_eq!((batch.at, batch.batch.len()), (at, size));
        told.extend(batch.ids());
    }
    assert_eq!(told, (0..250).collect::<Vec<_>>());
    rig.record(7, Unhealthy);
    assert_eq!(rig.accept().await.states(), [(7, Unhealthy)]);
}

#[tokio::test(start_paused = true)]
async fn test_notifier_preserves_notification_order() {
    let mut rig = rig(batches_of(4)).await;
    let ids = [u64::MAX, 3, 1 << 63, 2, 9, 1];
    for id in ids {
        rig.first(id, Healthy);
    }
    // A second change does not lose a check its place, nor does a failed delivery.
    rig.record(3, Unhealthy);
    rig.refuse().await;
    rig.record(u64::MAX, Unhealthy);
    let first = rig.accept().await;
    assert_eq!(first.states(), [(u64::MAX, Unhealthy), (3, Unhealthy), (1 << 63, Healthy), (2, Healthy)]);
    assert_eq!(rig.accept().await.ids(), [9, 1]);
}

#[tokio::test(start_paused = true)]
async fn test_notifier_handles_rapid_notifications() {
    let mut rig = rig(batches_of(10)).await;
    for id in 0..10 {
        rig.first(id, Healthy);
    }
    let hanging = rig.arrival().await;
    // While the consumer hangs, nothing blocks and nothing piles up.
    for change in 0..10_000 {
        rig.record(change % 10, if change / 10 % 2 == 0 { Unhealthy } else { Healthy });
    }
    rig.record(4, Unhealthy);
    let stats = rig.outbox.stats();
    assert_eq!((stats.entries, stats.undelivered, stats.in_flight), (10, 10, 10));
    assert_eq!(hanging.told.states(), (0..10).map(|id| (id, Healthy)).collect::<Vec<_>>());
    hanging.answer.send(Ok(())).unwrap();

    let last = rig.accept().await;
    let state = |id| if id == 4 { Unhealthy } else { Healthy };
    assert_eq!(last.states(), (0..10).map(|id| (id, state(id))).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn test_notifier_with_mixed_states() {
    let mut rig = rig(batches_of(100)).await;
    rig.first(1, Healthy);
    rig.first(2, Unhealthy);
    rig.first(3, Unknown);
    rig.view.begin(CheckId(4), Incarnation(0), &update(4, Health::Unknown).spec);
    rig.first(5, Unhealthy);
    rig.view.record(&mut vec![update(5, Healthy), update(6, Healthy)]);

    let batch = rig.accept().await;
    assert_eq!(batch.states(), [(1, Healthy), (2, Unhealthy), (5, Healthy)]);
    let outcomes: Vec<_> = batch.batch.iter().map(|told| told.status.outcome.clone()).collect();
    assert_eq!(outcomes[..2], [Some(Outcome::PASS), Some(Failure::Refused.into())]);
    let down = &batch.batch[1].status;
    assert_eq!((down.failures, down.successes, down.duration), (1, 0, Duration::from_millis(3)));
}
