//! Spans of probes for an OpenTelemetry collector, sent from a thread of their own.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hc_metrics::Spans;
use hc_otlp::{Exporter, Sampling, Service, Transport, TransportError, queue};
use hc_sinks::{Poster, TlsClient};
use hc_sources::Directory;
use hc_types::{Metadata, Observer};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::config::TraceConfig;
use crate::resolver::SystemResolve;
use crate::sinks::Filter;

/// The figures of spans at a scrape.
pub(crate) type SpanFigures = Arc<dyn Fn() -> Spans + Send + Sync>;

/// What makes and sends spans, with what it needs open. Empty where nothing is to be sent.
pub(crate) struct Traces(Option<Open>);

struct Open {
    config: TraceConfig,
    poster: Poster,
}

/// Spans that are made.
pub(crate) struct Tracing {
    /// Makes them.
    pub(crate) observer: Arc<dyn Observer>,
    /// Counts them.
    pub(crate) figures: SpanFigures,
}

impl Traces {
    /// Opens what needs files, before they are out of reach.
    ///
    /// # Errors
    /// When the certificates cannot be read.
    pub(crate) fn open(config: &TraceConfig) -> Result<Self> {
        let Some(url) = config.endpoint.clone() else { return Ok(Self(None)) };
        let tls = TlsClient::load(config.ca_file.as_deref()).context("[trace] ca_file")?;
        let poster = Poster::new(url, tls, Arc::new(SystemResolve::default()), config.timeout);
        Ok(Self(Some(Open { config: config.clone(), poster })))
    }

    /// Threads that it uses.
    pub(crate) fn threads(&self) -> usize {
        usize::from(self.0.is_some())
    }

    /// Descriptors that it uses: of its runtime, the connection, and questions to name servers.
    pub(crate) fn descriptors(&self) -> u64 {
        if self.0.is_some() { 12 } else { 0 }
    }

    /// What must stay readable: where the host of the collector is a name, what it is looked up in.
    pub(crate) fn reach(&self) -> Vec<PathBuf> {
        let host = self.0.iter().filter_map(|open| open.config.endpoint.as_ref()).map(|url| url.host());
        let by_name = |host: &str| host.parse::<IpAddr>().is_err();
        if host.into_iter().any(by_name) {
            hc_resolve::system_reach().into_iter().collect()
        } else {
            Vec::new()
        }
    }

    /// Starts the thread. The future ends when the last spans are sent, at most `grace` after
    /// `stop`.
    ///
    /// # Errors
    /// When the system has no thread or no runtime.
    pub(crate) fn start(
        self,
        directory: Arc<Directory>,
        host: String,
        grace: Duration,
        stop: CancellationToken,
    ) -> Result<(Option<Tracing>, impl Future<Output = Result<()>> + Send + use<>)> {
        let (ended, end) = oneshot::channel::<()>();
        let mut tracing = None;
        if let Some(Open { config, poster }) = self.0 {
            let sampling = sampling(&config);
            let (tracer, spans) = queue(sampling, Box::new(move |id| directory.get(id)));
            let tracer = Arc::new(tracer);
            let counted = tracer.clone();
            let figures: SpanFigures = Arc::new(move || {
                let hc_otlp::Stats { exported, dropped, rejected } = counted.stats();
                Spans { exported, dropped, rejected }
            });
            tracing = Some(Tracing { observer: tracer, figures });
            let service = Service { version: env!("CARGO_PKG_VERSION").to_owned(), host };
            let exporter = Exporter::new(spans, service, Collector(poster));
            let (built, is_built) = std::sync::mpsc::sync_channel(1);
            thread::Builder::new()
                .name("hc-otlp".to_owned())
                .spawn(move || {
                    // In here, since a runtime must not be dropped where another one runs.
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                    let (runtime, result) = match runtime {
                        Ok(runtime) => (Some(runtime), Ok(())),
                        Err(error) => (None, Err(error)),
                    };
                    // Waited for below.
                    let _ = built.send(result);
                    let Some(runtime) = runtime else { return };
                    runtime.block_on(exporter.run(stop, grace));
                    let _ = ended.send(());
                })
                .context("cannot start the thread of spans")?;
            is_built.recv().context("the thread of spans ended")?.context("cannot start sending spans")?;
        }
        let end = async move { end.await.context("the thread of spans ended") };
        Ok((tracing, end))
    }
}

fn sampling(config: &TraceConfig) -> Sampling {
    let TraceConfig { ratio, names, groups, .. } = config;
    let sampling = Sampling::ratio(*ratio);
    if names.is_empty() && groups.is_empty() {
        return sampling;
    }
    let by_name = Filter { names: names.clone(), ..Filter::default() };
    let by_group = Filter { groups: groups.clone(), ..Filter::default() };
    sampling.and(move |metadata: Option<&Metadata>| {
        let takes = |filter: &Filter| *filter != Filter::default() && filter.takes(metadata);
        takes(&by_name) || takes(&by_group)
    })
}

/// The collector, over HTTP.
struct Collector(Poster);

impl Transport for Collector {
    async fn send(&self, request: Vec<u8>) -> Result<Vec<u8>, TransportError> {
        let answer = self.0.post("application/x-protobuf", None, request).await;
        answer.map(|answer| answer.to_vec()).map_err(|error| TransportError {
            // OTLP 1.x, "Retryable Response Codes". Without a status nobody has refused anything.
            may_pass_later: error.status().is_none_or(|status| matches!(status, 429 | 502 | 503 | 504)),
            retry_after: error.retry_after(),
            problem: error.to_string(),
        })
    }
}
