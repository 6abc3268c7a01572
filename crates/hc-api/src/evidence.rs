//! What probes saw.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hc_types::{
    CheckSpec, ConnectionOrigin, Evidence, Failure, Outcome, PhaseTimes, ProbeSpec, TlsFacts, quote, verdict,
};
use serde::{Deserialize, Serialize};

/// One probe: what it found, and what it saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ProbeState {
    /// When it began. RFC 3339, UTC.
    #[serde(with = "crate::time")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub time: SystemTime,
    /// How long it took, in seconds.
    pub duration_seconds: f64,
    /// The result as a fixed word: `pass`, `refused`, `timeout_connect` and so on.
    pub reason: String,
    /// The result in words.
    pub message: String,
    /// The rule that made this result of what was seen.
    pub rule: String,
    /// How long each phase took, in seconds.
    pub phases_seconds: Phases,
    /// How its connection came about, unless it was a new one without anything kept: `resumed` for
    /// a new one that resumed a TLS session, `reused` for one that an earlier probe had made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// Where the answer differs from the expected bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differs: Option<Difference>,
    /// The first kilobyte of an answer that failed, in double quotes and with what is not printable
    /// escaped, as Go's `%q` does. Absent where none came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// What the TLS handshake came to, of a probe that spoke TLS and failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsState>,
}

impl ProbeState {
    /// A probe of `spec` that began at `time`.
    #[must_use]
    pub fn new(
        spec: &CheckSpec,
        time: SystemTime,
        duration: Duration,
        outcome: &Outcome,
        evidence: &Evidence,
    ) -> Self {
        let seen = evidence.seen.as_deref();
        Self {
            time,
            duration_seconds: duration.as_secs_f64(),
            reason: outcome.label().to_owned(),
            message: spec.text(outcome),
            rule: verdict::rule(outcome).to_owned(),
            phases_seconds: evidence.phases.into(),
            connection: word_for(evidence.origin),
            differs: Difference::of(spec, outcome),
            answer: seen.filter(|seen| !seen.answer.is_empty()).map(|seen| quote(seen.answer.as_slice())),
            tls: seen.and_then(|seen| seen.tls.as_ref()).map(|facts| TlsState::new(facts, time)),
        }
    }
}

/// The word for a connection that is not simply new.
fn word_for(origin: ConnectionOrigin) -> Option<String> {
    (origin != ConnectionOrigin::New).then(|| origin.label().to_owned())
}

/// How long each phase of a probe took, in seconds. A phase that it did not come to is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Phases {
    /// Until the TCP connection stood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<f64>,
    /// The TLS handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<f64>,
    /// Until the request was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send: Option<f64>,
    /// From then until the first byte of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<f64>,
    /// From then until the verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<f64>,
}

impl Phases {
    /// The phases that the probe came to, with their names, in order.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, f64)> + use<> {
        let seconds = [self.connect, self.tls, self.send, self.first_byte, self.response];
        PhaseTimes::NAMES.into_iter().zip(seconds).filter_map(|(name, seconds)| Some((name, seconds?)))
    }
}

impl From<PhaseTimes> for Phases {
    fn from(phases: PhaseTimes) -> Self {
        let seconds = |micros: u32| (micros > 0).then(|| f64::from(micros) / 1e6);
        let PhaseTimes { connect, tls, send, first_byte, response } = phases;
        Self {
            connect: seconds(connect),
            tls: seconds(tls),
            send: seconds(send),
            first_byte: seconds(first_byte),
            response: seconds(response),
        }
    }
}

/// Where an answer differs from the expected bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Difference {
    /// How many bytes are equal.
    pub offset: u64,
    /// What was expected from there on, quoted as `answer` is; at most 64 bytes.
    pub expected: String,
    /// What came from there on, at most 64 bytes. `""`: the answer ended there.
    pub got: String,
}

impl Difference {
    /// How many bytes of each are shown.
    const SHOWN: usize = 64;

    fn of(spec: &CheckSpec, outcome: &Outcome) -> Option<Self> {
        let Outcome::Fail(Failure::BodyMismatch(mismatch)) = outcome else { return None };
        let expected = match spec.probe() {
            ProbeSpec::Tcp(tcp) => tcp.receive.as_slice(),
            ProbeSpec::Udp(udp) => udp.receive.as_slice(),
            ProbeSpec::Http(http) => http.expected_body.as_slice(),
            _ => return None,
        };
        let got = mismatch.got.as_slice();
        let offset = expected.iter().zip(got).take_while(|(expected, got)| expected == got).count();
        // Of a long answer not enough is kept to tell.
        if offset == got.len() && got.len() == hc_types::Mismatch::KEPT {
            return None;
        }
        let shown = |bytes: &[u8]| quote(&bytes[offset..bytes.len().min(offset + Self::SHOWN)]);
        Some(Self { offset: offset as u64, expected: shown(expected), got: shown(got) })
    }
}

/// What a TLS handshake came to. Texts are empty where it did not come so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct TlsState {
    /// The version, such as `TLS 1.3`.
    pub version: String,
    /// The cipher suite, such as `TLS_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// Whom the certificate names.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// When it expires. RFC 3339, UTC.
    #[serde(default, with = "crate::time::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub not_after: Option<SystemTime>,
    /// Whole days from the probe until then; negative once it has expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days_left: Option<i64>,
}

impl TlsState {
    fn new(facts: &TlsFacts, time: SystemTime) -> Self {
        let not_after = facts.not_after.and_then(|seconds| u64::try_from(seconds).ok());
        Self {
            version: facts.version.to_string(),
            cipher: facts.cipher.to_string(),
            subject: facts.subject.to_string(),
            issuer: facts.issuer.to_string(),
            not_after: not_after.and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds))),
            days_left: facts.days_left(time),
        }
    }
}

/// How long the probes of a check took that ended in a verdict.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct LatencyState {
    /// The phases of the latest one, in seconds.
    pub latest_seconds: Phases,
    /// An average in which the latest probes weigh most, in seconds.
    pub mean_seconds: f64,
    /// The longest, in seconds.
    pub max_seconds: f64,
    /// How the connection of the latest one came about, unless it was a new one without anything
    /// kept: `resumed` for a new one that resumed a TLS session, `reused` for one that an earlier
    /// probe had made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// The timeout that the latest passes suggest, in seconds. Absent unless the check asks for it
    /// (`adaptive_timeout`), and before enough probes have passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggested_timeout_seconds: Option<f64>,
}

impl LatencyState {
    /// The phases of the latest probe; mean and maximum in microseconds.
    #[must_use]
    pub fn new(latest: PhaseTimes, mean: u32, max: u32) -> Self {
        let seconds = |micros: u32| f64::from(micros) / 1e6;
        Self {
            latest_seconds: latest.into(),
            mean_seconds: seconds(mean),
            max_seconds: seconds(max),
            connection: None,
            suggested_timeout_seconds: None,
        }
    }

    /// The same with how the connection of the latest probe came about.
    #[must_use]
    pub fn over(self, origin: ConnectionOrigin) -> Self {
        Self { connection: word_for(origin), ..self }
    }

    /// The same with the timeout that the latest passes suggest.
    #[must_use]
    pub fn suggesting(self, timeout: Option<Duration>) -> Self {
        Self { suggested_timeout_seconds: timeout.map(|timeout| timeout.as_secs_f64()), ..self }
    }
}

#[cfg(test)]
mod tests {
    use hc_types::{Mismatch, Seen, Target, TcpProbe, Timing};
    use serde_json::json;

    use super::*;

    fn banner(expected: &[u8]) -> CheckSpec {
        let second = Duration::from_secs(1);
        let tcp = TcpProbe { receive: expected.into(), ..TcpProbe::default() };
        let target = Target::plain([192, 0, 2, 1].into(), 25);
        CheckSpec::new(target, ProbeSpec::Tcp(tcp), Timing::every(second).timeout(second)).unwrap()
    }

    #[test]
    fn a_probe_says_what_it_saw() {
        let tls = TlsFacts { version: "TLS 1.3".into(), not_after: Some(200_000), ..TlsFacts::default() };
        let evidence = Evidence {
            phases: PhaseTimes { connect: 1500, first_byte: 1, ..PhaseTimes::default() },
            seen: Some(Box::new(Seen { answer: b"221 \xff\r\n".into(), tls: Some(tls) })),
            ..Evidence::default()
        };
        let outcome = Failure::BodyMismatch(Box::new(Mismatch::new(b"221 ", None))).into();
        let spec = banner(b"220 ");
        let state = ProbeState::new(&spec, UNIX_EPOCH, Duration::from_millis(2), &outcome, &evidence);
        let json = serde_json::to_value(&state).unwrap();
        assert_eq!(
            json,
            json!({
                "time": "1970-01-01T00:00:00.000Z", "duration_seconds": 0.002, "reason": "body_mismatch",
                "message": spec.text(&outcome), "rule": "The answer does not have the expected bytes.",
                "phases_seconds": {"connect": 0.0015, "first_byte": 0.000_001},
                "differs": {"offset": 2, "expected": "\"0 \"", "got": "\"1 \""},
                "answer": "\"221 \\xff\\r\\n\"",
                "tls": {"version": "TLS 1.3", "cipher": "", "subject": "", "issuer": "",
                        "not_after": "1970-01-03T07:33:20.000Z", "days_left": 2},
            })
        );
        assert_eq!(serde_json::from_value::<ProbeState>(json).unwrap(), state);
    }

    #[test]
    fn the_first_byte_that_differs_is_found() {
        let differs = |expected: &[u8], got: &[u8]| {
            let outcome = Failure::BodyMismatch(Box::new(Mismatch::new(got, None))).into();
            Difference::of(&banner(expected), &outcome).map(|one| (one.offset, one.expected, one.got))
        };
        let texts = |offset, expected: &str, got: &str| Some((offset, expected.into(), got.into()));
        assert_eq!(differs(b"220", b"220"), texts(3, "\"\"", "\"\""));
        assert_eq!(differs(b"220 ", b"22"), texts(2, "\"0 \"", "\"\""));
        assert_eq!(differs(b"OK", b"ok"), texts(0, "\"OK\"", "\"ok\""));
        let long = [b'x'; 200];
        assert_eq!(differs(&long, &long[..150]), None, "what differs was not kept");
        assert_eq!(Difference::of(&banner(b""), &Failure::Refused.into()), None);
    }
}
