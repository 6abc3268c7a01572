//! What a result means: every rule that turns evidence into a verdict, in one file.
//!
//! A verdict is about the backend (`Pass` or `Fail`). A fault of this node is `Inconclusive`: the
//! check keeps its state. The rules are applied in this order, and each function here is one block
//! of the table:
//!
//! | evidence | verdict | rule |
//! |---|---|---|
//! | a system call fails before a packet has left, e.g. `ENETUNREACH` from `connect` | [`LocalFault`] by call and error number | [`call_failed`] |
//! | a system call fails with what the network said, e.g. `ECONNREFUSED` | [`Failure`] by error number | [`call_failed`] |
//! | an answer, right or wrong | as the protocol says | (the probe) |
//! | the deadline passed | [`Failure::Timeout`] | [`timed_out`] |
//! | … and the last bytes went or came in the first 1/10 of the timeout, and the socket has nothing | `Timeout`, `silent` | [`timed_out`] |
//! | … and datagrams came that answer other requests | `Timeout` with the [`Stray`] (label `wrong_answer`) | [`timed_out`] |
//! | a timeout, and there is no route, source address or working interface now | that local fault | [`with_path`] |
//! | a timeout or "unreachable", and the path is down or changed while the probe ran | [`LocalFault::InterfaceDown`], [`LocalFault::PathChanged`] | [`with_path`] |
//! | refused, reset or closed, and the path changed while the probe ran | the same | [`with_path`] |
//! | no route, route prohibited or no permission, and the target is a broadcast address of this node | [`Failure::BadRequest`] | [`with_path`] |
//! | several addresses: any passes, or all do | pass, with [`Rule`](crate::Rule) any or all | [`of_several`] |
//! | … not so, with any and an inconclusive one; with all, without a failure and with one | inconclusive | [`of_several`] |
//! | … otherwise | the failure on which the verdict rests | [`of_several`] |
//! | … no address is known | [`LocalFault::Unresolved`] | [`of_several`] |
//! | a timeout, reset, close, TLS failure, HTTP 408 or other bytes than expected, and the checker was stalled for more than 20 ms and 1/10 of the timeout | [`LocalFault::Late`] | [`with_stall`] |
//! | … but silent for the third time in a row, for 2 s or more | the failure stands | [`SilentRun`] |
//! | a local fault of the checker alone | inconclusive for as long as it lasts | [`PathOutage`] |
//! | a local fault that forwarded traffic shares, for `hold_unreachable` and three probes | [`Failure::PathDown`] | [`PathOutage`] |
//!
//! hc-checkers applies the rules up to [`of_several`], so that a single probe gives the same result
//! without a manager. hc-manager knows whether its own loop was stalled and applies the rest. No
//! rule reads a clock: moments are durations since any fixed moment.

mod outage;
mod rule;
mod several;

use std::net::IpAddr;
use std::time::Duration;

use crate::{Failure, LocalFault, Outcome, Phase, Stray, TimeoutEvidence, Unreachable};

pub use outage::{HoldLimits, PathOutage};
pub use rule::rule;
pub use several::of_several;

/// Why a probe ended without an answer that passes: the backend failed it, or this node could not
/// run it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// The backend's fault.
    #[error("{}", .0.label())]
    Failure(Failure),
    /// This node's fault.
    #[error("{0}")]
    Local(LocalFault),
}

impl From<Failure> for ProbeError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<LocalFault> for ProbeError {
    fn from(fault: LocalFault) -> Self {
        Self::Local(fault)
    }
}

impl From<ProbeError> for Outcome {
    fn from(error: ProbeError) -> Self {
        match error {
            ProbeError::Failure(failure) => failure.into(),
            ProbeError::Local(fault) => fault.into(),
        }
    }
}

// ---- System calls

/// Which system call failed. The same error number means different things from different calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `socket`, `setsockopt`, or registering with the poller.
    Open {
        /// The socket's family is IPv6.
        ipv6: bool,
    },
    /// `bind` to a source address or to an interface that the check names.
    Bind {
        /// The source, or the target where only an interface is named.
        ip: IpAddr,
    },
    /// `connect`, which looks up a route, a source address and a port.
    Connect {
        /// The target.
        to: IpAddr,
    },
    /// The first send, which looks up a route and a source address, and passes the packet filters
    /// of this node.
    FirstSend {
        /// The target.
        to: IpAddr,
    },
    /// Another call before a packet has left.
    BeforeSending,
    /// `SO_ERROR`, reads and writes after packets have left.
    AfterSending {
        /// Where the probe is.
        phase: Phase,
    },
}

/// What is known about this node. Asked only where an error number alone does not say enough.
pub trait Node {
    /// The kernel has IPv6.
    fn has_ipv6(&self) -> bool;
    /// IPv6 is switched off (`net.ipv6.conf.all.disable_ipv6`), or the kernel does not have it.
    fn ipv6_is_off(&self) -> bool;
    /// The loopback interface is down.
    fn loopback_is_down(&self) -> bool;
}

/// What the error of a system call means. `errno` is `None` for an error that comes from a layer
/// above the socket.
#[must_use]
pub fn call_failed(call: Call, errno: Option<i32>, node: &impl Node) -> ProbeError {
    // Errors without a number have names of their own in the layer that they come from.
    let Some(errno) = errno else { return LocalFault::Other(0).into() };
    match call {
        Call::Open { ipv6 } => match errno {
            // The kernel was started without IPv6, or a sandbox (`RestrictAddressFamilies`) forbids
            // the family.
            libc::EAFNOSUPPORT if ipv6 && !node.has_ipv6() => LocalFault::NoIpv6.into(),
            libc::EACCES | libc::EPERM | libc::EAFNOSUPPORT => LocalFault::Permission.into(),
            _ => before_sending(errno),
        },
        // No address of this node, or no interface of this name: gone, or not there yet.
        Call::Bind { ip } if errno == libc::EADDRNOTAVAIL => routing(errno, ip, node),
        Call::Bind { .. } if errno == libc::ENODEV => LocalFault::InterfaceDown.into(),
        Call::Bind { .. } => before_sending(errno),
        // UDP says so when the local ports are used up; TCP says EADDRNOTAVAIL.
        Call::Connect { .. } if errno == libc::EAGAIN => LocalFault::Ports.into(),
        Call::Connect { to } | Call::FirstSend { to } => routing(errno, to, node),
        Call::BeforeSending => before_sending(errno),
        Call::AfterSending { phase } => after_sending(errno, phase),
    }
}

/// `connect` or the first send. The network cannot have answered yet, so the routing table of this
/// node did.
fn routing(errno: i32, to: IpAddr, node: &impl Node) -> ProbeError {
    match errno {
        libc::ENETUNREACH | libc::EADDRNOTAVAIL if to.is_ipv6() && node.ipv6_is_off() => LocalFault::NoIpv6,
        // An interface that goes down loses its IPv6 addresses.
        libc::EADDRNOTAVAIL if to.is_loopback() && node.loopback_is_down() => LocalFault::InterfaceDown,
        libc::EADDRNOTAVAIL => LocalFault::NoAddress,
        libc::EACCES => LocalFault::RouteProhibited,
        libc::EINVAL => LocalFault::RouteBlackhole,
        libc::EPERM => LocalFault::Filter,
        // The interface that the socket is bound to is gone.
        libc::ENODEV => LocalFault::InterfaceDown,
        _ => return before_sending(errno),
    }
    .into()
}

fn before_sending(errno: i32) -> ProbeError {
    match errno {
        libc::ENETUNREACH => LocalFault::NoRoute.into(),
        libc::EHOSTUNREACH => LocalFault::RouteUnreachable.into(),
        libc::EACCES | libc::EPERM => LocalFault::Permission.into(),
        libc::EAGAIN => LocalFault::Buffers.into(),
        _ => after_sending(errno, Phase::Connect),
    }
}

fn after_sending(errno: i32, phase: Phase) -> ProbeError {
    match errno {
        libc::ECONNREFUSED => Failure::Refused.into(),
        libc::ECONNRESET | libc::ECONNABORTED | libc::EPIPE => Failure::Reset(phase).into(),
        // The kernel stopped retransmitting before our deadline.
        libc::ETIMEDOUT => Failure::timeout(phase).into(),
        libc::ENETUNREACH => Failure::Unreachable(Unreachable::Network).into(),
        libc::EHOSTUNREACH | libc::EHOSTDOWN | libc::ENONET => Failure::Unreachable(Unreachable::Host).into(),
        libc::EACCES | libc::ENOPROTOOPT | libc::EPROTO | libc::EOPNOTSUPP => {
            Failure::Unreachable(Unreachable::Protocol).into()
        }
        libc::EMSGSIZE => Failure::BadRequest("message too long for a datagram".into()).into(),
        libc::EMFILE | libc::ENFILE => LocalFault::Descriptors.into(),
        libc::EADDRNOTAVAIL | libc::EADDRINUSE => LocalFault::Ports.into(),
        libc::ENOBUFS => LocalFault::Buffers.into(),
        libc::ENOMEM => LocalFault::Memory.into(),
        libc::ENETDOWN => LocalFault::InterfaceDown.into(),
        // No ICMP error becomes EPERM: a packet filter of this node does.
        libc::EPERM => LocalFault::Filter.into(),
        other => LocalFault::Other(other).into(),
    }
}

// ---- The deadline

/// A peer is proven silent only if the last bytes went to it or came from it in the first 1/10 of
/// the timeout.
const EARLY_FRACTION: u32 = 10;

/// What a probe knows when its deadline has passed.
#[derive(Clone, Copy, Debug)]
pub struct AtDeadline {
    /// Where the probe is.
    pub phase: Phase,
    /// How long it was given.
    pub timeout: Duration,
    /// When bytes last went to the peer or came from it, counted from the start of the probe.
    pub last_exchange: Duration,
    /// The socket itself was read after the deadline, and had nothing.
    pub nothing_at_socket: bool,
    /// Why the latest datagram was ignored.
    pub stray: Option<Stray>,
}

/// The failure of a probe whose deadline has passed.
///
/// Example: with a timeout of 1 s, a request that left after 80 ms and was not answered proves the
/// peer silent. One that left after 120 ms does not: the checker was late, and the peer had less
/// than its time.
#[must_use]
pub fn timed_out(at: &AtDeadline) -> Failure {
    let silent = at.nothing_at_socket && at.last_exchange <= at.timeout / EARLY_FRACTION;
    Failure::Timeout { phase: at.phase, evidence: TimeoutEvidence { silent, stray: at.stray, adapted: 0 } }
}

/// Whether the result proves that the peer was silent. A peer that sent stray datagrams was not.
#[must_use]
pub fn is_silence(outcome: &Outcome) -> bool {
    fn of(failure: &Failure) -> bool {
        match failure {
            Failure::InStep(step) => of(&step.failure),
            Failure::OfAddress(of_address) => of(&of_address.failure),
            Failure::Timeout { evidence, .. } => *evidence == TimeoutEvidence::SILENT,
            _ => false,
        }
    }
    matches!(outcome, Outcome::Fail(failure) if of(failure))
}

// ---- The path

/// What has to be found out about this node's path to the target before a result counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathCheck {
    /// Nothing, as for every result that passes.
    None,
    /// Whether the target is a broadcast address of one of this node's networks.
    Broadcast,
    /// Whether something on the path changed while the probe ran.
    Changes {
        /// The peer or the network answered, so there is a path now, and only a change can have
        /// caused the result.
        answered: bool,
    },
    /// Whether there is a route now, and whether something on the path changed while the probe ran.
    /// A route that is removed raises no error on an open socket.
    RouteAndChanges,
}

/// Which check of the path `outcome` needs.
#[must_use]
pub fn path_check(outcome: &Outcome) -> PathCheck {
    match outcome {
        Outcome::Pass(_) => PathCheck::None,
        // The kernel refuses to connect to a broadcast address with the same numbers.
        Outcome::Inconclusive(LocalFault::NoRoute | LocalFault::RouteProhibited | LocalFault::Permission) => {
            PathCheck::Broadcast
        }
        Outcome::Inconclusive(_) => PathCheck::None,
        Outcome::Fail(failure) => path_check_of(failure),
    }
}

fn path_check_of(failure: &Failure) -> PathCheck {
    match failure {
        Failure::InStep(step) => path_check_of(&step.failure),
        Failure::Timeout { .. } => PathCheck::RouteAndChanges,
        // A path that leads elsewhere for a moment may cause these; but somebody answered.
        Failure::Refused | Failure::Reset(_) | Failure::ResetAfter(_) | Failure::Closed { .. } => {
            PathCheck::Changes { answered: true }
        }
        // This node says so too, when a neighbour does not answer.
        Failure::Unreachable(_) => PathCheck::Changes { answered: false },
        // The peer's own words, and what was never sent.
        Failure::PathDown { .. }
        | Failure::StreamReset(_)
        | Failure::Tls(_)
        | Failure::Status { .. }
        | Failure::BodyMismatch(_)
        | Failure::HeaderMismatch(_)
        | Failure::DnsRcode(_)
        | Failure::WrongAnswer(_)
        | Failure::RadiusCode(_)
        | Failure::BadAuthenticator(_)
        | Failure::MalformedReply(_)
        | Failure::BadRequest(_)
        // The path to each address has been looked at.
        | Failure::OfAddress(_) => PathCheck::None,
    }
}

/// What a [`PathCheck`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFinding {
    /// Nothing is wrong with the path.
    Fine,
    /// The target is a broadcast address of one of this node's networks.
    Broadcast,
    /// There is no path, or it was away while the probe ran.
    Fault(LocalFault),
}

/// What `outcome` means, given what its [`PathCheck`] found. `to` is the address of the target.
#[must_use]
pub fn with_path(outcome: Outcome, finding: PathFinding, to: IpAddr) -> Outcome {
    if path_check(&outcome) == PathCheck::None {
        // No path makes a pass, or a wrong answer, anything else.
        return outcome;
    }
    match finding {
        PathFinding::Fine => outcome,
        PathFinding::Broadcast => {
            let text = format!("{to} is a broadcast address of this machine's network");
            Failure::BadRequest(text.into()).into()
        }
        PathFinding::Fault(fault) => fault.into(),
    }
}

// ---- Stalls of the checker

/// A delay of this much is no stall: timers, other threads and the scheduler's slices stay below
/// it.
pub const TOLERATED_DELAY: Duration = Duration::from_millis(20);

/// A stall matters if it took more than this part of the timeout.
const STALL_FRACTION: u32 = 10;

/// What `outcome` means when the checker's own loop was stalled for `stalled` while the probe ran.
///
/// It is [`LocalFault::Late`] if the stall was longer than 20 ms and than 1/10 of `timeout`, and
/// may have caused the result. Other answers stand, however late they were read: a peer that sent
/// "503" means it.
#[must_use]
pub fn with_stall(outcome: Outcome, stalled: Duration, timeout: Duration) -> Outcome {
    let is_long = stalled > TOLERATED_DELAY.max(timeout / STALL_FRACTION);
    match &outcome {
        Outcome::Fail(failure) if is_long && may_be_caused_by_stall(failure) => LocalFault::Late.into(),
        _ => outcome,
    }
}

/// A deadline that passed, or what a peer does that waited for us for too long: it closes, resets,
/// says so in words of its protocol, sends a TLS alert (one of the reasons of [`Failure::Tls`]) or
/// an HTTP 408 (RFC 9110 section 15.5.9).
fn may_be_caused_by_stall(failure: &Failure) -> bool {
    let is_408 = |status: &str| status.starts_with("408");
    match failure {
        Failure::Timeout { .. }
        | Failure::Reset(_)
        | Failure::ResetAfter(_)
        | Failure::StreamReset(_)
        | Failure::Closed { .. }
        | Failure::Tls(_) => true,
        Failure::Status { got } => is_408(got),
        Failure::BodyMismatch(mismatch) | Failure::HeaderMismatch(mismatch) => {
            mismatch.status.as_deref().is_none_or(is_408)
        }
        Failure::InStep(step) => may_be_caused_by_stall(&step.failure),
        Failure::Refused
        | Failure::Unreachable(_)
        | Failure::PathDown { .. }
        | Failure::DnsRcode(_)
        | Failure::WrongAnswer(_)
        | Failure::RadiusCode(_)
        | Failure::BadAuthenticator(_)
        | Failure::MalformedReply(_)
        | Failure::BadRequest(_) => false,
        Failure::OfAddress(of_address) => may_be_caused_by_stall(&of_address.failure),
    }
}

/// So many silences in a row count in spite of stalls, if they also took [`SILENT_TIME`].
///
/// One does not: when the whole machine is stopped, an answer may be lost or wait in the network.
/// But this does not happen each time, and where every probe meets a stall, as under a quota of
/// processor time that is used up again and again, nothing else shows that a backend is dead.
const SILENT_PROBES: u8 = 3;

/// An inconclusive probe is soon repeated, so with short timeouts one disturbance could hit three
/// of them.
const SILENT_TIME: u32 = 2000;

/// The results of one check in a row that prove its peer silent, up to the latest. Eight bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct SilentRun {
    probes: u8,
    /// When the first of these probes began, in milliseconds. It wraps around: differences of up to
    /// 49 days are right.
    since: u32,
}

impl SilentRun {
    /// Whether the latest result was no silence, so that there is nothing to keep.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.probes == 0
    }

    /// Takes the next result, of a probe that ran from `began` to `ended`. Gives whether it is a
    /// silence that counts in spite of a stall: the third in a row or a later one, 2 s or more
    /// after the first began.
    pub fn note(&mut self, outcome: &Outcome, began: Duration, ended: Duration) -> bool {
        if !is_silence(outcome) {
            self.probes = 0;
            return false;
        }
        if self.probes == 0 {
            self.since = milliseconds(began);
        }
        self.probes = self.probes.saturating_add(1);
        self.probes >= SILENT_PROBES && milliseconds(ended).wrapping_sub(self.since) >= SILENT_TIME
    }
}

#[allow(clippy::cast_possible_truncation, reason = "it is meant to wrap around")]
fn milliseconds(at: Duration) -> u32 {
    at.as_millis() as u32
}

#[cfg(test)]
mod tests;
