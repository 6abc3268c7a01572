//! HTTP and HTTPS: one exchange (Seesaw's `healthcheck/http.go`).
//!
//! That of HTTP/1.1 is our own: a general client (hyper) costs more than the exchange itself,
//! refuses requests that Go sends (a target without a slash), and pools what is to be closed. The
//! parts that only compute are public, for fuzzers and for other tools.

mod body;
mod json;
mod judge;
mod kept;
mod over;
mod request;
mod response;
#[cfg(feature = "http2")]
mod second;

use std::borrow::Cow;
use std::net::Shutdown;
use std::time::Duration;

use hc_types::{
    CheckSpec, Failure, Heard, HttpProbe, HttpVersion, LocalFault, Outcome, Pass, Phase, ProbeResult, Target,
    quote, recognise, wants_https,
};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;

use crate::deadline::{self, Progress};
use crate::fault::{self, ProbeError};
use crate::incoming::{Incoming, Read, Watched, heard};
use crate::socket::{self, CloseOrder, ConnectMode, FinishedConn, LingeringClose, Stream};
use crate::tls::{self, Handshake, Peer, TlsStream};
use crate::{CheckersConfig, ProbeMemory, UserAgent};

use judge::BodyJudge;
use over::Used;

pub use body::{Body, BodyError};
pub use json::{Found as JsonFound, find as find_json};
pub(crate) use kept::KeptConnections;
pub(crate) use over::After;
pub use request::Request;
pub use response::{Framing, HeadProblem, MAX_HEAD, ResponseError, ResponseHead};

/// How long a peer that was asked to close the connection may take before we do, after the verdict
/// is known.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(10);

/// Sends one request to `target`, whatever `Host` and server name the probe has, and passes if
/// status and body are as expected. A probe whose request cannot be sent
/// ([`HttpOverrides::error`](hc_types::HttpOverrides::error)) is [`Failure::BadRequest`].
///
/// - An empty list of codes takes any status. Interim responses are skipped, redirects are judged
///   and not followed; a redirect that could be followed has no body that could be compared.
/// - Conditions on header fields and on the body ([`HttpConditions`](hc_types::HttpConditions)) are
///   judged after the status. A body is read up to its end, or up to the condition's limit.
/// - `expected_body` must be a prefix of the body, which is decompressed if it came with gzip (it
///   is not asked for). Of a longer body no more is read. A body that is shorter than its announced
///   length passes if it is long enough.
/// - `timeout` is the deadline of all of it, from the first poll.
///
/// A response that is complete is followed by the end of the connection, since the request asks for
/// it; this is waited for at most 10 ms, so that the connection's TIME_WAIT is left with the
/// server. The connection of a marked probe gets 2.2 s, whatever the verdict, so that its last
/// packets carry the mark; [`Checkers`](crate::Checkers) does that in the background.
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
    LingeringClose::outcome(judge(probe, target, timeout, config, None).await).await
}

/// What a probe needs to use a connection that is kept, and to keep one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keeping<'a> {
    pub(crate) connections: &'a KeptConnections,
    pub(crate) spec: &'a CheckSpec,
}

/// The result, and the connection if it needs a lingering close.
pub(crate) async fn judge(
    probe: &HttpProbe,
    target: &Target,
    timeout: Duration,
    config: &CheckersConfig,
    keeping: Option<Keeping<'_>>,
) -> (ProbeResult, Option<LingeringClose>) {
    let keeping = keeping.filter(|_| probes_at_most(probe) > 1);
    let kept = keeping.and_then(|keeping| keeping.connections.take(keeping.spec, target));
    let (ended, evidence) = deadline::limit(timeout, async |progress| match (kept, keeping) {
        (Some(kept), Some(keeping)) => {
            Box::pin(over::go_on(kept, (probe, target, timeout), config, keeping, progress)).await
        }
        _ => run(probe, target, config, keeping, progress).await,
    })
    .await;
    let (outcome, rest) = match ended {
        Ok((verdict, used)) => {
            let rest = match (used, keeping) {
                (Used::Open(open), Some(keeping)) => open.settle(keeping, target).await,
                (Used::Open(open), None) => end(open.finished(), target, CloseOrder::Us).await,
                (Used::Finished(used, order), _) => end(used, target, order).await,
            };
            (verdict.map_or_else(Outcome::from, Outcome::Pass), rest)
        }
        Err(error) => (error.into(), None),
    };
    (ProbeResult { outcome, evidence }, rest)
}

/// Ends a connection, unless it needs a lingering close.
pub(crate) async fn end(used: FinishedConn, target: &Target, order: CloseOrder) -> Option<LingeringClose> {
    let used = match LingeringClose::of(used, target, order) {
        Ok(rest) => return Some(rest),
        Err(used) => used,
    };
    let stream = used.send_close_notify();
    if order == CloseOrder::Us {
        // Should it fail, the connection is gone already.
        let _: std::io::Result<()> = SockRef::from(&stream).shutdown(Shutdown::Write);
    }
    wait_for_close(stream).await;
    None
}

/// The verdict, and the new connection that it came over.
async fn run<'a>(
    probe: &HttpProbe,
    target: &'a Target,
    config: &'a CheckersConfig,
    keeping: Option<Keeping<'_>>,
    progress: &'a Progress,
) -> Result<(Result<Pass, ProbeError>, Used), ProbeError> {
    let opened = progress.exchanged_at();
    let mut after = After::new(keeping.is_some(), version(probe));
    let request = match version(probe) {
        HttpVersion::Http1 => Some(request_of(probe, target, &config.user_agent, keeping.is_some())?),
        HttpVersion::Http2 if cfg!(feature = "http2") => None,
        // This program cannot, and the backend perhaps can.
        _ => return Err(LocalFault::Other(libc::EPROTONOSUPPORT).into()),
    };
    let Some(tls) = &probe.tls else {
        let mode = match &request {
            Some(request) => ConnectMode::SendFirst(request.bytes.len()),
            None => ConnectMode::Interactive,
        };
        let mut stream = connect(target, mode, keeping, progress).await?;
        let verdict =
            speak(probe, request.as_ref(), (target, config), &mut stream, progress, &mut after).await;
        let used = after.of_plain(stream.into_inner(), opened, verdict.is_ok());
        return Ok((verdict, used));
    };
    let stream = connect(target, ConnectMode::Interactive, keeping, progress).await?;
    let server_name = probe.overrides.as_deref().and_then(|overrides| overrides.server_name.as_deref());
    let (peer, http2) = (Peer::of(server_name, target), request.is_none());
    let handshake = Handshake { target, peer, tls, http2, roots: &config.roots, progress };
    let speak = async |session: &mut TlsStream<'a>| {
        if http2 {
            session.check_http2()?;
        }
        speak(probe, request.as_ref(), (target, config), session, progress, &mut after).await
    };
    let (verdict, ended) = handshake.converse(stream, config, speak).await?;
    let used = after.of_tls(ended, opened, verdict.is_ok());
    Ok((verdict, used))
}

/// Connects. Where descriptors are short, connections that are kept for later give theirs back.
async fn connect<'a>(
    target: &Target,
    mode: ConnectMode,
    keeping: Option<Keeping<'_>>,
    progress: &'a Progress,
) -> Result<Stream<'a>, ProbeError> {
    match socket::connect(target, mode, progress).await {
        Err(ProbeError::Local(LocalFault::Descriptors))
            if keeping.is_some_and(|keeping| keeping.connections.give_up_one()) =>
        {
            socket::connect(target, mode, progress).await
        }
        connected => connected,
    }
}

/// How many probes in a row go over one connection.
fn probes_at_most(probe: &HttpProbe) -> u16 {
    let request = probe.overrides.as_deref().and_then(|overrides| overrides.request.as_deref());
    request.map_or(0, |request| request.reuse)
}

fn version(probe: &HttpProbe) -> HttpVersion {
    let request = probe.overrides.as_deref().and_then(|overrides| overrides.request.as_deref());
    request.map_or(HttpVersion::Http1, |request| request.version)
}

/// The exchange, in HTTP/1.1 where there is a request for that.
async fn speak<S>(
    probe: &HttpProbe,
    request: Option<&Request>,
    (target, config): (&Target, &CheckersConfig),
    stream: &mut S,
    progress: &Progress,
    after: &mut After,
) -> Result<Pass, ProbeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match request {
        Some(request) => exchange(probe, request, stream, &config.memory, progress, after).await,
        #[cfg(feature = "http2")]
        None => {
            let from = (target, &config.user_agent);
            Box::pin(second::exchange(probe, from, stream, &config.memory, progress)).await
        }
        #[cfg(not(feature = "http2"))]
        None => unreachable!("there is no HTTP/2 to {target}"),
    }
}

/// The request of a probe, unless it cannot be sent.
pub(crate) fn request_of(
    probe: &HttpProbe,
    target: &Target,
    user_agent: &UserAgent,
    keeps: bool,
) -> Result<Request, ProbeError> {
    match probe.overrides.as_deref().and_then(|overrides| overrides.error.as_deref()) {
        Some(error) => Err(Failure::BadRequest(fault::truncate_text(error.to_owned())).into()),
        None if keeps => Ok(Request::keeping(probe, target, user_agent)),
        None => Ok(Request::new(probe, target, user_agent)),
    }
}

/// Waits a moment for the peer to close the connection, and takes the little that may still come.
async fn wait_for_close(stream: TcpStream) {
    /// A small body that comes behind its head is taken, so that our closing does not reset the
    /// connection. A larger one that nobody asked for is not.
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
    let _elapsed = tokio::time::timeout(CLOSE_TIMEOUT, closed).await;
}

/// Writes the request and judges what comes back.
pub(crate) async fn exchange<S>(
    probe: &HttpProbe,
    request: &Request,
    stream: &mut S,
    memory: &ProbeMemory,
    progress: &Progress,
    after: &mut After,
) -> Result<Pass, ProbeError>
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
    let mut incoming = Incoming::new(stream, memory);
    let head = match read_head(probe, &mut incoming, progress).await? {
        Begun::Head(head) => head,
        Begun::Taken { interim } => return Err(watch_head(incoming, interim).await),
    };
    let is_for_https = head.status == 400 && probe.tls.is_none() && wants_https(&incoming.buffer);
    let status = if is_for_https {
        Cow::Owned(format!("{} (the port is one for HTTPS)", head.status_text))
    } else {
        Cow::Borrowed(&*head.status_text)
    };
    judge::check_head(probe, &head, &status)?;
    after.head(&head);
    match BodyJudge::new(probe, &head)? {
        Some(judge) => judge_body(judge, incoming, after).await?,
        None => after.take(&incoming.buffer),
    }
    Ok(Pass::http(head.status, &status))
}

/// How far the reading of a head came.
enum Begun {
    /// It is there. What came after it is in the buffer.
    Head(ResponseHead),
    /// What there was of it has to be given back, behind so many bytes of interim responses.
    Taken { interim: usize },
}

/// Reads the head of the final response.
async fn read_head<S>(
    probe: &HttpProbe,
    incoming: &mut Incoming<'_, S>,
    progress: &Progress,
) -> Result<Begun, ProbeError>
where
    S: AsyncRead + Unpin,
{
    let conditions = probe.conditions.as_ref().map_or(&[][..], |conditions| &*conditions.headers);
    let mut interim = 0;
    // The first bytes of all.
    let mut first = Vec::new();
    let mut growth = Growth::default();
    loop {
        let old = incoming.buffer.len();
        match incoming.read(first.capacity()).await? {
            Read::More => progress.answered(),
            Read::Taken => return Ok(Begun::Taken { interim }),
            Read::End => {
                progress.keep_answer(&incoming.buffer);
                if let Some(error) = not_http(&incoming.buffer, true) {
                    return Err(error);
                }
                let heard = (interim + old > 0).then(|| heard(&first, &incoming.buffer, interim + old));
                return Err(Failure::Closed { heard }.into());
            }
        }
        let buffer = &mut incoming.buffer;
        if let Some(error) = not_http(buffer, false) {
            progress.keep_answer(buffer);
            return Err(error);
        }
        let mut worth_parsing = growth.is_worth_parsing(buffer);
        while worth_parsing {
            let parsed = ResponseHead::parse_for(buffer, &probe.method, conditions).map_err(|error| {
                progress.keep_answer(buffer);
                malformed(&error)
            })?;
            let Some(head) = parsed else { break };
            if head.is_interim() && first.is_empty() {
                first = buffer[..head.length.min(Heard::KEPT)].to_vec();
            }
            // With the head, which is gone by the time that a body differs.
            let may_fail = !probe.expected_codes.accepts(head.status)
                || !probe.expected_body.is_empty()
                || probe.conditions.is_some();
            if !head.is_interim() && may_fail {
                progress.keep_answer(buffer);
            }
            buffer.drain(..head.length);
            if !head.is_interim() {
                return Ok(Begun::Head(head));
            }
            growth = Growth::default();
            interim += head.length;
            if interim >= MAX_HEAD {
                return Err(malformed(&ResponseError::TooLong));
            }
            worth_parsing = !buffer.is_empty();
        }
    }
}

/// When a head that comes in pieces is parsed again: a head of 250 kB comes in some sixty, and to
/// parse all of it with each would cost the time of thousands of probes.
#[derive(Clone, Copy, Debug, Default)]
struct Growth {
    /// Where the latest line begins.
    line: usize,
    /// Up to here there is no further end of a line.
    looked: usize,
    /// How much there was when it was parsed last.
    parsed: usize,
}

impl Growth {
    /// Whether `buffer`, which has grown, may be a whole head: an empty line has come. Also when it
    /// has grown to twice what was parsed last, or to the limit, so that what cannot become a head
    /// is found out.
    fn is_worth_parsing(&mut self, buffer: &[u8]) -> bool {
        // Most heads come whole: the first line is reason enough, and where its end is does not
        // matter.
        if self.parsed == 0 && buffer.contains(&b'\n') {
            self.parsed = buffer.len();
            return true;
        }
        let mut has_empty_line = false;
        let mut has_line = false;
        while let Some(length) = buffer[self.looked..].iter().position(|byte| *byte == b'\n') {
            let end = self.looked + length;
            has_line = true;
            has_empty_line |= buffer[self.line..end].iter().all(u8::is_ascii_whitespace);
            (self.line, self.looked) = (end + 1, end + 1);
        }
        self.looked = buffer.len();
        let is_due = has_line && buffer.len() >= self.parsed.saturating_mul(2);
        let worth = has_empty_line || is_due || buffer.len() >= MAX_HEAD;
        if worth {
            self.parsed = buffer.len();
        }
        worth
    }
}

/// Names what cannot be the beginning of a response. A first line that ends is left to the parser,
/// unless its protocol is known; `all`: no more will come.
fn not_http(bytes: &[u8], all: bool) -> Option<ProbeError> {
    /// Enough to name a protocol that is no text.
    const ENOUGH: usize = 16;
    const BEGINNING: &[u8] = b"HTTP/";

    let length = bytes.len().min(BEGINNING.len());
    if bytes[..length] == BEGINNING[..length] {
        return None;
    }
    let name = recognise(bytes);
    let shown = &bytes[..bytes.len().min(Heard::KEPT)];
    let text = match name {
        Some(name) => format!("not an HTTP/1.x response: {}: the peer speaks {name}", quote(shown)),
        None if (all || bytes.len() >= ENOUGH) && !bytes.contains(&b'\n') => {
            format!("not an HTTP/1.x response: {}: no HTTP version", quote(shown))
        }
        None => return None,
    };
    Some(Failure::MalformedReply(fault::truncate_text(text)).into())
}

/// Watches for the end of a head of which nothing can be held. Only if it ends nobody knows whether
/// the response is right.
async fn watch_head<S>(incoming: Incoming<'_, S>, interim: usize) -> ProbeError
where
    S: AsyncRead + Unpin,
{
    let mut length = interim + incoming.buffer.len();
    let first = incoming.buffer[..incoming.buffer.len().min(Heard::KEPT)].to_vec();
    let last_line = incoming.buffer.iter().rev().take_while(|byte| **byte != b'\n');
    let mut blank =
        last_line.clone().all(u8::is_ascii_whitespace) && last_line.count() < incoming.buffer.len();
    let watched = incoming.watch(|bytes| {
        for byte in bytes {
            match byte {
                b'\n' if blank => return Watched::Undecided,
                b'\n' => blank = true,
                byte => blank &= byte.is_ascii_whitespace(),
            }
        }
        length += bytes.len();
        if length >= MAX_HEAD {
            return Watched::Failed(malformed(&ResponseError::TooLong));
        }
        Watched::GoOn
    });
    match watched.await {
        Err(error) => error,
        Ok(()) => Failure::Closed { heard: Some(heard(&[], &first, length)) }.into(),
    }
}

/// Reads a body until it is judged. The buffer has what of it has come.
async fn judge_body<S>(
    mut judge: BodyJudge<'_>,
    mut incoming: Incoming<'_, S>,
    after: &mut After,
) -> Result<(), ProbeError>
where
    S: AsyncRead + Unpin,
{
    loop {
        after.take(&incoming.buffer);
        if judge.take(&incoming.buffer)? {
            return Ok(());
        }
        incoming.buffer.clear();
        match incoming.read(judge.size()).await? {
            Read::More => {}
            Read::End => return Ok(judge.end()?),
            Read::Taken => {
                drop(judge);
                // As long as nothing more comes it has not come in time. Whatever comes may have
                // been right.
                incoming.watch(|_| Watched::Undecided).await?;
                return Err(LocalFault::ProbeMemory.into());
            }
        }
    }
}

fn malformed(error: &dyn std::error::Error) -> ProbeError {
    Failure::MalformedReply(fault::truncate_text(error.to_string())).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often a head that comes in pieces of so many bytes is parsed.
    fn parses(head: &[u8], piece: usize) -> usize {
        let mut growth = Growth::default();
        let ends = (piece..head.len()).step_by(piece).chain([head.len()]);
        ends.filter(|end| growth.is_worth_parsing(&head[..*end])).count()
    }

    #[test]
    fn a_long_head_is_parsed_a_few_times_and_when_it_is_whole() {
        let line = [&b"X-Long: "[..], &[b'a'; 240], b"\r\n"].concat();
        let head = [&b"HTTP/1.1 200 OK\r\n"[..], &line.repeat(1000)].concat();
        for piece in [1, 100, 4096] {
            assert!(parses(&head, piece) <= 16, "{} of {piece}", parses(&head, piece));
        }
        for end in [&b"\r\n"[..], b"\n", b" \t\r\n"] {
            let whole = [&head[..], end].concat();
            let mut growth = Growth::default();
            growth.is_worth_parsing(&whole[..whole.len() - 1]);
            assert!(growth.is_worth_parsing(&whole), "{end:?}");
        }
    }

    #[test]
    fn one_endless_line_is_parsed_at_the_limit() {
        assert_eq!(parses(&vec![b'a'; MAX_HEAD], 4096), 1);
    }
}
