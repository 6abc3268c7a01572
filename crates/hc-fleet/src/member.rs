//! Who belongs to the fleet.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name of a node: 1 to 63 letters, digits, `.`, `-` and `_`, the first a letter or a digit.
///
/// It is part of keys in the store, and the assignment of checks depends on it: a node that returns
/// under its old name gets its old checks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(Arc<str>);

/// The text is not the name of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a node's name has 1 to 63 letters, digits, '.', '-' and '_', the first a letter or a digit")]
pub struct NodeNameError;

impl NodeName {
    /// Takes a name.
    ///
    /// # Errors
    /// The text is not one.
    pub fn new(text: &str) -> Result<Self, NodeNameError> {
        let may = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let begins = text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
        let right = begins && text.len() <= 63 && text.bytes().all(may);
        if right { Ok(Self(text.into())) } else { Err(NodeNameError) }
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for NodeName {
    type Error = NodeNameError;

    fn try_from(text: String) -> Result<Self, NodeNameError> {
        Self::new(&text)
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.0.as_ref().into()
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One life of a node's registration: the number of its lease. The store never gives the same
/// number twice, so what was written under an earlier one is told apart from what counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

/// In hexadecimal digits, as etcd's own tools show a lease.
impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// What a node says of itself: the value of its key in the store, as JSON.
///
/// Fields that a later version adds are skipped. Fields with a default may be missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Where it stands: a rack, a room, a provider. Nodes of one zone are taken to fail together.
    /// Empty where the operator has not said; such nodes are one zone.
    #[serde(default)]
    pub zone: String,
    /// Its share of the checks beside that of other nodes. 1 to 1000, default 1.
    #[serde(default = "one")]
    pub capacity: u16,
    /// The version of its program, for readers.
    #[serde(default)]
    pub program: String,
    /// The process: another one under the same name is another instance.
    pub instance: String,
    /// The life of this registration, as hexadecimal text. Opinions of another one do not count.
    #[serde(default, with = "term")]
    pub term: Term,
    /// Why its opinions do not count now, in words; `None` while they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abstains: Option<String>,
}

/// No number of 64 bits passes through JSON as a number: some readers make a float of it.
mod term {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use super::Term;

    pub(super) fn serialize<S: Serializer>(term: &Term, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(term)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Term, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map(Term).map_err(D::Error::custom)
    }
}

fn one() -> u16 {
    1
}

impl NodeRecord {
    /// Reads the value of a node's key. A capacity out of its range is taken as the nearest in it.
    ///
    /// # Errors
    /// The bytes are not such a JSON object.
    pub fn read(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let mut record: Self = serde_json::from_slice(bytes)?;
        record.capacity = record.capacity.clamp(1, 1000);
        Ok(record)
    }

    /// The value of the node's key.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_else(|_| unreachable!("strings and a number are JSON"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_in_a_key() {
        for right in ["a", "lb1.ams-2_x", &"n".repeat(63)] {
            assert_eq!(NodeName::new(right).unwrap().as_str(), right);
        }
        for wrong in ["", ".", "-a", "a/b", "a b", "ä", "a\0", &"n".repeat(64)] {
            assert_eq!(NodeName::new(wrong), Err(NodeNameError), "{wrong:?}");
        }
    }

    #[test]
    fn a_later_version_may_say_more_and_an_earlier_one_less() {
        let later = br#"{"term":"ffffffffffffffff","zone":"a","capacity":3,"program":"9.9","instance":"x","mood":{"good":true}}"#;
        let record = NodeRecord::read(later).unwrap();
        assert_eq!((record.zone.as_str(), record.capacity, record.abstains), ("a", 3, None));
        assert_eq!(record.term, Term(u64::MAX));
        let least = NodeRecord::read(br#"{"instance":"x"}"#).unwrap();
        assert_eq!((least.zone.as_str(), least.capacity), ("", 1));
        assert_eq!(NodeRecord::read(&least.to_bytes()).unwrap(), least);
        assert_eq!(NodeRecord::read(br#"{"instance":"x","capacity":0}"#).unwrap().capacity, 1);
        assert!(NodeRecord::read(b"[]").is_err());
    }
}
