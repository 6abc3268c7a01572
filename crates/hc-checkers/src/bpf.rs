//! Instructions of classic BPF (the kernel's filter.h), for the programs that keep the host's other
//! traffic away from a raw socket (`SO_ATTACH_FILTER`, socket(7)).
//!
//! `IND` addresses from register X on, `MSH` is four times the low half of a byte: the length of an
//! IPv4 header.

use socket2::SockFilter;

pub(crate) const LOAD_BYTE: u16 = 0x30;
pub(crate) const LOAD_HALF: u16 = 0x28;
pub(crate) const LOAD_BYTE_IND: u16 = 0x50;
pub(crate) const LOAD_HALF_IND: u16 = 0x48;
pub(crate) const LOAD_X_MSH: u16 = 0xb1;
pub(crate) const AND: u16 = 0x54;
pub(crate) const SHIFT_LEFT: u16 = 0x64;
pub(crate) const ADD_X: u16 = 0x0c;
pub(crate) const COPY_TO_X: u16 = 0x07;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

pub(crate) const ACCEPT: SockFilter = op(RETURN, u32::MAX);
pub(crate) const REJECT: SockFilter = op(RETURN, 0);

pub(crate) const fn op(code: u16, k: u32) -> SockFilter {
    SockFilter::new(code, 0, 0, k)
}

/// Goes on behind the next `yes` instructions if the accumulator is `k`, else behind the next `no`.
pub(crate) const fn jump_equal(k: u32, yes: u8, no: u8) -> SockFilter {
    SockFilter::new(JUMP_EQUAL, yes, no, k)
}
