//! Takes spans from the queue and sends them.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use prost::Message as _;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::Spans;
use crate::message::{KeyValue, Request, Resource, ResourceSpans, Response, Scope, ScopeSpans, Span};

/// Spans in one request, some 400 bytes each.
const BATCH: usize = 512;
/// How long the first span of a request waits for more.
const DELAY: Duration = Duration::from_secs(1);
/// The pause after a first failure. It doubles with each in a row.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// What a collector may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(600);

/// Carries requests to a collector.
pub trait Transport: Send + Sync + 'static {
    /// Sends the bytes of an `ExportTraceServiceRequest`; gives those of the
    /// `ExportTraceServiceResponse`.
    ///
    /// # Errors
    /// [`TransportError`] when it is not certain that the collector has them.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the request sent or not.
    fn send(&self, request: Vec<u8>) -> impl Future<Output = Result<Vec<u8>, TransportError>> + Send;
}

/// Why a request did not reach its collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportError {
    /// What happened, in words.
    pub problem: String,
    /// Whether the same request may do better later. One that may not is given up.
    pub may_pass_later: bool,
    /// How long the collector wants to be left alone.
    pub retry_after: Option<Duration>,
}

/// Who sends: attributes of the resource in each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// `service.version`.
    pub version: String,
    /// `host.name`.
    pub host: String,
}

/// Sends what is queued.
#[derive(Debug)]
pub struct Exporter<T> {
    spans: Spans,
    service: Service,
    transport: T,
    /// Failures since a collector took a request.
    failures: u32,
}

impl<T: Transport> Exporter<T> {
    /// Nothing is sent before it [runs](Self::run).
    #[must_use]
    pub const fn new(spans: Spans, service: Service, transport: T) -> Self {
        Self { spans, service, transport, failures: 0 }
    }

    /// Sends spans in batches of up to 512, each at most a second after its first span, until
    /// `stop`; then what is queued, for at most `grace`. While the collector is away the batch
    /// waits and the queue fills up.
    ///
    /// # Cancel safety
    /// Dropping the future loses the batch that is under way, uncounted.
    pub async fn run(mut self, stop: CancellationToken, grace: Duration) {
        let mut batch: Vec<Span> = Vec::with_capacity(BATCH);
        let late = async {
            stop.cancelled().await;
            sleep(grace).await;
        };
        tokio::select! {
            () = self.work(&mut batch, &stop) => {}
            () = late => {}
        }
        let mut left = batch.len();
        while self.spans.queue.try_recv().is_ok() {
            left += 1;
        }
        self.dropped(left);
    }

    /// Sends what comes until `stop`, and then what is queued. A request that is under way at `stop`
    /// goes on: sent anew, it would give the collector its spans twice.
    async fn work(&mut self, batch: &mut Vec<Span>, stop: &CancellationToken) {
        while let Some(true) = stop.run_until_cancelled(self.fill(batch)).await {
            while let Err(pause) = self.send(batch).await {
                if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                    break;
                }
            }
        }
        // What a cancelled filling or pause has left is still in the batch.
        self.drain(batch).await;
    }

    /// Takes spans until the batch is full or its first one has waited long enough. Says whether
    /// there are any: not when all tracers are gone.
    async fn fill(&mut self, batch: &mut Vec<Span>) -> bool {
        if batch.is_empty() {
            let Some(probe) = self.spans.queue.recv().await else { return false };
            batch.push(probe.span());
        }
        let until = Instant::now() + DELAY;
        while batch.len() < BATCH {
            match timeout_at(until, self.spans.queue.recv()).await {
                Ok(Some(probe)) => batch.push(probe.span()),
                // The time has come, or no more will.
                Ok(None) | Err(_) => break,
            }
        }
        true
    }

    /// Sends the batch and what is queued, and tries nothing twice.
    async fn drain(&mut self, batch: &mut Vec<Span>) {
        loop {
            while batch.len() < BATCH
                && let Ok(probe) = self.spans.queue.try_recv()
            {
                batch.push(probe.span());
            }
            if batch.is_empty() || self.send(batch).await.is_err() {
                return;
            }
        }
    }

    /// Sends the batch once. It is empty afterwards unless it is to be sent again after a pause,
    /// which is the error.
    async fn send(&mut self, batch: &mut Vec<Span>) -> Result<(), Duration> {
        let count = batch.len();
        match self.transport.send(self.request(batch)).await {
            Ok(response) => {
                batch.clear();
                self.taken(count, &response);
                Ok(())
            }
            Err(error) if error.may_pass_later => {
                let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.min(8)).min(LONGEST_PAUSE);
                self.failed(&error.problem);
                Err(error.retry_after.map_or(doubled, |asked| asked.clamp(FIRST_PAUSE, LONGEST_ASKED)))
            }
            Err(error) => {
                batch.clear();
                self.failed(&error.problem);
                self.spans.counts.rejected.fetch_add(number(count), Relaxed);
                Ok(())
            }
        }
    }

    fn request(&self, batch: &[Span]) -> Vec<u8> {
        let Service { version, host } = &self.service;
        let resource = Resource {
            attributes: vec![
                KeyValue::text("service.name", "hc-server"),
                KeyValue::text("service.version", version),
                KeyValue::text("host.name", host),
            ],
        };
        let scope = Scope { name: "hc-server".to_owned(), version: version.clone() };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans: batch.to_vec() }];
        let request =
            Request { resource_spans: vec![ResourceSpans { resource: Some(resource), scope_spans }] };
        request.encode_to_vec()
    }

    /// The collector has the batch, or all of it but what it says that it refused.
    fn taken(&mut self, count: usize, response: &[u8]) {
        if std::mem::take(&mut self.failures) > 0 {
            info!("the collector takes spans again");
        }
        // An answer that cannot be read is no reason to send the spans twice.
        let partial = Response::decode(response).unwrap_or_default().partial_success.unwrap_or_default();
        let rejected = u64::try_from(partial.rejected_spans).unwrap_or_default().min(number(count));
        if rejected > 0 {
            warn!(spans = rejected, problem = partial.error_message, "the collector refused spans");
        }
        self.spans.counts.rejected.fetch_add(rejected, Relaxed);
        self.spans.counts.exported.fetch_add(number(count) - rejected, Relaxed);
    }

    fn failed(&mut self, problem: &str) {
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            warn!(problem, "the collector does not take spans: what the queue cannot hold is dropped");
        }
    }

    fn dropped(&self, count: usize) {
        self.spans.counts.dropped.fetch_add(number(count), Relaxed);
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
