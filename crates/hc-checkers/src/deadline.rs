//! One deadline over a whole probe.

use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use hc_types::{Failure, LostTime, Outcome, Phase};
use tokio::time::{Instant, sleep};

use crate::fault::Setback;

/// A probe in flight ends after so many of its timeouts, however little time it had of its own.
const MOST_TIMEOUTS: u32 = 32;

/// How long a probe waits for its backend.
///
/// A plain [`Duration`] converts into it, for whoever keeps no account of lost time.
#[derive(Clone, Debug)]
pub struct Patience {
    timeout: Duration,
    lost: LostTime,
}

impl Patience {
    /// Waits for `timeout`, and longer by what `lost` grows meanwhile, up to 32 times `timeout` in all.
    #[must_use]
    pub fn new(timeout: Duration, lost: LostTime) -> Self {
        Self { timeout, lost }
    }
}

impl From<Duration> for Patience {
    fn from(timeout: Duration) -> Self {
        Self::new(timeout, LostTime::default())
    }
}

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

/// Runs `probe` for as long as `patience` lasts, counted from the first poll, with one timer for all of it. A probe that is
/// not done by then failed with [`Failure::Timeout`] of the phase that it was in.
///
/// The probe is polled before the timer: an answer that is there wins over a deadline that has passed.
///
/// # Cancel safety
/// Dropping the future drops the probe, and with it its sockets.
pub(crate) async fn within<F>(patience: impl Into<Patience>, probe: F) -> Outcome
where
    F: AsyncFnOnce(&Progress) -> Result<Outcome, Setback>,
{
    limit(patience, probe).await.unwrap_or_else(Outcome::from)
}

/// Like [`within`], for a probe with something left to do after its verdict.
pub(crate) async fn limit<T, F>(patience: impl Into<Patience>, probe: F) -> Result<T, Setback>
where
    F: AsyncFnOnce(&Progress) -> Result<T, Setback>,
{
    let Patience { timeout, lost } = patience.into();
    let (begun, lost_before) = (Instant::now(), lost.so_far());
    let progress = Progress::new();
    let mut probe = pin!(probe(&progress));
    let mut alarm = pin!(sleep(timeout));
    loop {
        tokio::select! {
            biased;
            done = &mut probe => return done,
            () = &mut alarm => {
                let owed = lost.so_far().saturating_sub(lost_before);
                let whole = timeout.saturating_add(owed).min(timeout.saturating_mul(MOST_TIMEOUTS));
                match begun.checked_add(whole) {
                    Some(end) if end > Instant::now() => alarm.as_mut().reset(end),
                    _ => return Err(Failure::Timeout(progress.phase()).into()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio::time::advance;

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

    #[tokio::test(start_paused = true)]
    async fn lost_time_is_given_back() {
        let account = Rc::new(Cell::new(5 * SECOND));
        let patience = || {
            let account = Rc::clone(&account);
            Patience::new(SECOND, LostTime::new(move || account.get()))
        };
        // Nothing is lost: what was lost before is no matter.
        let begun = Instant::now();
        let timeout: Outcome = Failure::Timeout(Phase::Connect).into();
        assert_eq!(within(patience(), async |_| std::future::pending().await).await, timeout);
        assert_eq!(begun.elapsed(), SECOND);
        // Something is, and something of that is found out only while it is given back.
        let begun = Instant::now();
        let outcome = within(patience(), async |_| {
            sleep(SECOND / 2).await;
            account.set(account.get() + 3 * SECOND);
            sleep(3 * SECOND).await;
            account.set(account.get() + SECOND);
            std::future::pending().await
        });
        assert_eq!(outcome.await, timeout);
        assert_eq!(begun.elapsed(), 5 * SECOND);
        // An answer in that time is an answer.
        let outcome = within(patience(), async |_| {
            account.set(account.get() + SECOND);
            sleep(SECOND * 3 / 2).await;
            Ok(Outcome::PASS)
        });
        assert_eq!(outcome.await, Outcome::PASS);
    }

    #[tokio::test(start_paused = true)]
    async fn not_all_lost_time_is_given_back() {
        let origin = Instant::now();
        // Lost altogether, as after hours in a stopped process.
        let lost = LostTime::new(move || origin.elapsed());
        let begun = Instant::now();
        let outcome = within(Patience::new(SECOND, lost), async |_| std::future::pending().await).await;
        assert_eq!(outcome, Failure::Timeout(Phase::Connect).into());
        assert_eq!(begun.elapsed(), SECOND * MOST_TIMEOUTS);
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
