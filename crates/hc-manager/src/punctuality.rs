//! Whether this process ran when it meant to.
//!
//! While probes are in flight the shard's loop means to run every few milliseconds. When it runs much later than it meant
//! to, because the process was stopped, its CPU quota was used up or the loop had too much to do, the time in between is a
//! *stall*: answers that came then went unread and deadlines that passed then prove nothing.

use std::time::Duration;

use hc_types::{Failure, Outcome, verdict};

use crate::schedule::{Nanos, nanos};

/// Time between two beats while probes are in flight.
const BEAT: Nanos = 10_000_000;

/// A beat may be this late before it counts: timers, other threads and the scheduler's slices are well below.
const TOLERATED: Nanos = 20_000_000;

/// Adds up the stalls of one shard.
#[derive(Debug, Default)]
pub(crate) struct Punctuality {
    expected: Option<Nanos>,
    stalled: Nanos,
}

impl Punctuality {
    /// The loop runs. Gives the length of the stall that ends here, if one does.
    pub(crate) fn beat(&mut self, now: Nanos) -> Option<Nanos> {
        let late = now.saturating_sub(self.expected?);
        if late <= TOLERATED {
            return None;
        }
        self.stalled = self.stalled.saturating_add(late);
        // What is done before the next rest, a large set of orders for example, is not done unseen.
        self.expected = Some(now.saturating_add(BEAT));
        Some(late)
    }

    /// The loop goes to rest after a turn that began at `now`. Nothing is expected of it while no probe is in flight.
    pub(crate) fn rest(&mut self, now: Nanos, in_flight: bool) {
        self.expected = in_flight.then(|| now.saturating_add(BEAT));
    }

    /// When the loop should run next, whatever else there is to do.
    pub(crate) fn expected(&self) -> Option<Nanos> {
        self.expected
    }

    /// All stalls up to now. Kept with a probe at its start, it tells at the end how long of the flight was lost.
    pub(crate) fn stalled(&self) -> Nanos {
        self.stalled
    }
}

/// So many silences in a row prove that the backend is silent, whatever was lost, if they also took [`PROOF_TIME`].
///
/// One does not: when the whole machine stood still, what the backend said may have been lost on the way or wait in the network. But
/// this does not happen each time, and where no flight is without a stall, as under a quota of processor time that is used up again
/// and again, nothing else ever tells that a backend is dead.
const PROOF: u8 = 3;

/// What is excused is soon tried again, so that with short timeouts one and the same disturbance could be met three times.
const PROOF_TIME: Milliseconds = 2000;

/// Of the same clock, as far as they fit: a check at rest is small, and differences of up to 49 days are right.
type Milliseconds = u32;

#[allow(clippy::cast_possible_truncation, reason = "it is meant to wrap around")]
fn milliseconds(at: Nanos) -> Milliseconds {
    (at / 1_000_000) as Milliseconds
}

/// The silences of one check in a row, up to its latest result.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Silences {
    count: u8,
    /// When the first of these probes began.
    since: Milliseconds,
}

impl Silences {
    /// Takes the next result, of a probe between these moments. Gives whether the backend is proven silent.
    pub(crate) fn note(&mut self, outcome: &Outcome, began: Nanos, ended: Nanos) -> bool {
        if !verdict::is_silence(outcome) {
            self.count = 0;
            return false;
        }
        if self.count == 0 {
            self.since = milliseconds(began);
        }
        self.count = self.count.saturating_add(1);
        self.count >= PROOF && milliseconds(ended).wrapping_sub(self.since) >= PROOF_TIME
    }
}

/// Whether a result says nothing about the backend when `stalled` of its flight was lost: more than 20 ms and than a tenth of
/// the timeout, and the stall may have brought the result about. Other answers are what the backend says, however late we read
/// them.
pub(crate) fn excused(outcome: &Outcome, stalled: Nanos, timeout: Duration) -> bool {
    matches!(outcome, Outcome::Fail(failure) if may_be_impatience(failure))
        && stalled > TOLERATED.max(nanos(timeout) / 10)
}

/// A deadline that passed, or what a peer does that waited for us for too long: it closes, resets, says so in words of its
/// protocol, sends a TLS alert (which is among the reasons of [`Failure::Tls`]) or an HTTP 408 (RFC 9110 section 15.5.9).
fn may_be_impatience(failure: &Failure) -> bool {
    let is_408 = |status: &str| status.starts_with("408");
    match failure {
        Failure::Timeout { .. }
        | Failure::Reset(_)
        | Failure::ResetAfter(_)
        | Failure::Closed { .. }
        | Failure::Tls(_) => true,
        Failure::Status { got } => is_408(got),
        Failure::BodyMismatch(mismatch) => mismatch.status.as_deref().is_none_or(is_408),
        Failure::Refused
        | Failure::Unreachable(_)
        | Failure::PathDown { .. }
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
    use hc_types::{LocalFault, Mismatch, Phase, Stray, TimeoutEvidence, Unreachable};

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
        // A second one before the loop has come to rest: 10 ms were its own.
        assert_eq!(punctuality.beat(1066 * MS), Some(990 * MS));
        punctuality.rest(1066 * MS, true);
        assert_eq!(punctuality.beat(11_076 * MS), Some(10_000 * MS));
        assert_eq!(punctuality.stalled(), 11_011 * MS);
        // And nothing is expected when nothing is in flight.
        punctuality.rest(11_076 * MS, false);
        assert_eq!(punctuality.beat(60_000 * MS), None);
    }

    #[test]
    fn an_idle_shard_cannot_be_late() {
        let mut punctuality = Punctuality::default();
        punctuality.rest(0, true);
        punctuality.rest(5 * MS, false);
        assert_eq!(punctuality.expected(), None);
        assert_eq!(punctuality.beat(60_000 * MS), None);
        assert_eq!(punctuality.stalled(), 0);
    }

    #[track_caller]
    fn check_excused(outcome: impl Into<Outcome>, stalled_ms: u64, timeout_ms: u64, expected: bool) {
        let timeout = Duration::from_millis(timeout_ms);
        assert_eq!(excused(&outcome.into(), stalled_ms * MS, timeout), expected);
    }

    #[test]
    fn what_a_stall_may_have_brought_about_is_excused() {
        let timeout = || Failure::timeout(Phase::Connect);
        check_excused(timeout(), 0, 100, false);
        check_excused(timeout(), 20, 100, false);
        check_excused(timeout(), 21, 100, true);
        check_excused(timeout(), 100, 1000, false);
        check_excused(timeout(), 101, 1000, true);
        check_excused(Failure::silence(Phase::Connect), 100, 1000, false);
        check_excused(Failure::silence(Phase::Connect), 101, 1000, true);
        check_excused(
            Failure::Timeout { phase: Phase::Response, evidence: TimeoutEvidence::stray(Stray::OtherId) },
            101,
            1000,
            true,
        );
        check_excused(Failure::Closed { heard: None }, 100, 1000, false);
        check_excused(Failure::Closed { heard: None }, 101, 1000, true);
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

    #[test]
    fn silence_that_goes_on_is_proven() {
        const SECOND: Nanos = 1000 * MS;
        let silence = || Outcome::Fail(Failure::silence(Phase::Connect));
        let ends = [
            Outcome::PASS,
            Failure::timeout(Phase::Connect).into(),
            Failure::Refused.into(),
            LocalFault::Ports.into(),
        ];
        let mut silences = Silences::default();
        for (begin, end) in (1..).zip(ends) {
            let begin = begin * 100 * SECOND;
            for (nth, proven) in [(0, false), (1, false), (2, true), (3, true)] {
                let began = begin + nth * SECOND;
                assert_eq!(silences.note(&silence(), began, began + SECOND), proven, "{end:?}, {nth}");
            }
            assert!(!silences.note(&end, begin + 4 * SECOND, begin + 5 * SECOND));
        }
        // Not before it has taken its time.
        for (nth, proven) in [(0, false), (1, false), (2, false), (18, false), (19, true)] {
            assert_eq!(silences.note(&silence(), nth * 100 * MS, (nth + 1) * 100 * MS), proven, "{nth}");
        }
    }
}
