//! TLS over a connection that stands: 1.2 and 1.3, a full handshake each time (resuming a session would test less), no ALPN.

mod der;
mod overheard;
mod reason;
mod roots;
mod verify;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use hc_types::{Failure, Phase};
use rustls::pki_types::{DnsName, ServerName};
use tokio_rustls::TlsConnector;

use crate::fault::{self, Setback};
use crate::socket::{Stream, Used};

pub(crate) use der::public_key;
pub(crate) use overheard::Overheard;
pub use reason::not_tls;
pub use roots::{Roots, RootsError};

/// A TLS session of ours.
pub(crate) type TlsStream<'a> = tokio_rustls::client::TlsStream<Overheard<'a>>;

/// Whom the certificate must name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Peer<'a> {
    /// An address: it must be among the certificate's IP SANs, and no SNI is sent.
    Address(IpAddr),
    /// A name: it must be among the DNS SANs, and is sent as SNI.
    Name(&'a str),
}

/// Shakes hands. Without `verify` any certificate will do, but the peer must hold its key, as with Go's
/// `InsecureSkipVerify`.
///
/// # Errors
/// Why not, and the connection, to be closed.
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub(crate) async fn handshake<'a>(
    stream: Stream<'a>,
    peer: Peer<'_>,
    verify: bool,
    roots: &Roots,
) -> Result<TlsStream<'a>, (Setback, Stream<'a>)> {
    let name = match peer {
        Peer::Address(ip) => ServerName::IpAddress(ip.into()),
        Peer::Name(name) => match DnsName::try_from(name.trim_end_matches('.')) {
            Ok(name) => ServerName::DnsName(name.to_owned()),
            // No certificate can hold it, and SNI has no way to say it. Without verification neither is needed.
            Err(_) if !verify => ServerName::IpAddress(IpAddr::from([0, 0, 0, 0]).into()),
            Err(_) => {
                return Err((
                    Failure::Tls(fault::told(format!("{name:?} is not a host name"))).into(),
                    stream,
                ));
            }
        },
    };
    let connector = TlsConnector::from(Arc::clone(roots.client(verify)));
    match connector.connect(name, Overheard::new(stream)).into_fallible().await {
        Ok(stream) => Ok(stream),
        Err((error, stream)) => Err((name_handshake_error(&error, stream.heard()), stream.into_inner())),
    }
}

fn name_handshake_error(error: &io::Error, heard: &[u8]) -> Setback {
    if error.raw_os_error().is_some() {
        return fault::after_sending(error, Phase::Tls);
    }
    let reason = match rustls_error(error) {
        Some(rustls::Error::InvalidMessage(_)) if !reason::looks_like_tls(heard) => reason::not_tls(heard),
        Some(error) => reason::of(error),
        None => "the peer closed the connection during the handshake".into(),
    };
    Failure::Tls(fault::told(reason)).into()
}

/// Names an error of reading or writing, with or without TLS.
pub(crate) fn name_error(error: &io::Error, phase: Phase) -> Setback {
    match rustls_error(error) {
        Some(error) => Failure::Tls(fault::told(reason::of(error))).into(),
        None => fault::after_sending(error, phase),
    }
}

/// How many bytes a read brought, with or without TLS; 0 is the end. A peer that closes the connection without saying so in
/// TLS first ends like any other, as in Go: many do it.
pub(crate) fn name_read(read: io::Result<usize>) -> Result<usize, Setback> {
    match read {
        Ok(length) => Ok(length),
        Err(error) if error.raw_os_error().is_none() && error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
        Err(error) => Err(name_error(&error, Phase::Response)),
    }
}

fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// The connection without the session, and the alert that says in TLS that we leave.
pub(crate) fn leave(mut stream: TlsStream<'_>) -> Used {
    let (_, session) = stream.get_mut();
    session.send_close_notify();
    let mut goodbye = Vec::with_capacity(64);
    // Writing to a Vec cannot fail.
    let _: io::Result<usize> = session.write_tls(&mut goodbye);
    Used { stream: stream.into_inner().0.into_inner().into_inner(), goodbye }
}
