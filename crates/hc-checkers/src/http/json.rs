//! One value of a JSON text, without the others: what a backend sends must not become a tree of
//! many times its size.

use std::fmt;

use hc_types::{JsonNumber, JsonScalar};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What is at a place of a JSON text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing: a name or an index on the way is not there.
    Nothing,
    /// A value that is neither an array nor an object.
    Scalar(JsonScalar),
    /// An array.
    Array,
    /// An object.
    Object,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Found::Nothing => f.write_str("nothing"),
            Found::Scalar(scalar) => scalar.fmt(f),
            Found::Array => f.write_str("an array"),
            Found::Object => f.write_str("an object"),
        }
    }
}

/// Looks up `pointer` (RFC 6901) in `text`, which must be JSON as a whole. Where an object has a
/// name several times the last one counts.
///
/// # Errors
/// Why the text is not JSON.
pub fn find(text: &[u8], pointer: &str) -> Result<Found, serde_json::Error> {
    let path: Vec<String> =
        pointer.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~")).collect();
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let found = Seek(&path).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(found)
}

/// What is at the end of this path from here.
#[derive(Clone, Copy)]
struct Seek<'p>(&'p [String]);

impl Seek<'_> {
    /// `scalar`, if this is the place.
    fn here<E>(self, scalar: impl FnOnce() -> Option<JsonScalar>) -> Result<Found, E> {
        Ok(if self.0.is_empty() { scalar().map_or(Found::Nothing, Found::Scalar) } else { Found::Nothing })
    }
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Found, E> {
        self.here(|| Some(JsonScalar::Null))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Found, E> {
        self.here(|| Some(JsonScalar::Bool(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Found, E> {
        self.here(|| Some(JsonScalar::Number(value.into())))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Found, E> {
        self.here(|| Some(JsonScalar::Number(value.into())))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Found, E> {
        self.here(|| JsonNumber::from_f64(value).map(JsonScalar::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Found, E> {
        self.here(|| Some(JsonScalar::String(value.into())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Found, A::Error> {
        let index = self.0.first().map(|token| index(token));
        let mut found = if index.is_some() { Found::Nothing } else { Found::Array };
        for at in 0.. {
            let is_there = match (index.flatten() == Some(at), self.0) {
                (true, [_, rest @ ..]) => match items.next_element_seed(Seek(rest))? {
                    Some(value) => {
                        found = value;
                        true
                    }
                    None => false,
                },
                _ => items.next_element::<IgnoredAny>()?.is_some(),
            };
            if !is_there {
                break;
            }
        }
        Ok(found)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Found, A::Error> {
        let mut found = if self.0.is_empty() { Found::Object } else { Found::Nothing };
        while let Some(is_it) = entries.next_key_seed(IsName(self.0.first()))? {
            match (is_it, self.0) {
                (true, [_, rest @ ..]) => found = entries.next_value_seed(Seek(rest))?,
                _ => _ = entries.next_value::<IgnoredAny>()?,
            }
        }
        Ok(found)
    }
}

/// An index has no leading zeros (RFC 6901 section 4).
fn index(token: &str) -> Option<usize> {
    let is_index =
        token.bytes().all(|byte| byte.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
    if is_index { token.parse().ok() } else { None }
}

/// Whether a name is this one.
struct IsName<'p>(Option<&'p String>);

impl<'de> DeserializeSeed<'de> for IsName<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for IsName<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<bool, E> {
        Ok(self.0.is_some_and(|wanted| wanted == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#" { "status": "\u006fk", "checks": [ { "n": 1 }, { "n": 2.0 }, null ], "a/b": true, "m~n": 0.1,
        "": -3, "deep": {"": {"x": 1}}, "twice": 1, "twice": 2, "big": 18446744073709551615 } "#;

    #[track_caller]
    fn at(pointer: &str, expected: Found) {
        let found = find(TEXT.as_bytes(), pointer).unwrap();
        assert_eq!(found, expected, "{pointer}");
        // The same as a tree of all values has.
        let tree: serde_json::Value = serde_json::from_str(TEXT).unwrap();
        assert_eq!(tree.pointer(pointer).is_some(), found != Found::Nothing, "{pointer}");
    }

    fn number(value: i64) -> Found {
        Found::Scalar(JsonScalar::Number(value.into()))
    }

    #[test]
    fn a_value_is_found_by_its_pointer() {
        at("", Found::Object);
        at("/status", Found::Scalar(JsonScalar::String("ok".into())));
        at("/checks", Found::Array);
        at("/checks/0", Found::Object);
        at("/checks/1/n", number(2));
        at("/checks/2", Found::Scalar(JsonScalar::Null));
        for nothing in
            ["/checks/3", "/checks/00", "/checks/-", "/checks/01/n", "/status/x", "/x", "/checks/n"]
        {
            at(nothing, Found::Nothing);
        }
        at("/a~1b", Found::Scalar(JsonScalar::Bool(true)));
        at("/m~0n", Found::Scalar(JsonScalar::Number(JsonNumber::from_f64(0.1).unwrap())));
        at("/", number(-3));
        at("/deep//x", number(1));
        at("/twice", number(2));
        at("/big", Found::Scalar(JsonScalar::Number(u64::MAX.into())));
    }

    #[test]
    fn the_whole_text_must_be_json() {
        for text in
            [&b""[..], b"{", b"{} x", b"[1,]", b"{\"a\": 1,}", b"nul", b"\xff", b"<html>", &[b'['; 100_000]]
        {
            assert!(find(text, "/a").is_err());
        }
        assert_eq!(find(b"3", "").unwrap(), number(3));
    }
}
