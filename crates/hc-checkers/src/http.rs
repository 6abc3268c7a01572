//! HTTP and HTTPS: one HTTP/1.1 exchange (Seesaw's `healthcheck/http.go`).
//!
//! The exchange is our own: a general client (hyper) costs more than the exchange itself, refuses requests that Go
//! sends (a target without a slash), and pools what is to be closed. The parts that only compute are public, for fuzzers and
//! for other tools.

mod body;
mod idn;
mod request;
mod request_target;
mod response;

use std::time::Duration;

use hc_types::{Failure, HttpProbe, Mismatch, Outcome, Phase, Target};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;

use crate::CheckersConfig;
use crate::deadline::{self, Progress};
use crate::fault::{self, Setback};
use crate::socket::{self, First, Opening, Parting, Used};
use crate::tls::{self, Handshake, Peer};

pub use body::{Body, BodyError};
pub use request::{Request, RequestError};
pub use request_target::{RequestTarget, RequestTargetError, UserInfo};
pub use response::{Framing, HeadProblem, MAX_HEAD, ResponseError, ResponseHead};

/// How much is read at once. Most answers of health pages fit.
const READ: usize = 4096;

/// How long a peer that was asked to close the connection may take before we do, after the verdict is known.
const FAREWELL: Duration = Duration::from_millis(10);

/// Sends one request to `target`, whatever host the probe's request names (that goes into `Host` and SNI), and passes if status
/// and body are as expected.
///
/// - An empty list of codes takes any status. Interim responses are skipped, redirects are judged and not followed; a redirect
///   that could be followed has no body that could be compared.
/// - `expected_body` must be a prefix of the body, which is decompressed if it came with gzip (it is not asked for). Of a longer
///   body no more is read. A body that is shorter than its announced length passes if it is long enough.
/// - `timeout` is the deadline of all of it, from the first poll.
///
/// A response that is complete is followed by the end of the connection, since the request asks for it; this is waited for at most
/// 10 ms, so that the connection's TIME_WAIT is left with the server. The connection of a marked probe gets 2.2 s, whatever
/// the verdict, lest its last packets lack the mark; [`Checkers`](crate::Checkers) does not wait for that.
///
/// # Panics
/// Outside a tokio runtime with time and I/O enabled.
///
/// # Cancel safety
/// Dropping the future closes the socket.
pub async fn probe_http(
    probe: &HttpProbe,
    target: &Target,
    timeout: Duration,
    config: &CheckersConfig,
) -> Outcome {
    let (outcome, rest) = judge(probe, target, timeout, config).await;
    if let Some(rest) = rest {
        rest.see_off().await;
    }
    outcome
}

/// The outcome, and the connection if it is to be seen off.
pub(crate) async fn judge(
    probe: &HttpProbe,
    target: &Target,
    timeout: Duration,
    config: &CheckersConfig,
) -> (Outcome, Option<Parting>) {
    let answered =
        deadline::limit(timeout, async |progress| run(probe, target, config, progress).await).await;
    match answered {
        Ok((verdict, used)) => {
            let rest = match Parting::of(used, target, First::Peer) {
                Ok(rest) => Some(rest),
                Err(used) => {
                    part(used.say_goodbye()).await;
                    None
                }
            };
            (verdict.unwrap_or_else(Outcome::from), rest)
        }
        Err(setback) => (setback.into(), None),
    }
}

/// The verdict, and the connection that it came over.
async fn run<'a>(
    probe: &HttpProbe,
    target: &'a Target,
    config: &'a CheckersConfig,
    progress: &'a Progress,
) -> Result<(Result<Outcome, Setback>, Used), Setback> {
    let request = Request::new(probe, target).map_err(|error| bad_request(&error))?;
    let Some(tls) = &probe.tls else {
        let mut stream = socket::connect(target, Opening::Speak(request.bytes.len()), progress).await?;
        let verdict = exchange(probe, &request, &mut stream, progress).await;
        return Ok((verdict, stream.into_inner().into()));
    };
    let stream = socket::connect(target, Opening::Converse, progress).await?;
    progress.enter(Phase::Tls);
    let name = request.server_name.as_deref();
    let peer = match name.map(|name| (name, request::as_address(name))) {
        None => Peer::Address(target.ip()),
        Some((_, Some(address))) => Peer::Address(address),
        Some((name, None)) => Peer::Name(name),
    };
    let handshake = Handshake { target, peer, tls: *tls, roots: &config.roots, progress };
    let mut stream = match handshake.shake(stream).await {
        Ok(stream) => stream,
        Err((setback, Some(stream))) => return Ok((Err(setback), stream.into_inner().into())),
        Err((setback, None)) => return Err(setback),
    };
    let verdict = exchange(probe, &request, &mut stream, progress).await;
    Ok((verdict, tls::leave(stream)))
}

pub(crate) fn bad_request(error: &RequestError) -> Setback {
    Failure::BadRequest(fault::told(error.to_string())).into()
}

/// Waits a moment for the peer to close the connection, and takes the little that may still come.
async fn part(stream: TcpStream) {
    /// A small body that comes behind its head is taken, so that our closing does not reset the connection. A larger one
    /// that nobody asked for is not.
    const READS: usize = 32;

    let closed = async {
        let mut rest = [0; 512];
        for _ in 0..READS {
            match stream.ready(Interest::READABLE).await {
                Ok(ready) if !ready.is_read_closed() => match stream.try_read(&mut rest) {
                    Ok(1..) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Ok(0) | Err(_) => return,
                },
                _ => return,
            }
        }
    };
    // Whoever does not close in time keeps connections alive against our wish; then we close.
    let _elapsed = tokio::time::timeout(FAREWELL, closed).await;
}

/// Writes the request and judges what comes back.
pub(crate) async fn exchange<S>(
    probe: &HttpProbe,
    request: &Request,
    stream: &mut S,
    progress: &Progress,
) -> Result<Outcome, Setback>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    progress.enter(Phase::Send);
    stream.write_all(&request.bytes).await.map_err(|error| tls::name_error(&error, Phase::Send))?;
    if probe.tls.is_some() {
        // Over TLS a write may end in the session's buffer.
        stream.flush().await.map_err(|error| tls::name_error(&error, Phase::Send))?;
    }
    progress.enter(Phase::Response);
    let mut buffer = Vec::with_capacity(READ);
    let head = read_head(&probe.method, stream, &mut buffer).await?;
    if head.is_redirect()
        && let Some(Err(error)) = head.location.as_deref().map(RequestTarget::parse)
    {
        let text = format!("got {}; failed to parse Location header: {error}", head.status_text);
        return Err(Failure::WrongAnswer(fault::told(text)).into());
    }
    if !probe.expected_codes.is_empty() && !probe.expected_codes.contains(&head.status) {
        return Err(Failure::Status { got: head.status_text }.into());
    }
    if !probe.expected_body.is_empty() {
        compare_body(probe.expected_body.as_slice(), &head, stream, &mut buffer).await?;
    }
    Ok(Outcome::pass(head.status_text))
}

/// Reads the head of the final response. What came after it is left in `buffer`.
async fn read_head<S>(method: &str, stream: &mut S, buffer: &mut Vec<u8>) -> Result<ResponseHead, Setback>
where
    S: AsyncRead + Unpin,
{
    let mut interim = 0;
    loop {
        let old = buffer.len();
        if read_more(stream, buffer).await? == 0 {
            return Err(Failure::Closed { partial: interim + old > 0 }.into());
        }
        // A head ends with a line, and so does whatever cannot become one.
        let mut worth_parsing = buffer[old..].contains(&b'\n') || buffer.len() >= MAX_HEAD;
        while worth_parsing {
            let Some(head) = ResponseHead::parse(buffer, method).map_err(|error| malformed(&error))? else {
                break;
            };
            buffer.drain(..head.length);
            if !head.is_interim() {
                return Ok(head);
            }
            interim += head.length;
            if interim >= MAX_HEAD {
                return Err(malformed(&ResponseError::TooLong));
            }
            worth_parsing = !buffer.is_empty();
        }
    }
}

async fn read_more<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> Result<usize, Setback> {
    buffer.reserve(READ);
    tls::name_read(stream.read_buf(buffer).await)
}

/// Whether the body begins with `expected`, which is not empty. `buffer` has what of it has come.
async fn compare_body<S>(
    expected: &[u8],
    head: &ResponseHead,
    stream: &mut S,
    buffer: &mut Vec<u8>,
) -> Result<(), Setback>
where
    S: AsyncRead + Unpin,
{
    let mismatch = |got: &[u8]| {
        Setback::from(Failure::BodyMismatch(Box::new(Mismatch::new(got, Some(head.status_text.clone())))))
    };
    // Go's client closes the response before its body can be read, and Seesaw fails the check.
    if head.is_redirect() {
        return Err(mismatch(b""));
    }
    let mut body = Body::new(head, expected.len());
    loop {
        body.take(buffer).map_err(|error| malformed(&error))?;
        let got = body.prefix();
        if body.is_enough() || !expected.starts_with(got) {
            return if got == expected { Ok(()) } else { Err(mismatch(got)) };
        }
        if body.has_ended() {
            break;
        }
        buffer.clear();
        if read_more(stream, buffer).await? == 0 {
            break;
        }
    }
    body.finish().map_err(|error| malformed(&error))?;
    match body.prefix() {
        got if got == expected => Ok(()),
        got => Err(mismatch(got)),
    }
}

fn malformed(error: &dyn std::error::Error) -> Setback {
    Failure::MalformedReply(fault::told(error.to_string())).into()
}
