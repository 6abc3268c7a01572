//! One deadline over a whole probe.

use std::cell::Cell;
use std::time::Duration;

use hc_types::{Failure, Outcome, Phase};

use crate::fault::Setback;

/// Where a probe is. The probe moves it on; whoever watches the clock reads it when time is up.
#[derive(Debug)]
pub(crate) struct Progress(Cell<Phase>);

impl Progress {
    fn new() -> Self {
        Self(Cell::new(Phase::Connect))
    }

    /// The probe enters `phase`.
    pub(crate) fn enter(&self, phase: Phase) {
        self.0.set(phase);
    }

    /// Where the probe is.
    pub(crate) fn phase(&self) -> Phase {
        self.0.get()
    }
}

/// Runs `probe` for at most `timeout`, counted from the first poll, with one timer for all of it. A probe that is not
/// done by then failed with [`Failure::Timeout`] of the phase that it was in.
///
/// The probe is polled before the timer: an answer that is there wins over a deadline that has passed.
///
/// # Cancel safety
/// Dropping the future drops the probe, and with it its sockets.
pub(crate) async fn within<F>(timeout: Duration, probe: F) -> Outcome
where
    F: AsyncFnOnce(&Progress) -> Result<Outcome, Setback>,
{
    limit(timeout, probe).await.unwrap_or_else(Outcome::from)
}

/// Like [`within`], for a probe with something left to do after its verdict.
pub(crate) async fn limit<T, F>(timeout: Duration, probe: F) -> Result<T, Setback>
where
    F: AsyncFnOnce(&Progress) -> Result<T, Setback>,
{
    let progress = Progress::new();
    match tokio::time::timeout(timeout, probe(&progress)).await {
        Ok(done) => done,
        Err(_elapsed) => Err(Failure::Timeout(progress.phase()).into()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, advance, sleep};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_phase_at_the_deadline_is_named() {
        for phase in Phase::ALL {
            let begun = Instant::now();
            let outcome = within(SECOND, async |progress| {
                progress.enter(phase);
                std::future::pending().await
            })
            .await;
            assert_eq!(outcome, Failure::Timeout(phase).into());
            assert_eq!(begun.elapsed(), SECOND);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn phases_share_one_deadline() {
        let begun = Instant::now();
        let outcome = within(SECOND, async |progress| {
            sleep(SECOND * 3 / 5).await;
            progress.enter(Phase::Response);
            sleep(SECOND * 3 / 5).await;
            Ok(Outcome::PASS)
        })
        .await;
        assert_eq!(outcome, Failure::Timeout(Phase::Response).into());
        assert_eq!(begun.elapsed(), SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_there_wins() {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let probe = within(SECOND, async |_| {
            let _ = answered.await;
            Ok(Outcome::PASS)
        });
        tokio::pin!(probe);
        assert!(futures_poll_once(probe.as_mut()).await.is_none());
        advance(2 * SECOND).await;
        answer.send(()).unwrap();
        assert_eq!(futures_poll_once(probe).await, Some(Outcome::PASS));
    }

    async fn futures_poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(match future.as_mut().poll(context) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
