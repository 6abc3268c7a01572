//! Bytes as JSON: a string when they are UTF-8, `{"base64":"…"}` (standard alphabet, padded) when
//! they are not.
//!
//! The functions are for `#[serde(with = "hc_wire::bytes")]` on a field of [`RawBytes`].

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hc_types::{RawBytes, Secret};
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Writes bytes.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(bytes: &RawBytes, serializer: S) -> Result<S::Ok, S::Error> {
    AsJson(bytes.as_slice()).serialize(serializer)
}

/// Reads bytes.
///
/// # Errors
/// Anything but a string or `{"base64":"…"}`, and base64 that is not.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RawBytes, D::Error> {
    deserializer.deserialize_any(BytesVisitor)
}

/// Bytes to be written.
pub(crate) struct AsJson<'a>(pub(crate) &'a [u8]);

impl Serialize for AsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Ok(text) = std::str::from_utf8(self.0) {
            return serializer.serialize_str(text);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("base64", &BASE64.encode(self.0))?;
        map.end()
    }
}

/// Bytes that read and write as JSON wherever they stand, in a list for example.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JsonBytes(pub RawBytes);

impl Serialize for JsonBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for JsonBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize(deserializer).map(Self)
    }
}

/// A secret that was read.
#[derive(Debug)]
pub(crate) struct SecretBytes(pub(crate) Secret);

/// What is not a secret may have been meant as one (a number, say), so the error does not quote it.
impl<'de> Deserialize<'de> for SecretBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserialize(deserializer) {
            Ok(bytes) => Ok(Self(bytes.into())),
            Err(_) => Err(de::Error::custom("not a string or {\"base64\": \"...\"}")),
        }
    }
}

struct BytesVisitor;

impl<'de> Visitor<'de> for BytesVisitor {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> serde_json::Result<RawBytes> {
        serde_json::from_str(json).map(|JsonBytes(bytes)| bytes)
    }

    #[track_caller]
    fn check(bytes: &[u8], json: &str) {
        assert_eq!(serde_json::to_string(&AsJson(bytes)).unwrap(), json);
        assert_eq!(read(json).unwrap().as_slice(), bytes);
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
        let error = read(r#"{"base64":"%"}"#).unwrap_err();
        assert!(error.to_string().contains("base64"), "{error}");
        assert!(read("{}").is_err());
        assert!(read("7").is_err());
    }

    #[test]
    fn errors_do_not_quote_secrets() {
        for json in ["31337", "31337.5", r#"{"base64":"31337!"}"#, r#"{"31337":1}"#] {
            let error = serde_json::from_str::<SecretBytes>(json).unwrap_err().to_string();
            assert!(error.starts_with("not a string or") && !error.contains("31337"), "{error}");
        }
        let SecretBytes(secret) = serde_json::from_str(r#"{"base64":"AP8="}"#).unwrap();
        assert_eq!(secret.expose(), b"\x00\xff");
    }
}
