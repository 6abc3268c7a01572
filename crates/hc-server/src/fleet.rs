//! This node's part in a fleet: `[fleet]` of the configuration.
//!
//! All decisions are `hc_fleet::Node`; the stage `quorum` of the pipeline is where its verdicts meet
//! what this node finds. Here they meet the clock, the store and the figures of this machine, on a
//! thread of their own: what the fleet says of a million checks must not delay what is told.

mod reader;
mod task;
mod trouble;

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::SystemTime;

use anyhow::{Context as _, Result, anyhow};
use hc_etcd::{EtcdConfig, Store};
use hc_fleet::{Node, NodeConfig, NodeName, Request, StoreEvent};
use hc_manager::Manager;
use hc_pipeline::{GuardFigures, Pipeline};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::config::FleetConfig;
use crate::resolver::SystemResolve;
use crate::wiring;

pub(crate) use reader::FleetReader;
use task::FleetTask;
use trouble::Trouble;

/// The way to the store that the nodes of a fleet share, as two channels.
#[derive(Debug)]
pub struct FleetStore {
    /// What the node asks for. The store answers what it is asked in the order of the requests; one
    /// that finds no room has failed.
    pub requests: mpsc::Sender<Request>,
    /// What the store says.
    pub events: mpsc::Receiver<StoreEvent>,
}

/// A node that has not started.
pub(crate) struct Fleet {
    config: FleetConfig,
    name: NodeName,
    way: Way,
}

/// How a node reaches the store.
enum Way {
    /// By channels that somebody else serves.
    Given(FleetStore),
    Etcd(Box<Store>),
}

/// Descriptors that the way to etcd needs: connections to some members at once, and the thread's
/// runtime.
const DESCRIPTORS: u64 = 32;

/// Requests and events on their way.
const ON_THE_WAY: usize = 64;

/// What the node acts on.
pub(crate) struct FleetParts {
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) manager: Manager,
    pub(crate) guard: Option<Arc<GuardFigures>>,
    pub(crate) shutdown: CancellationToken,
}

impl Fleet {
    /// The node that the configuration names, if it names one or there is a store.
    ///
    /// # Errors
    /// A node cannot have this name.
    pub(crate) fn open(config: &FleetConfig, store: Option<FleetStore>) -> Result<Option<Self>> {
        if store.is_none() && config.endpoints.is_empty() {
            return Ok(None);
        }
        let name = match &config.name {
            Some(name) => name.clone(),
            None => NodeName::new(&wiring::node())
                .context("[fleet] name: the host name is no name of a node: give it another one")?,
        };
        let way = match store {
            Some(store) => Way::Given(store),
            None => Way::Etcd(Box::new(etcd(config, name.clone())?)),
        };
        Ok(Some(Self { config: config.clone(), name, way }))
    }

    /// Descriptors that it needs.
    pub(crate) fn descriptors(&self) -> u64 {
        if matches!(self.way, Way::Etcd(_)) { DESCRIPTORS } else { 0 }
    }

    /// Directories that must stay readable: certificates and passwords are read again.
    pub(crate) fn reach(&self) -> Vec<PathBuf> {
        let FleetConfig { ca_file, cert_file, key_file, password_file, .. } = &self.config;
        let files = [ca_file, cert_file, key_file, password_file].into_iter().flatten();
        let directories =
            files.filter_map(|file| std::fs::canonicalize(file).ok()?.parent().map(Path::to_owned));
        let mut reach: Vec<PathBuf> = directories.collect();
        if matches!(self.way, Way::Etcd(_)) {
            reach.extend(hc_resolve::system_reach());
            if ca_file.is_none() {
                reach.push("/etc/ssl".into());
            }
        }
        reach
    }

    /// Starts the thread. The future that is returned ends soon after `shutdown`, when the fleet has
    /// been left.
    ///
    /// # Errors
    /// When no thread or no runtime can be had.
    pub(crate) fn start(
        self,
        parts: FleetParts,
    ) -> Result<(FleetReader, impl Future<Output = Result<()>> + Send + use<>)> {
        let Self { config, name, way } = self;
        let node = Arc::new(Mutex::new(Node::new(node_config(&config, name.clone()), now())));
        let reader = FleetReader::new(name, node.clone());
        let trouble = Trouble::new(parts.manager.clone(), parts.guard.clone());
        let (store, driver) = drive(way);
        let task = FleetTask::new(node, store, parts, config.policy(), trouble, reader.figures());
        let (ended, end) = oneshot::channel();
        let (built, is_built) = std::sync::mpsc::sync_channel(1);
        thread::Builder::new()
            .name("hc-fleet".to_owned())
            .spawn(move || {
                // In here, since a runtime must not be dropped where another one runs.
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let (runtime, result) = match runtime {
                    Ok(runtime) => (Some(runtime), Ok(())),
                    Err(error) => (None, Err(error)),
                };
                // Waited for below.
                let _ = built.send(result);
                let Some(runtime) = runtime else { return };
                runtime.block_on(async {
                    let mut ended = ended;
                    tokio::select! {
                        result = beside(task.run(), driver) => { let _ = ended.send(result); }
                        // The server was dropped: the lease ends by itself.
                        () = ended.closed() => {}
                    }
                });
            })
            .context("cannot start the thread of the fleet")?;
        is_built.recv().context("the thread of the fleet ended")?.context("cannot start the fleet")?;
        Ok((reader, async move { end.await.context("the thread of the fleet ended")? }))
    }
}

/// Reads the files that the configuration names; connects nowhere.
fn etcd(config: &FleetConfig, name: NodeName) -> Result<Store> {
    let mut etcd = EtcdConfig::default();
    etcd.endpoints.clone_from(&config.endpoints);
    etcd.prefix.clone_from(&config.prefix);
    etcd.ca_file.clone_from(&config.ca_file);
    etcd.cert_file.clone_from(&config.cert_file);
    etcd.key_file.clone_from(&config.key_file);
    etcd.server_name.clone_from(&config.server_name);
    etcd.user.clone_from(&config.user);
    etcd.password_file.clone_from(&config.password_file);
    etcd.ttl = config.ttl;
    (etcd.silence, etcd.timeout) = (etcd.silence.min(config.ttl / 2), etcd.timeout.min(config.ttl / 2));
    let store = Store::new(etcd, name).map_err(|error| anyhow!("[fleet] {error}"))?;
    Ok(store.with_resolver(Arc::new(SystemResolve::default())))
}

/// What carries requests and events, and when it is to end.
type Driver = Option<(Pin<Box<dyn Future<Output = ()> + Send>>, CancellationToken)>;

/// The node's end of the way, and what is to be run at the other.
fn drive(way: Way) -> (FleetStore, Driver) {
    let store = match way {
        Way::Given(store) => return (store, None),
        Way::Etcd(store) => store,
    };
    let (requests, asked) = mpsc::channel(ON_THE_WAY);
    let (told, events) = mpsc::channel(ON_THE_WAY);
    let stop = CancellationToken::new();
    let running = Box::pin(store.run(asked, told, stop.clone()));
    (FleetStore { requests, events }, Some((running, stop)))
}

/// Runs the node, and what carries its requests until that has ended, too.
async fn beside(node: impl Future<Output = Result<()>>, driver: Driver) -> Result<()> {
    let Some((running, stop)) = driver else { return node.await };
    let node = async {
        let result = node.await;
        stop.cancel();
        result
    };
    tokio::join!(node, running).0
}

fn node_config(config: &FleetConfig, name: NodeName) -> NodeConfig {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let instance = format!("{}-{:x}", std::process::id(), since.as_nanos());
    let mut node = NodeConfig::new(name, instance);
    node.record.zone.clone_from(&config.zone);
    node.record.capacity = config.capacity;
    node.record.program = env!("CARGO_PKG_VERSION").into();
    node.ttl = config.ttl;
    node
}

#[allow(clippy::disallowed_methods, reason = "the node has no clock of its own")]
fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

/// A node is whole after each of its steps.
fn lock(node: &Mutex<Node>) -> std::sync::MutexGuard<'_, Node> {
    node.lock().unwrap_or_else(PoisonError::into_inner)
}
