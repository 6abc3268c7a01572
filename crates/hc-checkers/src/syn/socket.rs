//! The one raw socket of a family.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;

use hc_types::{LocalFault, Target};
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, recvmsg, setsockopt, sockopt,
};
use rustix::net::addr::SocketAddrArg as _;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

use super::filter;
use super::ports::Ports;
use super::segment::{self, Answer, Syn};
use crate::bpf::REJECT;
use crate::fault::{self, ProbeError};
use crate::icmp::echo::Family;
use crate::mux::{Backlog, ip_of};

/// Room for some thousand answers between two turns of the loop, in bytes as the kernel counts
/// them.
const BUFFER: usize = 4 * 1024 * 1024;

/// Room for a header of IPv4 and one of TCP with all their options, and some text in a RST (RFC
/// 9293 section 3.5.2).
const PACKET: usize = 256;

/// Segments that one system call sends or takes. As many leave before answers are read, so that
/// those of a burst do not overflow the socket's buffer.
pub(super) const BATCH: usize = 64;

/// Batches that are read in one go, before other tasks get their turn.
const BATCHES: usize = 4;

/// How often a send is tried again that failed with an error of an earlier packet.
const STALE_ERRORS: usize = 4;

/// What came.
pub(super) enum Heard<'a> {
    /// A segment from this address. IPv6 does not say to which.
    Segment { from: IpAddr, answer: Answer, segment: &'a [u8] },
    /// An ICMP error about this SYN, as the error number that `connect` would give.
    Error { syn: Syn, errno: i32 },
}

/// Sends SYNs to any address and reads what comes back for them.
#[derive(Debug)]
pub(super) struct SynSocket {
    io: AsyncFd<Socket>,
    pub(super) ports: Ports,
    /// Asks which source address a route has.
    router: Socket,
    family: Family,
    source: Option<IpAddr>,
    /// There may be something in the error queue: the kernel tells of it by failing a send or a
    /// read once.
    has_errors: Cell<bool>,
    room: RefCell<Room>,
}

/// Room for a batch that is read.
struct Room {
    headers: MultiHeaders<SockaddrStorage>,
    packets: Box<[[u8; PACKET]; BATCH]>,
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").finish_non_exhaustive()
    }
}

impl SynSocket {
    /// Opens the socket for targets of this family that go the way of this one.
    pub(super) fn open(family: Family, target: &Target) -> Result<Self, ProbeError> {
        let opening = |error| fault::opening(&error, family == Family::V4);
        // First, so that the lack of the privilege is seen before anything else is.
        let socket = new_socket(family).map_err(opening)?;
        let ports = Ports::reserve(family, target)?;
        socket.attach_filter(&filter::program(family, ports.numbers())).map_err(opening)?;
        let router = new_socket(family).map_err(opening)?;
        router.attach_filter(&[REJECT]).map_err(opening)?;
        match family {
            Family::V4 => {
                socket.set_header_included_v4(true).map_err(opening)?;
                setsockopt(&socket, sockopt::Ipv4RecvErr, &true)
            }
            Family::V6 => {
                socket.set_header_included_v6(true).map_err(opening)?;
                setsockopt(&socket, sockopt::Ipv6RecvErr, &true)
            }
        }
        .map_err(|error| opening(error.into()))?;
        // Beyond the host's limit where we may, up to it where we may not.
        if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
            socket.set_recv_buffer_size(BUFFER).map_err(opening)?;
        }
        if setsockopt(&socket, sockopt::SndBufForce, &BUFFER).is_err() {
            socket.set_send_buffer_size(BUFFER).map_err(opening)?;
        }
        if target.way().is_some() {
            crate::socket::bind(&socket, target)?;
            crate::socket::bind(&router, target)?;
        }
        #[allow(deprecated, reason = "its successor is unsafe, and a Socket owns its descriptor to the end")]
        let io = AsyncFd::with_interest(socket, Interest::READABLE | Interest::ERROR)
            .map_err(|error| fault::before_sending(&error))?;
        let headers = MultiHeaders::preallocate(BATCH, None);
        let room = RefCell::new(Room { headers, packets: Box::new([[0; PACKET]; BATCH]) });
        Ok(Self { io, ports, router, family, source: target.source(), has_errors: Cell::new(false), room })
    }

    /// The address that a packet to this one would come from. Sends nothing: `connect` of a raw
    /// socket only looks the route up.
    pub(super) fn source_of(&self, to: IpAddr) -> Result<IpAddr, ProbeError> {
        if let Some(source) = self.source {
            return Ok(source);
        }
        let connected = self.router.connect(&SocketAddr::new(to, 0).into());
        let from = connected.and_then(|()| self.router.local_addr());
        // The next lookup would keep the source address of this one.
        let dissolved = rustix::net::connect_unspec(&self.router);
        let from = from.map_err(|error| fault::connecting(&error, to))?;
        dissolved.map_err(|error| fault::before_sending(&error.into()))?;
        let from = from.as_socket().map(|from| from.ip());
        // The kernel sends from 0.0.0.0 rather than not at all, and no peer can answer that.
        Ok(from.filter(|from| !from.is_unspecified()).ok_or(LocalFault::NoAddress)?)
    }

    /// Sends SYNs in one system call. Does not wait: a full queue is an error. How many left, and
    /// why the one behind them did not.
    pub(super) fn send(&self, syns: &[Syn]) -> (usize, Option<io::Error>) {
        let packets: Vec<_> = syns.iter().map(Syn::packet).collect();
        let slices: Vec<_> =
            packets.iter().map(|(packet, length)| [IoSlice::new(&packet[..*length])]).collect();
        // The port stands for the protocol here.
        let addresses: Vec<_> = syns.iter().map(|syn| SocketAddr::new(syn.to.ip(), 0).as_any()).collect();
        let mut controls: Vec<_> = syns.iter().map(|_| SendAncillaryBuffer::default()).collect();
        let messages = addresses.iter().zip(&slices).zip(&mut controls);
        let mut messages: Vec<_> = messages
            .map(|((address, slices), control)| MMsgHdr::new_with_addr(address, slices, control))
            .collect();
        let (mut sent, mut attempts) = (0, STALE_ERRORS);
        while sent < messages.len() {
            match sendmmsg(self.io.get_ref(), &mut messages[sent..], SendFlags::DONTWAIT) {
                Ok(count) => {
                    sent += count;
                    // The call does not say why it stopped half-way.
                    self.has_errors.set(self.has_errors.get() || sent < messages.len());
                    attempts = STALE_ERRORS;
                }
                // The ICMP error of an earlier packet is reported to the next sender, and
                // forgotten.
                Err(error) if error != rustix::io::Errno::AGAIN && attempts > 0 => {
                    self.has_errors.set(true);
                    attempts -= 1;
                }
                Err(error) => return (sent, Some(error.into())),
            }
        }
        (sent, None)
    }

    /// Waits until there is something to read.
    ///
    /// # Cancel safety
    /// Nothing is read.
    pub(super) async fn ready(&self) -> io::Result<AsyncFdReadyGuard<'_, Socket>> {
        // ICMP errors make the socket erroneous, not readable.
        self.io.ready(Interest::READABLE | Interest::ERROR).await
    }

    /// Reads what is there, and calls `hear` for all that may answer a SYN.
    pub(super) fn read(&self, mut hear: impl FnMut(Heard<'_>)) -> io::Result<Backlog> {
        for _ in 0..BATCHES {
            match self.read_batch(&mut hear) {
                Ok(BATCH..) => {}
                Ok(_) | Err(Errno::EAGAIN) if self.has_errors.take() => return self.read_errors(hear),
                Ok(_) | Err(Errno::EAGAIN) => return Ok(Backlog::Drained),
                Err(Errno::EINTR) => {}
                // The error of an earlier packet, which its entry in the error queue explains.
                Err(error) if is_of_network(error) => self.has_errors.set(true),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Backlog::More)
    }

    fn read_batch(&self, hear: &mut impl FnMut(Heard<'_>)) -> Result<usize, Errno> {
        let Room { headers, packets } = &mut *self.room.borrow_mut();
        let mut slices: Vec<_> = packets.iter_mut().map(|packet| [IoSliceMut::new(packet)]).collect();
        let descriptor = self.io.get_ref().as_raw_fd();
        let messages = recvmmsg(descriptor, headers, &mut slices, MsgFlags::MSG_DONTWAIT, None)?;
        let mut count = 0;
        for message in messages {
            count += 1;
            let from = message.address.as_ref().and_then(ip_of);
            // What is cut off would be missing from its checksum.
            let is_whole = !message.flags.contains(MsgFlags::MSG_TRUNC);
            let Some((packet, from)) = message.iovs().next().zip(from).filter(|_| is_whole) else { continue };
            let segment = match self.family {
                Family::V4 => segment::strip_ipv4_header(packet),
                Family::V6 => Some(packet),
            };
            if let Some(segment) = segment
                && let Some(answer) = segment::parse(segment)
            {
                hear(Heard::Segment { from, answer, segment });
            }
        }
        Ok(count)
    }

    fn read_errors(&self, mut hear: impl FnMut(Heard<'_>)) -> io::Result<Backlog> {
        let mut buffer = [0; PACKET];
        for _ in 0..BATCH {
            let mut control = nix::cmsg_space!(libc::sock_extended_err, libc::sockaddr_in6);
            let mut slices = [IoSliceMut::new(&mut buffer)];
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
            let errno = message.cmsgs()?.find_map(|control| told(&control));
            let length = message.bytes;
            if let (Some(errno), Some(syn)) = (errno, segment::quoted(&buffer[..length])) {
                hear(Heard::Error { syn, errno });
            }
        }
        self.has_errors.set(true);
        Ok(Backlog::More)
    }
}

/// The error number of an ICMP error. `None` for what says nothing about the peer: that a packet
/// was too long, and what this host says itself.
fn told(control: &ControlMessageOwned) -> Option<i32> {
    let error = match control {
        ControlMessageOwned::Ipv4RecvErr(error, _) if error.ee_origin == libc::SO_EE_ORIGIN_ICMP => error,
        ControlMessageOwned::Ipv6RecvErr(error, _) if error.ee_origin == libc::SO_EE_ORIGIN_ICMP6 => error,
        _ => return None,
    };
    i32::try_from(error.ee_errno).ok().filter(|errno| *errno != libc::EMSGSIZE)
}

/// Whether an ICMP error gives this number.
fn is_of_network(error: Errno) -> bool {
    matches!(
        error,
        Errno::EHOSTUNREACH
            | Errno::ENETUNREACH
            | Errno::ECONNREFUSED
            | Errno::EHOSTDOWN
            | Errno::ENONET
            | Errno::EACCES
            | Errno::ENOPROTOOPT
            | Errno::EPROTO
            | Errno::EOPNOTSUPP
            | Errno::EMSGSIZE
    )
}

fn new_socket(family: Family) -> io::Result<Socket> {
    let domain = if family == Family::V4 { Domain::IPV4 } else { Domain::IPV6 };
    Socket::new(domain, Type::RAW.nonblocking().cloexec(), Some(Protocol::TCP))
}
