//! A sink of your own: where checks stand, written to a pipe, a socket or standard output.
//!
//! The notifier decides what is delivered when, and sends again what did not arrive; a sink only
//! says whether it did. `cargo run -p hc-notifier --example own-sink` tells of one check.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use hc_notifier::{Delivery, DeliveryError, NotifierConfig, NotifierTask, SharedOutbox};
use hc_types::{
    Batch, CheckId, CheckSpec, Evidence, Health, Incarnation, Outcome, ProbeSpec, Progress, Sink as _,
    Status, StatusUpdate, Target, Timing,
};
use hc_view::{View, ViewConfig};
use tokio_util::sync::CancellationToken;

/// Writes a line for each check of a batch.
pub(crate) struct Lines<W>(pub(crate) Arc<Mutex<W>>);

impl<W: Write + Send + 'static> Delivery for Lines<W> {
    /// Resolves when it can take a batch. A sink over the network connects here.
    async fn ready(&self) {}

    /// An error means that the batch may not have arrived: it is sent again, with what is true by
    /// then.
    async fn deliver(&self, batch: Batch) -> Result<(), DeliveryError> {
        let mut output = self.0.lock().map_err(|_| DeliveryError::new("an earlier write panicked"))?;
        for check in batch.statuses {
            writeln!(output, "{} is {}", check.spec.target(), check.status.health)
                .map_err(DeliveryError::new)?;
        }
        output.flush().map_err(DeliveryError::new)
    }
}

/// Tells `output` of one check that is healthy. In a program the updates come from hc-manager,
/// whose `Sink` the view is.
pub(crate) async fn run<W: Write + Send + 'static>(
    output: Arc<Mutex<W>>,
) -> Result<(), Box<dyn std::error::Error>> {
    let outbox = Arc::new(SharedOutbox::new(&NotifierConfig::default()));
    let view = Arc::new(View::new(&ViewConfig::default(), vec![outbox.clone()]));
    let stop = CancellationToken::new();
    let grace = Duration::from_secs(2);
    let task = NotifierTask::new(view.clone(), outbox, Lines(output), grace, stop.clone());

    let second = Duration::from_secs(1);
    let target = Target::plain("192.0.2.1".parse()?, 0);
    let spec = Arc::new(CheckSpec::new(target, ProbeSpec::Icmp, Timing::every(second).timeout(second))?);
    let (id, incarnation) = (CheckId(1), Incarnation(1));
    view.begin(id, incarnation, &spec);
    let status = Status {
        health: Health::Healthy,
        last_check: Some(SystemTime::now()),
        successes: 1,
        outcome: Some(Outcome::PASS),
        ..Status::NEW
    };
    let (progress, evidence) = (Progress::default(), Evidence::default());
    let update = StatusUpdate {
        id,
        incarnation,
        spec,
        status,
        transition: true,
        reportable: true,
        progress,
        evidence,
    };
    view.record(&mut vec![update]);

    // A task that is to end delivers first what is pending, for as long as its grace period.
    stop.cancel();
    match task.run().await {
        0 => Ok(()),
        left => Err(format!("{left} checks could not be told").into()),
    }
}

#[tokio::main(flavor = "current_thread")]
#[allow(dead_code, reason = "the test of this example has its own")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    run(Arc::new(Mutex::new(io::stdout()))).await
}
