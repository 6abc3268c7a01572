//! States at the time of a scrape.

use std::time::{SystemTime, UNIX_EPOCH};

use hc_types::Counts;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
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
    pub checks: Counts,
    /// The threads that run probes, in their order.
    pub shards: Vec<Shard>,
    /// The consumers.
    pub sinks: Vec<Sink>,
    /// Where the checks come from.
    pub source: Source,
    /// Probes that ended, by the label of their outcome.
    pub results: Vec<(&'static str, u64)>,
    /// Changes of health since the start: to healthy, and to unhealthy.
    pub transitions: (u64, u64),
    /// Failures that are held because a check that theirs depends on is down, or has said nothing yet.
    pub dependents_held: u64,
    /// Overrides that stand, by kind.
    pub overrides: Vec<(&'static str, u64)>,
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
    /// Whether it did not take the latest one.
    pub failing: bool,
}

/// Where the checks come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// When the set of checks last changed, or was confirmed.
    pub applied: Option<SystemTime>,
    /// Sets that took effect.
    pub applied_total: u64,
    /// Checks of the latest set that were rejected.
    pub rejected: u64,
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
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ToLabel {
    to: &'static str,
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
        self.inconclusive(&mut registry);
        self.transitions(&mut registry);
        self.overrides(&mut registry);
        registry
    }

    fn checks(&self, registry: &mut Registry) {
        let checks = gauges(registry, "checks", "Checks, by health");
        let Counts { healthy, unhealthy, unknown, held } = self.checks;
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
        let delivered: Family<SinkLabel, Counter> = Family::default();
        registry.register("sink_batches", "Batches that a sink took", delivered.clone());
        let failed: Family<SinkLabel, Counter> = Family::default();
        registry.register(
            "sink_failures",
            "Batches that a sink did not take; they are tried again",
            failed.clone(),
        );
        let failing = gauges(registry, "sink_failing", "1 while a sink does not take what it is sent");
        for sink in &self.sinks {
            let label = SinkLabel { sink: sink.name.clone() };
            pending.get_or_create(&label).set(whole(sink.pending));
            failing.get_or_create(&label).set(i64::from(sink.failing));
            delivered.get_or_create(&label).inc_by(sink.delivered);
            failed.get_or_create(&label).inc_by(sink.failed);
            if let Some(since) = sink.oldest_pending {
                oldest.get_or_create(&label).set(seconds(since));
            }
        }
    }

    fn source(&self, registry: &mut Registry) {
        let Source { applied, applied_total, rejected } = self.source;
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
        let rejected = ConstGauge::new(whole(rejected));
        registry.register("source_rejected_checks", "Checks of the latest set that were rejected", rejected);
    }

    fn inconclusive(&self, registry: &mut Registry) {
        let inconclusive: Family<ReasonLabel, Counter> = Family::default();
        registry.register(
            "probes_inconclusive",
            "Probes that said nothing about the backend, by what was wrong with this machine",
            inconclusive.clone(),
        );
        for (reason, count) in self.results.iter().filter(|(label, _)| label.starts_with("local_")) {
            inconclusive.get_or_create(&ReasonLabel { reason }).inc_by(*count);
        }
    }

    fn overrides(&self, registry: &mut Registry) {
        let held = ConstGauge::new(whole(self.dependents_held));
        registry.register(
            "dependents_held",
            "Failures that are held because a check that theirs depends on is down, or has said nothing yet",
            held,
        );
        let overrides = gauges(registry, "overrides", "What operators say of checks and stands now, by kind");
        for (kind, count) in &self.overrides {
            overrides.get_or_create(&KindLabel { kind }).set(whole(*count));
        }
    }

    fn transitions(&self, registry: &mut Registry) {
        let transitions: Family<ToLabel, Counter> = Family::default();
        registry.register("transitions", "Changes of health, by what the check became", transitions.clone());
        let (healthy, unhealthy) = self.transitions;
        for (to, count) in [("healthy", healthy), ("unhealthy", unhealthy)] {
            transitions.get_or_create(&ToLabel { to }).inc_by(count);
        }
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
