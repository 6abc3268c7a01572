//! What probes find, for comparisons.

use hc_types::{Failure, Outcome};

/// The outcome as it is told: silence is a timeout like any other. Whether a probe that waited in vain can say that the peer was
/// silent, and that it was not the probe that was late, depends on how busy the machine is.
#[must_use]
pub fn as_told(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Fail(Failure::Silence(phase)) => Failure::Timeout(phase).into(),
        outcome => outcome,
    }
}
