//! Whether this process ran when it meant to.
//!
//! While probes are in flight the shard's loop means to run every few milliseconds. When it runs much later than it meant
//! to, because the process was stopped, its CPU quota was used up or the loop had too much to do, the time in between is a
//! *stall*: answers that came then went unread and deadlines that passed then prove nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use hc_types::{Failure, Outcome};

use crate::schedule::{Nanos, nanos};

/// Time between two beats while probes are in flight.
const BEAT: Nanos = 10_000_000;

/// A beat may be this late before it counts: timers, other threads and the scheduler's slices are well below.
const TOLERATED: Nanos = 20_000_000;

/// After so many excused results in a row, timeouts count if the backend had its time.
const EXCUSES: u8 = 3;

/// Means "nothing is expected". The clock does not get there.
const NEVER: Nanos = Nanos::MAX;

/// The stalls of one shard, added up.
///
/// Of one thread, which is why no order of memory is asked for; atomics let the shard be made on another.
#[derive(Debug)]
pub(crate) struct Account {
    stalled: AtomicU64,
    expected: AtomicU64,
}

impl Account {
    /// All time lost up to `now`. What is lost by a beat that is overdue counts while it is.
    pub(crate) fn lost(&self, now: Nanos) -> Nanos {
        self.stalled.load(Relaxed).saturating_add(self.stall(now).unwrap_or(0))
    }

    /// How late the beat is that is expected, if that is too late.
    fn stall(&self, now: Nanos) -> Option<Nanos> {
        Some(now.saturating_sub(self.expected.load(Relaxed))).filter(|late| *late > TOLERATED)
    }
}

/// Keeps the account of one shard.
#[derive(Debug)]
pub(crate) struct Punctuality(Arc<Account>);

impl Default for Punctuality {
    fn default() -> Self {
        Self(Arc::new(Account { stalled: AtomicU64::new(0), expected: AtomicU64::new(NEVER) }))
    }
}

impl Punctuality {
    /// The loop runs. Gives the length of the stall that ends here, if one does.
    pub(crate) fn beat(&mut self, now: Nanos) -> Option<Nanos> {
        let late = self.0.stall(now)?;
        self.0.stalled.store(self.0.stalled.load(Relaxed).saturating_add(late), Relaxed);
        self.0.expected.store(NEVER, Relaxed);
        Some(late)
    }

    /// The loop goes to rest after a turn that began at `now`. Nothing is expected of it while no probe is in flight.
    pub(crate) fn rest(&mut self, now: Nanos, in_flight: bool) {
        self.0.expected.store(if in_flight { now.saturating_add(BEAT) } else { NEVER }, Relaxed);
    }

    /// When the loop should run next, whatever else there is to do.
    pub(crate) fn expected(&self) -> Option<Nanos> {
        Some(self.0.expected.load(Relaxed)).filter(|expected| *expected != NEVER)
    }

    /// The account, for whoever is owed what was lost.
    pub(crate) fn account(&self) -> Arc<Account> {
        Arc::clone(&self.0)
    }
}

/// How long a probe was in flight, and how much of that was lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) took: Nanos,
    pub(crate) lost: Nanos,
}

/// What lost time makes of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// Nothing: it is what the backend says.
    None,
    /// It says nothing about the backend.
    Excused,
    /// It counts, since results like it have been excused for long enough.
    Overruled,
}

/// Judges a result of whose flight so much was lost. More than 20 ms, and than a tenth of the timeout, may have brought a timeout
/// or the impatience of the peer about. Other answers are what the backend says, however late we read them.
///
/// A stall comes and goes, and the next probe tells. Where there is always one, a backend that is silent has to be found out all
/// the same: after three excused results of a check in a row, every further timeout counts if the probe waited for the whole of
/// it in time that was not lost.
pub(crate) fn doubt(outcome: &Outcome, span: Span, timeout: Duration, excuses: u8) -> Doubt {
    let Outcome::Fail(failure) = outcome else { return Doubt::None };
    let timeout = nanos(timeout);
    if span.lost <= TOLERATED.max(timeout / 10) || !may_be_impatience(failure) {
        return Doubt::None;
    }
    // The account grows by a leap when a beat becomes overdue, which it may do between the prober's last look and ours.
    let had_its_time = span.took.saturating_sub(span.lost).saturating_add(TOLERATED) >= timeout;
    if matches!(failure, Failure::Timeout(_)) && excuses >= EXCUSES && had_its_time {
        return Doubt::Overruled;
    }
    Doubt::Excused
}

/// A deadline that passed, or what a peer does that waited for us for too long: it closes, resets, says so in words of its
/// protocol, sends a TLS alert (which is among the reasons of [`Failure::Tls`]) or an HTTP 408 (RFC 9110 section 15.5.9).
fn may_be_impatience(failure: &Failure) -> bool {
    let is_408 = |status: &str| status.starts_with("408");
    match failure {
        Failure::Timeout(_) | Failure::Reset(_) | Failure::Closed { .. } | Failure::Tls(_) => true,
        Failure::Status { got } => is_408(got),
        Failure::BodyMismatch(mismatch) => mismatch.status.as_deref().is_none_or(is_408),
        Failure::Refused
        | Failure::Unreachable(_)
        | Failure::DnsRcode(_)
        | Failure::WrongAnswer(_)
        | Failure::RadiusCode(_)
        | Failure::BadAuthenticator(_)
        | Failure::MalformedReply(_)
        | Failure::BadRequest(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use hc_types::{LocalFault, Mismatch, Phase, Unreachable};

    use super::*;

    const MS: Nanos = 1_000_000;

    #[test]
    fn only_late_beats_are_stalls() {
        let mut punctuality = Punctuality::default();
        assert_eq!(punctuality.beat(5 * MS), None);
        punctuality.rest(5 * MS, true);
        assert_eq!(punctuality.expected(), Some(15 * MS));
        assert_eq!(punctuality.beat(35 * MS), None);
        punctuality.rest(35 * MS, true);
        assert_eq!(punctuality.beat(66 * MS), Some(21 * MS));
        assert_eq!(punctuality.beat(1066 * MS), None); // nothing was expected since
        punctuality.rest(1066 * MS, true);
        assert_eq!(punctuality.beat(11_076 * MS), Some(10_000 * MS));
        assert_eq!(punctuality.account().lost(11_076 * MS), 10_021 * MS);
    }

    #[test]
    fn an_idle_shard_cannot_be_late() {
        let mut punctuality = Punctuality::default();
        punctuality.rest(0, true);
        punctuality.rest(5 * MS, false);
        assert_eq!(punctuality.expected(), None);
        assert_eq!(punctuality.beat(60_000 * MS), None);
        assert_eq!(punctuality.account().lost(60_000 * MS), 0);
    }

    #[track_caller]
    fn check_excused(outcome: impl Into<Outcome>, stalled_ms: u64, timeout_ms: u64, expected: bool) {
        let timeout = Duration::from_millis(timeout_ms);
        let span = Span { took: timeout_ms * MS, lost: stalled_ms * MS };
        let doubt = doubt(&outcome.into(), span, timeout, 0);
        assert_eq!(doubt, if expected { Doubt::Excused } else { Doubt::None });
    }

    #[test]
    fn what_an_overdue_beat_loses_counts_at_once() {
        let mut punctuality = Punctuality::default();
        let account = punctuality.account();
        punctuality.rest(0, true);
        assert_eq!(account.lost(30 * MS), 0);
        assert_eq!(account.lost(31 * MS), 21 * MS);
        assert_eq!(account.lost(110 * MS), 100 * MS);
        assert_eq!(punctuality.beat(110 * MS), Some(100 * MS));
        assert_eq!(account.lost(150 * MS), 100 * MS);
    }

    #[track_caller]
    fn check_again(outcome: impl Into<Outcome>, took_ms: u64, lost_ms: u64, excuses: u8, expected: Doubt) {
        let span = Span { took: took_ms * MS, lost: lost_ms * MS };
        assert_eq!(doubt(&outcome.into(), span, Duration::from_secs(1), excuses), expected);
    }

    #[test]
    fn a_timeout_is_not_excused_for_ever() {
        let timeout = || Failure::Timeout(Phase::Connect);
        check_again(timeout(), 3000, 2000, 0, Doubt::Excused);
        check_again(timeout(), 3000, 2000, 2, Doubt::Excused);
        check_again(timeout(), 3000, 2000, 3, Doubt::Overruled);
        check_again(timeout(), 3000, 2000, 255, Doubt::Overruled);
        check_again(timeout(), 3000, 2020, 3, Doubt::Overruled);
        check_again(timeout(), 3000, 2021, 3, Doubt::Excused); // it had less than its time
        check_again(timeout(), 32_000, 31_900, 255, Doubt::Excused);
        check_again(timeout(), 1000, 100, 3, Doubt::None);
        // Whoever was kept waiting for too long may have given up however long we went on.
        check_again(Failure::Closed { partial: true }, 3000, 2000, 3, Doubt::Excused);
    }

    #[test]
    fn what_a_stall_may_have_brought_about_is_excused() {
        let timeout = || Failure::Timeout(Phase::Connect);
        check_excused(timeout(), 0, 100, false);
        check_excused(timeout(), 20, 100, false);
        check_excused(timeout(), 21, 100, true);
        check_excused(timeout(), 100, 1000, false);
        check_excused(timeout(), 101, 1000, true);
        check_excused(Failure::Closed { partial: true }, 100, 1000, false);
        check_excused(Failure::Closed { partial: true }, 101, 1000, true);
        check_excused(Failure::Reset(Phase::Tls), 101, 1000, true);
        check_excused(Failure::Tls("alert".into()), 101, 1000, true);
        check_excused(Failure::Status { got: "408 Request Timeout".into() }, 101, 1000, true);
        let mismatch = |got, status| Failure::BodyMismatch(Box::new(Mismatch::new(got, status)));
        check_excused(mismatch(b"late", Some("408 Request Timeout".into())), 101, 1000, true);
        check_excused(mismatch(b"421 idle for too long", None), 101, 1000, true);
    }

    #[test]
    fn an_answer_is_an_answer_however_late_it_is_read() {
        check_excused(Outcome::PASS, 5000, 1000, false);
        check_excused(LocalFault::Ports, 5000, 1000, false);
        check_excused(Failure::Refused, 5000, 1000, false);
        check_excused(Failure::Unreachable(Unreachable::Host), 5000, 1000, false);
        check_excused(Failure::Status { got: "503 Service Unavailable".into() }, 5000, 1000, false);
        let mismatch = Mismatch::new(b"bad", Some("200 OK".into()));
        check_excused(Failure::BodyMismatch(Box::new(mismatch)), 5000, 1000, false);
        check_excused(Failure::DnsRcode(3), 5000, 1000, false);
        check_excused(Failure::RadiusCode(3), 5000, 1000, false);
    }
}
