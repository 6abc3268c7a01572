//! States at the time of a scrape.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};

/// States at the time of a scrape. Instants, not ages: an age is true for a moment only.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// When the process started.
    pub started: Option<SystemTime>,
    /// Whether the checker can do its work.
    pub ready: bool,
    /// Checks by health.
    pub checks: Checks,
    /// The threads that run probes, in their order.
    pub shards: Vec<Shard>,
    /// The consumers.
    pub sinks: Vec<Sink>,
    /// Where the checks come from.
    pub source: Source,
    /// Checks that have series of their own.
    pub series: Vec<CheckSeries>,
    /// Checks that asked for series of their own and have none, because there are too many.
    pub series_left_out: u64,
}

/// Checks by health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// Those whose backend may get traffic.
    pub healthy: u64,
    /// Those whose backend may not.
    pub unhealthy: u64,
    /// Those without a verdict yet.
    pub unknown: u64,
    /// Those, of any health, whose health is held because of trouble on this machine.
    pub held: u64,
}

/// A thread that runs probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Checks that it has.
    pub checks: u64,
    /// Probes that run now.
    pub in_flight: u64,
    /// When it last went through its loop.
    pub heartbeat: SystemTime,
}

/// A consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink {
    /// Its name.
    pub name: String,
    /// Checks with something that it has not taken yet.
    pub pending: u64,
    /// Since when the oldest of that waits.
    pub oldest_pending: Option<SystemTime>,
    /// Batches that it took.
    pub delivered: u64,
    /// Batches that it did not.
    pub failed: u64,
}

/// Where the checks come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// When the set of checks last changed, or was confirmed.
    pub applied: Option<SystemTime>,
    /// Sets that took effect.
    pub applied_total: u64,
    /// Sets that were refused as a whole.
    pub failed_total: u64,
    /// Checks of the latest set that were rejected.
    pub rejected: u64,
}

/// One check with a series of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckSeries {
    /// Its name.
    pub check: String,
    /// Its group.
    pub group: String,
    /// Whether its backend may get traffic.
    pub healthy: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HealthLabel {
    health: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShardLabel {
    shard: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SinkLabel {
    sink: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SeriesLabels {
    check: String,
    group: String,
}

impl Snapshot {
    pub(crate) fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("hc");
        if let Some(started) = self.started {
            let started = ConstGauge::new(seconds(started));
            registry.register_with_unit("start_time", "When the process started", Unit::Seconds, started);
        }
        let ready = ConstGauge::new(i64::from(self.ready));
        registry.register("ready", "Whether the checker can do its work (1) or not (0)", ready);
        self.checks(&mut registry);
        self.shards(&mut registry);
        self.sinks(&mut registry);
        self.source(&mut registry);
        self.series(&mut registry);
        registry
    }

    fn checks(&self, registry: &mut Registry) {
        let checks = gauges(registry, "checks", "Checks, by health");
        let Checks { healthy, unhealthy, unknown, held } = self.checks;
        for (health, count) in [("healthy", healthy), ("unhealthy", unhealthy), ("unknown", unknown)] {
            checks.get_or_create(&HealthLabel { health }).set(whole(count));
        }
        let held = ConstGauge::new(whole(held));
        registry.register(
            "checks_held",
            "Checks whose health is held because of trouble on this machine",
            held,
        );
    }

    fn shards(&self, registry: &mut Registry) {
        let checks = gauges(registry, "shard_checks", "Checks of a shard");
        let in_flight = gauges(registry, "shard_probes_in_flight", "Probes that a shard runs now");
        let heartbeat: Family<ShardLabel, Gauge<f64, std::sync::atomic::AtomicU64>> = Family::default();
        registry.register_with_unit(
            "shard_heartbeat_timestamp",
            "When a shard last went through its loop",
            Unit::Seconds,
            heartbeat.clone(),
        );
        for (number, shard) in self.shards.iter().enumerate() {
            let label = ShardLabel { shard: number.to_string() };
            checks.get_or_create(&label).set(whole(shard.checks));
            in_flight.get_or_create(&label).set(whole(shard.in_flight));
            heartbeat.get_or_create(&label).set(seconds(shard.heartbeat));
        }
    }

    fn sinks(&self, registry: &mut Registry) {
        let pending =
            gauges(registry, "sink_pending_checks", "Checks with something that a sink has not taken yet");
        let oldest: Family<SinkLabel, Gauge<f64, std::sync::atomic::AtomicU64>> = Family::default();
        registry.register_with_unit(
            "sink_oldest_pending_timestamp",
            "Since when the oldest of what a sink has not taken waits; absent when nothing does",
            Unit::Seconds,
            oldest.clone(),
        );
        let delivered: Family<SinkLabel, prometheus_client::metrics::counter::Counter> = Family::default();
        registry.register("sink_batches", "Batches that a sink took", delivered.clone());
        let failed: Family<SinkLabel, prometheus_client::metrics::counter::Counter> = Family::default();
        registry.register(
            "sink_failures",
            "Batches that a sink did not take; they are tried again",
            failed.clone(),
        );
        for sink in &self.sinks {
            let label = SinkLabel { sink: sink.name.clone() };
            pending.get_or_create(&label).set(whole(sink.pending));
            delivered.get_or_create(&label).inc_by(sink.delivered);
            failed.get_or_create(&label).inc_by(sink.failed);
            if let Some(since) = sink.oldest_pending {
                oldest.get_or_create(&label).set(seconds(since));
            }
        }
    }

    fn source(&self, registry: &mut Registry) {
        let Source { applied, applied_total, failed_total, rejected } = self.source;
        if let Some(applied) = applied {
            let applied = ConstGauge::new(seconds(applied));
            registry.register_with_unit(
                "source_applied_timestamp",
                "When the set of checks last took effect",
                Unit::Seconds,
                applied,
            );
        }
        registry.register("source_sets", "Sets of checks that took effect", ConstCounter::new(applied_total));
        registry.register(
            "source_failures",
            "Sets of checks that were refused as a whole",
            ConstCounter::new(failed_total),
        );
        let rejected = ConstGauge::new(whole(rejected));
        registry.register("source_rejected_checks", "Checks of the latest set that were rejected", rejected);
    }

    fn series(&self, registry: &mut Registry) {
        let healthy = gauges(registry, "check_healthy", "Whether the backend of a check may get traffic");
        for series in &self.series {
            let labels = SeriesLabels { check: series.check.clone(), group: series.group.clone() };
            healthy.get_or_create(&labels).set(i64::from(series.healthy));
        }
        let left_out = ConstGauge::new(whole(self.series_left_out));
        registry.register(
            "check_series_left_out",
            "Checks that asked for series of their own and have none, because there are too many",
            left_out,
        );
    }
}

fn gauges<L>(registry: &mut Registry, name: &str, help: &str) -> Family<L, Gauge>
where
    L: Clone + std::hash::Hash + Eq + EncodeLabelSet + std::fmt::Debug + Send + Sync + 'static,
{
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
