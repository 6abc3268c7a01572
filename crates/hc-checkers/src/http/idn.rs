//! Host names outside ASCII (IDNA), as Go writes them: one way in `Host`, another in SNI.

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

const PREFIX: &str = "xn--";

/// An authority for `Host` (Go's `httpguts.PunycodeHostPort`): every label that is not ASCII in Punycode (RFC 3492), and nothing
/// else changed. `None` if a label is not what its `xn--` promises.
pub(super) fn authority(authority: &[u8]) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(authority);
    let (host, port) = match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, port),
        _ => (&*text, ""),
    };
    let labels = host.split('.').map(|label| match label.strip_prefix(PREFIX) {
        // Once more, in the one way in which it is written.
        Some(encoded) => match idna::punycode::decode_to_string(encoded)? {
            decoded if decoded.is_empty() => Some(decoded),
            decoded if decoded.is_ascii() => None,
            decoded => encode(&decoded),
        },
        None if label.is_ascii() => Some(label.to_owned()),
        None => encode(label),
    });
    let mut written = labels.collect::<Option<Vec<String>>>()?.join(".");
    if !port.is_empty() {
        written.push(':');
        written.push_str(port);
    }
    Some(written.into_bytes())
}

fn encode(label: &str) -> Option<String> {
    Some(PREFIX.to_owned() + &idna::punycode::encode_str(label)?)
}

/// A host name for SNI and verification (Go's `idna.Lookup`, UTS 46): capitals become small, and what may not stand in a name is
/// refused. What cannot be translated stays as it is.
pub(super) fn server_name(host: &str) -> String {
    if host.is_ascii() {
        return host.to_owned();
    }
    let translated =
        Uts46::new().to_ascii(host.as_bytes(), AsciiDenyList::STD3, Hyphens::Check, DnsLength::Ignore);
    translated.map_or_else(|_| host.to_owned(), |name| name.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_authority(text: &str, expected: Option<&str>) {
        assert_eq!(
            authority(text.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap()).as_deref(),
            expected
        );
    }

    #[test]
    fn labels_are_encoded_one_by_one() {
        check_authority("bücher.example", Some("xn--bcher-kva.example"));
        check_authority("www.Bücher.Example:8080", Some("www.xn--Bcher-kva.Example:8080"));
        check_authority("bücher:", Some("xn--bcher-kva"));
        check_authority("例え.テスト.", Some("xn--r8jz45g.xn--zckzah."));
        check_authority("ü.xn--Bcher-KVA", Some("xn--tda.xn--Bcher-kva"));
        check_authority("ü.xn--", Some("xn--tda."));
        check_authority("ü.xn--\u{fc}", None);
        check_authority("ü.xn--abc-", None);
    }

    #[test]
    fn names_are_mapped_for_looking_up() {
        assert_eq!(server_name("www.BÜCHER.example"), "www.xn--bcher-kva.example");
        assert_eq!(server_name("faß.de"), "xn--fa-hia.de");
        assert_eq!(server_name("WWW.example"), "WWW.example");
        assert_eq!(server_name("a b.ü"), "a b.ü");
    }
}
