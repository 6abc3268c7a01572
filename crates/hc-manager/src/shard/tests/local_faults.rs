//! Checks that are held, since the fault is ours.

use hc_types::Status;

use super::*;

/// The healths and labels of all statuses of a check; `held` and the fault for those that say that
/// it is held.
fn told(rig: &Rig, id: u64) -> Vec<(Health, bool, String)> {
    let line = |update: StatusUpdate| {
        let Status { health, outcome, held, .. } = update.status;
        let label = outcome.map_or("-", |outcome| outcome.label());
        (
            health,
            update.transition,
            held.map_or(label.to_owned(), |held| format!("held by {}", held.fault.label())),
        )
    };
    rig.journal.statuses(id).into_iter().map(line).collect()
}

#[tokio::test(start_paused = true)]
async fn a_check_without_a_path_is_held_for_ten_seconds_and_then_unhealthy() {
    use Health::{Healthy, Unhealthy};

    with_shard(10, async |rig| {
        // Retries do not prolong it.
        rig.apply(vec![add(0, tcp(1, SECOND, 50))]).await;
        rig.until(500).await;
        rig.backends.set(1, Act::Answer(LocalFault::NoRoute.into()));
        rig.until(10_900).await;
        let held = (Healthy, false, "held by local_no_route".to_owned());
        assert_eq!(told(&rig, 0), [(Healthy, true, "pass".into()), held.clone()]);
        rig.until(11_500).await;
        let down = |news| (Unhealthy, news, "path_down".to_owned());
        assert_eq!(told(&rig, 0), [(Healthy, true, "pass".into()), held, down(true)]);
        rig.until(13_500).await;
        assert_eq!(told(&rig, 0)[2..], [down(true), down(false), down(false)]);
        let Some(Outcome::Fail(Failure::PathDown { seconds, .. })) =
            rig.journal.statuses(0)[4].status.outcome
        else {
            panic!("{:?}", rig.journal.statuses(0));
        };
        assert_eq!(seconds, 12);
        assert!(rig.stats().episodes[0].label == "local_no_route", "the episode goes on");
        // One probe that passes is enough.
        rig.backends.set(1, Act::Answer(Outcome::PASS));
        rig.until(14_500).await;
        assert_eq!(told(&rig, 0).last().unwrap(), &(Healthy, true, "pass".into()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_check_without_descriptors_is_held_for_as_long_as_it_lasts() {
    with_shard(10, async |rig| {
        rig.apply(vec![add(0, tcp(1, SECOND, 0))]).await;
        rig.until(500).await;
        rig.backends.set(1, Act::Answer(LocalFault::Descriptors.into()));
        rig.until(3_600_000).await;
        let held = (Health::Healthy, false, "held by local_descriptors".to_owned());
        assert_eq!(told(&rig, 0), [(Health::Healthy, true, "pass".into()), held]);
    })
    .await;
}
