//! ICMP packets.

use hc_checkers::fuzzing::icmp::echo::{
    Family, Heard, LENGTH, Tag, checksum, parse, request, strip_ipv4_header,
};

use crate::input::Input;

/// Any packet: of IPv4 only one with a good checksum means anything, a request that comes back as a
/// reply gives its tag, and an IP header is taken off or the packet refused.
pub fn icmp(data: &[u8]) {
    if parse(Family::V4, data).is_some() {
        assert_eq!(checksum(data), 0);
    }
    let _ = parse(Family::V6, data);
    if let Some(rest) = strip_ipv4_header(data) {
        assert!((20..=60).contains(&(data.len() - rest.len())));
    }
    // What a fuzzer cannot guess is put right: the checksum.
    let mut summed = data.to_vec();
    if let Some(field) = summed.get_mut(2..4) {
        field.fill(0);
        let sum = checksum(&summed);
        summed[2..4].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(checksum(&summed), 0);
        if let Some(Heard::Reply(tag)) = parse(Family::V4, &summed) {
            assert_eq!((summed[0], tag.id.to_be_bytes()), (0, [summed[4], summed[5]]));
        }
    }
    let mut input = Input::new(data);
    let tag = Tag { id: input.u16(), sequence: input.u16() };
    for (family, reply) in [(Family::V4, 0), (Family::V6, 129)] {
        let mut packet: [u8; LENGTH] = request(family, tag);
        assert_eq!(parse(family, &packet), None, "our own request");
        packet[0] = reply;
        packet[2..4].fill(0);
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(parse(family, &packet), Some(Heard::Reply(tag)));
    }
}
