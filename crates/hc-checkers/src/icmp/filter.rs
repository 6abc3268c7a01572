//! The classic BPF programs that keep the host's other ICMP traffic away from a raw socket
//! (`SO_ATTACH_FILTER`, socket(7)).
//!
//! A raw socket sees every ICMP packet that comes to the host, and would be woken by each. The
//! kernel runs these programs first, and only what is about an echo request with our identifier
//! gets through.

use socket2::SockFilter;

use super::echo::Family;
use crate::bpf::{
    ACCEPT, ADD_X, AND, COPY_TO_X, LOAD_BYTE, LOAD_BYTE_IND, LOAD_HALF, LOAD_HALF_IND, LOAD_X_MSH, REJECT,
    SHIFT_LEFT, jump_equal, op,
};

/// Echo replies with identifier `id`, and ICMP errors about a packet with it. A load beyond the
/// packet rejects it.
pub(super) fn program(family: Family, id: u16) -> Vec<SockFilter> {
    let id = u32::from(id);
    match family {
        // Raw IPv4 packets come with their IP header, and errors quote another.
        Family::V4 => vec![
            op(LOAD_X_MSH, 0),
            op(LOAD_BYTE_IND, 0),
            jump_equal(0, 4, 0),
            jump_equal(3, 5, 0),
            jump_equal(11, 4, 0),
            jump_equal(12, 3, 0),
            REJECT,
            op(LOAD_HALF_IND, 4),
            jump_equal(id, 7, 8),
            op(LOAD_BYTE_IND, 8),
            op(AND, 0xf),
            op(SHIFT_LEFT, 2),
            op(ADD_X, 0),
            op(COPY_TO_X, 0),
            op(LOAD_HALF_IND, 12),
            jump_equal(id, 0, 1),
            ACCEPT,
            REJECT,
        ],
        // Raw IPv6 packets come without; what errors quote has a header of 40 bytes, since we send
        // no extensions.
        Family::V6 => vec![
            op(LOAD_BYTE, 0),
            jump_equal(129, 4, 0),
            jump_equal(1, 5, 0),
            jump_equal(3, 4, 0),
            jump_equal(4, 3, 0),
            REJECT,
            op(LOAD_HALF, 4),
            jump_equal(id, 2, 3),
            op(LOAD_HALF, 52),
            jump_equal(id, 0, 1),
            ACCEPT,
            REJECT,
        ],
    }
}
