//! How long a consumer that failed is left alone.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::SinkError;

/// The pause after the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest that a consumer may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(600);

/// A pause that doubles with each failure in a row, from 1 s to 60 s, or is as long as the consumer
/// asked for.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    state: Mutex<State>,
    /// A pause may have ended early.
    succeeded: Notify,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    /// Waits until the consumer may be tried.
    pub(crate) async fn wait(&self) {
        loop {
            let until = self.lock().until;
            match until {
                // `notify_one` leaves a permit behind, so a success between the look and the wait
                // is not missed.
                Some(until) if until > Instant::now() => {
                    drop(timeout_at(until, self.succeeded.notified()).await)
                }
                _ => return,
            }
        }
    }

    pub(crate) fn note(&self, result: &Result<(), SinkError>) {
        let mut state = self.lock();
        *state = match result {
            Ok(()) => {
                self.succeeded.notify_one();
                State::default()
            }
            Err(error) => {
                let doubled = FIRST.saturating_mul(1 << state.failures.min(8)).min(LONGEST);
                let pause = error.retry_after().map_or(doubled, |asked| asked.min(LONGEST_ASKED).max(FIRST));
                State { failures: state.failures.saturating_add(1), until: Some(Instant::now() + pause) }
            }
        };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(retry_after: Option<u64>) -> Result<(), SinkError> {
        let retry_after = retry_after.map(Duration::from_secs);
        Err(SinkError::Refused { place: String::new(), status: None, answer: String::new(), retry_after })
    }

    #[tokio::test(start_paused = true)]
    async fn the_pause_doubles_up_to_a_minute_and_ends_with_a_success() {
        let backoff = Backoff::default();
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            backoff.note(&refused(None));
            let begun = Instant::now();
            backoff.wait().await;
            assert_eq!(begun.elapsed().as_secs(), pause);
        }
        backoff.note(&Ok(()));
        let begun = Instant::now();
        backoff.wait().await;
        assert_eq!(begun.elapsed().as_secs(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_consumer_may_ask_for_a_longer_pause_but_not_for_hours() {
        for (asked, pause) in [(0, 1), (30, 30), (86_400, 600)] {
            let backoff = Backoff::default();
            backoff.note(&refused(Some(asked)));
            let begun = Instant::now();
            backoff.wait().await;
            assert_eq!(begun.elapsed().as_secs(), pause);
        }
    }
}
