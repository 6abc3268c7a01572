//! Makes the TLS of a probe of its table.

use std::sync::Arc;

use hc_types::{KeyPin, RawBytes, Secret, Tls, TlsIdentity, TlsOptions, TlsVersion};
use rustls::InconsistentKeys;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::build::SecretFiles;
use crate::diagnostic::Report;
use crate::form::{Key, Located, Settings, Value};
use crate::keys::tls as keys;
use crate::words;

/// Whether the table of a probe asks for TLS.
pub(crate) fn is_asked_for(settings: &Settings) -> bool {
    table(settings).is_some()
}

fn table(settings: &Settings) -> Option<Option<&Settings>> {
    match &settings.get(&keys::TLS)?.value {
        Value::Flag(false) => None,
        Value::Table(table) => Some(Some(table)),
        _ => Some(None),
    }
}

/// Reads the table `tls` of a probe of this kind, if it has one.
pub(crate) fn read(
    kind: &'static str,
    settings: &Settings,
    files: &SecretFiles<'_>,
    report: &mut Report,
) -> Option<Tls> {
    let nothing = Settings::default();
    let table = table(settings)?.unwrap_or(&nothing);
    let min_version = table.word(&keys::MIN_VERSION).map(|word| match word {
        "1.0" => TlsVersion::V1_0,
        "1.1" => TlsVersion::V1_1,
        "1.3" => TlsVersion::V1_3,
        _ => TlsVersion::V1_2,
    });
    let mut reader = Reader { kind, table, files, report };
    let mut options = TlsOptions::default();
    options.sni = table.text(&keys::SNI).map(Into::into);
    options.verify_name = table.text(&keys::VERIFY_NAME).map(Into::into);
    options.roots = reader.certificates(&keys::CA_FILE);
    options.identity = reader.identity();
    options.pins = table.items(&keys::PINS).iter().filter_map(pin).collect();
    let alpn = table.items(&keys::ALPN).iter().filter_map(|item| match &item.value {
        Value::Text(name) => Some(RawBytes::from(name.as_str())),
        _ => None,
    });
    options.alpn = alpn.collect();
    options.min_version = min_version;
    options.min_days_left = days(table, &keys::MIN_DAYS_LEFT);
    options.warn_days_left = days(table, &keys::WARN_DAYS_LEFT);
    let resume = table.integer(&keys::RESUME).and_then(|handshakes| u16::try_from(handshakes).ok());
    options.resume = resume.filter(|handshakes| *handshakes > 1).unwrap_or_default();
    let is_old = min_version.is_some_and(|least| least < TlsVersion::V1_2);
    Some(Tls {
        verify: table.flag(&keys::VERIFY).unwrap_or(true),
        old_versions: is_old || table.flag(&keys::OLD_VERSIONS).unwrap_or(false),
        rsa_key_exchange: table.flag(&keys::RSA_KEY_EXCHANGE).unwrap_or(false),
        sha1: table.flag(&keys::SHA1).unwrap_or(false),
        options: (options != TlsOptions::default()).then(|| files.shared(Arc::new(options))),
    })
}

/// Whether it is certain that the key does not belong to the first of these certificates. A kind of
/// key that rustls does not know is left to whoever shakes hands.
fn is_of_another(key: &PrivateKeyDer<'_>, chain: &[RawBytes]) -> bool {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let Ok(key) = provider.key_provider.load_private_key(key.clone_key()) else { return false };
    let chain = chain.iter().map(|one| CertificateDer::from(one.as_slice().to_vec())).collect();
    let matched = CertifiedKey::new(chain, key).keys_match();
    matches!(matched, Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)))
}

fn pin(item: &Located) -> Option<KeyPin> {
    match &item.value {
        Value::Text(text) => words::read_pin(text).map(KeyPin),
        _ => None,
    }
}

fn days(table: &Settings, key: &Key) -> Option<u32> {
    table.integer(key).and_then(|days| u32::try_from(days).ok())
}

struct Reader<'a> {
    kind: &'static str,
    table: &'a Settings,
    files: &'a SecretFiles<'a>,
    report: &'a mut Report,
}

impl Reader<'_> {
    fn wrong(&mut self, key: &Key, at: crate::diagnostic::Span, problem: impl Into<String>) {
        self.report.add(at, format!("check.{}.tls.{}", self.kind, key.name), problem);
    }

    /// What is in the file that this key names.
    fn file(&mut self, key: &Key) -> Option<(Vec<u8>, crate::diagnostic::Span)> {
        let Located { value: Value::Text(name), at } = self.table.get(key)? else { return None };
        match self.files.read(name, *at) {
            Ok(bytes) => Some((bytes, *at)),
            Err(problem) => {
                self.wrong(key, *at, problem);
                None
            }
        }
    }

    fn certificates(&mut self, key: &Key) -> Option<Box<[RawBytes]>> {
        let (pem, at) = self.file(key)?;
        let certificates: Result<Vec<CertificateDer<'_>>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        match certificates {
            Ok(found) if found.is_empty() => {
                self.wrong(key, at, "the file has no certificate (in PEM: BEGIN CERTIFICATE)");
                None
            }
            Ok(found) => Some(found.iter().map(|one| RawBytes::from(one.as_ref())).collect()),
            Err(error) => {
                self.wrong(key, at, format!("the file is not PEM: {error}"));
                None
            }
        }
    }

    fn identity(&mut self) -> Option<TlsIdentity> {
        for (one, other) in [(&keys::CERT_FILE, &keys::KEY_FILE), (&keys::KEY_FILE, &keys::CERT_FILE)] {
            if let (Some(located), false) = (self.table.get(one), self.table.has(other)) {
                self.wrong(one, located.at, format!("needs `{}`", other.name));
            }
        }
        let chain = self.certificates(&keys::CERT_FILE);
        let (pem, at) = self.file(&keys::KEY_FILE)?;
        match PrivateKeyDer::from_pem_slice(&pem) {
            Ok(key) => {
                let chain = chain?;
                if is_of_another(&key, &chain) {
                    let problem = "is the key of another certificate than the first one in `cert_file`";
                    self.wrong(&keys::KEY_FILE, at, problem);
                    return None;
                }
                Some(TlsIdentity { chain, key: Secret::from(RawBytes::from(key.secret_der())) })
            }
            Err(_) => {
                let problem = "the file has no private key (in PEM: BEGIN PRIVATE KEY, not encrypted)";
                self.wrong(&keys::KEY_FILE, at, problem);
                None
            }
        }
    }
}
