//! Numbers that are small in tables with a row for each check.

use std::fmt;

/// A number below 2^48 in six bytes, at even addresses. Larger ones become the largest: 78 hours in
/// nanoseconds, or what a counter reaches in nine years at a million a second.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct U48([u16; 3]);

impl U48 {
    /// 0.
    pub const ZERO: Self = Self([0; 3]);
    /// 2^48 - 1.
    pub const MAX: Self = Self([u16::MAX; 3]);

    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        let [low, middle, high] = self.0.map(u64::from);
        low | middle << 16 | high << 32
    }

    /// The next number; the largest one stays.
    #[must_use]
    pub fn saturating_next(self) -> Self {
        self.get().saturating_add(1).into()
    }
}

impl From<u64> for U48 {
    #[allow(clippy::cast_possible_truncation, reason = "each 16 bits by themselves")]
    fn from(number: u64) -> Self {
        let number = number.min(Self::MAX.get());
        Self([number as u16, (number >> 16) as u16, (number >> 32) as u16])
    }
}

impl fmt::Debug for U48 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_larger_ones_become_the_largest() {
        assert_eq!((size_of::<U48>(), align_of::<U48>()), (6, 2));
        const MAX: u64 = (1 << 48) - 1;
        for number in [0, 1, 0xffff, 0x1_0000, 0x1234_5678_9abc, MAX - 1, MAX] {
            assert_eq!(U48::from(number).get(), number);
            assert_eq!(U48::from(number).saturating_next().get(), (number + 1).min(MAX));
        }
        assert_eq!((U48::from(MAX + 1), U48::from(u64::MAX)), (U48::MAX, U48::MAX));
        assert_eq!((U48::ZERO, format!("{:?}", U48::from(70_000))), (U48::default(), "70000".to_owned()));
    }
}
