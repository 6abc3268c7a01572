//! Reads protobuf's text format against a schema. Every field keeps its place, so that what is
//! found wrong later has one too.
//!
//! It reads what `proto.UnmarshalText` of golang/protobuf 1.5 does, which Seesaw's engine uses. The
//! parsers at hand refuse strings that are not UTF-8, and none of them keeps the places of fields.

use super::lexer::{LexError, Lexer, Token, TokenKind};
use super::schema::{Field, Kind, Label, Message};
use crate::diagnostic::{Report, Span};
use crate::suggest::nearest;
use crate::words::quoted;

/// A message that was read.
pub(super) struct Node {
    pub(super) at: Span,
    fields: Vec<(&'static Field, Value, Span)>,
}

pub(super) enum Value {
    Bool(bool),
    Integer(i64),
    Float,
    Text(Vec<u8>),
    Message(Node),
}

impl Node {
    fn values(&self, name: &'static str) -> impl Iterator<Item = (&Value, Span)> {
        let fields = self.fields.iter().filter(move |(field, ..)| field.name == name);
        fields.map(|(_, value, at)| (value, *at))
    }

    pub(super) fn messages(&self, name: &'static str) -> impl Iterator<Item = &Node> {
        self.values(name).filter_map(|(value, _)| match value {
            Value::Message(node) => Some(node),
            _ => None,
        })
    }

    pub(super) fn message(&self, name: &'static str) -> Option<&Node> {
        self.messages(name).next()
    }

    pub(super) fn integer(&self, name: &'static str) -> Option<i64> {
        self.values(name).find_map(|(value, _)| match value {
            Value::Integer(integer) => Some(*integer),
            _ => None,
        })
    }

    pub(super) fn flag(&self, name: &'static str) -> Option<bool> {
        self.values(name).find_map(|(value, _)| match value {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        })
    }

    pub(super) fn texts(&self, name: &'static str) -> impl Iterator<Item = (&[u8], Span)> {
        self.values(name).filter_map(|(value, at)| match value {
            Value::Text(text) => Some((&text[..], at)),
            _ => None,
        })
    }

    /// The bytes of a string; empty without one.
    pub(super) fn bytes(&self, name: &'static str) -> &[u8] {
        self.texts(name).next().map_or(&[], |(text, _)| text)
    }

    pub(super) fn at(&self, name: &'static str) -> Span {
        self.values(name).next().map_or(self.at, |(_, at)| at)
    }
}

/// Reads a file. Errors are reported, the first one in the syntax and all fields that are missing.
pub(super) fn read(bytes: &[u8], file: usize, schema: &'static Message, report: &mut Report) -> Option<Node> {
    let mut parser = Parser { lexer: Lexer::new(bytes), file, back: None };
    match parser.message(schema, None, 0) {
        Ok(node) => are_complete(&node, schema, schema.name, report).then_some(node),
        Err(error) => {
            let at = Span { file, start: error.at };
            report.add(at, error.key, error.problem).suggest(error.suggestion);
            None
        }
    }
}

/// Whether all required fields are there, in the inner messages too.
fn are_complete(node: &Node, schema: &Message, path: &str, report: &mut Report) -> bool {
    let mut complete = true;
    for field in schema.fields {
        if field.label == Label::Required && node.values(field.name).next().is_none() {
            report.add(node.at, format!("{path}.{}", field.name), "is missing");
            complete = false;
        }
        if let Kind::Message(schema) = field.kind {
            let path = format!("{path}.{}", field.name);
            for inner in node.messages(field.name) {
                complete &= are_complete(inner, schema, &path, report);
            }
        }
    }
    complete
}

struct ParseError {
    at: usize,
    key: String,
    problem: String,
    suggestion: Option<&'static str>,
}

impl From<LexError> for ParseError {
    fn from(error: LexError) -> Self {
        Self { at: error.at, key: String::new(), problem: error.problem, suggestion: None }
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    file: usize,
    /// A token that was read too far.
    back: Option<Token<'a>>,
}

type Parsed<T> = Result<T, ParseError>;

impl<'a> Parser<'a> {
    fn next(&mut self) -> Parsed<Token<'a>> {
        match self.back.take() {
            Some(token) => Ok(token),
            None => Ok(self.lexer.next()?),
        }
    }

    /// Takes the next token if it is one of these symbols.
    fn skip(&mut self, symbols: &[u8]) -> Parsed<bool> {
        let token = self.next()?;
        if matches!(token.kind, TokenKind::Symbol(symbol) if symbols.contains(&symbol)) {
            return Ok(true);
        }
        self.back = Some(token);
        Ok(false)
    }

    /// Fields up to the symbol that ends the message, or to the end of the file.
    fn message(&mut self, schema: &'static Message, end: Option<u8>, start: usize) -> Parsed<Node> {
        let mut node = Node { at: Span { file: self.file, start }, fields: Vec::new() };
        loop {
            let token = self.next()?;
            match (&token.kind, end) {
                (TokenKind::End, None) => return Ok(node),
                (TokenKind::Symbol(symbol), Some(end)) if *symbol == end => return Ok(node),
                _ => self.field(&token, schema, end, &mut node)?,
            }
        }
    }

    fn field(
        &mut self,
        name: &Token<'a>,
        schema: &'static Message,
        end: Option<u8>,
        node: &mut Node,
    ) -> Parsed<()> {
        let TokenKind::Word(word) = name.kind else {
            let or_end = end.map_or(String::new(), |end| format!(" or `{}`", char::from(end)));
            return error(
                name,
                schema.name,
                format!("expected a field{or_end}, found {}", name.kind.shown()),
            );
        };
        let Some(field) = schema.fields.iter().find(|field| field.name == word) else {
            let names = schema.fields.iter().map(|field| field.name);
            let problem = format!("there is no field {} here", quoted(word));
            let suggestion = nearest(word, names);
            return Err(ParseError { at: name.at, key: schema.name.to_owned(), problem, suggestion });
        };
        let key = format!("{}.{}", schema.name, field.name);
        if field.label != Label::Repeated && node.values(field.name).next().is_some() {
            return error(name, &key, "is there already, and it may not be repeated".to_owned());
        }
        let colon = self.skip(b":")?;
        if !colon && !matches!(field.kind, Kind::Message(_)) {
            let token = self.next()?;
            return error(&token, &key, format!("expected `:`, found {}", token.kind.shown()));
        }
        if field.label == Label::Repeated && self.skip(b"[")? {
            self.list(field, &key, node)?;
        } else {
            self.value(field, &key, node)?;
        }
        self.skip(b";,")?;
        Ok(())
    }

    /// `[a, b]`, of which the first bracket has been taken. It is not empty.
    fn list(&mut self, field: &'static Field, key: &str, node: &mut Node) -> Parsed<()> {
        loop {
            self.value(field, key, node)?;
            let token = self.next()?;
            match token.kind {
                TokenKind::Symbol(b']') => return Ok(()),
                TokenKind::Symbol(b',') => {}
                _ => return error(&token, key, format!("expected `,` or `]`, found {}", token.kind.shown())),
            }
        }
    }

    fn value(&mut self, field: &'static Field, key: &str, node: &mut Node) -> Parsed<()> {
        let token = self.next()?;
        let value = match (&field.kind, &token.kind) {
            (Kind::Message(schema), TokenKind::Symbol(b'<')) => {
                Some(Value::Message(self.message(schema, Some(b'>'), token.at)?))
            }
            (Kind::Message(schema), TokenKind::Symbol(b'{')) => {
                Some(Value::Message(self.message(schema, Some(b'}'), token.at)?))
            }
            (Kind::Text, TokenKind::Text(text)) => Some(Value::Text(text.clone())),
            (Kind::Bool, TokenKind::Word(word)) => bool_of(word).map(Value::Bool),
            (Kind::Float, TokenKind::Word(word)) => is_float(word).then_some(Value::Float),
            (Kind::Int32, TokenKind::Word(word)) => int32(word).map(i64::from).map(Value::Integer),
            (Kind::Int64, TokenKind::Word(word)) => {
                integer(word).and_then(|n| i64::try_from(n).ok()).map(Value::Integer)
            }
            (Kind::Uint32, TokenKind::Word(word)) if !word.starts_with(['-', '+']) => {
                integer(word).and_then(|n| u32::try_from(n).ok()).map(i64::from).map(Value::Integer)
            }
            (Kind::Enum(words), TokenKind::Word(word)) => {
                enum_number(words, word, &token, key)?.map(i64::from).map(Value::Integer)
            }
            _ => None,
        };
        match value {
            Some(value) => {
                node.fields.push((field, value, Span { file: self.file, start: token.at }));
                Ok(())
            }
            None => {
                error(&token, key, format!("expected {}, found {}", field.kind.noun(), token.kind.shown()))
            }
        }
    }
}

fn error<T>(token: &Token<'_>, key: &str, problem: String) -> Parsed<T> {
    Err(ParseError { at: token.at, key: key.to_owned(), problem, suggestion: None })
}

impl Kind {
    fn noun(&self) -> &'static str {
        match self {
            Kind::Bool => "true or false",
            Kind::Int32 => "an integer of 32 bits",
            Kind::Int64 => "an integer of 64 bits",
            Kind::Uint32 => "a positive integer of 32 bits",
            Kind::Float => "a number",
            Kind::Text => "a string",
            Kind::Enum(_) => "a word",
            Kind::Message(_) => "`<` or `{`",
        }
    }
}

fn bool_of(word: &str) -> Option<bool> {
    match word {
        "true" | "1" | "t" | "True" => Some(true),
        "false" | "0" | "f" | "False" => Some(false),
        _ => None,
    }
}

/// Words, and numbers that need not be one of them.
fn enum_number(
    words: &'static [(&'static str, i32)],
    word: &str,
    token: &Token<'_>,
    key: &str,
) -> Parsed<Option<i32>> {
    if let Some(number) = integer(word).and_then(|number| i32::try_from(number).ok()) {
        return Ok(Some(number));
    }
    if let Some((_, number)) = words.iter().find(|(name, _)| *name == word) {
        return Ok(Some(*number));
    }
    let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
    let problem = format!("{} is not one of {}", quoted(word), names.join(", "));
    let suggestion = nearest(word, names);
    Err(ParseError { at: token.at, key: key.to_owned(), problem, suggestion })
}

/// `strconv.ParseInt` with base 0: a sign, then `0x`, `0o`, `0`, `0b` or nothing, and `_` between
/// digits.
fn integer(word: &str) -> Option<i128> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        _ if lower.len() > 1 && lower.starts_with('0') => (8, &lower[1..]),
        _ => (10, &lower[..]),
    };
    // An underscore may follow a prefix, but not begin a decimal number.
    let prefixed = radix != 10;
    let digits = if prefixed { digits.strip_prefix('_').unwrap_or(digits) } else { digits };
    let groups_fit =
        digits.split('_').all(|group| !group.is_empty() && group.chars().all(|c| c.is_digit(radix)));
    if !groups_fit {
        return None;
    }
    let number = i128::from_str_radix(&digits.replace('_', ""), radix).ok()?;
    Some(if negative { -number } else { number })
}

/// Also takes what C++ writes for negative numbers: `0xffffffff` is -1.
#[expect(clippy::cast_possible_wrap, reason = "two's complement is what is meant")]
fn int32(word: &str) -> Option<i32> {
    let number = integer(word)?;
    let wrapped =
        || u32::try_from(number).ok().filter(|_| word.starts_with("0x")).map(|number| number as i32);
    i32::try_from(number).ok().or_else(wrapped)
}

fn is_float(word: &str) -> bool {
    let infinite = ["inf", "infinity"].contains(&word.trim_start_matches(['-', '+']).to_lowercase().as_str());
    let number = if infinite { word } else { word.strip_suffix('f').unwrap_or(word) };
    number.parse::<f32>().is_ok_and(|number| infinite || number.is_finite() || number.is_nan())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_read_as_in_go() {
        for (word, number) in [
            ("0", Some(0)),
            ("010", Some(8)),
            ("0_7", Some(7)),
            ("+7", Some(7)),
            ("1_000", Some(1000)),
            ("0x_fF", Some(255)),
            ("-0b11", Some(-3)),
            ("0o17", Some(15)),
            ("0xffffffff", Some(-1)),
            ("-0x80000000", Some(i32::MIN)),
            ("4294967295", None),
            ("_1", None),
            ("1__0", None),
            ("1_", None),
            ("08", None),
            ("0x", None),
            ("", None),
            ("-", None),
            ("1.0", None),
        ] {
            assert_eq!(int32(word), number, "{word}");
        }
    }

    #[test]
    fn floats_read_as_in_go() {
        for word in ["1", "-0.5f", "1e3", "inf", "-inf", "+Inf", "nan", "NaN", ".5"] {
            assert!(is_float(word), "{word}");
        }
        for word in ["", "f", "1e39", "x", "1.0.0", "1ff"] {
            assert!(!is_float(word), "{word}");
        }
    }
}
