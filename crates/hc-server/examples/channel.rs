//! A server inside another program: checks from a channel, changes of health to standard output.
//!
//! `cargo run -p hc-server --example channel -- 192.0.2.1:80 [2001:db8::1]:443` checks these
//! addresses by TCP.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hc_notifier::{Delivery, DeliveryError};
use hc_server::{Config, Server};
use hc_types::{
    Batch, CheckId, CheckSpec, Health, ProbeSpec, Proposal, SetChange, Source, Target, TcpProbe, Timing,
};
use tokio::sync::mpsc;

/// All checks that are to run from now on.
pub(crate) type Checks = Vec<(CheckId, Arc<CheckSpec>)>;

/// A source: each message of the channel is the whole set.
pub(crate) struct Channel(pub(crate) mpsc::Receiver<Checks>);

impl Source for Channel {
    async fn next(&mut self) -> Option<Proposal> {
        let checks = self.0.recv().await?;
        Some(Proposal::new(SetChange::Full { generation: None, checks }))
    }
}

/// A consumer: a line for each change of health.
pub(crate) struct Lines<W>(pub(crate) Mutex<(W, HashMap<CheckId, Health>)>);

impl<W: Write + Send + 'static> Delivery for Lines<W> {
    async fn ready(&self) {}

    async fn deliver(&self, batch: Batch) -> Result<(), DeliveryError> {
        let (output, known) =
            &mut *self.0.lock().map_err(|_| DeliveryError::new("an earlier write panicked"))?;
        for check in batch.statuses {
            if known.insert(check.id, check.status.health) != Some(check.status.health) {
                writeln!(output, "{} is {}", check.spec.target(), check.status.health)
                    .map_err(DeliveryError::new)?;
            }
        }
        Ok(())
    }
}

/// A TCP check every second, which is unhealthy after its first failure.
///
/// # Errors
/// When no backend can have this address.
pub(crate) fn check(id: u64, address: std::net::SocketAddr) -> anyhow::Result<(CheckId, Arc<CheckSpec>)> {
    let target = Target::plain(address.ip(), address.port());
    let second = Duration::from_secs(1);
    let timing = Timing::every(second).timeout(second);
    let spec = CheckSpec::new(target, ProbeSpec::Tcp(TcpProbe::default()), timing)?;
    Ok((CheckId(id), Arc::new(spec)))
}

#[tokio::main(flavor = "current_thread")]
#[allow(dead_code, reason = "the test of this example has its own")]
async fn main() -> anyhow::Result<()> {
    let addresses = std::env::args().skip(1).map(|word| word.parse());
    let checks = (1..).zip(addresses).map(|(id, address)| check(id, address?)).collect::<Result<_, _>>()?;
    let (sender, receiver) = mpsc::channel(1);
    sender.send(checks).await?;
    let lines = Lines(Mutex::new((io::stdout(), HashMap::new())));
    Server::new(Config::default())
        .without_socket()
        .source("channel", Channel(receiver))
        .delivery(lines)
        .run()
        .await
}
