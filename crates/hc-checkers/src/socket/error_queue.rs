//! The queue of ICMP errors of a datagram socket (`IP_RECVERR`, ip(7)).

use std::io;
use std::os::fd::AsRawFd as _;

use hc_types::Unreachable;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use socket2::Socket;

/// Asks the kernel to report every ICMP error about datagrams of `socket`.
pub(super) fn listen(socket: &Socket, ipv4: bool) -> io::Result<()> {
    let done = if ipv4 {
        setsockopt(socket, sockopt::Ipv4RecvErr, &true)
    } else {
        setsockopt(socket, sockopt::Ipv6RecvErr, &true)
    };
    done.map_err(io::Error::from)
}

/// Takes the first entry out of the queue.
pub(super) fn forget(socket: &Socket) {
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    // An empty queue is as good.
    let _ = recvmsg::<()>(socket.as_raw_fd(), &mut [], None, flags);
}

/// What the first ICMP error in the queue of an IPv4 socket says, if it is a "destination
/// unreachable".
pub(super) fn reason(socket: &Socket) -> Option<Unreachable> {
    let mut control = nix::cmsg_space!(libc::sock_extended_err, libc::sockaddr_in);
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut [],
        Some(&mut control),
        MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT,
    );
    message.ok()?.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4RecvErr(error, _) if error.ee_origin == libc::SO_EE_ORIGIN_ICMP => {
            unreachable_by_code(error.ee_type, error.ee_code)
        }
        _ => None,
    })
}

/// Codes of ICMP type 3 (RFC 792, RFC 1122 section 3.2.2.1, RFC 1812 section 5.2.7.1).
fn unreachable_by_code(kind: u8, code: u8) -> Option<Unreachable> {
    const DESTINATION_UNREACHABLE: u8 = 3;
    if kind != DESTINATION_UNREACHABLE {
        return None;
    }
    match code {
        0 | 6 | 11 => Some(Unreachable::Network),
        1 | 7 | 8 | 12 => Some(Unreachable::Host),
        // Protocol unreachable, and the codes of routers and filters that forbid.
        2 | 9 | 10 | 13 | 14 | 15 => Some(Unreachable::Protocol),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn icmp_codes_are_named() {
        assert_eq!(unreachable_by_code(3, 0), Some(Unreachable::Network));
        assert_eq!(unreachable_by_code(3, 1), Some(Unreachable::Host));
        assert_eq!(unreachable_by_code(3, 13), Some(Unreachable::Protocol));
        assert_eq!(unreachable_by_code(3, 3), None);
        assert_eq!(unreachable_by_code(11, 0), None);
    }
}
