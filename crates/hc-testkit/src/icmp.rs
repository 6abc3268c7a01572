//! A host that answers pings as a script says. The kernel's own answers have to be switched off
//! first (`net.ipv4.icmp_echo_ignore_all`, `net.ipv6.icmp.echo_ignore_all`), so this is for a
//! network of a test's own; see [`in_own_network`](crate::network::in_own_network).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::thread::{self, JoinHandle};

use nix::sys::socket::{MsgFlags, SockaddrStorage, recvfrom, sendto};
use socket2::{Domain, Protocol, Socket, Type};

/// An echo request as it came.
#[derive(Clone, Debug)]
pub struct EchoRequest {
    /// Who sent it.
    pub from: IpAddr,
    /// From its type on, without IP header.
    pub packet: Vec<u8>,
}

impl EchoRequest {
    /// The right answer, its checksum included.
    #[must_use]
    pub fn reply(&self) -> EchoReply {
        let mut packet = self.packet.clone();
        packet[0] = if self.from.is_ipv4() { 0 } else { 129 };
        EchoReply { packet, from: None, wrong_checksum: false }
    }
}

/// An answer in the making.
#[derive(Clone, Debug)]
pub struct EchoReply {
    packet: Vec<u8>,
    from: Option<IpAddr>,
    wrong_checksum: bool,
}

impl EchoReply {
    /// Another identifier.
    #[must_use]
    pub fn wrong_id(mut self) -> Self {
        self.packet[5] ^= 1;
        self
    }

    /// Another sequence number.
    #[must_use]
    pub fn wrong_sequence(mut self) -> Self {
        self.packet[7] ^= 1;
        self
    }

    /// A checksum that is wrong. Only for IPv4: that of ICMPv6 the kernel writes.
    #[must_use]
    pub fn wrong_checksum(mut self) -> Self {
        self.wrong_checksum = true;
        self
    }

    /// Sent from another address of the host.
    #[must_use]
    pub fn from(mut self, ip: IpAddr) -> Self {
        self.from = Some(ip);
        self
    }

    /// More data than was asked for.
    #[must_use]
    pub fn longer(mut self, bytes: usize) -> Self {
        self.packet.extend(vec![0xa5; bytes]);
        self
    }

    fn send(mut self, host: IpAddr, to: IpAddr) -> io::Result<()> {
        self.packet[2..4].fill(0);
        if host.is_ipv4() {
            let mut sum = checksum(&self.packet);
            if self.wrong_checksum {
                sum ^= 0x0101;
            }
            self.packet[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        let socket = raw_socket(host)?;
        socket.bind(&SocketAddr::new(self.from.unwrap_or(host), 0).into())?;
        let to = SockaddrStorage::from(SocketAddr::new(to, 0));
        sendto(socket.as_raw_fd(), &self.packet, &to, MsgFlags::empty())?;
        Ok(())
    }
}

/// Answers the pings that one address gets. Ends with the process, or when its script says so.
#[derive(Debug)]
pub struct EchoServer {
    thread: JoinHandle<io::Result<()>>,
}

impl EchoServer {
    /// Answers each request to `host`, an address of this machine, with what the script makes of
    /// it, until the script gives `None`.
    ///
    /// # Errors
    /// When the raw socket cannot be opened.
    pub fn start<F>(host: IpAddr, mut script: F) -> io::Result<Self>
    where
        F: FnMut(&EchoRequest) -> Option<Vec<EchoReply>> + Send + 'static,
    {
        let socket = raw_socket(host)?;
        socket.bind(&SocketAddr::new(host, 0).into())?;
        let thread = thread::spawn(move || {
            let mut buffer = [0; 2048];
            loop {
                let (length, from) = recvfrom::<SockaddrStorage>(socket.as_raw_fd(), &mut buffer)?;
                let Some(from) = from.as_ref().and_then(ip_of) else { continue };
                // Raw IPv4 sockets are given the IP header, too.
                let header = if host.is_ipv4() { usize::from(buffer[0] & 0xf) * 4 } else { 0 };
                let packet = buffer[header..length].to_vec();
                if packet[0] != if host.is_ipv4() { 8 } else { 128 } {
                    continue;
                }
                let Some(replies) = script(&EchoRequest { from, packet }) else { return Ok(()) };
                for reply in replies {
                    reply.send(host, from)?;
                }
            }
        });
        Ok(Self { thread })
    }

    /// Waits until the script has ended it.
    ///
    /// # Errors
    /// Those of the raw socket.
    ///
    /// # Panics
    /// When the script did.
    pub fn join(self) -> io::Result<()> {
        self.thread.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause))
    }
}

fn raw_socket(family: IpAddr) -> io::Result<Socket> {
    if family.is_ipv4() {
        Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))
    } else {
        Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))
    }
}

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

/// RFC 1071, word by word.
fn checksum(packet: &[u8]) -> u16 {
    let mut sum = 0_u16;
    for pair in packet.chunks(2) {
        let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        let (added, carry) = sum.overflowing_add(word);
        sum = added + u16::from(carry);
    }
    !sum
}
