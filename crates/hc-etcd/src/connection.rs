//! A connection to one member: gRPC over HTTP/2 (gRPC's PROTOCOL-HTTP2.md), by the crate h2.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use percent_encoding::percent_decode;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::EtcdError;
use crate::endpoint::{Endpoint, Resolve};
use crate::tls::TlsFiles;

/// The longest message that is read.
pub(crate) const MOST_BYTES: usize = 32 * 1024 * 1024;
/// What a stream may have sent that nobody has taken. A stream that is not read does not hold up
/// the others, whose share is [`CONNECTION_WINDOW`].
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
const MAX_FIELDS: u32 = 64 * 1024;
/// The most characters of what a peer says that are passed on.
const MOST_WORDS: usize = 500;

/// A connection to one member. It ends when this is dropped.
pub(crate) struct Connection {
    client: SendRequest<Bytes>,
    authority: String,
    scheme: &'static str,
    /// Drives the connection.
    _driver: JoinSet<()>,
}

/// A call under way: its messages one by one.
pub(crate) struct Call {
    sender: SendStream<Bytes>,
    response: Option<ResponseFuture>,
    receiver: Option<RecvStream>,
    buffer: BytesMut,
    who: Arc<str>,
}

impl Connection {
    /// Opens a connection. Nothing shows yet that somebody is there who answers.
    pub(crate) async fn open(
        endpoint: &Endpoint,
        tls: Option<&TlsFiles>,
        resolver: &dyn Resolve,
    ) -> Result<Self, String> {
        let addresses = endpoint.addresses(resolver).await?;
        let mut problem = String::new();
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // One that cannot be set is slower, not wrong.
                    let _ = stream.set_nodelay(true);
                    return Self::over(stream, endpoint, tls).await;
                }
                Err(error) => problem = error.to_string(),
            }
        }
        Err(problem)
    }

    async fn over(stream: TcpStream, endpoint: &Endpoint, tls: Option<&TlsFiles>) -> Result<Self, String> {
        let Some(tls) = tls else { return Self::begin(stream, endpoint, "http").await };
        let name = tls.name(&endpoint.host)?;
        let connecting = TlsConnector::from(tls.current()).connect(name, stream);
        let stream = connecting.await.map_err(|error| format!("TLS: {error}"))?;
        if stream.get_ref().1.alpn_protocol().is_some_and(|protocol| protocol != b"h2") {
            return Err("TLS: the peer does not speak HTTP/2".to_owned());
        }
        Self::begin(stream, endpoint, "https").await
    }

    async fn begin<S>(stream: S, endpoint: &Endpoint, scheme: &'static str) -> Result<Self, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (client, connection) = Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_FIELDS)
            .handshake::<_, Bytes>(stream)
            .await
            .map_err(|error| error.to_string())?;
        let mut driver = JoinSet::new();
        // Its error reaches every call.
        driver.spawn(async move {
            let _ = connection.await;
        });
        Ok(Self { client, authority: endpoint.authority(), scheme, _driver: driver })
    }

    pub(crate) fn who(&self) -> &str {
        &self.authority
    }

    fn request(&self, path: &'static str, token: Option<&str>) -> Result<Request<()>, EtcdError> {
        let mut uri = http::uri::Parts::default();
        uri.scheme = self.scheme.parse().ok();
        uri.authority = self.authority.parse().ok();
        uri.path_and_query = Some(PathAndQuery::from_static(path));
        let uri = Uri::from_parts(uri)
            .map_err(|_| EtcdError::Unreachable(format!("{}: not an authority", self.authority)))?;
        let mut request = Request::new(());
        *request.version_mut() = Version::HTTP_2;
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert("te", HeaderValue::from_static("trailers"));
        // A member that knows of no leader refuses, and ends watches.
        headers.insert("hasleader", HeaderValue::from_static("true"));
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(token)
                .map_err(|_| EtcdError::Content("etcd's token cannot be sent back".to_owned()))?;
            value.set_sensitive(true);
            headers.insert("token", value);
        }
        Ok(request)
    }

    /// Begins a call with its first message. `is_last`: there are no others.
    pub(crate) async fn begin_call(
        &self,
        path: &'static str,
        token: Option<&str>,
        message: &impl Message,
        is_last: bool,
    ) -> Result<Call, EtcdError> {
        let lost = |error: h2::Error| EtcdError::Unreachable(format!("{}: {error}", self.authority));
        let request = self.request(path, token)?;
        let mut client = self.client.clone().ready().await.map_err(lost)?;
        let (response, sender) = client.send_request(request, false).map_err(lost)?;
        let who = self.authority.as_str().into();
        let mut call =
            Call { sender, response: Some(response), receiver: None, buffer: BytesMut::new(), who };
        call.send(message, is_last)?;
        Ok(call)
    }

    /// Asks one question, which has one answer.
    ///
    /// Each step of it may take `patience`, and all of them `total`.
    pub(crate) async fn ask<A: Message + Default>(
        &self,
        path: &'static str,
        token: Option<&str>,
        question: &impl Message,
        patience: Duration,
        total: Duration,
    ) -> Result<A, EtcdError> {
        let silent =
            |passed: Duration| EtcdError::Unknown(format!("{}: no answer within {passed:?}", self.authority));
        let talk = async {
            let begun = timeout(patience, self.begin_call(path, token, question, true)).await;
            let mut call = begun.map_err(|_| {
                EtcdError::Unreachable(format!("{}: takes no request within {patience:?}", self.authority))
            })??;
            let answer = call.next_within(patience).await?;
            // Only what follows the answer says that it counts.
            match call.next_within::<A>(patience).await? {
                None => answer.ok_or_else(|| call.unknown("an answer without content")),
                Some(_) => Err(call.unknown("several answers to one question")),
            }
        };
        timeout(total, talk).await.unwrap_or_else(|_| Err(silent(total)))
    }
}

impl Call {
    fn unknown(&self, problem: impl std::fmt::Display) -> EtcdError {
        EtcdError::Unknown(format!("{}: {problem}", self.who))
    }

    /// Sends another message.
    pub(crate) fn send(&mut self, message: &impl Message, is_last: bool) -> Result<(), EtcdError> {
        let length = message.encoded_len();
        let mut frame = BytesMut::with_capacity(length + 5);
        frame.put_u8(0);
        frame.put_u32(u32::try_from(length).map_err(|_| EtcdError::TooLong(MOST_BYTES))?);
        message.encode(&mut frame).map_err(|error| self.unknown(error))?;
        self.sender.send_data(frame.freeze(), is_last).map_err(|error| self.unknown(error))
    }

    /// [`next`](Self::next), each piece of it within `patience`.
    async fn next_within<A: Message + Default>(
        &mut self,
        patience: Duration,
    ) -> Result<Option<A>, EtcdError> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            let Ok(more) = timeout(patience, self.more()).await else {
                return Err(self.unknown(format_args!("no answer within {patience:?}")));
            };
            if !more? {
                return Ok(None);
            }
        }
    }

    /// The next message; `None` at the end of a call that succeeded.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn next<A: Message + Default>(&mut self) -> Result<Option<A>, EtcdError> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    /// A whole message, if one has come.
    fn take<A: Message + Default>(&mut self) -> Result<Option<A>, EtcdError> {
        let Some((head, _)) = self.buffer.split_at_checked(5) else { return Ok(None) };
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if head[0] != 0 {
            return Err(self.unknown("a compressed message, which nobody asked for"));
        }
        if length > MOST_BYTES {
            return Err(EtcdError::TooLong(MOST_BYTES));
        }
        if self.buffer.len() - 5 < length {
            return Ok(None);
        }
        self.buffer.advance(5);
        let message = self.buffer.split_to(length);
        A::decode(message).map(Some).map_err(|error| self.unknown(error))
    }

    /// Waits for more bytes; `false` at the end of a call that succeeded.
    async fn more(&mut self) -> Result<bool, EtcdError> {
        if let Some(response) = &mut self.response {
            let response = response.await.map_err(|error| self.unknown(error))?;
            let (head, receiver) = response.into_parts();
            (self.response, self.receiver) = (None, Some(receiver));
            if head.status != 200 {
                return Err(self.unknown(format_args!("HTTP status {}, which is not gRPC", head.status)));
            }
            if let Some(status) = status(&head.headers) {
                status?;
            }
        }
        let Some(receiver) = &mut self.receiver else { return Ok(false) };
        match poll_fn(|context| receiver.poll_data(context)).await {
            Some(piece) => {
                let piece = piece.map_err(|error| EtcdError::Unknown(format!("{}: {error}", self.who)))?;
                // A peer that may send less than it wants to is not at fault.
                let _ = receiver.flow_control().release_capacity(piece.len());
                self.buffer.extend_from_slice(&piece);
                Ok(true)
            }
            None => {
                let trailers = poll_fn(|context| receiver.poll_trailers(context)).await;
                let trailers =
                    trailers.map_err(|error| EtcdError::Unknown(format!("{}: {error}", self.who)))?;
                match trailers.as_ref().and_then(status) {
                    Some(status) => status?,
                    None => return Err(self.unknown("the answer ends without a status")),
                }
                if !self.buffer.is_empty() {
                    return Err(self.unknown("the answer ends within a message"));
                }
                Ok(false)
            }
        }
    }
}

/// The status of a call, if these fields have one.
fn status(fields: &HeaderMap) -> Option<Result<(), EtcdError>> {
    let code = fields.get("grpc-status")?;
    let code = code.to_str().ok().and_then(|text| text.parse::<u16>().ok()).unwrap_or(2);
    if code == 0 {
        return Some(Ok(()));
    }
    let words = fields.get("grpc-message").map(HeaderValue::as_bytes).unwrap_or_default();
    let words = percent_decode(words).decode_utf8_lossy();
    let message = words.chars().filter(|letter| !letter.is_control()).take(MOST_WORDS).collect();
    Some(Err(EtcdError::Refused { code, message }))
}
