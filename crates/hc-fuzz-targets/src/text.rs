//! Words: names of record types, and bytes in quotes.

use hc_types::{RecordClass, RecordType};

/// Any word: the type or class that it names has a name that reads back.
pub fn record_type(data: &[u8]) {
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

/// Undoes the quoting.
fn unquote(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            assert_ne!(c, '"', "a quote ends the text");
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match rest.next().expect("something is escaped") {
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            'x' => {
                let digits: String = rest.by_ref().take(2).collect();
                bytes.push(u8::from_str_radix(&digits, 16).expect("two digits"));
            }
            'u' => {
                let digits: String = rest.by_ref().skip(1).take_while(|c| *c != '}').collect();
                let number = u32::from_str_radix(&digits, 16).expect("digits");
                let c = char::from_u32(number).expect("a character");
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            c @ ('"' | '\\') => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            c => panic!("unknown escape {c:?}"),
        }
    }
    bytes
}
