//! A probe, a shard and a manager that end.

use super::*;

#[tokio::test]
async fn a_panic_in_a_probe_harms_no_other_check() {
    let rig = Rig::with(ManagerConfig::default().shards(NonZeroUsize::MIN), Vec::new());
    rig.backends.set(1, Act::Panic);
    rig.full(&[(1, &tcp(1, SHORT, 0)), (2, &tcp(2, SHORT, 0))]).await;
    rig.backends.wait("both go on", |backends| backends.started(1) > 3 && backends.started(2) > 3).await;
    assert!(rig.journal.statuses(1).is_empty());
    rig.health(2, Health::Healthy).await;
    rig.end().await.unwrap();
}

#[tokio::test]
async fn a_shard_that_dies_ends_the_manager_with_its_name() {
    let journal = Journal::default();
    let prober = || -> Backends { panic!("no prober today") };
    let config = ManagerConfig::default().shards(NonZeroUsize::MIN);
    let (manager, task) = Manager::start(config, prober, Arc::new(journal)).unwrap();
    let error = task.run(CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "shard 0 ended: no prober today");
    assert!(manager.export().await.is_err());
}

#[tokio::test]
async fn stopping_drops_what_is_in_flight_and_ends_the_handle() {
    let rig = Rig::new();
    rig.backends.set(1, Act::Hang);
    rig.full(&[(1, &tcp(1, LONG, 0))]).await;
    rig.backends.wait("a probe hangs", |backends| backends.in_flight(1) == 1).await;
    let (manager, backends) = (rig.manager.clone(), rig.backends.clone());
    rig.end().await.unwrap();
    assert_eq!((backends.in_flight(1), backends.dropped()), (0, 1));
    assert_eq!(manager.export().await.unwrap_err().to_string(), "the manager has ended");
}

/// A prober that does not come back, as none should be: it blocks its thread until the test lets
/// go.
struct Blocking(Arc<std::sync::Barrier>);

impl hc_types::Prober for Blocking {
    fn probe(&self, _spec: Arc<CheckSpec>) -> impl Future<Output = hc_types::ProbeResult> + 'static {
        self.0.wait();
        self.0.wait();
        std::future::ready(Outcome::PASS.into())
    }
}

#[tokio::test]
async fn a_shard_that_is_stuck_does_not_keep_the_manager_from_ending() {
    let barrier = Arc::new(std::sync::Barrier::new(2));
    let config = ManagerConfig::default().shards(NonZeroUsize::MIN).grace(Duration::from_millis(50));
    let prober = Arc::clone(&barrier);
    let make_prober = move || Blocking(Arc::clone(&prober));
    let (manager, task) = Manager::start(config, make_prober, Arc::new(Journal::default())).unwrap();
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(task.run(stop.clone()));
    let set = |port| SetChange::Full { generation: None, checks: vec![(CheckId(1), tcp(port, LONG, 0))] };
    manager.apply(set(1)).await.unwrap();
    let blocked = Arc::clone(&barrier);
    tokio::task::spawn_blocking(move || blocked.wait()).await.unwrap();
    // Its heartbeat says so to whoever looks, without asking it.
    let hangs = async {
        while manager.heartbeats()[0].overdue < Duration::from_millis(50) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), hangs).await.unwrap();

    // Somebody waits for an answer that will not come.
    let mut asked = JoinSet::new();
    let other = manager.clone();
    asked.spawn(async move { other.apply(set(2)).await });
    // One thread runs all tasks here: after a few turns the manager has taken the request.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    let ended = tasks.join_next().await.unwrap().unwrap();
    assert_eq!(ended, Err(ManagerError::Stuck { shard: 0, grace: Duration::from_millis(50) }));
    assert!(asked.join_next().await.unwrap().unwrap().is_err());
    tokio::task::spawn_blocking(move || barrier.wait()).await.unwrap();
}
