//! One HTTP/2 exchange (RFC 9113) over a connection that stands, for HTTP and gRPC checks.
//!
//! The frames are read and written by the crate h2, which hyper is built on. It is used without
//! hyper's client, since that needs tasks of its own, and a probe is one future: its deadline stops
//! all of it, and reads the socket once more.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{Builder, ResponseFuture};
use hc_types::{Failure, Heard, LocalFault, Phase, Seen as Evidence, quote, recognise};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Uri, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::ProbeMemory;
use crate::deadline::Progress;
use crate::fault::{self, ProbeError};
use crate::incoming;
use crate::memory::Held;
use crate::tls;

/// How many bytes a peer may send beside the content that is asked for: its settings, heads,
/// trailers and padding. A peer that sends more without an end of its response fails.
const MAX_OVERHEAD: usize = 256 * 1024;

/// The longest head or trailers, decoded, as RFC 9113 section 6.5.2 counts them.
const MAX_FIELDS: u32 = 64 * 1024;

/// The least flow control window that is offered: what HTTP/2 begins with.
const WINDOW: u32 = 65_535;

/// The connection below, with what h2 does not keep of it: the error of a system call, and how much
/// has come.
struct Wire<'s, S> {
    stream: &'s mut S,
    seen: &'s Seen,
}

#[derive(Default)]
struct Seen {
    /// How many bytes may still come.
    left: Cell<usize>,
    length: Cell<usize>,
    /// The first bytes of all.
    first: RefCell<Vec<u8>>,
    ended: Cell<bool>,
    error: RefCell<Option<io::Error>>,
}

impl<S> Wire<'_, S> {
    /// h2 keeps the kind of an error alone.
    fn keep<T>(&self, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        done.map_err(|error| {
            let kind = error.kind();
            self.seen.error.borrow_mut().get_or_insert(error);
            kind.into()
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let seen = self.seen;
        if seen.left.get() == 0 {
            return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut *self.stream).poll_read(context, buffer);
        if let Poll::Ready(Ok(())) = read {
            let came = &buffer.filled()[before..];
            seen.left.set(seen.left.get().saturating_sub(came.len()));
            seen.length.set(seen.length.get() + came.len());
            let mut first = seen.first.borrow_mut();
            let room = Heard::KEPT - first.len();
            first.extend_from_slice(&came[..came.len().min(room)]);
            seen.ended.set(came.is_empty());
        }
        self.keep(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<'_, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.stream).poll_write(context, bytes);
        self.keep(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut *self.stream).poll_flush(context);
        self.keep(flushed)
    }

    /// The connection is closed by whoever opened it.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What is sent.
pub(crate) struct Exchange {
    pub(crate) request: http::Request<()>,
    pub(crate) body: Bytes,
    /// How many bytes of content are looked at.
    pub(crate) wanted: u32,
}

/// A request without header fields. `None` if no request can have this host.
pub(crate) fn request(
    tls: bool,
    method: Method,
    host: &str,
    path: PathAndQuery,
) -> Option<http::Request<()>> {
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(if tls { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = Some(Authority::try_from(host).ok()?);
    uri.path_and_query = Some(path);
    let mut request = http::Request::new(());
    *request.version_mut() = Version::HTTP_2;
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from_parts(uri).ok()?;
    Some(request)
}

/// Sends a request and gives its response to `judge`. The connection is left with GOAWAY, as far as
/// the socket takes it at once.
///
/// What a peer may make the probe hold is limited: [`MAX_FIELDS`] for a head, and the windows of
/// flow control for content. What it may send is limited, too, so that one that sends settings,
/// pings or interim responses without end fails.
///
/// # Errors
/// Those of `judge`, and what has ended the exchange.
///
/// # Cancel safety
/// Dropping the future leaves the connection as it is.
pub(crate) async fn converse<S, T, J>(
    stream: &mut S,
    memory: &ProbeMemory,
    progress: &Progress,
    exchange: Exchange,
    judge: J,
) -> Result<T, ProbeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
    J: AsyncFnOnce(&mut Answer<'_>) -> Result<T, ProbeError>,
{
    // Counted as much as a TLS session, for the buffers of frames.
    let _session = memory.session();
    let seen = Seen::default();
    let window = exchange.wanted.saturating_add(1).max(WINDOW);
    seen.left.set(MAX_OVERHEAD + window as usize);
    progress.enter(Phase::Send);
    let wire = Wire { stream, seen: &seen };
    let begun = Builder::new()
        .enable_push(false)
        .initial_window_size(window)
        .initial_connection_window_size(window)
        .max_header_list_size(MAX_FIELDS)
        .handshake::<_, Bytes>(wire)
        .await;
    let (mut client, connection) = begun.map_err(|error| name(&error, &seen, Phase::Send))?;
    let mut connection = pin!(connection);
    let mut over = false;
    let verdict = {
        let seen = &seen;
        let mut conversation = pin!(async move {
            poll_fn(|context| client.poll_ready(context))
                .await
                .map_err(|error| name(&error, seen, Phase::Send))?;
            let sent = client.send_request(exchange.request, exchange.body.is_empty());
            let (response, mut body) = sent.map_err(|error| name(&error, seen, Phase::Send))?;
            if !exchange.body.is_empty() {
                body.send_data(exchange.body, true).map_err(|error| name(&error, seen, Phase::Send))?;
            }
            progress.enter(Phase::Response);
            let held = Held::new(memory);
            judge(&mut Answer { response: Some(response), content: None, held, taken: false, seen }).await
        });
        poll_fn(|context| {
            if let Poll::Ready(verdict) = conversation.as_mut().poll(context) {
                return Poll::Ready(verdict);
            }
            let Poll::Ready(ended) = connection.as_mut().poll(context) else {
                return conversation.as_mut().poll(context);
            };
            over = true;
            // The streams are told of most ends, and know what came before. They are not told that
            // writing has failed.
            match (conversation.as_mut().poll(context), ended) {
                (Poll::Ready(verdict), _) => Poll::Ready(verdict),
                (Poll::Pending, Err(error)) => Poll::Ready(Err(name(&error, seen, progress.phase()))),
                (Poll::Pending, Ok(())) => Poll::Ready(Err(closed(seen))),
            }
        })
        .await
    };
    if !over {
        // The stream is given up and the connection left, if the socket has room for that.
        let mut context = Context::from_waker(std::task::Waker::noop());
        let _left: Poll<Result<(), h2::Error>> = connection.as_mut().poll(&mut context);
    }
    verdict
}

/// The response to a request.
pub(crate) struct Answer<'a> {
    response: Option<ResponseFuture>,
    content: Option<RecvStream>,
    held: Held<'a>,
    taken: bool,
    seen: &'a Seen,
}

impl Answer<'_> {
    /// Waits for the head. To be called once.
    pub(crate) async fn head(&mut self) -> Result<http::response::Parts, ProbeError> {
        let Some(response) = self.response.take() else {
            return Err(Failure::MalformedReply("HTTP/2: no response".into()).into());
        };
        let response = response.await.map_err(|error| name(&error, self.seen, Phase::Response))?;
        let (head, content) = response.into_parts();
        self.content = Some(content);
        Ok(head)
    }

    /// The next piece of content; `None` at its end. `held` is how many bytes the probe holds.
    ///
    /// When all probes together hold too much, and this one has to give back what it holds, the
    /// rest of the content is waited for: a peer that sends no more has not answered in time.
    pub(crate) async fn data(&mut self, held: usize) -> Result<Option<Bytes>, ProbeError> {
        let Some(content) = &mut self.content else { return Ok(None) };
        self.held.set(held);
        let next = poll_fn(|context| {
            self.taken |= self.held.poll_taken(context).is_ready();
            content.poll_data(context)
        });
        match next.await {
            // What fails without the memory would have failed with it.
            Some(Err(error)) => Err(name(&error, self.seen, Phase::Response)),
            _ if self.taken => Err(LocalFault::ProbeMemory.into()),
            None => Ok(None),
            Some(Ok(piece)) => {
                // A peer that may send less than it wants to is not at fault.
                let _released: Result<(), h2::Error> = content.flow_control().release_capacity(piece.len());
                Ok(Some(piece))
            }
        }
    }

    /// The trailers, behind the content.
    pub(crate) async fn trailers(&mut self) -> Result<Option<http::HeaderMap>, ProbeError> {
        let Some(content) = &mut self.content else { return Ok(None) };
        let trailers = poll_fn(|context| content.poll_trailers(context)).await;
        trailers.map_err(|error| name(&error, self.seen, Phase::Response))
    }
}

/// A response as text, for who looks into a failure: its head, what came of its content, its
/// trailers.
///
/// It is kept as evidence whenever it grows, so that it is there too when the deadline or the end
/// of the connection cuts the response short. Evidence of a probe that passes is dropped.
pub(crate) struct Transcript<'p> {
    progress: &'p Progress,
    text: Vec<u8>,
}

impl<'p> Transcript<'p> {
    /// Begins with the head.
    pub(crate) fn new(progress: &'p Progress, head: &http::response::Parts) -> Self {
        let mut transcript = Self { progress, text: format!("HTTP/2 {}", head.status.as_u16()).into_bytes() };
        transcript.append_fields(&head.headers);
        transcript.append(b"\r\n");
        transcript.keep();
        transcript
    }

    /// A piece of content.
    pub(crate) fn content(&mut self, piece: &[u8]) {
        if self.append(piece) {
            self.keep();
        }
    }

    /// Fields, each on a line of its own.
    pub(crate) fn fields(&mut self, fields: &http::HeaderMap) {
        if self.append_fields(fields) {
            self.keep();
        }
    }

    fn append_fields(&mut self, fields: &http::HeaderMap) -> bool {
        let before = self.text.len();
        self.append(b"\r\n");
        for (name, value) in fields {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                self.append(part);
            }
        }
        self.text.len() > before
    }

    /// Adds what there is room for, and says whether that is anything.
    fn append(&mut self, part: &[u8]) -> bool {
        let room = Evidence::KEPT - self.text.len();
        let part = &part[..part.len().min(room)];
        self.text.extend_from_slice(part);
        !part.is_empty()
    }

    /// Hands over what there is so far: the probe may end, or be ended, at any moment.
    fn keep(&self) {
        self.progress.keep_answer(&self.text);
    }
}

/// What has ended an exchange.
fn name(error: &h2::Error, seen: &Seen, phase: Phase) -> ProbeError {
    let first = seen.first.borrow();
    if let Some(name) = recognise(&first).filter(|name| *name != "HTTP/2") {
        return malformed(format_args!("not HTTP/2: {}: the peer speaks {name}", quote(&first)));
    }
    let kept = seen.error.borrow_mut().take();
    match kept {
        // TLS without a last word.
        Some(error) if error.raw_os_error().is_none() && error.kind() == io::ErrorKind::UnexpectedEof => {
            drop(first);
            return closed(seen);
        }
        Some(error) if error.raw_os_error().is_some() || error.get_ref().is_some() => {
            return fault::after(&first, tls::name_error(&error, phase));
        }
        _ => {}
    }
    if seen.left.get() == 0 {
        let length = seen.length.get();
        return malformed(format_args!("HTTP/2: {length} bytes, and the response has not ended"));
    }
    let reason = error.reason().map_or_else(|| "unknown".to_owned(), |reason| format!("{reason:?}"));
    if error.is_remote() && error.is_reset() {
        return Failure::StreamReset(format!("HTTP/2 stream reset by peer: {reason}").into()).into();
    }
    if error.is_remote() && error.is_go_away() {
        let debug = error.to_string();
        let text = format!("HTTP/2 connection ended by peer (GOAWAY): {reason} ({debug})");
        return Failure::StreamReset(fault::truncate_text(text)).into();
    }
    if seen.ended.get() || error.is_io() {
        drop(first);
        return closed(seen);
    }
    malformed(format_args!("HTTP/2: {error}"))
}

fn closed(seen: &Seen) -> ProbeError {
    let first = seen.first.borrow();
    let heard = (!first.is_empty()).then(|| incoming::heard(&[], &first, seen.length.get()));
    Failure::Closed { heard }.into()
}

fn malformed(text: fmt::Arguments<'_>) -> ProbeError {
    Failure::MalformedReply(fault::truncate_text(text.to_string())).into()
}
