//! When the next of evenly spread starts is due.

use std::time::Duration;

/// The tick of timers in hc-server, in HAProxy and in what `epoll_wait` takes.
const TICK: Duration = Duration::from_millis(1);

/// Starts that were due longer ago than this are skipped: the process was stopped.
const LATE: Duration = Duration::from_millis(100);

/// Evenly spread starts. Instants are since the beginning of the process.
#[derive(Debug)]
pub(super) struct Pace {
    next: Duration,
    period: Duration,
}

impl Pace {
    pub(super) fn new(per_second: u32) -> Self {
        Self { next: Duration::ZERO, period: Duration::from_secs(1) / per_second }
    }

    /// How many starts are due.
    pub(super) fn due(&mut self, now: Duration) -> usize {
        if now > self.next + LATE {
            self.next = now;
        }
        let mut due = 0;
        while self.next <= now {
            self.next += self.period;
            due += 1;
        }
        due
    }

    /// How long to wait for the next one: a tick at least.
    pub(super) fn wait(&self, now: Duration) -> Duration {
        self.next.saturating_sub(now).max(TICK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn starts_come_at_the_rate_asked_for() {
        let mut pace = Pace::new(3_000);
        let starts: usize = (0..1_000).map(|at| pace.due(MILLI * at)).sum();
        assert!((2_997..=3_000).contains(&starts), "{starts}");
    }

    #[test]
    fn what_a_stop_missed_is_not_made_up() {
        let mut pace = Pace::new(1_000);
        assert_eq!(pace.due(Duration::ZERO), 1);
        assert_eq!(pace.due(Duration::from_secs(10)), 1);
        assert_eq!(pace.due(Duration::from_secs(10) + MILLI), 1);
    }

    #[test]
    fn a_wait_is_a_tick_or_until_the_next_start() {
        let mut pace = Pace::new(100);
        pace.due(Duration::ZERO);
        assert_eq!(pace.wait(MILLI), MILLI * 9);
        assert_eq!(pace.wait(MILLI * 10), MILLI);
    }
}
