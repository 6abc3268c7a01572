//! What probes find, for comparisons.

use hc_types::{Failure, Outcome};

/// The outcome without the proof that the peer was silent, which has no part in label and text.
/// Whether a probe can prove it depends on how busy the machine is.
#[must_use]
pub fn as_told(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Fail(Failure::Timeout { phase, mut evidence }) => {
            evidence.silent = false;
            Failure::Timeout { phase, evidence }.into()
        }
        outcome => outcome,
    }
}
