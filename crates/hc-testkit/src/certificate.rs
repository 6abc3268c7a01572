//! Certificates of every kind of wrong.

use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, SanType,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS12;
use rustls::{ServerConfig, SupportedProtocolVersion};

/// What a certificate is for (RFC 5280 section 4.2.1.12).
pub use rcgen::ExtendedKeyUsagePurpose as Purpose;

/// A certificate authority of a test.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A server's certificate chain and key.
#[derive(Debug)]
pub struct Identity {
    /// The chain, the server's own first.
    pub chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    versions: &'static [&'static SupportedProtocolVersion],
}

/// What a certificate says.
#[derive(Clone, Debug)]
pub struct Wish {
    /// DNS names and addresses.
    pub names: Vec<String>,
    /// From the beginning of this year, to the beginning of that.
    pub years: (i32, i32),
    /// Whether it may sign others.
    pub authority: bool,
    /// What it is for; empty: it does not say.
    pub purposes: Vec<Purpose>,
}

impl Wish {
    /// Good for these names, until long after this test.
    pub fn valid_for<T: ToString>(names: impl IntoIterator<Item = T>) -> Self {
        Self {
            names: names.into_iter().map(|name| name.to_string()).collect(),
            years: (2000, 2100),
            authority: false,
            purposes: Vec::new(),
        }
    }

    /// The same, valid in these years.
    #[must_use]
    pub fn in_years(self, from: i32, to: i32) -> Self {
        Self { years: (from, to), ..self }
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.subject_alt_names = self
            .names
            .iter()
            .filter_map(|name| match name.parse::<IpAddr>() {
                Ok(ip) => Some(SanType::IpAddress(ip)),
                Err(_) => name.as_str().try_into().ok().map(SanType::DnsName),
            })
            .collect();
        params.not_before = date_time_ymd(self.years.0, 1, 1);
        params.not_after = date_time_ymd(self.years.1, 1, 1);
        params.extended_key_usages.clone_from(&self.purposes);
        if self.authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, "hc test");
        params.distinguished_name = name;
        params
    }
}

impl Authority {
    /// A new authority, valid in these years.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new(name: &str, from: i32, to: i32) -> Result<Self, rcgen::Error> {
        let mut params = Wish { authority: true, ..Wish::valid_for([""; 0]) }.in_years(from, to).params();
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CommonName, name);
        params.distinguished_name = subject;
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    /// Its own certificate, to be trusted.
    #[must_use]
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// The same in PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate that it signs.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn sign(&self, wish: &Wish) -> Result<Identity, rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate = wish.params().signed_by(&key, &self.0)?;
        Ok(Identity::new(certificate.der().clone(), key.into()))
    }

    /// An authority that it signs.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn delegate(&self, name: &str) -> Result<Self, rcgen::Error> {
        let mut params = Wish { authority: true, ..Wish::valid_for([""; 0]) }.params();
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CommonName, name);
        params.distinguished_name = subject;
        Ok(Self(CertifiedIssuer::signed_by(params, KeyPair::generate()?, &self.0)?))
    }
}

impl Identity {
    fn new(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> Self {
        Self { chain: vec![certificate], key, versions: rustls::DEFAULT_VERSIONS }
    }

    /// A certificate that signs itself.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn self_signed(wish: &Wish) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate = wish.params().self_signed(&key)?;
        Ok(Self::new(certificate.der().clone(), key.into()))
    }

    /// A self-signed certificate of version 1, which names nobody: what `openssl x509 -req` makes
    /// without extensions.
    ///
    /// # Panics
    /// Never: it is built in.
    #[must_use]
    pub fn version_1() -> Self {
        let certificate = CertificateDer::from(include_bytes!("../data/version1.der").as_slice());
        let key = PrivateKeyDer::try_from(include_bytes!("../data/version1.key.der").as_slice())
            .expect("the key beside the certificate");
        Self::new(certificate, key)
    }

    /// Sends this certificate behind its own.
    #[must_use]
    pub fn with(mut self, intermediate: CertificateDer<'static>) -> Self {
        self.chain.push(intermediate);
        self
    }

    /// The key in DER.
    #[must_use]
    pub fn key(&self) -> Vec<u8> {
        self.key.secret_der().to_vec()
    }

    /// Speaks TLS 1.2 and nothing else.
    #[must_use]
    pub fn only_tls12(self) -> Self {
        static ONLY: [&SupportedProtocolVersion; 1] = [&TLS12];
        Self { versions: &ONLY, ..self }
    }

    /// What a server of this identity is configured with.
    ///
    /// # Errors
    /// When its key cannot be used.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = provider.key_provider.load_private_key(self.key.clone_key())?;
        // Not checked against the certificate: rustls would refuse one of version 1.
        let certified = CertifiedKey::new(self.chain.clone(), key);
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        Ok(Arc::new(config))
    }
}
