//! What a snapshot of 100,000 checks costs, and how much later probes start because of it.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use hc_manager::{Manager, ManagerConfig};
use hc_types::{
    CheckId, CheckSpec, Outcome, ProbeResult, ProbeSpec, Prober, SetChange, Target, TcpProbe, Timing,
};
use rustix::time::{ClockId, clock_gettime};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::Options;
use crate::clock::now;
use crate::nobody::Nobody;
use crate::report::{Report, Table};

const CHECKS: u32 = 100_000;
/// 5,000 probes a second.
const INTERVAL: Duration = Duration::from_secs(20);
/// One measurement of lateness, with or without snapshots.
const SPELL: Duration = Duration::from_secs(5);
/// Between two snapshots: ten times as many as the longest pause of hc-server allows.
const PAUSE: Duration = Duration::from_millis(500);

/// A probe that takes a millisecond and passes.
#[derive(Clone, Copy)]
struct Passes;

#[allow(clippy::manual_async_fn, reason = "an async fn would borrow the prober, which the trait forbids")]
impl Prober for Passes {
    fn probe(&self, _spec: Arc<CheckSpec>) -> impl Future<Output = ProbeResult> + 'static {
        async {
            sleep(Duration::from_millis(1)).await;
            Outcome::PASS.into()
        }
    }
}

/// Runs the benchmark.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (manager, task) = Manager::start(ManagerConfig::default(), || Passes, Arc::new(Nobody))?;
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run(stop.clone()));
        let checks = (0..CHECKS).map(check).collect::<Result<Vec<_>>>()?;
        manager.apply(SetChange::Full { generation: None, checks }).await?;
        while manager.stats().ended("pass") < u64::from(CHECKS) {
            sleep(Duration::from_millis(100)).await;
        }
        let table = measure(&manager, options.rounds()).await?;
        stop.cancel();
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(table.into())
    })
}

async fn measure(manager: &Manager, rounds: usize) -> Result<Table> {
    let dir = tempfile::tempdir()?;
    let mut rows = Vec::new();
    for round in 1..=rounds {
        let (idle, without, _) = spell(manager, None).await?;
        let (busy, with, snapshots) = spell(manager, Some(dir.path())).await?;
        let cost = busy.saturating_sub(idle).as_secs_f64() * 1e3 / f64::from(snapshots.max(1));
        let millis = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1e3);
        rows.push(vec![
            round.to_string(),
            format!("{cost:.1}"),
            millis(without.0),
            millis(with.0),
            millis(without.1),
            millis(with.1),
        ]);
    }
    let bytes = std::fs::read_dir(dir.path())?.next().context("no snapshot was written")??.metadata()?.len();
    Ok(Table::new(
        format!(
            "Snapshots of {CHECKS} checks ({:.1} MiB), {} probes a second beside them",
            bytes as f64 / 1024.0 / 1024.0,
            u64::from(CHECKS) / INTERVAL.as_secs()
        ),
        &[
            "round",
            "CPU a snapshot, ms",
            "lateness p99 without, ms",
            "with, ms",
            "max without, ms",
            "with, ms",
        ],
        rows,
    ))
}

/// Processor time of this process, lateness (99th percentile and worst), and how many snapshots
/// were written.
async fn spell(
    manager: &Manager,
    snapshots: Option<&std::path::Path>,
) -> Result<(Duration, (Duration, Duration), u32)> {
    manager.reset_lateness();
    let begin = processor_time();
    let (mut next, mut written) = (tokio::time::Instant::from_std(now()) + PAUSE, 0);
    for _ in 0..SPELL.as_millis() / PAUSE.as_millis() {
        if let Some(dir) = snapshots {
            // As hc-server does it.
            let (records, dir) = (manager.export().await?, dir.to_owned());
            spawn_blocking(move || hc_snapshot::write(&dir, SystemTime::now(), &records, &[])).await??;
            written += 1;
        }
        sleep_until(next).await;
        next += PAUSE;
    }
    let lateness = manager.stats().lateness;
    Ok((processor_time() - begin, (lateness.p99(), lateness.max()), written))
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn check(n: u32) -> Result<(CheckId, Arc<CheckSpec>)> {
    let target = Target::plain(Ipv4Addr::from(0x0a00_0000 + n).into(), 80);
    let probe = ProbeSpec::Tcp(TcpProbe::default());
    let spec =
        CheckSpec::new(target, probe, Timing::every(INTERVAL).timeout(Duration::from_secs(1)).retries(2))?;
    Ok((CheckId(u64::from(n)), Arc::new(spec)))
}
