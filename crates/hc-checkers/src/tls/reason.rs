//! Why a TLS handshake failed, in words that an operator can act on.

use std::io;
use std::time::{Duration, UNIX_EPOCH};

use hc_types::{TlsFacts, quote, recognise};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, InvalidMessage, PeerIncompatible};
use webpki::InvalidNameContext;

use super::{facts, rustls_error};

/// The reason for refusing a certificate, and what that says of itself, on their way through
/// rustls.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct Reason {
    text: Box<str>,
    certificate: TlsFacts,
}

impl Reason {
    pub(super) fn new(text: String, certificate: &[u8]) -> Self {
        Self { text: text.into(), certificate: facts::of_certificate(certificate) }
    }
}

/// What the certificate says of itself that was refused.
pub(super) fn certificate_in(error: &io::Error) -> Option<TlsFacts> {
    match rustls_error(error)? {
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
            Some(other.0.downcast_ref::<Reason>()?.certificate.clone())
        }
        _ => None,
    }
}

/// Whether the first bytes of a peer can be the head of a TLS record (RFC 8446 section 5.1): an
/// alert or a handshake message, of a version that begins with 3.
pub(super) fn looks_like_tls(heard: &[u8]) -> bool {
    matches!(heard, [21 | 22, 3, ..] | [21 | 22] | [])
}

/// The peer speaks something else.
#[must_use]
pub fn not_tls(heard: &[u8]) -> String {
    let mut text = format!("first record does not look like a TLS handshake: {}", quote(heard));
    if let Some(name) = recognise(heard) {
        text.push_str("; the peer speaks ");
        text.push_str(name);
    }
    text
}

pub(super) fn of(error: &rustls::Error) -> String {
    use rustls::Error;
    match error {
        Error::InvalidCertificate(CertificateError::Other(reason)) => reason.to_string(),
        Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            "remote error: protocol version not supported".into()
        }
        Error::AlertReceived(alert) => format!("remote error: {}", spaced(&format!("{alert:?}"))),
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        )
        | Error::InvalidMessage(InvalidMessage::UnknownProtocolVersion) => {
            "protocol version not supported: the peer speaks neither TLS 1.2 nor 1.3".into()
        }
        Error::InvalidCertificate(CertificateError::BadSignature) => {
            "the peer does not hold the key of its certificate: the signature of the handshake is bad".into()
        }
        other => other.to_string(),
    }
}

/// Why a handshake of OpenSSL failed. Alerts read as those of rustls do.
pub(super) fn of_openssl(error: &openssl::ssl::Error, heard: &[u8]) -> String {
    let Some(first) = error.ssl_error().and_then(|stack| stack.errors().first()) else {
        return "the peer closed the connection during the handshake".into();
    };
    let reason = first.reason().unwrap_or("unknown error of OpenSSL");
    // "tlsv1 alert protocol version", "sslv3 alert handshake failure", "tlsv13 alert certificate
    // required".
    if let Some((_, alert)) = reason.split_once(" alert ") {
        return match alert {
            "protocol version" => "remote error: protocol version not supported".into(),
            alert => format!("remote error: {alert}"),
        };
    }
    match reason {
        _ if !looks_like_tls(heard) => not_tls(heard),
        "unexpected eof while reading" => "the peer closed the connection during the handshake".into(),
        "unsupported protocol" | "wrong ssl version" | "wrong version number" => {
            "protocol version not supported: the peer speaks none that this check allows".into()
        }
        other => other.into(),
    }
}

pub(super) fn of_certificate(error: &webpki::Error) -> String {
    use webpki::Error;
    match error {
        Error::UnknownIssuer => "certificate signed by unknown authority".into(),
        Error::CaUsedAsEndEntity => {
            "certificate signed by unknown authority (it is one itself, and not among the trusted)".into()
        }
        Error::EndEntityUsedAsCa => "certificate signed by one that may not sign others".into(),
        Error::CertExpired { not_after, .. } => {
            format!("certificate has expired: not valid after {}", instant(*not_after))
        }
        Error::CertNotValidYet { not_before, .. } => {
            format!("certificate is not yet valid: not before {}", instant(*not_before))
        }
        Error::CertNotValidForName(names) => of_name(names),
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => {
            "certificate is not for servers (extended key usage)".into()
        }
        Error::InvalidSignatureForPublicKey => "certificate with a bad signature".into(),
        Error::UnsupportedCertVersion => "certificate is not of version 3, so it names nobody".into(),
        Error::UnsupportedCriticalExtension => "certificate with an unknown critical extension".into(),
        Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            "certificate signed with an algorithm that is not supported".into()
        }
        Error::NameConstraintViolation => "certificate authority may not certify this name".into(),
        other => format!("certificate is invalid: {}", spaced(&format!("{other:?}"))),
    }
}

fn of_name(names: &InvalidNameContext) -> String {
    /// As Go: a longer list helps nobody.
    const SHOWN: usize = 100;

    let (wanted, kind) = match &names.expected {
        ServerName::DnsName(name) => (name.as_ref().to_owned(), "DnsName"),
        ServerName::IpAddress(ip) => (std::net::IpAddr::from(*ip).to_string(), "IpAddress"),
        other => (format!("{other:?}"), ""),
    };
    // webpki writes `DnsName("a.example")` and `IpAddress(192.0.2.1)`.
    let named = names.presented.iter().filter_map(|name| {
        let name = name.strip_prefix(kind)?.strip_prefix('(')?.strip_suffix(')')?;
        Some(name.trim_matches('"'))
    });
    let shown: Vec<_> = named.take(SHOWN).collect();
    if shown.is_empty() {
        let kind = if kind == "IpAddress" { "IP" } else { "DNS" };
        return format!("certificate is not valid for {wanted}: it has no {kind} SANs");
    }
    format!("certificate is valid for {}, not for {wanted}", shown.join(", "))
}

pub(super) fn instant(time: UnixTime) -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(time.as_secs()))
}

/// `HandshakeFailure` as "handshake failure", `UnknownCA` as "unknown ca".
fn spaced(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 8);
    let mut before = ' ';
    for c in name.chars() {
        if c.is_ascii_uppercase() && before.is_ascii_lowercase() {
            text.push(' ');
        }
        text.push(c.to_ascii_lowercase());
        before = c;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_protocols_are_told_from_tls() {
        assert!(looks_like_tls(&[22, 3, 1, 0]));
        assert!(looks_like_tls(&[21, 3]));
        assert!(!looks_like_tls(b"HTTP/1.1 400"));
        assert!(!looks_like_tls(&[22, 5]));
        assert_eq!(
            not_tls(b"220 mail\r\n"),
            "first record does not look like a TLS handshake: \"220 mail\\r\\n\"; the peer speaks SMTP or FTP"
        );
    }

    #[track_caller]
    fn names(expected: &str, presented: &[&str], text: &str) {
        let expected = ServerName::try_from(expected.to_owned()).unwrap();
        let presented = presented.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(of_name(&InvalidNameContext { expected, presented }), text);
    }

    #[test]
    fn names_are_listed_by_kind() {
        names(
            "192.0.2.1",
            &["DnsName(\"a.example\")"],
            "certificate is not valid for 192.0.2.1: it has no IP SANs",
        );
        names(
            "192.0.2.1",
            &["IpAddress(192.0.2.7)"],
            "certificate is valid for 192.0.2.7, not for 192.0.2.1",
        );
        names(
            "b.example",
            &["DnsName(\"a.example\")", "IpAddress(192.0.2.7)", "DnsName(\"*.c.example\")"],
            "certificate is valid for a.example, *.c.example, not for b.example",
        );
    }

    #[test]
    fn variants_become_words() {
        assert_eq!(spaced("HandshakeFailure"), "handshake failure");
        assert_eq!(spaced("UnknownCA"), "unknown ca");
    }
}
