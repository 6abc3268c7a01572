//! The classic BPF programs that keep the host's other ICMP traffic away from a raw socket
//! (`SO_ATTACH_FILTER`, socket(7)).
//!
//! A raw socket sees every ICMP packet that comes to the host, and would be woken by each. The
//! kernel runs these programs first, and only what is about an echo request with our identifier
//! gets through.

use socket2::SockFilter;

use super::echo::Family;

// Instructions of the kernel's filter.h. `IND` addresses from register X on, `MSH` is four times
// the low half of a byte: the length of an IPv4 header.
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE_IND: u16 = 0x50;
const LOAD_HALF_IND: u16 = 0x48;
const LOAD_X_MSH: u16 = 0xb1;
const AND: u16 = 0x54;
const SHIFT_LEFT: u16 = 0x64;
const ADD_X: u16 = 0x0c;
const COPY_TO_X: u16 = 0x07;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

const ACCEPT: SockFilter = op(RETURN, u32::MAX);
const REJECT: SockFilter = op(RETURN, 0);

const fn op(code: u16, k: u32) -> SockFilter {
    SockFilter::new(code, 0, 0, k)
}

/// Goes on behind the next `yes` instructions if the accumulator is `k`, else behind the next `no`.
const fn jump_equal(k: u32, yes: u8, no: u8) -> SockFilter {
    SockFilter::new(JUMP_EQUAL, yes, no, k)
}

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
