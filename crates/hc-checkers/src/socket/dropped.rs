//! Whether this machine itself dropped the SYN of a connection (an output filter, tc, a full queue).
//!
//! `connect` does not tell: TCP takes a SYN that a filter dropped for one that was lost on the way. But the kernel counts a
//! retransmission as being on the way only if it left, and as sent in any case. So if all that it repeated were sent and none is on
//! the way, the latest was dropped here. Measured on Linux 6.18, 1.5 s after `connect`:
//!
//! | | `retransmits` | `total_retrans` | `retrans` |
//! |---|---|---|---|
//! | nobody answers, or a filter elsewhere drops it | 1 | 1 | 1 |
//! | dropped by nftables in `output` or `postrouting`, or by a queue | 1 | 1 | 0 |
//! | no answer to ARP: the first SYN still waits | 1 | 0 | 0 |
//! | the route is gone | 1 | 0 | 0 |
//!
//! The first retransmission is sent after 1 s, so with a shorter timeout nothing is seen.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send, socket,
};
use tokio::net::TcpStream;

/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;
/// `SOCK_DIAG_BY_FAMILY` (sock_diag(7)).
const BY_FAMILY: u16 = 20;
/// `INET_DIAG_INFO`, an attribute that holds `struct tcp_info`.
const INFO: u16 = 2;
const TCP_SYN_SENT: u8 = 2;

/// Lengths of `struct nlmsghdr` and `struct inet_diag_msg`.
const HEADER: usize = 16;
const MESSAGE: usize = 72;

/// Whether the connection is being made and its latest SYN was dropped on this machine. `false` also where the kernel cannot
/// say (without the module `tcp_diag`).
pub(super) fn syn_was_dropped_here(stream: &TcpStream, to: SocketAddr) -> bool {
    let Ok(from) = stream.local_addr() else { return false };
    ask(from, to).is_ok_and(|answer| tcp_info(&answer).is_some_and(dropped))
}

fn ask(from: SocketAddr, to: SocketAddr) -> io::Result<Vec<u8>> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Netlink, SockType::Datagram, flags, SockProtocol::NetlinkSockDiag)?;
    connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    send(socket.as_raw_fd(), &question(from, to), MsgFlags::empty())?;
    let mut answer = vec![0; 4096];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    answer.truncate(length);
    Ok(answer)
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2` for one socket.
fn question(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    const LENGTH: u32 = 72;
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut bytes = Vec::new();
    bytes.extend(LENGTH.to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(REQUEST.to_ne_bytes());
    bytes.extend([0; 8]);
    let [family, protocol] = [family, libc::IPPROTO_TCP].map(|number| number.to_le_bytes()[0]);
    bytes.extend([family, protocol, 1 << (INFO - 1), 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(from.port().to_be_bytes());
    bytes.extend(to.port().to_be_bytes());
    for ip in [from.ip(), to.ip()] {
        match ip {
            IpAddr::V4(ip) => {
                bytes.extend(ip.octets());
                bytes.extend([0; 12]);
            }
            IpAddr::V6(ip) => bytes.extend(ip.octets()),
        }
    }
    // Any interface, whatever cookie.
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend([0xff; 8]);
    bytes
}

/// `struct tcp_info` in the answer.
fn tcp_info(answer: &[u8]) -> Option<&[u8]> {
    let number = |bytes: &[u8], at: usize| Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    if number(answer, 4)? != BY_FAMILY {
        return None;
    }
    let mut attributes = answer.get(HEADER + MESSAGE..)?;
    loop {
        let (length, kind) = (usize::from(number(attributes, 0)?), number(attributes, 2)?);
        if kind == INFO {
            return attributes.get(4..length);
        }
        attributes = attributes.get(length.max(4).next_multiple_of(4)..)?;
    }
}

fn dropped(info: &[u8]) -> bool {
    let number = |at: usize| Some(u32::from_ne_bytes(*info.get(at..)?.first_chunk()?));
    let (Some(&[state, _, repeated, ..]), Some(on_the_way), Some(sent)) =
        (info.first_chunk::<8>(), number(36), number(100))
    else {
        return false;
    };
    state == TCP_SYN_SENT && repeated > 0 && u32::from(repeated) == sent && on_the_way == 0
}
