//! Domain names between text and labels (RFC 1035 section 5.1, RFC 2181 section 11).
//!
//! Seesaw packs names with miekg/dns, so its rules hold: a dot ends a label, `\.` is a dot inside
//! one, `\123` is a byte by its decimal number, `\x` is any other character as it is, and all other
//! bytes are taken as they come. There is no IDNA and no lower-casing.

use std::fmt::{self, Write as _};

use hickory_proto::rr::Name;

/// Why a text is no domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Two dots in a row, or a dot at the beginning.
    #[error("has an empty label")]
    EmptyLabel,
    /// More than 63 bytes between two dots.
    #[error("has a label of more than 63 bytes")]
    LabelTooLong,
    /// More than 255 bytes on the wire.
    #[error("is longer than 255 bytes on the wire")]
    NameTooLong,
    /// A backslash at the end, or before a number above 255.
    #[error("has a bad escape")]
    BadEscape,
}

/// Reads a name. It is absolute, with or without its last dot; the empty text and `.` are the root.
///
/// # Errors
/// [`NameError`] says which rule of RFC 1035 the text breaks.
pub fn parse_name(text: &str) -> Result<Name, NameError> {
    let mut name = Name::root();
    if text == "." {
        return Ok(name);
    }
    let mut label = Vec::with_capacity(63);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'.' if label.is_empty() => return Err(NameError::EmptyLabel),
            b'.' => name = append(name, &mut label)?,
            b'\\' => label.push(escaped(&mut bytes)?),
            byte => label.push(byte),
        }
    }
    if label.is_empty() { Ok(name) } else { append(name, &mut label) }
}

/// The name with one more label before it.
///
/// # Errors
/// [`NameError`] when it is too long then.
pub fn with_label(label: &str, name: &Name) -> Result<Name, NameError> {
    let mut longer = append(Name::root(), &mut label.as_bytes().to_vec())?;
    for label in name.iter() {
        longer = append(longer, &mut label.to_vec())?;
    }
    Ok(longer)
}

fn append(name: Name, label: &mut Vec<u8>) -> Result<Name, NameError> {
    if label.len() > 63 {
        return Err(NameError::LabelTooLong);
    }
    let longer = name.append_label(label.as_slice()).map_err(|_| NameError::NameTooLong)?;
    label.clear();
    Ok(longer)
}

/// The byte behind a backslash.
fn escaped(bytes: &mut std::str::Bytes<'_>) -> Result<u8, NameError> {
    let three: Option<[u8; 3]> = {
        let mut ahead = bytes.clone();
        let mut digit = || ahead.next().filter(u8::is_ascii_digit);
        digit().zip(digit()).zip(digit()).map(|((a, b), c)| [a, b, c])
    };
    let Some(digits) = three else {
        return bytes.next().ok_or(NameError::BadEscape);
    };
    bytes.nth(2);
    let number = digits.iter().fold(0_u16, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    u8::try_from(number).map_err(|_| NameError::BadEscape)
}

/// Writes a name as absolute text, in the escapes that [`parse_name`] reads.
pub fn display_name(name: &Name) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        if name.iter().next().is_none() {
            return f.write_char('.');
        }
        for label in name.iter() {
            for byte in label {
                match byte {
                    b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b'@' | b'$' => {
                        write!(f, "\\{}", char::from(*byte))?;
                    }
                    b'!'..=b'~' => f.write_char(char::from(*byte))?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
            f.write_char('.')?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn labels(text: &str, expected: &[&[u8]]) {
        let name = parse_name(text).unwrap();
        assert_eq!(name.iter().collect::<Vec<_>>(), expected, "{text}");
        assert!(name.is_fqdn());
    }

    #[track_caller]
    fn fails(text: &str, expected: NameError) {
        assert_eq!(parse_name(text).map(|_| ()), Err(expected), "{text}");
    }

    #[test]
    fn text_becomes_labels_as_in_miekg_dns() {
        labels("", &[]);
        labels(".", &[]);
        labels("example.com", &[b"example", b"com"]);
        labels("Example.com.", &[b"Example", b"com"]);
        labels("a\\.b.c", &[b"a.b", b"c"]);
        labels("a\\.", &[b"a."]);
        labels("\\065\\bc\\\\.x", &[b"Abc\\", b"x"]);
        labels("\\000\\255", &[b"\x00\xff"]);
        labels("_sip._tcp.a b", &[b"_sip", b"_tcp", b"a b"]);
        labels("xn--e1a.é", &[b"xn--e1a", "é".as_bytes()]);
        labels("*.example", &[b"*", b"example"]);
    }

    #[test]
    fn text_that_is_no_name_says_why() {
        fails("..", NameError::EmptyLabel);
        fails(".a", NameError::EmptyLabel);
        fails("a..b", NameError::EmptyLabel);
        fails("a..", NameError::EmptyLabel);
        fails("a\\", NameError::BadEscape);
        fails("a\\256", NameError::BadEscape);
        fails(&"a".repeat(64), NameError::LabelTooLong);
        assert!(parse_name(&"a".repeat(63)).is_ok());
        // 127 labels of one byte make 255 bytes with the root; one more does not fit.
        assert!(parse_name(&"a.".repeat(127)).is_ok());
        fails(&"a.".repeat(128), NameError::NameTooLong);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,300}") {
            let _ = parse_name(&text);
        }

        #[test]
        fn what_is_written_reads_back(
            labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..8),
        ) {
            let name = labels.iter().fold(Name::root(), |name, l| name.append_label(l.as_slice()).unwrap());
            let text = display_name(&name).to_string();
            let read = parse_name(&text).unwrap();
            prop_assert!(read.eq_case(&name), "{text}");
        }
    }
}
