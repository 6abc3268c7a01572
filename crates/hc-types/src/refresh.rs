//! What a consumer that keeps statuses is told instead of all of them once more.

use std::ops::RangeInclusive;

use crate::{CheckId, Health, mix64};

/// How many buckets ids fall into, by their hash. Part of protocol 1.
pub const BUCKETS: u16 = 4096;

/// The bucket of a check: the highest 12 bits of the hash of its id.
///
/// ```
/// # use hc_types::{CheckId, bucket};
/// assert_eq!(bucket(CheckId(1)), 1385);
/// ```
#[must_use]
pub fn bucket(id: CheckId) -> u16 {
    u16::try_from(mix64(id.0) >> 52).unwrap_or(u16::MAX)
}

/// Of which checks a consumer has which state: how many, and the sum of a hash of each. Two sets of
/// ids and states that are not the same have the same digest by chance only, one in 2^64.
///
/// Checks are put in and taken out one by one, in any order.
///
/// ```
/// # use hc_types::{CheckId, Digest, Health};
/// let mut digest = Digest::default();
/// digest.put(CheckId(1), Health::Healthy);
/// digest.put(CheckId(2), Health::Unhealthy);
/// digest.take(CheckId(1), Health::Healthy);
/// let mut other = Digest::default();
/// other.put(CheckId(2), Health::Unhealthy);
/// assert_eq!(digest, other);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// How many checks.
    pub count: u32,
    /// The sum of their hashes, modulo 2^64.
    pub sum: u64,
}

impl Digest {
    /// One more check, in this state.
    pub fn put(&mut self, id: CheckId, health: Health) {
        self.count = self.count.wrapping_add(1);
        self.sum = self.sum.wrapping_add(Self::of(id, health));
    }

    /// One check less, which was put in with this state.
    pub fn take(&mut self, id: CheckId, health: Health) {
        self.count = self.count.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(Self::of(id, health));
    }

    /// All checks of another digest as well.
    pub fn join(&mut self, other: Self) {
        self.count = self.count.wrapping_add(other.count);
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// Unknown is 0, unhealthy 1, healthy 2, as in Seesaw.
    fn of(id: CheckId, health: Health) -> u64 {
        let state = match health {
            Health::Unknown => 0,
            Health::Unhealthy => 1,
            Health::Healthy => 2,
        };
        mix64(mix64(id.0).wrapping_add(state))
    }
}

/// What a consumer keeps of the checks in some buckets is still so, if its digest is this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// The set of checks that was in effect then.
    pub generation: Option<u64>,
    /// The buckets.
    pub buckets: RangeInclusive<u16>,
    /// What the consumer keeps of them, by what it has acknowledged.
    pub digest: Digest,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// hc-proxy has the same numbers in its tests.
    #[test]
    fn hashes_are_those_of_the_protocol() {
        let of = |id, health| {
            let mut digest = Digest::default();
            digest.put(CheckId(id), health);
            (bucket(CheckId(id)), digest.count, digest.sum)
        };
        let found = [of(0, Health::Unknown), of(1, Health::Unhealthy), of(u64::MAX, Health::Healthy)];
        assert_eq!(
            found,
            [(0, 1, 0), (1385, 1, 15_690_285_813_532_428_630), (2893, 1, 9_254_530_902_928_692_102)]
        );
    }

    #[test]
    fn ids_of_an_engine_are_spread_evenly() {
        let mut counts = vec![0u32; BUCKETS.into()];
        for id in 0..409_600 {
            counts[usize::from(bucket(CheckId((19_962 << 48) + id)))] += 1;
        }
        let (least, most) = (counts.iter().min(), counts.iter().max());
        assert!(least > Some(&50) && most < Some(&160), "{least:?} to {most:?}");
    }

    #[test]
    fn a_state_makes_a_difference() {
        let of = |health| {
            let mut digest = Digest::default();
            digest.put(CheckId(7), health);
            digest
        };
        assert_ne!(of(Health::Healthy), of(Health::Unhealthy));
        assert_ne!(of(Health::Healthy), of(Health::Unknown));
        let mut both = of(Health::Healthy);
        both.join(of(Health::Unhealthy));
        both.take(CheckId(7), Health::Healthy);
        assert_eq!(both, of(Health::Unhealthy));
    }
}
