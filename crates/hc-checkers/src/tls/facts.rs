//! What a handshake came to, for whoever reads the evidence of a probe.

use std::fmt::Write as _;

use hc_types::{TlsFacts, cut};
use rustls::ProtocolVersion;

use super::{TlsStream, der};

/// What is kept of a name, in bytes: a certificate may have one of 64 KB.
const LONGEST_NAME: usize = 128;

impl TlsStream<'_> {
    /// What the handshake came to.
    pub(crate) fn facts(&self) -> TlsFacts {
        match self {
            Self::Rustls(stream) => {
                let (_, session) = stream.get_ref();
                let certificate = session.peer_certificates().and_then(<[_]>::first);
                let suite = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
                TlsFacts {
                    version: session.protocol_version().map(version).unwrap_or_default(),
                    // rustls names those of TLS 1.3 in a way of its own.
                    cipher: suite.unwrap_or_default().replace("TLS13_", "TLS_").into(),
                    ..certificate.map(|certificate| of_certificate(certificate)).unwrap_or_default()
                }
            }
            Self::Libssl(session) => session.facts(),
        }
    }
}

fn version(version: ProtocolVersion) -> Box<str> {
    match version {
        ProtocolVersion::TLSv1_3 => "TLS 1.3".into(),
        ProtocolVersion::TLSv1_2 => "TLS 1.2".into(),
        other => format!("{other:?}").into(),
    }
}

/// What a certificate says of itself.
pub(super) fn of_certificate(certificate: &[u8]) -> TlsFacts {
    let until = der::validity(certificate).map(|(_, until)| until);
    TlsFacts {
        subject: der::subject(certificate).map(name).unwrap_or_default(),
        issuer: der::issuer(certificate).map(name).unwrap_or_default(),
        not_after: until.and_then(|until| i64::try_from(until).ok()),
        ..TlsFacts::default()
    }
}

/// A name as `CN=www.example.com, O=Example`, in the order of the certificate.
fn name(name: &[u8]) -> Box<str> {
    let mut text = String::new();
    for (attribute, value) in der::attributes(name) {
        let word = match attribute {
            [0x55, 4, 3] => "CN",
            [0x55, 4, 6] => "C",
            [0x55, 4, 7] => "L",
            [0x55, 4, 8] => "ST",
            [0x55, 4, 10] => "O",
            [0x55, 4, 11] => "OU",
            // Serial numbers, postal codes and the like.
            _ => continue,
        };
        let value = String::from_utf8_lossy(value);
        // The peer must not write control characters to a terminal.
        let value: String = value.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        // Writing to a String cannot fail.
        let _ = write!(text, "{}{word}={value}", if text.is_empty() { "" } else { ", " });
        if text.len() > LONGEST_NAME {
            break;
        }
    }
    cut(&mut text, LONGEST_NAME);
    text.into()
}

#[cfg(test)]
mod tests {
    use hc_testkit::certificate::{Authority, Wish};

    use super::*;

    #[test]
    fn a_certificate_names_itself_and_who_signed_it() {
        let authority = Authority::new("root", 2000, 2100).unwrap();
        let identity = authority.sign(&Wish::valid_for(["www.example.com"])).unwrap();
        let facts = of_certificate(&identity.chain[0]);
        assert_eq!(&*facts.issuer, "CN=root");
        assert!(facts.not_after.is_some(), "{facts:?}");
        assert_eq!(of_certificate(b"\x30\x03HTTP"), TlsFacts::default());
    }

    #[test]
    fn names_are_read_cut_and_made_harmless() {
        let attribute = |id: u8, value: &[u8]| {
            let id = [0x06, 3, 0x55, 4, id];
            let value = [&[0x0c, u8::try_from(value.len()).unwrap()], value].concat();
            let pair = [&[0x30, u8::try_from(id.len() + value.len()).unwrap()], &id[..], &value].concat();
            [&[0x31, u8::try_from(pair.len()).unwrap()], &pair[..]].concat()
        };
        let of = |attributes: &[Vec<u8>]| {
            let content = attributes.concat();
            let length = u16::try_from(content.len()).unwrap().to_be_bytes();
            name(&[&[0x30, 0x82], &length[..], &content].concat())
        };
        assert_eq!(
            &*of(&[attribute(6, b"DE"), attribute(5, b"1"), attribute(3, b"a\x1b")]),
            "C=DE, CN=a\u{fffd}"
        );
        assert_eq!(&*of(&[]), "");
        let long = of(&[attribute(3, &[b'x'; 90]), attribute(10, &[b'y'; 90]), attribute(11, b"z")]);
        assert_eq!(long.len(), LONGEST_NAME + "…".len());
    }
}
