//! Segments that may answer a SYN.

use std::net::{IpAddr, SocketAddr};

use hc_checkers::fuzzing::icmp::echo::checksum;
use hc_checkers::fuzzing::syn::segment::{Syn, parse, quoted};

use crate::input::Input;

/// Any segment: what is read of it stands in it, no wrong checksum or number counts as an answer to
/// a SYN, and with both put right it does. What an error quotes of our own SYN names that one.
pub fn syn(data: &[u8]) {
    let mut input = Input::new(data);
    let v6 = input.flag();
    let (here, there): (IpAddr, IpAddr) = if v6 {
        (input.array::<16>().into(), input.array::<16>().into())
    } else {
        (input.array::<4>().into(), input.array::<4>().into())
    };
    let sequence = u32::from_be_bytes(input.array());
    let mut segment = input.rest().to_vec();
    let _ = quoted(&segment);

    let Some(answer) = parse(&segment) else { return };
    assert!(segment.len() >= 20 && segment[13] & 0x10 != 0 && segment[13] & 0x06 != 0);
    assert_eq!(answer.is_reset, segment[13] & 0x04 != 0);
    let (from, to) =
        (SocketAddr::new(here, answer.destination_port), SocketAddr::new(there, answer.source_port));
    let syn = Syn { from, to, sequence };
    let (packet, length) = syn.packet();
    assert_eq!(quoted(&packet[..length]), Some(syn));
    assert_eq!(parse(&packet[length - 24..length]), None, "our own SYN");

    // By another sum: over one buffer with pseudo header and segment.
    let octets = |ip| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let length = u32::try_from(segment.len()).unwrap_or(u32::MAX).to_be_bytes();
    let pseudo = [&octets(there)[..], &octets(here), &length, &[0, 0, 0, 6]].concat();
    let is_whole = |segment: &[u8]| checksum(&[&pseudo[..], segment].concat()) == 0;
    let is_half = |segment: &[u8]| segment[16..18] == (!checksum(&pseudo)).to_be_bytes();
    let is_intact = is_whole(&segment) || is_half(&segment);
    let is_right = answer.acknowledged == sequence.wrapping_add(1);
    assert_eq!(syn.is_answered_by(&answer, &segment), is_intact && is_right);

    segment[8..12].copy_from_slice(&sequence.wrapping_add(1).to_be_bytes());
    segment[16..18].fill(0);
    let sum = checksum(&[&pseudo[..], &segment].concat());
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    let answered = parse(&segment).is_some_and(|answer| syn.is_answered_by(&answer, &segment));
    assert!(answered);
    segment[11] ^= 1;
    assert!(!parse(&segment).is_some_and(|answer| syn.is_answered_by(&answer, &segment)));
}
