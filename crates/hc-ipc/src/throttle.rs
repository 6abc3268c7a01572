//! Keeps what happens again and again from filling the log.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lets lines through at a rate and counts the others.
#[derive(Debug)]
pub(crate) struct Throttle {
    /// Lines at once after a time of silence.
    burst: u32,
    /// The time that pays for one line.
    pause: Duration,
    /// When the lines so far will have been paid for.
    paid: Option<Instant>,
    held_back: u64,
}

impl Throttle {
    /// For a complaint about one thing: one line in ten seconds.
    pub(crate) fn complaint() -> Self {
        Self::new(1, Duration::from_secs(10))
    }

    fn new(burst: u32, pause: Duration) -> Self {
        Self { burst, pause, paid: None, held_back: 0 }
    }

    /// `Some` when the line is to be written, with how many were held back since the last one.
    pub(crate) fn pass(&mut self, now: Instant) -> Option<u64> {
        let paid = self.paid.map_or(now, |paid| paid.max(now));
        if paid.duration_since(now) > self.pause * (self.burst - 1) {
            self.held_back += 1;
            return None;
        }
        self.paid = Some(paid + self.pause);
        Some(std::mem::take(&mut self.held_back))
    }
}

/// The lines about all connections together: 64 at once, then one a second. A peer that connects without end, or tells the
/// same without end, begins anew with each connection, so it cannot be held back by what one connection remembers.
#[derive(Clone, Debug)]
pub(crate) struct Chatter(Arc<Mutex<Throttle>>);

impl Chatter {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Throttle::new(64, Duration::from_secs(1)))))
    }

    /// Whether a line about a connection is to be written. If others were held back before, one line says so first.
    pub(crate) fn pass(&self, now: Instant) -> bool {
        // A throttle is whole at any time.
        let passed = self.0.lock().unwrap_or_else(PoisonError::into_inner).pass(now);
        if let Some(lines @ 1..) = passed {
            tracing::warn!(lines, "many lines about peers at once: these were held back");
        }
        passed.is_some()
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
    fn one_complaint_in_ten_seconds() {
        let start = Instant::now();
        let mut throttle = Throttle::complaint();
        check(&mut throttle, start, &[Some(0)]);
        check(&mut throttle, start + Duration::from_millis(9_999), &[None]);
        check(&mut throttle, start + Duration::from_secs(10), &[Some(1), None]);
    }

    #[test]
    fn a_burst_and_then_one_for_each_pause() {
        let start = Instant::now();
        let mut throttle = Throttle::new(3, Duration::from_secs(1));
        check(&mut throttle, start, &[Some(0), Some(0), Some(0), None, None]);
        check(&mut throttle, start + Duration::from_secs(1), &[Some(2), None]);
        check(&mut throttle, start + Duration::from_secs(3), &[Some(1), Some(0), None]);
        // However long the silence.
        check(&mut throttle, start + Duration::from_secs(100), &[Some(1), Some(0), Some(0), None]);
    }

    #[test]
    fn all_connections_share_what_may_be_said() {
        let (now, chatter) = (Instant::now(), Chatter::new());
        let passed = (0..1000).filter(|_| chatter.clone().pass(now)).count();
        assert_eq!(passed, 64);
    }
}
