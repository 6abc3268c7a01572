//! Whether this machine itself dropped the SYN of a connection (an output filter, tc, a full
//! queue).
//!
//! `connect` does not report it: TCP takes a SYN that a filter dropped for one that was lost on the
//! way. But the kernel counts a retransmission as being on the way only if it left, and as sent in
//! any case. So if all that it repeated were sent and none is on the way, the latest was dropped
//! here. Measured on Linux 6.18, 1.5 s after `connect`:
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
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send, socket,
};

const TCP_SYN_SENT: u8 = 2;

/// Whether a connection between these is being made and its latest SYN was dropped on this machine. `false`
/// also where the kernel cannot say (without the module `tcp_diag`).
pub(super) fn syn_was_dropped_here(from: io::Result<SocketAddr>, to: SocketAddr) -> bool {
    let Ok(from) = from else { return false };
    ask(from, to).is_ok_and(|info| info.is_some_and(|info| dropped(&info)))
}

/// `struct tcp_info` of one socket (sock_diag(7)).
fn ask(from: SocketAddr, to: SocketAddr) -> io::Result<Option<Vec<u8>>> {
    let request = InetRequest {
        family: if to.is_ipv4() { AF_INET } else { AF_INET6 },
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::INFO,
        states: StateFlags::all(),
        socket_id: SocketId {
            source_port: from.port(),
            destination_port: to.port(),
            source_address: from.ip(),
            destination_address: to.ip(),
            interface_id: 0,
            // Whatever cookie.
            cookie: [0xff; 8],
        },
    };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let mut question = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    question.finalize();
    let mut bytes = vec![0; question.buffer_len()];
    question.serialize(&mut bytes);

    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Netlink, SockType::Datagram, flags, SockProtocol::NetlinkSockDiag)?;
    connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    send(socket.as_raw_fd(), &bytes, MsgFlags::empty())?;
    let mut answer = vec![0; 4096];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    let answer =
        NetlinkMessage::<SockDiagMessage>::deserialize(&answer[..length]).map_err(io::Error::other)?;
    let NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) = answer.payload else {
        return Ok(None);
    };
    let info = |attribute| if let Nla::TcpInfo(info) = attribute { Some(info) } else { None };
    Ok(response.nlas.into_iter().find_map(info))
}

/// By the offsets in `struct tcp_info` (`linux/tcp.h`), which only ever grows at its end.
fn dropped(info: &[u8]) -> bool {
    let number = |at: usize| Some(u32::from_ne_bytes(*info.get(at..)?.first_chunk()?));
    let (Some(&[state, _, repeated, ..]), Some(on_the_way), Some(sent)) =
        (info.first_chunk::<8>(), number(36), number(100))
    else {
        return false;
    };
    state == TCP_SYN_SENT && repeated > 0 && u32::from(repeated) == sent && on_the_way == 0
}
