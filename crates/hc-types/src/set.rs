//! What is to be checked, as it arrives.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{CheckId, CheckSpec};

/// A change of the set of checks, from whatever configures them.
#[derive(Clone, Debug)]
pub enum SetChange {
    /// The whole set: what is not in it stops. An empty one stops everything.
    Full {
        /// The name that the sender gave to this set, if any.
        generation: Option<u64>,
        /// Every check. No id twice, but in a [`Proposal`](crate::Proposal).
        checks: Vec<(CheckId, Arc<CheckSpec>)>,
    },
    /// The whole set again, given as what differs from the one in effect. What consumers hear of it
    /// is as after [`Full`](Self::Full).
    Renewal {
        /// The name that the sender gave to this set, if any.
        generation: Option<u64>,
        /// As in [`Delta`](Self::Delta).
        upsert: Vec<(CheckId, Arc<CheckSpec>)>,
        /// As in [`Delta`](Self::Delta).
        remove: Vec<CheckId>,
    },
    /// A change against the set in effect.
    Delta {
        /// The name of the set that results.
        generation: Option<u64>,
        /// Checks that are new or different. No id twice, but in a [`Proposal`](crate::Proposal).
        upsert: Vec<(CheckId, Arc<CheckSpec>)>,
        /// Checks that stop, unless they are in `upsert` too. Unknown ids are no error.
        remove: Vec<CheckId>,
    },
}

impl SetChange {
    /// The name of the set that results.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        match self {
            SetChange::Full { generation, .. }
            | SetChange::Renewal { generation, .. }
            | SetChange::Delta { generation, .. } => *generation,
        }
    }

    /// Whether the sender has given the whole set: consumers then get everything again.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !matches!(self, SetChange::Delta { .. })
    }
}

/// A check that does not run, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// Its id; `None` when that could not be read.
    pub id: Option<CheckId>,
    /// The reason, beginning with the field.
    pub reason: String,
}
