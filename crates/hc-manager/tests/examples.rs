//! The examples do what they say.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../examples/own-checker.rs"]
mod own_checker;
#[path = "../examples/whole-manager.rs"]
mod whole_manager;

use std::sync::Arc;
use std::time::Duration;

use hc_manager::{Manager, ManagerConfig};
use hc_testkit::backend::Backend;
use hc_testkit::script::Step;
use hc_types::{CheckId, CheckSpec, Outcome, ProbeSpec, Prober, SetChange, Target, TcpProbe, Timing};
use own_checker::{PING, WithPing};
use tokio::sync::mpsc::{self, Receiver};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use whole_manager::{Lines, ROOM, checks};

/// How long a test waits for what should come at once, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A backend that answers `PING` so.
fn backend(answer: &str) -> Backend {
    let script = vec![Step::Read(PING.len()), Step::send(answer)];
    Backend::start("127.0.0.1".parse().unwrap(), script).unwrap()
}

async fn next(heard: &mut Receiver<String>) -> String {
    timeout(PATIENCE, heard.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn the_whole_manager_tells_of_changes() {
    let backend = Backend::start("127.0.0.1".parse().unwrap(), Vec::new()).unwrap();
    let address = backend.address();
    let (lines, mut heard) = mpsc::channel(ROOM);
    let (manager, task) =
        Manager::start(ManagerConfig::default(), hc_checkers::Checkers::default, Arc::new(Lines(lines)))
            .unwrap();
    let stop = CancellationToken::new();
    let mut running = JoinSet::new();
    running.spawn(task.run(stop.clone()));
    manager.apply(checks(&[address]).unwrap()).await.unwrap();
    assert_eq!(next(&mut heard).await, format!("{address} is healthy"));
    drop(backend);
    assert_eq!(next(&mut heard).await, format!("{address} is unhealthy"));
    stop.cancel();
    running.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_checker_of_ones_own_runs_beside_the_others() {
    let (right, wrong) = (backend("PONG\n"), backend("NOPE\n"));
    let spec = |backend: &Backend, send: &[u8]| {
        let tcp = TcpProbe { send: send.into(), ..TcpProbe::default() };
        let target = Target::plain(backend.address().ip(), backend.address().port());
        let timing = Timing::every(Duration::from_secs(60)).timeout(Duration::from_secs(10));
        Arc::new(CheckSpec::new(target, ProbeSpec::Tcp(tcp), timing).unwrap())
    };
    let prober = WithPing::default();
    assert_eq!(prober.probe(spec(&right, PING)).await.outcome, Outcome::PASS);
    assert_eq!(prober.probe(spec(&wrong, PING)).await.outcome.label(), "wrong_answer");
    // One of the others: it connects, and that is all.
    assert_eq!(prober.probe(spec(&wrong, b"")).await.outcome, Outcome::PASS);

    let (lines, mut heard) = mpsc::channel(ROOM);
    let (manager, task) =
        Manager::start(ManagerConfig::default(), WithPing::default, Arc::new(Lines(lines))).unwrap();
    let stop = CancellationToken::new();
    let mut running = JoinSet::new();
    running.spawn(task.run(stop.clone()));
    let checks = vec![(CheckId(1), spec(&wrong, PING))];
    manager.apply(SetChange::Full { generation: None, checks }).await.unwrap();
    assert_eq!(next(&mut heard).await, format!("{} is unhealthy", wrong.address()));
    stop.cancel();
    running.join_next().await.unwrap().unwrap().unwrap();
}
