//! The rule behind a result, in words: what `hcctl explain` says.

use crate::{Failure, FaultClass, Outcome};

/// Why `outcome` is what it is: the rule of the table of [`verdict`](super) that made it, as one
/// sentence.
#[must_use]
pub fn rule(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Pass(_) => "The backend answered as the check expects.",
        Outcome::Fail(failure) => rule_of_failure(failure),
        Outcome::Inconclusive(fault) if fault.class() == FaultClass::SharedWithTraffic => {
            "This machine had no way to the backend. That says nothing about the backend, so the health is held; once it has \
             lasted for hold_unreachable and three probes it counts as a failure."
        }
        Outcome::Inconclusive(_) => {
            "This machine could not run the probe. That says nothing about the backend, so the health is held for as long as it \
             lasts."
        }
    }
}

fn rule_of_failure(failure: &Failure) -> &'static str {
    match failure {
        Failure::Refused => "The backend's machine says that nobody listens there: a failure at once.",
        Failure::Timeout { evidence, .. } if evidence.stray.is_some() => {
            "The deadline passed; datagrams came, but each answered another request and was ignored."
        }
        Failure::Timeout { evidence, .. } if evidence.silent => {
            "The deadline passed, the request had left in the first tenth of it, and the socket itself, read after the deadline, \
             had nothing: the peer was silent."
        }
        Failure::Timeout { .. } => {
            "The deadline passed, there was a way to the backend all the time, and this machine was not stalled for long."
        }
        Failure::Reset(_) | Failure::ResetAfter(_) | Failure::Closed { .. } => {
            "The backend ended the connection before its answer was complete, and the way to it did not change meanwhile."
        }
        Failure::Unreachable(_) => {
            "The network said that the backend cannot be reached; this machine itself had a route to it."
        }
        Failure::PathDown { .. } => {
            "This machine had no way to the backend for hold_unreachable and three probes: forwarded traffic is lost, too, so \
             it counts whatever the retries are."
        }
        Failure::Tls(_) => "The TLS handshake failed.",
        Failure::Status { .. } => "The status is none of the expected ones.",
        Failure::BodyMismatch(_) => "The answer does not have the expected bytes.",
        Failure::InStep(step) => rule_of_failure(&step.failure),
        Failure::OfAddress(one) => rule_of_failure(&one.failure),
        Failure::StreamReset(_) => {
            "The backend refused the request: it reset the stream, or ended the connection."
        }
        Failure::HeaderMismatch(_) => "A header of the answer is not as expected.",
        Failure::DnsRcode(_) => "The response code is none of the expected ones.",
        Failure::WrongAnswer(_) => "The answer is well-formed, and not the expected one.",
        Failure::RadiusCode(_) => "The response is authentic, and has another code than the expected one.",
        Failure::BadAuthenticator(_) => "The response is not signed with the secret of the check.",
        Failure::MalformedReply(_) => "The answer breaks its protocol.",
        Failure::BadRequest(_) => "Nothing was sent: no request can be made of what is configured.",
    }
}
