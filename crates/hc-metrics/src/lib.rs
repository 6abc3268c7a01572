//! Metrics of hc-server, for Prometheus.
//!
//! [`Metrics`] counts what shards find, some atomic additions a probe. What is a state and no count is given at the time of a scrape, as a
//! [`Snapshot`]. `docs/reference/metrics.md` lists every metric.
//!
//! ```
//! use hc_metrics::{Format, Metrics, Snapshot};
//!
//! let metrics = Metrics::new("1.2.3");
//! let text = metrics.render(Format::Prometheus, &Snapshot::default());
//! assert!(text.contains("hc_build_info{version=\"1.2.3\"} 1\n"));
//! ```

mod probes;
mod snapshot;
mod text;

use std::fmt;

use hc_types::{Observer, StatusUpdate};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use snapshot::{Shard, Sink, Snapshot, Source};

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
    pub fn render(&self, format: Format, snapshot: &Snapshot) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        // Each part ends with a mark of its own.
        text.truncate(text.trim_end_matches("# EOF\n").len());
        let _ = encode(&mut text, &snapshot.registry());
        match format {
            Format::OpenMetrics => text,
            Format::Prometheus => text::without_openmetrics(&text),
        }
    }
}

/// Counts results of probes.
impl Observer for Metrics {
    fn updates(&self, updates: &[StatusUpdate]) {
        self.probes.count(updates);
    }
}
