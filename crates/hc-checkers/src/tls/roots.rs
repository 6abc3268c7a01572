//! Whom certificates are verified against.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use hc_types::{Tls, TlsOptions};
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, DEFAULT_VERSIONS, SupportedProtocolVersion};

use super::options::{Client, Clients, Shown};
use super::sources::{Sighting, Sources};
use super::verify::{Accepting, Verifying};
use super::{cbc, groups, libssl, signatures};

/// A root certificate that is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootsError {
    /// A file or a directory could not be read, or holds something else.
    #[error("cannot load root certificates: {0}")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A certificate that cannot be a root.
    #[error("a root certificate is malformed: {0}")]
    Malformed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The root certificates, shared by all that verify: a clone is a reference, and sees what
/// [`SystemRoots::reload`] reads.
///
/// The default is the roots of the system as they are when this process first verifies a
/// certificate. They are then read from files by the thread that runs the probe, once for all; a
/// program that must not wait for a disk there, or wants to know what could not be read, uses
/// [`Roots::system`] or [`SystemRoots`] at its start.
#[derive(Clone, Default)]
pub struct Roots(Option<Arc<RwLock<Trust>>>);

/// The roots of the system, for [`Roots::default`].
static SYSTEM: LazyLock<Roots> = LazyLock::new(|| Roots::system().0);

/// What handshakes are made from that accept every certificate.
static ACCEPTING: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    libssl::prepare();
    plain_client(Arc::new(Accepting))
});

#[derive(Clone)]
struct Trust {
    verifying: Arc<Verifying>,
    client: Arc<ClientConfig>,
    with_options: Arc<Clients>,
}

impl Roots {
    /// The roots of this system, or those alone that the environment variables `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` name. (Go adds the system's where only one of the two is set.) Reads files:
    /// not for a running loop.
    ///
    /// What cannot be read or used is left out and returned beside; a system without roots is no
    /// error until something is to be verified. See [`SystemRoots`] for roots that are read again.
    #[must_use]
    pub fn system() -> (Self, Vec<RootsError>) {
        let (system, problems) = SystemRoots::load();
        (system.roots, problems)
    }

    /// These certificates, in DER. What cannot be used is left out and returned beside.
    ///
    /// # Panics
    /// Never: the cryptography that is built in speaks both versions of TLS.
    pub fn new<C: AsRef<[u8]>>(certificates: impl IntoIterator<Item = C>) -> (Self, Vec<RootsError>) {
        Self::of(certificates.into_iter().map(|certificate| certificate.as_ref().to_vec().into()))
    }

    fn of(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> (Self, Vec<RootsError>) {
        libssl::prepare();
        let (trust, problems) = Trust::new(certificates);
        (Self(Some(Arc::new(RwLock::new(trust)))), problems)
    }

    /// No roots: every verification fails.
    #[must_use]
    pub fn none() -> Self {
        Self::of([]).0
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.trust().verifying.len()
    }

    /// Whether there are none, so that every verification fails.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn client(&self, verify: bool) -> Arc<ClientConfig> {
        if verify { self.trust().client } else { Arc::clone(&ACCEPTING) }
    }

    /// Verifies a chain that another library has received; `sha1`: signatures with SHA-1 count.
    pub(super) fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        sha1: bool,
    ) -> Result<(), String> {
        self.trust().verifying.verify_chain(chain, name, sha1)
    }

    /// What a handshake with these options is made with.
    pub(super) fn client_with(&self, tls: &Tls, options: &Arc<TlsOptions>) -> Arc<Client> {
        self.trust().with_options.of(tls, options)
    }

    /// Judges what the peer has shown in such a handshake: see [`Client::inspect`].
    pub(super) fn inspect(
        &self,
        client: &Client,
        shown: &Shown<'_>,
        name: &ServerName<'_>,
    ) -> Result<Option<Box<str>>, String> {
        client.inspect(shown, name, &self.trust().verifying)
    }

    fn trust(&self) -> Trust {
        self.shared().read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, trust: Trust) {
        *self.shared().write().unwrap_or_else(PoisonError::into_inner) = trust;
    }

    fn shared(&self) -> &RwLock<Trust> {
        // The system's were made by `new`, so this goes one step deep.
        self.0.as_deref().unwrap_or_else(|| SYSTEM.shared())
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Formatting reads no files.
        if self.0.is_some() { write!(f, "Roots({})", self.len()) } else { f.write_str("Roots(system)") }
    }
}

impl Trust {
    fn new(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> (Self, Vec<RootsError>) {
        let (verifying, malformed) = Verifying::new(certificates);
        let verifying = Arc::new(verifying);
        let client = plain_client(Arc::clone(&verifying) as Arc<dyn ServerCertVerifier>);
        (
            Self { verifying, client, with_options: Arc::default() },
            malformed.into_iter().map(|error| RootsError::Malformed(Box::new(error))).collect(),
        )
    }
}

/// The roots of this system with the places that they come from, to be read again when those
/// change.
///
/// ```no_run
/// use hc_checkers::{Reload, SystemRoots};
///
/// let (mut system, _problems) = SystemRoots::load();
/// let roots = system.roots(); // for `CheckersConfig`
/// // Every few seconds, on a thread that may wait for a disk:
/// if let Reload::Kept(reason) = system.reload() {
///     eprintln!("the old root certificates stay in use: {reason}");
/// }
/// # let _ = roots;
/// ```
#[derive(Debug)]
pub struct SystemRoots {
    roots: Roots,
    /// What was read.
    seen: Sighting,
    /// What the last look has seen, if that is something else.
    changing: Option<Sighting>,
}

/// What [`SystemRoots::reload`] has found.
#[derive(Debug)]
pub enum Reload {
    /// The files are as they were, or hold the same certificates, or have changed only since the
    /// last look.
    Unchanged,
    /// There are other roots from now on.
    Replaced {
        /// How many there are.
        count: usize,
        /// Files, directories and certificates that cannot be used and are left out.
        problems: Vec<RootsError>,
    },
    /// The files have changed, and cannot be used: the roots stay as they were. Why, in one line.
    Kept(String),
}

impl SystemRoots {
    /// What [`Roots::system`] reads.
    #[must_use]
    pub fn load() -> (Self, Vec<RootsError>) {
        let sources = Sources::of_system();
        let seen = sources.look();
        let (certificates, errors) = read(&sources);
        let (roots, malformed) = Roots::of(certificates);
        let mut problems = unreadable(errors);
        problems.extend(malformed);
        (Self { roots, seen, changing: None }, problems)
    }

    /// The roots, which follow the files.
    #[must_use]
    pub fn roots(&self) -> Roots {
        self.roots.clone()
    }

    /// The directories, with what is below them, and single files that must stay readable for
    /// [`reload`](Self::reload).
    #[must_use]
    pub fn reach(&self) -> Vec<PathBuf> {
        Sources::of_system().reach()
    }

    /// Reads the files again if they have changed since they were last read: in place, by a rename,
    /// or behind a link. To be called every few seconds: a change is used when two calls in a row
    /// have seen the same, so that a file that is written in pieces is not taken half. What cannot
    /// be used is left out, as by [`load`](Self::load), and returned beside. If nothing usable is
    /// left, or the file cannot be read at all, the roots stay as they are. Waits for the disk.
    pub fn reload(&mut self) -> Reload {
        let sources = Sources::of_system();
        let seen = sources.look();
        if seen == self.seen {
            self.changing = None;
            return Reload::Unchanged;
        }
        if self.changing.as_ref() != Some(&seen) {
            self.changing = Some(seen);
            return Reload::Unchanged;
        }
        let (certificates, errors) = read(&sources);
        let after = sources.look();
        if after != seen {
            self.changing = Some(after);
            return Reload::Unchanged;
        }
        self.changing = None;
        self.seen = seen;
        let file = sources.file.as_deref().map(|file| (file, fs::File::open(file)));
        if let Some((file, Err(error))) = file {
            return Reload::Kept(format!("cannot read {}: {error}", file.display()));
        }
        let (trust, malformed) = Trust::new(certificates);
        let count = trust.verifying.len();
        let mut problems = unreadable(errors);
        problems.extend(malformed);
        if count == 0 {
            let nothing = "no root certificate is there any more".to_owned();
            return Reload::Kept(problems.first().map_or(nothing, ToString::to_string));
        }
        if trust.verifying.is_of_same(&self.roots.trust().verifying) {
            return Reload::Unchanged;
        }
        self.roots.replace(trust);
        Reload::Replaced { count, problems }
    }
}

fn unreadable(errors: Vec<rustls_native_certs::Error>) -> Vec<RootsError> {
    errors.into_iter().map(|error| RootsError::Unreadable(Box::new(error))).collect()
}

fn read(sources: &Sources) -> (Vec<CertificateDer<'static>>, Vec<rustls_native_certs::Error>) {
    let mut certificates = Vec::new();
    let mut errors = Vec::new();
    let file = sources.file.as_deref().map(|file| (Some(file), None));
    let directories = sources.directories.iter().map(|directory| (None, Some(directory.as_path())));
    for (file, directory) in file.into_iter().chain(directories) {
        let loaded = rustls_native_certs::load_certs_from_paths(file, directory);
        certificates.extend(loaded.certs);
        errors.extend(loaded.errors);
    }
    (certificates, errors)
}

fn plain_client(verifier: Arc<dyn ServerCertVerifier>) -> Arc<ClientConfig> {
    Arc::new(client(verifier, DEFAULT_VERSIONS, None).expect("no certificate of the client can be wrong"))
}

/// # Errors
/// Why the certificate of the client cannot be used.
pub(super) fn client(
    verifier: Arc<dyn ServerCertVerifier>,
    versions: &[&'static SupportedProtocolVersion],
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(versions)
        .expect("there are suites of TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut client = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
    };
    client.resumption = Resumption::disabled();
    Ok(client)
}

/// aws-lc-rs, with all that Go offers by default.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.extend(cbc::suites());
    provider.kx_groups = groups::ALL.to_vec();
    provider.signature_verification_algorithms = signatures::MODERN;
    provider
}
