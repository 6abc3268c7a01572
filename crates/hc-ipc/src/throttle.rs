//! Keeps what happens again and again from filling the log.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hc_types::Throttle;
use tokio::time::Instant;

/// For a complaint about one thing: one line in ten seconds.
pub(crate) fn complaint() -> Throttle {
    Throttle::new(1, Duration::from_secs(10))
}

/// The lines about all connections together: 64 at once, then one a second. A peer that connects
/// without end, or tells the same without end, begins anew with each connection, so it cannot be
/// held back by what one connection remembers.
#[derive(Clone, Debug)]
pub(crate) struct Chatter(Arc<Mutex<Throttle>>);

impl Chatter {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Throttle::new(64, Duration::from_secs(1)))))
    }

    /// Whether a line about a connection is to be written. If others were held back before, one
    /// line says so first.
    pub(crate) fn pass(&self, now: Instant) -> bool {
        // A throttle is whole at any time.
        let passed = self.0.lock().unwrap_or_else(PoisonError::into_inner).pass(now.into_std());
        if let Some(lines @ 1..) = passed {
            tracing::warn!(lines, "many lines about peers at once: these were held back");
        }
        passed.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_complaint_in_ten_seconds() {
        let start = Instant::now().into_std();
        let mut throttle = complaint();
        assert_eq!(throttle.pass(start), Some(0));
        assert_eq!(throttle.pass(start + Duration::from_millis(9_999)), None);
        assert_eq!(throttle.pass(start + Duration::from_secs(10)), Some(1));
    }

    #[test]
    fn all_connections_share_what_may_be_said() {
        let (now, chatter) = (Instant::now(), Chatter::new());
        let passed = (0..1000).filter(|_| chatter.clone().pass(now)).count();
        assert_eq!(passed, 64);
    }
}
