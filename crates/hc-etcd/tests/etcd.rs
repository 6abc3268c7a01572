//! What a node asks for and hears, with real etcd: Debian's and a current one.
#![allow(clippy::disallowed_methods, reason = "real programs take real time")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::{Duration, Instant};

use hc_fleet::{Batch, Request, StoreEvent, Term};
use hc_testkit::etcd::{Etcd, Version};
use hc_testkit::process::wait_until;
use serde_json::json;
use tempfile::TempDir;

use common::{Node, PREFIX, base64, compact, config, get, put, revision};

/// Each of these tests with both.
macro_rules! with_both {
    ($($name:ident),* $(,)?) => {
        mod debian {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { Box::pin(super::$name(super::Version::Debian)).await }
            )*
        }
        mod current {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { Box::pin(super::$name(super::Version::Current)).await }
            )*
        }
    };
}

with_both! {
    a_name_is_registered_once,
    a_batch_is_written_as_a_whole,
    a_late_write_does_nothing,
    a_lease_that_somebody_revoked_is_lost,
    the_end_revokes_the_lease,
    a_store_of_many_pages_is_read_and_followed,
    another_schema_is_refused,
    a_member_that_dies_is_replaced_without_a_gap,
    a_store_that_was_wiped_is_read_anew,
    one_node_compacts,
    a_full_quota_is_named,
}

fn one(version: Version) -> (TempDir, Etcd) {
    let directory = TempDir::new().unwrap();
    let etcd = Etcd::start(version, directory.path(), 1, &[]);
    (directory, etcd)
}

async fn a_name_is_registered_once(version: Version) {
    let (_directory, etcd) = one(version);
    let mut first = Node::start("lb1", config(etcd.endpoints()));
    let term = first.join("one").await;
    first.changes("nodes/lb1").await;
    let mut second = Node::start("lb1", config(etcd.endpoints()));
    assert!(second.snapshot().await.iter().any(|(key, _)| key == "nodes/lb1"));
    let other = second.grant().await;
    assert_ne!(other, term);
    assert_eq!(second.register(other, "two").await, Some(false));
    assert!(get(&etcd, 0, "nodes/lb1").unwrap().contains("one"));
    // The same process again, since its answer got lost, say.
    assert_eq!(first.register(term, "one").await, Some(true));
    first.ask(Request::Revoke(term)).await;
    second
        .wait("the end of the first", |event| match event {
            StoreEvent::Changes(changes) => changes.contains(&("nodes/lb1".to_owned(), None)).then_some(()),
            _ => None,
        })
        .await;
    assert_eq!(second.register(other, "two").await, Some(true));
    assert_eq!(first.keep_alive(term).await.unwrap_err().lost(), Some(term));
}

async fn a_batch_is_written_as_a_whole(version: Version) {
    let (_directory, etcd) = one(version);
    let mut node = Node::start("lb1", config(etcd.endpoints()));
    let term = node.join("one").await;
    node.write(term, 1, &[("log/a", b"1"), ("base/b", b"2")]).await.unwrap();
    let changes = node.changes("opinions/lb1/log/a").await;
    assert!(changes.contains(&("opinions/lb1/base/b".to_owned(), Some(b"2".to_vec()))), "{changes:?}");
    let (puts, deletes) = (vec![("log/c".to_owned(), b"3".to_vec())], vec!["log/a".to_owned()]);
    node.ask(Request::Write(Batch { term, ticket: 2, puts, deletes })).await;
    node.written(2).await.unwrap();
    let changes = node.changes("opinions/lb1/log/c").await;
    assert!(changes.contains(&("opinions/lb1/log/a".to_owned(), None)), "{changes:?}");
    // As large as batches are: 16 objects of 64 KiB.
    let value = vec![7; hc_fleet::MOST_BYTES];
    let names: Vec<String> = (0..hc_fleet::MOST_IN_A_BATCH).map(|number| format!("base/{number}")).collect();
    let large: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), value.as_slice())).collect();
    node.write(term, 3, &large).await.unwrap();
    // Of another lease, which is not there.
    let why = node.write(Term(term.0 + 1), 4, &[("log/x", b"9")]).await.unwrap_err();
    assert_eq!(why, "the lease is no more");
    assert_eq!(get(&etcd, 0, "opinions/lb1/log/x"), None);
    assert!(node.keep_alive(term).await.is_ok());
}

/// A write of another process of the same lease has a higher number: as if ours had been on its way
/// while a later one was carried out.
async fn a_late_write_does_nothing(version: Version) {
    let (_directory, etcd) = one(version);
    let mut node = Node::start("lb1", config(etcd.endpoints()));
    let term = node.join("one").await;
    let lease = term.0.to_string();
    let guard = json!({"key": base64(format!("{PREFIX}guards/lb1")), "value": base64("00000000000000ff"), "lease": lease});
    etcd.call(0, "kv/put", None, &guard);
    let why = node.write(term, 1, &[("log/a", b"1")]).await.unwrap_err();
    assert_eq!(why, "a later write of this node came before it");
    assert_eq!(get(&etcd, 0, "opinions/lb1/log/a"), None);
}

async fn a_lease_that_somebody_revoked_is_lost(version: Version) {
    let (_directory, etcd) = one(version);
    let mut node = Node::start("lb1", config(etcd.endpoints()));
    let term = node.join("one").await;
    let before = Instant::now();
    let kept = node.keep_alive(term).await.unwrap();
    assert!((before..=Instant::now()).contains(&kept));
    node.changes("nodes/lb1").await;
    etcd.call(0, "lease/revoke", None, &json!({"ID": term.0.to_string()}));
    let changes = node.changes("nodes/lb1").await;
    assert!(changes.contains(&("nodes/lb1".to_owned(), None)));
    assert_eq!(node.keep_alive(term).await.unwrap_err().lost(), Some(term));
    let again = node.grant().await;
    assert_eq!(node.register(again, "one").await, Some(true));
    node.ask(Request::Update(Node::record(term, "late"))).await;
    node.wait("the loss", |event| matches!(event, StoreEvent::Lost(of) if *of == term).then_some(())).await;
    assert!(get(&etcd, 0, "nodes/lb1").unwrap().contains("one"));
    node.ask(Request::Update(Node::record(again, "new"))).await;
    let changes = node.changes("nodes/lb1").await;
    assert_eq!(changes.len(), 1);
}

async fn the_end_revokes_the_lease(version: Version) {
    let (_directory, etcd) = one(version);
    let mut node = Node::start("lb1", config(etcd.endpoints()));
    node.join("one").await;
    assert!(node.end().await < Duration::from_secs(5));
    assert_eq!(get(&etcd, 0, "nodes/lb1"), None);
    // Without anybody to talk to, too.
    let mut etcd = etcd;
    let mut node = Node::start("lb1", config(etcd.endpoints()));
    node.join("one").await;
    etcd.kill(0);
    assert!(node.end().await < Duration::from_secs(5));
}

/// Objects of other nodes, in more than one page; some are written while it is read.
async fn a_store_of_many_pages_is_read_and_followed(version: Version) {
    let (_directory, etcd) = one(version);
    let mut writer = Node::start("lb1", config(etcd.endpoints()));
    let term = writer.join("one").await;
    let value = vec![7; 20_000];
    for ticket in 0..40 {
        let names: Vec<String> = (0..16).map(|number| format!("base/{ticket:02}-{number:02}")).collect();
        let puts: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), value.as_slice())).collect();
        writer.write(term, ticket, &puts).await.unwrap();
    }
    put(&etcd, 0, "checks/head", "not of a node");
    let mut reader = Node::start("lb2", config(etcd.endpoints()));
    writer.write(term, 100, &[("base/00-00", b"new")]).await.unwrap();
    let snapshot = reader.snapshot().await;
    let objects = snapshot.iter().filter(|(key, _)| key.starts_with("opinions/lb1/base/")).count();
    assert_eq!(objects, 640);
    assert!(snapshot.iter().all(|(key, _)| !key.starts_with("checks/") && !key.starts_with("guards/")));
    let has_new = snapshot.iter().any(|(_, value)| value == b"new");
    if !has_new {
        reader.changes("opinions/lb1/base/00-00").await;
    }
    reader.quiet().await;
    assert_eq!((reader.deaf, reader.snapshots), (0, 1));
}

async fn another_schema_is_refused(version: Version) {
    let (_directory, etcd) = one(version);
    put(&etcd, 0, "schema", "2");
    let mut node = Node::start("lb1", config(etcd.endpoints()));
    let term = node.grant().await;
    assert_eq!(node.register(term, "one").await, None);
    assert_eq!((node.snapshots, get(&etcd, 0, "nodes/lb1")), (0, None));
    put(&etcd, 0, "schema", "1");
    let term = node.join("one").await;
    // It is noticed while the node is a member, too.
    put(&etcd, 0, "schema", "2");
    node.wait("deafness", |event| matches!(event, StoreEvent::Deaf).then_some(())).await;
    let why = node.write(term, 1, &[("log/a", b"1")]).await.unwrap_err();
    assert!(why.contains("schema"), "{why}");
    assert_eq!(get(&etcd, 0, "opinions/lb1/log/a"), None);
}

/// Each member once, so the one that the node speaks to and the leader, too.
async fn a_member_that_dies_is_replaced_without_a_gap(version: Version) {
    let directory = TempDir::new().unwrap();
    let mut etcd = Etcd::start(version, directory.path(), 3, &[]);
    let mut config = config(etcd.endpoints());
    config.silence = Duration::from_secs(20);
    let mut node = Node::start("lb1", config);
    let term = node.join("one").await;
    node.changes("nodes/lb1").await;
    for member in 0..3 {
        etcd.kill(member);
        let other = (member + 1) % 3;
        let (before, after) = (format!("nodes/b{member}"), format!("nodes/c{member}"));
        wait_until("the others write", || put(&etcd, other, &before, "x")["header"].is_object());
        assert!(node.keep_alive(term).await.is_ok());
        node.changes(&before).await;
        etcd.restart(member);
        wait_until("it serves again", || put(&etcd, member, &after, "x")["header"].is_object());
        node.changes(&after).await;
    }
    assert_eq!((node.deaf, node.snapshots), (0, 1));
}

async fn a_store_that_was_wiped_is_read_anew(version: Version) {
    let (_directory, mut etcd) = one(version);
    let mut node = Node::start("lb1", config(etcd.endpoints()));
    let term = node.join("one").await;
    node.changes("nodes/lb1").await;
    let before = revision(&etcd);
    etcd.kill(0);
    etcd.wipe(0);
    etcd.restart(0);
    // Its revisions are soon as high as before, with other content.
    for number in 0..=before {
        put(&etcd, 0, "other", &number.to_string());
    }
    let snapshot = node.snapshot().await;
    assert_eq!((node.deaf, node.snapshots), (1, 2));
    assert!(!snapshot.iter().any(|(key, _)| key == "nodes/lb1"), "{snapshot:?}");
    let why = node.write(term, 1, &[("log/a", b"1")]).await.unwrap_err();
    assert_eq!(why, "the lease is no more");
    let term = node.grant().await;
    assert_eq!(node.register(term, "one").await, Some(true));
    node.changes("nodes/lb1").await;
}

async fn one_node_compacts(version: Version) {
    let (_directory, etcd) = one(version);
    let mut config = config(etcd.endpoints());
    config.keep_revisions = Duration::from_millis(500);
    let mut first = Node::start("lb1", config.clone());
    let mut second = Node::start("lb2", config);
    let term = first.join("one").await;
    second.join("two").await;
    let old = revision(&etcd);
    let is_compacted = |etcd: &Etcd, revision: i64| {
        let question = json!({"key": base64("none"), "revision": revision.to_string()});
        etcd.call(0, "kv/range", None, &question).to_string().contains("compacted")
    };
    assert!(!is_compacted(&etcd, old));
    let mut ticket = 0;
    let value = vec![7; 60_000];
    let begin = Instant::now();
    while !is_compacted(&etcd, old) {
        assert!(begin.elapsed() < common::PATIENCE, "nobody compacts");
        ticket += 1;
        first.write(term, ticket, &[("base/0", &value)]).await.unwrap();
    }
    // Whoever has heard nothing of it goes on.
    assert_eq!((first.deaf, first.snapshots, second.deaf), (0, 1, 0));
    // The other one takes over.
    first.end().await;
    let old = revision(&etcd);
    let begin = Instant::now();
    while !is_compacted(&etcd, old) {
        assert!(begin.elapsed() < common::PATIENCE, "nobody compacts any more");
        put(&etcd, 0, "other", "x");
        second.quiet().await;
    }
}

async fn a_full_quota_is_named(version: Version) {
    let directory = TempDir::new().unwrap();
    let etcd = Etcd::start(version, directory.path(), 1, &["--quota-backend-bytes", "4194304"]);
    let mut config = config(etcd.endpoints());
    config.look = Duration::from_millis(200);
    let mut node = Node::start("lb1", config);
    let term = node.join("one").await;
    let value = vec![7; 60_000];
    let mut why = Ok(());
    for ticket in 0..400 {
        why = node.write(term, ticket, &[("base/0", &value), ("base/1", &value)]).await;
        if why.is_err() {
            break;
        }
    }
    assert!(why.as_ref().is_err_and(|why| why.contains("database space exceeded")), "{why:?}");
    // It can still be kept alive, and read.
    assert!(node.keep_alive(term).await.is_ok());
    node.quiet().await;
    assert_eq!(compact(&etcd, revision(&etcd))["error"], serde_json::Value::Null);
}

/// Of an answer that a lease is lost, which lease.
trait OfLost {
    fn lost(&self) -> Option<Term>;
}

impl OfLost for StoreEvent {
    fn lost(&self) -> Option<Term> {
        match self {
            StoreEvent::Lost(term) => Some(*term),
            _ => None,
        }
    }
}
