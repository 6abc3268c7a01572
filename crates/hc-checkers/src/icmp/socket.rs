//! The one socket of a family: a ping socket where the host allows it, a raw one otherwise.

use std::cell::Cell;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;

use hc_types::{Mark, Target, Unreachable};
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvfrom, recvmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

use super::echo::{self, Family, Heard, Tag};
use super::filter;
use crate::fault::ProbeError;
use crate::mux::{Backlog, ip_of};

/// Room for some thousand replies between two turns of the loop, in bytes as the kernel counts
/// them.
const BUFFER: usize = 4 * 1024 * 1024;

/// Our echo reply has 64 bytes, behind an IPv4 header of at most 60; ICMPv6 errors have up to 1280.
/// The tail of anything longer does not matter.
const PACKET: usize = 2048;

/// Packets that are read in one go, before other tasks get their turn.
const BATCH: usize = 256;

/// How often a send is tried again that failed with an error of an earlier packet.
const STALE_ERRORS: usize = 4;

/// Sends echo requests to any address and reads what comes back for them.
#[derive(Debug)]
pub(super) struct EchoSocket {
    io: AsyncFd<Socket>,
    family: Family,
    kind: Kind,
    /// The mark that the socket has now; 0 is none.
    mark: Cell<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `SOCK_DGRAM`: the kernel writes the identifier, and hands us only what belongs to it.
    Ping,
    /// `SOCK_RAW` with this identifier.
    Raw(u16),
}

/// Which call failed.
#[derive(Debug)]
pub(super) enum SendError {
    Mark(io::Error),
    Send(io::Error),
}

impl EchoSocket {
    /// Opens the socket. `id` is the identifier of its requests if the socket is a raw one.
    ///
    /// # Errors
    /// Those of the raw socket, when the host allows no ping socket (`net.ipv4.ping_group_range`)
    /// either.
    pub(super) fn open(family: Family, id: u16) -> io::Result<Self> {
        let (socket, kind) = match new_socket(family, Type::DGRAM) {
            Ok(socket) => (socket, Kind::Ping),
            Err(_) => (new_socket(family, Type::RAW)?, Kind::Raw(id)),
        };
        match (kind, family) {
            // A raw socket gets ICMP errors as packets; a ping socket has to ask for them.
            (Kind::Ping, Family::V4) => setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?,
            (Kind::Ping, Family::V6) => setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?,
            (Kind::Raw(id), _) => socket.attach_filter(&filter::program(family, id))?,
        }
        // A path may be narrower than our 84 bytes: IPv4 allows 68. IPv6 does not.
        if family == Family::V4 {
            crate::socket::let_routers_fragment(&socket)?;
        }
        // Beyond the host's limit where we may, up to it where we may not.
        if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
            socket.set_recv_buffer_size(BUFFER)?;
        }
        if setsockopt(&socket, sockopt::SndBufForce, &BUFFER).is_err() {
            socket.set_send_buffer_size(BUFFER)?;
        }
        #[allow(deprecated, reason = "its successor is unsafe, and a Socket owns its descriptor to the end")]
        let io = AsyncFd::with_interest(socket, Interest::READABLE | Interest::ERROR)?;
        Ok(Self { io, family, kind, mark: Cell::new(0) })
    }

    /// Binds it to the source and the interface of a target that has these.
    pub(super) fn bind(&self, target: &Target) -> Result<(), ProbeError> {
        crate::socket::bind(self.io.get_ref(), target)
    }

    /// Sends one request. Does not wait: a full queue is an error.
    ///
    /// The mark is set on the socket before the packet is made, which works on every kernel; a
    /// control message is ignored by the ping sockets of older ones, and the packet would leave
    /// unmarked.
    pub(super) fn send(&self, ip: IpAddr, mark: Option<Mark>, sequence: u16) -> Result<(), SendError> {
        let mark = mark.map_or(0, Mark::get);
        let socket = self.io.get_ref();
        if self.mark.get() != mark {
            socket.set_mark(mark).map_err(SendError::Mark)?;
            self.mark.set(mark);
        }
        let id = if let Kind::Raw(id) = self.kind { id } else { 0 };
        let packet = echo::request(self.family, Tag { id, sequence });
        let address = SockAddr::from(SocketAddr::new(ip, 0));
        let mut attempts = if self.kind == Kind::Ping { STALE_ERRORS } else { 0 };
        loop {
            match socket.send_to(&packet, &address) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(SendError::Send(error));
                }
                // A ping socket reports the ICMP error of an earlier packet to the next sender, and
                // forgets it.
                Err(_) if attempts > 0 => attempts -= 1,
                Err(error) => return Err(SendError::Send(error)),
            }
        }
    }

    /// Waits until there is something to read.
    ///
    /// # Cancel safety
    /// Nothing is read.
    pub(super) async fn ready(&self) -> io::Result<AsyncFdReadyGuard<'_, Socket>> {
        // ICMP errors make a ping socket erroneous, not readable.
        self.io.ready(Interest::READABLE | Interest::ERROR).await
    }

    /// Reads what is there, and calls `hear` for all that is about requests of this socket, with
    /// its sender's address.
    pub(super) fn read(&self, mut hear: impl FnMut(IpAddr, Heard)) -> io::Result<Backlog> {
        let mut buffer = [0; PACKET];
        for _ in 0..BATCH {
            let (length, from) = match self.receive(&mut buffer) {
                Ok(received) => received,
                Err(Errno::EAGAIN) => return self.read_errors(&mut buffer, hear),
                Err(Errno::EINTR) => continue,
                // The error of an earlier packet, which its entry in the error queue explains.
                Err(_) if self.kind == Kind::Ping => continue,
                Err(error) => return Err(error.into()),
            };
            if let Some(heard) = self.parse(&buffer[..length]) {
                hear(from, heard);
            }
        }
        Ok(Backlog::More)
    }

    fn receive(&self, buffer: &mut [u8]) -> Result<(usize, IpAddr), Errno> {
        let (length, from) = recvfrom::<SockaddrStorage>(self.io.get_ref().as_raw_fd(), buffer)?;
        // Packets of these families always have a sender.
        Ok((length, from.as_ref().and_then(ip_of).ok_or(Errno::EAFNOSUPPORT)?))
    }

    fn parse(&self, packet: &[u8]) -> Option<Heard> {
        match (self.kind, self.family) {
            (Kind::Ping, _) => echo::parse(self.family, packet),
            (Kind::Raw(id), family) => {
                let packet = if family == Family::V4 { echo::strip_ipv4_header(packet)? } else { packet };
                let heard = echo::parse(family, packet)?;
                let (Heard::Reply(tag) | Heard::Error { tag, .. }) = heard;
                (tag.id == id).then_some(heard)
            }
        }
    }

    fn read_errors(&self, buffer: &mut [u8], mut hear: impl FnMut(IpAddr, Heard)) -> io::Result<Backlog> {
        if self.kind != Kind::Ping {
            return Ok(Backlog::Drained);
        }
        for _ in 0..BATCH {
            let mut control = nix::cmsg_space!(libc::sock_extended_err, libc::sockaddr_in6);
            let mut slices = [IoSliceMut::new(buffer)];
            let message = recvmsg::<SockaddrStorage>(
                self.io.get_ref().as_raw_fd(),
                &mut slices,
                Some(&mut control),
                MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT,
            );
            let message = match message {
                Ok(message) => message,
                Err(Errno::EAGAIN) => return Ok(Backlog::Drained),
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let reason = message.cmsgs()?.find_map(|control| self.reason(&control));
            let (length, destination) = (message.bytes, message.address.as_ref().and_then(ip_of));
            let tag = echo::quoted_tag(self.family, &buffer[..length]);
            if let (Some(reason), Some(destination), Some(tag)) = (reason, destination, tag) {
                hear(destination, Heard::Error { tag, destination, reason });
            }
        }
        Ok(Backlog::More)
    }

    fn reason(&self, control: &ControlMessageOwned) -> Option<Unreachable> {
        let error = match control {
            ControlMessageOwned::Ipv4RecvErr(error, _) if error.ee_origin == libc::SO_EE_ORIGIN_ICMP => error,
            ControlMessageOwned::Ipv6RecvErr(error, _) if error.ee_origin == libc::SO_EE_ORIGIN_ICMP6 => {
                error
            }
            _ => return None,
        };
        echo::reason(self.family, error.ee_type, error.ee_code)
    }
}

fn new_socket(family: Family, kind: Type) -> io::Result<Socket> {
    let (domain, protocol) = match family {
        Family::V4 => (Domain::IPV4, Protocol::ICMPV4),
        Family::V6 => (Domain::IPV6, Protocol::ICMPV6),
    };
    Socket::new(domain, kind.nonblocking().cloexec(), Some(protocol))
}
