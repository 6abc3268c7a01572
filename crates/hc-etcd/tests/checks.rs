//! The fleet's own checks, in real etcd.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hc_etcd::{ApplyError, CheckFile, CheckStore, EtcdError};
use hc_testkit::etcd::{Etcd, Version};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::timeout;

use common::{Node, PATIENCE, PREFIX, base64, config, get, put};

fn file(name: &str, text: impl Into<String>) -> CheckFile {
    CheckFile { name: name.into(), text: text.into() }
}

/// Text that does not become shorter.
fn noise(bytes: usize, mut seed: u64) -> String {
    let letter = |_| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + u8::try_from((seed >> 40) % 90).unwrap())
    };
    (0..bytes).map(letter).collect()
}

fn one() -> (TempDir, Etcd, CheckStore) {
    let directory = TempDir::new().unwrap();
    let etcd = Etcd::start(Version::Debian, directory.path(), 1, &[]);
    let checks = CheckStore::new(config(etcd.endpoints())).unwrap();
    (directory, etcd, checks)
}

fn versions(etcd: &Etcd) -> usize {
    let (key, end) = (base64(format!("{PREFIX}checks/0")), base64(format!("{PREFIX}checks/1")));
    let found = etcd.call(0, "kv/range", None, &json!({"key": key, "range_end": end, "keys_only": true}));
    let keys: std::collections::BTreeSet<String> = found["kvs"]
        .as_array()
        .map(|kvs| {
            let key = |kv: &serde_json::Value| {
                let key = BASE64_STANDARD.decode(kv["key"].as_str().unwrap()).unwrap();
                String::from_utf8(key).unwrap()[.."/t/checks/".len() + 16].to_owned()
            };
            kvs.iter().map(key).collect()
        })
        .unwrap_or_default();
    keys.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_is_written_and_read_as_a_whole() {
    let (_directory, _etcd, checks) = one();
    assert_eq!(checks.read_head().await.unwrap(), None);
    let files = [file("a.toml", noise(1_500_000, 1)), file("b.toml", "x = 1\n"), file("c.toml", "")];
    let head = checks.apply(None, &files).await.unwrap();
    assert_eq!(checks.read_head().await.unwrap().as_ref(), Some(&head));
    assert_eq!(checks.read_version(&head).await.unwrap(), files);
    let next = checks.apply(Some(&head), &[]).await.unwrap();
    assert_eq!(next.version, head.version + 1);
    assert_eq!(checks.read_version(&next).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_saw_another_version_changes_nothing() {
    let (_directory, _etcd, checks) = one();
    let first = checks.apply(None, &[file("a", "1")]).await.unwrap();
    let second = checks.apply(Some(&first), &[file("a", "2")]).await.unwrap();
    for base in [None, Some(&first)] {
        let refused = checks.apply(base, &[file("a", "3")]).await.unwrap_err();
        assert!(
            matches!(&refused, ApplyError::Changed { now } if now.as_ref() == Some(&second)),
            "{refused}"
        );
    }
    // At the same time: one of them, whole.
    let (left, right) = ([file("a", "left")], [file("a", "right")]);
    let (one, other) = tokio::join!(checks.apply(Some(&second), &left), checks.apply(Some(&second), &right));
    assert_ne!(one.is_ok(), other.is_ok(), "{one:?} {other:?}");
    let head = checks.read_head().await.unwrap().unwrap();
    let expected = if one.is_ok() { left } else { right };
    assert_eq!(checks.read_version(&head).await.unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_versions_are_removed_and_so_is_what_was_left_behind() {
    let (_directory, etcd, checks) = one();
    put(&etcd, 0, "checks/0000000000000001/00000000", "of an apply that was interrupted");
    let first = checks.apply(None, &[file("a", "0")]).await.unwrap();
    let mut head = first.clone();
    assert_eq!(head.version, 2);
    for number in 1..8 {
        head = checks.apply(Some(&head), &[file("a", number.to_string())]).await.unwrap();
    }
    assert_eq!(versions(&etcd), 5);
    let gone = checks.read_version(&first).await.unwrap_err();
    assert!(matches!(&gone, EtcdError::Content(why) if why.contains("no more")), "{gone}");
    assert_eq!(checks.read_version(&head).await.unwrap(), [file("a", "7")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_head_is_waited_for() {
    let (_directory, mut etcd, checks) = one();
    let first = checks.apply(None, &[file("a", "1")]).await.unwrap();
    assert_eq!(checks.next_head(None).await.unwrap().as_ref(), Some(&first));
    let other = CheckStore::new(config(etcd.endpoints())).unwrap();
    let files = [file("a", "2")];
    let (seen, second) =
        tokio::join!(timeout(PATIENCE, checks.next_head(Some(&first))), other.apply(Some(&first), &files),);
    let second = second.unwrap();
    assert_eq!(seen.unwrap().unwrap().as_ref(), Some(&second));
    // While etcd is away it says so, and goes on after that.
    etcd.kill(0);
    let away = timeout(PATIENCE, checks.next_head(Some(&second))).await.unwrap().unwrap_err();
    assert!(matches!(away, EtcdError::Unreachable(_) | EtcdError::Unknown(_)), "{away}");
    etcd.wipe(0);
    etcd.restart(0);
    assert_eq!(timeout(PATIENCE, checks.next_head(Some(&second))).await.unwrap().unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_ours_is_neither_read_nor_written() {
    let (_directory, etcd, checks) = one();
    put(&etcd, 0, "checks/head", "{}");
    let wrong = checks.read_head().await.unwrap_err();
    assert!(matches!(&wrong, EtcdError::Content(why) if why.contains("checks/head")), "{wrong}");
    put(&etcd, 0, "schema", "2");
    for error in [checks.read_head().await.unwrap_err(), checks.next_head(None).await.unwrap_err()] {
        assert!(matches!(&error, EtcdError::Schema(why) if why.contains("schema 2")), "{error}");
    }
    assert!(checks.apply(None, &[]).await.is_err());
    assert_eq!(get(&etcd, 0, "checks/0000000000000001/00000000"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_do_not_hear_of_checks() {
    let (_directory, etcd, checks) = one();
    let mut node = Node::start("lb1", {
        let mut config = hc_etcd::EtcdConfig::default();
        config.endpoints = vec![etcd.endpoint(0)];
        config.prefix = PREFIX.to_owned();
        config
    });
    node.join("one").await;
    let head = checks.apply(None, &[file("a", "1")]).await.unwrap();
    let record = Node::record(hc_fleet::Term(0), "x");
    put(&etcd, 0, "nodes/after", &String::from_utf8(record.to_bytes()).unwrap());
    let mut others = Vec::new();
    node.wait("what was written later", |event| match event {
        hc_fleet::StoreEvent::Changes(changes) => {
            others.extend(changes.iter().map(|(key, _)| key.clone()));
            others.iter().any(|key| key == "nodes/after").then_some(())
        }
        _ => None,
    })
    .await;
    assert!(others.iter().all(|key| key.starts_with("nodes/")), "{others:?}");
    assert_eq!(head.version, 1, "{others:?}");
}
