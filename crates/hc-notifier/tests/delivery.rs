//! The task between the outbox and a consumer that fails, hangs, is away or is told goodbye.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod rig;

use std::time::Duration;

use hc_notifier::NotifierConfig;
use hc_types::{Health, Sink};
use rig::{Rig, SOON, rig};
use tokio::time::{Instant, advance, timeout};

use Health::{Healthy, Unhealthy};

async fn undelivered(rig: &mut Rig) -> usize {
    timeout(SOON, rig.task.join_next()).await.expect("it does not end").unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn without_a_consumer_nothing_is_made_and_what_is_true_later_is_told_later() {
    let mut rig = rig(NotifierConfig::default()).await;
    rig.present.send_replace(false);
    rig.first(1, Healthy);
    advance(Duration::from_secs(3600)).await;
    rig.record(1, Unhealthy);
    rig.view.in_effect(Some(2), true);
    assert_eq!((rig.outbox.stats().failed, rig.outbox.stats().in_flight), (0, 0));
    rig.present.send_replace(true);
    let batch = rig.accept().await;
    assert_eq!((batch.states(), batch.generation), (vec![(1, Unhealthy)], Some(2)));
}

#[tokio::test(start_paused = true)]
async fn a_failing_consumer_is_tried_at_growing_distances() {
    let mut rig = rig(NotifierConfig::default()).await;
    rig.first(1, Healthy);
    let mut tries = Vec::new();
    for _ in 0..8 {
        let arrival = rig.arrival().await;
        tries.push(arrival.told.at);
        // No answer is a failure too.
        drop(arrival.answer);
    }
    assert_eq!(tries, [100, 200, 400, 800, 1600, 3200, 5200, 7200]);
    assert_eq!(rig.outbox.stats().last_error.as_deref(), Some("no answer"));
}

#[tokio::test(start_paused = true)]
async fn a_full_set_is_answered_at_once_even_in_a_pause() {
    let mut rig = rig(NotifierConfig::default()).await;
    rig.first(1, Healthy);
    for _ in 0..6 {
        rig.refuse().await;
    }
    let before = Instant::now();
    rig.view.in_effect(Some(2), true);
    assert_eq!(rig.accept().await.ids(), [1]);
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_last_news_is_told_before_the_end() {
    let mut rig = rig(NotifierConfig::default()).await;
    for id in 0..150 {
        rig.first(id, Healthy);
    }
    let under_way = rig.arrival().await;
    rig.shutdown.cancel();
    rig.record(3, Unhealthy);
    advance(Duration::from_millis(500)).await;
    under_way.answer.send(Ok(())).unwrap();
    let last = rig.accept().await;
    assert_eq!((last.at, last.batch.len()), (500, 51));
    assert_eq!(undelivered(&mut rig).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_consumer_holds_the_end_up_for_the_grace_only() {
    let mut rig = rig(NotifierConfig::default()).await;
    rig.first(1, Healthy);
    rig.first(2, Healthy);
    let _hanging = rig.arrival().await;
    let before = Instant::now();
    rig.shutdown.cancel();
    assert_eq!(undelivered(&mut rig).await, 2);
    assert_eq!(before.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn an_absent_consumer_does_not_hold_the_end_up() {
    let mut rig = rig(NotifierConfig::default()).await;
    rig.present.send_replace(false);
    rig.first(1, Healthy);
    advance(Duration::from_secs(5)).await;
    let before = Instant::now();
    rig.shutdown.cancel();
    assert_eq!(undelivered(&mut rig).await, 1);
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_task_without_news_ends_at_once() {
    let mut rig = rig(NotifierConfig::default()).await;
    rig.first(1, Healthy);
    rig.accept().await;
    let before = Instant::now();
    rig.shutdown.cancel();
    assert_eq!(undelivered(&mut rig).await, 0);
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_failure_of_what_was_under_way_before_a_full_set_does_not_delay_it() {
    let mut rig = rig(NotifierConfig::default()).await;
    rig.first(1, Healthy);
    let under_way = rig.arrival().await;
    rig.view.in_effect(Some(2), true);
    drop(under_way.answer);
    let again = rig.accept().await;
    assert_eq!((again.at, again.generation), (100, Some(2)));
}
