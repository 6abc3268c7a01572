//! What a result means.

use std::time::Duration;

use crate::{Failure, Outcome, Phase, Stray, TimeoutEvidence};

/// A peer is proven silent only if our last bytes left, or its last ones came, within the first 1/10 of the timeout.
const EARLY_FRACTION: u32 = 10;

/// What a probe knows when its deadline has passed.
#[derive(Clone, Copy, Debug)]
pub struct AtDeadline {
    /// Where the probe is.
    pub phase: Phase,
    /// How long it was given.
    pub timeout: Duration,
    /// When something last went to the peer or came from it, counted from the start of the probe.
    pub last_exchange: Duration,
    /// The socket itself was read after the deadline, and had nothing.
    pub nothing_at_socket: bool,
    /// Why the latest datagram was ignored.
    pub stray: Option<Stray>,
}

/// The failure of a probe whose deadline has passed.
#[must_use]
pub fn timed_out(at: &AtDeadline) -> Failure {
    let silent = at.nothing_at_socket && at.last_exchange <= at.timeout / EARLY_FRACTION;
    Failure::Timeout { phase: at.phase, evidence: TimeoutEvidence { silent, stray: at.stray } }
}

/// Whether the result proves that the peer was silent. A peer that sent stray datagrams was not.
#[must_use]
pub fn is_silence(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Fail(Failure::Timeout { evidence, .. }) if *evidence == TimeoutEvidence::SILENT)
}
