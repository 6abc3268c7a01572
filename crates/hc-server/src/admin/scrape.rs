//! The states that metrics show beside counts, as of a scrape.
//!
//! What it costs does not grow with the number of checks: sums are kept with each change, and of
//! single checks only those are looked at that have series of their own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use hc_api::OverrideKind;
use hc_manager::Lateness;
use hc_metrics::{Check, CheckSeries, Guard, Histogram, Reloads, Shard, Sink, Snapshot, Snapshots};
use hc_pipeline::{Standing, Standings};
use hc_types::{CheckId, Metadata};
use hc_view::{CheckView, Cursor, Page, Table};
use tokio::time::Instant;

use super::reader::ViewReader;
use crate::server::Consumer;

/// Upper limits of lateness, in microseconds. A punctual start is late by less than a millisecond.
const LATENESS: [u64; 11] =
    [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 10_000_000];

impl ViewReader {
    pub(super) fn scrape(&self) -> Snapshot {
        let (checks, transitions) = self.view.read(|table| (table.counts(), table.transitions_to()));
        let now = SystemTime::now();
        let sink = |Consumer { name, outbox, .. }: &Consumer| {
            let queue = outbox.stats();
            Sink {
                name: name.to_string(),
                pending: number(queue.undelivered),
                oldest_pending: queue.oldest_undelivered.and_then(|age| now.checked_sub(age)),
                delivered: queue.delivered,
                failed: queue.failed,
                failing: queue.failures_in_a_row > 0,
            }
        };
        let shards = self.manager.shard_stats();
        let shards = shards.iter().zip(self.manager.heartbeats()).map(|(stats, beat)| Shard {
            checks: number(stats.checks),
            in_flight: number(stats.in_flight),
            waiting: number(stats.waiting),
            started: stats.started,
            busy: stats.busy,
            late: stats.recent.lateness.p99(),
            heartbeat: now.checked_sub(beat.last_turn).unwrap_or(now),
        });
        let reloads = self.sources.reload_stats().map(|stats| Reloads {
            applied: stats.applied,
            wrong: stats.wrong,
            short: stats.short,
            is_wrong: stats.is_wrong,
            last_success: stats.last_success,
        });
        let (stats, snapshots) = (self.manager.stats(), self.snapshots.get(Instant::now()));
        let held = stats.held().into_iter().map(|(label, checks)| (label, number(checks))).collect();
        Snapshot {
            started: Some(self.started),
            ready: self.readiness_by(&stats).ready,
            checks,
            shards: shards.collect(),
            sinks: self.consumers.iter().map(sink).collect(),
            source: self.sources.figures(),
            results: stats.results,
            started_probes: stats.started,
            waiting: number(stats.waiting),
            lateness: histogram(&stats.lateness),
            stalls: (stats.stalls, stats.stalled),
            episodes: stats.episodes_begun,
            held,
            transitions,
            dependents_held: number(self.dependents_held.load(Ordering::Relaxed)),
            guard: self
                .guard
                .as_ref()
                .map(|guard| Guard { alarms: number(guard.alarms()), held: number(guard.held()) }),
            fleet: self.fleet.as_ref().map(|fleet| fleet.scrape()),
            snapshots: Snapshots {
                failing: snapshots.failing.is_some(),
                failures: snapshots.failures,
                last_success: snapshots.last_success,
            },
            overrides: overrides_by_kind(&self.pipeline.overrides()),
            reloads,
            sandbox: self.sandbox,
            check_series: self.check_series(),
            spans: self.span_figures.as_ref().map(|figures| figures()),
        }
    }

    /// The checks that have series of their own.
    fn check_series(&self) -> CheckSeries {
        let most = self.metrics_config.max_checks;
        if self.metrics_config.all_checks {
            return self.first_checks(most);
        }
        let (known, all) = self.sources.directory().metered(most);
        let left_out = number(all - known.len());
        let checks = known.into_iter().filter_map(|(id, metadata)| {
            // The view hears of a set a little later than the directory.
            Some(of_check(self.view.check(id)?, Some(metadata)))
        });
        CheckSeries { checks: checks.collect(), left_out }
    }

    /// The first checks of all. A check keeps its place in the view while it runs.
    fn first_checks(&self, most: usize) -> CheckSeries {
        let directory = self.sources.directory();
        let (mut checks, mut next) = (Vec::new(), Some(Cursor::default()));
        while let Some(from) = next.filter(|_| checks.len() < most) {
            let page: Page = self.view.page(from, most - checks.len());
            checks.extend(page.checks.into_iter().map(|check| {
                let metadata = directory.get(check.id);
                of_check(check, metadata)
            }));
            next = page.next;
        }
        let left_out = number(self.view.read(Table::len).saturating_sub(checks.len()));
        CheckSeries { checks, left_out }
    }
}

fn of_check(check: CheckView, metadata: Option<Arc<Metadata>>) -> Check {
    let CheckView { id, spec, status, progress, .. } = check;
    let id: CheckId = id;
    Check { id, metadata, spec, status, progress }
}

fn histogram(lateness: &Lateness) -> Histogram {
    let mut below = 0;
    let buckets = LATENESS.map(|micros| {
        let limit = Duration::from_micros(micros);
        let within = lateness.at_most(limit);
        (limit, within - std::mem::replace(&mut below, within))
    });
    Histogram { buckets: buckets.into(), sum: lateness.sum(), count: lateness.count() }
}

/// How many overrides stand, by kind.
fn overrides_by_kind(overrides: &Standings) -> Vec<(&'static str, u64)> {
    let standing = |kind: OverrideKind| {
        let of_kind = |one: &&Standing| one.is_open && OverrideKind::from(&one.order.ruling) == kind;
        overrides.all.iter().filter(of_kind).count().try_into().unwrap_or(u64::MAX)
    };
    OverrideKind::ALL.map(|kind| (kind.label(), standing(kind))).into()
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
