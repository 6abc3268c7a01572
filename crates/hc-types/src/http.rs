//! What an HTTP request says, and what its response must be.

pub(crate) mod condition;
pub(crate) mod request;

use std::fmt;
use std::ops::RangeInclusive;

/// The HTTP status codes that pass: single codes and ranges, in the order in which they were given.
/// Empty: any code.
///
/// A range is kept as its two ends, so `200-399` costs a check four bytes.
///
/// ```
/// use hc_types::StatusCodes;
///
/// let codes = StatusCodes::from_iter([200..=299, 404..=404]);
/// assert!(codes.accepts(204) && codes.accepts(404) && !codes.accepts(302));
/// assert_eq!(codes.to_string(), "200-299 or 404");
/// assert!(StatusCodes::default().accepts(500));
/// assert_eq!(StatusCodes::from([200, 204]).to_string(), "200 or 204");
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct StatusCodes(Box<[(u16, u16)]>);

impl StatusCodes {
    /// Whether a response with this code passes.
    #[must_use]
    pub fn accepts(&self, code: u16) -> bool {
        self.0.is_empty() || self.ranges().any(|range| range.contains(&code))
    }

    /// Whether any code passes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges; a single code is a range of one.
    pub fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u16>> {
        self.0.iter().map(|(first, last)| *first..=*last)
    }

    /// Whether there are only single codes.
    #[must_use]
    pub fn are_single(&self) -> bool {
        self.0.iter().all(|(first, last)| first == last)
    }
}

impl<const N: usize> From<[u16; N]> for StatusCodes {
    fn from(codes: [u16; N]) -> Self {
        codes.into_iter().collect()
    }
}

impl From<&[u16]> for StatusCodes {
    fn from(codes: &[u16]) -> Self {
        codes.iter().copied().collect()
    }
}

impl FromIterator<u16> for StatusCodes {
    fn from_iter<I: IntoIterator<Item = u16>>(codes: I) -> Self {
        Self(codes.into_iter().map(|code| (code, code)).collect())
    }
}

impl FromIterator<RangeInclusive<u16>> for StatusCodes {
    fn from_iter<I: IntoIterator<Item = RangeInclusive<u16>>>(ranges: I) -> Self {
        Self(ranges.into_iter().map(RangeInclusive::into_inner).collect())
    }
}

/// Reads on as in "want 200-299 or 404".
impl fmt::Display for StatusCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (first, last)) in self.0.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { " or " })?;
            match first == last {
                true => write!(f, "{first}")?,
                false => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for StatusCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}
