//! Several consumers with one view: none waits for another.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod rig;

use hc_notifier::NotifierConfig;
use hc_types::Health::{Healthy, Unhealthy};
use rig::rigs;

#[tokio::test(start_paused = true)]
async fn consumer_that_hangs_delays_no_other_and_gets_the_latest_when_it_comes_back() {
    let [mut hanging, mut quick] = rigs(NotifierConfig::default()).await;
    (0..10).for_each(|id| quick.first(id, Healthy));
    let stuck = hanging.arrival().await;
    assert_eq!(quick.accept().await.ids(), (0..10).collect::<Vec<_>>());
    for round in 0..100 {
        let health = if round % 2 == 0 { Unhealthy } else { Healthy };
        (0..10).for_each(|id| quick.record(id, health));
        assert_eq!(quick.accept().await.states(), (0..10).map(|id| (id, health)).collect::<Vec<_>>());
    }
    // What it has not got are ten checks, not a thousand changes.
    let stats = hanging.outbox.stats();
    assert_eq!((stats.entries, stats.undelivered, stats.in_flight), (10, 10, 10));
    quick.record(3, Unhealthy);
    stuck.answer.send(Ok(())).unwrap();
    let latest = |id| if id == 3 { Unhealthy } else { Healthy };
    assert_eq!(hanging.accept().await.states(), (0..10).map(|id| (id, latest(id))).collect::<Vec<_>>());
    assert_eq!((hanging.outbox.stats().failed, quick.outbox.stats().failed), (0, 0));
}
