//! The whole manager in 30 lines: checks on a schedule, their state, and a line for each change of
//! health.
//!
//! `cargo run -p hc-manager --example whole-manager -- 192.0.2.1:80 [2001:db8::1]:443`

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hc_checkers::Checkers;
use hc_manager::{Manager, ManagerConfig};
use hc_types::{
    CheckId, CheckSpec, ProbeSpec, SetChange, Sink, SpecError, StatusUpdate, Target, TcpProbe, Timing,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How many changes may wait to be printed.
pub(crate) const ROOM: usize = 1024;

/// Writes each change of health as a line. A shard calls it, so it does not wait: what finds no
/// room is lost.
pub(crate) struct Lines(pub(crate) mpsc::Sender<String>);

impl Sink for Lines {
    fn record(&self, updates: &mut Vec<StatusUpdate>) {
        for update in updates.drain(..).filter(|update| update.transition) {
            let _ = self.0.try_send(format!("{} is {}", update.spec.target(), update.status.health));
        }
    }
}

/// A TCP check every second, which is unhealthy after its second failure.
pub(crate) fn checks(addresses: &[SocketAddr]) -> Result<SetChange, SpecError> {
    let second = Duration::from_secs(1);
    let timing = Timing::every(second).timeout(second).retries(1);
    let spec = |address: &SocketAddr| {
        let target = Target::plain(address.ip(), address.port());
        CheckSpec::new(target, ProbeSpec::Tcp(TcpProbe::default()), timing).map(Arc::new)
    };
    let checks = (1..).map(CheckId).zip(addresses).map(|(id, address)| Ok((id, spec(address)?)));
    Ok(SetChange::Full { generation: None, checks: checks.collect::<Result<_, _>>()? })
}

#[tokio::main(flavor = "current_thread")]
#[allow(dead_code, clippy::print_stdout, reason = "the test of this example has its own; a program talks")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addresses = std::env::args().skip(1).map(|word| word.parse()).collect::<Result<Vec<_>, _>>()?;
    let (lines, mut heard) = mpsc::channel(ROOM);
    let (manager, task) =
        Manager::start(ManagerConfig::default(), Checkers::default, Arc::new(Lines(lines)))?;
    // The task ends when this is cancelled; until then a failure of it is an error of ours.
    let stop = CancellationToken::new();
    let mut running = JoinSet::new();
    running.spawn(task.run(stop.clone()));
    manager.apply(checks(&addresses)?).await?;
    while let Some(line) = heard.recv().await {
        println!("{line}");
    }
    stop.cancel();
    running.join_all().await.into_iter().collect::<Result<(), _>>()?;
    Ok(())
}
