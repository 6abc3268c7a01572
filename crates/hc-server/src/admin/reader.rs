//! What the admin API shows, read from the view and from figures that the parts keep.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use hc_admin::{ActionError, BoxFuture, MetricsFormat, Reader};
use hc_api::{
    Change, CheckDetail, CheckState, Filter, FleetState, LatencyState, Overrides, Overview, Page, PageOf,
    Position, ProbeState, Readiness, ReportedState, RowOf, Rows, RowsOf, RowsWriter, ShardState, SinkState,
    SourceState, Transition, Transitions,
};
use hc_files::{ReloadError, ReloadStats, Reloads};
use hc_ipc::IpcHandle;
use hc_manager::{Manager, ManagerStats};
use hc_metrics::{Format, Metrics, Sandbox, Source};
use hc_pipeline::{GuardFigures, Pipeline, Standings};
use hc_sources::Directory;
use hc_types::{CheckId, Status, Subject};
use hc_view::{CheckView, Cursor, Latency, Reported, Table, View};
use tokio::time::{Instant, sleep};

use super::lateness;
use crate::changes::{override_event, override_state};
use crate::config::MetricsConfig;
use crate::fleet::FleetReader;
use crate::server::{Consumer, Consumers};
use crate::snapshots::SnapshotFigures;
use crate::traces::SpanFigures;

/// How often a reader of events looks for more.
const LOOK: Duration = Duration::from_millis(100);

/// A shard that is so late with what is due hangs; under load it is late by milliseconds.
const STUCK: Duration = Duration::from_secs(2);

/// Rows that are read from the view at once.
const ROWS: usize = 500;

/// Changes of one check, of each kind, that its page shows.
const CHANGES: usize = 20;

/// Names of checks, and what is known of where they come from.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    directory: Arc<Directory>,
    figures: RwLock<Source>,
    /// Reads the checks again, where they come from files.
    reloads: OnceLock<Reloads>,
}

impl Sources {
    /// Names and labels.
    pub(crate) fn directory(&self) -> Arc<Directory> {
        self.directory.clone()
    }

    /// The check with this name.
    pub(crate) fn id_of(&self, name: &str) -> Option<CheckId> {
        self.directory.id_of(name)
    }

    /// What overrides know a check by.
    pub(super) fn subject(&self, check: &CheckView) -> Subject {
        match self.directory.get(check.id).and_then(|metadata| metadata.name.clone()) {
            Some(name) => Subject::Name((*name).into()),
            None => Subject::Key(check.spec.key()),
        }
    }

    /// A check with its name, its labels and what it depends on, if it has any.
    pub(crate) fn named(&self, state: CheckState, id: CheckId) -> CheckState {
        let Some(metadata) = self.directory.get(id) else { return state };
        let labels = metadata.labels.iter().map(|(key, value)| (&**key, &**value));
        let depends_on = metadata.depends_on.iter().map(ToString::to_string).collect();
        state.with_name(metadata.name.as_deref()).with_labels(labels).with_depends_on(depends_on)
    }

    /// A set has taken effect, of which so many checks were rejected.
    pub(crate) fn applied(&self, rejected: usize, now: SystemTime) {
        let mut figures = self.figures.write().unwrap_or_else(PoisonError::into_inner);
        figures.applied = Some(now);
        figures.applied_total += 1;
        figures.rejected = u64::try_from(rejected).unwrap_or(u64::MAX);
    }

    pub(super) fn figures(&self) -> Source {
        *self.figures.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks come from files, which these read again.
    pub(crate) fn reload_by(&self, reloads: Reloads) {
        // There is one source of this kind.
        let _ = self.reloads.set(reloads);
    }

    /// What came of reading the checks again, where they come from files.
    pub(super) fn reload_stats(&self) -> Option<ReloadStats> {
        self.reloads.get().map(Reloads::stats)
    }

    /// Reads the checks again.
    pub(crate) async fn reload(&self) -> Result<String, ActionError> {
        let Some(reloads) = self.reloads.get() else {
            return Err(ActionError::Rejected(
                "the checks come from Seesaw's engine, which sends them by itself".to_owned(),
            ));
        };
        reloads.reload().await.map_err(|error| match error {
            ReloadError::Wrong(_) => ActionError::Rejected(error.to_string()),
            _ => ActionError::Failed(error.to_string()),
        })
    }
}

/// What the API shows.
pub(crate) struct ViewReader {
    pub(crate) view: Arc<View>,
    pub(crate) pipeline: Arc<Pipeline>,
    /// Failures that are held because of a gateway.
    pub(crate) dependents_held: Arc<AtomicUsize>,
    /// What the guard holds. `None` while it is off.
    pub(crate) guard: Option<Arc<GuardFigures>>,
    /// This node's part in a fleet.
    pub(crate) fleet: Option<FleetReader>,
    pub(crate) snapshots: Arc<SnapshotFigures>,
    pub(crate) manager: Manager,
    pub(crate) consumers: Consumers,
    /// Whether hc-proxy is connected, of a server that has a socket for it.
    pub(crate) proxy: Option<IpcHandle>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) metrics_config: MetricsConfig,
    pub(crate) sandbox: Sandbox,
    /// Where spans are sent.
    pub(crate) span_figures: Option<SpanFigures>,
    pub(crate) sources: Arc<Sources>,
    pub(crate) node: String,
    pub(crate) started: SystemTime,
}

impl ViewReader {
    fn state(&self, check: &CheckView, overrides: &Standings) -> CheckState {
        self.sources
            .named(CheckState::new(check.id, &check.spec, &check.status), check.id)
            .with_progress(&check.spec, &check.status, &check.progress)
            .with_reported(reported(check))
            .with_overrides(overrides.of(check.id).map(override_state).collect())
    }

    fn row(&self, writer: &mut RowsWriter, check: &CheckView, overrides: &Standings) {
        let metadata = self.sources.directory.get(check.id);
        let labels = metadata.iter().flat_map(|metadata| metadata.labels.iter());
        let labels: Vec<(&str, &str)> = labels.map(|(key, value)| (&**key, &**value)).collect();
        let reported = reported(check)
            .map(|other| (other.health.map(|health| health.to_string()).unwrap_or_default(), other.by));
        let words = overrides.of(check.id).filter(|one| one.is_open).map(|one| override_state(one).word());
        let words = words.collect::<Vec<_>>().join(", ");
        let more = RowOf {
            name: metadata.as_ref().and_then(|metadata| metadata.name.as_deref()),
            labels: &labels,
            since: check.progress.since,
            mean_us: check.latency.mean,
            max_us: check.latency.max,
            failed: check.last_failure.as_deref().map(|last| (last.at, &last.failure)),
            reported: reported.as_ref().map(|(health, by)| (&**health, &**by)),
            overrides: &words,
        };
        writer.push(check.id, &check.spec, &check.status, &more);
    }

    fn transition(&self, transition: &hc_view::Transition) -> Transition {
        let status = Status {
            health: transition.to,
            last_check: Some(transition.at),
            outcome: transition.outcome.clone(),
            ..Status::NEW
        };
        let state =
            self.sources.named(CheckState::new(transition.id, &transition.spec, &status), transition.id);
        Transition::new(transition.sequence, transition.at, transition.from, &state)
    }

    /// The latest changes of a check, of each kind so many: checks that flap do not drive out what
    /// operators said.
    fn timeline(&self, check: &CheckView) -> Vec<Change> {
        let subject = self.sources.subject(check);
        let (transitions, overrides) = self
            .view
            .read(|table| (table.transitions_of(check.id, CHANGES), table.overrides_of(&subject, CHANGES)));
        Change::in_order(
            transitions.iter().map(|transition| self.transition(transition)).collect(),
            overrides.iter().map(|change| override_event(change, &self.sources.directory)).collect(),
        )
    }
}

/// What consumers get, where that is not the check's own health.
fn reported(check: &CheckView) -> Option<ReportedState> {
    let Reported::Other(other) = &check.reported else { return None };
    let differs = other.status.health != check.status.health || other.status.note.is_some();
    differs.then(|| ReportedState::new(Some(other.status.health), other.by))
}

fn sink_state(consumer: &Consumer) -> SinkState {
    let queue = consumer.outbox.stats();
    let mut sink = SinkState::new(&*consumer.name);
    sink.pending = u64::try_from(queue.undelivered).unwrap_or(u64::MAX);
    sink.oldest_pending_seconds = queue.oldest_undelivered.map(|age| age.as_secs_f64());
    (sink.delivered, sink.failed) = (queue.delivered, queue.failed);
    sink.failures_in_a_row = queue.failures_in_a_row;
    sink.last_error = queue.last_error.unwrap_or_default();
    sink
}

impl ViewReader {
    /// What is wrong with this machine: shards that hang, and local faults.
    fn own_trouble(&self, stats: &ManagerStats) -> Vec<String> {
        let heartbeats = self.manager.heartbeats();
        let stuck = heartbeats.iter().filter(|beat| beat.overdue > STUCK).map(|beat| {
            format!("shard {} has not done what is due for {} s", beat.shard, beat.overdue.as_secs())
        });
        let held = stats.held().into_iter();
        let held = held.map(|(label, checks)| match checks {
            0 => format!("probes say nothing because of this machine: {label}"),
            1 => format!("1 check is held because of this machine: {label}"),
            _ => format!("{checks} checks are held because of this machine: {label}"),
        });
        stuck.chain(held).collect()
    }

    /// What is wrong and keeps it from no work so far.
    fn weaknesses(&self, stats: &ManagerStats) -> Vec<String> {
        let guard = self.guard.as_ref().filter(|guard| guard.alarms() > 0).map(|guard| {
            let (alarms, held) = (guard.alarms(), guard.held());
            format!("too many checks failed at once: alarms of the guard: {alarms}, failures that it holds: {held}")
        });
        let snapshots = self.snapshots.get(Instant::now()).failing;
        let snapshots = snapshots.map(|why| format!("health would not survive a restart: {why}"));
        let files = self.sources.reload_stats().filter(|stats| stats.is_wrong);
        let files = files.map(|_| "the files of checks are wrong: the checks of before run on".to_owned());
        let lag = lateness::trouble(&stats.recent);
        let fleet = self.fleet.as_ref().and_then(FleetReader::trouble);
        fleet.into_iter().chain(guard).chain(lag).chain(snapshots).chain(files).collect()
    }

    /// By figures that were just read: a scrape reads them once.
    pub(super) fn readiness_by(&self, stats: &ManagerStats) -> Readiness {
        let mut reasons = Vec::new();
        if self.sources.figures().applied.is_none() {
            reasons.push("no set of checks has arrived yet".to_owned());
        }
        if self.proxy.as_ref().is_some_and(|proxy| !proxy.is_connected()) {
            reasons.push("hc-proxy is not connected: nobody hears of changes".to_owned());
        }
        reasons.extend(self.own_trouble(stats));
        let mut warnings = self.weaknesses(stats);
        for Consumer { name, outbox, required } in self.consumers.iter() {
            let queue = outbox.stats();
            if queue.failures_in_a_row > 0 {
                let error = queue.last_error.unwrap_or_default();
                // Checks run all the same, and to take this server out of service would mend no
                // sink.
                let words = if *required { &mut reasons } else { &mut warnings };
                words.push(format!("changes cannot be delivered to {name}: {error}"));
            }
        }
        Readiness::new(reasons).with_warnings(warnings)
    }
}

impl Reader for ViewReader {
    fn readiness(&self) -> Readiness {
        self.readiness_by(&self.manager.stats())
    }

    fn overview(&self) -> Overview {
        let now = SystemTime::now();
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let heartbeats = self.manager.heartbeats();
        let (stats, shards) = (self.manager.stats(), self.manager.shard_stats());
        let shards = shards.iter().zip(&heartbeats).map(|(stats, beat)| {
            let (checks, in_flight) = (number(stats.checks), number(stats.in_flight));
            let latest = now.checked_sub(beat.last_turn).unwrap_or(now);
            let mut shard = ShardState::new(beat.shard, checks, in_flight, latest, beat.overdue > STUCK);
            (shard.waiting, shard.started) = (number(stats.waiting), stats.started);
            shard.busy = lateness::busy(&stats.recent);
            shard.lateness = Some(lateness::figures(&stats.recent.lateness));
            shard
        });
        let mut overview = Overview::new(
            self.node.as_str(),
            env!("CARGO_PKG_VERSION"),
            self.started,
            self.view.read(Table::counts).into(),
            self.readiness_by(&stats),
            shards.collect(),
        );
        let probes = &mut overview.probes;
        probes.started = stats.started;
        (probes.in_flight, probes.waiting) = (number(stats.in_flight), number(stats.waiting));
        let local = stats.results.iter().filter(|(label, _)| label.starts_with("local_"));
        probes.inconclusive = local.map(|(_, count)| count).sum();
        (probes.stalls, probes.stalled_seconds) = (stats.stalls, stats.stalled.as_secs_f64());
        overview.lateness = lateness::figures(&stats.lateness);
        overview.recent = Some(lateness::recent(&stats.recent));
        let source = self.sources.figures();
        overview.source = SourceState::new(source.applied, source.applied_total, source.rejected);
        overview.sinks = self.consumers.iter().map(sink_state).collect();
        overview.dependents_held = number(self.dependents_held.load(Ordering::Relaxed));
        let standing = self.pipeline.overrides();
        overview.overrides = number(standing.all.iter().filter(|one| one.is_open).count());
        overview.position = self.position().to_string();
        overview.now = Some(now);
        overview
    }

    fn rows(&self, of: &RowsOf) -> Rows {
        // Before the rows are read: a change that comes meanwhile is told twice rather than lost.
        let mut writer = RowsWriter::new(self.position());
        let overrides = self.pipeline.overrides();
        if !of.ids.is_empty() {
            let checks = of.ids.iter().filter_map(|id| self.view.check(CheckId(*id)));
            checks.for_each(|check| self.row(&mut writer, &check, &overrides));
            return writer.end(None);
        }
        let mut next = Some(of.after.map_or(Cursor::default(), Cursor::from_number));
        while let Some(from) = next.filter(|_| writer.len() < of.limit.get()) {
            let left = of.limit.get() - writer.len();
            let rows = self.view.page(from, left.min(ROWS));
            rows.checks.iter().for_each(|check| self.row(&mut writer, check, &overrides));
            next = rows.next;
        }
        writer.end(next.map(Cursor::number))
    }

    fn page(&self, filter: &Filter, page: &PageOf) -> Page {
        let overrides = self.pipeline.overrides();
        let mut checks = Vec::new();
        let mut next = Some(page.after.map_or(Cursor::default(), Cursor::from_number));
        while let Some(from) = next {
            let left = page.limit.get() - checks.len();
            if left == 0 {
                break;
            }
            // Not more than may be wanted: what is read and not shown would be lost for the next
            // page.
            let rows = self.view.page(from, left.min(ROWS));
            checks.extend(
                rows.checks
                    .iter()
                    .map(|check| self.state(check, &overrides))
                    .filter(|check| filter.takes(check)),
            );
            next = rows.next;
        }
        Page::new(checks, next.map(Cursor::number))
    }

    fn check(&self, id_or_name: &str) -> Option<CheckDetail> {
        let by_id = id_or_name.parse().ok().and_then(|id| self.view.check(CheckId(id)));
        let check = by_id.or_else(|| self.sources.id_of(id_or_name).and_then(|id| self.view.check(id)))?;
        let latency = check.latency;
        let state = |of: Latency| {
            LatencyState::new(of.latest, of.mean, of.max).over(of.origin).suggesting(check.suggested_timeout)
        };
        let latency = Some(latency).filter(|latency| latency.max > 0).map(state);
        let failure = check.last_failure.as_deref().map(|last| {
            let outcome = last.failure.clone().into();
            ProbeState::new(&check.spec, last.at, last.duration, &outcome, &last.evidence)
        });
        let timeline = self.timeline(&check);
        let detail = CheckDetail::new(self.state(&check, &self.pipeline.overrides()), timeline)
            .with_evidence(latency, failure)
            .with_own_trouble(self.own_trouble(&self.manager.stats()))
            .with_fleet(self.fleet.as_ref().and_then(|fleet| fleet.verdict(check.spec.key())))
            .with_reproduction(hc_api::reproduce(&check.spec));
        Some(detail)
    }

    fn fleet(&self) -> Option<FleetState> {
        self.fleet.as_ref().map(FleetReader::state)
    }

    fn overrides(&self) -> Overrides {
        Overrides::new(self.pipeline.overrides().all.iter().map(override_state).collect())
    }

    fn position(&self) -> Position {
        let hc_view::Transitions { epoch, last, .. } = self.view.transitions(u64::MAX, 0);
        Position { epoch, sequence: last }
    }

    fn transitions(&self, after: Position, limit: usize) -> Transitions {
        let found = self.view.transitions(after.sequence, limit);
        let position = self.position();
        // From the beginning means from what is still there.
        let is_cut = found.missed > 0 && after.sequence > 0;
        if after.epoch != position.epoch || after.sequence > position.sequence || is_cut {
            return Transitions::new(true, position, Vec::new());
        }
        let next = Position { epoch: found.epoch, sequence: found.last };
        let directory = self.sources.directory();
        let overrides = found.overrides.iter().map(|change| override_event(change, &directory)).collect();
        let transitions = found.transitions.iter().map(|transition| self.transition(transition)).collect();
        Transitions::new(false, next, transitions).with_overrides(overrides)
    }

    fn grown(&self, sequence: u64) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            while self.position().sequence <= sequence {
                sleep(LOOK).await;
            }
        })
    }

    fn metrics(&self, format: MetricsFormat) -> String {
        let format = match format {
            MetricsFormat::Prometheus => Format::Prometheus,
            MetricsFormat::OpenMetrics => Format::OpenMetrics,
        };
        self.metrics.render(format, self.scrape())
    }
}
