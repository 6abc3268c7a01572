//! Whom certificates are verified against.

use std::fmt;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;

use super::verify::{Accepting, Verifying};

/// A root certificate that is not used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// A file or a directory could not be read, or holds something else.
    #[error("cannot load root certificates")]
    Unreadable(#[source] rustls_native_certs::Error),
    /// A certificate that cannot be a root.
    #[error("a root certificate is malformed")]
    Malformed(#[source] webpki::Error),
}

/// The root certificates, loaded once and shared: a clone is a reference.
#[derive(Clone)]
pub struct Roots(Arc<Clients>);

/// What handshakes are made from.
struct Clients {
    trusted: usize,
    verifying: Arc<ClientConfig>,
    accepting: Arc<ClientConfig>,
}

impl Roots {
    /// The roots of this system, or those alone that the environment variables `SSL_CERT_FILE` and `SSL_CERT_DIR` name. (Go
    /// adds the system's where only one of the two is set.) Reads files: not for a running loop.
    ///
    /// What cannot be read or used is left out and told beside; a system without roots is no error until something is to be
    /// verified.
    #[must_use]
    pub fn system() -> (Self, Vec<RootsError>) {
        let loaded = rustls_native_certs::load_native_certs();
        let (roots, malformed) = Self::new(loaded.certs);
        let mut problems: Vec<_> = loaded.errors.into_iter().map(RootsError::Unreadable).collect();
        problems.extend(malformed);
        (roots, problems)
    }

    /// These certificates, in DER. What cannot be used is left out and told beside.
    ///
    /// # Panics
    /// Never: the cryptography that is built in speaks both versions of TLS.
    pub fn new(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> (Self, Vec<RootsError>) {
        let (verifying, malformed) = Verifying::new(certificates);
        let problems = malformed.into_iter().map(RootsError::Malformed).collect();
        let clients = Clients {
            trusted: verifying.len(),
            verifying: client(Arc::new(verifying)),
            accepting: client(Arc::new(Accepting::new())),
        };
        (Self(Arc::new(clients)), problems)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.trusted
    }

    /// Whether there are none, so that every verification fails.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn client(&self, verify: bool) -> &Arc<ClientConfig> {
        if verify { &self.0.verifying } else { &self.0.accepting }
    }
}

/// No roots: every verification fails.
impl Default for Roots {
    fn default() -> Self {
        Self::new([]).0
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({})", self.len())
    }
}

fn client(verifier: Arc<dyn ServerCertVerifier>) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let mut client = builder
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    client.resumption = Resumption::disabled();
    Arc::new(client)
}
