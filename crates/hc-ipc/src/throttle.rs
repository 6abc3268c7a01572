//! Keeps a complaint that repeats from filling the log.

use std::time::Duration;

use tokio::time::Instant;

/// At most one complaint in this time.
const PAUSE: Duration = Duration::from_secs(10);

/// Lets one complaint through in ten seconds and counts the others.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    latest: Option<Instant>,
    held_back: u64,
}

impl Throttle {
    /// `Some` when the complaint is to be made, with how many were held back since the last one.
    pub(crate) fn pass(&mut self, now: Instant) -> Option<u64> {
        if self.latest.is_some_and(|latest| now.saturating_duration_since(latest) < PAUSE) {
            self.held_back += 1;
            return None;
        }
        self.latest = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_complaint_in_ten_seconds() {
        let start = Instant::now();
        let mut throttle = Throttle::default();
        assert_eq!(throttle.pass(start), Some(0));
        assert_eq!(throttle.pass(start + Duration::from_secs(9)), None);
        assert_eq!(throttle.pass(start + PAUSE), Some(1));
    }
}
