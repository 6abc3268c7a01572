//! The state of the server in a few lines of the log, on SIGUSR1.

use std::sync::Arc;

use anyhow::Result;
use hc_manager::Manager;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::server::{Consumer, Consumers};

/// Shards that get a line of their own; on a larger machine the rest is in the sums.
const SHARDS: usize = 32;

/// Writes the state to the log each time that `asked` is notified.
pub(crate) async fn serve(
    asked: Arc<Notify>,
    manager: Manager,
    consumers: Consumers,
    stop: CancellationToken,
) -> Result<()> {
    // Notifications while a dump is written are one more dump.
    while stop.run_until_cancelled(asked.notified()).await.is_some() {
        write(&manager, &consumers);
    }
    Ok(())
}

/// At most [`SHARDS`] lines, one for each label of a local fault, and three.
fn write(manager: &Manager, consumers: &Consumers) {
    let stats = manager.stats();
    info!(
        shards = stats.shards,
        checks = stats.checks,
        in_flight = stats.in_flight,
        waiting = stats.waiting,
        started = stats.started,
        lateness_p50 = ?stats.lateness.p50(),
        lateness_p99 = ?stats.lateness.p99(),
        lateness_max = ?stats.lateness.max(),
        stalls = stats.stalls,
        stalled = ?stats.stalled,
        "state: checks"
    );
    let results: Vec<String> = stats
        .results
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(label, n)| format!("{label}={n}"))
        .collect();
    info!(results = results.join(" "), "state: probes ended, by label");
    for (label, checks) in stats.held() {
        info!(label, checks, "state: checks held because of this machine");
    }
    for Consumer { name: consumer, outbox, .. } in consumers.iter() {
        let queue = outbox.stats();
        info!(
            consumer = &**consumer,
            checks = queue.entries,
            known = queue.known,
            untold = queue.undelivered,
            oldest_untold = ?queue.oldest_undelivered,
            under_way = queue.in_flight,
            delivered = queue.delivered,
            failed = queue.failed,
            last_error = queue.last_error.as_deref().filter(|_| queue.failures_in_a_row > 0),
            generation = queue.generation,
            "state: news for the engine"
        );
    }
    for (beat, stats) in manager.heartbeats().into_iter().zip(manager.shard_stats()).take(SHARDS) {
        info!(
            shard = beat.shard,
            overdue = ?beat.overdue,
            checks = stats.checks,
            in_flight = stats.in_flight,
            waiting = stats.waiting,
            started = stats.started,
            lateness_p99 = ?stats.lateness.p99(),
            lateness_max = ?stats.lateness.max(),
            stalls = stats.stalls,
            stalled = ?stats.stalled,
            "state: shard"
        );
    }
}
