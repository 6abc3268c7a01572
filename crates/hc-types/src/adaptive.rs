//! What the latest passes of a check say about its timeout.

use std::fmt;
use std::time::Duration;

/// Whether the timeout of a check follows from how long its probes take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AdaptiveTimeout {
    /// It does not.
    #[default]
    Off,
    /// It does not, but readers are told what it could be.
    Suggest,
    /// A healthy check whose latest probe passed is probed with it. Any other probe has the timeout
    /// of the check: so at most the first failure of a row comes from a timeout that is shorter.
    Apply,
}

impl AdaptiveTimeout {
    /// Its word in files of checks.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Suggest => "suggest",
            Self::Apply => "apply",
        }
    }
}

impl fmt::Display for AdaptiveTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// How long the latest passes of a check took, in 12 bytes: the longest of the last 64 to 128 of
/// them, which is about the 99th percentile.
///
/// Failures do not count, so a backend that hangs does not lengthen the timeout with which that is
/// found.
///
/// ```
/// use std::time::Duration;
/// use hc_types::PassTimes;
///
/// let (ms, timeout) = (Duration::from_millis(1), Duration::from_secs(5));
/// let mut times = PassTimes::default();
/// (0..63).for_each(|_| times.pass(50 * ms));
/// assert_eq!(times.suggestion(timeout), None);
/// times.pass(200 * ms);
/// assert_eq!(times.suggestion(timeout), Some(600 * ms));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassTimes {
    /// The longest of this window. Microseconds.
    longest: u32,
    /// The longest of the window before.
    before: u32,
    /// The passes in this window.
    passes: u16,
    /// There was a window before.
    is_known: bool,
}

impl PassTimes {
    /// How many passes a window has. Nothing is suggested before there is a whole one.
    pub const WINDOW: u16 = 64;

    /// The suggestion is so many times the longest pass.
    pub const FACTOR: u32 = 3;

    /// Nothing shorter is suggested: a packet that is lost is sent again after 200 ms or more (RFC
    /// 6298 with Linux's smallest timeout), a lost SYN after 1 s.
    pub const FLOOR: Duration = Duration::from_millis(300);

    /// A probe has passed, and took so long.
    pub fn pass(&mut self, took: Duration) {
        self.longest = self.longest.max(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        self.passes += 1;
        if self.passes == Self::WINDOW {
            (self.before, self.longest, self.passes, self.is_known) = (self.longest, 0, 0, true);
        }
    }

    /// A timeout with which these passes would have passed: at least [`FLOOR`](Self::FLOOR), at
    /// most `timeout`, in whole milliseconds. `None` before enough of them are known.
    #[must_use]
    pub fn suggestion(&self, timeout: Duration) -> Option<Duration> {
        let longest = Duration::from_micros(self.longest.max(self.before).into()) * Self::FACTOR;
        let millis = u64::try_from(longest.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
        self.is_known.then(|| Duration::from_millis(millis).max(Self::FLOOR).min(timeout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn after(passes: impl IntoIterator<Item = u32>) -> PassTimes {
        let mut times = PassTimes::default();
        passes.into_iter().for_each(|millis| times.pass(millis * MS));
        times
    }

    #[test]
    fn what_is_suggested_lies_between_floor_and_timeout() {
        let timeout = 5000 * MS;
        assert_eq!(after([500; 63]).suggestion(timeout), None);
        assert_eq!(after([500; 64]).suggestion(timeout), Some(1500 * MS));
        assert_eq!(after([1; 64]).suggestion(timeout), Some(PassTimes::FLOOR));
        assert_eq!(after([4000; 64]).suggestion(timeout), Some(timeout));
        assert_eq!(after([1; 64]).suggestion(MS), Some(MS), "a timeout below the floor");
        assert_eq!(size_of::<PassTimes>(), 12);
    }

    #[test]
    fn a_slow_pass_counts_at_once_and_for_64_more_at_least() {
        let timeout = 5000 * MS;
        let slow = || [100; 64].into_iter().chain([1000]);
        assert_eq!(after(slow()).suggestion(timeout), Some(3000 * MS));
        assert_eq!(after(slow().chain([100; 126])).suggestion(timeout), Some(3000 * MS));
        assert_eq!(after(slow().chain([100; 127])).suggestion(timeout), Some(300 * MS));
    }
}
