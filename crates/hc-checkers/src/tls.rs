//! TLS over a connection that stands: a full handshake each time (resuming a session would test
//! less), no ALPN.
//!
//! rustls speaks TLS 1.2 and 1.3 with all that Go offers by default. OpenSSL speaks where rustls
//! cannot, see [`libssl`].

mod cbc;
mod der;
mod facts;
mod groups;
mod libssl;
mod options;
mod overheard;
mod reason;
mod roots;
mod rules;
mod second_opinion;
mod signatures;
mod sources;
mod verify;

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use hc_types::{Failure, Pass, Phase, Target, Tls, quote};
use rustls::InvalidMessage;
use rustls::pki_types::{DnsName, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;

use crate::CheckersConfig;
use crate::deadline::Progress;
use crate::fault::{self, ProbeError};
use crate::socket::{self, ConnectMode, FinishedConn, Stream};

use options::Shown;

pub(crate) use der::public_key;
pub(crate) use overheard::Overheard;
pub use reason::not_tls;
pub use roots::{Reload, Roots, RootsError, SystemRoots};

/// A TLS session of ours.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "the large one is the common one, and lives inside the probe's future"
)]
pub(crate) enum TlsStream<'a> {
    Rustls(tokio_rustls::client::TlsStream<Overheard<'a>>),
    Libssl(libssl::Session<'a>),
}

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
        let progress = self.progress;
        progress.enter(Phase::Tls);
        let _session = config.memory.session();
        let (mut session, warning) = match self.shake(stream).await {
            Ok(shaken) => shaken,
            Err((error, Some(stream))) => return Ok((Err(error), stream.into_inner().into())),
            Err((error, None)) => return Err(error),
        };
        let verdict = speak(&mut session).await;
        if verdict.is_err() || config.full_evidence {
            progress.keep_tls(session.facts());
        }
        Ok((verdict.map(|pass| pass.warned(warning)), leave(session)))
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
    async fn shake(self, stream: Stream<'a>) -> Result<(TlsStream<'a>, Warning), Refused<'a>> {
        let Tls { verify, old_versions, rsa_key_exchange, sha1, ref options } = *self.tls;
        let names = match self.names() {
            Ok(names) => names,
            Err(reason) => return Err((Failure::Tls(fault::truncate_text(reason)).into(), Some(stream))),
        };
        if old_versions || rsa_key_exchange || sha1 {
            return Box::pin(self.shake_by_libssl(stream, &names)).await;
        }
        let client = options.as_ref().map(|options| self.roots.client_with(self.tls, options));
        let config = match &client {
            None => self.roots.client(verify),
            Some(client) => match client.rustls() {
                Ok(config) => config,
                Err(reason) => return Err((unusable(reason), Some(stream))),
            },
        };
        let connector = TlsConnector::from(config);
        let (name, lower) = (names.sent.clone(), Overheard::new(stream));
        let connecting = match self.http2 {
            true => connector.with_alpn(vec![HTTP2.to_vec()]).connect(name, lower),
            false => connector.connect(name, lower),
        };
        let session = match connecting.into_fallible().await {
            Ok(session) => session,
            Err((error, stream)) if is_too_long(&error) => {
                socket::reset(stream.into_inner().into_inner());
                return Box::pin(self.shake_again(&names)).await;
            }
            Err((error, stream)) => {
                if let Some(facts) = reason::certificate_in(&error) {
                    self.progress.keep_tls(facts);
                }
                return Err((name_handshake_error(&error, stream.heard()), Some(stream.into_inner())));
            }
        };
        let Some(client) = client else { return Ok((TlsStream::Rustls(session), None)) };
        let (_, shown) = session.get_ref();
        let chain = shown.peer_certificates().unwrap_or_default();
        let shown = Shown { chain, alpn: shown.alpn_protocol() };
        let judged = self.roots.inspect(&client, &shown, &names.verified);
        self.judged(TlsStream::Rustls(session), judged)
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

    async fn shake_again(self, names: &Names) -> Result<(TlsStream<'a>, Warning), Refused<'a>> {
        match socket::connect(self.target, ConnectMode::Interactive, self.progress).await {
            Ok(stream) => self.shake_by_libssl(stream, names).await,
            Err(error) => Err((error, None)),
        }
    }

    async fn shake_by_libssl(
        self,
        stream: Stream<'a>,
        names: &Names,
    ) -> Result<(TlsStream<'a>, Warning), Refused<'a>> {
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
                let shown = Shown { chain: &chain, alpn: session.alpn() };
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
    ) -> Result<(TlsStream<'a>, Warning), Refused<'a>> {
        match judged {
            Ok(warning) => Ok((session, warning)),
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

/// The connection without the session, and the alert that says in TLS that we leave.
fn leave(stream: TlsStream<'_>) -> FinishedConn {
    match stream {
        TlsStream::Rustls(mut stream) => {
            let (_, session) = stream.get_mut();
            session.send_close_notify();
            let mut close_notify = Vec::with_capacity(64);
            // Writing to a Vec cannot fail.
            let _: io::Result<usize> = session.write_tls(&mut close_notify);
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
