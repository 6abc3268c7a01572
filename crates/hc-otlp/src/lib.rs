//! Spans of probes for an OpenTelemetry collector.
//!
//! A [`Tracer`] observes updates of checks and queues a span for each probe of a check that is
//! sampled. It never waits: a span for which the queue has no room is dropped and counted. An
//! [`Exporter`] takes spans from the queue and gives them to a [`Transport`] as requests of OTLP
//! 1.x in protobuf (`ExportTraceServiceRequest`); what its transport is, is the caller's part.
//!
//! ```
//! use hc_otlp::{Sampling, queue};
//!
//! let (tracer, _spans) = queue(Sampling::ratio(0.01), Box::new(|_| None));
//! assert_eq!(tracer.stats().dropped, 0);
//! ```

mod export;
mod message;
mod span;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hc_types::{CheckId, Metadata, Observer, StatusUpdate, mix64};
use tokio::sync::mpsc;

pub use export::{Exporter, Service, Transport, TransportError};

use span::Probe;

/// Spans that wait to be sent, some 300 bytes each.
const QUEUE: usize = 4096;

/// Which checks are sampled: a check either has a span for every probe or for none.
pub struct Sampling {
    ratio: f64,
    chosen: Option<Chosen>,
}

/// Whether a check is chosen, by what its source knows of it.
type Chosen = Box<dyn Fn(Option<&Metadata>) -> bool + Send + Sync>;

impl Sampling {
    /// This share of all checks, from 0 to 1. Which ones is decided by their ids, so it is the same
    /// after a restart.
    #[must_use]
    pub const fn ratio(ratio: f64) -> Self {
        Self { ratio, chosen: None }
    }

    /// The checks that `chosen` takes, beside the share. It is asked with each probe of each check.
    #[must_use]
    pub fn and(mut self, chosen: impl Fn(Option<&Metadata>) -> bool + Send + Sync + 'static) -> Self {
        self.chosen = Some(Box::new(chosen));
        self
    }

    fn is_in_ratio(&self, id: CheckId) -> bool {
        // 53 bits, as many as a float holds exactly.
        const PLACES: f64 = (1_u64 << 53) as f64;
        ((mixed(id.0) >> 11) as f64) < self.ratio * PLACES
    }
}

/// Ids of one engine may follow one another, so their bits are mixed.
const fn mixed(id: u64) -> u64 {
    mix64(id.wrapping_add(0x9e37_79b9_7f4a_7c15))
}

/// Finds name and labels of a check.
pub type Names = Box<dyn Fn(CheckId) -> Option<Arc<Metadata>> + Send + Sync>;

/// What became of spans, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Spans that a collector took.
    pub exported: u64,
    /// Spans for which the queue had no room, or that were left at the end.
    pub dropped: u64,
    /// Spans that a collector refused.
    pub rejected: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    exported: AtomicU64,
    dropped: AtomicU64,
    rejected: AtomicU64,
}

/// Queues spans. Shared by all shards.
pub struct Tracer {
    sampling: Sampling,
    names: Names,
    queue: mpsc::Sender<Probe>,
    counts: Arc<Counts>,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").field("stats", &self.stats()).finish()
    }
}

/// The other end of the queue, for [`Exporter::run`].
#[derive(Debug)]
pub struct Spans {
    queue: mpsc::Receiver<Probe>,
    counts: Arc<Counts>,
}

impl Spans {
    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }
}

/// A queue of spans with its two ends.
#[must_use]
pub fn queue(sampling: Sampling, names: Names) -> (Tracer, Spans) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let counts = Arc::<Counts>::default();
    (
        Tracer { sampling, names, queue: sender, counts: Arc::clone(&counts) },
        Spans { queue: receiver, counts },
    )
}

impl Tracer {
    /// What became of spans so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let Counts { exported, dropped, rejected } = &*self.counts;
        Stats {
            exported: exported.load(Relaxed),
            dropped: dropped.load(Relaxed),
            rejected: rejected.load(Relaxed),
        }
    }
}

impl Observer for Tracer {
    fn updates(&self, updates: &[StatusUpdate]) {
        for update in updates.iter().filter(|update| update.is_of_probe()) {
            let in_ratio = self.sampling.is_in_ratio(update.id);
            if !in_ratio && self.sampling.chosen.is_none() {
                continue;
            }
            let metadata = (self.names)(update.id);
            let chosen = || self.sampling.chosen.as_ref().is_some_and(|chosen| chosen(metadata.as_deref()));
            if !in_ratio && !chosen() {
                continue;
            }
            // Never waits: a shard has other probes to run.
            if self.queue.try_send(Probe::new(update, metadata)).is_err() {
                self.counts.dropped.fetch_add(1, Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_takes_its_share_of_ids_that_follow_one_another() {
        let taken = |ratio| {
            let sampling = Sampling::ratio(ratio);
            (0..100_000).filter(|id| sampling.is_in_ratio(CheckId(*id))).count()
        };
        assert_eq!((taken(0.0), taken(1.0)), (0, 100_000));
        let share = taken(0.01);
        assert!((900..1100).contains(&share), "{share}");
    }
}
