//! What an HTTP response must have beyond its status and the beginning of its body.

use std::fmt;

use crate::{Pattern, RawBytes, quote};

/// Conditions on the header fields and on the body of a response. All of them must hold, after the
/// status and [`HttpProbe::expected_body`](crate::HttpProbe::expected_body).
///
/// ```
/// use std::sync::Arc;
/// use hc_types::{BodyCondition, HeaderCondition, HeaderTest, HttpConditions, HttpProbe, Pattern};
///
/// let conditions = HttpConditions {
///     headers: [HeaderCondition { name: "x-role".into(), test: HeaderTest::Equals("primary".into()) }].into(),
///     body: [BodyCondition::Matches(Pattern::new(r"replicas: [2-9]")?)].into(),
///     ..HttpConditions::default()
/// };
/// let probe = HttpProbe { conditions: Some(Arc::new(conditions)), ..HttpProbe::default() };
/// # assert!(probe.conditions.is_some());
/// # Ok::<(), hc_types::PatternError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpConditions {
    /// Conditions on header fields.
    pub headers: Box<[HeaderCondition]>,
    /// Conditions on the body, after gzip is undone if the response says that it came with gzip.
    pub body: Box<[BodyCondition]>,
    /// How many bytes of the body are read at most. A condition that would need more of a longer
    /// body fails. 1 to [`HttpConditions::MAX_BODY_LIMIT`].
    pub body_limit: u32,
}

impl HttpConditions {
    /// The default of [`body_limit`](Self::body_limit): 64 KiB.
    pub const DEFAULT_BODY_LIMIT: u32 = 64 * 1024;

    /// The largest [`body_limit`](Self::body_limit): 1 MiB.
    pub const MAX_BODY_LIMIT: u32 = 1024 * 1024;
}

impl Default for HttpConditions {
    fn default() -> Self {
        Self { headers: Box::default(), body: Box::default(), body_limit: HttpConditions::DEFAULT_BODY_LIMIT }
    }
}

/// A condition on the header fields of one name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeaderCondition {
    /// The name of the field, whose case does not matter: [`CheckSpec::new`](crate::CheckSpec::new)
    /// writes it in lower case.
    pub name: Box<str>,
    /// What one of the fields of this name must be. Values are compared without the blanks around
    /// them.
    pub test: HeaderTest,
}

/// What the value of a header field must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeaderTest {
    /// The field is there, whatever its value.
    Present,
    /// The field is not there.
    Absent,
    /// The value is this one, byte for byte.
    Equals(RawBytes),
    /// The value has these bytes somewhere.
    Contains(RawBytes),
    /// The value matches somewhere.
    Matches(Pattern),
}

/// Reads on as in "x-role is not …": `is "primary"`.
impl fmt::Display for HeaderTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderTest::Present => f.write_str("is there"),
            HeaderTest::Absent => f.write_str("is not there"),
            HeaderTest::Equals(value) => write!(f, "is {}", quote(value.as_slice())),
            HeaderTest::Contains(part) => write!(f, "contains {}", quote(part.as_slice())),
            HeaderTest::Matches(pattern) => write!(f, "matches {pattern}"),
        }
    }
}

/// A condition on the body.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BodyCondition {
    /// The body has these bytes somewhere.
    Contains(RawBytes),
    /// The body matches somewhere.
    Matches(Pattern),
    /// The body is JSON, and has a value there.
    Json(Box<JsonCondition>),
}

/// Reads on as in "want a body that …": `contains "ready"`.
impl fmt::Display for BodyCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BodyCondition::Contains(part) => write!(f, "contains {}", quote(part.as_slice())),
            BodyCondition::Matches(pattern) => write!(f, "matches {pattern}"),
            BodyCondition::Json(json) => json.fmt(f),
        }
    }
}

/// A condition on one value of a JSON body.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JsonCondition {
    /// Where the value is (RFC 6901): `/checks/0/status`, or empty for the whole body.
    pub pointer: Box<str>,
    /// What it must be. `None`: anything, but there must be one.
    pub equals: Option<JsonScalar>,
}

/// Reads on as in "want a body that …": `has "ok" at /status`.
impl fmt::Display for JsonCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = quote(self.pointer.as_bytes());
        match &self.equals {
            Some(value) => write!(f, "has {value} at {place}"),
            None => write!(f, "has a value at {place}"),
        }
    }
}

/// A JSON value that is neither an array nor an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum JsonScalar {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, compared by its value: 1 and 1.0 are equal.
    Number(JsonNumber),
    /// A string, compared after its escapes are undone.
    String(Box<str>),
}

/// As JSON, control characters escaped.
impl fmt::Display for JsonScalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JsonScalar::Null => f.write_str("null"),
            JsonScalar::Bool(value) => value.fmt(f),
            JsonScalar::Number(number) => number.fmt(f),
            JsonScalar::String(text) => f.write_str(&quote(text.as_bytes())),
        }
    }
}

/// A finite number: an integer from −2⁶³ to 2⁶⁴ − 1, or a double.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JsonNumber(Number);

/// A value has one form: a double that is an integer of 64 bits is kept as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Number {
    Integer(i128),
    /// The bits of a double.
    Double(u64),
}

impl JsonNumber {
    /// A double; `None` if it is infinite or no number.
    #[must_use]
    pub fn from_f64(value: f64) -> Option<Self> {
        /// Doubles below it are integers of 65 bits or less, which the conversion keeps.
        const WIDE: f64 = 18_446_744_073_709_551_616.0;

        if !value.is_finite() {
            return None;
        }
        let is_integer = value.fract() == 0.0 && (-WIDE / 2.0..WIDE).contains(&value);
        #[expect(clippy::cast_possible_truncation, reason = "it is an integer within 65 bits")]
        Some(Self(if is_integer { Number::Integer(value as i128) } else { Number::Double(value.to_bits()) }))
    }

    /// The number as a double, the nearest one.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        match self.0 {
            #[expect(clippy::cast_precision_loss, reason = "the nearest one is meant")]
            Number::Integer(integer) => integer as f64,
            Number::Double(bits) => f64::from_bits(bits),
        }
    }

    /// The number as an integer, if it is one.
    #[must_use]
    pub fn as_integer(self) -> Option<i128> {
        match self.0 {
            Number::Integer(integer) => Some(integer),
            Number::Double(_) => None,
        }
    }

    /// Bytes that are equal exactly if the numbers are.
    pub(crate) fn to_bytes(self) -> [u8; 17] {
        let (kind, value) = match self.0 {
            Number::Integer(integer) => (0, integer.to_be_bytes()),
            Number::Double(bits) => (1, u128::from(bits).to_be_bytes()),
        };
        let mut bytes = [kind; 17];
        bytes[1..].copy_from_slice(&value);
        bytes
    }
}

impl From<i64> for JsonNumber {
    fn from(integer: i64) -> Self {
        Self(Number::Integer(integer.into()))
    }
}

impl From<u64> for JsonNumber {
    fn from(integer: u64) -> Self {
        Self(Number::Integer(integer.into()))
    }
}

impl fmt::Display for JsonNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Number::Integer(integer) => integer.fmt(f),
            Number::Double(bits) => f64::from_bits(bits).fmt(f),
        }
    }
}

/// What is wrong with a JSON pointer (RFC 6901), in words.
pub(crate) fn pointer_problem(pointer: &str) -> Option<&'static str> {
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Some("does not begin with a slash");
    }
    let escapes = pointer.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    (!escapes).then_some("has a ~ that neither 0 nor 1 follows (~0 is a ~, ~1 a /)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_have_one_form() {
        let double = |value| JsonNumber::from_f64(value).unwrap();
        assert_eq!(double(1.0), JsonNumber::from(1_i64));
        assert_eq!(double(-0.0), JsonNumber::from(0_u64));
        assert_eq!(JsonNumber::from(u64::MAX).as_integer(), Some(i128::from(u64::MAX)));
        assert_eq!(double(-9_223_372_036_854_775_808.0), JsonNumber::from(i64::MIN));
        // The nearest double to 2⁶⁴ − 1 is 2⁶⁴.
        assert_eq!(double(18_446_744_073_709_551_616.0).as_integer(), None);
        assert_ne!(double(0.5), double(0.25));
        assert_eq!(double(0.5).to_string(), "0.5");
        assert_eq!(JsonNumber::from_f64(f64::NAN), None);
        assert_eq!(JsonNumber::from_f64(f64::INFINITY), None);
        assert_ne!(double(0.5).to_bytes(), JsonNumber::from(0x3fe0_0000_0000_0000_i64).to_bytes());
    }

    #[test]
    fn pointers_are_those_of_rfc_6901() {
        for pointer in ["", "/", "/a", "/a~1b/m~0n/0", "//"] {
            assert_eq!(pointer_problem(pointer), None, "{pointer}");
        }
        for pointer in ["a", "a/b", "/~", "/~2", "/a~"] {
            assert!(pointer_problem(pointer).is_some(), "{pointer}");
        }
    }
}
