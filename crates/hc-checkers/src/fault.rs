//! Which errors of system calls are verdicts about the backend, and which are ours. The only place that decides.

use std::io;
use std::net::IpAddr;

use hc_types::{Failure, Heard, LocalFault, Outcome, Phase, Unreachable};

use crate::socket;

/// Why a probe ended early: the backend failed it, or we could not run it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Setback {
    #[error("{}", .0.label())]
    Failure(Failure),
    #[error("{0}")]
    Local(LocalFault),
}

impl From<Failure> for Setback {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<LocalFault> for Setback {
    fn from(fault: LocalFault) -> Self {
        Self::Local(fault)
    }
}

impl From<Setback> for Outcome {
    fn from(setback: Setback) -> Self {
        match setback {
            Setback::Failure(failure) => failure.into(),
            Setback::Local(fault) => fault.into(),
        }
    }
}

/// What is kept of the words about a failure, in bytes: a check at rest holds them, and a backend may say more than that.
const LONGEST_TEXT: usize = 1024;

/// Words about a failure that may quote the backend, cut where they are long.
pub(crate) fn told(mut text: String) -> Box<str> {
    if text.len() > LONGEST_TEXT {
        text.truncate(text.floor_char_boundary(LONGEST_TEXT));
        text.push('…');
    }
    text.into()
}

/// A reset says after how much of an answer it came: `got` is all of it.
pub(crate) fn after(got: &[u8], setback: Setback) -> Setback {
    match setback {
        Setback::Failure(Failure::Reset(_)) if !got.is_empty() => {
            Failure::ResetAfter(Box::new(Heard::new(got))).into()
        }
        setback => setback,
    }
}

/// An error of the calls that make a socket ready: `socket`, `setsockopt`, and the poller's.
pub(crate) fn opening(error: &io::Error, ipv4: bool) -> Setback {
    match error.raw_os_error() {
        // The kernel was started without IPv6, or a sandbox (`RestrictAddressFamilies`) forbids the family.
        Some(libc::EAFNOSUPPORT) if !ipv4 && !ipv6::exists() => LocalFault::NoIpv6.into(),
        Some(libc::EACCES | libc::EPERM | libc::EAFNOSUPPORT) => LocalFault::Permission.into(),
        _ => before_sending(error),
    }
}

/// An error of `connect`, which looks up a route, a source address and a port.
pub(crate) fn connecting(error: &io::Error, to: IpAddr) -> Setback {
    match error.raw_os_error() {
        // So says UDP; TCP says EADDRNOTAVAIL.
        Some(libc::EAGAIN) => LocalFault::Ports.into(),
        _ => routing(error, to),
    }
}

/// An error of the first `sendto`, which looks up a route and a source address, and meets the filters of this machine.
pub(crate) fn sending(error: &io::Error, to: IpAddr) -> Setback {
    routing(error, to)
}

/// What the network would say cannot have arrived yet, so "unreachable" is our own routing table speaking.
fn routing(error: &io::Error, to: IpAddr) -> Setback {
    let ipv6 = to.is_ipv6();
    match error.raw_os_error() {
        Some(libc::ENETUNREACH | libc::EADDRNOTAVAIL) if ipv6 && ipv6::is_off() => LocalFault::NoIpv6.into(),
        // IPv6 takes the addresses of an interface that goes down away.
        Some(libc::EADDRNOTAVAIL) if to.is_loopback() && socket::loopback_is_down() => {
            LocalFault::InterfaceDown.into()
        }
        Some(libc::EADDRNOTAVAIL) => LocalFault::NoAddress.into(),
        Some(libc::EACCES) => LocalFault::RouteProhibited.into(),
        Some(libc::EINVAL) => LocalFault::RouteBlackhole.into(),
        Some(libc::EPERM) => LocalFault::Filter.into(),
        _ => before_sending(error),
    }
}

/// Another error before anything was sent.
pub(crate) fn before_sending(error: &io::Error) -> Setback {
    match error.raw_os_error() {
        Some(libc::ENETUNREACH) => LocalFault::NoRoute.into(),
        Some(libc::EHOSTUNREACH) => LocalFault::RouteUnreachable.into(),
        Some(libc::EACCES | libc::EPERM) => LocalFault::Permission.into(),
        Some(libc::EAGAIN) => LocalFault::Buffers.into(),
        _ => after_sending(error, Phase::Connect),
    }
}

mod ipv6 {
    use std::fs;
    use std::path::Path;

    const PARAMETERS: &str = "/proc/sys/net/ipv6";

    /// Whether the kernel has it.
    pub(super) fn exists() -> bool {
        Path::new(PARAMETERS).exists()
    }

    /// Whether it is switched off (`net.ipv6.conf.all.disable_ipv6`) or does not exist.
    pub(super) fn is_off() -> bool {
        let all = format!("{PARAMETERS}/conf/all/disable_ipv6");
        !exists() || fs::read(all).is_ok_and(|value| value.trim_ascii() == b"1")
    }
}

/// An error after packets have left: from `SO_ERROR`, and from reads and writes on a connection. `phase` is where the probe was.
pub(crate) fn after_sending(error: &io::Error, phase: Phase) -> Setback {
    let Some(errno) = error.raw_os_error() else {
        // Errors without a number come from layers above the socket, which have their own names for them.
        return LocalFault::Other(0).into();
    };
    match errno {
        libc::ECONNREFUSED => Failure::Refused.into(),
        libc::ECONNRESET | libc::ECONNABORTED | libc::EPIPE => Failure::Reset(phase).into(),
        // The kernel gave up repeating its segments before our deadline came.
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
        // Never from the network: a packet filter of this machine.
        libc::EPERM => LocalFault::Filter.into(),
        other => LocalFault::Other(other).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(errno: i32, before: impl Into<Setback>, after: impl Into<Setback>) {
        let error = io::Error::from_raw_os_error(errno);
        assert_eq!(before_sending(&error), before.into(), "before: {error}");
        assert_eq!(after_sending(&error, Phase::Connect), after.into(), "after: {error}");
    }

    #[test]
    fn what_the_network_said_is_a_verdict_and_what_we_lack_is_not() {
        use LocalFault::{
            Buffers, Descriptors, Filter, InterfaceDown, Memory, NoRoute, Other, Permission, Ports,
            RouteUnreachable,
        };
        use Unreachable::{Host, Network, Protocol};

        check(libc::ECONNREFUSED, Failure::Refused, Failure::Refused);
        check(libc::ECONNRESET, Failure::Reset(Phase::Connect), Failure::Reset(Phase::Connect));
        check(libc::EPIPE, Failure::Reset(Phase::Connect), Failure::Reset(Phase::Connect));
        check(libc::ETIMEDOUT, Failure::timeout(Phase::Connect), Failure::timeout(Phase::Connect));
        check(libc::ENETUNREACH, NoRoute, Failure::Unreachable(Network));
        check(libc::EHOSTUNREACH, RouteUnreachable, Failure::Unreachable(Host));
        check(libc::EHOSTDOWN, Failure::Unreachable(Host), Failure::Unreachable(Host));
        check(libc::EACCES, Permission, Failure::Unreachable(Protocol));
        check(libc::ENOPROTOOPT, Failure::Unreachable(Protocol), Failure::Unreachable(Protocol));
        check(libc::EPERM, Permission, Filter);
        check(libc::ENETDOWN, InterfaceDown, InterfaceDown);
        check(libc::EMFILE, Descriptors, Descriptors);
        check(libc::ENFILE, Descriptors, Descriptors);
        check(libc::EADDRNOTAVAIL, Ports, Ports);
        check(libc::EADDRINUSE, Ports, Ports);
        check(libc::ENOBUFS, Buffers, Buffers);
        check(libc::EAGAIN, Buffers, Other(libc::EAGAIN));
        check(libc::ENOMEM, Memory, Memory);
        check(libc::EINVAL, Other(libc::EINVAL), Other(libc::EINVAL));
    }

    #[test]
    fn a_reset_names_its_phase() {
        let error = io::Error::from_raw_os_error(libc::ECONNRESET);
        assert_eq!(after_sending(&error, Phase::Response), Failure::Reset(Phase::Response).into());
    }
}
