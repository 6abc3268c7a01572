//! Whether this process ran when it meant to.
//!
//! While probes are in flight the shard's loop means to run every few milliseconds. When it runs much later than it meant
//! to, because the process was stopped, its CPU quota was used up or the loop had too much to do, the time in between is a
//! *stall*: answers that came then went unread and deadlines that passed then prove nothing.

use std::time::Duration;

use hc_types::{Failure, Outcome};

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
        self.expected = None;
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

/// The deadline of one probe, and what of it may be lost before its result says nothing about the backend.
///
/// A probe that timed out while this process stood still is repeated with the same deadline, then with twice as long a one,
/// four times, … So where processor time is always short a backend that is silent is found out all the same, once it was
/// silent for as long as the check allows, stalls not counted; and one that is merely slow has that long to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    /// The deadline of the check.
    timeout: Duration,
    /// This much is added for what may be lost.
    extra: Duration,
}

/// At most 2^5 times the deadline, which does for a process that has a thirtieth of the time that it wants.
const DOUBLINGS: u8 = 5;

impl Patience {
    /// For a probe of a check with this `timeout`, after so many in a row whose deadline passed during stalls.
    pub(crate) fn new(timeout: Duration, overrun: u8) -> Self {
        let factor = 1 << overrun.saturating_sub(1).min(DOUBLINGS);
        Self { timeout, extra: timeout * (factor - 1) }
    }

    /// The deadline for the probe.
    pub(crate) fn given(self) -> Duration {
        self.timeout + self.extra
    }

    /// Whether a result says nothing about the backend when `lost` of its flight was lost: more than 20 ms and than a tenth
    /// of the check's timeout, and the result is one that the stall may have brought about. A timeout is when the probe had
    /// less than the check's timeout for itself; the end of a connection is, since the peer may have lost patience with us.
    /// Other answers are what the backend says, however late we read them.
    pub(crate) fn excuses(self, outcome: &Outcome, lost: Nanos) -> bool {
        let tolerated = TOLERATED.max(nanos(self.timeout) / 10);
        match outcome {
            Outcome::Fail(Failure::Timeout(_)) => lost > tolerated.saturating_add(nanos(self.extra)),
            Outcome::Fail(failure) => lost > tolerated && ends_a_connection(failure),
            Outcome::Pass { .. } | Outcome::Inconclusive(_) => false,
        }
    }
}

/// Whether the deadline passed.
pub(crate) fn is_timeout(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Fail(Failure::Timeout(_)))
}

/// What a peer does that waited for us for too long: it closes, resets, sends an alert, or an HTTP 408 (RFC 9110 section
/// 15.5.9).
fn ends_a_connection(failure: &Failure) -> bool {
    let is_408 = |status: &str| status.starts_with("408");
    match failure {
        Failure::Reset(_) | Failure::Closed { .. } | Failure::Tls(_) => true,
        Failure::Status { got } => is_408(got),
        Failure::BodyMismatch(mismatch) => mismatch.status.as_deref().is_some_and(is_408),
        _ => false,
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
        assert_eq!(punctuality.stalled(), 10_021 * MS);
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
    fn check_excused(outcome: impl Into<Outcome>, lost_ms: u64, timeout_ms: u64, expected: bool) {
        let patience = Patience::new(Duration::from_millis(timeout_ms), 0);
        assert_eq!(patience.excuses(&outcome.into(), lost_ms * MS), expected);
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
        let late = Mismatch::new(b"late", Some("408 Request Timeout".into()));
        check_excused(Failure::BodyMismatch(Box::new(late)), 101, 1000, true);
    }

    #[test]
    fn an_answer_is_an_answer_however_late_it_is_read() {
        check_excused(Outcome::PASS, 5000, 1000, false);
        check_excused(LocalFault::Ports, 5000, 1000, false);
        check_excused(Failure::Refused, 5000, 1000, false);
        check_excused(Failure::Unreachable(Unreachable::Host), 5000, 1000, false);
        check_excused(Failure::Status { got: "503 Service Unavailable".into() }, 5000, 1000, false);
        check_excused(Failure::BodyMismatch(Box::new(Mismatch::new(b"x", None))), 5000, 1000, false);
        check_excused(Failure::DnsRcode(3), 5000, 1000, false);
        check_excused(Failure::RadiusCode(3), 5000, 1000, false);
    }

    #[test]
    fn lost_time_is_given_back_after_the_second_overrun_in_a_row() {
        let second = Duration::from_secs(1);
        let given = |overrun| Patience::new(second, overrun).given().as_secs();
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7, u8::MAX].map(given), [1, 1, 2, 4, 8, 16, 32, 32, 32]);
        // Of four seconds three may be lost, and a tenth of the one that is the check's.
        let patience = Patience::new(second, 3);
        let timeout = Failure::Timeout(Phase::Response).into();
        assert!(!patience.excuses(&timeout, 3_100 * MS));
        assert!(patience.excuses(&timeout, 3_101 * MS));
        // Nobody waits longer for us because we do.
        assert!(patience.excuses(&Failure::Closed { partial: false }.into(), 101 * MS));
    }
}
