//! One deadline over a whole probe.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use hc_types::verdict::{self, AtDeadline};
use hc_types::{Failure, Outcome, Phase, Stray};
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep, sleep_until};

use crate::fault::ProbeError;

/// A timer that fires later than this fired after a stall, perhaps of the whole machine. Then the
/// kernel is given as long to take in packets that wait in the network, before silence is believed.
const LATE_TIMER: Duration = Duration::from_millis(20);

/// The time between two polls of a probe that waits. Most probes have ended before the first.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Upper bound on reads after the deadline, so that a peer that keeps sending cannot occupy the
/// shard.
const MAX_FINAL_READS: u8 = 64;

/// How far a probe has come, kept by the probe and read when its deadline passes.
///
/// A deadline that passes while this process does not run, or has too much to do, does not prove
/// much: the answer may have arrived long ago, or the request may have left late. So the probe is
/// polled once more after the deadline, and reads the socket itself (a *final read*), since the
/// poller may not have reported yet that it is readable. What the evidence amounts to is decided by
/// [`verdict::timed_out`].
#[derive(Debug)]
pub(crate) struct Progress {
    phase: Cell<Phase>,
    /// When bytes last went to the peer or came from it.
    exchanged: Cell<Instant>,
    /// The final reads that are left. 0 before the deadline.
    final_reads: Cell<u8>,
    nothing_there: Cell<bool>,
    /// Why the latest datagram of this phase was ignored.
    stray: Cell<Option<Stray>>,
}

impl Progress {
    fn new() -> Self {
        Self {
            phase: Cell::new(Phase::Connect),
            exchanged: Cell::new(Instant::now()),
            final_reads: Cell::new(0),
            nothing_there: Cell::new(false),
            stray: Cell::new(None),
        }
    }

    /// That of a probe whose deadline has passed.
    #[cfg(test)]
    pub(crate) fn at_final_read() -> Self {
        let progress = Self::new();
        progress.final_reads.set(MAX_FINAL_READS);
        progress
    }

    /// The probe enters `phase`. A datagram that was ignored in the phase before is no evidence any
    /// more.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.stray.set(None);
    }

    /// Where the probe is.
    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// A datagram came that is not the answer to our request.
    pub(crate) fn ignored(&self, stray: Stray) {
        self.stray.set(Some(stray));
    }

    /// Bytes have just gone to the peer or come from it.
    pub(crate) fn exchanged(&self) {
        self.exchanged.set(Instant::now());
    }

    /// To be called when the poller reports nothing. After the deadline, `look` is called and reads
    /// the socket itself.
    pub(crate) fn final_read<T>(&self, look: impl FnOnce() -> Poll<T>) -> Poll<T> {
        self.nothing_there.set(false);
        let Some(left) = self.final_reads.get().checked_sub(1) else { return Poll::Pending };
        self.final_reads.set(left);
        let looked = look();
        self.nothing_there.set(looked.is_pending());
        looked
    }

    /// Waits for `event`, which brings bytes of the peer. After the deadline, `look` reads the
    /// socket itself.
    ///
    /// # Cancel safety
    /// That of `event`.
    pub(crate) async fn wait_or_final_read<T>(
        &self,
        mut event: Pin<&mut impl Future<Output = T>>,
        look: impl Fn() -> Poll<T>,
    ) -> T {
        let heard = poll_fn(|context| match event.as_mut().poll(context) {
            Poll::Pending => self.final_read(&look),
            heard => heard,
        });
        let heard = heard.await;
        self.exchanged();
        heard
    }
}

/// Runs `probe` for at most `timeout`, counted from the first poll, with one timer for all of it. A
/// probe that is not done by then failed with [`Failure::Timeout`] in the phase that it was in.
///
/// The probe is polled before the timer and once more after it: an answer that is there wins over a
/// deadline that has passed.
///
/// # Cancel safety
/// Dropping the future drops the probe, and with it its sockets.
pub(crate) async fn within<F>(timeout: Duration, probe: F) -> Outcome
where
    F: AsyncFnOnce(&Progress) -> Result<Outcome, ProbeError>,
{
    limit(timeout, probe).await.unwrap_or_else(Outcome::from)
}

/// Like [`within`], for a probe that has a connection to close after its verdict.
pub(crate) async fn limit<T, F>(timeout: Duration, probe: F) -> Result<T, ProbeError>
where
    F: AsyncFnOnce(&Progress) -> Result<T, ProbeError>,
{
    let progress = Progress::new();
    let begun = progress.exchanged.get();
    let mut probe = pin!(probe(&progress));
    if let Some(done) = until_deadline(begun, timeout, probe.as_mut()).await {
        return done;
    }
    progress.final_reads.set(MAX_FINAL_READS);
    let mut may_be_early = begun.elapsed() > timeout + LATE_TIMER;
    loop {
        if let Poll::Ready(done) = poll_fn(|context| Poll::Ready(probe.as_mut().poll(context))).await {
            return done;
        }
        let failure = verdict::timed_out(&AtDeadline {
            phase: progress.phase(),
            timeout,
            last_exchange: progress.exchanged.get() - begun,
            nothing_at_socket: progress.nothing_there.get(),
            stray: progress.stray.get(),
        });
        let is_silent = matches!(failure, Failure::Timeout { evidence, .. } if evidence.silent);
        if !is_silent || !std::mem::take(&mut may_be_early) {
            return Err(failure.into());
        }
        sleep(LATE_TIMER).await;
    }
}

/// Polls `probe` until it is done or the deadline has passed, and every 250 ms in between, so that
/// its caller can look the path up while it waits (`prober`).
async fn until_deadline<T>(
    begun: Instant,
    timeout: Duration,
    mut probe: Pin<&mut impl Future<Output = T>>,
) -> Option<T> {
    let deadline = begun + timeout;
    let mut timer = pin!(sleep_until(begun + POLL_INTERVAL.min(timeout / 2)));
    poll_fn(|context| {
        if let Poll::Ready(done) = probe.as_mut().poll(context) {
            return Poll::Ready(Some(done));
        }
        // Also when the probe has used up its budget of tokio: a peer that keeps sending does not
        // stop the clock.
        while pin!(unconstrained(timer.as_mut())).poll(context).is_ready() {
            let now = Instant::now();
            if now >= deadline {
                return Poll::Ready(None);
            }
            timer.as_mut().reset((now + POLL_INTERVAL).min(deadline));
        }
        Poll::Pending
    })
    .await
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
            assert_eq!(outcome, Failure::timeout(phase).into());
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
        assert_eq!(outcome, Failure::timeout(Phase::Response).into());
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
