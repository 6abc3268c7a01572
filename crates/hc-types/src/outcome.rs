//! What one probe found.

mod small;

use std::fmt;
use std::net::IpAddr;

pub use self::small::SmallOutcome;
use crate::{LocalFault, Pass, RawBytes, StepFailure, recognise};

/// The result of one probe.
///
/// Kept small (a check at rest holds its latest one); the text is made when somebody asks, by
/// [`CheckSpec::text`](crate::CheckSpec::text).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The backend answered as expected.
    Pass(Pass),
    /// The backend did not answer as expected. Counts towards unhealthy.
    Fail(Failure),
    /// Nothing was learned about the backend, because of us. Never a verdict: the state is held and
    /// the probe repeated.
    Inconclusive(LocalFault),
}

impl Outcome {
    /// A pass with nothing more to say.
    pub const PASS: Self = Self::Pass(Pass::Plain);

    /// What somebody should look at although the probe passed.
    #[must_use]
    pub fn warning(&self) -> Option<&str> {
        match self {
            Self::Pass(pass) => pass.warning(),
            _ => None,
        }
    }

    /// Every word that [`label`](Self::label) can give, so that each can be counted from the start.
    pub const LABELS: &'static [&'static str] = &[
        "pass",
        "refused",
        "timeout_connect",
        "timeout_tls",
        "timeout_send",
        "timeout_response",
        "reset",
        "closed",
        "unreachable",
        "path_down",
        "tls",
        "status",
        "body_mismatch",
        "header_mismatch",
        "dns_rcode",
        "wrong_answer",
        "radius_code",
        "bad_authenticator",
        "malformed_reply",
        "bad_request",
        "local_descriptors",
        "local_ports",
        "local_buffers",
        "local_memory",
        "local_probe_memory",
        "local_permission",
        "local_no_route",
        "local_route_prohibited",
        "local_route_blackhole",
        "local_route_unreachable",
        "local_no_address",
        "local_no_ipv6",
        "local_interface_down",
        "local_filter",
        "local_path_changed",
        "local_unresolved",
        "local_late",
        "local_other",
    ];

    /// A fixed word for metrics and structured logs: `pass`, or that of the failure or the local
    /// fault.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Pass(_) => "pass",
            Self::Fail(failure) => failure.label(),
            Self::Inconclusive(fault) => fault.label(),
        }
    }
}

impl From<Pass> for Outcome {
    fn from(pass: Pass) -> Self {
        Self::Pass(pass)
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        Self::Fail(failure)
    }
}

impl From<LocalFault> for Outcome {
    fn from(fault: LocalFault) -> Self {
        Self::Inconclusive(fault)
    }
}

/// Where a probe was when its deadline passed or its peer cut the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Connecting.
    Connect,
    /// In the TLS handshake.
    Tls,
    /// Writing the request.
    Send,
    /// Waiting for the answer or reading it.
    Response,
}

impl Phase {
    /// Every phase, in the order in which a probe goes through them.
    pub const ALL: [Phase; 4] = [Phase::Connect, Phase::Tls, Phase::Send, Phase::Response];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Connect => "connecting",
            Phase::Tls => "in the TLS handshake",
            Phase::Send => "sending",
            Phase::Response => "waiting for the response",
        })
    }
}

/// What said that the backend cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unreachable {
    /// The network answered "no route" (`ENETUNREACH` from an ICMP error, not from our own routing
    /// table).
    Network,
    /// No neighbour, or an ICMP host unreachable (`EHOSTUNREACH`).
    Host,
    /// A filter on the way said so, or the protocol is not spoken there (`EACCES`, `ENOPROTOOPT`,
    /// `EPROTO`).
    Protocol,
}

/// What a probe knows about its peer when its deadline has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct TimeoutEvidence {
    /// The last bytes went to the peer or came from it within the first tenth of the timeout, and
    /// when the socket itself was read after the deadline, nothing had come since. Without this
    /// proof, a late checker may have caused the timeout.
    pub silent: bool,
    /// The latest datagram that came and answers another request.
    pub stray: Option<Stray>,
    /// The timeout was not that of the check but a shorter one, of so many milliseconds: see
    /// [`AdaptiveTimeout::Apply`](crate::AdaptiveTimeout::Apply). 0: that of the check.
    pub adapted: u32,
}

impl Failure {
    /// Notes that a timeout was not that of the check but this one.
    pub fn note_adapted(&mut self, timeout: std::time::Duration) {
        match self {
            Self::Timeout { evidence, .. } => {
                evidence.adapted = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).max(1);
            }
            Self::InStep(step) => step.failure.note_adapted(timeout),
            _ => {}
        }
    }
}

impl TimeoutEvidence {
    /// Nothing is known.
    pub const NONE: Self = Self { silent: false, stray: None, adapted: 0 };
    /// The peer is proven silent.
    pub const SILENT: Self = Self { silent: true, stray: None, adapted: 0 };

    /// Datagrams came, and this is why the latest of them is no answer.
    #[must_use]
    pub const fn stray(stray: Stray) -> Self {
        Self { stray: Some(stray), ..Self::NONE }
    }
}

/// Why a datagram from the target is not the answer to the request, and is ignored: a late or a
/// forged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stray {
    /// DNS: too short to have an id.
    Short,
    /// DNS: the id of another question.
    OtherId,
    /// DNS: the right id, and another question in it, or none.
    OtherQuestion,
    /// RADIUS: the identifier of another request.
    OtherIdentifier,
}

/// Reads on as in "the only replies had the id of another question".
impl fmt::Display for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stray::Short => "were too short to have an id",
            Stray::OtherId => "had the id of another question",
            Stray::OtherQuestion => "answered another question",
            Stray::OtherIdentifier => "had the identifier of another request",
        })
    }
}

/// Why a probe failed. Each has a fixed [`label`](Failure::label).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// Nobody listens there: a TCP reset in answer to the SYN, an ICMP port unreachable, a TCP
    /// connection to ourselves.
    Refused,
    /// The deadline passed.
    Timeout {
        /// Where the probe was by then.
        phase: Phase,
        /// What the probe knows about its peer by then.
        evidence: TimeoutEvidence,
    },
    /// The peer reset the connection before any byte of an answer.
    Reset(Phase),
    /// The peer reset the connection after a part of its answer.
    ResetAfter(Box<Heard>),
    /// HTTP/2: the peer ended the stream (RST_STREAM) or the connection (GOAWAY); the text says
    /// why.
    StreamReset(Box<str>),
    /// The peer closed the connection before its answer was complete.
    Closed {
        /// What had come of the answer. `None`: not one byte.
        heard: Option<Box<Heard>>,
    },
    /// The network says that the backend cannot be reached.
    Unreachable(Unreachable),
    /// This machine has had no way to the backend for so long that its state is no longer held:
    /// forwarded traffic is lost, too. Counts whatever the retries are.
    PathDown {
        /// What is in the way; of [`FaultClass::SharedWithTraffic`](crate::FaultClass).
        fault: LocalFault,
        /// For how many seconds, up to this probe.
        seconds: u32,
    },
    /// The TLS handshake failed; the text says why.
    Tls(Box<str>),
    /// HTTP: a status that is not among the expected ones.
    Status {
        /// The status line after the version: `404 Not Found`.
        got: Box<str>,
    },
    /// The answer differs from the expected bytes, or does not meet a condition.
    BodyMismatch(Box<Mismatch>),
    /// HTTP: a header field does not meet a condition.
    HeaderMismatch(Box<Mismatch>),
    /// DNS: the response code is not NOERROR.
    DnsRcode(u16),
    /// An answer that is well-formed and is not the one expected; the text says what came.
    WrongAnswer(Box<str>),
    /// RADIUS: another response code than the expected one.
    RadiusCode(u8),
    /// RADIUS: the response authenticator or the Message-Authenticator is wrong, mostly because the
    /// secret is.
    BadAuthenticator(Box<str>),
    /// The reply breaks its protocol; the text says how.
    MalformedReply(Box<str>),
    /// The request cannot be made from what is configured (an invalid URL, a name that is too
    /// long); nothing was sent.
    BadRequest(Box<str>),
    /// Another failure, within a dialogue, and the step at which it came. Its label is that of the
    /// failure.
    InStep(Box<StepFailure>),
    /// A check of several addresses: the failure of one of them.
    OfAddress(Box<AddressFailure>),
}

/// The failure of one address of a host name, on which the verdict about the name rests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressFailure {
    /// The address.
    pub address: IpAddr,
    /// Why its probe failed; never [`Failure::OfAddress`].
    pub failure: Failure,
    /// How many addresses failed.
    pub failed: u16,
    /// How many addresses were probed.
    pub of: u16,
}

/// What had come of an answer when it was cut short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// How many bytes.
    pub length: u64,
    /// The first of them, at most [`Heard::KEPT`].
    pub first: RawBytes,
}

impl Heard {
    /// How many of the bytes are kept for the text.
    pub const KEPT: usize = 64;

    /// Keeps the beginning of `got`, which is all that came.
    #[must_use]
    pub fn new(got: &[u8]) -> Self {
        Self { length: got.len() as u64, first: got[..got.len().min(Self::KEPT)].into() }
    }
}

impl Failure {
    /// The deadline passed, without evidence about the peer.
    #[must_use]
    pub const fn timeout(phase: Phase) -> Self {
        Self::Timeout { phase, evidence: TimeoutEvidence::NONE }
    }

    /// The deadline passed, and the peer is proven silent: see [`TimeoutEvidence::silent`].
    #[must_use]
    pub const fn silence(phase: Phase) -> Self {
        Self::Timeout { phase, evidence: TimeoutEvidence::SILENT }
    }

    /// The peer closed the connection, and `got` is all that had come of its answer.
    #[must_use]
    pub fn closed_after(got: &[u8]) -> Self {
        Self::Closed { heard: (!got.is_empty()).then(|| Box::new(Heard::new(got))) }
    }
}

/// How an answer differs from the expected one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// HTTP: the status that came with it.
    pub status: Option<Box<str>>,
    /// The first bytes that came, at most as many as were expected and at most [`Mismatch::KEPT`].
    pub got: RawBytes,
    /// The protocol that the answer is of, if it is another one than that of the expected bytes.
    pub speaks: Option<&'static str>,
    /// The condition that is not met and why, in words. `None`: other bytes than expected.
    pub unmet: Option<Box<str>>,
}

impl Mismatch {
    /// How many of the differing bytes are kept for the text.
    pub const KEPT: usize = 128;

    /// Keeps the beginning of `got`.
    #[must_use]
    pub fn new(got: &[u8], status: Option<Box<str>>) -> Self {
        Self { status, got: got[..got.len().min(Self::KEPT)].into(), speaks: None, unmet: None }
    }

    /// Names the condition that is not met, and why.
    #[must_use]
    pub fn unmet(mut self, why: impl Into<Box<str>>) -> Self {
        self.unmet = Some(why.into());
        self
    }

    /// Names the protocol of an answer that begins with `got`, unless the expected bytes are of the
    /// same.
    #[must_use]
    pub fn recognised(mut self, got: &[u8], expected: &[u8]) -> Self {
        self.speaks = recognise(got).filter(|name| recognise(expected) != Some(*name));
        self
    }
}

impl Failure {
    /// The failure's fixed word, for metrics, JSON and log fields.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Failure::Refused => "refused",
            // Operators search for it by this label, as for any other answer that does not fit.
            Failure::Timeout { evidence: TimeoutEvidence { stray: Some(_), .. }, .. } => "wrong_answer",
            Failure::Timeout { phase: Phase::Connect, .. } => "timeout_connect",
            Failure::Timeout { phase: Phase::Tls, .. } => "timeout_tls",
            Failure::Timeout { phase: Phase::Send, .. } => "timeout_send",
            Failure::Timeout { phase: Phase::Response, .. } => "timeout_response",
            Failure::Reset(_) | Failure::ResetAfter(_) | Failure::StreamReset(_) => "reset",
            Failure::Closed { .. } => "closed",
            Failure::Unreachable(_) => "unreachable",
            Failure::PathDown { .. } => "path_down",
            Failure::Tls(_) => "tls",
            Failure::Status { .. } => "status",
            Failure::BodyMismatch(_) => "body_mismatch",
            Failure::HeaderMismatch(_) => "header_mismatch",
            Failure::DnsRcode(_) => "dns_rcode",
            Failure::WrongAnswer(_) => "wrong_answer",
            Failure::RadiusCode(_) => "radius_code",
            Failure::BadAuthenticator(_) => "bad_authenticator",
            Failure::MalformedReply(_) => "malformed_reply",
            Failure::BadRequest(_) => "bad_request",
            Failure::InStep(step) => step.failure.label(),
            Failure::OfAddress(of_address) => of_address.failure.label(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_at_rest_is_small() {
        assert!(size_of::<Outcome>() <= 24, "{}", size_of::<Outcome>());
    }

    #[test]
    fn every_label_is_listed_once() {
        let failures = Phase::ALL.map(Failure::timeout).into_iter().chain([
            Failure::Refused,
            Failure::Reset(Phase::Tls),
            Failure::Closed { heard: None },
            Failure::Unreachable(Unreachable::Host),
            Failure::PathDown { fault: LocalFault::NoRoute, seconds: 10 },
            Failure::Tls("".into()),
            Failure::Status { got: "".into() },
            Failure::BodyMismatch(Box::new(Mismatch::new(b"", None))),
            Failure::HeaderMismatch(Box::new(Mismatch::new(b"", None))),
            Failure::DnsRcode(3),
            Failure::WrongAnswer("".into()),
            Failure::RadiusCode(3),
            Failure::BadAuthenticator("".into()),
            Failure::MalformedReply("".into()),
            Failure::BadRequest("".into()),
        ]);
        let in_step = |failure| Failure::InStep(Box::new(StepFailure { step: "".into(), failure }));
        assert_eq!(in_step(Failure::Refused).label(), "refused");
        let faults = [
            LocalFault::Descriptors,
            LocalFault::Ports,
            LocalFault::Buffers,
            LocalFault::Memory,
            LocalFault::ProbeMemory,
            LocalFault::Permission,
            LocalFault::NoRoute,
            LocalFault::RouteProhibited,
            LocalFault::RouteBlackhole,
            LocalFault::RouteUnreachable,
            LocalFault::NoAddress,
            LocalFault::NoIpv6,
            LocalFault::InterfaceDown,
            LocalFault::Filter,
            LocalFault::PathChanged,
            LocalFault::Unresolved,
            LocalFault::Late,
            LocalFault::Other(5),
        ];
        let texts: std::collections::HashSet<_> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), faults.len(), "two local faults have the same text");
        let outcomes = [Outcome::PASS]
            .into_iter()
            .chain(failures.map(Outcome::from))
            .chain(faults.into_iter().map(Outcome::from));
        let mut labels: Vec<&str> = outcomes.map(|outcome| outcome.label()).collect();
        labels.sort_unstable();
        let mut listed = Outcome::LABELS.to_vec();
        listed.sort_unstable();
        assert_eq!(labels, listed);
    }

    #[test]
    fn the_evidence_of_a_timeout_does_not_change_its_label_except_for_strays() {
        for phase in Phase::ALL {
            assert_eq!(Failure::silence(phase).label(), Failure::timeout(phase).label());
        }
        let evidence = TimeoutEvidence::stray(Stray::OtherId);
        assert_eq!(Failure::Timeout { phase: Phase::Response, evidence }.label(), "wrong_answer");
    }
}
