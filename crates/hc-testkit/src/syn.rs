//! A TCP port whose kernel keeps silent, and a host that answers SYNs to it as a script says.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::thread::{self, JoinHandle};

use nix::sys::socket::{MsgFlags, SockaddrStorage, recvfrom, sendto};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

/// Bytes of a TCP header without options.
const HEADER: usize = 20;
const RST: u8 = 0x04;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// A port on which nothing is answered, refused or accepted: its listener throws away all that
/// comes.
#[derive(Debug)]
pub struct SilentPort {
    address: SocketAddr,
    _listener: Socket,
}

impl SilentPort {
    /// Takes a free port of `ip`.
    ///
    /// # Errors
    /// When there is none.
    pub fn start(ip: IpAddr) -> io::Result<Self> {
        let listener = Socket::new(Domain::for_address(SocketAddr::new(ip, 0)), Type::STREAM, None)?;
        // One instruction: return 0, which takes none of the packet.
        listener.attach_filter(&[SockFilter::new(0x06, 0, 0, 0)])?;
        listener.bind(&SocketAddr::new(ip, 0).into())?;
        listener.listen(1)?;
        let address = listener.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { address, _listener: listener })
    }

    /// Where nobody answers.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A SYN or a RST as it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// Who sent it.
    pub from: SocketAddr,
    /// Its sequence number.
    pub sequence: u32,
    /// Of a SYN: false.
    pub is_reset: bool,
}

impl Received {
    /// A SYN with the right ACK.
    #[must_use]
    pub fn accept(&self) -> Reply {
        Reply {
            flags: SYN | ACK,
            acknowledged: self.sequence.wrapping_add(1),
            port: None,
            to_port: self.from.port(),
            from: None,
            wrong_checksum: false,
        }
    }

    /// A RST with the right ACK.
    #[must_use]
    pub fn refuse(&self) -> Reply {
        Reply { flags: RST | ACK, ..self.accept() }
    }
}

/// An answer in the making.
#[derive(Clone, Debug)]
pub struct Reply {
    flags: u8,
    acknowledged: u32,
    port: Option<u16>,
    to_port: u16,
    from: Option<IpAddr>,
    wrong_checksum: bool,
}

impl Reply {
    /// Acknowledges another number, this much above the right one.
    #[must_use]
    pub fn off_by(mut self, difference: u32) -> Self {
        self.acknowledged = self.acknowledged.wrapping_add(difference);
        self
    }

    /// Other flags: `F`, `S`, `R`, `P`, `A`.
    #[must_use]
    pub fn flags(mut self, flags: &str) -> Self {
        let bit = |flag| "FSRPA".find(flag).map_or(0, |at| 1 << at);
        self.flags = flags.chars().map(bit).sum();
        self
    }

    /// From another port.
    #[must_use]
    pub fn from_port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// To another port.
    #[must_use]
    pub fn to_port(mut self, port: u16) -> Self {
        self.to_port = port;
        self
    }

    /// From another address of the host.
    #[must_use]
    pub fn from(mut self, ip: IpAddr) -> Self {
        self.from = Some(ip);
        self
    }

    /// A checksum that is wrong.
    #[must_use]
    pub fn wrong_checksum(mut self) -> Self {
        self.wrong_checksum = true;
        self
    }

    fn send(&self, host: SocketAddr, to: IpAddr) -> io::Result<()> {
        let from = self.from.unwrap_or(host.ip());
        let mut segment = [0; HEADER];
        segment[0..2].copy_from_slice(&self.port.unwrap_or(host.port()).to_be_bytes());
        segment[2..4].copy_from_slice(&self.to_port.to_be_bytes());
        segment[8..12].copy_from_slice(&self.acknowledged.to_be_bytes());
        segment[12] = 5 << 4;
        segment[13] = self.flags;
        let mut sum = checksum(from, to, &segment);
        if self.wrong_checksum {
            sum ^= 0x0101;
        }
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        let socket = raw_socket(host.ip())?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        let to = SockaddrStorage::from(SocketAddr::new(to, 0));
        sendto(socket.as_raw_fd(), &segment, &to, MsgFlags::empty())?;
        Ok(())
    }
}

/// Answers the SYNs that come to one port. Ends with the process, or when its script says so.
#[derive(Debug)]
pub struct SynServer {
    address: SocketAddr,
    thread: JoinHandle<io::Result<()>>,
}

impl SynServer {
    /// Answers each SYN and each RST that comes to a free port of `ip`, an address of this machine,
    /// with what the script makes of it, until the script gives `None`. Needs root.
    ///
    /// # Errors
    /// When the raw socket cannot be opened.
    pub fn start<F>(ip: IpAddr, mut script: F) -> io::Result<Self>
    where
        F: FnMut(&Received) -> Option<Vec<Reply>> + Send + 'static,
    {
        let port = SilentPort::start(ip)?;
        let address = port.address();
        let socket = raw_socket(ip)?;
        socket.bind(&SocketAddr::new(ip, 0).into())?;
        let thread = thread::spawn(move || {
            let _port = port;
            let mut buffer = [0; 2048];
            loop {
                let (length, from) = recvfrom::<SockaddrStorage>(socket.as_raw_fd(), &mut buffer)?;
                let Some(from) = from.as_ref().and_then(ip_of) else { continue };
                // Raw IPv4 sockets are given the IP header, too.
                let header = if ip.is_ipv4() { usize::from(buffer[0] & 0xf) * 4 } else { 0 };
                let Some(segment) = buffer[header..length].first_chunk::<HEADER>() else { continue };
                let [ours, theirs] = [2, 0].map(|at| u16::from_be_bytes([segment[at], segment[at + 1]]));
                let is_reset = segment[13] & RST != 0;
                if ours != address.port() || !(is_reset || segment[13] & (SYN | ACK) == SYN) {
                    continue;
                }
                let sequence = u32::from_be_bytes([segment[4], segment[5], segment[6], segment[7]]);
                let received = Received { from: SocketAddr::new(from, theirs), sequence, is_reset };
                let Some(replies) = script(&received) else { return Ok(()) };
                for reply in replies {
                    reply.send(address, from)?;
                }
            }
        });
        Ok(Self { address, thread })
    }

    /// Where it answers.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
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
    Socket::new(Domain::for_address(SocketAddr::new(family, 0)), Type::RAW, Some(Protocol::TCP))
}

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

/// The checksum of a segment (RFC 9293 section 3.1), word by word.
fn checksum(from: IpAddr, to: IpAddr, segment: &[u8; HEADER]) -> u16 {
    let octets = |ip| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let all = [&octets(from)[..], &octets(to), &[0, 6, 0, 20], segment].concat();
    let mut sum = 0_u16;
    for pair in all.chunks(2) {
        let (added, carry) = sum.overflowing_add(u16::from_be_bytes([pair[0], pair[1]]));
        sum = added + u16::from(carry);
    }
    !sum
}
