//! TLS over a connection that stands: a full handshake each time, unless a check asks to resume
//! sessions (see [`sessions`]).
//!
//! rustls speaks TLS 1.2 and 1.3 with all that Go offers by default. OpenSSL speaks where rustls
//! cannot, see [`libssl`].

mod cbc;
mod der;
mod facts;
mod groups;
mod kept;
mod libssl;
mod options;
mod overheard;
mod reason;
mod roots;
mod rules;
mod second_opinion;
mod sessions;
mod signatures;
mod sources;
mod verify;

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hc_types::{ConnectionOrigin, Failure, Pass, Phase, Target, Tls, quote};
use rustls::pki_types::{DnsName, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, InvalidMessage};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;

use crate::CheckersConfig;
use crate::deadline::Progress;
use crate::fault::{self, ProbeError};
use crate::memory::Session;
use crate::socket::{self, ConnectMode, FinishedConn, Stream};

use options::{Client, Shown};
use sessions::{Key, Offer};

pub(crate) use der::public_key;
pub(crate) use kept::{KeptSession, is_drained};
pub(crate) use overheard::Overheard;
pub use reason::not_tls;
pub use roots::{Reload, Roots, RootsError, SystemRoots};
pub use sessions::TlsSessions;
pub(crate) use sessions::{Lineage, MAX_AGE};

/// A TLS session of ours.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "the large one is the common one, and lives inside the probe's future"
)]
pub(crate) enum TlsStream<'a> {
    Rustls(RustlsStream<'a>),
    Libssl(libssl::Session<'a>),
}

type RustlsStream<'a> = tokio_rustls::client::TlsStream<Overheard<'a>>;

/// HTTP/2 in ALPN (RFC 9113 section 3.1).
const HTTP2: &[u8] = b"h2";

/// Whom the certificate must name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Peer<'a> {
    /// An address: it must be among the certificate's IP SANs, and no SNI is sent.
    Address(IpAddr),
    /// A name: it must be among the DNS SANs, and is sent as SNI.
    Name(&'a str),
}

/// What a handshake is made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handshake<'a, 'n> {
    /// Where the connection goes, should a second one be needed.
    pub(crate) target: &'a Target,
    pub(crate) peer: Peer<'n>,
    pub(crate) tls: &'n Tls,
    /// HTTP/2 is to be spoken: it is what ALPN offers, and what the peer must choose.
    pub(crate) http2: bool,
    pub(crate) roots: &'a Roots,
    pub(crate) progress: &'a Progress,
}

/// Why there is no session, and the connection, to be closed, if there is one.
pub(crate) type Refused<'a> = (ProbeError, Option<Stream<'a>>);

/// What somebody should look at although the handshake is good.
pub(crate) type Warning = Option<Box<str>>;

/// A session whose handshake is good.
struct Shaken<'a> {
    session: TlsStream<'a>,
    warning: Warning,
    /// What may be kept of it, where the check resumes sessions.
    offer: Option<Offer>,
}

impl<'a> Shaken<'a> {
    fn new(session: TlsStream<'a>, warning: Warning) -> Self {
        Self { session, warning, offer: None }
    }
}

/// What is left of a connection after its exchange.
#[allow(
    clippy::large_enum_variant,
    reason = "the large one is the common one, and lives inside the probe's future"
)]
pub(crate) enum Ended<'a> {
    /// There was no session.
    Refused(Stream<'a>),
    Session {
        session: TlsStream<'a>,
        lineage: Option<Lineage>,
        memory: Session,
    },
}

impl Ended<'_> {
    /// The connection, to be closed.
    pub(crate) fn leave(self) -> FinishedConn {
        match self {
            Self::Refused(stream) => stream.into_inner().into(),
            Self::Session { session, .. } => leave(session),
        }
    }
}

/// What somebody should look at by now of a session that was kept, or why it is good no more, in
/// words.
pub(crate) fn judge_kept(tls: &Tls, roots: &Roots, session: &ClientConnection) -> Result<Warning, String> {
    let Some(options) = &tls.options else { return Ok(None) };
    let client = roots.client_with(tls, options);
    let chain = session.peer_certificates().unwrap_or_default();
    let shown = Shown { chain, alpn: session.alpn_protocol(), resumed: true };
    roots.inspect(&client, &shown, &nobody())
}

/// What came of a session: the verdict, and what is left of the session, if there still is a
/// connection.
type Conversed<'a> = Result<(Result<Pass, ProbeError>, Ended<'a>), ProbeError>;

/// Whom a handshake is with.
struct Names {
    /// What the certificate must hold.
    verified: ServerName<'static>,
    /// What is sent as SNI; an address stands for nothing.
    sent: ServerName<'static>,
}

/// A name that is neither sent nor verified.
fn nobody() -> ServerName<'static> {
    ServerName::IpAddress(IpAddr::from([0; 4]).into())
}

impl<'a> Peer<'a> {
    /// The server name of a probe, which may be an address, or the address of its target.
    pub(crate) fn of(server_name: Option<&'a str>, target: &Target) -> Self {
        match server_name {
            None => Self::Address(target.ip()),
            Some(name) => name.parse().map_or(Self::Name(name), Self::Address),
        }
    }
}

impl<'a> Handshake<'a, '_> {
    /// Shakes hands and lets `speak` use the session: the verdict, and the connection that it came
    /// over.
    ///
    /// # Errors
    /// When there is no connection any more.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub(crate) async fn speak<F>(
        self,
        stream: Stream<'a>,
        config: &CheckersConfig,
        speak: F,
    ) -> Result<(Result<Pass, ProbeError>, FinishedConn), ProbeError>
    where
        F: AsyncFnOnce(&mut TlsStream<'a>) -> Result<Pass, ProbeError>,
    {
        let (verdict, ended) = self.converse(stream, config, speak).await?;
        Ok((verdict, ended.leave()))
    }

    /// The same, which does not close the session.
    ///
    /// # Errors
    /// When there is no connection any more.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub(crate) fn converse<F>(
        self,
        stream: Stream<'a>,
        config: &CheckersConfig,
        speak: F,
    ) -> Pin<Box<impl Future<Output = Conversed<'a>>>>
    where
        F: AsyncFnOnce(&mut TlsStream<'a>) -> Result<Pass, ProbeError>,
    {
        // In a place of its own: it is many times as large as the rest of a probe, and a probe is
        // moved before it runs.
        Box::pin(async move {
            let progress = self.progress;
            progress.enter(Phase::Tls);
            let memory = config.memory.session();
            let Shaken { mut session, warning, offer } = match self.shake(stream, &config.tls_sessions).await
            {
                Ok(shaken) => shaken,
                Err((error, Some(stream))) => return Ok((Err(error), Ended::Refused(stream))),
                Err((error, None)) => return Err(error),
            };
            let verdict = speak(&mut session).await;
            if verdict.is_err() || config.full_evidence {
                progress.keep_tls(session.facts());
            }
            let lineage = offer.as_ref().and_then(Offer::lineage);
            if let (Ok(_), Some(offer), TlsStream::Rustls(session)) = (&verdict, offer, &session) {
                config.tls_sessions.keep(offer, session.get_ref().0.read());
            }
            let ended = Ended::Session { session, lineage, memory };
            Ok((verdict.map(|pass| pass.warned(warning)), ended))
        })
    }

    /// Shakes hands. Without verification any certificate will do, but the peer must hold its key,
    /// as with Go's `InsecureSkipVerify`.
    ///
    /// A certificate message of more than 64 KB is too long for rustls: then the connection is
    /// reset, and OpenSSL shakes hands over a second one.
    ///
    /// # Errors
    /// Why not, and the connection.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    async fn shake(self, stream: Stream<'a>, sessions: &TlsSessions) -> Result<Shaken<'a>, Refused<'a>> {
        let Tls { verify, old_versions, rsa_key_exchange, sha1, ref options } = *self.tls;
        let names = match self.names() {
            Ok(names) => names,
            Err(reason) => return Err((Failure::Tls(fault::truncate_text(reason)).into(), Some(stream))),
        };
        if old_versions || rsa_key_exchange || sha1 {
            return Box::pin(self.shake_by_libssl(stream, &names)).await;
        }
        let Some(options) = options else {
            let config = self.roots.client(verify);
            return match self.connect(config, &names, stream).await {
                Ok(session) => Ok(Shaken::new(TlsStream::Rustls(session), None)),
                Err((error, stream)) => self.refused(&error, stream, &names).await,
            };
        };
        let client = self.roots.client_with(self.tls, options);
        let config = match client.rustls() {
            Ok(config) => config,
            Err(reason) => return Err((unusable(reason), Some(stream))),
        };
        let offer = (options.resume > 1).then(|| sessions.offer(self.key(&client, &names), options.resume));
        let offered = offer.as_ref().map_or_else(|| Arc::clone(&config), |offer| offer.config(&config));
        match self.connect(offered, &names, stream).await {
            Ok(session) => self.shaken(session, offer, (&client, &names)),
            Err((error, stream)) => {
                let withdrawn = offer.and_then(|mut offer| offer.withdraw().then_some(offer));
                match withdrawn {
                    Some(offer) if !is_too_long(&error) => {
                        socket::reset(stream.into_inner().into_inner());
                        Box::pin(self.shake_without(offer, config, (&client, &names))).await
                    }
                    _ => self.refused(&error, stream, &names).await,
                }
            }
        }
    }

    /// Whose sessions may be resumed.
    fn key(&self, client: &Client, names: &Names) -> Key {
        let Names { verified, sent } = names;
        let (verified, sent) = (verified.clone(), sent.clone());
        Key { client: client.number(), target: self.target.clone(), verified, sent, http2: self.http2 }
    }

    /// # Errors
    /// What went wrong, and the connection.
    async fn connect(
        &self,
        config: Arc<ClientConfig>,
        names: &Names,
        stream: Stream<'a>,
    ) -> Result<RustlsStream<'a>, (io::Error, Overheard<'a>)> {
        let connector = TlsConnector::from(config);
        let (name, lower) = (names.sent.clone(), Overheard::new(stream));
        let connecting = match self.http2 {
            true => connector.with_alpn(vec![HTTP2.to_vec()]).connect(name, lower),
            false => connector.connect(name, lower),
        };
        connecting.into_fallible().await
    }

    /// Shakes hands once more over a new connection, in full. Some servers cannot cope with a
    /// ticket of another one, or of before their restart: they abort the handshake instead of going
    /// on in full, and that says nothing about whether they serve.
    async fn shake_without(
        self,
        offer: Offer,
        config: Arc<ClientConfig>,
        of: (&Client, &Names),
    ) -> Result<Shaken<'a>, Refused<'a>> {
        self.progress.enter(Phase::Connect);
        let connected = socket::connect(self.target, ConnectMode::Interactive, self.progress).await;
        let stream = connected.map_err(|error| (error, None))?;
        self.progress.enter(Phase::Tls);
        match self.connect(offer.config(&config), of.1, stream).await {
            Ok(session) => self.shaken(session, Some(offer), of),
            Err((error, stream)) => self.refused(&error, stream, of.1).await,
        }
    }

    /// Judges what the peer has shown.
    fn shaken(
        &self,
        session: RustlsStream<'a>,
        mut offer: Option<Offer>,
        (client, names): (&Client, &Names),
    ) -> Result<Shaken<'a>, Refused<'a>> {
        let (_, shown) = session.get_ref();
        let chain = shown.peer_certificates().unwrap_or_default();
        let resumed = shown.handshake_kind() == Some(HandshakeKind::Resumed);
        if let Some(offer) = &mut offer {
            offer.made(resumed, chain);
        }
        if resumed {
            self.progress.set_origin(ConnectionOrigin::Resumed);
        }
        let shown = Shown { chain, alpn: shown.alpn_protocol(), resumed };
        let judged = self.roots.inspect(client, &shown, &names.verified);
        let shaken = self.judged(TlsStream::Rustls(session), judged)?;
        Ok(Shaken { offer, ..shaken })
    }

    /// Why there is no session; with more certificates than rustls takes, OpenSSL tries.
    async fn refused(
        self,
        error: &io::Error,
        stream: Overheard<'a>,
        names: &Names,
    ) -> Result<Shaken<'a>, Refused<'a>> {
        if is_too_long(error) {
            socket::reset(stream.into_inner().into_inner());
            return Box::pin(self.shake_again(names)).await;
        }
        if let Some(facts) = reason::certificate_in(error) {
            self.progress.keep_tls(facts);
        }
        Err((name_handshake_error(error, stream.heard()), Some(stream.into_inner())))
    }

    /// # Errors
    /// A name that no certificate can hold, in words.
    fn names(&self) -> Result<Names, String> {
        let options = self.tls.options.as_deref();
        let verified = match (options.and_then(|options| options.verify_name.as_deref()), self.peer) {
            (Some(name), _) => server_name(name),
            (None, Peer::Address(ip)) => Ok(ServerName::IpAddress(ip.into())),
            (None, Peer::Name(name)) => server_name(name),
        };
        // SNI has no way to say what is no name either. Without verification neither is needed.
        let own = match (verified, self.tls.verify) {
            (Ok(name), _) => name,
            (Err(_), false) => nobody(),
            (Err(reason), true) => return Err(reason),
        };
        let sent = match (options.and_then(|options| options.sni.as_deref()), self.peer) {
            (Some(name), _) => server_name(name)?,
            (None, Peer::Address(ip)) => ServerName::IpAddress(ip.into()),
            (None, Peer::Name(name)) => server_name(name).unwrap_or_else(|_| nobody()),
        };
        Ok(Names { verified: own, sent })
    }

    async fn shake_again(self, names: &Names) -> Result<Shaken<'a>, Refused<'a>> {
        match socket::connect(self.target, ConnectMode::Interactive, self.progress).await {
            Ok(stream) => self.shake_by_libssl(stream, names).await,
            Err(error) => Err((error, None)),
        }
    }

    async fn shake_by_libssl(self, stream: Stream<'a>, names: &Names) -> Result<Shaken<'a>, Refused<'a>> {
        let client = self.tls.options.as_ref().map(|options| self.roots.client_with(self.tls, options));
        let context = match &client {
            None => libssl::context(self.tls).map_err(ToString::to_string),
            Some(client) => match client.libssl() {
                Ok(context) => Ok(context),
                Err(reason) => return Err((unusable(reason), Some(stream))),
            },
        };
        let sent = match &names.sent {
            ServerName::DnsName(name) => Some(name.as_ref()),
            _ => None,
        };
        let session = libssl::Session::connect(Overheard::new(stream), sent, self.http2, context).await;
        let session = session.map_err(|(error, stream)| (error, Some(stream.into_inner())))?;
        let chain = session.certificates();
        let judged = match &client {
            Some(client) => {
                let shown = Shown { chain: &chain, alpn: session.alpn(), resumed: false };
                self.roots.inspect(client, &shown, &names.verified)
            }
            None if self.tls.verify => {
                self.roots.verify(&chain, &names.verified, self.tls.sha1).map(|()| None)
            }
            None => match chain.split_first() {
                Some((first, others)) => verify::check_key_sizes(first, others).map(|()| None),
                None => Err("the peer sent no certificate".into()),
            },
        };
        self.judged(TlsStream::Libssl(session), judged)
    }

    /// The session, or the connection without it if its peer is not the one that is wanted.
    fn judged(
        &self,
        session: TlsStream<'a>,
        judged: Result<Warning, String>,
    ) -> Result<Shaken<'a>, Refused<'a>> {
        match judged {
            Ok(warning) => Ok(Shaken::new(session, warning)),
            Err(reason) => {
                self.progress.keep_tls(session.facts());
                let stream = match session {
                    TlsStream::Rustls(session) => session.into_inner().0.into_inner(),
                    TlsStream::Libssl(session) => session.leave().0.into_inner(),
                };
                Err((Failure::Tls(fault::truncate_text(reason)).into(), Some(stream)))
            }
        }
    }
}

/// A host name or an address that a certificate can hold.
fn server_name(name: &str) -> Result<ServerName<'static>, String> {
    if let Ok(ip) = name.parse::<IpAddr>() {
        return Ok(ServerName::IpAddress(ip.into()));
    }
    match DnsName::try_from(name.trim_end_matches('.')) {
        Ok(name) => Ok(ServerName::DnsName(name.to_owned())),
        Err(_) => Err(format!("{name:?} is not a host name")),
    }
}

fn unusable(reason: String) -> ProbeError {
    Failure::BadRequest(fault::truncate_text(reason)).into()
}

/// Whether the peer's certificates are more than rustls takes.
fn is_too_long(error: &io::Error) -> bool {
    matches!(
        rustls_error(error),
        Some(rustls::Error::InvalidMessage(
            InvalidMessage::HandshakePayloadTooLarge | InvalidMessage::CertificatePayloadTooLarge
        ))
    )
}

fn name_handshake_error(error: &io::Error, heard: &[u8]) -> ProbeError {
    if error.raw_os_error().is_some() {
        return fault::after_sending(error, Phase::Tls);
    }
    let reason = match rustls_error(error) {
        Some(rustls::Error::InvalidMessage(_)) if !reason::looks_like_tls(heard) => reason::not_tls(heard),
        Some(error) => reason::of(error),
        None => "the peer closed the connection during the handshake".into(),
    };
    Failure::Tls(fault::truncate_text(reason)).into()
}

/// Names an error of reading or writing, with or without TLS.
pub(crate) fn name_error(error: &io::Error, phase: Phase) -> ProbeError {
    if let Some(error) = rustls_error(error) {
        return Failure::Tls(fault::truncate_text(reason::of(error))).into();
    }
    match libssl::error_in(error) {
        Some(error) => Failure::Tls(fault::truncate_text(reason::of_openssl(error, &[]))).into(),
        None => fault::after_sending(error, phase),
    }
}

/// What a read brought, with or without TLS; the default is the end. A peer that closes the
/// connection without saying so in TLS first ends like any other, as in Go: many do it.
pub(crate) fn name_read<R: Default>(read: io::Result<R>) -> Result<R, ProbeError> {
    match read {
        Ok(read) => Ok(read),
        Err(error) if error.raw_os_error().is_none() && error.kind() == io::ErrorKind::UnexpectedEof => {
            Ok(R::default())
        }
        Err(error) => Err(name_error(&error, Phase::Response)),
    }
}

fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

impl TlsStream<'_> {
    /// Whether the peer has chosen HTTP/2, as RFC 9113 section 3.2 asks for.
    ///
    /// # Errors
    /// [`Failure::Tls`] says what it chose.
    pub(crate) fn check_http2(&self) -> Result<(), ProbeError> {
        let chosen = match self {
            Self::Rustls(stream) => stream.get_ref().1.alpn_protocol(),
            Self::Libssl(session) => session.alpn(),
        };
        let chosen = match chosen {
            Some(HTTP2) => return Ok(()),
            Some(other) => quote(other),
            None => "no protocol".to_owned(),
        };
        let text = format!("the peer does not speak HTTP/2: with ALPN it chose {chosen}");
        Err(Failure::Tls(fault::truncate_text(text)).into())
    }
}

/// The bytes that say in TLS that we leave.
pub(crate) fn close_notify(session: &mut ClientConnection) -> Vec<u8> {
    session.send_close_notify();
    let mut bytes = Vec::with_capacity(64);
    // Writing to a Vec cannot fail.
    let _: io::Result<usize> = session.write_tls(&mut bytes);
    bytes
}

/// The connection without the session, and the alert that says in TLS that we leave.
fn leave(stream: TlsStream<'_>) -> FinishedConn {
    match stream {
        TlsStream::Rustls(mut stream) => {
            let close_notify = close_notify(stream.get_mut().1);
            FinishedConn { stream: stream.into_inner().0.into_inner().into_inner(), close_notify }
        }
        TlsStream::Libssl(session) => {
            let (stream, close_notify) = session.leave();
            FinishedConn { stream: stream.into_inner().into_inner(), close_notify }
        }
    }
}

impl AsyncRead for TlsStream<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Rustls(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Libssl(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for TlsStream<'_> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Rustls(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Libssl(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Rustls(stream) => Pin::new(stream).poll_flush(context),
            Self::Libssl(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Rustls(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Libssl(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
