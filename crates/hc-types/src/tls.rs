//! How TLS is spoken.

use std::fmt;
use std::sync::Arc;

use crate::{RawBytes, Secret, SpecError};

/// How TLS is spoken. What Seesaw's checkers speak is TLS 1.2 and 1.3 as Go does by default; the
/// flags beside `verify` also take servers that Seesaw finds unhealthy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tls {
    /// Verify the chain against the system's roots, and the name (or the address) against the
    /// certificate.
    pub verify: bool,
    /// Also speak TLS 1.0 and 1.1.
    pub old_versions: bool,
    /// Also take cipher suites with RSA key exchange (RFC 5246 section 7.4.7.1), which have no
    /// forward secrecy.
    pub rsa_key_exchange: bool,
    /// Also take SHA-1 signatures, in the handshake and in certificates.
    pub sha1: bool,
    /// What few checks ask for. Checks that are made together share it, so that what follows from
    /// it (a configuration of the TLS library) is made once.
    pub options: Option<Arc<TlsOptions>>,
}

impl Tls {
    /// TLS as Seesaw's checkers speak it.
    #[must_use]
    pub const fn new(verify: bool) -> Self {
        Self { verify, old_versions: false, rsa_key_exchange: false, sha1: false, options: None }
    }

    /// Puts the options into their one form, and checks them.
    pub(crate) fn check(&mut self) -> Result<(), SpecError> {
        if let Some(options) = self.options.as_mut().filter(|options| options.resume == 1) {
            Arc::make_mut(options).resume = 0;
        }
        self.options.take_if(|options| **options == TlsOptions::default());
        let Some(options) = &self.options else { return Ok(()) };
        let wrong = |field, problem: &'static str| Err(SpecError::TlsOption { field, problem });
        if !self.verify && options.verify_name.is_some() {
            return wrong("verify_name", "nothing is compared with it without verification");
        }
        if !self.verify && options.roots.is_some() {
            return wrong("ca_file", "nothing is verified against it without verification");
        }
        if options.sni.as_deref().is_some_and(|name| !is_host_name(name)) {
            return wrong("sni", "is not a host name");
        }
        if options.verify_name.as_deref().is_some_and(str::is_empty) {
            return wrong("verify_name", "is empty");
        }
        if options.alpn.iter().any(|name| name.is_empty() || name.len() > 255) {
            return wrong("alpn", "a protocol has a name of 1 to 255 bytes");
        }
        if options.min_version.is_some_and(|least| least < TlsVersion::V1_2) && !self.old_versions {
            return wrong("min_version", "1.0 and 1.1 need `old_versions`");
        }
        if options.resume > TlsOptions::MAX_RESUME {
            return wrong("resume", "at most 1000 handshakes follow from one certificate");
        }
        if options.resume > 0 && (self.old_versions || self.rsa_key_exchange || self.sha1) {
            return wrong("resume", "not with `old_versions`, `rsa_key_exchange` or `sha1`");
        }
        Ok(())
    }
}

/// A name that SNI can hold (RFC 6066 section 3): letters, digits, hyphens and underscores in
/// labels of at most 63 bytes, and no address.
fn is_host_name(name: &str) -> bool {
    let fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= 253 && name.split('.').all(fits) && name.parse::<std::net::IpAddr>().is_err()
}

/// What few checks ask of TLS. The default is what all others do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct TlsOptions {
    /// The name that is sent as SNI. Default: the server name of the probe if that is a host name,
    /// else none.
    pub sni: Option<Box<str>>,
    /// The host name or address that the certificate must hold. Default: the server name of the
    /// probe, or the address of its target.
    pub verify_name: Option<Box<str>>,
    /// The certificates, in DER, that chains are verified against instead of the system's roots.
    pub roots: Option<Box<[RawBytes]>>,
    /// What is sent to a server that asks for a certificate.
    pub identity: Option<TlsIdentity>,
    /// SHA-256 of the `SubjectPublicKeyInfo` (RFC 7469 section 2.4) of which the server's
    /// certificate must have one. Default: any key.
    pub pins: Box<[KeyPin]>,
    /// The protocols that are offered by ALPN (RFC 7301), the preferred one first. A server that
    /// chooses none of them fails. Default: ALPN is not spoken.
    pub alpn: Box<[RawBytes]>,
    /// The lowest version that is spoken. Default: what `old_versions` says.
    pub min_version: Option<TlsVersion>,
    /// A server's own certificate that is valid for fewer days than these fails. Days are whole
    /// ones: one that ends in 30 hours is valid for 1.
    pub min_days_left: Option<u32>,
    /// A server's own certificate that is valid for fewer days than these passes with a warning.
    pub warn_days_left: Option<u32>,
    /// Of so many handshakes in a row one is full; the others may resume its session, and then no
    /// certificate is sent. At most [`TlsOptions::MAX_RESUME`]. Default 0, which is the same as 1:
    /// each is full.
    pub resume: u16,
}

impl TlsOptions {
    /// The most handshakes in a row of which only one is full.
    pub const MAX_RESUME: u16 = 1000;
}

/// A certificate of the client with its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsIdentity {
    /// The certificates, in DER, the client's own first.
    pub chain: Box<[RawBytes]>,
    /// The private key in DER: PKCS #8, PKCS #1 or SEC 1.
    pub key: Secret,
}

/// The SHA-256 of a public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPin(pub [u8; 32]);

/// Hexadecimal digits.
impl fmt::Debug for KeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// RFC 2246.
    V1_0,
    /// RFC 4346.
    V1_1,
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1_0 => "1.0",
            Self::V1_1 => "1.1",
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refuses(verify: bool, field: &str, options: TlsOptions) {
        let mut tls = Tls { options: Some(Arc::new(options)), ..Tls::new(verify) };
        match tls.check() {
            Err(SpecError::TlsOption { field: got, .. }) => assert_eq!(got, field),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_that_contradict_are_refused() {
        let base = TlsOptions::default;
        refuses(false, "verify_name", TlsOptions { verify_name: Some("a.example".into()), ..base() });
        refuses(false, "ca_file", TlsOptions { roots: Some([RawBytes::from("x")].into()), ..base() });
        for sni in ["", "192.0.2.1", "a b", "a..b", "*.example", &"a".repeat(64)] {
            refuses(true, "sni", TlsOptions { sni: Some(sni.into()), ..base() });
        }
        refuses(true, "alpn", TlsOptions { alpn: [RawBytes::from("")].into(), ..base() });
        refuses(true, "min_version", TlsOptions { min_version: Some(TlsVersion::V1_1), ..base() });
        refuses(true, "resume", TlsOptions { resume: TlsOptions::MAX_RESUME + 1, ..base() });
        let resuming = Some(Arc::new(TlsOptions { resume: 2, ..base() }));
        for old in [
            Tls { old_versions: true, ..Tls::new(true) },
            Tls { rsa_key_exchange: true, ..Tls::new(true) },
            Tls { sha1: true, ..Tls::new(true) },
        ] {
            let mut tls = Tls { options: resuming.clone(), ..old };
            assert!(matches!(tls.check(), Err(SpecError::TlsOption { field: "resume", .. })), "{tls:?}");
        }
    }

    #[test]
    fn options_that_ask_for_nothing_are_none() {
        let mut tls = Tls { options: Some(Arc::default()), ..Tls::new(true) };
        assert_eq!(tls.check(), Ok(()));
        assert_eq!(tls, Tls::new(true));
        tls.options = Some(Arc::new(TlsOptions { resume: 1, ..TlsOptions::default() }));
        assert_eq!(tls.check(), Ok(()));
        assert_eq!(tls, Tls::new(true));
    }
}
