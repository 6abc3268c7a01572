//! How evenly probes arrive over the interval: the largest share of them in any 1 % of it.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hc_checkers::{Checkers, CheckersConfig};
use hc_manager::{Manager, ManagerConfig};
use hc_types::{CheckId, CheckSpec, ProbeResult, ProbeSpec, Prober, SetChange, Target, TcpProbe, Timing};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Options;
use crate::clock::now;
use crate::nobody::Nobody;
use crate::report::{Report, Table};
use crate::roles::{self, PORT, Serves};

const INTERVAL: Duration = Duration::from_secs(10);
const INTERVALS: u32 = 10;
const QUICK_INTERVALS: u32 = 2;

/// Checks, and how many addresses they are spread over.
const SHAPES: [(usize, usize); 4] = [(400, 1), (400, 400), (100_000, 1_000), (100_000, 60_000)];

/// The real probes, with the moment of each start noted.
struct Noting {
    checkers: Checkers,
    starts: Arc<Mutex<Vec<Instant>>>,
}

impl Prober for Noting {
    fn probe(&self, spec: Arc<CheckSpec>) -> impl Future<Output = ProbeResult> + 'static {
        if let Ok(mut starts) = self.starts.lock() {
            starts.push(now());
        }
        Prober::probe(&self.checkers, spec)
    }
}

/// Runs the benchmark.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let dir = tempfile::tempdir()?;
    let _backend = roles::start_backend(dir.path(), Serves::Tcp)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut rows = Vec::new();
    let intervals = if options.quick { QUICK_INTERVALS } else { INTERVALS };
    for (checks, addresses) in SHAPES {
        rows.push(runtime.block_on(shape(checks, addresses, intervals))?);
    }
    Ok(Table::new(
        format!("TCP checks every {} s, over {intervals} intervals", INTERVAL.as_secs()),
        &[
            "checks",
            "addresses",
            "largest share in 1 % of an interval, first interval, %",
            "from the second on, %",
        ],
        rows,
    )
    .into())
}

async fn shape(count: usize, addresses: usize, intervals: u32) -> Result<Vec<String>> {
    let starts = Arc::new(Mutex::new(Vec::new()));
    let config = ManagerConfig::default().shards(NonZeroUsize::new(2).context("2 is not 0")?);
    let noting = starts.clone();
    let make = move || Noting { checkers: Checkers::new(CheckersConfig::default()), starts: noting.clone() };
    let (manager, task) = Manager::start(config, make, Arc::new(Nobody))?;
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(task.run(stop.clone()));
    let checks = (0..count).map(|n| check(n, n % addresses)).collect::<Result<Vec<_>>>()?;
    manager.apply(SetChange::Full { generation: None, checks }).await?;
    tokio::time::sleep(INTERVAL * (intervals + 2)).await;
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let starts = starts.lock().map(|mut starts| std::mem::take(&mut *starts)).unwrap_or_default();
    let begin = *starts.iter().min().context("nothing was probed")?;
    let first = fullest(&starts, begin, INTERVAL, count);
    // The first probe of the last check comes within an interval, its second one within another.
    let steady = fullest(&starts, begin + INTERVAL, INTERVAL * intervals, count);
    ensure!(starts.len() > count * intervals as usize, "only {} probes", starts.len());
    Ok(vec![count.to_string(), addresses.to_string(), format!("{first:.2}"), format!("{steady:.2}")])
}

/// The most probes that start within 1 % of an interval, as per cent of the checks.
#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
fn fullest(starts: &[Instant], from: Instant, length: Duration, checks: usize) -> f64 {
    let mut at: Vec<Duration> = starts
        .iter()
        .filter_map(|start| start.checked_duration_since(from))
        .filter(|since| *since < length)
        .collect();
    at.sort_unstable();
    let end = |begin: &Duration| at.partition_point(|at| *at < *begin + INTERVAL / 100);
    let most = at.iter().enumerate().map(|(index, begin)| end(begin) - index).max().unwrap_or_default();
    most as f64 * 100.0 / checks as f64
}

fn check(n: usize, address: usize) -> Result<(CheckId, Arc<CheckSpec>)> {
    let target = Target::plain(roles::address(address).parse()?, PORT);

    let spec = CheckSpec::new(
        target,
        ProbeSpec::Tcp(TcpProbe::default()),
        Timing::every(INTERVAL).timeout(Duration::from_secs(1)).retries(2),
    )?;
    Ok((CheckId(n as u64), Arc::new(spec)))
}
