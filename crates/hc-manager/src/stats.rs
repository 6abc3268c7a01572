//! Figures of the shards, for whoever shows them.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use hc_types::Outcome;
use tokio::runtime::RuntimeMetrics;

use crate::lateness::{Lateness, LatenessGauge};
use crate::recent::{Recent, RecentGauge};
use crate::schedule::{Nanos, nanos};

const LABELS: usize = Outcome::LABELS.len();

/// One shard's figures. Written by its thread alone, read by anybody, never locked; figures read
/// together may be apart by a probe or two.
#[derive(Debug)]
pub(crate) struct Gauges {
    pub(crate) checks: AtomicUsize,
    pub(crate) in_flight: AtomicUsize,
    pub(crate) waiting: AtomicUsize,
    /// When the latest turn of the loop began.
    turned: AtomicU64,
    /// When the loop should do something next: the begin of a turn that lasts, the time of the next
    /// one, or never.
    expected: AtomicU64,
    started: AtomicU64,
    results: [AtomicU64; LABELS],
    held: [AtomicUsize; LABELS],
    ongoing: [AtomicBool; LABELS],
    begun: [AtomicU64; LABELS],
    stalls: AtomicU64,
    stalled: AtomicU64,
    lateness: LatenessGauge,
    recent: RecentGauge,
    /// Of the shard's runtime, which knows when it waits.
    runtime: OnceLock<RuntimeMetrics>,
}

/// The place of a label in every array here.
pub(crate) fn label_index(label: &str) -> usize {
    // Every label is in the list; the last one is `local_other`.
    Outcome::LABELS.iter().position(|known| *known == label).unwrap_or(LABELS - 1)
}

impl Gauges {
    pub(crate) fn new() -> Self {
        Self {
            checks: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            turned: AtomicU64::new(0),
            expected: AtomicU64::new(0),
            started: AtomicU64::new(0),
            results: [const { AtomicU64::new(0) }; LABELS],
            held: [const { AtomicUsize::new(0) }; LABELS],
            ongoing: [const { AtomicBool::new(false) }; LABELS],
            begun: [const { AtomicU64::new(0) }; LABELS],
            stalls: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
            lateness: LatenessGauge::new(),
            recent: RecentGauge::new(),
            runtime: OnceLock::new(),
        }
    }

    /// The runtime on which the shard runs. The first one counts.
    pub(crate) fn runs_on(&self, runtime: RuntimeMetrics) {
        let _ = self.runtime.set(runtime);
    }

    /// How long the shard has had work and did not wait, since its start.
    fn busy(&self) -> Nanos {
        self.runtime.get().map_or(0, |runtime| nanos(runtime.worker_total_busy_duration(0)))
    }

    /// A turn of the loop begins.
    pub(crate) fn turn_began(&self, now: Nanos) {
        self.turned.store(now, Relaxed);
        self.expected.store(now, Relaxed);
        self.recent.turn(now, || self.busy());
    }

    /// The turn is over, and the next one is due then; `None` while only a command or the end of a
    /// probe brings one about.
    pub(crate) fn turn_ended(&self, next: Option<Nanos>) {
        self.expected.store(next.unwrap_or(Nanos::MAX), Relaxed);
    }

    pub(crate) fn heartbeat(&self, shard: usize, now: Nanos) -> Heartbeat {
        let since = |at: &AtomicU64| Duration::from_nanos(now.saturating_sub(at.load(Relaxed)));
        Heartbeat { shard, last_turn: since(&self.turned), overdue: since(&self.expected) }
    }

    pub(crate) fn started(&self, now: Nanos, late: Nanos) {
        self.started.fetch_add(1, Relaxed);
        self.lateness.record(late);
        self.recent.started(now, late);
    }

    pub(crate) fn ended(&self, now: Nanos, outcome: &Outcome) {
        self.results[label_index(outcome.label())].fetch_add(1, Relaxed);
        if matches!(outcome, Outcome::Inconclusive(_)) {
            self.recent.inconclusive(now);
        }
    }

    pub(crate) fn stalled(&self, now: Nanos, length: Nanos) {
        self.stalls.fetch_add(1, Relaxed);
        self.stalled.fetch_add(length, Relaxed);
        self.recent.stalled(now, length);
    }

    pub(crate) fn episode_began(&self, label: usize) {
        self.begun[label].fetch_add(1, Relaxed);
    }

    pub(crate) fn episode(&self, label: usize, ongoing: bool, held: usize) {
        self.ongoing[label].store(ongoing, Relaxed);
        self.held[label].store(held, Relaxed);
    }

    pub(crate) fn reset_lateness(&self) {
        self.lateness.reset();
    }
}

/// A sign of life of one shard. Read without asking it, so also while it hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Heartbeat {
    /// The shard, counted from 0.
    pub shard: usize,
    /// How long ago its loop began its latest turn. A shard with nothing to do has none for as long
    /// as that lasts.
    pub last_turn: Duration,
    /// How long its loop has been expected to do something and has not: zero while it waits for
    /// what is not due yet. Milliseconds are usual under load. A shard that hangs has a value that
    /// grows for as long as it does.
    pub overdue: Duration,
}

/// A local fault that is going on: probes of a shard end inconclusive because of it, or did so
/// seconds ago.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Episode {
    /// The shard, counted from 0.
    pub shard: usize,
    /// The label of the fault: [`LocalFault::label`](hc_types::LocalFault::label).
    pub label: &'static str,
    /// Checks whose latest probe ended so, and whose state is held since.
    pub held: usize,
}

/// Figures of all shards, counted since the start unless said otherwise.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ManagerStats {
    /// Threads that run probes.
    pub shards: usize,
    /// Checks that run now.
    pub checks: usize,
    /// Probes in flight now.
    pub in_flight: usize,
    /// Checks that are due now and wait because too many probes are in flight.
    pub waiting: usize,
    /// Probes started.
    pub started: u64,
    /// Probes ended, by the label of their outcome: every one of [`Outcome::LABELS`], in that
    /// order. A probe of a check that was removed meanwhile is not among them.
    pub results: Vec<(&'static str, u64)>,
    /// How much later than due probes started, since the start or the last reset.
    pub lateness: Lateness,
    /// Times that a shard ran much later than it meant to.
    pub stalls: u64,
    /// How long these were, all together.
    pub stalled: Duration,
    /// How long shards had work and did not wait, since the start, all together.
    pub busy: Duration,
    /// The same of the last minute alone: how it is now.
    pub recent: Recent,
    /// Local faults that are going on. Empty is what a server that is ready has.
    pub episodes: Vec<Episode>,
    /// Episodes that began, over all shards, by the label of their fault: every local one of
    /// [`Outcome::LABELS`].
    pub episodes_begun: Vec<(&'static str, u64)>,
}

impl ManagerStats {
    /// How many checks are held by each local fault that is going on, by its label.
    #[must_use]
    pub fn held(&self) -> BTreeMap<&'static str, usize> {
        let mut held = BTreeMap::new();
        for episode in &self.episodes {
            *held.entry(episode.label).or_default() += episode.held;
        }
        held
    }

    pub(crate) fn collect<'a>(shards: impl Iterator<Item = &'a Gauges>, now: Nanos) -> Self {
        let mut stats = Self {
            shards: 0,
            checks: 0,
            in_flight: 0,
            waiting: 0,
            started: 0,
            results: Outcome::LABELS.iter().map(|label| (*label, 0)).collect(),
            lateness: Lateness::default(),
            stalls: 0,
            stalled: Duration::ZERO,
            busy: Duration::ZERO,
            recent: Recent::default(),
            episodes: Vec::new(),
            episodes_begun: Outcome::LABELS.iter().map(|label| (*label, 0)).collect(),
        };
        for (shard, gauges) in shards.enumerate() {
            stats.shards += 1;
            stats.checks += gauges.checks.load(Relaxed);
            stats.in_flight += gauges.in_flight.load(Relaxed);
            stats.waiting += gauges.waiting.load(Relaxed);
            stats.started += gauges.started.load(Relaxed);
            for ((_, sum), count) in stats.results.iter_mut().zip(&gauges.results) {
                *sum += count.load(Relaxed);
            }
            for ((_, sum), count) in stats.episodes_begun.iter_mut().zip(&gauges.begun) {
                *sum += count.load(Relaxed);
            }
            gauges.lateness.add_to(&mut stats.lateness);
            let busy = gauges.busy();
            stats.busy += Duration::from_nanos(busy);
            gauges.recent.add_to(&mut stats.recent, now, busy);
            stats.stalls += gauges.stalls.load(Relaxed);
            stats.stalled += Duration::from_nanos(gauges.stalled.load(Relaxed));
            for (index, label) in Outcome::LABELS.iter().enumerate() {
                if gauges.ongoing[index].load(Relaxed) {
                    stats.episodes.push(Episode { shard, label, held: gauges.held[index].load(Relaxed) });
                }
            }
        }
        stats.episodes_begun.retain(|(label, _)| label.starts_with("local_"));
        stats
    }

    /// How many probes ended with this label; 0 for a word that is no label.
    #[must_use]
    pub fn ended(&self, label: &str) -> u64 {
        self.results.iter().find(|(known, _)| *known == label).map_or(0, |(_, count)| *count)
    }
}
