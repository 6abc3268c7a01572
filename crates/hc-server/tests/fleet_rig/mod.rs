//! Servers of one process that are nodes of one fleet, and their backends.
#![allow(dead_code, reason = "each test file uses its part")]

mod store;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hc_notifier::{Delivery, DeliveryError};
use hc_server::{Config, Server};
use hc_testkit::process::wait_until;
use hc_types::{
    Batch, CheckId, CheckSpec, Health, Observer, ProbeSpec, Proposal, SetChange, Source, StatusUpdate,
    Target, TcpProbe, Timing,
};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use store::MemoryStore;

const INTERVAL: Duration = Duration::from_millis(200);

/// A check that was not probed for so long is not probed.
const RESTS: Duration = Duration::from_millis(1000);

/// TCP servers on ports of their own.
pub(crate) struct Backends {
    runtime: Runtime,
    all: Vec<(SocketAddr, Option<AbortHandle>)>,
}

impl Backends {
    pub(crate) fn start(count: usize) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut backends = Self { runtime, all: Vec::new() };
        for _ in 0..count {
            let started = backends.serve("127.0.0.1:0".parse().unwrap());
            backends.all.push(started);
        }
        backends
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.all.iter().map(|(address, _)| *address).collect()
    }

    pub(crate) fn stop(&mut self, index: usize) {
        let address = self.all[index].0;
        self.all[index].1.take().unwrap().abort();
        wait_until("the backend refuses", || std::net::TcpStream::connect(address).is_err());
    }

    pub(crate) fn restart(&mut self, index: usize) {
        self.all[index] = self.serve(self.all[index].0);
    }

    fn serve(&self, address: SocketAddr) -> (SocketAddr, Option<AbortHandle>) {
        let listener = self.runtime.block_on(TcpListener::bind(address)).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = self.runtime.spawn(async move { while listener.accept().await.is_ok() {} });
        (address, Some(serving.abort_handle()))
    }
}

/// Nodes that have the same checks, numbered as the backends are.
pub(crate) struct Fleet {
    /// Before the store: a node without one is at its end.
    nodes: BTreeMap<String, Node>,
    pub(crate) store: MemoryStore,
    addresses: Vec<SocketAddr>,
    opinions: u8,
    /// Members of etcd, in place of the store in memory.
    etcd: Vec<String>,
}

struct Node {
    shutdown: CancellationToken,
    kill: CancellationToken,
    thread: Option<JoinHandle<()>>,
    told: Arc<Told>,
    probed: Arc<Probed>,
    _dir: tempfile::TempDir,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill.cancel();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

/// What a consumer has heard of each check: repeats are left out.
#[derive(Default)]
struct Told(Mutex<BTreeMap<u64, (Health, Vec<Health>)>>);

/// When each check was probed last.
#[derive(Default)]
struct Probed(Mutex<BTreeMap<u64, Instant>>);

struct Consumer(Arc<Told>);

impl Delivery for Consumer {
    async fn ready(&self) {}

    async fn deliver(&self, batch: Batch) -> Result<(), DeliveryError> {
        let mut told = self.0.0.lock().unwrap();
        for check in batch.statuses {
            let known = told.entry(check.id.0).or_default();
            if known.0 != check.status.health {
                known.0 = check.status.health;
                known.1.push(check.status.health);
            }
        }
        Ok(())
    }
}

impl Observer for Probed {
    fn updates(&self, updates: &[StatusUpdate]) {
        let mut probed = self.0.lock().unwrap();
        for update in updates.iter().filter(|update| update.is_of_probe()) {
            probed.insert(update.id.0, Instant::now());
        }
    }
}

/// The checks once, and then none.
struct Once(Option<Vec<(CheckId, Arc<CheckSpec>)>>);

impl Source for Once {
    async fn next(&mut self) -> Option<Proposal> {
        Some(Proposal::new(SetChange::Full { generation: None, checks: self.0.take()? }))
    }
}

fn check(id: usize, address: SocketAddr) -> (CheckId, Arc<CheckSpec>) {
    let target = Target::plain(address.ip(), address.port());
    let timing = Timing::every(INTERVAL).timeout(Duration::from_secs(2)).retries(1);
    let spec = CheckSpec::new(target, ProbeSpec::Tcp(TcpProbe::default()), timing).unwrap();
    (CheckId(id as u64), Arc::new(spec))
}

impl Fleet {
    pub(crate) fn new(addresses: Vec<SocketAddr>) -> Self {
        Self { nodes: BTreeMap::new(), store: MemoryStore::start(), addresses, opinions: 1, etcd: Vec::new() }
    }

    /// Nodes that have these members of etcd.
    pub(crate) fn with_etcd(addresses: Vec<SocketAddr>, etcd: Vec<String>) -> Self {
        Self { etcd, ..Self::new(addresses) }
    }

    /// So many nodes are to probe each check.
    pub(crate) fn opinions(&mut self, opinions: u8) {
        self.opinions = opinions;
    }

    /// Starts a node. Its lease lives for two seconds.
    pub(crate) fn start(&mut self, name: &str) {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.state.dir = dir.path().to_owned();
        config.admin.enabled = false;
        config.shutdown.grace = Duration::from_millis(100);
        config.checks.shards = std::num::NonZeroUsize::new(1);
        config.fleet.name = Some(name.to_owned().try_into().unwrap());
        (config.fleet.ttl, config.fleet.opinions) = (Duration::from_secs(2), self.opinions);
        config.fleet.endpoints.clone_from(&self.etcd);
        let checks = self.addresses.iter().enumerate().map(|(id, address)| check(id, *address)).collect();
        let (told, probed) = (Arc::<Told>::default(), Arc::<Probed>::default());
        let (shutdown, kill) = (CancellationToken::new(), CancellationToken::new());
        let server = Server::new(config)
            .without_socket()
            .source("test", Once(Some(checks)))
            .delivery(Consumer(told.clone()))
            .observer(probed.clone())
            .shutdown(shutdown.clone());
        let server = match self.etcd.is_empty() {
            true => server.fleet_store(self.store.attach(name)),
            false => server,
        };
        let killed = kill.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    ended = server.run() => ended.unwrap(),
                    () = killed.cancelled() => {}
                }
            });
        });
        let node = Node { shutdown, kill, thread: Some(thread), told, probed, _dir: dir };
        self.nodes.insert(name.to_owned(), node);
    }

    /// Ends a node in order.
    pub(crate) fn stop(&mut self, name: &str) {
        let mut node = self.nodes.remove(name).unwrap();
        node.shutdown.cancel();
        node.thread.take().unwrap().join().unwrap();
    }

    /// Ends a node at once: the store hears no more of it.
    pub(crate) fn kill(&mut self, name: &str) {
        drop(self.nodes.remove(name));
    }

    /// What the consumers of each node have heard of a check, since that was forgotten.
    pub(crate) fn told(&self, index: usize) -> Vec<Vec<Health>> {
        let told = self.nodes.values().map(|node| {
            let told = node.told.0.lock().unwrap();
            told.get(&(index as u64)).map(|known| known.1.clone()).unwrap_or_default()
        });
        told.collect()
    }

    /// The consumers of each node have this health of each check.
    #[track_caller]
    pub(crate) fn wait_told_all(&self, health: Health) {
        wait_until("all consumers have heard of all checks", || {
            self.nodes.values().all(|node| {
                let told = node.told.0.lock().unwrap();
                told.len() == self.addresses.len() && told.values().all(|known| known.0 == health)
            })
        });
    }

    pub(crate) fn forget_tellings(&self) {
        for node in self.nodes.values() {
            node.told.0.lock().unwrap().values_mut().for_each(|known| known.1.clear());
        }
    }

    #[track_caller]
    pub(crate) fn assert_never_told(&self, health: Health) {
        for index in 0..self.addresses.len() {
            let told = self.told(index);
            assert!(told.iter().all(|told| !told.contains(&health)), "{index}: {told:?}");
        }
    }

    fn probed(&self, name: &str) -> Vec<u64> {
        let probed = self.nodes[name].probed.0.lock().unwrap();
        probed.iter().filter(|(_, at)| at.elapsed() < RESTS).map(|(id, _)| *id).collect()
    }

    /// Each check is probed by as many nodes as it wants, as far as there are so many.
    #[track_caller]
    pub(crate) fn wait_shared(&self) {
        let wanted = self.nodes.len().min(self.opinions.into());
        let mut counts = vec![0; self.addresses.len()];
        wait_until(&format!("each check is probed by {wanted}"), || {
            counts.fill(0);
            for name in self.nodes.keys() {
                self.probed(name).into_iter().for_each(|id| counts[usize::try_from(id).unwrap()] += 1);
            }
            counts.iter().all(|count| *count == wanted)
        });
    }

    /// A node has taken a share.
    #[track_caller]
    pub(crate) fn wait_probes(&self, name: &str) {
        wait_until(&format!("{name} probes"), || !self.probed(name).is_empty());
    }

    /// A node probes so many checks.
    #[track_caller]
    pub(crate) fn wait_probed(&self, name: &str, count: usize) {
        wait_until(&format!("{name} probes {count}"), || self.probed(name).len() == count);
    }
}
