//! Lines of the log that are one and stay one, of bounded length: what peers and backends say may
//! be part of them, and must neither begin another line nor speak to a terminal.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// The longest line in bytes; of a longer one something is cut off.
pub(super) const LONGEST: usize = 16 * 1024;

/// The longest value in bytes that is left alone; of such values no event has enough to make a long
/// line.
const SHORT: usize = 64;

/// A line of text. A long one ends early.
pub(super) fn text(line: &[u8]) -> Vec<u8> {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let shown = &text[..text.len().min(LONGEST)];
    let mut is_cut = shown.len() < text.len();
    let mut line = Vec::with_capacity(shown.len() + 4);
    for c in String::from_utf8_lossy(shown).chars() {
        // An escape is longer than what it stands for.
        if line.len() >= LONGEST {
            is_cut = true;
            break;
        }
        if c.is_control() && c != '\t' {
            line.extend(c.escape_default().map(|c| u8::try_from(c).unwrap_or(b'?')));
        } else {
            line.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    if is_cut {
        line.extend_from_slice("…".as_bytes());
    }
    line.push(b'\n');
    line
}

/// A line that is a JSON object, and is one afterwards. In a long one the longest values end early.
pub(super) fn json(line: &[u8]) -> Vec<u8> {
    let line = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line));
    let mut line = escape(&line);
    if line.len() > LONGEST {
        line = shorten(&line);
    }
    line.push('\n');
    line.into_bytes()
}

/// Control characters stand in strings only, and JSON has escapes of its own for those below
/// U+0020.
fn escape(json: &str) -> String {
    let mut line = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        if c.is_control() {
            let _ = write!(line, "\\u{:04x}", u32::from(c));
        } else {
            line.push(c);
        }
    }
    line
}

fn shorten(line: &str) -> String {
    // What is no object is a message of somebody else.
    let mut object = serde_json::from_str::<Map<String, Value>>(line)
        .map_or_else(|_| serde_json::json!({ "message": line }), Value::from);
    loop {
        let line = escape(&object.to_string());
        let excess = line.len().saturating_sub(LONGEST);
        let values = object.as_object_mut().into_iter().flat_map(Map::values_mut);
        match values.map(|value| (value.to_string().len(), value)).max_by_key(|(length, _)| *length) {
            Some((length, value)) if excess > 0 && length > SHORT => cut(value, excess),
            _ => return line,
        }
    }
}

/// Takes away so many bytes, but no more than half. What is no text becomes one.
fn cut(value: &mut Value, excess: usize) {
    let mut text = match value.take() {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let end = text.len().saturating_sub(excess + "…".len()).max(text.len() / 2);
    text.truncate(text.floor_char_boundary(end));
    text.push('…');
    *value = text.into();
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check_text(line: &str, expected: &str) {
        assert_eq!(String::from_utf8(text(line.as_bytes())).unwrap(), expected);
    }

    #[test]
    fn a_line_stays_one_line() {
        check_text("plain é\tx\n", "plain é\tx\n");
        check_text("no\n2026 INFO forged\n", "no\\n2026 INFO forged\n");
        check_text("red \u{1b}[31m \u{9b}31m \r\n", "red \\u{1b}[31m \\u{9b}31m \\r\n");
    }

    #[test]
    fn an_endless_line_is_cut() {
        let line = text("é".repeat(LONGEST).as_bytes());
        assert!(line.len() <= LONGEST + 8, "{}", line.len());
        assert!(line.ends_with("…\n".as_bytes()));
        let line = text("\u{1}".repeat(LONGEST - 1).as_bytes());
        assert!(line.len() < LONGEST + 16 && line.ends_with("…\n".as_bytes()), "{}", line.len());
    }

    /// What is read from the line that is written of these fields.
    #[track_caller]
    fn through(fields: &Value) -> Value {
        let line = String::from_utf8(json(format!("{fields}\n").as_bytes())).unwrap();
        let line = line.strip_suffix('\n').unwrap();
        assert!(line.len() <= LONGEST, "{}", line.len());
        assert!(!line.contains(char::is_control), "{line}");
        serde_json::from_str(line).unwrap()
    }

    #[test]
    fn an_object_stays_what_it_is() {
        for text in
            ["plain é", "no\n{\"forged\":1}", "tab \t red \u{1b}[31m \u{9b}31m \u{7f} \u{85} \\ \"", ""]
        {
            let fields = json!({ "level": "INFO", "message": text, "id": u64::MAX, "none": null });
            assert_eq!(through(&fields), fields);
        }
    }

    #[test]
    fn of_an_endless_object_the_longest_values_are_cut() {
        for text in ["x", "é", "\n", "\u{9b}", "\\", "𝄞"] {
            for length in [LONGEST - 60, LONGEST, 10 * LONGEST] {
                let long = text.repeat(length / text.len());
                let fields = json!({ "level": "WARN", "message": "short", "error": long, "id": 7 });
                let mut read = through(&fields);
                let error = read["error"].take();
                let (kept, fits) = (error.as_str().unwrap(), fields.to_string().len() <= LONGEST);
                assert!(fits || kept.ends_with('…'), "{kept}");
                assert!(long.starts_with(kept.trim_end_matches('…')) && kept.len() > LONGEST / 16, "{kept}");
                assert_eq!(read, json!({ "level": "WARN", "message": "short", "error": null, "id": 7 }));
            }
        }
    }

    #[test]
    fn many_long_values_are_cut_alike() {
        let long = "x".repeat(LONGEST);
        let fields: Map<_, _> = (0..30).map(|n| (n.to_string(), long.clone().into())).collect();
        let read = through(&fields.into());
        let lengths: Vec<_> = (0..30).map(|n| read[n.to_string()].as_str().unwrap().len()).collect();
        assert!(lengths.iter().all(|length| *length > 100), "{lengths:?}");
    }

    #[test]
    fn what_is_no_text_or_no_object_is_cut_too() {
        let numbers: Vec<_> = (0..LONGEST).collect();
        assert!(through(&json!({ "numbers": numbers }))["numbers"].is_string());
        let line = "x".repeat(2 * LONGEST);
        let read: Value = serde_json::from_slice(&json(line.as_bytes())).unwrap();
        assert!(read["message"].as_str().unwrap().starts_with("xxx"));
    }
}
