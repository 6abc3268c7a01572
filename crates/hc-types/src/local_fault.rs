//! Faults of this machine.

use std::fmt;

/// Why a probe says nothing about its backend: the fault is on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LocalFault {
    /// Out of file descriptors (`EMFILE`, `ENFILE`).
    Descriptors,
    /// Out of local ports (`EADDRNOTAVAIL` although there is a source address, `EADDRINUSE`).
    Ports,
    /// Out of socket buffers or queue space (`ENOBUFS`, `EAGAIN` where the kernel should not say
    /// so).
    Buffers,
    /// Out of memory (`ENOMEM`).
    Memory,
    /// The limit for what all probes together hold was reached, and what this one had come to hold
    /// was needed to judge.
    ProbeMemory,
    /// Not allowed to open the socket or to set the mark (`EPERM`, `EACCES` from `socket` or
    /// `setsockopt`).
    Permission,
    /// The routing table has no route to the target (`ENETUNREACH` from `connect` or the first
    /// send).
    NoRoute,
    /// A route of the type `prohibit` covers the target (`EACCES` from `connect` or the first
    /// send).
    RouteProhibited,
    /// A route of the type `blackhole` covers the target (`EINVAL` from `connect` or the first
    /// send).
    RouteBlackhole,
    /// A route of the type `unreachable` covers the target (`EHOSTUNREACH` from `connect` or the
    /// first send).
    RouteUnreachable,
    /// There is a route, but no address of this machine that packets to the target could come from
    /// (`EADDRNOTAVAIL` although local ports are free).
    NoAddress,
    /// IPv6 is switched off on this machine (`disable_ipv6`, `ipv6.disable=1`).
    NoIpv6,
    /// The interface of the route to the target is down, or has no carrier.
    InterfaceDown,
    /// A packet filter of this machine drops what goes to the target (`EPERM` from `connect` or a
    /// send).
    Filter,
    /// A route, an address, an interface or a routing rule that packets to the target need was
    /// taken away or changed while the probe ran. It may be back by now: packets of the probe were
    /// lost on this machine, so its timeout is no verdict.
    PathChanged,
    /// No address is known of the host name that is checked: no resolver answers, or the name has
    /// none.
    Unresolved,
    /// Our own loop ran late, or the process was stopped: a deadline that passed meanwhile proves
    /// nothing.
    Late,
    /// Another error of a local system call: its `errno`.
    Other(i32),
}

/// Whether a local fault also stops the traffic that this machine forwards to the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultClass {
    /// Only the checker is affected: the load balancer goes on forwarding to a backend that may be
    /// healthy. The check's state is held for as long as the fault lasts.
    OwnAlone,
    /// Forwarded packets take the same path and are lost as well: the load balancer cannot reach
    /// the backend either. The check's state is held for a bounded time only.
    SharedWithTraffic,
}

impl LocalFault {
    /// The fault's fixed word, for metrics, JSON and log fields.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            LocalFault::Descriptors => "local_descriptors",
            LocalFault::Ports => "local_ports",
            LocalFault::Buffers => "local_buffers",
            LocalFault::Memory => "local_memory",
            LocalFault::ProbeMemory => "local_probe_memory",
            LocalFault::Permission => "local_permission",
            LocalFault::NoRoute => "local_no_route",
            LocalFault::RouteProhibited => "local_route_prohibited",
            LocalFault::RouteBlackhole => "local_route_blackhole",
            LocalFault::RouteUnreachable => "local_route_unreachable",
            LocalFault::NoAddress => "local_no_address",
            LocalFault::NoIpv6 => "local_no_ipv6",
            LocalFault::InterfaceDown => "local_interface_down",
            LocalFault::Filter => "local_filter",
            LocalFault::PathChanged => "local_path_changed",
            LocalFault::Unresolved => "local_unresolved",
            LocalFault::Late => "local_late",
            LocalFault::Other(_) => "local_other",
        }
    }

    /// Whether forwarded traffic suffers from the fault as well.
    #[must_use]
    pub fn class(self) -> FaultClass {
        match self {
            LocalFault::Descriptors
            | LocalFault::Ports
            | LocalFault::Buffers
            | LocalFault::Memory
            | LocalFault::ProbeMemory
            | LocalFault::Permission
            | LocalFault::Unresolved
            | LocalFault::Late
            | LocalFault::Other(_) => FaultClass::OwnAlone,
            LocalFault::NoRoute
            | LocalFault::RouteProhibited
            | LocalFault::RouteBlackhole
            | LocalFault::RouteUnreachable
            | LocalFault::NoAddress
            | LocalFault::NoIpv6
            | LocalFault::InterfaceDown
            | LocalFault::Filter
            | LocalFault::PathChanged => FaultClass::SharedWithTraffic,
        }
    }
}

impl fmt::Display for LocalFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LocalFault::Descriptors => "out of file descriptors",
            LocalFault::Ports => "out of local ports",
            LocalFault::Buffers => "out of socket buffers",
            LocalFault::Memory => "out of memory",
            LocalFault::ProbeMemory => "out of memory for answers ([checks] probe_memory)",
            LocalFault::Permission => "operation not permitted",
            LocalFault::NoRoute => "no local route",
            LocalFault::RouteProhibited => "a local route of the type prohibit",
            LocalFault::RouteBlackhole => "a local route of the type blackhole",
            LocalFault::RouteUnreachable => "a local route of the type unreachable",
            LocalFault::NoAddress => "no local address to send from",
            LocalFault::NoIpv6 => "IPv6 is switched off on this node",
            LocalFault::InterfaceDown => "the local interface is down",
            LocalFault::Filter => "dropped by a packet filter of this node",
            LocalFault::PathChanged => "a local route, address or interface was away while the probe ran",
            LocalFault::Unresolved => "no address of the host name is known",
            LocalFault::Late => "the checker itself ran late",
            LocalFault::Other(errno) => return write!(f, "local error {errno}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_the_path_is_shared_with_traffic_and_a_shortage_is_not() {
        assert_eq!(LocalFault::NoRoute.class(), FaultClass::SharedWithTraffic);
        assert_eq!(LocalFault::InterfaceDown.class(), FaultClass::SharedWithTraffic);
        assert_eq!(LocalFault::Filter.class(), FaultClass::SharedWithTraffic);
        assert_eq!(LocalFault::PathChanged.class(), FaultClass::SharedWithTraffic);
        assert_eq!(LocalFault::Ports.class(), FaultClass::OwnAlone);
        assert_eq!(LocalFault::Permission.class(), FaultClass::OwnAlone);
        assert_eq!(LocalFault::Late.class(), FaultClass::OwnAlone);
        assert_eq!(LocalFault::Other(5).class(), FaultClass::OwnAlone);
    }
}
