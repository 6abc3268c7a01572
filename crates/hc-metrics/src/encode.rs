//! States as metrics.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use hc_types::Counts;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};

use crate::snapshot::{Confined, Guard, Histogram, Sandbox, Snapshot, Snapshots, Source};

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
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SandboxLabels {
    part: &'static str,
    state: &'static str,
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
    pub(crate) fn registry(mut self) -> Registry {
        let mut registry = Registry::with_prefix("hc");
        if let Some(started) = self.started {
            let started = ConstGauge::new(seconds(started));
            registry.register_with_unit("start_time", "When the process started", Unit::Seconds, started);
        }
        let ready = ConstGauge::new(i64::from(self.ready));
        registry.register("ready", "Whether the checker can do its work (1) or not (0)", ready);
        self.checks(&mut registry);
        self.lateness(&mut registry);
        self.reloads(&mut registry);
        self.sandbox(&mut registry);
        self.shards(&mut registry);
        self.sinks(&mut registry);
        self.source(&mut registry);
        self.inconclusive(&mut registry);
        self.transitions(&mut registry);
        self.guard(&mut registry);
        self.fleet(&mut registry);
        self.snapshots(&mut registry);
        self.overrides(&mut registry);
        self.spans(&mut registry);
        let left_out = ConstGauge::new(whole(self.check_series.left_out));
        registry.register(
            "check_series_left_out",
            "Checks that would have series of their own but for the limit of them",
            left_out,
        );
        registry.register_collector(Box::new(std::mem::take(&mut self.check_series)));
        registry
    }

    fn checks(&self, registry: &mut Registry) {
        let checks = gauges(registry, "checks", "Checks, by health");
        let Counts { healthy, unhealthy, unknown, held, warned } = self.checks;
        for (health, count) in [("healthy", healthy), ("unhealthy", unhealthy), ("unknown", unknown)] {
            checks.get_or_create(&HealthLabel { health }).set(whole(count));
        }
        let held = ConstGauge::new(whole(held));
        registry.register(
            "checks_held",
            "Checks whose health is held because of trouble on this machine",
            held,
        );
        registry.register(
            "checks_warned",
            "Healthy checks that passed with a warning, such as a certificate that ends soon",
            ConstGauge::new(whole(warned)),
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
        let waiting = gauges(
            registry,
            "shard_checks_waiting",
            "Checks of a shard that are due and wait because too many of its probes run",
        );
        let started: Family<ShardLabel, Counter> = Family::default();
        registry.register("shard_probes_started", "Probes that a shard has started", started.clone());
        let busy: Family<ShardLabel, Counter<f64, std::sync::atomic::AtomicU64>> = Family::default();
        registry.register_with_unit(
            "shard_busy",
            "How long a shard has had work and did not wait: at one second in each second it begins probes late",
            Unit::Seconds,
            busy.clone(),
        );
        let late: Family<ShardLabel, Gauge<f64, std::sync::atomic::AtomicU64>> = Family::default();
        registry.register_with_unit(
            "shard_lateness_p99",
            "How much later than due 99 of 100 probes of a shard started in the last minute, at most",
            Unit::Seconds,
            late.clone(),
        );
        for (number, shard) in self.shards.iter().enumerate() {
            let label = ShardLabel { shard: number.to_string() };
            waiting.get_or_create(&label).set(whole(shard.waiting));
            started.get_or_create(&label).inc_by(shard.started);
            busy.get_or_create(&label).inc_by(shard.busy.as_secs_f64());
            late.get_or_create(&label).set(shard.late.as_secs_f64());
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
        let episodes: Family<ReasonLabel, Counter> = Family::default();
        registry.register(
            "inconclusive_episodes",
            "Episodes of inconclusive probes that began, by what was wrong with this machine; each shard counts its own",
            episodes.clone(),
        );
        for (reason, count) in &self.episodes {
            episodes.get_or_create(&ReasonLabel { reason }).inc_by(*count);
        }
        let held = gauges(
            registry,
            "inconclusive_checks",
            "Checks that are held by what is wrong with this machine now, by that; absent while nothing is wrong",
        );
        for (reason, count) in &self.held {
            held.get_or_create(&ReasonLabel { reason }).set(whole(*count));
        }
    }

    fn lateness(&mut self, registry: &mut Registry) {
        registry.register(
            "probes_started",
            "Probes that were started",
            ConstCounter::new(self.started_probes),
        );
        registry.register(
            "probes_waiting",
            "Checks that are due and wait because too many probes run",
            ConstGauge::new(whole(self.waiting)),
        );
        let (stalls, length) = self.stalls;
        registry.register(
            "shard_stalls",
            "Times that a shard ran much later than it meant to",
            ConstCounter::new(stalls),
        );
        registry.register_with_unit(
            "shard_stalled",
            "How long shards ran later than they meant to, all together",
            Unit::Seconds,
            ConstCounter::new(length.as_secs_f64()),
        );
        registry.register_collector(Box::new(Lateness(std::mem::take(&mut self.lateness))));
    }

    fn reloads(&self, registry: &mut Registry) {
        let Some(reloads) = self.reloads else { return };
        let results: Family<ResultLabel, Counter> = Family::default();
        registry.register(
            "reloads",
            "Readings of the files of checks after the one at the start, by what came of them",
            results.clone(),
        );
        let counts = [("applied", reloads.applied), ("wrong", reloads.wrong), ("shortage", reloads.short)];
        for (result, count) in counts {
            results.get_or_create(&ResultLabel { result }).inc_by(count);
        }
        registry.register(
            "reload_last_wrong",
            "1 while the files of checks are wrong, as they were last read: the checks of before run on",
            ConstGauge::new(i64::from(reloads.is_wrong)),
        );
        registry.register_with_unit(
            "reload_last_success_timestamp",
            "When the files of checks were last read without fault, also at the start",
            Unit::Seconds,
            ConstGauge::new(seconds(reloads.last_success)),
        );
    }

    fn spans(&self, registry: &mut Registry) {
        let Some(spans) = self.spans else { return };
        let results: Family<ResultLabel, Counter> = Family::default();
        registry.register(
            "spans",
            "Spans of probes for a collector, by what became of them",
            results.clone(),
        );
        let counts = [("exported", spans.exported), ("dropped", spans.dropped), ("rejected", spans.rejected)];
        for (result, count) in counts {
            results.get_or_create(&ResultLabel { result }).inc_by(count);
        }
    }

    fn sandbox(&self, registry: &mut Registry) {
        let states = gauges(
            registry,
            "sandbox",
            "What the process has given up: 1 for the state of each part, 0 for its other states",
        );
        let Sandbox { capabilities, files, syscalls } = self.sandbox;
        for (part, is) in [("capabilities", capabilities), ("files", files), ("syscalls", syscalls)] {
            let all = [("full", Confined::Full), ("partial", Confined::Partial), ("none", Confined::None)];
            for (state, one) in all {
                states.get_or_create(&SandboxLabels { part, state }).set(i64::from(is == one));
            }
        }
    }

    fn guard(&self, registry: &mut Registry) {
        let Some(Guard { alarms, held }) = self.guard else { return };
        registry.register(
            "guard_alarms",
            "Groups in which too many checks failed at once, and have not recovered",
            ConstGauge::new(whole(alarms)),
        );
        registry.register(
            "guard_held",
            "Failures that the guard holds, those included that only wait for its window",
            ConstGauge::new(whole(held)),
        );
    }

    fn fleet(&self, registry: &mut Registry) {
        let Some(fleet) = self.fleet else { return };
        let gauges = [
            ("fleet_nodes", "Nodes of the fleet that this one knows of, itself included", fleet.nodes),
            ("fleet_abstaining_nodes", "Nodes of the fleet whose opinions do not count", fleet.abstaining),
            (
                "fleet_abstains",
                "1 while the opinions of this node do not count, since its probes are not to be believed",
                fleet.abstains.into(),
            ),
            (
                "fleet_cut_off",
                "1 while this node is cut off from the fleet, and its verdicts are its own",
                fleet.cut_off.into(),
            ),
            ("fleet_checks", "Checks that this node shares with the fleet", fleet.checks),
            ("fleet_probed_checks", "Checks of the fleet that this node probes", fleet.probed),
        ];
        for (name, help, value) in gauges {
            registry.register(name, help, ConstGauge::new(whole(value)));
        }
        let counters = [
            ("fleet_leases_lost", "Registrations of this node that the store has ended", fleet.leases_lost),
            (
                "fleet_store_failures",
                "Requests to the store of the fleet that failed or had no answer",
                fleet.failed_requests,
            ),
            (
                "fleet_objects_written",
                "Objects with opinions that this node has written into the store of the fleet",
                fleet.objects_written,
            ),
        ];
        for (name, help, value) in counters {
            registry.register(name, help, ConstCounter::new(value));
        }
    }

    fn snapshots(&self, registry: &mut Registry) {
        let Snapshots { failing, failures, last_success } = self.snapshots;
        registry.register(
            "snapshot_failing",
            "1 while no snapshot of health is written: health would not survive a restart",
            ConstGauge::new(i64::from(failing)),
        );
        registry.register(
            "snapshot_failures",
            "Snapshots of health that could not be written",
            ConstCounter::new(failures),
        );
        if let Some(written) = last_success {
            registry.register_with_unit(
                "snapshot_last_success_timestamp",
                "When a snapshot of health was last written",
                Unit::Seconds,
                ConstGauge::new(seconds(written)),
            );
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

/// How late probes started.
#[derive(Debug)]
struct Lateness(Histogram);

impl Collector for Lateness {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Histogram { buckets, sum, count } = &self.0;
        let above = count.saturating_sub(buckets.iter().map(|(_, count)| count).sum());
        let buckets = buckets.iter().map(|(limit, count)| (limit.as_secs_f64(), *count));
        let buckets: Vec<_> = buckets.chain([(f64::INFINITY, above)]).collect();
        let help = "How much later than due probes started";
        encoder
            .encode_descriptor("probe_lateness", help, Some(&Unit::Seconds), MetricType::Histogram)?
            .encode_histogram::<[(&str, &str); 0]>(sum.as_secs_f64(), *count, &buckets, None)
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

pub(crate) fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
