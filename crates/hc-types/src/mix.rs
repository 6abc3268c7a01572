//! Numbers that are close become numbers that are not.

/// The finalizer of SplitMix64 (Steele, Lea and Flood, Fast Splittable Pseudorandom Number
/// Generators, 2014): a permutation of 64-bit numbers in which each bit of the result depends on all
/// bits. 0 stays 0. Part of protocol 1 ([`bucket`](crate::bucket)), so it never changes. No defence
/// against whoever chooses the numbers.
///
/// ```
/// assert_eq!(hc_types::mix64(1), 0x5692_161d_100b_05e5);
/// ```
#[must_use]
pub const fn mix64(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
