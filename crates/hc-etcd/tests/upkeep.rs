//! That etcd fills up is prevented, or said in time: with real etcd.

#![allow(clippy::disallowed_methods, reason = "real programs take real time")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hc_testkit::etcd::{Etcd, Version};
use hc_testkit::process::wait_until;
use serde_json::json;
use tempfile::TempDir;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use common::{Node, PATIENCE, compact, config, put, revision};

/// The lines that are logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Log {
    fn begin() -> (Self, DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(log.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn count(&self, words: &str) -> usize {
        self.0.lock().unwrap().lines().filter(|line| line.contains(words)).count()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().push_str(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Passes over what the node hears until it has been logged.
async fn logged(node: &mut Node, log: &Log, words: &str) {
    let begin = Instant::now();
    while log.count(words) == 0 {
        assert!(begin.elapsed() < PATIENCE, "not logged: {words}\n{}", log.0.lock().unwrap());
        node.quiet().await;
    }
}

/// Before it is full (as far as etcd says how large it may become), when it is, and the end of it.
#[tokio::test]
async fn a_quota_is_named_before_and_when_it_is_full() {
    for (version, is_said) in [(Version::Debian, false), (Version::Current, true)] {
        let (log, _guard) = Log::begin();
        let directory = TempDir::new().unwrap();
        let etcd = Etcd::start(version, directory.path(), 1, &["--quota-backend-bytes", "4194304"]);
        let mut config = config(etcd.endpoints());
        (config.look, config.silence) = (Duration::from_millis(50), Duration::from_secs(4));
        let mut node = Node::start("lb1", config);
        let term = node.join("one").await;
        let value = vec![7; 20_000];
        let mut ticket = 0;
        while node.write(term, ticket, &[("base/0", &value)]).await.is_ok() {
            ticket += 1;
            assert!(ticket < 2000, "it is never full");
        }
        logged(&mut node, &log, "etcd's quota is full: it takes no writes").await;
        if is_said {
            logged(&mut node, &log, "etcd's database is nearly as large as its quota").await;
        }
        compact(&etcd, revision(&etcd));
        etcd.call(0, "maintenance/defragment", None, &json!({}));
        let raised = etcd.call(0, "maintenance/alarm", None, &json!({"action": "GET"}));
        let member = raised["alarms"][0]["memberID"].clone();
        let alarm = json!({"action": "DEACTIVATE", "memberID": member, "alarm": "NOSPACE"});
        wait_until("etcd takes writes", || {
            etcd.call(0, "maintenance/alarm", None, &alarm);
            put(&etcd, 0, "other", "x")["header"].is_object()
        });
        logged(&mut node, &log, "etcd's alarms are over").await;
        node.write(term, 5000, &[("base/0", &value)]).await.unwrap();
        assert_eq!(log.count("etcd's quota is full"), 1);
    }
}

#[tokio::test]
async fn that_nobody_compacts_is_named() {
    let (log, _guard) = Log::begin();
    let directory = TempDir::new().unwrap();
    let etcd = Etcd::start(Version::Current, directory.path(), 1, &[]);
    let mut config = config(etcd.endpoints());
    (config.keep_revisions, config.look) = (Duration::ZERO, Duration::from_millis(20));
    config.silence = Duration::from_secs(4);
    let mut node = Node::start("lb1", config);
    node.join("one").await;
    logged(&mut node, &log, "nobody compacts etcd").await;
    node.quiet().await;
    assert_eq!(log.count("nobody compacts etcd"), 1);
    assert_eq!(log.count("compacted away"), 0);
}

/// Of what was written while etcd was compacted ten times, what is in use is less than half.
#[tokio::test]
async fn the_database_does_not_grow_with_what_is_written() {
    for version in [Version::Debian, Version::Current] {
        let (log, _guard) = Log::begin();
        let directory = TempDir::new().unwrap();
        let etcd = Etcd::start(version, directory.path(), 1, &[]);
        let mut config = config(etcd.endpoints());
        config.keep_revisions = Duration::from_millis(200);
        let mut node = Node::start("lb1", config);
        let term = node.join("one").await;
        let value = vec![7; 30_000];
        let (mut ticket, begin) = (0, Instant::now());
        while log.count("etcd's older revisions are compacted away") < 10 {
            ticket += 1;
            node.write(term, ticket, &[("base/0", &value), ("base/1", &value)]).await.unwrap();
            assert!(begin.elapsed() < PATIENCE, "it is not compacted");
        }
        let written = ticket * 60_000;
        wait_until("what was compacted is free", || {
            let status = etcd.call(0, "maintenance/status", None, &json!({}));
            let in_use = status["dbSizeInUse"].as_str().map_or(u64::MAX, |bytes| bytes.parse().unwrap());
            in_use < written / 2
        });
        assert_eq!((node.deaf, node.snapshots), (0, 1));
    }
}
