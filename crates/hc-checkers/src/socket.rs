//! The sockets below the probes: opened non-blocking and close-on-exec in one call, marked before
//! anything leaves, used with as few system calls as the kernel allows.

mod connector;
mod datagram;
mod dropped;
mod error_queue;
mod lingering;
mod proxy;
mod stream;

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hc_types::{LocalFault, Target};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::time::Instant;

use crate::fault::{self, ProbeError};

pub(crate) use connector::Connector;
pub(crate) use datagram::Datagrams;
pub(crate) use lingering::{CloseOrder, FinishedConn, Lingering, LingeringClose};
pub(crate) use stream::{ConnectMode, Stream, connect, reset};

/// A socket of the target's family that carries its mark.
fn open(target: &Target, kind: Type, protocol: Protocol) -> Result<Socket, ProbeError> {
    let domain = if target.ip().is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    // socket2 gives both flags to socket(2) itself.
    let socket = Socket::new(domain, kind.nonblocking().cloexec(), Some(protocol))
        .map_err(|error| fault::opening(&error, target.ip().is_ipv4()))?;
    if let Some(mark) = target.mark() {
        // Before connect: it chooses the route and the source address, and the SYN must carry it.
        socket.set_mark(mark.get()).map_err(|error| fault::opening(&error, target.ip().is_ipv4()))?;
    }
    if target.way().is_some() {
        bind(&socket, target)?;
    }
    Ok(socket)
}

/// Binds a socket to the interface and the source address of the target, if it has any of its own.
pub(crate) fn bind(socket: &Socket, target: &Target) -> Result<(), ProbeError> {
    if let Some(device) = target.device() {
        let bound = socket.bind_device(Some(device.as_bytes()));
        bound.map_err(|error| fault::binding(&error, target.ip()))?;
    }
    if let Some(source) = target.source() {
        // Without it, each socket takes a port for itself alone, whatever its peer is, and those
        // run out. An old kernel does not know it.
        let _: nix::Result<()> = setsockopt(socket, IpBindAddressNoPort, &true);
        let bound = socket.bind(&SocketAddr::new(source, 0).into());
        bound.map_err(|error| fault::binding(&error, source))?;
    }
    Ok(())
}

/// Sends the datagrams of an IPv4 socket without the DF bit, whatever `net.ipv4.ip_no_pmtu_disc`
/// says: a router whose next hop has a smaller MTU fragments them. With the bit, which is the
/// kernel's default, it drops them and sends an ICMP message instead, again each time that the
/// kernel has forgotten the MTU (after ten minutes), or it drops them and sends nothing.
pub(crate) fn let_routers_fragment(socket: &Socket) -> io::Result<()> {
    Ok(sockopt::set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::DONT)?)
}

/// A path to a target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalPath {
    /// It leads to this machine itself, through the loopback interface.
    is_local: bool,
}

/// Why this machine has no path to the target, or cannot say whether it has one. Sends nothing: a
/// datagram socket's `connect` only looks the route up.
pub(crate) fn check_route(target: &Target) -> Result<LocalPath, LocalFault> {
    let ip = target.ip();
    let looked_up = open(target, Type::DGRAM, Protocol::UDP).and_then(|socket| {
        socket
            .connect(&target.socket_addr().into())
            .map_err(|error| fault::connecting(&error, target.ip()))?;
        Ok(socket)
    });
    let socket = match looked_up {
        Err(ProbeError::Local(fault)) => return Err(fault),
        Err(ProbeError::Failure(_)) => return Ok(LocalPath { is_local: ip.is_loopback() }),
        Ok(socket) => socket,
    };
    let from = socket.local_addr().ok().and_then(|address| address.as_socket());
    let Some(from) = from.map(|from| from.ip()) else { return Ok(LocalPath { is_local: ip.is_loopback() }) };
    let is_local = ip.is_loopback() || from == ip;
    // The kernel sends from 0.0.0.0 or ::1 rather than not at all, and no peer can answer that.
    if from.is_unspecified() || (from.is_loopback() && !is_local) {
        return Err(LocalFault::NoAddress);
    }
    Ok(LocalPath { is_local })
}

/// Whether the kernel takes the target for a broadcast address of one of this machine's networks,
/// such as 192.0.2.255 with 192.0.2.1/24 on an interface. Only the kernel knows. It refuses to
/// connect a socket to one (`EACCES` for datagrams, `ENETUNREACH` for TCP), and allows it to a
/// datagram socket that asks for it with `SO_BROADCAST`. Sends nothing.
pub(crate) fn is_broadcast(target: &Target) -> bool {
    let connects = |broadcast| {
        let socket = open(target, Type::DGRAM, Protocol::UDP).ok()?;
        socket.set_broadcast(broadcast).ok()?;
        match socket.connect(&target.socket_addr().into()) {
            Ok(()) => Some(true),
            Err(error) => (error.raw_os_error() == Some(libc::EACCES)).then_some(false),
        }
    };
    target.ip().is_ipv4() && connects(false) == Some(false) && connects(true) == Some(true)
}

/// When the loopback interface was last seen down. Only for where the kernel's notices of changes
/// cannot be read.
///
/// An interface that goes down takes its routes with it, all but the loopback interface: the kernel
/// keeps the routes to our own addresses and drops what goes there and reports no error. If it was
/// seen down within twice the `timeout` of the probe that asks, packets of that probe may have been
/// lost, even if another probe saw it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loopback(Cell<Option<Instant>>);

impl Loopback {
    /// Looks now, if the path leads through it.
    pub(crate) fn look(&self, path: LocalPath, timeout: Duration) -> Result<(), LocalFault> {
        if path.is_local && self.was_down(2 * timeout) { Err(LocalFault::InterfaceDown) } else { Ok(()) }
    }

    fn was_down(&self, span: Duration) -> bool {
        if loopback_is_down() {
            self.0.set(Some(Instant::now()));
        }
        self.0.get().is_some_and(|seen| seen.elapsed() <= span)
    }
}

pub(crate) fn loopback_is_down() -> bool {
    let Ok(mut interfaces) = getifaddrs() else { return false };
    interfaces.any(|interface| {
        interface.flags.contains(InterfaceFlags::IFF_LOOPBACK)
            && !interface.flags.contains(InterfaceFlags::IFF_UP)
    })
}
