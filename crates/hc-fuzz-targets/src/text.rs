//! Words: names of record types, and bytes in quotes.

use hc_types::{RecordClass, RecordType};

use crate::input::Input;

/// Any word, and the number in its first two bytes: the type or class has a name that reads back.
pub fn record_type(data: &[u8]) {
    let number = Input::new(data).u16();
    assert_eq!(RecordType(number).to_string().parse(), Ok(RecordType(number)));
    assert_eq!(RecordClass(number).to_string().parse(), Ok(RecordClass(number)));
    let Ok(word) = std::str::from_utf8(data) else { return };
    if let Ok(kind) = word.parse::<RecordType>() {
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
    if let Ok(class) = word.parse::<RecordClass>() {
        assert_eq!(class.to_string().parse(), Ok(class));
    }
}

/// Any bytes: in quotes they are one line, and can be told apart from all others.
pub fn quote(data: &[u8]) {
    let quoted = hc_types::quote(data);
    assert!(!quoted.contains(|c: char| c.is_control()));
    let inner = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).expect("two quotes");
    assert_eq!(unquote(inner), data);
}

/// Any bytes of a peer: a protocol that was recognised stays so when more comes, but for its
/// details, and only the first bytes are looked at.
pub fn recognise(data: &[u8]) {
    let name = hc_types::recognise(data);
    if let Some(name) = name {
        assert!(!name.is_empty() && name.len() < 40 && name.is_ascii());
    }
    let first = &data[..data.len().min(hc_types::RECOGNISED)];
    assert_eq!(hc_types::recognise(first), name);
    for length in 0..first.len() {
        if let Some(early) = hc_types::recognise(&first[..length]) {
            assert!(name.is_some(), "{early} of {length} bytes");
        }
    }
    let _ = hc_types::wants_https(data);
}

/// Undoes the quoting: the escapes of Go's `strconv`, and Rust's form of `\u`.
fn unquote(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(c) = take(&mut rest) {
        assert_ne!(c, '"', "a quote ends the text");
        let c = if c != '\\' {
            c
        } else {
            match take(&mut rest).expect("something is escaped") {
                'a' => '\x07',
                'b' => '\x08',
                'f' => '\x0c',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\x0b',
                c @ ('"' | '\\') => c,
                'x' => {
                    bytes.push(u8::try_from(number(&mut rest, 2)).expect("two digits"));
                    continue;
                }
                'u' => {
                    let digits = rest.strip_prefix('{').and_then(|inner| inner.find('}'));
                    let (skipped, digits) = digits.map_or((0, 4), |digits| (1, digits));
                    rest = &rest[skipped..];
                    let c = number(&mut rest, digits);
                    rest = &rest[skipped..];
                    char::from_u32(c).expect("a character")
                }
                'U' => char::from_u32(number(&mut rest, 8)).expect("a character"),
                c => panic!("unknown escape {c:?}"),
            }
        };
        bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    bytes
}

fn take(text: &mut &str) -> Option<char> {
    let c = text.chars().next()?;
    *text = &text[c.len_utf8()..];
    Some(c)
}

/// The number in the next `digits` digits.
fn number(text: &mut &str, digits: usize) -> u32 {
    let (number, rest) = text.split_at(digits);
    *text = rest;
    u32::from_str_radix(number, 16).expect("hexadecimal digits")
}
