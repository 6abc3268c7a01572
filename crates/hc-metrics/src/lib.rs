//! Metrics of hc-server, for Prometheus.
//!
//! [`Metrics`] counts what shards find, some atomic additions a probe. What is a state and no count
//! is given at the time of a scrape, as a [`Snapshot`]. `docs/reference/metrics.md` lists every
//! metric.
//!
//! ```
//! use hc_metrics::{Format, Metrics, Snapshot};
//!
//! let metrics = Metrics::new("1.2.3");
//! let text = metrics.render(Format::Prometheus, Snapshot::default());
//! assert!(text.contains("hc_build_info{version=\"1.2.3\"} 1\n"));
//! ```

mod checks;
mod encode;
mod probes;
mod snapshot;

use std::fmt;

use hc_types::{Observer, StatusUpdate};
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use checks::{Check, CheckSeries};
pub use snapshot::{
    Confined, Fleet, Guard, Histogram, Reloads, Sandbox, Shard, Sink, Snapshot, Snapshots, Source, Spans,
};

use probes::Probes;

/// The forms of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text format 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0, with exemplars that name the check that failed last.
    OpenMetrics,
}

/// Counts.
pub struct Metrics {
    registry: Registry,
    probes: Probes,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Counts that are all 0.
    #[must_use]
    pub fn new(version: &str) -> Self {
        let mut registry = Registry::with_prefix("hc");
        registry.register("build", "The version that runs", Info::new([("version", version.to_owned())]));
        let probes = Probes::register(&mut registry);
        Self { registry, probes }
    }

    /// All metrics as text.
    #[must_use]
    pub fn render(&self, format: Format, snapshot: Snapshot) -> String {
        let (mut text, states) = (String::new(), snapshot.registry());
        // Writing to a String cannot fail.
        let _ = match format {
            Format::Prometheus => prometheus_text::encode(&mut text, &self.registry)
                .and_then(|()| prometheus_text::encode(&mut text, &states)),
            Format::OpenMetrics => text::encode_registry(&mut text, &self.registry)
                .and_then(|()| text::encode_registry(&mut text, &states))
                .and_then(|()| text::encode_eof(&mut text)),
        };
        text
    }
}

/// Counts results of probes.
impl Observer for Metrics {
    fn updates(&self, updates: &[StatusUpdate]) {
        self.probes.count(updates);
    }
}
