//! The bytes of an object with opinions.
//!
//! An object is a version byte, 1, and then sections: a tag, the length of the value, the value.
//! Numbers are of variable length: seven bits a byte, the lowest first, the highest bit of a byte
//! set while another one follows.
//!
//! | tag | section |
//! |---|---|
//! | 1 | the term: 8 bytes, the most significant first |
//! | 2 | `as_of`, a number: the object has all changes of its slots up to this one |
//! | 3 | two numbers: the first slot and how many. Without this section the object is a part of the log |
//! | 4 | a label, UTF-8; labels are numbered from 0 in the order of these sections |
//! | 5 | an opinion |
//!
//! An opinion is the 16 bytes of the check's key, a byte of flags, and three numbers: that of the
//! change, results in a row, and the label. The flags are the health (bits 0 and 1: 0 none, 1
//! unhealthy, 2 healthy) and the verdict (bits 2 and 3, the same).
//!
//! A later version of the program may add sections, append to sections, and set other flags; this
//! one skips them. What it could not skip must have another version byte.

use std::collections::BTreeMap;
use std::sync::Arc;

use hc_types::{CheckKey, Health};

use crate::{Opinion, Slot, Term};

/// The version byte.
const VERSION: u8 = 1;

mod tag {
    pub(super) const TERM: u64 = 1;
    pub(super) const AS_OF: u64 = 2;
    pub(super) const SPAN: u64 = 3;
    pub(super) const LABEL: u64 = 4;
    pub(super) const OPINION: u64 = 5;
}

/// What an object says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The life of the node that wrote it.
    pub term: Term,
    /// The number of the latest change when it was written.
    pub as_of: u64,
    /// The slots of which it has all opinions of the node: their first and how many. `None` for a
    /// part of the log, which has changes only.
    pub span: Option<(u16, u16)>,
}

/// An object with opinions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// What it says of itself.
    pub head: Head,
    /// The opinions, as they are written.
    pub opinions: Vec<(CheckKey, Opinion)>,
}

/// The bytes are not an object that this version can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// They end in the middle of something.
    #[error("the object ends too early")]
    Short,
    /// Written by a version that this one does not understand.
    #[error("the object has version {0}, this program reads 1")]
    Version(u8),
    /// No term, or no `as_of`.
    #[error("the object does not say to which term it belongs")]
    NoHead,
    /// A number above 64 bits, a slot that does not exist, a label that is none.
    #[error("the object has an impossible value")]
    Value,
}

/// Writes an object with as many of the opinions as fit into `limit` bytes, in their order. Says
/// how many those are.
pub fn encode<'a>(
    head: &Head,
    opinions: impl IntoIterator<Item = (CheckKey, &'a Opinion)>,
    limit: usize,
) -> (Vec<u8>, usize) {
    let mut out = vec![VERSION];
    section(&mut out, tag::TERM, &head.term.0.to_be_bytes());
    let mut value = Vec::with_capacity(64);
    number(&mut value, head.as_of);
    section(&mut out, tag::AS_OF, &value);
    if let Some((first, count)) = head.span {
        value.clear();
        number(&mut value, first.into());
        number(&mut value, count.into());
        section(&mut out, tag::SPAN, &value);
    }
    let mut labels: BTreeMap<&str, u64> = BTreeMap::new();
    let mut taken = 0;
    for (key, opinion) in opinions {
        let before = out.len();
        let next = u64::try_from(labels.len()).unwrap_or(u64::MAX);
        let label = *labels.entry(&opinion.label).or_insert(next);
        if label == next {
            section(&mut out, tag::LABEL, opinion.label.as_bytes());
        }
        value.clear();
        value.extend_from_slice(&key.to_bytes());
        value.push(flags(opinion.health) | flags(opinion.verdict) << 2);
        number(&mut value, opinion.number);
        number(&mut value, opinion.streak.into());
        number(&mut value, label);
        section(&mut out, tag::OPINION, &value);
        if out.len() > limit {
            out.truncate(before);
            break;
        }
        taken += 1;
    }
    (out, taken)
}

impl Object {
    /// Reads one. Any bytes may be given.
    ///
    /// # Errors
    /// The bytes are not an object of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let (version, rest) = bytes.split_first().ok_or(CodecError::Short)?;
        if *version != VERSION {
            return Err(CodecError::Version(*version));
        }
        let mut rest = Reader(rest);
        let (mut term, mut as_of, mut span) = (None, None, None);
        let (mut labels, mut opinions): (Vec<Arc<str>>, _) = (Vec::new(), Vec::new());
        while !rest.0.is_empty() {
            let (tag, length) = (rest.number()?, rest.number()?);
            let length = usize::try_from(length).map_err(|_| CodecError::Short)?;
            let mut value = Reader(rest.take(length)?);
            match tag {
                tag::TERM => {
                    let bytes = value.take(8)?.first_chunk().ok_or(CodecError::Short)?;
                    term = Some(Term(u64::from_be_bytes(*bytes)));
                }
                tag::AS_OF => as_of = Some(value.number()?),
                tag::SPAN => span = Some(value.span()?),
                tag::LABEL => {
                    let label = std::str::from_utf8(value.0).map_err(|_| CodecError::Value)?;
                    labels.push(label.into());
                }
                tag::OPINION => opinions.push(value.opinion(&labels)?),
                _ => {}
            }
        }
        let (term, as_of) = (term.ok_or(CodecError::NoHead)?, as_of.ok_or(CodecError::NoHead)?);
        Ok(Self { head: Head { term, as_of, span }, opinions })
    }
}

fn flags(health: Health) -> u8 {
    match health {
        Health::Unknown => 0,
        Health::Unhealthy => 1,
        Health::Healthy => 2,
    }
}

fn health(flags: u8) -> Health {
    match flags & 3 {
        1 => Health::Unhealthy,
        2 => Health::Healthy,
        _ => Health::Unknown,
    }
}

fn section(out: &mut Vec<u8>, tag: u64, value: &[u8]) {
    number(out, tag);
    number(out, u64::try_from(value.len()).unwrap_or(u64::MAX));
    out.extend_from_slice(value);
}

fn number(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], CodecError> {
        let (value, rest) = self.0.split_at_checked(length).ok_or(CodecError::Short)?;
        self.0 = rest;
        Ok(value)
    }

    fn number(&mut self) -> Result<u64, CodecError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(CodecError::Short)?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            if bits.leading_zeros() < shift {
                return Err(CodecError::Value);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(CodecError::Value)
    }

    fn span(&mut self) -> Result<(u16, u16), CodecError> {
        let (first, count) = (self.number()?, self.number()?);
        let fits = first.checked_add(count).is_some_and(|end| end <= Slot::COUNT.into());
        match (u16::try_from(first), u16::try_from(count)) {
            (Ok(first), Ok(count)) if fits => Ok((first, count)),
            _ => Err(CodecError::Value),
        }
    }

    fn opinion(&mut self, labels: &[Arc<str>]) -> Result<(CheckKey, Opinion), CodecError> {
        let key = CheckKey::from_bytes(*self.take(16)?.first_chunk().ok_or(CodecError::Short)?);
        let [flags] = *self.take(1)?.first_chunk().ok_or(CodecError::Short)?;
        let (change, streak, label) = (self.number()?, self.number()?, self.number()?);
        let label = usize::try_from(label).ok().and_then(|label| labels.get(label));
        let opinion = Opinion {
            health: health(flags),
            verdict: health(flags >> 2),
            number: change,
            streak: u32::try_from(streak).unwrap_or(u32::MAX),
            label: label.ok_or(CodecError::Value)?.clone(),
        };
        Ok((key, opinion))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LABELS: [&str; 3] = ["pass", "refused", ""];

    fn any_opinion() -> impl Strategy<Value = (CheckKey, Opinion)> {
        let parts = (any::<[u8; 16]>(), 0_u8..3, 0_u8..3, any::<u64>(), any::<u32>(), 0_usize..3);
        parts.prop_map(|(key, own, verdict, number, streak, label)| {
            let label = LABELS[label].into();
            let opinion = Opinion { health: health(own), verdict: health(verdict), number, streak, label };
            (CheckKey::from_bytes(key), opinion)
        })
    }

    fn any_object() -> impl Strategy<Value = Object> {
        let span = proptest::option::of((0..=Slot::COUNT, 0..=Slot::COUNT));
        let opinions = proptest::collection::vec(any_opinion(), 0..50);
        (any::<u64>(), any::<u64>(), span, opinions).prop_map(|(term, as_of, span, opinions)| {
            let span = span.map(|(first, count)| (first, count.min(Slot::COUNT - first)));
            Object { head: Head { term: Term(term), as_of, span }, opinions }
        })
    }

    fn written(object: &Object, limit: usize) -> (Vec<u8>, usize) {
        encode(&object.head, object.opinions.iter().map(|(key, opinion)| (*key, opinion)), limit)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(object in any_object()) {
            let (bytes, taken) = written(&object, usize::MAX);
            prop_assert_eq!(taken, object.opinions.len());
            prop_assert_eq!(Object::decode(&bytes), Ok(object));
        }

        #[test]
        fn a_limit_takes_the_beginning(object in any_object(), limit in 40_usize..600) {
            let (bytes, taken) = written(&object, limit);
            prop_assert!(bytes.len() <= limit);
            let read = Object::decode(&bytes).unwrap();
            prop_assert_eq!(&read.opinions[..], &object.opinions[..taken]);
        }

        #[test]
        fn any_bytes_may_be_given(bytes in proptest::collection::vec(any::<u8>(), 0..300), begin: bool) {
            let bytes = if begin { [&[VERSION], &bytes[..]].concat() } else { bytes };
            let _ = Object::decode(&bytes);
        }

        /// One flipped bit, or a cut, may change what is read, and never more than that.
        #[test]
        fn damage_is_survived(object in any_object(), at in any::<prop::sample::Index>(), bit in 0_u8..8, cut: bool) {
            let (mut bytes, _) = written(&object, usize::MAX);
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit };
            let _ = Object::decode(&bytes);
        }

        /// A later version appends to the values of sections, adds sections and sets flags.
        #[test]
        fn what_a_later_version_adds_is_skipped(object in any_object(), more in proptest::collection::vec(any::<u8>(), 0..9), added in 6_u64..9000) {
            let (bytes, _) = written(&object, usize::MAX);
            let mut later = vec![VERSION];
            let mut rest = Reader(&bytes[1..]);
            while !rest.0.is_empty() {
                let (tag, length) = (rest.number().unwrap(), rest.number().unwrap());
                let mut value = rest.take(usize::try_from(length).unwrap()).unwrap().to_vec();
                if tag == tag::OPINION {
                    value[16] |= 0xf0;
                }
                if tag != tag::LABEL {
                    value.extend_from_slice(&more);
                }
                section(&mut later, tag, &value);
                section(&mut later, added, &more);
            }
            prop_assert_eq!(Object::decode(&later), Ok(object));
        }
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        assert_eq!(Object::decode(&[]), Err(CodecError::Short));
        assert_eq!(Object::decode(&[2]), Err(CodecError::Version(2)));
        assert_eq!(Object::decode(&[VERSION]), Err(CodecError::NoHead));
        assert_eq!(Object::decode(&[VERSION, 3, 4, 0, 0x81, 0x80]), Err(CodecError::Short));
        // A slot above the last one.
        assert_eq!(Object::decode(&[VERSION, 3, 4, 0, 0x81, 0x80, 1]), Err(CodecError::Value));
    }

    /// 25 bytes an opinion: a million take 25 MB.
    #[test]
    fn an_opinion_is_small() {
        let opinion = Opinion {
            health: Health::Healthy,
            verdict: Health::Healthy,
            number: 1 << 20,
            streak: 900,
            label: "pass".into(),
        };
        let head = Head { term: Term(1), as_of: 1 << 20, span: None };
        let key = CheckKey::from_bytes([7; 16]);
        let size = |count| encode(&head, vec![(key, &opinion); count], usize::MAX).0.len();
        assert_eq!(size(2) - size(1), 25);
    }
}
