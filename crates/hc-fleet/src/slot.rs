//! The unit in which checks are given to nodes.

use std::fmt;

use hc_types::CheckKey;

/// A share of all checks: one in 16,384.
///
/// Checks are given to nodes by slot, so what the nodes must agree on does not grow with the number
/// of checks. The slot is the first 14 bits of the digest in the [`CheckKey`], behind its version.
/// hc-manager chooses a check's shard by the last 64 bits, so the checks of one slot spread over
/// all shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// How many slots there are.
    pub const COUNT: u16 = 1 << Self::BITS;
    /// The bits of a slot's number.
    pub const BITS: u32 = 14;

    /// The slot of a check.
    #[must_use]
    pub const fn of(key: CheckKey) -> Self {
        let [_, high, low, ..] = key.to_bytes();
        Self(u16::from_be_bytes([high, low]) >> (16 - Self::BITS))
    }

    /// The slot with this number; `None` above [`Slot::COUNT`].
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number < Self::COUNT { Some(Self(number)) } else { None }
    }

    /// Its number, below [`Slot::COUNT`].
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// All of them, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bits_of_the_digest_count_and_not_the_version() {
        let mut bytes = [0; 16];
        bytes[0] = CheckKey::VERSION;
        assert_eq!(Slot::of(CheckKey::from_bytes(bytes)).number(), 0);
        (bytes[1], bytes[2], bytes[3]) = (0xff, 0xff, 0xff);
        assert_eq!(Slot::of(CheckKey::from_bytes(bytes)).number(), Slot::COUNT - 1);
        (bytes[0], bytes[2], bytes[3]) = (77, 0xfb, 0);
        assert_eq!(Slot::of(CheckKey::from_bytes(bytes)).number(), 0x3ffe);
        assert_eq!((Slot::new(Slot::COUNT), Slot::all().count()), (None, 16_384));
    }
}
