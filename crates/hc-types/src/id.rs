//! Names of checks.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The identifier that the source of checks assigned to a check.
///
/// Seesaw's engine derives ids from its process id (`engine/healthcheck.go`), so they use all 64
/// bits and change when the engine restarts. They are opaque here and never pass through a float or
/// a signed integer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CheckId(pub u64);

impl fmt::Debug for CheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckId({})", self.0)
    }
}

impl fmt::Display for CheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<u64> for CheckId {
    fn from(id: u64) -> Self {
        Self(id)
    }
}

/// Tells apart two lives of one [`CheckId`].
///
/// An id whose target changes starts again under a new incarnation, so a late result of the old
/// life can be recognised and dropped, whichever thread it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);
