//! gRPC health checks: one call of `grpc.health.v1.Health/Check` over HTTP/2.

pub mod message;

use std::time::Duration;

use bytes::Bytes;
use hc_types::{Failure, GrpcProbe, Outcome, Pass, ProbeResult, Target, quote};
use http::Method;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE, USER_AGENT};
use http::uri::PathAndQuery;
use percent_encoding::percent_decode;
use tokio::io::{AsyncRead, AsyncWrite};

use self::message::{Messages, ServingStatus};
use crate::CheckersConfig;
use crate::deadline::{self, Progress};
use crate::fault::{self, ProbeError};
use crate::http2::{self, Answer, Exchange, Transcript};
use crate::socket::{self, CloseOrder, ConnectMode, FinishedConn, LingeringClose};
use crate::tls::{Handshake, Peer, TlsStream};

/// Calls `grpc.health.v1.Health/Check` of `target`, and passes if the service is SERVING.
///
/// - Another status of the service is [`Failure::WrongAnswer`], another status of the call
///   (`grpc-status`) or of HTTP is [`Failure::Status`].
/// - Neither compression nor a deadline of the server is asked for.
/// - `timeout` is the deadline of all of it, from the first poll.
///
/// # Panics
/// Outside a tokio runtime with time and I/O enabled.
///
/// # Cancel safety
/// Dropping the future closes the socket.
pub async fn probe_grpc(
    probe: &GrpcProbe,
    target: &Target,
    timeout: Duration,
    config: &CheckersConfig,
) -> Outcome {
    LingeringClose::outcome(judge(probe, target, timeout, config).await).await
}

/// The result, and the connection if it needs a lingering close.
pub(crate) async fn judge(
    probe: &GrpcProbe,
    target: &Target,
    timeout: Duration,
    config: &CheckersConfig,
) -> (ProbeResult, Option<LingeringClose>) {
    let (ended, evidence) =
        deadline::limit(timeout, async |progress| run(probe, target, config, progress).await).await;
    let (outcome, rest) = match ended {
        Ok((verdict, used)) => {
            let rest = crate::http::end(used, target, CloseOrder::Us).await;
            (verdict.map_or_else(Outcome::from, Outcome::Pass), rest)
        }
        Err(error) => (error.into(), None),
    };
    (ProbeResult { outcome, evidence }, rest)
}

/// The verdict, and the connection that it came over.
async fn run<'a>(
    probe: &GrpcProbe,
    target: &'a Target,
    config: &'a CheckersConfig,
    progress: &'a Progress,
) -> Result<(Result<Pass, ProbeError>, FinishedConn), ProbeError> {
    let request = request(probe, target, config)?;
    let mut stream = socket::connect(target, ConnectMode::Interactive, progress).await?;
    let Some(tls) = &probe.tls else {
        let verdict = call(request, &mut stream, config, progress).await;
        return Ok((verdict, stream.into_inner().into()));
    };
    let peer = Peer::of(probe.server_name.as_deref(), target);
    let handshake = Handshake { target, peer, tls, http2: true, roots: &config.roots, progress };
    let speak = async |session: &mut TlsStream<'a>| {
        session.check_http2()?;
        call(request, session, config, progress).await
    };
    handshake.speak(stream, config, speak).await
}

fn request(probe: &GrpcProbe, target: &Target, config: &CheckersConfig) -> Result<Exchange, ProbeError> {
    let bad = || ProbeError::from(Failure::BadRequest("HTTP/2 cannot send this host".into()));
    let address = target.socket_addr().to_string();
    let host = probe.host.as_deref().unwrap_or(&address);
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let mut request = http2::request(probe.tls.is_some(), Method::POST, host, path).ok_or_else(bad)?;
    let fields = request.headers_mut();
    fields.insert(TE, HeaderValue::from_static("trailers"));
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    if let Ok(agent) = HeaderValue::from_str(config.user_agent.as_str()) {
        fields.insert(USER_AGENT, agent);
    }
    Ok(Exchange { request, body: Bytes::from(message::request(&probe.service)), wanted: Messages::LONGEST })
}

async fn call<S>(
    exchange: Exchange,
    stream: &mut S,
    config: &CheckersConfig,
    progress: &Progress,
) -> Result<Pass, ProbeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let judge = async |answer: &mut Answer<'_>| judge_answer(answer, progress).await;
    Box::pin(http2::converse(stream, &config.memory, progress, exchange, judge)).await
}

async fn judge_answer(answer: &mut Answer<'_>, progress: &Progress) -> Result<Pass, ProbeError> {
    let head = answer.head().await?;
    progress.answered();
    let mut transcript = Transcript::new(progress, &head);
    // A response that is trailers alone has them as its head.
    if let Some(status) = CallStatus::of(&head.headers)?
        && status.code != 0
    {
        return Err(status.failure().into());
    }
    if head.status.as_u16() != 200 {
        let reason = head.status.canonical_reason().map_or(String::new(), |reason| format!(" {reason}"));
        return Err(Failure::Status { got: format!("HTTP {}{reason}", head.status.as_u16()).into() }.into());
    }
    let kind = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    if !kind.starts_with(b"application/grpc") {
        return Err(malformed(format!("not gRPC: the content type is {}", quote(kind))));
    }
    let mut messages = Messages::default();
    while let Some(piece) = answer.data(messages.held()).await? {
        transcript.content(&piece);
        messages.take(&piece).map_err(|error| malformed(error.to_string()))?;
    }
    let trailers = answer.trailers().await?.unwrap_or_default();
    if !trailers.is_empty() {
        transcript.fields(&trailers);
    }
    let status = match CallStatus::of(&trailers)? {
        Some(status) => Some(status),
        None => CallStatus::of(&head.headers)?,
    };
    match status {
        None => return Err(malformed("gRPC: no grpc-status behind the message".to_owned())),
        Some(status) if status.code != 0 => return Err(status.failure().into()),
        Some(_) => {}
    }
    match messages.status().map_err(|error| malformed(error.to_string()))? {
        ServingStatus::Serving => Ok(Pass::Plain),
        other => Err(Failure::WrongAnswer(format!("the service is {other}").into()).into()),
    }
}

fn malformed(text: String) -> ProbeError {
    Failure::MalformedReply(fault::truncate_text(text)).into()
}

/// How a call ended.
struct CallStatus {
    code: u32,
    message: Vec<u8>,
}

impl CallStatus {
    /// The names of the codes, by their number.
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];

    fn of(fields: &HeaderMap) -> Result<Option<Self>, ProbeError> {
        let Some(status) = fields.get("grpc-status") else { return Ok(None) };
        let code = status.to_str().ok().filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()));
        let Some(code) = code.and_then(|code| code.parse().ok()) else {
            return Err(malformed(format!("gRPC: the grpc-status is {}", quote(status.as_bytes()))));
        };
        let message = fields.get("grpc-message").map(|message| percent_decode(message.as_bytes()).collect());
        Ok(Some(Self { code, message: message.unwrap_or_default() }))
    }

    fn failure(&self) -> Failure {
        let name = Self::NAMES.get(self.code as usize).unwrap_or(&"(unknown)");
        let message =
            if self.message.is_empty() { String::new() } else { format!(": {}", quote(&self.message)) };
        Failure::Status { got: fault::truncate_text(format!("grpc-status {} {name}{message}", self.code)) }
    }
}
