//! The little of DER (ITU-T X.690) that finds the public key and the dates in a certificate.

use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
/// `[0] EXPLICIT`, the version of a certificate that has one.
const VERSION: u8 = 0xa0;

/// The `SubjectPublicKeyInfo` of a certificate of any version (RFC 5280 section 4.1), or `None` if
/// it is not a certificate.
///
/// webpki reads nothing but version 3, and refuses certificates with unknown critical extensions. A
/// check that does not verify must accept both.
pub(crate) fn public_key<'a>(certificate: &'a CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'a>> {
    // Serial number, signature algorithm, issuer, validity, subject.
    let (key, _) = element(fields_after(certificate.as_ref(), 5)?, SEQUENCE)?;
    Some(SubjectPublicKeyInfoDer::from(key.whole))
}

/// The fields of a certificate without its version and the `count` fields behind that.
fn fields_after(certificate: &[u8], count: usize) -> Option<&[u8]> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (fields, _) = element(certificate.content, SEQUENCE)?;
    let mut rest = fields.content;
    if rest.first() == Some(&VERSION) {
        rest = any_element(rest)?.1;
    }
    for _ in 0..count {
        rest = any_element(rest)?.1;
    }
    Some(rest)
}

/// From when until when a certificate of whatever version is valid, in seconds since 1970.
pub(super) fn validity(certificate: &[u8]) -> Option<(u64, u64)> {
    // Serial number, signature algorithm, issuer.
    let (validity, _) = element(fields_after(certificate, 3)?, SEQUENCE)?;
    let (from, rest) = any_element(validity.content)?;
    let (until, _) = any_element(rest)?;
    Some((seconds(&from)?, seconds(&until)?))
}

/// Whether a certificate is for servers, for anything, or does not say what it is for (RFC 5280
/// section 4.2.1.12).
pub(super) fn is_for_servers(certificate: &[u8]) -> bool {
    const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
    const SERVER: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
    const ANY: &[u8] = &[0x55, 0x1d, 0x25, 0];

    let Some(value) = extension(certificate, EXTENDED_KEY_USAGE) else { return true };
    let Some((purposes, _)) = element(value, SEQUENCE) else { return false };
    let mut rest = purposes.content;
    while let Some((purpose, more)) = any_element(rest) {
        if [SERVER, ANY].contains(&purpose.content) {
            return true;
        }
        rest = more;
    }
    false
}

/// Whether a certificate may sign others, as far as its keyUsage goes (RFC 5280 section 4.2.1.3).
pub(super) fn may_sign(certificate: &[u8]) -> bool {
    const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
    /// Bit 5 of the first byte, from the left.
    const CERT_SIGN: u8 = 0x04;

    let Some(value) = extension(certificate, KEY_USAGE) else { return true };
    // How many bits of the last byte are not used, then the bits.
    let bits = element(value, BIT_STRING).and_then(|(bits, _)| bits.content.get(1).copied());
    bits.is_some_and(|bits| bits & CERT_SIGN != 0)
}

/// What the extension of this identifier says.
fn extension<'a>(certificate: &'a [u8], identifier: &[u8]) -> Option<&'a [u8]> {
    extensions(certificate)?.into_iter().find(|one| one.identifier == identifier).map(|one| one.value)
}

/// An extension of a certificate (RFC 5280 section 4.1).
pub(super) struct Extension<'a> {
    /// The object identifier, without tag and length.
    pub(super) identifier: &'a [u8],
    pub(super) critical: bool,
    /// What is in the octet string.
    pub(super) value: &'a [u8],
}

impl Extension<'_> {
    /// The last number of an identifier of RFC 5280, 2.5.29.x.
    pub(super) fn standard(&self) -> Option<u8> {
        match self.identifier {
            [0x55, 0x1d, number] => Some(*number),
            _ => None,
        }
    }
}

/// All extensions; none if the certificate has none, `None` if they cannot be read.
pub(super) fn extensions(certificate: &[u8]) -> Option<Vec<Extension<'_>>> {
    /// `[3] EXPLICIT`.
    const EXTENSIONS: u8 = 0xa3;
    const OCTET_STRING: u8 = 0x04;
    const BOOLEAN: u8 = 0x01;

    // Serial number, signature algorithm, issuer, validity, subject, key; perhaps unique
    // identifiers.
    let rest = fields_after(certificate, 6)?;
    let Some((_, all)) = elements_of(rest)?.into_iter().find(|(tag, _)| *tag == EXTENSIONS) else {
        return Some(Vec::new());
    };
    let mut extensions = Vec::new();
    for (_, one) in elements_in(all)? {
        let (identifier, critical, value) = match elements_of(one)?.as_slice() {
            [(_, identifier), (OCTET_STRING, value)] => (*identifier, false, *value),
            [(_, identifier), (BOOLEAN, critical), (OCTET_STRING, value)] => {
                (*identifier, *critical != [0], *value)
            }
            _ => return None,
        };
        extensions.push(Extension { identifier, critical, value });
    }
    Some(extensions)
}

/// The elements in the first element of `bytes`: tag and content.
pub(super) fn elements_in(bytes: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    elements_of(any_element(bytes)?.0.content)
}

/// The elements that `bytes` are made of: tag and content.
pub(super) fn elements_of(mut bytes: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut elements = Vec::new();
    while let Some(tag) = bytes.first() {
        let (one, rest) = any_element(bytes)?;
        elements.push((*tag, one.content));
        bytes = rest;
    }
    Some(elements)
}

/// Whether `bytes` are one element in DER and not only in BER: lengths, integers and booleans in
/// their one form.
pub(super) fn is_strict(bytes: &[u8]) -> bool {
    any_element(bytes).is_some_and(|(_, rest)| rest.is_empty()) && are_strict(bytes, 0)
}

fn are_strict(mut bytes: &[u8], depth: usize) -> bool {
    const CONSTRUCTED: u8 = 0x20;
    /// Deeper than any certificate.
    const DEEPEST: usize = 32;

    while let Some(tag) = bytes.first() {
        let Some((one, rest)) = any_element(bytes) else { return false };
        let shortest = match one.content.len() {
            0..=0x7f => 2,
            0x80..=0xff => 3,
            0x100..=0xffff => 4,
            _ => 5,
        };
        let good = match (*tag, one.content) {
            (0x01, content) => matches!(content, [0 | 0xff]),
            (0x02, content) => match content {
                [] | [0, ..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => false,
                [..] => true,
            },
            (tag, content) if tag & CONSTRUCTED != 0 => depth < DEEPEST && are_strict(content, depth + 1),
            _ => true,
        };
        if !good || one.whole.len() - one.content.len() != shortest || tag & 0x1f == 0x1f {
            return false;
        }
        bytes = rest;
    }
    true
}

/// Whether the serial number is an integer that is not negative.
pub(super) fn has_good_serial(certificate: &[u8]) -> bool {
    let serial = fields_after(certificate, 0).and_then(|fields| element(fields, INTEGER));
    serial.and_then(|(serial, _)| serial.content.first().copied()).is_some_and(|first| first < 0x80)
}

/// Whether a certificate is of version 3, the only one that has extensions.
pub(super) fn is_of_version_3(certificate: &[u8]) -> bool {
    let fields = element(certificate, SEQUENCE).and_then(|(outer, _)| element(outer.content, SEQUENCE));
    fields.is_some_and(|(fields, _)| fields.content.starts_with(&[VERSION, 3, INTEGER, 1, 2]))
}

/// The name of who has signed a certificate, with its tag.
pub(super) fn issuer(certificate: &[u8]) -> Option<&[u8]> {
    Some(element(fields_after(certificate, 2)?, SEQUENCE)?.0.whole)
}

/// The name of whom a certificate is for, with its tag.
pub(super) fn subject(certificate: &[u8]) -> Option<&[u8]> {
    Some(element(fields_after(certificate, 4)?, SEQUENCE)?.0.whole)
}

/// What a name consists of, in its order: the ids of attributes and their values, both without tags
/// and lengths. `name` has its tag.
pub(super) fn attributes(name: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = element(name, SEQUENCE).map_or(&[][..], |(name, _)| name.content);
    let sets = std::iter::from_fn(move || {
        let (set, more) = any_element(rest)?;
        rest = more;
        Some(set.content)
    });
    // More than one attribute in a set is as rare as it is useless.
    sets.filter_map(|set| {
        let (pair, _) = element(set, SEQUENCE)?;
        let (id, value) = any_element(pair.content)?;
        Some((id.content, any_element(value)?.0.content))
    })
}

/// The algorithm of the public key (without its tag and length), and the key.
pub(super) fn key_of(certificate: &[u8]) -> Option<(&[u8], &[u8])> {
    let (info, _) = element(fields_after(certificate, 5)?, SEQUENCE)?;
    let (algorithm, rest) = element(info.content, SEQUENCE)?;
    let (key, _) = element(rest, BIT_STRING)?;
    Some((algorithm.content, key.content.strip_prefix(&[0])?))
}

/// What is signed, how, and the signature.
pub(super) struct Signed<'a> {
    pub(super) message: &'a [u8],
    /// Without its tag and length.
    pub(super) algorithm: &'a [u8],
    pub(super) signature: &'a [u8],
}

/// The signature of a certificate.
pub(super) fn signed(certificate: &[u8]) -> Option<Signed<'_>> {
    let (outer, _) = element(certificate, SEQUENCE)?;
    let (message, rest) = element(outer.content, SEQUENCE)?;
    let (algorithm, rest) = element(rest, SEQUENCE)?;
    let (signature, _) = element(rest, BIT_STRING)?;
    Some(Signed {
        message: message.whole,
        algorithm: algorithm.content,
        signature: signature.content.strip_prefix(&[0])?,
    })
}

/// A UTCTime or a GeneralizedTime as RFC 5280 section 4.1.2.5 writes it, in UTC. Before 1970 is 0.
fn seconds(time: &Element<'_>) -> Option<u64> {
    let (year_digits, century) = match time.whole.first()? {
        0x17 => (2, None),
        0x18 => (4, Some(0)),
        _ => return None,
    };
    let text = std::str::from_utf8(time.content).ok()?.strip_suffix('Z')?;
    if text.len() != year_digits + 10 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |at: usize| text[year_digits + at..year_digits + at + 2].parse::<i64>().ok();
    let year: i64 = text[..year_digits].parse().ok()?;
    let year = century.unwrap_or(if year < 50 { 2000 } else { 1900 }) + year;
    let (month, day) = (number(0)?, number(2)?);
    let (hour, minute, second) = (number(4)?, number(6)?, number(8)?);
    // A peer may write anything, and what lies behind the year 9999 cannot be shown.
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days since 1970 in the Gregorian calendar, with years that begin in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    Some(u64::try_from(seconds).unwrap_or(0))
}

/// The size of an `RSAPublicKey` (RFC 8017 appendix A.1.1) in bits.
pub(super) fn rsa_bits(key: &[u8]) -> Option<usize> {
    let (key, _) = element(key, SEQUENCE)?;
    let (modulus, _) = element(key.content, INTEGER)?;
    let zeros = modulus.content.iter().take_while(|byte| **byte == 0).count();
    let modulus = &modulus.content[zeros..];
    Some(modulus.len() * 8 - usize::try_from(modulus.first()?.leading_zeros()).ok()?)
}

/// The size of the RSA key in a `SubjectPublicKeyInfo`, in bits; `None` if it is no RSA key.
pub(super) fn rsa_bits_of(info: &SubjectPublicKeyInfoDer<'_>) -> Option<usize> {
    /// 1.2.840.113549.1.1.1
    const RSA_ENCRYPTION: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";

    let (info, _) = element(info.as_ref(), SEQUENCE)?;
    let (algorithm, rest) = element(info.content, SEQUENCE)?;
    let (key, _) = element(rest, BIT_STRING)?;
    if algorithm.content.starts_with(RSA_ENCRYPTION) { rsa_bits(key.content.get(1..)?) } else { None }
}

/// A `SubjectPublicKeyInfo` (RFC 5280 section 4.1) of this algorithm (without its tag and length)
/// and this key.
pub(super) fn key_info(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    let algorithm = tagged(SEQUENCE, algorithm);
    let key = tagged(BIT_STRING, &[&[0], key].concat());
    tagged(SEQUENCE, &[algorithm, key].concat())
}

fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let zeros = length.iter().take_while(|byte| **byte == 0).count().min(length.len() - 1);
    let length = &length[zeros..];
    let mut bytes = vec![tag];
    if content.len() > 0x7f {
        // At most eight bytes of length.
        bytes.push(0x80 | u8::try_from(length.len()).unwrap_or(8));
    }
    bytes.extend_from_slice(length);
    bytes.extend_from_slice(content);
    bytes
}

struct Element<'a> {
    whole: &'a [u8],
    content: &'a [u8],
}

fn element(bytes: &[u8], tag: u8) -> Option<(Element<'_>, &[u8])> {
    if bytes.first() == Some(&tag) { any_element(bytes) } else { None }
}

/// The first element of `bytes` and what follows it. Tags of one byte only: certificates have no
/// others.
fn any_element(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (header, length) = match *bytes.get(1)? {
        short @ ..=0x7f => (2, usize::from(short)),
        0x81 => (3, usize::from(*bytes.get(2)?)),
        0x82 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        0x83 => (
            5,
            usize::from(*bytes.get(2)?) << 16
                | usize::from(u16::from_be_bytes([*bytes.get(3)?, *bytes.get(4)?])),
        ),
        // A TLS certificate is shorter than 16 MB.
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
    fn dates_are_read_in_both_forms() {
        let date = |tag: u8, text: &[u8]| {
            let whole = tagged(tag, text);
            seconds(&any_element(&whole).unwrap().0)
        };
        assert_eq!(date(0x17, b"700101000000Z"), Some(0));
        assert_eq!(date(0x17, b"500101000000Z"), Some(0), "1950");
        assert_eq!(date(0x17, b"491231235959Z"), Some(2_524_607_999));
        assert_eq!(date(0x18, b"20240229120000Z"), Some(1_709_208_000));
        assert_eq!(date(0x18, b"99991231235959Z"), Some(253_402_300_799));
        for bad in [&b"700101000000"[..], b"7001010000Z", b"70010100000xZ", b"", b"700101000000+0100"] {
            assert_eq!(date(0x17, bad), None);
        }
        assert_eq!(date(0x02, b"700101000000Z"), None);
    }

    #[test]
    fn rsa_keys_are_measured() {
        let key =
            |modulus: &[u8]| tagged(SEQUENCE, &[tagged(INTEGER, modulus), tagged(INTEGER, &[3])].concat());
        let modulus = [&[0, 0x80][..], &[0; 127]].concat();
        assert_eq!(rsa_bits(&key(&modulus)), Some(1024));
        assert_eq!(rsa_bits(&key(&modulus[1..])), Some(1024));
        assert_eq!(rsa_bits(&key(&[0x7f])), Some(7));
        assert_eq!(rsa_bits(&key(&[])), None);
        assert_eq!(rsa_bits(b"HTTP"), None);
        let algorithm = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
        let info = key_info(algorithm, &key(&modulus));
        assert_eq!(rsa_bits_of(&SubjectPublicKeyInfoDer::from(info)), Some(1024));
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
