//! A consumer of notifications that does what the test says, and a task that delivers to it.
#![allow(dead_code, reason = "each file of tests uses its part")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hc_notifier::{Delivery, DeliveryError, NotifierConfig, NotifierTask, SharedOutbox};
use hc_types::{
    Batch, CheckId, CheckSpec, CheckStatus, Evidence, Failure, Health, Incarnation, Outcome, ProbeSpec,
    Progress, Sink, Status, StatusUpdate, Target, TcpProbe, Timing,
};
use hc_view::{Outlet, View, ViewConfig};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// A batch as the consumer gets it.
#[derive(Debug)]
pub(crate) struct Told {
    /// Milliseconds since the rig began.
    pub(crate) at: u128,
    pub(crate) batch: Vec<CheckStatus>,
    pub(crate) generation: Option<u64>,
}

impl Told {
    pub(crate) fn ids(&self) -> Vec<u64> {
        self.batch.iter().map(|told| told.id.0).collect()
    }

    pub(crate) fn states(&self) -> Vec<(u64, Health)> {
        self.batch.iter().map(|told| (told.id.0, told.status.health)).collect()
    }
}

/// A batch that the consumer has not answered yet.
pub(crate) struct Arrival {
    pub(crate) told: Told,
    pub(crate) answer: oneshot::Sender<Result<(), DeliveryError>>,
}

struct Consumer {
    start: Instant,
    arrivals: mpsc::Sender<Arrival>,
    present: watch::Receiver<bool>,
}

impl Delivery for Consumer {
    async fn ready(&self) {
        if self.present.clone().wait_for(|present| *present).await.is_err() {
            std::future::pending().await
        }
    }

    async fn deliver(&self, batch: Batch) -> Result<(), DeliveryError> {
        let Batch { generation, statuses: batch } = batch;
        let (answer, answered) = oneshot::channel();
        let at = self.start.elapsed().as_millis();
        let arrival = Arrival { told: Told { at, batch, generation }, answer };
        self.arrivals.send(arrival).await.map_err(|_| DeliveryError::new("nobody takes it"))?;
        answered.await.unwrap_or_else(|_| Err(DeliveryError::new("no answer")))
    }
}

pub(crate) struct Rig {
    pub(crate) view: Arc<View>,
    pub(crate) outbox: Arc<SharedOutbox>,
    pub(crate) arrivals: mpsc::Receiver<Arrival>,
    pub(crate) present: watch::Sender<bool>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinSet<usize>,
}

/// Whatever is waited for comes within this time of the paused clock, or the test fails.
pub(crate) const SOON: Duration = Duration::from_secs(3600);

/// A task with a grace of a second, which has begun to wait, and a consumer that is there.
pub(crate) async fn rig(config: NotifierConfig) -> Rig {
    let [rig] = rigs(config).await;
    rig
}

/// Several of them, with one view.
pub(crate) async fn rigs<const N: usize>(config: NotifierConfig) -> [Rig; N] {
    let outboxes: [_; N] = std::array::from_fn(|_| Arc::new(SharedOutbox::new(&config)));
    let outlets = outboxes.iter().map(|outbox| outbox.clone() as Arc<dyn Outlet>);
    let view = Arc::new(View::new(&ViewConfig::default(), outlets.collect()));
    let rigs = outboxes.map(|outbox| {
        let view = view.clone();
        let (arrive, arrivals) = mpsc::channel(1);
        let (present, is_present) = watch::channel(true);
        let shutdown = CancellationToken::new();
        let consumer = Consumer { start: Instant::now(), arrivals: arrive, present: is_present };
        let grace = Duration::from_secs(1);
        let notifier = NotifierTask::new(view.clone(), outbox.clone(), consumer, grace, shutdown.clone());
        let mut task = JoinSet::new();
        task.spawn(notifier.run());
        Rig { view, outbox, arrivals, present, shutdown, task }
    });
    tokio::task::yield_now().await;
    rigs
}

impl Rig {
    /// A check begins and has its first status.
    pub(crate) fn first(&self, id: u64, health: Health) {
        self.view.begin(CheckId(id), Incarnation(0), &update(id, Health::Unknown).spec);
        self.record(id, health);
    }

    pub(crate) fn record(&self, id: u64, health: Health) {
        self.view.record(&mut vec![update(id, health)]);
    }

    /// The next batch, not answered.
    pub(crate) async fn arrival(&mut self) -> Arrival {
        timeout(SOON, self.arrivals.recv()).await.expect("it does not come").expect("the task runs")
    }

    /// The next batch, taken.
    pub(crate) async fn accept(&mut self) -> Told {
        let Arrival { told, answer } = self.arrival().await;
        answer.send(Ok(())).expect("the task waits for the answer");
        told
    }

    /// The next batch, refused.
    pub(crate) async fn refuse(&mut self) {
        let arrival = self.arrival().await;
        arrival.answer.send(Err(DeliveryError::new("refused"))).expect("the task waits for the answer");
        // It learns so before the test goes on.
        tokio::task::yield_now().await;
    }
}

/// A transition of the first life of a check.
pub(crate) fn update(id: u64, health: Health) -> StatusUpdate {
    let second = Duration::from_secs(1);
    let target = Target::plain("192.0.2.1".parse().unwrap(), 80);
    let spec =
        CheckSpec::new(target, ProbeSpec::Tcp(TcpProbe::default()), Timing::every(second).timeout(second))
            .unwrap();
    let outcome = match health {
        Health::Healthy => Outcome::PASS,
        Health::Unhealthy | Health::Unknown => Outcome::Fail(Failure::Refused),
    };
    let status = Status {
        health,
        last_check: Some(SystemTime::UNIX_EPOCH + second),
        duration: Duration::from_millis(3),
        failures: u64::from(health == Health::Unhealthy),
        successes: u64::from(health == Health::Healthy),
        outcome: Some(outcome),
        held: None,
        note: None,
    };
    StatusUpdate {
        id: CheckId(id),
        incarnation: Incarnation(0),
        spec: Arc::new(spec),
        status,
        transition: true,
        reportable: true,
        progress: Progress::default(),
        evidence: Evidence::default(),
    }
}
