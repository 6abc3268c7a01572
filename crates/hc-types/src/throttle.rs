//! Keeps what happens again and again from filling the log.

use std::time::{Duration, Instant};

/// Lets lines through at a rate and counts the others. Reads no clock.
///
/// ```
/// use std::time::{Duration, Instant};
/// use hc_types::Throttle;
///
/// let mut throttle = Throttle::new(2, Duration::from_secs(1));
/// let now = Instant::now();
/// assert_eq!([throttle.pass(now), throttle.pass(now), throttle.pass(now)], [Some(0), Some(0), None]);
/// // A second pays for the next one, which hears how many were held back.
/// assert_eq!(throttle.pass(now + Duration::from_secs(1)), Some(1));
/// ```
#[derive(Clone, Debug)]
pub struct Throttle {
    burst: u32,
    pause: Duration,
    /// When the lines so far will have been paid for.
    paid: Option<Instant>,
    held_back: u64,
}

impl Throttle {
    /// `burst` lines at once after a time of silence, and one for each `pause` in the long run. A
    /// `burst` of 0 is one of 1.
    #[must_use]
    pub const fn new(burst: u32, pause: Duration) -> Self {
        Self { burst, pause, paid: None, held_back: 0 }
    }

    /// `Some` when a line may be written at `now`, with how many were held back since the last one.
    pub fn pass(&mut self, now: Instant) -> Option<u64> {
        let paid = self.paid.map_or(now, |paid| paid.max(now));
        if paid.duration_since(now) > self.pause * self.burst.saturating_sub(1) {
            self.held_back += 1;
            return None;
        }
        self.paid = Some(paid + self.pause);
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(throttle: &mut Throttle, at: Instant, expected: &[Option<u64>]) {
        let passed: Vec<_> = expected.iter().map(|_| throttle.pass(at)).collect();
        assert_eq!(passed, expected);
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do")]
    fn a_burst_and_then_one_for_each_pause() {
        let start = Instant::now();
        let mut throttle = Throttle::new(3, Duration::from_secs(1));
        check(&mut throttle, start, &[Some(0), Some(0), Some(0), None, None]);
        check(&mut throttle, start + Duration::from_secs(1), &[Some(2), None]);
        check(&mut throttle, start + Duration::from_secs(3), &[Some(1), Some(0), None]);
        // However long the silence.
        check(&mut throttle, start + Duration::from_secs(100), &[Some(1), Some(0), Some(0), None]);
    }
}
