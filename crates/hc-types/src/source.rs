//! Where checks come from.

use std::fmt;
use std::sync::Arc;

use crate::{CheckId, OpinionKeys, Rejection, SetChange};

/// A source of checks: hc-proxy's socket, files, a channel of another program.
pub trait Source: Send + 'static {
    /// The next change; `None` when this source will never have one again. Its checks then run on.
    ///
    /// Called again when the change before has taken effect, so a source may keep one change back
    /// and join what comes meanwhile.
    ///
    /// # Cancel safety
    /// Dropping the future must lose no change.
    fn next(&mut self) -> impl Future<Output = Option<Proposal>> + Send;
}

/// A change that a source proposes.
#[derive(Debug)]
pub struct Proposal {
    /// The change. It is of the checks of this source alone: a full set does not end those of
    /// others. Ids may be repeated: whoever takes the proposal judges that for all sources.
    pub change: SetChange,
    /// Names and labels of checks in the change, of those that have any. Seesaw's have none.
    pub metadata: Vec<(CheckId, Arc<Metadata>)>,
    /// Checks that the source has found to be invalid.
    pub rejected: Vec<Rejection>,
    /// Resolved when the change is in effect.
    pub reply: Reply,
}

impl Proposal {
    /// A change of valid checks without names, whose source needs no reply.
    #[must_use]
    pub fn new(change: SetChange) -> Self {
        Self { change, metadata: Vec::new(), rejected: Vec::new(), reply: Reply::none() }
    }
}

/// What the source knows of a check beside its id. No part of what is checked, so health does not
/// depend on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The name, unique among all checks.
    pub name: Option<Arc<str>>,
    /// Labels: keys and values.
    pub labels: Arc<[(Box<str>, Box<str>)]>,
    /// Names of checks that this one depends on: while one of them is unhealthy, a failure says
    /// nothing about this one.
    pub depends_on: Arc<[Box<str>]>,
    /// Whether it has series of its own in the metrics. Default false.
    pub metrics: bool,
    /// How a fleet judges it.
    pub opinions: OpinionKeys,
}

/// Checks, and what their sources know of them.
pub type Known = Vec<(CheckId, Arc<Metadata>)>;

/// Tells a source that its proposal is in effect. Dropped without an answer if it never will be.
pub struct Reply(Option<Box<dyn FnOnce(Vec<Rejection>) + Send>>);

impl Reply {
    /// Calls `answer` with the checks that do not run, also those that the source has rejected
    /// itself.
    pub fn new(answer: impl FnOnce(Vec<Rejection>) + Send + 'static) -> Self {
        Self(Some(Box::new(answer)))
    }

    /// For a source that does not wait for it.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// The proposal is in effect, without the checks that are `rejected`.
    pub fn applied(self, rejected: Vec<Rejection>) {
        if let Some(answer) = self.0 {
            answer(rejected);
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}
