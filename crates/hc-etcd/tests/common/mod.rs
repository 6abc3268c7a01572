//! A node's end of the way to etcd.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(dead_code, reason = "each file of tests uses a part of it")]
#![allow(clippy::disallowed_methods, reason = "tests have no owner for tasks but the test")]

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hc_etcd::{EtcdConfig, Store};
use hc_fleet::{Batch, NodeName, NodeRecord, Request, StoreEvent, Term};
use hc_testkit::etcd::Etcd;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long a test waits for what should come, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const PREFIX: &str = "/t/";

/// Quick to notice, and patient enough for a machine that does ten things at once.
pub(crate) fn config(endpoints: Vec<String>) -> EtcdConfig {
    let mut config = EtcdConfig::default();
    config.endpoints = endpoints;
    config.prefix = PREFIX.to_owned();
    config.ttl = Duration::from_secs(30);
    config.silence = Duration::from_secs(8);
    config
}

/// The way to etcd, as a node has it.
pub(crate) struct Node {
    pub(crate) name: NodeName,
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) events: mpsc::Receiver<StoreEvent>,
    pub(crate) stop: CancellationToken,
    /// Whether there may be gaps in what has been heard.
    pub(crate) deaf: usize,
    pub(crate) snapshots: usize,
    /// Changes that came while something else was waited for.
    earlier: Vec<Vec<(String, Option<Vec<u8>>)>>,
    task: JoinHandle<()>,
}

impl Node {
    pub(crate) fn start(name: &str, config: EtcdConfig) -> Self {
        let name = NodeName::new(name).unwrap();
        let store = Store::new(config, name.clone()).unwrap();
        let (requests, to_store) = mpsc::channel(16);
        let (from_store, events) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let task = tokio::spawn(store.run(to_store, from_store, stop.clone()));
        Self { name, requests, events, stop, deaf: 0, snapshots: 0, earlier: Vec::new(), task }
    }

    pub(crate) async fn ask(&self, request: Request) {
        self.requests.send(request).await.unwrap();
    }

    /// The first event that is as wanted; others are passed over.
    pub(crate) async fn wait<T>(&mut self, what: &str, wanted: impl FnMut(&StoreEvent) -> Option<T>) -> T {
        self.wait_for(PATIENCE, what, wanted).await
    }

    pub(crate) async fn wait_for<T>(
        &mut self,
        patience: Duration,
        what: &str,
        mut wanted: impl FnMut(&StoreEvent) -> Option<T>,
    ) -> T {
        let mut passed = Vec::new();
        let search = async {
            loop {
                let event = self.events.recv().await.expect("the way to etcd has ended");
                self.deaf += usize::from(matches!(event, StoreEvent::Deaf));
                self.snapshots += usize::from(matches!(event, StoreEvent::Snapshot(_)));
                if let Some(found) = wanted(&event) {
                    return found;
                }
                if let StoreEvent::Changes(changes) = &event {
                    self.earlier.push(changes.clone());
                }
                passed.push(format!("{event:.200?}"));
            }
        };
        let found = timeout(patience, search).await;
        found.unwrap_or_else(|_| panic!("{what} did not come; passed over: {passed:#?}"))
    }

    pub(crate) async fn snapshot(&mut self) -> Vec<(String, Vec<u8>)> {
        self.wait("a snapshot", |event| match event {
            StoreEvent::Snapshot(entries) => Some(entries.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn grant(&mut self) -> Term {
        self.ask(Request::Grant).await;
        self.wait("a lease", |event| match event {
            StoreEvent::Granted(term) => Some(*term),
            _ => None,
        })
        .await
    }

    pub(crate) fn record(term: Term, instance: &str) -> NodeRecord {
        let mut record = NodeRecord::read(br#"{"instance":""}"#).unwrap();
        (record.term, record.instance) = (term, instance.to_owned());
        record
    }

    /// `None` if it failed.
    pub(crate) async fn register(&mut self, term: Term, instance: &str) -> Option<bool> {
        self.ask(Request::Register(Self::record(term, instance))).await;
        self.wait("an answer to the registration", |event| match event {
            StoreEvent::Registered(of, done) if *of == term => Some(Some(*done)),
            StoreEvent::Failed(_) => Some(None),
            _ => None,
        })
        .await
    }

    /// A member of the fleet.
    pub(crate) async fn join(&mut self, instance: &str) -> Term {
        self.snapshot().await;
        let term = self.grant().await;
        assert_eq!(self.register(term, instance).await, Some(true));
        term
    }

    /// Why a batch is not written, if it is not.
    pub(crate) async fn write(
        &mut self,
        term: Term,
        ticket: u64,
        puts: &[(&str, &[u8])],
    ) -> Result<(), String> {
        let puts = puts.iter().map(|(key, value)| ((*key).to_owned(), value.to_vec())).collect();
        self.ask(Request::Write(Batch { term, ticket, puts, deletes: Vec::new() })).await;
        self.written(ticket).await
    }

    pub(crate) async fn written(&mut self, ticket: u64) -> Result<(), String> {
        self.wait("an answer to the write", |event| match event {
            StoreEvent::Written(of) if *of == ticket => Some(Ok(())),
            StoreEvent::NotWritten(of, why) if *of == ticket => Some(Err(why.clone())),
            _ => None,
        })
        .await
    }

    /// Waits until this key is told of, and gives what is told with it.
    pub(crate) async fn changes(&mut self, key: &str) -> Vec<(String, Option<Vec<u8>>)> {
        let has = |changes: &Vec<(String, Option<Vec<u8>>)>| changes.iter().any(|(of, _)| of == key);
        if let Some(place) = self.earlier.iter().position(has) {
            return self.earlier.drain(..=place).next_back().unwrap_or_default();
        }
        self.wait(key, |event| match event {
            StoreEvent::Changes(changes) if changes.iter().any(|(of, _)| of == key) => Some(changes.clone()),
            _ => None,
        })
        .await
    }

    /// What the lease comes to.
    pub(crate) async fn keep_alive(&mut self, term: Term) -> Result<std::time::Instant, StoreEvent> {
        self.ask(Request::KeepAlive(term)).await;
        self.wait("an answer about the lease", |event| match event {
            StoreEvent::Kept(of, at) if *of == term => Some(Ok(*at)),
            StoreEvent::Failed(_) => Some(Err(event.clone())),
            StoreEvent::Lost(of) if *of == term => Some(Err(event.clone())),
            _ => None,
        })
        .await
    }

    pub(crate) async fn quiet(&mut self) {
        self.wait("that nothing is new", |event| matches!(event, StoreEvent::Quiet).then_some(())).await;
    }

    /// Ends it, and gives how long that took.
    pub(crate) async fn end(self) -> Duration {
        let begin = tokio::time::Instant::now();
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.expect("it does not end").unwrap();
        begin.elapsed()
    }
}

pub(crate) fn base64(text: impl AsRef<[u8]>) -> String {
    BASE64_STANDARD.encode(text)
}

/// Writes a key below the prefix by etcd's other door.
pub(crate) fn put(etcd: &Etcd, member: usize, key: &str, value: &str) -> Value {
    let key = base64(format!("{PREFIX}{key}"));
    etcd.call(member, "kv/put", None, &json!({"key": key, "value": base64(value)}))
}

/// The value of a key below the prefix.
pub(crate) fn get(etcd: &Etcd, member: usize, key: &str) -> Option<String> {
    let key = base64(format!("{PREFIX}{key}"));
    let answer = etcd.call(member, "kv/range", None, &json!({"key": key}));
    let value = answer["kvs"][0]["value"].as_str()?;
    Some(String::from_utf8(BASE64_STANDARD.decode(value).unwrap()).unwrap())
}

/// The revision of the latest write.
pub(crate) fn revision(etcd: &Etcd) -> i64 {
    let answer = etcd.call(0, "kv/range", None, &json!({"key": base64("none")}));
    answer["header"]["revision"].as_str().unwrap().parse().unwrap()
}

pub(crate) fn compact(etcd: &Etcd, revision: i64) -> Value {
    etcd.call(0, "kv/compaction", None, &json!({"revision": revision.to_string()}))
}
