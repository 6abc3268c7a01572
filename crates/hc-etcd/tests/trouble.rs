//! A network between node and etcd that is slow, silent or broken.
#![allow(clippy::disallowed_methods, reason = "real programs take real time")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "common/link.rs"]
mod link;

mod common;

use std::time::{Duration, Instant};

use hc_fleet::StoreEvent;
use hc_testkit::etcd::{Etcd, Version};
use tempfile::TempDir;

use common::{Node, compact, config, put, revision};
use link::{Link, Mode};

fn one() -> (TempDir, Etcd) {
    let directory = TempDir::new().unwrap();
    let etcd = Etcd::start(Version::Debian, directory.path(), 1, &[]);
    (directory, etcd)
}

fn impatient(endpoints: Vec<String>) -> hc_etcd::EtcdConfig {
    let mut config = config(endpoints);
    config.silence = Duration::from_secs(2);
    config.timeout = Duration::from_secs(1);
    config
}

async fn deaf(node: &mut Node) {
    node.wait("deafness", |event| matches!(event, StoreEvent::Deaf).then_some(())).await;
}

/// Both ways, and each of them: the node says that there may be gaps, and reads everything anew when
/// the link is whole again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_falls_silent_is_noticed() {
    let (_directory, etcd) = one();
    let link = Link::to(etcd.address(0)).await;
    let mut node = Node::start("lb1", impatient(vec![link.endpoint()]));
    let term = node.join("one").await;
    node.quiet().await;
    for (silent, key) in
        [(Mode::SilentUp, "nodes/a"), (Mode::SilentDown, "nodes/b"), (Mode::Silent, "nodes/c")]
    {
        link.set(silent);
        deaf(&mut node).await;
        assert!(matches!(node.keep_alive(term).await, Err(StoreEvent::Failed(_))));
        put(&etcd, 0, key, "x");
        link.set(Mode::Pass);
        assert!(node.snapshot().await.iter().any(|(found, _)| found == key), "{silent:?}");
        node.quiet().await;
        assert!(node.keep_alive(term).await.is_ok());
    }
    // Written under the same lease as before, and it is told what came of it.
    node.write(term, 1, &[("log/a", b"1")]).await.unwrap();
    node.changes("opinions/lb1/log/a").await;
}

/// What is known of the watch is enough to go on elsewhere, without reading anything twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_breaks_goes_on_without_a_gap() {
    let (_directory, etcd) = one();
    let mut link = Link::to(etcd.address(0)).await;
    let mut config = config(vec![link.endpoint()]);
    config.silence = Duration::from_secs(20);
    let mut node = Node::start("lb1", config);
    let term = node.join("one").await;
    node.changes("nodes/lb1").await;
    for number in 0..5 {
        link.set(Mode::Reset);
        let key = format!("nodes/x{number}");
        put(&etcd, 0, &key, "x");
        put(&etcd, 0, "nodes/same", &number.to_string());
        let before = *link.accepted.borrow_and_update();
        link.accepted.wait_for(|count| *count > before).await.unwrap();
        link.set(Mode::Pass);
        let told = node.changes(&key).await;
        assert_eq!(told.iter().filter(|(of, _)| *of == key).count(), 1, "{told:?}");
        assert!(node.keep_alive(term).await.is_ok());
    }
    assert_eq!((node.deaf, node.snapshots), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_compacted_away_is_read_anew() {
    let (_directory, etcd) = one();
    let link = Link::to(etcd.address(0)).await;
    let mut config = config(vec![link.endpoint()]);
    config.silence = Duration::from_secs(20);
    let mut node = Node::start("lb1", config);
    node.join("one").await;
    node.changes("nodes/lb1").await;
    link.set(Mode::Reset);
    for number in 0..5 {
        put(&etcd, 0, "nodes/x", &number.to_string());
    }
    put(&etcd, 0, "nodes/y", "y");
    compact(&etcd, revision(&etcd));
    link.set(Mode::Pass);
    let snapshot = node.snapshot().await;
    assert!(snapshot.contains(&("nodes/x".to_owned(), b"4".to_vec())), "{snapshot:?}");
    assert_eq!(node.deaf, 1);
    put(&etcd, 0, "nodes/z", "z");
    node.changes("nodes/z").await;
}

/// Everything takes two seconds there and back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_link_is_no_dead_one() {
    let (_directory, etcd) = one();
    let link = Link::to(etcd.address(0)).await;
    link.set(Mode::Delay(Duration::from_secs(1)));
    let mut config = config(vec![link.endpoint()]);
    // The patience of everybody who does not set it otherwise, and half a second for this machine.
    config.timeout = Duration::from_millis(3500);
    let mut node = Node::start("lb1", config);
    let term = node.join("one").await;
    for ticket in 0..3 {
        let asked = Instant::now();
        let kept = node.keep_alive(term).await.unwrap();
        // What counts is when it was asked for, not when the answer came.
        assert!(kept - asked < Duration::from_millis(900), "{:?}", kept - asked);
        assert!(asked.elapsed() >= Duration::from_secs(2));
        node.write(term, ticket, &[("log/a", b"1")]).await.unwrap();
        node.quiet().await;
    }
    assert_eq!((node.deaf, node.snapshots), (0, 1));
}

/// A member that takes connections and says nothing is passed over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_member_is_asked_when_one_is_silent() {
    let (_directory, etcd) = one();
    let (first, second) = (Link::to(etcd.address(0)).await, Link::to(etcd.address(0)).await);
    first.set(Mode::Silent);
    let mut config = impatient(vec![first.endpoint(), second.endpoint()]);
    config.silence = Duration::from_secs(4);
    let mut node = Node::start("lb1", config);
    let term = node.join("one").await;
    for _ in 0..2 {
        first.set(Mode::Pass);
        second.set(Mode::Silent);
        node.wait_for(common::PATIENCE, "an answer of the first", |event| {
            matches!(event, StoreEvent::Quiet).then_some(())
        })
        .await;
        assert!(node.keep_alive(term).await.is_ok());
        second.set(Mode::Pass);
        first.set(Mode::Silent);
        node.quiet().await;
        assert!(node.keep_alive(term).await.is_ok());
    }
}
