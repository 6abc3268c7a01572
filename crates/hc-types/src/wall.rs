//! An instant on the wall clock, small.

use std::num::NonZeroU64;
use std::time::{Duration, SystemTime};

/// A [`SystemTime`] in eight bytes, also inside an `Option`; tables with a row for each check hold
/// several of them.
///
/// Exact to the nanosecond from 1970 to 2554; instants outside of that become the nearest one
/// inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(
    /// Nanoseconds since 1970, plus one.
    NonZeroU64,
);

impl WallTime {
    /// Nanoseconds since 1970.
    #[must_use]
    pub fn nanos(self) -> u64 {
        self.0.get() - 1
    }
}

impl From<SystemTime> for WallTime {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        Self(NonZeroU64::MIN.saturating_add(nanos))
    }
}

impl From<WallTime> for SystemTime {
    fn from(time: WallTime) -> Self {
        Self::UNIX_EPOCH + Duration::from_nanos(time.nanos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_is_exact_within_its_range_and_clamped_outside() {
        let at = |seconds, nanos| SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
        for time in [at(0, 0), at(0, 1), at(1_764_403_200, 123_456_789)] {
            assert_eq!(SystemTime::from(WallTime::from(time)), time);
        }
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(SystemTime::from(WallTime::from(before)), SystemTime::UNIX_EPOCH);
        let latest = SystemTime::from(WallTime::from(at(1 << 40, 0)));
        assert_eq!(latest, SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::MAX - 1));
        assert_eq!(size_of::<Option<WallTime>>(), 8);
    }
}
