//! The little of DER (ITU-T X.690) that finds the public key in a certificate.

use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};

const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT`, the version of a certificate that has one.
const VERSION: u8 = 0xa0;

/// The `SubjectPublicKeyInfo` of a certificate of whatever version (RFC 5280 section 4.1), or `None` if it is none.
///
/// webpki reads nothing but version 3, and refuses certificates with unknown critical extensions; whoever does not verify must
/// not mind either.
pub(crate) fn public_key<'a>(certificate: &'a CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'a>> {
    let (certificate, _) = element(certificate.as_ref(), SEQUENCE)?;
    let (mut fields, _) = element(certificate.content, SEQUENCE)?;
    if fields.content.first() == Some(&VERSION) {
        fields.content = any_element(fields.content)?.1;
    }
    let mut rest = fields.content;
    // Serial number, signature algorithm, issuer, validity, subject.
    for _ in 0..5 {
        rest = any_element(rest)?.1;
    }
    let (key, _) = element(rest, SEQUENCE)?;
    Some(SubjectPublicKeyInfoDer::from(key.whole))
}

struct Element<'a> {
    whole: &'a [u8],
    content: &'a [u8],
}

fn element(bytes: &[u8], tag: u8) -> Option<(Element<'_>, &[u8])> {
    if bytes.first() == Some(&tag) { any_element(bytes) } else { None }
}

/// The first element of `bytes` and what follows it. Tags of one byte only: certificates have no others.
fn any_element(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (header, length) = match *bytes.get(1)? {
        short @ ..=0x7f => (2, usize::from(short)),
        0x81 => (3, usize::from(*bytes.get(2)?)),
        0x82 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        // A TLS certificate is shorter than 16 MB, and a sensible one than 64 KB.
        _ => return None,
    };
    let end = header + length;
    let whole = bytes.get(..end)?;
    Some((Element { whole, content: &whole[header..] }, &bytes[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_found_in_any_version() {
        let key = [SEQUENCE, 2, 0x05, 0x00];
        for version in [&[][..], &[VERSION, 3, 2, 1, 2]] {
            let mut fields = version.to_vec();
            for tag in [0x02, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE] {
                fields.extend([tag, 1, 0xff]);
            }
            fields.extend(key);
            fields.extend([0xa3, 0]);
            let inner = [&[SEQUENCE, u8::try_from(fields.len()).unwrap()], &fields[..]].concat();
            let outer = [&[SEQUENCE, 0x81, u8::try_from(inner.len()).unwrap()], &inner[..]].concat();
            let certificate = CertificateDer::from(outer);
            assert_eq!(public_key(&certificate).unwrap().as_ref(), key);
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_key() {
        for bytes in
            [&b""[..], b"\x30", b"\x30\x80", b"\x30\x02\x30\x05", b"\x30\x84\xff\xff\xff\xff", b"HTTP"]
        {
            assert!(public_key(&CertificateDer::from(bytes)).is_none(), "{bytes:?}");
        }
    }
}
