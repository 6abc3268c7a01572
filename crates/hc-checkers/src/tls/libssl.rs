//! TLS by OpenSSL, for what rustls cannot do: a certificate message of more than 64 KB, and the
//! settings of a check that go beyond TLS 1.2 and 1.3 as Go speaks them.
//!
//! OpenSSL verifies nothing here but that the peer holds its key; certificates are for
//! [`verify`](super::verify) in any case.

use std::io;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};

use hc_types::{Failure, Phase, Tls, TlsFacts, TlsIdentity, TlsOptions, TlsVersion};
use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{
    Error, Ssl, SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions, SslSessionCacheMode,
    SslVerifyMode, SslVersion,
};
use openssl::x509::X509;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_openssl::SslStream;

use super::{Overheard, facts, reason};
use crate::fault::{self, ProbeError};

/// The suites of TLS 1.2 that Go takes by default (`crypto/tls/cipher_suites.go`).
const SUITES: &str = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA:\
    ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA";
/// Those with RSA key exchange, as many as the library has: AES, Camellia, ARIA, and 3DES where it
/// was built in.
const RSA_KEY_EXCHANGE: &str = "kRSA:!eNULL:!aNULL:!PSK";
const GROUPS: &str = "X25519:P-256:P-384:P-521";
const SIGNATURES: &str = "RSA-PSS+SHA256:ECDSA+SHA256:ed25519:RSA-PSS+SHA384:RSA-PSS+SHA512:RSA+SHA256:RSA+SHA384:\
    RSA+SHA512:ECDSA+SHA384:ECDSA+SHA512";
const SHA1_SIGNATURES: &str = "RSA+SHA1:ECDSA+SHA1";

/// Go's (`maxHandshakeCertificateMsg` in `crypto/tls/conn.go`), in KiB.
const MAX_CERTIFICATE_MESSAGE: u16 = 256;

/// Makes everything that reads files (OpenSSL's configuration): to be called before they are out of
/// reach.
pub(super) fn prepare() {
    // The first context does. Whoever needs it learns why it cannot be had.
    let _context = context(&Tls::new(false));
}

/// The context of checks without options.
///
/// # Errors
/// Why OpenSSL cannot be used.
pub(super) fn context(tls: &Tls) -> Result<&'static SslContext, &'static ErrorStack> {
    static CONTEXTS: [OnceLock<Result<SslContext, ErrorStack>>; 8] = [const { OnceLock::new() }; 8];
    let at =
        usize::from(tls.old_versions) | usize::from(tls.rsa_key_exchange) << 1 | usize::from(tls.sha1) << 2;
    CONTEXTS[at].get_or_init(|| Ok(builder(tls)?.build())).as_ref()
}

/// The context of checks with these options.
///
/// # Errors
/// Why OpenSSL cannot be used, or the certificate of the client.
pub(super) fn with_options(tls: &Tls, options: &TlsOptions) -> Result<SslContext, String> {
    let words = |error: ErrorStack| error.to_string();
    let mut context = builder(tls).map_err(words)?;
    if let Some(least) = options.min_version {
        let least = match least {
            TlsVersion::V1_0 => SslVersion::TLS1,
            TlsVersion::V1_1 => SslVersion::TLS1_1,
            TlsVersion::V1_2 => SslVersion::TLS1_2,
            TlsVersion::V1_3 => SslVersion::TLS1_3,
        };
        context.set_min_proto_version(Some(least)).map_err(words)?;
    }
    if !options.alpn.is_empty() {
        // Each behind its length (RFC 7301 section 3.1). None is longer than a byte says.
        let list = options.alpn.iter().flat_map(|name| {
            let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
            std::iter::once(length).chain(name.as_slice().iter().copied())
        });
        context.set_alpn_protos(&list.collect::<Vec<u8>>()).map_err(words)?;
    }
    if let Some(identity) = &options.identity {
        identify(&mut context, identity)
            .map_err(|error| format!("the client's certificate cannot be used: {error}"))?;
    }
    Ok(context.build())
}

fn identify(context: &mut SslContextBuilder, identity: &TlsIdentity) -> Result<(), ErrorStack> {
    let mut chain = identity.chain.iter();
    if let Some(own) = chain.next() {
        let own = X509::from_der(own.as_slice())?;
        context.set_certificate(&own)?;
    }
    for other in chain {
        context.add_extra_chain_cert(X509::from_der(other.as_slice())?)?;
    }
    let key = PKey::private_key_from_der(identity.key.expose())?;
    context.set_private_key(&key)?;
    context.check_private_key()
}

fn builder(tls: &Tls) -> Result<SslContextBuilder, ErrorStack> {
    let list = |separator: &str, always: &str, more: &[(bool, &str)]| {
        let more = more.iter().filter(|(wanted, _)| *wanted).map(|(_, text)| *text);
        std::iter::once(always).chain(more).collect::<Vec<_>>().join(separator)
    };
    let mut context = SslContext::builder(SslMethod::tls_client())?;
    // The distribution's configuration may ask for more; here the settings of the check decide
    // alone.
    context.set_security_level(0);
    let lowest = if tls.old_versions { SslVersion::TLS1 } else { SslVersion::TLS1_2 };
    context.set_min_proto_version(Some(lowest))?;
    context.set_max_proto_version(None)?;
    context.set_cipher_list(&list(":", SUITES, &[(tls.rsa_key_exchange, RSA_KEY_EXCHANGE)]))?;
    context.set_groups_list(GROUPS)?;
    context.set_sigalgs_list(&list(":", SIGNATURES, &[(tls.sha1, SHA1_SIGNATURES)]))?;
    // SSL_OP_LEGACY_SERVER_CONNECT, the same bit in OpenSSL 1.1 and 3: a server that does not know
    // of RFC 5746 is reached all the same, since nothing is ever renegotiated.
    let legacy_server_connect = SslOptions::from_bits_retain(0x4);
    context.set_options(
        legacy_server_connect
            | SslOptions::NO_TICKET
            | SslOptions::NO_RENEGOTIATION
            | SslOptions::IGNORE_UNEXPECTED_EOF,
    );
    hc_libssl::set_max_certificate_message(&mut context, MAX_CERTIFICATE_MESSAGE);
    context.set_verify(SslVerifyMode::NONE);
    context.set_session_cache_mode(SslSessionCacheMode::OFF);
    context.set_mode(SslMode::RELEASE_BUFFERS);
    Ok(context)
}

/// A TLS session of OpenSSL.
#[derive(Debug)]
pub(crate) struct Session<'a>(Box<SslStream<Lower<'a>>>);

impl<'a> Session<'a> {
    /// Shakes hands by what is in `context`, with this name as SNI.
    ///
    /// # Errors
    /// Why not, and the connection.
    pub(super) async fn connect(
        stream: Overheard<'a>,
        server_name: Option<&str>,
        http2: bool,
        context: Result<&SslContext, String>,
    ) -> Result<Self, (ProbeError, Overheard<'a>)> {
        let mut lower = Some(Lower { stream: Some(stream), kept: Vec::new() });
        let made = context.and_then(|context| {
            let mut ssl = Ssl::new(context).map_err(|error| error.to_string())?;
            if http2 {
                ssl.set_alpn_protos(b"\x02h2").map_err(|error| error.to_string())?;
            }
            if let Some(name) = server_name {
                ssl.set_hostname(name).map_err(|error| error.to_string())?;
            }
            match lower.take() {
                Some(lower) => SslStream::new(ssl, lower).map_err(|error| error.to_string()),
                None => Err(String::new()),
            }
        });
        let mut session = match (made, lower) {
            (Ok(session), _) => Self(Box::new(session)),
            (Err(error), Some(Lower { stream: Some(stream), .. })) => {
                let reason = fault::truncate_text(format!("OpenSSL cannot be used: {error}"));
                return Err((Failure::Tls(reason).into(), stream));
            }
            (Err(error), _) => unreachable!("a session was made of the connection: {error}"),
        };
        match Pin::new(&mut *session.0).connect().await {
            Ok(()) => Ok(session),
            Err(error) => {
                let stream = session.into_stream();
                Err((name_handshake_error(&error, stream.heard()), stream))
            }
        }
    }

    /// The certificates that the peer sent, its own first.
    pub(super) fn certificates(&self) -> Vec<CertificateDer<'static>> {
        let chain = self.0.ssl().peer_cert_chain();
        let chain = chain.into_iter().flatten().filter_map(|certificate| certificate.to_der().ok());
        chain.map(CertificateDer::from).collect()
    }

    /// What the handshake came to.
    pub(super) fn facts(&self) -> TlsFacts {
        let ssl = self.0.ssl();
        let certificate = ssl.peer_certificate().and_then(|certificate| certificate.to_der().ok());
        // OpenSSL says `TLSv1` and `TLSv1.2`.
        let version = ssl.version_str().replace("TLSv", "TLS ");
        let cipher = ssl.current_cipher().map(|cipher| cipher.standard_name().unwrap_or(cipher.name()));
        TlsFacts {
            version: if version == "TLS 1" { "TLS 1.0".into() } else { version.into() },
            cipher: cipher.unwrap_or_default().into(),
            ..certificate.map(|der| facts::of_certificate(&der)).unwrap_or_default()
        }
    }

    /// The protocol that the peer chose by ALPN.
    pub(super) fn alpn(&self) -> Option<&[u8]> {
        self.0.ssl().selected_alpn_protocol()
    }

    /// The connection, and the bytes that say in TLS that we leave.
    pub(super) fn leave(mut self) -> (Overheard<'a>, Vec<u8>) {
        let lower = self.0.get_mut();
        let stream = lower.stream.take();
        // What is written from here on is kept.
        let mut context = Context::from_waker(std::task::Waker::noop());
        let _shut: Poll<io::Result<()>> = Pin::new(&mut *self.0).poll_shutdown(&mut context);
        let kept = std::mem::take(&mut self.0.get_mut().kept);
        (stream.expect("it is taken only at the end"), kept)
    }

    fn into_stream(mut self) -> Overheard<'a> {
        self.0.get_mut().stream.take().expect("it is taken only at the end")
    }
}

fn name_handshake_error(error: &Error, heard: &[u8]) -> ProbeError {
    if let Some(error) = error.io_error().filter(|error| error.raw_os_error().is_some()) {
        return fault::after_sending(error, Phase::Tls);
    }
    Failure::Tls(fault::truncate_text(reason::of_openssl(error, heard))).into()
}

/// The error of OpenSSL in an error of reading or writing.
pub(super) fn error_in(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// The connection below a session. Once it is taken out, what would be written is kept.
#[derive(Debug)]
struct Lower<'a> {
    stream: Option<Overheard<'a>>,
    kept: Vec<u8>,
}

impl AsyncRead for Lower<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Some(stream) => Pin::new(stream).poll_read(context, buffer),
            None => Poll::Pending,
        }
    }
}

impl AsyncWrite for Lower<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, kept } = &mut *self;
        match stream {
            Some(stream) => Pin::new(stream).poll_write(context, bytes),
            None => {
                kept.extend_from_slice(bytes);
                Poll::Ready(Ok(bytes.len()))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Some(stream) => Pin::new(stream).poll_flush(context),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Who closes the connection, and how, is decided elsewhere.
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Session<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Session<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(context)
    }
}
