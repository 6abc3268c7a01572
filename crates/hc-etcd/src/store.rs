//! The tasks of the way to etcd.

use std::sync::Arc;
use std::time::Duration;

use hc_fleet::{NodeName, Request, StoreEvent};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::carry::Carrier;
use crate::client::{Client, Shared};
use crate::endpoint::Resolve;
use crate::follow::Follower;
use crate::upkeep::Upkeep;
use crate::{EtcdConfig, EtcdConfigError};

/// How many requests wait behind the one that is carried out.
const WAITING: usize = 64;
/// How long the end waits for the lease to be revoked.
const FAREWELL: Duration = Duration::from_secs(1);

/// The way from one node to etcd.
pub struct Store {
    shared: Shared,
    name: NodeName,
}

impl Store {
    /// Of the node with this name. Reads the files that `config` names; connects nowhere.
    ///
    /// # Errors
    /// A setting cannot be used, or a file not be read.
    pub fn new(config: EtcdConfig, name: NodeName) -> Result<Self, EtcdConfigError> {
        Ok(Self { shared: Shared::new(config)?, name })
    }

    /// Finds the hosts of endpoints by `resolver`. Without it by the system, on a thread that the
    /// runtime keeps for what blocks.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Arc<dyn Resolve>) -> Self {
        self.shared.set_resolver(resolver);
        self
    }

    /// Carries out requests and tells what the store says, until `stop` or until nobody can make
    /// requests or hear events any more. Then it revokes the lease that the node has, for a second at
    /// most.
    ///
    /// Requests are carried out one by one in their order, but for those to keep a lease alive, which
    /// wait for none of the others. Each has its answer within the life of a lease, or soon after it;
    /// one that finds 64 waiting is refused. While `events` is full nothing is carried out and nothing
    /// is read, so whoever calls takes events while it waits for room for a request.
    ///
    /// # Cancel safety
    /// Dropping the future ends everything at once; the lease ends by itself.
    pub async fn run(
        self,
        requests: mpsc::Receiver<Request>,
        events: mpsc::Sender<StoreEvent>,
        stop: CancellationToken,
    ) {
        let Self { shared, name } = self;
        let shared = Arc::new(shared);
        let calls = Client::new(shared.clone());
        let follower = Follower::new(Client::new(shared.clone()), events.clone());
        let is_full = Notify::new();
        let carrier = Carrier::new(&calls, &name);
        let (to_lease, of_lease) = mpsc::channel(WAITING);
        let (to_rest, of_rest) = mpsc::channel(WAITING);
        tokio::select! {
            () = stop.cancelled() => {}
            () = events.closed() => {}
            () = sort(requests, &to_lease, &to_rest, &events) => {}
            () = lane(&carrier, of_lease, &events, shared.settings.config.ttl, &is_full) => {}
            () = lane(&carrier, of_rest, &events, shared.settings.config.ttl, &is_full) => {}
            () = Box::pin(follower.run()) => {}
            () = Box::pin(Upkeep::new(&calls).run(&is_full)) => {}
        }
        if let Some(term) = carrier.term() {
            let _ = timeout(FAREWELL, Box::pin(carrier.revoke(term))).await;
        }
    }
}

/// Gives each request to its lane.
async fn sort(
    mut requests: mpsc::Receiver<Request>,
    lease: &mpsc::Sender<Request>,
    rest: &mpsc::Sender<Request>,
    events: &mpsc::Sender<StoreEvent>,
) {
    while let Some(request) = requests.recv().await {
        let lane = if matches!(request, Request::KeepAlive(_)) { lease } else { rest };
        if let Err(refused) = lane.try_send(request)
            && let Some(event) = Carrier::refused(&refused.into_inner())
            && events.send(event).await.is_err()
        {
            return;
        }
    }
}

/// Carries out one request after the other.
async fn lane(
    carrier: &Carrier<'_>,
    mut requests: mpsc::Receiver<Request>,
    events: &mpsc::Sender<StoreEvent>,
    limit: Duration,
    is_full: &Notify,
) {
    while let Some(request) = requests.recv().await {
        let unfinished = Carrier::unfinished(&request);
        let told = match timeout(limit, Box::pin(carrier.carry(request))).await {
            Ok(told) => told,
            Err(_) => unfinished.into_iter().collect(),
        };
        for event in told {
            if let StoreEvent::NotWritten(_, why) | StoreEvent::Failed(why) = &event
                && why.contains("database space exceeded")
            {
                is_full.notify_one();
            }
            if events.send(event).await.is_err() {
                return;
            }
        }
    }
}
