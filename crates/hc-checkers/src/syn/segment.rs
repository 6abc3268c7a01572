//! SYNs and what comes back for them, as bytes (RFC 9293, RFC 791, RFC 8200).

use std::net::{IpAddr, SocketAddr};

use crate::icmp::echo::{folded, sum};

pub use crate::icmp::echo::strip_ipv4_header;

/// Bytes of a TCP header without options.
const HEADER: usize = 20;
/// Bytes of the TCP header of our SYN: with the option of the segment size.
const SYN_HEADER: usize = HEADER + 4;
const SYN_LENGTH: u8 = 24;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;

/// The longest SYN, in bytes: that of IPv6.
pub const LONGEST_SYN: usize = IPV6_HEADER + SYN_HEADER;

const PROTOCOL_TCP: u8 = 6;

const RST: u8 = 0x04;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// The window that a SYN offers, in bytes. No data ever comes.
const WINDOW: u16 = 64_240;
/// Hops of a packet (RFC 1700); the kernel's own packets have as many unless it is told otherwise.
const HOPS: u8 = 64;

/// What names a connection attempt: both ends, and the number that its SYN has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syn {
    /// Where it comes from.
    pub from: SocketAddr,
    /// Where it goes to, of the same family.
    pub to: SocketAddr,
    /// Its sequence number.
    pub sequence: u32,
}

impl Syn {
    /// The packet with its IP header, in the first bytes of an array, and its length. The kernel
    /// writes the length and the checksum of an IPv4 header (raw(7), `IP_HDRINCL`).
    #[must_use]
    pub fn packet(&self) -> ([u8; LONGEST_SYN], usize) {
        let mut packet = [0; LONGEST_SYN];
        let header = match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                packet[0] = 0x45;
                // Not to be fragmented: it is shorter than any path is narrow, and such a packet
                // needs no identification (RFC 6864).
                packet[6] = 0x40;
                packet[8] = HOPS;
                packet[9] = PROTOCOL_TCP;
                packet[12..16].copy_from_slice(&from.octets());
                packet[16..20].copy_from_slice(&to.octets());
                IPV4_HEADER
            }
            (from, to) => {
                packet[0] = 0x60;
                packet[5] = SYN_LENGTH;
                packet[6] = PROTOCOL_TCP;
                packet[7] = HOPS;
                packet[8..24].copy_from_slice(&sixteen(from));
                packet[24..40].copy_from_slice(&sixteen(to));
                IPV6_HEADER
            }
        };
        let length = header + SYN_HEADER;
        let tcp = &mut packet[header..length];
        tcp[0..2].copy_from_slice(&self.from.port().to_be_bytes());
        tcp[2..4].copy_from_slice(&self.to.port().to_be_bytes());
        tcp[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        tcp[12] = (SYN_LENGTH / 4) << 4;
        tcp[13] = SYN;
        tcp[14..16].copy_from_slice(&WINDOW.to_be_bytes());
        // The maximum segment size (RFC 9293 section 3.7.1): that of an Ethernet.
        let segment_size: u16 = if self.to.is_ipv4() { 1460 } else { 1440 };
        tcp[20..22].copy_from_slice(&[2, 4]);
        tcp[22..24].copy_from_slice(&segment_size.to_be_bytes());
        let sum = !folded(sum(tcp) + pseudo_header(self.from.ip(), self.to.ip(), SYN_HEADER));
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        (packet, length)
    }

    /// Whether an answer acknowledges this SYN and nothing else, comes from where the SYN went to,
    /// and is intact. Anything else is no answer to it (RFC 9293 section 3.10.7.3): it is late, of
    /// somebody else, or forged by somebody who has not seen the SYN (RFC 5961).
    #[must_use]
    pub fn is_answered_by(&self, answer: &Answer, segment: &[u8]) -> bool {
        answer.acknowledged == self.sequence.wrapping_add(1)
            && answer.source_port == self.to.port()
            && answer.destination_port == self.from.port()
            && is_intact(segment, self.to.ip(), self.from.ip())
    }
}

/// A segment that may answer a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who sent it.
    pub source_port: u16,
    /// Whom it is for.
    pub destination_port: u16,
    /// The number that it acknowledges: one above that of the SYN.
    pub acknowledged: u32,
    /// A RST: the connection is refused. Otherwise a SYN with ACK.
    pub is_reset: bool,
}

/// Reads a TCP segment without its IP header. `None` unless it is a RST or a SYN, with an ACK: one
/// without acknowledges nothing, so it proves nothing (RFC 9293 section 3.10.7.3).
#[must_use]
pub fn parse(segment: &[u8]) -> Option<Answer> {
    let header = segment.first_chunk::<HEADER>()?;
    let length = usize::from(header[12] >> 4) * 4;
    let flags = header[13];
    let is_reset = flags & RST != 0;
    if !(HEADER..=segment.len()).contains(&length) || flags & ACK == 0 || !(is_reset || flags & SYN != 0) {
        return None;
    }
    let [source_port, destination_port] = ports(header)?;
    Some(Answer { source_port, destination_port, acknowledged: number(&header[8..])?, is_reset })
}

/// The SYN that an ICMP error quotes, with its IP header. `None` if it quotes something else, or
/// less than the eight bytes that name it (RFC 792, RFC 4443).
#[must_use]
pub fn quoted(packet: &[u8]) -> Option<Syn> {
    let (from, to, tcp) = match packet.first()? >> 4 {
        4 => {
            let header = packet.first_chunk::<IPV4_HEADER>().filter(|header| header[9] == PROTOCOL_TCP)?;
            let [from, to] = [12, 16].map(|at| header[at..].first_chunk::<4>().copied().map(IpAddr::from));
            (from?, to?, strip_ipv4_header(packet)?)
        }
        6 => {
            // Our SYNs have no extension headers.
            let (header, tcp) = packet.split_first_chunk::<IPV6_HEADER>()?;
            let [from, to] = [8, 24].map(|at| header[at..].first_chunk::<16>().copied().map(IpAddr::from));
            (from?, to?, (header[6] == PROTOCOL_TCP).then_some(tcp)?)
        }
        _ => return None,
    };
    let [source_port, destination_port] = ports(tcp)?;
    Some(Syn {
        from: SocketAddr::new(from, source_port),
        to: SocketAddr::new(to, destination_port),
        sequence: number(tcp.get(4..)?)?,
    })
}

fn ports(tcp: &[u8]) -> Option<[u16; 2]> {
    let &[a, b, c, d] = tcp.first_chunk()?;
    Some([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])])
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().copied().map(u32::from_be_bytes)
}

fn sixteen(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// Whether the checksum of a segment is right, or still the sum of the pseudo header alone: so it
/// stays where no wire was on its way, since the network card would have completed it (checksum
/// offload). A raw socket gets packets before the kernel looks at that.
fn is_intact(segment: &[u8], from: IpAddr, to: IpAddr) -> bool {
    let pseudo = pseudo_header(from, to, segment.len());
    let stored = segment.get(16..18).and_then(|bytes| bytes.first_chunk().copied());
    folded(sum(segment) + pseudo) == u16::MAX || stored.map(u16::from_be_bytes) == Some(folded(pseudo))
}

/// The sum over the pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1).
fn pseudo_header(from: IpAddr, to: IpAddr, length: usize) -> u64 {
    let addresses = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => sum(&from.octets()) + sum(&to.octets()),
        (from, to) => sum(&sixteen(from)) + sum(&sixteen(to)),
    };
    addresses + u64::from(PROTOCOL_TCP) + length as u64
}

#[cfg(test)]
mod tests;
