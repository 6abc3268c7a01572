//! One POST over HTTP or HTTPS.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::{SinkError, TlsClient, Url};

/// How much of an answer is read.
const ANSWER: usize = 4096;

/// Finds the addresses of a host.
pub trait Resolve: Send + Sync + 'static {
    /// The addresses, in the order in which they are to be tried.
    ///
    /// # Errors
    /// Why there are none, in words.
    fn resolve(&self, host: &str) -> Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, String>> + Send + '_>>;
}

/// Sends bodies to a URL, each over a connection of its own. Redirects are not followed.
pub struct Poster {
    url: Url,
    tls: TlsClient,
    resolve: Arc<dyn Resolve>,
    /// Deadline of one POST.
    timeout: Duration,
}

impl Poster {
    /// `timeout` is the deadline of one POST, from resolving the host to the last byte of the
    /// answer.
    #[must_use]
    pub fn new(url: Url, tls: TlsClient, resolve: Arc<dyn Resolve>, timeout: Duration) -> Self {
        Self { url, tls, resolve, timeout }
    }

    /// Sends a body, with one more field of the header if there is one, and gives the answer, cut
    /// off after 4 KiB.
    ///
    /// # Errors
    /// [`SinkError`] when there is no answer in time, or its status is not 2xx.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection; the receiver may have the body or not.
    pub async fn post(
        &self,
        content_type: &'static str,
        field: Option<(&'static str, String)>,
        body: Vec<u8>,
    ) -> Result<Bytes, SinkError> {
        let Self { url, timeout: limit, .. } = self;
        let request = self
            .request(content_type, field, body)
            .map_err(|error| SinkError::exchange(&url.to_string(), error))?;
        match timeout(*limit, self.send(request)).await {
            Ok(result) => result,
            Err(_) => Err(SinkError::Timeout { place: url.to_string(), timeout: *limit }),
        }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Bytes, SinkError> {
        let url = &self.url;
        let stream = self.connect().await?;
        if !url.is_https() {
            return self.exchange(stream, request).await;
        }
        let name = ServerName::try_from(url.host().to_owned());
        let name = name.map_err(|error| SinkError::exchange(&url.to_string(), error))?;
        let tls = TlsConnector::from(self.tls.config()).connect(name, stream).await;
        let tls = tls.map_err(|source| SinkError::Connect { place: url.to_string(), source })?;
        self.exchange(tls, request).await
    }

    /// A connection to the first address that takes one.
    async fn connect(&self) -> Result<TcpStream, SinkError> {
        let url = &self.url;
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

    async fn exchange<S>(&self, stream: S, request: Request<Full<Bytes>>) -> Result<Bytes, SinkError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let place = self.url.to_string();
        let broken = |error: hyper::Error| SinkError::exchange(&place, error);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
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

    fn request(
        &self,
        content_type: &'static str,
        field: Option<(&'static str, String)>,
        body: Vec<u8>,
    ) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let mut request = Request::post(self.url.request_target())
            .header(HOST, self.url.authority())
            .header(USER_AGENT, concat!("hc-server/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, content_type);
        if let Some((name, value)) = field {
            request = request.header(name, value);
        }
        request.body(Full::new(body.into()))
    }
}

/// Whether the receiver has the body.
async fn judge(place: &str, response: Response<Incoming>) -> Result<Bytes, SinkError> {
    let status = response.status();
    let retry_after = retry_after(response.headers());
    // Read, so that the receiver can end its answer; of what is too long, the beginning does.
    let body = beginning(response.into_body()).await;
    if status.is_success() {
        return Ok(body);
    }
    let line = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(&line[..line.len().min(200)]);
    let answer = if line.is_empty() { status.to_string() } else { format!("{status}: {line:?}") };
    let status = Some(status.as_u16());
    Err(SinkError::Refused { place: place.to_owned(), status, answer, retry_after })
}

/// What comes of a body, up to [`ANSWER`] bytes.
async fn beginning(mut body: Incoming) -> Bytes {
    let mut taken = Vec::new();
    while taken.len() < ANSWER
        && let Some(Ok(frame)) = body.frame().await
    {
        if let Ok(piece) = frame.into_data() {
            let room = ANSWER - taken.len();
            taken.extend_from_slice(&piece[..piece.len().min(room)]);
        }
    }
    taken.into()
}

/// `Retry-After` in seconds (RFC 9110 section 10.2.3); a date is not understood.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
