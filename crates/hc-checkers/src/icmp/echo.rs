//! Echo requests and what comes back for them, as bytes (RFC 792, RFC 4443).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hc_types::Unreachable;

/// Bytes of a request with its header, as many as Seesaw sends (`healthcheck/ping.go`).
pub const LENGTH: usize = 64;

const HEADER: usize = 8;
const TEXT: &[u8] = b"hc-server health check, see who asks for it at your load balancer";

/// The address family, which decides the numbers of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// ICMP.
    V4,
    /// ICMPv6.
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// What names a request among all that are in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag {
    /// Identifier.
    pub id: u16,
    /// Sequence number.
    pub sequence: u16,
}

/// An echo request of [`LENGTH`] bytes. The checksum is that of IPv4; for ICMPv6 the kernel writes
/// it.
#[must_use]
pub fn request(family: Family, tag: Tag) -> [u8; LENGTH] {
    let mut packet = [0; LENGTH];
    packet[0] = if family == Family::V4 { 8 } else { 128 };
    packet[4..6].copy_from_slice(&tag.id.to_be_bytes());
    packet[6..8].copy_from_slice(&tag.sequence.to_be_bytes());
    packet[HEADER..].copy_from_slice(&TEXT[..LENGTH - HEADER]);
    if family == Family::V4 {
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// The Internet checksum (RFC 1071): 0 over a packet whose checksum is right.
#[must_use]
pub fn checksum(packet: &[u8]) -> u16 {
    !folded(sum(packet))
}

/// The sum of the 16-bit words of some bytes.
pub(crate) fn sum(bytes: &[u8]) -> u64 {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let sum: u64 = pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum();
    sum + odd.first().map_or(0, |byte| u64::from(*byte) << 8)
}

/// A sum in ones' complement arithmetic.
pub(crate) fn folded(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

/// A packet that is about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The answer.
    Reply(Tag),
    /// An ICMP error that quotes the request.
    Error {
        /// The request that could not be delivered.
        tag: Tag,
        /// Where it was to go.
        destination: IpAddr,
        /// Why it did not get there.
        reason: Unreachable,
    },
}

/// Reads an ICMP message, its IP header already taken off. `None` for whatever is about no echo
/// request.
///
/// The checksum of IPv4 is verified, over exactly the bytes given, since a raw socket gets packets
/// before the kernel looks at it; that of ICMPv6 the kernel has verified.
#[must_use]
pub fn parse(family: Family, packet: &[u8]) -> Option<Heard> {
    if family == Family::V4 && checksum(packet) != 0 {
        return None;
    }
    let (&[kind, code, ..], rest) = packet.split_first_chunk::<HEADER>()?;
    match (family, kind) {
        (Family::V4, 0) | (Family::V6, 129) => tag(packet).map(Heard::Reply),
        _ => {
            let reason = reason(family, kind, code)?;
            let (destination, quoted) = match family {
                Family::V4 => quoted_v4(rest)?,
                Family::V6 => quoted_v6(rest)?,
            };
            Some(Heard::Error { tag: quoted_tag(family, quoted)?, destination, reason })
        }
    }
}

/// What an ICMP error says about the destination of the packet that it quotes. `None` for messages
/// that are no such error: redirects, packet too big.
#[must_use]
pub fn reason(family: Family, kind: u8, code: u8) -> Option<Unreachable> {
    Some(match (family, kind, code) {
        // Codes of RFC 792, RFC 1122 section 3.2.2.1 and RFC 1812 section 5.2.7.1; 4 is
        // "fragmentation needed".
        (Family::V4, 3, 4) => return None,
        (Family::V4, 3, 0 | 6 | 11) => Unreachable::Network,
        (Family::V4, 3, 1 | 5 | 7 | 8 | 12 | 14 | 15) => Unreachable::Host,
        (Family::V4, 3 | 12, _) => Unreachable::Protocol,
        // Codes of RFC 4443 section 3.1; 5 and 6 are source address policy and reject route.
        (Family::V6, 1, 0 | 2) => Unreachable::Network,
        (Family::V6, 1, 3) => Unreachable::Host,
        (Family::V6, 1 | 4, _) => Unreachable::Protocol,
        // Time exceeded: a routing loop, or too many hops.
        (Family::V4, 11, _) | (Family::V6, 3, _) => Unreachable::Host,
        _ => return None,
    })
}

/// Takes the IPv4 header off a packet of a raw socket.
#[must_use]
pub fn strip_ipv4_header(packet: &[u8]) -> Option<&[u8]> {
    let length = usize::from(packet.first()? & 0xf) * 4;
    packet.get(length..).filter(|_| length >= 20)
}

/// The tag of the echo request that an error quotes, from the request's own header on.
#[must_use]
pub fn quoted_tag(family: Family, quoted: &[u8]) -> Option<Tag> {
    let request = if family == Family::V4 { 8 } else { 128 };
    quoted.first().filter(|kind| **kind == request)?;
    tag(quoted)
}

fn tag(packet: &[u8]) -> Option<Tag> {
    let &[_, _, _, _, id_high, id_low, sequence_high, sequence_low] = packet.first_chunk::<HEADER>()?;
    Some(Tag {
        id: u16::from_be_bytes([id_high, id_low]),
        sequence: u16::from_be_bytes([sequence_high, sequence_low]),
    })
}

const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_ICMPV6: u8 = 58;

fn quoted_v4(quoted: &[u8]) -> Option<(IpAddr, &[u8])> {
    let header = quoted.first_chunk::<20>().filter(|header| header[9] == PROTOCOL_ICMP)?;
    let destination = header.last_chunk::<4>().copied().map(Ipv4Addr::from)?;
    Some((destination.into(), strip_ipv4_header(quoted)?))
}

/// Our requests have no extension headers, so the message follows the fixed header.
fn quoted_v6(quoted: &[u8]) -> Option<(IpAddr, &[u8])> {
    let (header, message) = quoted.split_first_chunk::<40>()?;
    let destination = header.last_chunk::<16>().copied().map(Ipv6Addr::from)?;
    (header[6] == PROTOCOL_ICMPV6).then_some((destination.into(), message))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TAG: Tag = Tag { id: 0x1234, sequence: 0xfffe };

    fn summed(mut packet: Vec<u8>) -> Vec<u8> {
        packet[2..4].fill(0);
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    /// The answer of a host: the same bytes under another type.
    fn reply(family: Family) -> Vec<u8> {
        let mut packet = request(family, TAG).to_vec();
        packet[0] = if family == Family::V4 { 0 } else { 129 };
        summed(packet)
    }

    /// An error of a router about a request to 192.0.2.9 or 2001:db8::9.
    fn error(family: Family, kind: u8, code: u8) -> Vec<u8> {
        let mut packet = vec![kind, code, 0, 0, 0, 0, 0, 0];
        match family {
            Family::V4 => {
                packet
                    .extend_from_slice(&[0x46, 0, 0, 88, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 1, 192, 0, 2, 9]);
                packet.extend_from_slice(&[1; 4]);
            }
            Family::V6 => {
                packet.extend_from_slice(&[0x60, 0, 0, 0, 0, 64, 58, 64]);
                packet.extend_from_slice(&[0; 16]);
                packet.extend_from_slice(&"2001:db8::9".parse::<Ipv6Addr>().unwrap().octets());
            }
        }
        packet.extend_from_slice(&request(family, TAG));
        summed(packet)
    }

    #[track_caller]
    fn heard(family: Family, kind: u8, code: u8, expected: Option<Unreachable>) {
        let to = if family == Family::V4 { "192.0.2.9" } else { "2001:db8::9" };
        let expected =
            expected.map(|reason| Heard::Error { tag: TAG, destination: to.parse().unwrap(), reason });
        assert_eq!(parse(family, &error(family, kind, code)), expected);
    }

    #[test]
    fn replies_give_back_the_tag() {
        for family in [Family::V4, Family::V6] {
            assert_eq!(parse(family, &reply(family)), Some(Heard::Reply(TAG)));
            assert_eq!(parse(family, &request(family, TAG)), None, "our own request");
            assert_eq!(parse(family, &reply(family)[..7]), None);
        }
        assert_eq!(parse(Family::V6, &reply(Family::V4)), None);
        assert_eq!(parse(Family::V4, &reply(Family::V6)), None);
    }

    #[test]
    fn errors_are_named() {
        use Unreachable::{Host, Network, Protocol};
        heard(Family::V4, 3, 0, Some(Network));
        heard(Family::V4, 3, 1, Some(Host));
        heard(Family::V4, 3, 2, Some(Protocol));
        heard(Family::V4, 3, 13, Some(Protocol));
        heard(Family::V4, 3, 4, None);
        heard(Family::V4, 5, 0, None);
        heard(Family::V4, 11, 0, Some(Host));
        heard(Family::V6, 1, 0, Some(Network));
        heard(Family::V6, 1, 1, Some(Protocol));
        heard(Family::V6, 1, 3, Some(Host));
        heard(Family::V6, 2, 0, None);
        heard(Family::V6, 3, 0, Some(Host));
    }

    #[test]
    fn errors_about_other_packets_are_none() {
        let mut udp = error(Family::V4, 3, 1);
        udp[8 + 9] = 17;
        assert_eq!(parse(Family::V4, &summed(udp)), None);
        let mut udp = error(Family::V6, 1, 3);
        udp[8 + 6] = 17;
        assert_eq!(parse(Family::V6, &udp), None);
        assert_eq!(quoted_tag(Family::V4, &reply(Family::V4)), None, "a reply of ours was undeliverable");
    }

    #[test]
    fn the_checksum_is_that_of_rfc_1071() {
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(checksum(&[]), 0xffff);
        assert_eq!(checksum(&[0xab]), !0xab00);
        assert_eq!(checksum(&request(Family::V4, TAG)), 0);
    }

    #[test]
    fn ip_headers_are_taken_off() {
        let packet = error(Family::V4, 3, 1);
        assert_eq!(strip_ipv4_header(&packet[8..]).unwrap(), request(Family::V4, TAG));
        assert_eq!(strip_ipv4_header(&[0x44; 40]), None, "a header of 16 bytes");
        assert_eq!(strip_ipv4_header(&[0x4f; 40]), None, "shorter than its header");
        assert_eq!(strip_ipv4_header(&[]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(packet in prop::collection::vec(any::<u8>(), 0..200), kind in 0..130_u8) {
            for family in [Family::V4, Family::V6] {
                let _ = parse(family, &packet);
                let mut packet = packet.clone();
                if packet.len() > 4 {
                    packet[0] = kind;
                    let _ = parse(family, &summed(packet));
                }
            }
        }

        #[test]
        fn any_byte_that_changes_is_noticed(at in 0..LENGTH, change in 1..=u8::MAX) {
            let mut packet = reply(Family::V4);
            packet[at] ^= change;
            prop_assert_eq!(parse(Family::V4, &packet), None);
        }
    }
}
