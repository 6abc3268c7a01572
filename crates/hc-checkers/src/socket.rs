//! The sockets below the probes: opened non-blocking and close-on-exec in one call, marked before anything leaves, used
//! with as few system calls as the kernel allows.

mod datagram;
mod error_queue;
mod stream;

use hc_types::{LocalFault, Target};
use socket2::{Domain, Protocol, Socket, Type};

use crate::fault::{self, Setback};

pub(crate) use datagram::Datagrams;
pub(crate) use stream::{Opening, connect, reset, see_off};

/// A socket of the target's family that carries its mark.
fn open(target: &Target, kind: Type, protocol: Protocol) -> Result<Socket, Setback> {
    let domain = if target.ip().is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    // socket2 gives both flags to socket(2) itself.
    let socket = Socket::new(domain, kind.nonblocking().cloexec(), Some(protocol))
        .map_err(|error| fault::before_sending(&error))?;
    if let Some(mark) = target.mark() {
        // Before connect: it chooses the route and the source address, and the SYN must carry it.
        socket.set_mark(mark.get()).map_err(|error| fault::before_sending(&error))?;
    }
    Ok(socket)
}

/// Whether the routing table has a way to the target. Sends nothing: a datagram socket's `connect` only looks the route up.
/// Whatever else is wrong with us does not answer the question, and so is a yes.
pub(crate) fn has_route(target: &Target) -> bool {
    let looked_up = open(target, Type::DGRAM, Protocol::UDP).and_then(|socket| {
        socket.connect(&target.socket_addr().into()).map_err(|error| fault::before_sending(&error))
    });
    looked_up != Err(Setback::Local(LocalFault::NoRoute))
}
