//! Bytes that Go carries in strings, and those of them that are secret.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::text::quote;

/// Bytes that need not be UTF-8: what a check sends, and what it expects.
///
/// In JSON a string when the bytes are UTF-8, `{"base64":"…"}` (standard alphabet, padded) when they are not.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct RawBytes(Box<[u8]>);

impl RawBytes {
    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl AsRef<[u8]> for RawBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for RawBytes {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl<const N: usize> From<&[u8; N]> for RawBytes {
    fn from(bytes: &[u8; N]) -> Self {
        Self(bytes.as_slice().into())
    }
}

impl From<Vec<u8>> for RawBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into_boxed_slice())
    }
}

impl From<&str> for RawBytes {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().into())
    }
}

impl From<String> for RawBytes {
    fn from(text: String) -> Self {
        Self(text.into_bytes().into_boxed_slice())
    }
}

impl fmt::Debug for RawBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quote(&self.0))
    }
}

impl Serialize for RawBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Ok(text) = std::str::from_utf8(&self.0) {
            return serializer.serialize_str(text);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("base64", &BASE64.encode(&self.0))?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for RawBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawBytesVisitor)
    }
}

struct RawBytesVisitor;

impl<'de> Visitor<'de> for RawBytesVisitor {
    type Value = RawBytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or {\"base64\": \"...\"}")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<RawBytes, E> {
        Ok(text.into())
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<RawBytes, E> {
        Ok(text.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawBytes, A::Error> {
        let mut bytes = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == "base64" {
                let text: String = map.next_value()?;
                bytes = Some(BASE64.decode(&text).map_err(|e| de::Error::custom(format!("base64: {e}")))?);
            } else {
                map.next_value::<de::IgnoredAny>()?;
            }
        }
        bytes.map(RawBytes::from).ok_or_else(|| de::Error::missing_field("base64"))
    }
}

/// Bytes that must not reach a log, a metric or an error: [`Debug`](fmt::Debug) hides them, and there is no `Display`.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Secret(RawBytes);

/// What is no secret may have been meant as one (a number, say), so the error does not quote it.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = RawBytes::deserialize(deserializer);
        bytes.map(Self).map_err(|_| de::Error::custom("not a string or {\"base64\": \"...\"}"))
    }
}

impl Secret {
    /// The bytes, for the one place that needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.as_slice()
    }
}

impl From<RawBytes> for Secret {
    fn from(bytes: RawBytes) -> Self {
        Self(bytes)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], json: &str) {
        let value = RawBytes::from(bytes);
        assert_eq!(serde_json::to_string(&value).unwrap(), json);
        assert_eq!(serde_json::from_str::<RawBytes>(json).unwrap(), value);
    }

    #[test]
    fn text_stays_text_and_the_rest_becomes_base64() {
        check(b"220 ", r#""220 ""#);
        check("é\n".as_bytes(), "\"é\\n\"");
        check(b"\x00\xff", r#"{"base64":"AP8="}"#);
        check(b"", r#""""#);
    }

    #[test]
    fn bad_base64_is_an_error_that_says_so() {
        let error = serde_json::from_str::<RawBytes>(r#"{"base64":"%"}"#).unwrap_err();
        assert!(error.to_string().contains("base64"), "{error}");
        assert!(serde_json::from_str::<RawBytes>("{}").is_err());
        assert!(serde_json::from_str::<RawBytes>("7").is_err());
    }

    #[test]
    fn errors_do_not_quote_secrets() {
        for json in ["31337", "31337.5", r#"{"base64":"31337!"}"#, r#"{"31337":1}"#] {
            let error = serde_json::from_str::<Secret>(json).unwrap_err().to_string();
            assert!(error.starts_with("not a string or") && !error.contains("31337"), "{error}");
        }
        assert_eq!(serde_json::from_str::<Secret>(r#"{"base64":"AP8="}"#).unwrap().expose(), b"\x00\xff");
    }

    #[test]
    fn debug_hides_secrets() {
        assert_eq!(format!("{:?}", Secret::from("hunter2")), "Secret(..)");
    }
}
