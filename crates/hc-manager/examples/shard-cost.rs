//! What the manager itself costs: a change of the set, an export, and one probe that does nothing.
//!
//! `cargo run --release -p hc-manager --example shard-cost`
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark reads the clock and prints")]
#![allow(clippy::manual_async_fn, reason = "an async fn would borrow the prober, which the trait forbids")]

use std::error::Error;
use std::net::Ipv4Addr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hc_manager::{Manager, ManagerConfig};
use hc_types::{
    CheckId, CheckSpec, Incarnation, Outcome, ProbeResult, ProbeSpec, Prober, SetChange, Sink, StatusUpdate,
    Target, TcpProbe, Timing,
};
use tokio_util::sync::CancellationToken;

struct Nothing;

impl Prober for Nothing {
    fn probe(&self, _spec: Arc<CheckSpec>) -> impl Future<Output = ProbeResult> + 'static {
        // As a real probe it gives way once.
        async {
            tokio::task::yield_now().await;
            Outcome::PASS.into()
        }
    }
}

impl Sink for Nothing {
    fn begin(&self, _: CheckId, _: Incarnation, _: &Arc<CheckSpec>) {}
    fn record(&self, updates: &mut Vec<StatusUpdate>) {
        updates.clear();
    }
    fn forget(&self, _: CheckId, _: Incarnation) {}
    fn in_effect(&self, _: Option<u64>, _: bool) {}
}

type Checks = Vec<(CheckId, Arc<CheckSpec>)>;

fn checks(count: u32, first_id: u64, interval: Duration) -> Result<Checks, Box<dyn Error>> {
    let check = |n: u32| {
        let target = Target::plain(Ipv4Addr::from(0x0a00_0000 + n).into(), 80);
        let probe = ProbeSpec::Tcp(TcpProbe::default());
        let spec = CheckSpec::new(
            target,
            probe,
            Timing::every(interval).timeout(Duration::from_secs(1)).retries(2),
        )?;
        Ok((CheckId(first_id + u64::from(n)), Arc::new(spec)))
    };
    (0..count).map(check).collect()
}

async fn timed(what: &str, manager: &Manager, checks: Checks) -> Result<(), Box<dyn Error>> {
    let (count, begin) = (checks.len(), Instant::now());
    manager.apply(SetChange::Full { generation: None, checks }).await?;
    println!("{count:>7} checks, {what:<22} {:>9.2?}", begin.elapsed());
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let minute = Duration::from_secs(60);
        for count in [10_000, 100_000] {
            let at_once = NonZeroUsize::MAX;
            let config = ManagerConfig::default().first_probes_per_second(at_once);
            let (manager, task) = Manager::start(config, || Nothing, Arc::new(Nothing))?;
            let stop = CancellationToken::new();
            let mut tasks = tokio::task::JoinSet::new();
            tasks.spawn(task.run(stop.clone()));
            timed("new", &manager, checks(count, 0, minute)?).await?;
            timed("unchanged", &manager, checks(count, 0, minute)?).await?;
            timed("other ids", &manager, checks(count, 1 << 40, minute)?).await?;
            timed("other interval", &manager, checks(count, 1 << 40, minute * 2)?).await?;
            while manager.stats().ended("pass") < u64::from(count) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let begin = Instant::now();
            let exported = manager.export().await?.len();
            println!("{exported:>7} checks, {:<22} {:>9.2?}", "exported", begin.elapsed());
            manager.apply(SetChange::Full { generation: None, checks: Vec::new() }).await?;
            stop.cancel();
            tasks.join_next().await;
        }

        // One shard with more to do than it can: the time of a probe is what the loop costs.
        let config = ManagerConfig::default().shards(NonZeroUsize::MIN);
        let (manager, task) = Manager::start(config, || Nothing, Arc::new(Nothing))?;
        let stop = CancellationToken::new();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(task.run(stop.clone()));
        let checks = checks(50_000, 0, Duration::from_millis(10))?;
        manager.apply(SetChange::Full { generation: None, checks }).await?;
        let (before, begin) = (manager.stats().started, Instant::now());
        tokio::time::sleep(Duration::from_secs(3)).await;
        let probes = manager.stats().started - before;
        println!(
            "{probes:>7} probes of one shard, {:.0} ns each",
            begin.elapsed().as_nanos() as f64 / probes as f64
        );
        stop.cancel();
        tasks.join_next().await;
        Ok(())
    })
}
