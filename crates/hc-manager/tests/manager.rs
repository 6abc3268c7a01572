//! The manager with its threads, against backends and a sink that the tests hold in their hands.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "manager/ends.rs"]
mod ends;
mod fakes;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use fakes::{Act, Backends, Journal, Told, spec, tcp};
use hc_manager::{Applied, Manager, ManagerConfig, ManagerError};
use hc_types::{
    CheckId, CheckSpec, DnsExpectation, DnsProbe, Failure, Health, HttpProbe, LocalFault, Outcome, Pass,
    Phase, ProbeSpec, RadiusProbe, RecordClass, RecordType, Remembered, SetChange, Tls,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const REFUSED: Outcome = Outcome::Fail(Failure::Refused);
const SHORT: Duration = Duration::from_millis(10);
const LONG: Duration = Duration::from_secs(3600);

/// A running manager.
struct Rig {
    manager: Manager,
    backends: Backends,
    journal: Journal,
    stop: CancellationToken,
    tasks: JoinSet<Result<(), ManagerError>>,
}

impl Rig {
    fn new() -> Self {
        Self::with(two_shards(), Vec::new())
    }

    fn with(config: ManagerConfig, remembered: Vec<Remembered>) -> Self {
        let (backends, journal) = (Backends::default(), Journal::default());
        let prober = backends.clone();
        let (manager, task) =
            Manager::start(config, move || prober.clone(), Arc::new(journal.clone())).unwrap();
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(task.with_remembered(remembered).run(stop.clone()));
        Self { manager, backends, journal, stop, tasks }
    }

    async fn full(&self, checks: &[(u64, &Arc<CheckSpec>)]) -> Applied {
        let checks = checks.iter().map(|(id, spec)| (CheckId(*id), Arc::clone(spec))).collect();
        self.manager.apply(SetChange::Full { generation: None, checks }).await.unwrap()
    }

    async fn health(&self, id: u64, health: Health) {
        let what = format!("check {id} is {health}");
        let reached = |update: hc_types::StatusUpdate| update.status.health == health;
        self.journal.wait(&what, |journal| journal.statuses(id).pop().is_some_and(reached)).await;
    }

    fn running(&self) -> Vec<u64> {
        let mut lives = std::collections::BTreeMap::new();
        for told in self.journal.told() {
            match told {
                Told::Begin(id, incarnation) => drop(lives.insert(id.0, incarnation)),
                Told::Forget(id, incarnation) if lives.get(&id.0) == Some(&incarnation) => {
                    lives.remove(&id.0);
                }
                _ => {}
            }
        }
        lives.into_keys().collect()
    }

    async fn end(mut self) -> Result<(), ManagerError> {
        self.stop.cancel();
        self.tasks.join_next().await.unwrap().unwrap()
    }
}

/// What `set` says, and nothing else.
fn counted(set: impl FnOnce(&mut Applied)) -> Applied {
    let mut applied = Applied::default();
    set(&mut applied);
    applied
}

fn two_shards() -> ManagerConfig {
    ManagerConfig::default().shards(NonZeroUsize::new(2).unwrap())
}

#[tokio::test]
async fn test_manager_adds_new_healthchecks() {
    let rig = Rig::new();
    rig.backends.set(2, Act::Answer(REFUSED));
    let (one, two, three) = (tcp(1, SHORT, 0), tcp(2, SHORT, 3), tcp(3, LONG, 0));
    let applied = rig.full(&[(10, &one), (20, &two)]).await;
    assert_eq!(applied, counted(|it| it.added = 2));
    // The sink hears of the lives and of the set before it hears of any status.
    let [Told::Begin(first, one_begins), Told::Begin(second, two_begins), Told::InEffect(None, true), ..] =
        rig.journal.told()[..]
    else {
        panic!("{:?}", rig.journal.told())
    };
    assert_eq!((first, second), (CheckId(10), CheckId(20)));
    assert_ne!(one_begins, two_begins);
    // The first result decides, whatever the retries.
    rig.health(10, Health::Healthy).await;
    rig.health(20, Health::Unhealthy).await;
    let first = &rig.journal.statuses(20)[0];
    assert!(first.transition);
    assert_eq!(
        first.spec.text(first.status.outcome.as_ref().unwrap()),
        "TCP connect to 192.0.2.1:2; connection refused"
    );
    // Later results of the same kind are no news.
    rig.backends.wait("more probes", |backends| backends.started(1) > 5 && backends.started(2) > 5).await;
    assert_eq!((rig.journal.news(10).len(), rig.journal.news(20).len()), (1, 1));

    let delta = SetChange::Delta { generation: Some(2), upsert: vec![(CheckId(30), three)], remove: vec![] };
    assert_eq!(rig.manager.apply(delta).await.unwrap(), counted(|it| it.added = 1));
    rig.health(30, Health::Healthy).await;
    assert_eq!(rig.running(), [10, 20, 30]);

    let stats = rig.manager.stats();
    assert_eq!((stats.shards, stats.checks), (2, 3));
    assert!(stats.ended("pass") >= 6 && stats.ended("refused") >= 5);
    assert_eq!(stats.lateness.count(), stats.started);
    rig.end().await.unwrap();
}

#[tokio::test]
async fn test_manager_removes_deleted_healthchecks() {
    let rig = Rig::new();
    let checks = [tcp(1, SHORT, 0), tcp(2, SHORT, 0), tcp(3, LONG, 0), tcp(4, SHORT, 0)];
    rig.backends.set(3, Act::Hang);
    rig.full(&[(1, &checks[0]), (2, &checks[1]), (3, &checks[2]), (4, &checks[3])]).await;
    rig.health(1, Health::Healthy).await;
    rig.backends.wait("a probe hangs", |backends| backends.in_flight(3) == 1).await;

    let remaining = rig.full(&[(2, &checks[1]), (4, &checks[3])]).await;
    assert_eq!(
        remaining,
        counted(|it| {
            it.removed = 2;
            it.unchanged = 2;
        })
    );
    assert_eq!(rig.running(), [2, 4]);
    // The probe that was in flight is dropped, and nothing starts any more.
    rig.backends.wait("the hanging probe is dropped", |backends| backends.dropped() == 1).await;
    let started = rig.backends.started(1);
    let others = rig.backends.started(2);
    rig.backends.wait("others run on", |backends| backends.started(2) > others + 5).await;
    assert_eq!(rig.backends.started(1), started);

    let delta = SetChange::Delta { generation: None, upsert: vec![], remove: vec![CheckId(4), CheckId(99)] };
    assert_eq!(rig.manager.apply(delta).await.unwrap(), counted(|it| it.removed = 1));
    assert_eq!(rig.running(), [2]);
    let told = rig.journal.told();
    let begun = told.iter().filter_map(|told| match told {
        Told::Begin(id, incarnation) => Some((*id, *incarnation)),
        _ => None,
    });
    let forgotten = told.iter().filter_map(|told| match told {
        Told::Forget(id, incarnation) => Some((*id, *incarnation)),
        _ => None,
    });
    let forgotten: Vec<_> = forgotten.collect();
    assert_eq!(forgotten.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [1, 3, 4]);
    assert_eq!(begun.filter(|life| forgotten.contains(life)).count(), 3);
    rig.end().await.unwrap();
}

#[tokio::test]
async fn test_manager_updates_existing_healthchecks() {
    let rig = Rig::new();
    rig.full(&[(1, &tcp(1, LONG, 0)), (2, &tcp(2, LONG, 0))]).await;
    rig.health(1, Health::Healthy).await;
    rig.health(2, Health::Healthy).await;

    // Another interval keeps the state, and counts from now on.
    let retimed = rig.full(&[(1, &tcp(1, SHORT, 2)), (2, &tcp(2, LONG, 0))]).await;
    assert_eq!(
        retimed,
        counted(|it| {
            it.retimed = 1;
            it.unchanged = 1;
        })
    );
    rig.backends.wait("the new interval", |backends| backends.started(1) > 3).await;
    assert_eq!(rig.journal.news(1).len(), 1);
    rig.backends.set(1, Act::Answer(REFUSED));
    rig.health(1, Health::Unhealthy).await;
    // Three failures in a row, as the new number of retries says.
    let row = rig.journal.statuses(1).iter().rev().take_while(|update| update.status.failures > 0).count();
    assert!(row >= 3, "{row}");

    // Another target starts again, silent until its result.
    rig.backends.set(5, Act::Answer(REFUSED));
    let before = rig.journal.statuses(2)[0].incarnation;
    let changed = rig.full(&[(1, &tcp(1, SHORT, 2)), (2, &tcp(5, LONG, 4))]).await;
    assert_eq!(
        changed,
        counted(|it| {
            it.changed = 1;
            it.unchanged = 1;
        })
    );
    rig.health(2, Health::Unhealthy).await;
    let now = rig.journal.statuses(2).pop().unwrap();
    assert!(now.incarnation > before && now.transition);
    assert_eq!((now.status.failures, now.status.successes), (1, 0));
    rig.end().await.unwrap();
}

#[tokio::test]
async fn test_manager_handles_mixed_checker_types() {
    let rig = Rig::new();
    let secure = HttpProbe { tls: Some(Tls::new(false)), ..HttpProbe::default() };
    let dns = DnsProbe {
        query: "example.com".into(),
        query_type: RecordType::A,
        query_class: RecordClass::IN,
        expect: DnsExpectation::Any,
        options: None,
    };
    let radius = RadiusProbe {
        username: "user".into(),
        password: "password".into(),
        secret: "secret".into(),
        expect: hc_types::RadiusExpectation::Accept,
        require_message_authenticator: false,
    };
    let secure_tcp = hc_types::TcpProbe { tls: Some(Tls::new(true)), ..hc_types::TcpProbe::default() };
    let probes = [
        ProbeSpec::Icmp,
        ProbeSpec::Udp(Box::default()),
        ProbeSpec::Tcp(hc_types::TcpProbe::default()),
        ProbeSpec::Tcp(secure_tcp),
        ProbeSpec::Http(Box::default()),
        ProbeSpec::Http(Box::new(secure)),
        ProbeSpec::Dns(Box::new(dns)),
        ProbeSpec::Radius(Box::new(radius)),
    ];
    // All of one target: they are told apart by the probe alone.
    rig.backends.set(53, Act::Answer(Pass::http(200, "200 OK").into()));
    let specs: Vec<_> = probes.into_iter().map(|probe| spec(53, probe, LONG, 0)).collect();
    let checks: Vec<_> = (1..).zip(&specs).collect();
    assert_eq!(rig.full(&checks).await, counted(|it| it.added = 8));
    for (id, spec) in checks {
        rig.health(id, Health::Healthy).await;
        assert_eq!(rig.journal.statuses(id)[0].spec, *spec);
    }
    assert_eq!(rig.backends.started(53), 8);
    rig.end().await.unwrap();
}

#[tokio::test]
async fn test_manager_status_snapshot() {
    let rig = Rig::new();
    rig.backends.set(2, Act::Answer(REFUSED));
    rig.backends.set(3, Act::Hang);
    let specs = [tcp(1, LONG, 0), tcp(2, LONG, 0), tcp(3, LONG, 0)];
    rig.full(&[(1, &specs[0]), (2, &specs[1]), (3, &specs[2])]).await;
    rig.health(1, Health::Healthy).await;
    rig.health(2, Health::Unhealthy).await;

    let latest = |id| rig.journal.statuses(id).pop().unwrap();
    assert_eq!(latest(1).spec, specs[0]);
    let (healthy, unhealthy) = (latest(1).status, latest(2).status);
    assert_eq!((healthy.health, healthy.successes, healthy.failures), (Health::Healthy, 1, 0));
    assert_eq!(healthy.outcome, Some(Outcome::PASS));
    assert_eq!((unhealthy.health, unhealthy.successes, unhealthy.failures), (Health::Unhealthy, 0, 1));
    // Never probed to its end.
    assert!(rig.journal.statuses(3).is_empty());

    let mut exported = rig.manager.export().await.unwrap();
    exported.sort_by_key(|known| known.health == Health::Healthy);
    let [bad, good] = exported[..] else { panic!("{exported:?}") };
    assert_eq!((bad.key, bad.health, bad.consecutive_failures), (specs[1].key(), Health::Unhealthy, 1));
    assert_eq!((good.key, good.health, good.successes), (specs[0].key(), Health::Healthy, 1));
    rig.end().await.unwrap();
}

#[tokio::test]
async fn test_manager_handles_empty_config_updates() {
    let rig = Rig::new();
    let nothing = rig.full(&[]).await;
    assert_eq!(nothing, Applied::default());
    rig.full(&[(1, &tcp(1, SHORT, 0)), (2, &tcp(2, SHORT, 0))]).await;
    rig.health(1, Health::Healthy).await;
    rig.health(2, Health::Healthy).await;

    // An empty delta changes nothing; an empty set stops everything.
    let delta = SetChange::Delta { generation: Some(1), upsert: vec![], remove: vec![] };
    assert_eq!(rig.manager.apply(delta).await.unwrap(), Applied::default());
    assert_eq!(rig.running(), [1, 2]);
    let set = SetChange::Full { generation: Some(2), checks: vec![] };
    assert_eq!(rig.manager.apply(set).await.unwrap(), counted(|it| it.removed = 2));
    assert!(rig.running().is_empty());
    let told = rig.journal.told();
    let [.., Told::Forget(..), Told::Forget(..), Told::InEffect(Some(2), true)] = &told[..] else {
        panic!("{told:?}")
    };

    // What comes back in time goes on where it was, and its health is news to whoever asks now.
    rig.backends.set(1, Act::Hang);
    rig.full(&[(7, &tcp(1, LONG, 0))]).await;
    rig.health(7, Health::Healthy).await;
    assert!(rig.journal.statuses(7)[0].transition);
    assert!(rig.journal.statuses(7)[0].status.successes > 0);
    rig.end().await.unwrap();
}

#[tokio::test]
async fn a_check_with_a_new_id_keeps_its_health_and_is_probed_at_once() {
    let rig = Rig::new();
    rig.full(&[(1, &tcp(1, LONG, 0)), (2, &tcp(2, LONG, 0))]).await;
    rig.health(1, Health::Healthy).await;
    rig.health(2, Health::Healthy).await;
    rig.backends.set(2, Act::Answer(REFUSED));
    // The ids change places: an engine that restarted with the same pid.
    let applied = rig.full(&[(2, &tcp(1, LONG, 0)), (1, &tcp(2, LONG, 0))]).await;
    assert_eq!(applied, counted(|it| it.moved = 2));
    rig.health(1, Health::Unhealthy).await;
    rig.backends.wait("both are probed again", |backends| backends.started(1) == 2).await;
    let told: Vec<_> = rig
        .journal
        .news(1)
        .iter()
        .map(|update| (update.spec.target().port(), update.status.health))
        .collect();
    assert_eq!(told, [(1, Health::Healthy), (2, Health::Healthy), (2, Health::Unhealthy)]);
    rig.end().await.unwrap();
}

#[tokio::test]
async fn what_an_earlier_process_knew_counts_but_is_not_told_unheard() {
    let spec = tcp(1, SHORT, 2);
    let remembered = Remembered {
        key: spec.key(),
        health: Health::Healthy,
        consecutive_failures: 0,
        failures: 7,
        successes: 100,
        last_check: std::time::SystemTime::UNIX_EPOCH,
        since: None,
        duration: Duration::ZERO,
    };
    let rig = Rig::with(two_shards(), vec![remembered]);
    rig.backends.set(1, Act::Answer(REFUSED));
    rig.full(&[(1, &spec)]).await;
    rig.health(1, Health::Unhealthy).await;
    let told: Vec<_> = rig
        .journal
        .statuses(1)
        .iter()
        .map(|update| (update.status.health, update.status.failures, update.transition))
        .take(1)
        .collect();
    // Two failures are survived, and contradict what is remembered: nothing is told of it. The
    // third is news.
    assert_eq!(told, [(Health::Unhealthy, 10, true)]);
    assert_eq!(rig.journal.statuses(1)[0].status.successes, 100);
    rig.end().await.unwrap();
}

#[tokio::test]
async fn checks_beyond_the_limit_wait_and_do_not_fail() {
    let config = two_shards().max_in_flight(NonZeroUsize::new(4).unwrap());
    let rig = Rig::with(config, Vec::new());
    let specs: Vec<_> = (1..=100).map(|port| tcp(port, LONG, 0)).collect();
    for port in 1..=100 {
        rig.backends.set(port, Act::After(Duration::from_millis(2), Outcome::PASS));
    }
    let checks: Vec<_> = (1..).zip(&specs).collect();
    rig.full(&checks).await;
    for id in 1..=100 {
        rig.health(id, Health::Healthy).await;
    }
    assert!(rig.backends.most_in_flight() <= 4);
    let stats = rig.manager.stats();
    assert_eq!((stats.started, stats.ended("pass")), (100, 100));
    assert!(stats.lateness.max() > Duration::from_millis(2));
    rig.manager.reset_lateness();
    assert_eq!(rig.manager.stats().lateness.count(), 0);
    rig.end().await.unwrap();
}

#[tokio::test]
async fn checks_are_probed_when_somebody_asks() {
    let rig = Rig::new();
    let specs: Vec<_> = (1..=20).map(|port| tcp(port, LONG, 0)).collect();
    let checks: Vec<_> = (1..).zip(&specs).collect();
    rig.full(&checks).await;
    for id in 1..=20 {
        rig.health(id, Health::Healthy).await;
        rig.backends.set(u16::try_from(id).unwrap(), Act::Answer(REFUSED));
    }
    // The next probes on the grid are an hour away.
    let ids = (1..=9).chain([99]).map(CheckId).collect();
    assert_eq!(rig.manager.probe_now(ids).await.unwrap(), 9);
    for id in 1..=9 {
        rig.health(id, Health::Unhealthy).await;
    }
    assert!((10..=20).all(|port| rig.backends.started(port) == 1));
    assert_eq!(rig.manager.probe_now(Vec::new()).await.unwrap(), 0);
    let manager = rig.manager.clone();
    rig.end().await.unwrap();
    assert!(manager.probe_now(vec![CheckId(1)]).await.is_err());
}

#[tokio::test]
async fn local_faults_hold_the_state_and_show() {
    let rig = Rig::new();
    rig.full(&[(1, &tcp(1, SHORT, 0))]).await;
    rig.health(1, Health::Healthy).await;
    rig.backends.set(1, Act::Answer(LocalFault::Descriptors.into()));
    let started = rig.backends.started(1);
    rig.backends.wait("inconclusive probes", |backends| backends.started(1) > started + 3).await;
    let stats = rig.manager.stats();
    assert!(stats.ended("local_descriptors") > 0);
    assert_eq!((stats.episodes.len(), stats.episodes[0].label), (1, "local_descriptors"));
    rig.backends.set(1, Act::Answer(Failure::timeout(Phase::Connect).into()));
    rig.health(1, Health::Unhealthy).await;
    assert_eq!(rig.journal.news(1).len(), 2);
    rig.end().await.unwrap();
}

/// Pauses stop probes before the first one, and let other checks alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_check_is_not_probed() {
    let rig = Rig::new();
    rig.journal.2.set(CheckId(1), true);
    let (paused, other) = (tcp(1, SHORT, 0), tcp(2, SHORT, 0));
    rig.full(&[(1, &paused), (2, &other)]).await;
    rig.backends.wait("probes of the other one", |backends| backends.started(2) > 20).await;
    assert_eq!((rig.backends.started(1), rig.journal.statuses(1).len()), (0, 0));
    rig.journal.2.set(CheckId(1), false);
    rig.manager.probe_now(vec![CheckId(1)]).await.unwrap();
    rig.backends.wait("probes again", |backends| backends.started(1) > 3).await;
    rig.end().await.unwrap();
}
