//! One deadline over a whole probe.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use hc_types::verdict::{self, AtDeadline};
use hc_types::{
    ConnectionOrigin, Evidence, Failure, Outcome, Phase, PhaseTimes, ProbeResult, Seen, Stray, TlsFacts,
};
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
///
/// A phase is taken to end with the last bytes that were exchanged in it, so that its time costs no
/// reading of the clock beyond those that the deadline needs.
#[derive(Debug)]
pub(crate) struct Progress {
    phase: Cell<Phase>,
    /// When it began.
    entered: Cell<Instant>,
    /// Of this phase, the first bytes of the answer have come.
    is_answered: Cell<bool>,
    /// Of the phases that have ended.
    phases: Cell<PhaseTimes>,
    seen: RefCell<Option<Box<Seen>>>,
    origin: Cell<ConnectionOrigin>,
    /// When bytes last went to the peer or came from it.
    exchanged: Cell<Instant>,
    /// The final reads that are left. 0 before the deadline.
    final_reads: Cell<u8>,
    nothing_there: Cell<bool>,
    yielded: Cell<Yielded>,
    /// Why the latest datagram of this phase was ignored.
    stray: Cell<Option<Stray>>,
}

/// Whether the probe has let others run before it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Yielded {
    No,
    /// It has woken itself and will be polled again at once.
    Now,
    Before,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            phase: Cell::new(Phase::Connect),
            entered: Cell::new(now),
            is_answered: Cell::new(false),
            phases: Cell::new(PhaseTimes::default()),
            seen: RefCell::default(),
            origin: Cell::default(),
            exchanged: Cell::new(now),
            final_reads: Cell::new(0),
            nothing_there: Cell::new(false),
            yielded: Cell::new(Yielded::No),
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
        self.end_phase(self.exchanged.get());
        self.phase.set(phase);
        self.is_answered.set(false);
        self.stray.set(None);
    }

    /// The bytes that have just come are the first of the answer, unless there were others.
    pub(crate) fn answered(&self) {
        if !self.is_answered.get() {
            self.end_phase(self.exchanged.get());
            self.is_answered.set(true);
        }
    }

    fn end_phase(&self, ended: Instant) {
        let nanos = ended.duration_since(self.entered.get()).as_nanos();
        let micros = u32::try_from(nanos.div_ceil(1000)).unwrap_or(u32::MAX);
        let mut phases = self.phases.get();
        let of_phase = match self.phase.get() {
            Phase::Connect => &mut phases.connect,
            Phase::Tls => &mut phases.tls,
            Phase::Send => &mut phases.send,
            Phase::Response if self.is_answered.get() => &mut phases.response,
            Phase::Response => &mut phases.first_byte,
        };
        // DNS connects a second time, over TCP.
        *of_phase = of_phase.saturating_add(micros);
        self.phases.set(phases);
        self.entered.set(ended);
    }

    /// Keeps the beginning of an answer that fails.
    pub(crate) fn keep_answer(&self, answer: &[u8]) {
        let answer = answer[..answer.len().min(Seen::KEPT)].into();
        self.seen.borrow_mut().get_or_insert_default().answer = answer;
    }

    /// Keeps what the TLS handshake came to.
    pub(crate) fn keep_tls(&self, facts: TlsFacts) {
        self.seen.borrow_mut().get_or_insert_default().tls = Some(facts);
    }

    /// The connection came about in this way.
    pub(crate) fn set_origin(&self, origin: ConnectionOrigin) {
        self.origin.set(origin);
    }

    /// The probe begins once more, with a new connection.
    pub(crate) fn begin_again(&self) {
        self.enter(Phase::Connect);
        self.seen.take();
        self.set_origin(ConnectionOrigin::New);
    }

    /// What the probe saw, up to the last bytes, or up to its deadline if that has passed.
    fn evidence(&self, deadline: Option<Instant>) -> Evidence {
        self.end_phase(deadline.unwrap_or_else(|| self.exchanged.get()));
        let seen = self.seen.take().filter(|seen| !seen.is_empty());
        Evidence { phases: self.phases.get(), seen, origin: self.origin.get() }
    }

    /// Where the probe is.
    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// A datagram came that is not the answer to our request.
    pub(crate) fn ignored(&self, stray: Stray) {
        self.stray.set(Some(stray));
    }

    /// When bytes last went to the peer or came from it.
    pub(crate) fn exchanged_at(&self) -> Instant {
        self.exchanged.get()
    }

    /// True for the first time: then the probe wakes itself and waits, so that others that are
    /// ready run before it. No timer is set for that.
    pub(crate) fn yields_once(&self) -> bool {
        let is_first = self.yielded.get() == Yielded::No;
        self.yielded.set(if is_first { Yielded::Now } else { Yielded::Before });
        is_first
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
pub(crate) async fn within<F>(timeout: Duration, probe: F) -> ProbeResult
where
    F: AsyncFnOnce(&Progress) -> Result<Outcome, ProbeError>,
{
    let (outcome, evidence) = limit(timeout, probe).await;
    ProbeResult { outcome: outcome.unwrap_or_else(Outcome::from), evidence }
}

/// Like [`within`], for a probe that has a connection to close after its verdict.
pub(crate) async fn limit<T, F>(timeout: Duration, probe: F) -> (Result<T, ProbeError>, Evidence)
where
    F: AsyncFnOnce(&Progress) -> Result<T, ProbeError>,
{
    let progress = Progress::new();
    let begun = progress.exchanged.get();
    let mut probe = pin!(probe(&progress));
    if let Some(done) = until_deadline(begun, timeout, &progress, probe.as_mut()).await {
        return (done, progress.evidence(None));
    }
    progress.final_reads.set(MAX_FINAL_READS);
    let mut may_be_early = begun.elapsed() > timeout + LATE_TIMER;
    loop {
        if let Poll::Ready(done) = poll_fn(|context| Poll::Ready(probe.as_mut().poll(context))).await {
            return (done, progress.evidence(None));
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
            return (Err(failure.into()), progress.evidence(Some(begun + timeout)));
        }
        sleep(LATE_TIMER).await;
    }
}

/// Polls `probe` until it is done or the deadline has passed, and every 250 ms in between, so that
/// its caller can look the path up while it waits (`prober`).
async fn until_deadline<T>(
    begun: Instant,
    timeout: Duration,
    progress: &Progress,
    mut probe: Pin<&mut impl Future<Output = T>>,
) -> Option<T> {
    let deadline = begun + timeout;
    let mut timer = pin!(sleep_until(begun + POLL_INTERVAL.min(timeout / 2)));
    poll_fn(|context| {
        if let Poll::Ready(done) = probe.as_mut().poll(context) {
            return Poll::Ready(Some(done));
        }
        if progress.yielded.get() == Yielded::Now {
            progress.yielded.set(Yielded::Before);
            return Poll::Pending;
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
            assert_eq!(outcome.outcome, Failure::timeout(phase).into());
            assert_eq!(outcome.evidence.phases.total(), SECOND);
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
        assert_eq!(outcome.outcome, Failure::timeout(Phase::Response).into());
        assert_eq!(begun.elapsed(), SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn each_phase_has_its_time() {
        let milliseconds = Duration::from_millis;
        let exchange = async |progress: &Progress, time| {
            sleep(milliseconds(time)).await;
            progress.exchanged();
        };
        let result = within(SECOND, async |progress| {
            exchange(progress, 1).await;
            progress.enter(Phase::Tls);
            exchange(progress, 2).await;
            exchange(progress, 3).await;
            progress.enter(Phase::Send);
            exchange(progress, 6).await;
            progress.enter(Phase::Response);
            exchange(progress, 7).await;
            progress.answered();
            exchange(progress, 8).await;
            progress.answered();
            exchange(progress, 9).await;
            // What we do by ourselves belongs to no phase.
            sleep(milliseconds(100)).await;
            Ok(Outcome::PASS)
        });
        let PhaseTimes { connect, tls, send, first_byte, response } = result.await.evidence.phases;
        assert_eq!((connect, tls, send, first_byte, response), (1_000, 5_000, 6_000, 7_000, 17_000));
    }

    #[tokio::test(start_paused = true)]
    async fn the_phase_at_the_deadline_lasted_until_then_and_what_came_is_kept() {
        let result = within(SECOND, async |progress| {
            sleep(SECOND / 10).await;
            progress.exchanged();
            progress.enter(Phase::Response);
            progress.keep_answer(&[b'x'; 2 * Seen::KEPT]);
            std::future::pending().await
        });
        let Evidence { phases, seen, .. } = result.await.evidence;
        assert_eq!((phases.connect, phases.first_byte, phases.response), (100_000, 900_000, 0));
        assert_eq!(seen.unwrap().answer.len(), Seen::KEPT);
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
        assert_eq!(futures_poll_once(probe).await.map(|result| result.outcome), Some(Outcome::PASS));
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
