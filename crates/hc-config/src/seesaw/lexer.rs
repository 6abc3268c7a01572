//! Tokens of protobuf's text format, as `proto.UnmarshalText` of golang/protobuf 1.5 reads them.

use crate::words::quoted;

/// A token and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token<'a> {
    pub(super) kind: TokenKind<'a>,
    pub(super) at: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind<'a> {
    /// One of `<>{}:[];,/`.
    Symbol(u8),
    /// One or more strings in a row, joined.
    Text(Vec<u8>),
    /// A name or a number.
    Word(&'a str),
    End,
}

impl TokenKind<'_> {
    /// For errors.
    pub(super) fn shown(&self) -> String {
        match self {
            TokenKind::Symbol(symbol) => format!("`{}`", char::from(*symbol)),
            TokenKind::Text(_) => "a string".to_owned(),
            TokenKind::Word(word) => quoted(word),
            TokenKind::End => "the end of the file".to_owned(),
        }
    }
}

/// A place and what is wrong there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LexError {
    pub(super) at: usize,
    pub(super) problem: String,
}

pub(super) struct Lexer<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.offset).copied()
    }

    fn skip_blanks_and_comments(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => self.offset += 1,
                b'#' => {
                    let rest = &self.bytes[self.offset..];
                    self.offset += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
                }
                _ => return,
            }
        }
    }

    pub(super) fn next(&mut self) -> Result<Token<'a>, LexError> {
        self.skip_blanks_and_comments();
        let at = self.offset;
        let kind = match self.peek() {
            None => TokenKind::End,
            Some(symbol @ (b'<' | b'>' | b'{' | b'}' | b':' | b'[' | b']' | b';' | b',' | b'/')) => {
                self.offset += 1;
                TokenKind::Symbol(symbol)
            }
            Some(b'"' | b'\'') => TokenKind::Text(self.strings()?),
            Some(byte) => TokenKind::Word(self.word(byte)?),
        };
        Ok(Token { kind, at })
    }

    fn word(&mut self, first: u8) -> Result<&'a str, LexError> {
        let rest = &self.bytes[self.offset..];
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-+._".contains(byte);
        let length = rest.iter().position(|byte| !fits(byte)).unwrap_or(rest.len());
        let word = std::str::from_utf8(&rest[..length]).unwrap_or_default();
        if word.is_empty() {
            let problem = format!("unexpected byte {first:#04x}");
            return Err(LexError { at: self.offset, problem });
        }
        self.offset += length;
        Ok(word)
    }

    /// Strings that follow each other are one.
    fn strings(&mut self) -> Result<Vec<u8>, LexError> {
        let mut text = Vec::new();
        while let Some(quote @ (b'"' | b'\'')) = self.peek() {
            let at = self.offset;
            let raw = self.raw_string(quote)?;
            let unescaped = unescape(raw);
            text.extend(unescaped.map_err(|problem| LexError { at, problem })?);
            self.skip_blanks_and_comments();
        }
        Ok(text)
    }

    /// What stands between two quotes, on one line.
    fn raw_string(&mut self, quote: u8) -> Result<&'a [u8], LexError> {
        let at = self.offset;
        let start = at + 1;
        let mut end = start;
        while let Some(byte) = self.bytes.get(end).copied().filter(|byte| *byte != b'\n') {
            if byte == quote {
                self.offset = end + 1;
                return Ok(&self.bytes[start..end]);
            }
            // What is escaped does not end the string.
            end += if byte == b'\\' && end + 1 < self.bytes.len() { 2 } else { 1 };
        }
        Err(LexError { at, problem: "the string has no end on its line".to_owned() })
    }
}

/// The bytes that a string stands for. Without a backslash it need not be UTF-8, with one it must.
fn unescape(raw: &[u8]) -> Result<Vec<u8>, String> {
    if !raw.contains(&b'\\') {
        return Ok(raw.to_vec());
    }
    let mut rest = std::str::from_utf8(raw).map_err(|_| "a string with escapes is not UTF-8".to_owned())?;
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some(backslash) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..backslash]);
        rest = escape(&rest[backslash + 1..], &mut bytes)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

/// Reads what follows a backslash, and returns what follows the escape.
fn escape<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Result<&'a str, String> {
    let Some(first) = text.chars().next() else { return Err("a backslash ends the string".to_owned()) };
    let rest = &text[first.len_utf8()..];
    let simple = match first {
        'a' => Some(7),
        'b' => Some(8),
        'f' => Some(12),
        'n' => Some(b'\n'),
        'r' => Some(b'\r'),
        't' => Some(b'\t'),
        'v' => Some(11),
        '?' => Some(b'?'),
        '\'' => Some(b'\''),
        '"' => Some(b'"'),
        '\\' => Some(b'\\'),
        _ => None,
    };
    if let Some(byte) = simple {
        bytes.push(byte);
        return Ok(rest);
    }
    match first {
        '0'..='7' => {
            let (number, rest) = digits(text, 3, 8)?;
            bytes.push(u8::try_from(number).map_err(|_| format!("\\{number:o} is above \\377"))?);
            Ok(rest)
        }
        'x' | 'X' => {
            let (number, rest) = digits(rest, 2, 16)?;
            bytes.push(u8::try_from(number).unwrap_or_default());
            Ok(rest)
        }
        'u' | 'U' => {
            let (number, rest) = digits(rest, if first == 'u' { 4 } else { 8 }, 16)?;
            if number > u32::from(char::MAX) {
                return Err(format!("\\U{number:08x} is not a Unicode code point"));
            }
            // Go writes the replacement character for half of a surrogate pair.
            let character = char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER);
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            Ok(rest)
        }
        _ => Err(format!("unknown escape {}", quoted(&format!("\\{first}")))),
    }
}

fn digits(text: &str, count: usize, radix: u32) -> Result<(u32, &str), String> {
    let number = text.get(..count).filter(|digits| digits.chars().all(|digit| digit.is_digit(radix)));
    let number = number.and_then(|digits| u32::from_str_radix(digits, radix).ok());
    match number {
        Some(number) => Ok((number, &text[count..])),
        None => Err(format!("an escape needs {count} digits of base {radix}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_read_as_in_go() {
        let text = |source: &'static str| Lexer::new(source.as_bytes()).next().map(|token| token.kind);
        for (source, bytes) in [
            (r#""a" 'b' # c"#, &b"ab"[..]),
            ("\"a\"\n\"b\"", b"ab"),
            (r#""\x00\377\101""#, b"\x00\xffA"),
            (r#""\u00e9\ud800""#, "é\u{fffd}".as_bytes()),
            (r#""\"\\\'""#, b"\"\\'"),
        ] {
            assert_eq!(text(source), Ok(TokenKind::Text(bytes.to_vec())), "{source}");
        }
        assert_eq!(Lexer::new(b"'\xff'").next().unwrap().kind, TokenKind::Text(vec![0xff]));
        assert!(Lexer::new(b"'\xff\\n'").next().is_err());
        for source in [
            r#""a"#,
            "\"a\n\"",
            r#""\0""#,
            r#""\x1""#,
            r#""\777""#,
            r#""\U00110000""#,
            r#""\é""#,
            r#""\"#,
            r#"'\'"#,
        ] {
            assert!(text(source).is_err(), "{source}");
        }
    }
}
