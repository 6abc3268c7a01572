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

/// A timer that is later than this went off after a stall, perhaps of the whole machine: then the kernel is given as long to take in
/// what the network holds for us, before we believe that it is nothing.
const LATE: Duration = Duration::from_millis(20);

/// The time between two polls of a probe that waits. Most probes have ended before the first.
const WAIT: Duration = Duration::from_millis(250);

/// How often a probe may look at a socket after its time is up. Of what is there by then a probe needs no more; a peer that goes on and on
/// has no right to our thread.
const LOOKS: u8 = 64;

/// What a probe has come to. The probe keeps it; whoever watches the clock reads it when time is up.
///
/// A deadline that passes while this process does not run, or has too much to do, does not prove much: the peer may have answered
/// long ago, or may have been asked late. So when time is up the probe is polled once more, for a *last look*: whoever waits for
/// the peer looks at the socket itself, since the poller may not have come to its report yet. A peer that was asked in good time
/// and of which nothing is there even then is [silent](hc_types::TimeoutEvidence::silent).
#[derive(Debug)]
pub(crate) struct Progress {
    phase: Cell<Phase>,
    /// When something last went to the peer or came from it.
    exchanged: Cell<Instant>,
    /// The looks that are left, once time is up.
    looks: Cell<u8>,
    nothing_there: Cell<bool>,
    /// Why the latest datagram of this phase was ignored.
    stray: Cell<Option<Stray>>,
}

impl Progress {
    fn new() -> Self {
        Self {
            phase: Cell::new(Phase::Connect),
            exchanged: Cell::new(Instant::now()),
            looks: Cell::new(0),
            nothing_there: Cell::new(false),
            stray: Cell::new(None),
        }
    }

    /// That of a probe whose time is up.
    #[cfg(test)]
    pub(crate) fn at_last_look() -> Self {
        let progress = Self::new();
        progress.looks.set(LOOKS);
        progress
    }

    /// The probe enters `phase`. What was ignored in the phase before has no part in a timeout from here on.
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

    /// Something has just gone to the peer or come from it.
    pub(crate) fn exchanged(&self) {
        self.exchanged.set(Instant::now());
    }

    /// For whoever waits for the peer and found nothing: at the last look, `look` is called, and says what the socket has.
    pub(crate) fn look_once_more<T>(&self, look: impl FnOnce() -> Poll<T>) -> Poll<T> {
        self.nothing_there.set(false);
        let Some(left) = self.looks.get().checked_sub(1) else { return Poll::Pending };
        self.looks.set(left);
        let looked = look();
        self.nothing_there.set(looked.is_pending());
        looked
    }

    /// Waits for `event`, with which the peer is heard. At the last look, `look` says what the socket has.
    ///
    /// # Cancel safety
    /// That of `event`.
    pub(crate) async fn hear<T>(
        &self,
        mut event: Pin<&mut impl Future<Output = T>>,
        look: impl Fn() -> Poll<T>,
    ) -> T {
        let heard = poll_fn(|context| match event.as_mut().poll(context) {
            Poll::Pending => self.look_once_more(&look),
            heard => heard,
        });
        let heard = heard.await;
        self.exchanged();
        heard
    }
}

/// Runs `probe` for at most `timeout`, counted from the first poll, with one timer for all of it. A probe that is not
/// done by then failed with [`Failure::Timeout`]in the phase that it was in.
///
/// The probe is polled before the timer, and once more after it: an answer that is there wins over a deadline that has passed.
///
/// # Cancel safety
/// Dropping the future drops the probe, and with it its sockets.
pub(crate) async fn within<F>(timeout: Duration, probe: F) -> Outcome
where
    F: AsyncFnOnce(&Progress) -> Result<Outcome, ProbeError>,
{
    limit(timeout, probe).await.unwrap_or_else(Outcome::from)
}

/// Like [`within`], for a probe with something left to do after its verdict.
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
    progress.looks.set(LOOKS);
    let mut may_be_early = begun.elapsed() > timeout + LATE;
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
        sleep(LATE).await;
    }
}

/// Polls `probe` until it is done or time is up, and a few times in between, so that what is around it sees it wait (`path`).
async fn until_deadline<T>(
    begun: Instant,
    timeout: Duration,
    mut probe: Pin<&mut impl Future<Output = T>>,
) -> Option<T> {
    let deadline = begun + timeout;
    let mut timer = pin!(sleep_until(begun + WAIT.min(timeout / 2)));
    poll_fn(|context| {
        if let Poll::Ready(done) = probe.as_mut().poll(context) {
            return Poll::Ready(Some(done));
        }
        // Also when the probe has used up its turn: a peer that goes on and on does not stop the clock.
        while pin!(unconstrained(timer.as_mut())).poll(context).is_ready() {
            let now = Instant::now();
            if now >= deadline {
                return Poll::Ready(None);
            }
            timer.as_mut().reset((now + WAIT).min(deadline));
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
