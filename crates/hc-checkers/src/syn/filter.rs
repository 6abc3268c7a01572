//! The BPF programs that let only answers to our SYNs through to the raw socket.
//!
//! A raw socket of TCP is handed a copy of every segment that comes to the host. The kernel runs
//! these programs first.

use socket2::SockFilter;

use crate::bpf::{
    ACCEPT, AND, LOAD_BYTE, LOAD_BYTE_IND, LOAD_HALF, LOAD_HALF_IND, LOAD_X_MSH, REJECT, jump_equal, op,
};
use crate::icmp::echo::Family;

/// SYN, RST and ACK.
const FLAGS: u32 = 0x16;

/// Segments to one of these ports that have ACK, and SYN or RST. A load beyond the packet rejects
/// it. At most 200 ports.
pub(super) fn program(family: Family, ports: &[u16]) -> Vec<SockFilter> {
    let mut program = match family {
        // Raw IPv4 packets come with their IP header, and raw IPv6 packets without.
        Family::V4 => vec![op(LOAD_X_MSH, 0), op(LOAD_BYTE_IND, 13)],
        Family::V6 => vec![op(LOAD_BYTE, 13)],
    };
    program.extend([
        op(AND, FLAGS),
        jump_equal(0x12, 3, 0),
        jump_equal(0x14, 2, 0),
        jump_equal(0x16, 1, 0),
        REJECT,
        op(if family == Family::V4 { LOAD_HALF_IND } else { LOAD_HALF }, 2),
    ]);
    // Each jumps over those behind it, and over the rejection.
    let behind = (1..=ports.len()).rev().filter_map(|left| u8::try_from(left).ok());
    program.extend(ports.iter().zip(behind).map(|(port, left)| jump_equal((*port).into(), left, 0)));
    program.extend([REJECT, ACCEPT]);
    program
}
