//! What a probe saw on its way to its outcome.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{Outcome, RawBytes};

/// The result of one probe: what it found, and what it saw on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeResult {
    /// What it found.
    pub outcome: Outcome,
    /// What it saw.
    pub evidence: Evidence,
}

impl From<Outcome> for ProbeResult {
    /// A result without evidence.
    fn from(outcome: Outcome) -> Self {
        Self { outcome, evidence: Evidence::default() }
    }
}

/// What a probe saw on its way to its outcome. 32 bytes; what only failures need is behind a
/// pointer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// How long each phase took.
    pub phases: PhaseTimes,
    /// What the peer said. Kept of probes that failed, and of all if the prober was asked to.
    pub seen: Option<Box<Seen>>,
    /// How its connection came about.
    pub origin: ConnectionOrigin,
}

/// How the connection of a probe came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionOrigin {
    /// It is a new one, with a full handshake if it has TLS; or the probe has none.
    #[default]
    New,
    /// It is a new one, which has resumed the TLS session of an earlier one: no certificate was
    /// sent.
    Resumed,
    /// It was made by an earlier probe and kept since.
    Reused,
}

impl ConnectionOrigin {
    /// A word for it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Resumed => "resumed",
            Self::Reused => "reused",
        }
    }
}

/// How long each phase of a probe took, in microseconds: rounded up, so 0 is a phase that the probe
/// did not come to. Times above 71 minutes are `u32::MAX`.
///
/// A phase ends with the last bytes that went or came in it, and at a deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhaseTimes {
    /// Until the TCP connection stood, name of the peer excluded: no name is looked up.
    pub connect: u32,
    /// The TLS handshake.
    pub tls: u32,
    /// Until the request was written; for datagrams, opening the socket included.
    pub send: u32,
    /// From then until the first byte of the answer.
    pub first_byte: u32,
    /// From then until as much of the answer was there as the verdict needed.
    pub response: u32,
}

impl PhaseTimes {
    /// The names of the phases, in the order in which a probe goes through them.
    pub const NAMES: [&'static str; 5] = ["connect", "tls", "send", "first_byte", "response"];

    /// Microseconds by phase, in the order of [`NAMES`](Self::NAMES).
    #[must_use]
    pub const fn micros(&self) -> [u32; 5] {
        [self.connect, self.tls, self.send, self.first_byte, self.response]
    }

    /// The phases that the probe came to, with their names.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, Duration)> + use<> {
        let named = Self::NAMES.into_iter().zip(self.micros()).filter(|(_, micros)| *micros > 0);
        named.map(|(name, micros)| (name, Duration::from_micros(micros.into())))
    }

    /// All phases together.
    #[must_use]
    pub fn total(&self) -> Duration {
        Duration::from_micros(self.micros().into_iter().map(u64::from).sum())
    }
}

/// What the peer said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The beginning of the answer, at most [`Seen::KEPT`] bytes. Empty if none came.
    pub answer: RawBytes,
    /// What the TLS handshake came to, as far as it went.
    pub tls: Option<TlsFacts>,
}

impl Seen {
    /// How many bytes of an answer are kept.
    pub const KEPT: usize = 1024;

    /// Whether there is anything in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.answer.is_empty() && self.tls.is_none()
    }
}

/// What a TLS handshake came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// The version: `TLS 1.3`. Empty if the handshake did not come so far.
    pub version: Box<str>,
    /// The name of the cipher suite, such as `TLS_AES_256_GCM_SHA384`. Empty if the handshake did
    /// not come so far.
    pub cipher: Box<str>,
    /// Whom the peer's certificate names: its subject, such as `CN=www.example.com`.
    pub subject: Box<str>,
    /// Who signed it.
    pub issuer: Box<str>,
    /// When it expires, in seconds since 1970.
    pub not_after: Option<i64>,
}

impl TlsFacts {
    /// Whole days from `now` until the certificate expires; negative once it has.
    #[must_use]
    pub fn days_left(&self, now: SystemTime) -> Option<i64> {
        let now = match now.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_secs()).ok()?,
            Err(before) => i64::try_from(before.duration().as_secs()).ok()?.checked_neg()?,
        };
        Some(self.not_after?.saturating_sub(now).div_euclid(24 * 60 * 60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_of_a_probe_that_passed_is_small() {
        assert_eq!(size_of::<Evidence>(), 32);
    }

    #[test]
    fn phases_that_a_probe_came_to_have_names() {
        let phases = PhaseTimes { connect: 1200, first_byte: 30, ..PhaseTimes::default() };
        let named: Vec<_> = phases.named().collect();
        assert_eq!(
            named,
            [("connect", Duration::from_micros(1200)), ("first_byte", Duration::from_micros(30))]
        );
        assert_eq!(phases.total(), Duration::from_micros(1230));
    }

    #[test]
    fn days_left_are_whole_days_and_negative_once_it_has_expired() {
        let day = 24 * 60 * 60;
        let facts = TlsFacts { not_after: Some(10 * day), ..TlsFacts::default() };
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
        for (now, days) in [(0, 10), (1, 9), (9 * 86_400, 1), (10 * 86_400, 0), (10 * 86_400 + 1, -1)] {
            assert_eq!(facts.days_left(at(now)), Some(days), "{now}");
        }
        assert_eq!(TlsFacts::default().days_left(at(0)), None);
    }
}
