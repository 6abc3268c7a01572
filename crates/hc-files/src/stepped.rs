//! The plan without the source around it: what a simulation drives under its own clock, as
//! [`FileSource`](crate::FileSource) does with the files and the addresses.

use std::collections::BTreeSet;
use std::sync::Arc;

use hc_config::Checks;
use hc_resolve::Change;
use hc_types::Proposal;

use crate::Difference;
use crate::plan::Planned;

/// What is checked by the files and by the addresses that are known.
#[derive(Debug)]
pub struct Stepped(Planned);

impl Stepped {
    /// Without any address of a host name.
    #[must_use]
    pub fn new(checks: Checks) -> Self {
        Self(Planned::new(checks))
    }

    /// The host names: those to follow.
    #[must_use]
    pub fn hosts(&self) -> BTreeSet<Arc<str>> {
        self.0.hosts()
    }

    /// All checks: the first proposal.
    #[must_use]
    pub fn all(&self) -> Proposal {
        self.0.all()
    }

    /// Other files. The addresses of names that stay are kept.
    pub fn replace(&mut self, checks: Checks) -> (Proposal, Difference) {
        self.0.replace(checks)
    }

    /// A host name has other addresses. `None` if no check is concerned.
    pub fn resolved(&mut self, change: &Change) -> Option<Proposal> {
        self.0.resolved(change)
    }
}
