//! Events as the body of an HTTP POST.

mod signature;
mod url;

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hc_api::OverrideEvent;
use hc_types::{CheckId, Secret};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

pub use signature::{SIGNATURE_HEADER, sign};
pub use url::{Url, UrlError};

use crate::backoff::Backoff;
use crate::report::{self, Report, Sent};
use crate::{SinkError, TlsClient};

/// How much of an answer is read, for the words of an error.
const ANSWER: usize = 4096;

/// Finds the addresses of a host.
pub trait Resolve: Send + Sync + 'static {
    /// The addresses, in the order in which they are to be tried.
    ///
    /// # Errors
    /// Why there are none, in words.
    fn resolve(&self, host: &str) -> Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, String>> + Send + '_>>;
}

/// Where events go.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// `http://…` or `https://…`.
    pub url: Url,
    /// Signs each body ([`sign`]), if there is one.
    pub secret: Option<Secret>,
    /// Deadline of one delivery, from resolving the host to the last byte of the answer.
    pub timeout: Duration,
    /// The name of this machine in the body.
    pub node: String,
}

/// Sends events to a URL. A delivery is done when the answer has a 2xx status; redirects are not followed.
pub struct Webhook {
    config: WebhookConfig,
    tls: TlsClient,
    resolve: Arc<dyn Resolve>,
    sent: Sent,
    backoff: Backoff,
}

impl Webhook {
    /// A webhook of which nothing has been sent yet.
    #[must_use]
    pub fn new(config: WebhookConfig, tls: TlsClient, resolve: Arc<dyn Resolve>) -> Self {
        Self { config, tls, resolve, sent: Sent::default(), backoff: Backoff::default() }
    }

    /// Resolves when a delivery may be tried: at once, or after a pause that doubles from 1 s to 60 s with each failure in a row.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn ready(&self) {
        self.backoff.wait().await;
    }

    /// Sends what of `reports` is news for the receiver.
    ///
    /// # Errors
    /// [`SinkError`] when it is not certain that the receiver has it.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection; the receiver may have the events or not.
    pub async fn deliver(&self, reports: &[Report]) -> Result<(), SinkError> {
        let events = self.sent.news(reports);
        if events.is_empty() {
            return Ok(());
        }
        let result = self.send(report::body(&self.config.node, events, Vec::new())).await;
        if result.is_ok() {
            self.sent.delivered(reports);
        }
        result
    }

    /// Sends changes of overrides.
    ///
    /// # Errors
    /// As [`deliver`](Self::deliver).
    ///
    /// # Cancel safety
    /// As [`deliver`](Self::deliver).
    pub async fn deliver_overrides(&self, changes: &[OverrideEvent]) -> Result<(), SinkError> {
        self.send(report::body(&self.config.node, Vec::new(), changes.to_vec())).await
    }

    async fn send(&self, body: Vec<u8>) -> Result<(), SinkError> {
        let limit = self.config.timeout;
        let result = match timeout(limit, self.post(body)).await {
            Ok(result) => result,
            Err(_) => Err(SinkError::Timeout { place: self.config.url.to_string(), timeout: limit }),
        };
        self.backoff.note(&result);
        result
    }

    /// These checks are gone.
    pub fn forget(&self, ids: &[CheckId]) {
        self.sent.forget(ids);
    }

    async fn post(&self, body: Vec<u8>) -> Result<(), SinkError> {
        let url = &self.config.url;
        let stream = self.connect().await?;
        if !url.is_https() {
            return self.exchange(stream, body).await;
        }
        let name = ServerName::try_from(url.host().to_owned());
        let name = name.map_err(|error| SinkError::exchange(&url.to_string(), error))?;
        let tls = TlsConnector::from(self.tls.config()).connect(name, stream).await;
        let tls = tls.map_err(|source| SinkError::Connect { place: url.to_string(), source })?;
        self.exchange(tls, body).await
    }

    /// A connection to the first address that takes one.
    async fn connect(&self) -> Result<TcpStream, SinkError> {
        let url = &self.config.url;
        let ips = match url.host().parse() {
            Ok(ip) => vec![ip],
            Err(_) => self
                .resolve
                .resolve(url.host())
                .await
                .map_err(|problem| SinkError::Resolve { host: url.host().to_owned(), problem })?,
        };
        let mut refused = io::Error::other("the host has no address");
        for ip in ips {
            match TcpStream::connect((ip, url.port())).await {
                Ok(stream) => return Ok(stream),
                Err(error) => refused = error,
            }
        }
        Err(SinkError::Connect { place: url.to_string(), source: refused })
    }

    async fn exchange<S>(&self, stream: S, body: Vec<u8>) -> Result<(), SinkError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let place = self.config.url.to_string();
        let broken = |error: hyper::Error| SinkError::exchange(&place, error);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let request = self.request(body).map_err(|error| SinkError::exchange(&place, error))?;
        let answered = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            judge(&place, response).await
        };
        // The connection is driven beside the exchange, and is over with it.
        tokio::pin!(connection);
        tokio::pin!(answered);
        tokio::select! {
            result = &mut answered => result,
            ended = &mut connection => match ended {
                Ok(()) => answered.await,
                Err(error) => Err(broken(error)),
            },
        }
    }

    fn request(&self, body: Vec<u8>) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let WebhookConfig { url, secret, .. } = &self.config;
        let mut request = Request::post(url.request_target())
            .header(HOST, url.authority())
            .header(USER_AGENT, concat!("hc-server/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/json");
        if let Some(secret) = secret {
            request = request.header(SIGNATURE_HEADER, sign(secret, SystemTime::now(), &body));
        }
        request.body(Full::new(body.into()))
    }
}

/// Whether the receiver has the events.
async fn judge(place: &str, response: Response<Incoming>) -> Result<(), SinkError> {
    let status = response.status();
    let retry_after = retry_after(response.headers());
    // Read, so that the receiver can end its answer; of what is too long, the beginning would do.
    let body = Limited::new(response.into_body(), ANSWER).collect().await;
    if status.is_success() {
        return Ok(());
    }
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let line = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(&line[..line.len().min(200)]);
    let answer = if line.is_empty() { status.to_string() } else { format!("{status}: {line:?}") };
    Err(SinkError::Refused { place: place.to_owned(), answer, retry_after })
}

/// `Retry-After` in seconds (RFC 9110 section 10.2.3); a date is not understood.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
