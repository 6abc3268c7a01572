//! An hc-server that was built without the cargo feature `otlp` makes no spans.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use hc_metrics::Spans;
use hc_sources::Directory;
use hc_types::Observer;
use tokio_util::sync::CancellationToken;

use crate::config::TraceConfig;

/// The figures of spans at a scrape.
pub(crate) type SpanFigures = Arc<dyn Fn() -> Spans + Send + Sync>;

/// Nothing: a configuration that asks for spans was refused.
pub(crate) struct Traces;

/// Never made.
#[allow(dead_code, reason = "it is with the feature")]
pub(crate) struct Tracing {
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) figures: SpanFigures,
}

impl Traces {
    #[expect(clippy::unnecessary_wraps, reason = "as with the feature")]
    pub(crate) fn open(_: &TraceConfig) -> Result<Self> {
        Ok(Self)
    }

    pub(crate) fn threads(&self) -> usize {
        0
    }

    pub(crate) fn descriptors(&self) -> u64 {
        0
    }

    pub(crate) fn reach(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    #[expect(clippy::unnecessary_wraps, reason = "as with the feature")]
    pub(crate) fn start(
        self,
        _: Arc<Directory>,
        _: String,
        _: Duration,
        _: CancellationToken,
    ) -> Result<(Option<Tracing>, impl Future<Output = Result<()>> + Send + use<>)> {
        Ok((None, async { Ok(()) }))
    }
}
