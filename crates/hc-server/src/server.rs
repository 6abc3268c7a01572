//! A server put together from sources of checks and consumers of statuses.

use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use hc_notifier::{Delivery, NotifierTask, SharedOutbox};
use hc_types::{Observer, Source};
use hc_view::View;
use tokio_util::sync::CancellationToken;

use crate::fleet::FleetStore;
use crate::sets::{Intake, pump};
use crate::{Config, FileChecks, Signals, app};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Starts the task of a source.
pub(crate) type StartSource = Box<dyn FnOnce(Intake, CancellationToken) -> Task + Send>;

/// Starts the task of a consumer.
pub(crate) type StartDelivery = Box<dyn FnOnce(Outlet) -> Task + Send>;

/// All consumers.
pub(crate) type Consumers = Arc<[Consumer]>;

/// A consumer, as readers see it.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) name: Arc<str>,
    pub(crate) outbox: Arc<SharedOutbox>,
    /// Without it the server does not do its work.
    pub(crate) required: bool,
}

/// What a consumer's task needs.
pub(crate) struct Outlet {
    pub(crate) view: Arc<View>,
    pub(crate) outbox: Arc<SharedOutbox>,
    pub(crate) grace: Duration,
    pub(crate) stop: CancellationToken,
}

/// A health check server: what it is made of, until it [runs](Server::run).
///
/// hc-proxy's socket is a source and a consumer of every server that is not made
/// [`without_socket`](Server::without_socket) and has no [`files`](Server::files).
///
/// ```no_run
/// use hc_server::{Config, Server};
/// use hc_notifier::{Delivery, DeliveryError};
/// use hc_types::{Batch, Proposal, Source};
/// # struct Checks;
/// # impl Source for Checks { async fn next(&mut self) -> Option<Proposal> { None } }
/// # struct Print;
/// # impl Delivery for Print {
/// #     async fn ready(&self) {}
/// #     async fn deliver(&self, _: Batch) -> Result<(), DeliveryError> { Ok(()) }
/// # }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// Server::new(Config::default()).source("mine", Checks).delivery(Print).run().await
/// # }
/// ```
#[must_use = "a server does nothing until it runs"]
pub struct Server {
    pub(crate) config: Config,
    pub(crate) socket: bool,
    pub(crate) confine: bool,
    pub(crate) signals: Option<Signals>,
    pub(crate) files: Option<FileChecks>,
    pub(crate) command_runner: Option<UnixStream>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) sources: Vec<(Arc<str>, StartSource)>,
    pub(crate) deliveries: Vec<StartDelivery>,
    pub(crate) observers: Vec<Arc<dyn Observer>>,
    pub(crate) fleet_store: Option<FleetStore>,
}

impl Server {
    /// A server with hc-proxy's socket, which runs until it is killed, unconfined.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            socket: true,
            confine: false,
            signals: None,
            files: None,
            command_runner: None,
            shutdown: CancellationToken::new(),
            sources: Vec::new(),
            deliveries: Vec::new(),
            observers: Vec::new(),
            fleet_store: None,
        }
    }

    /// One more source of checks. Its checks run beside those of other sources; of an id or a name
    /// that two use, the first has it, and the other hears why its check does not run, under this
    /// `name` of the first.
    ///
    /// A source that ends leaves its checks running.
    pub fn source<S: Source>(mut self, name: impl Into<Arc<str>>, source: S) -> Self {
        self.sources.push((name.into(), start_source(source)));
        self
    }

    /// Checks from files that have been read, in place of hc-proxy's socket. They are read again on
    /// SIGHUP, over the admin API, and when they change if `[source] watch` says so. A server whose
    /// configuration has `kind = "file"` and that is not given any reads them at its start.
    pub fn files(mut self, files: FileChecks) -> Self {
        self.files = Some(files);
        self
    }

    /// One more consumer of statuses. It has an outbox of its own: one that hangs delays no other.
    pub fn delivery<D: Delivery>(mut self, delivery: D) -> Self {
        self.deliveries.push(start_delivery(delivery));
        self
    }

    /// Sees every update of every check, on the thread of its shard.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// The server is a node of a fleet that shares this store, in place of etcd.
    pub fn fleet_store(mut self, store: FleetStore) -> Self {
        self.fleet_store = Some(store);
        self
    }

    /// Does without hc-proxy's socket.
    pub fn without_socket(mut self) -> Self {
        self.socket = false;
        self
    }

    /// Gives up what checking does not need, once everything is open (`hc-sandbox`). Sources and
    /// consumers must have open by then what they use.
    pub fn confined(mut self, confine: bool) -> Self {
        self.confine = confine;
        self
    }

    /// The first signal of these that ends the server cancels its shutdown token.
    pub fn signals(mut self, signals: Signals) -> Self {
        self.signals = Some(signals);
        self
    }

    /// The link to the process that runs the commands of sinks, from
    /// [`sinks::commands::start`](crate::sinks::commands::start).
    pub fn command_runner(mut self, link: Option<UnixStream>) -> Self {
        self.command_runner = link;
        self
    }

    /// Ends in order when `shutdown` is cancelled.
    pub fn shutdown(mut self, shutdown: CancellationToken) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// Runs the server until its shutdown.
    ///
    /// All threads are started at the beginning: a system that has none left later stops nothing.
    ///
    /// # Errors
    /// When something cannot be opened or started, and when a part of the server ends by itself.
    ///
    /// # Cancel safety
    /// Dropping the future ends everything at once: no last snapshot is written, and nothing more
    /// is delivered.
    pub async fn run(self) -> Result<()> {
        app::run(self).await
    }
}

/// Drives a source.
pub(crate) fn start_source<S: Source>(source: S) -> StartSource {
    Box::new(|intake, stop| Box::pin(pump(source, intake, stop)))
}

/// Drives a consumer with an outbox of its own.
pub(crate) fn start_delivery<D: Delivery>(delivery: D) -> StartDelivery {
    Box::new(|Outlet { view, outbox, grace, stop }| {
        Box::pin(async move {
            NotifierTask::new(view, outbox, delivery, grace, stop).run().await;
        })
    })
}
