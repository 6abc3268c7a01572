//! How soon 10,000 new checks run, and how punctually they go on.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use hc_checkers::{Checkers, CheckersConfig};
use hc_manager::{Manager, ManagerConfig};
use hc_types::{
    CheckId, CheckSpec, Incarnation, ProbeSpec, SetChange, Sink, StatusUpdate, Target, TcpProbe, Timing,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Options;
use crate::clock::now;
use crate::report::{Report, Table};
use crate::roles::{self, PORT, Serves};

const CHECKS: usize = 10_000;
const INTERVAL: Duration = Duration::from_secs(5);
const STEADY: Duration = Duration::from_secs(20);

/// Notes when each check has its first result.
#[derive(Default)]
struct FirstResults(Mutex<(HashSet<CheckId>, Option<Instant>)>);

impl Sink for FirstResults {
    fn begin(&self, _: CheckId, _: Incarnation, _: &Arc<CheckSpec>) {}

    fn record(&self, updates: &mut Vec<StatusUpdate>) {
        let Ok(mut seen) = self.0.lock() else { return };
        seen.0.extend(updates.drain(..).map(|update| update.id));
        if seen.0.len() == CHECKS && seen.1.is_none() {
            seen.1 = Some(now());
        }
    }

    fn forget(&self, _: CheckId, _: Incarnation) {}

    fn in_effect(&self, _: Option<u64>, _: bool) {}
}

/// Runs the benchmark.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let dir = tempfile::tempdir()?;
    let _backend = roles::start_backend(dir.path(), Serves::Tcp)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut rows = Vec::new();
    let steady = if options.quick { STEADY / 4 } else { STEADY };
    for round in 1..=options.rounds() {
        let figures = runtime.block_on(one_round(steady))?;
        rows.push([vec![round.to_string()], figures].concat());
    }
    Ok(Table::new(
        format!("{CHECKS} TCP checks, every {} s, each to an address of its own", INTERVAL.as_secs()),
        &[
            "round",
            "set scheduled, ms",
            "first result of the last, s",
            "lateness p50, ms",
            "p99, ms",
            "max, ms",
            "starts",
        ],
        rows,
    )
    .into())
}

async fn one_round(steady: Duration) -> Result<Vec<String>> {
    let results = Arc::new(FirstResults::default());
    let config = ManagerConfig::default().shards(NonZeroUsize::MIN);
    let (manager, task) =
        Manager::start(config, || Checkers::new(CheckersConfig::default()), results.clone())?;
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(task.run(stop.clone()));

    let checks = (0..CHECKS).map(check).collect::<Result<Vec<_>>>()?;
    let begin = now();
    manager.apply(SetChange::Full { generation: None, checks }).await?;
    let scheduled = begin.elapsed();
    tokio::time::sleep(INTERVAL + Duration::from_secs(1)).await;
    let last = results.0.lock().ok().and_then(|seen| seen.1).context("not every check had a result")?;

    manager.reset_lateness();
    tokio::time::sleep(steady).await;
    let lateness = manager.stats().lateness;
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let millis = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
    Ok(vec![
        millis(scheduled),
        format!("{:.2}", (last - begin).as_secs_f64()),
        millis(lateness.p50()),
        millis(lateness.p99()),
        millis(lateness.max()),
        lateness.count().to_string(),
    ])
}

fn check(n: usize) -> Result<(CheckId, Arc<CheckSpec>)> {
    let target = Target::plain(roles::address(n).parse()?, PORT);
    let spec = CheckSpec::new(
        target,
        ProbeSpec::Tcp(TcpProbe::default()),
        Timing::every(INTERVAL).timeout(Duration::from_secs(1)).retries(2),
    )?;
    Ok((CheckId(n as u64), Arc::new(spec)))
}
