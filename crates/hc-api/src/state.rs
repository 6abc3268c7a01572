//! One check as it stands.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use hc_types::{
    AdaptiveTimeout, CheckId, CheckSpec, Health, Mode, Needed, Outcome, ProbeSpec, Progress, Status,
};
use serde::{Deserialize, Serialize};

use crate::{OverrideState, ReportedState};

/// One check: what it is and how its backend is. Fields that say nothing are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct CheckState {
    /// The id, as a string of digits: JSON readers in other languages lose digits of numbers above
    /// 2^53.
    pub id: String,
    /// The name, of a check that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What kind of probe: `tcp`, `http`, `dns` and so on.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where probes go: an address with its port, or the address alone for ICMP. The host name, of
    /// the one check of all its addresses.
    pub target: String,
    /// The addresses of that host name, of such a check.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Of such a check: `any` if the probe of one address must pass, `all` if those of each must.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolve: Option<String>,
    /// The host behind the target, of a check in mode DSR or TUN that knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<IpAddr>,
    /// `plain`, `dsr` or `tun`.
    #[serde(default, skip_serializing_if = "is_plain")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub mode: Mode,
    /// The socket mark, of a check that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<u32>,
    /// Whether the backend may get traffic.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub health: Health,
    /// When the health last changed, also before a restart of the server, if that is known. RFC
    /// 3339, UTC.
    #[serde(default, with = "crate::time::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub since: Option<SystemTime>,
    /// Start of the latest probe that ended in a verdict. RFC 3339, UTC.
    #[serde(default, with = "crate::time::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub last_check: Option<SystemTime>,
    /// How long that probe took, in seconds.
    pub duration_seconds: f64,
    /// Time between the starts of two probes, in seconds.
    pub interval_seconds: f64,
    /// Deadline of one probe, in seconds.
    pub timeout_seconds: f64,
    /// Failures in a row that a healthy check survives.
    pub retries: u32,
    /// Passes in a row that make an unhealthy check healthy. Absent where one does.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub rise: u32,
    /// The interval while the health may be about to change, in seconds, where it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fast_interval_seconds: Option<f64>,
    /// `suggest` or `apply`, where the timeout follows from how long probes take, or is suggested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adaptive_timeout: Option<String>,
    /// The interval of an unhealthy check whose probes fail, in seconds, where it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down_interval_seconds: Option<f64>,
    /// How much later than planned a probe may start, in seconds, where it may: at the usual
    /// interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter_seconds: Option<f64>,
    /// How long after it begins the check is first probed, in seconds, where that is not at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_delay_seconds: Option<f64>,
    /// Failures in a row up to now, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures_in_a_row: Option<u32>,
    /// Passes in a row up to now, where that is known. Those before a restart of the server are not
    /// counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passes_in_a_row: Option<u32>,
    /// How many more failures in a row make it unhealthy, where it is healthy and that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures_needed: Option<u64>,
    /// How many more passes in a row make it healthy, where it is unhealthy and that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passes_needed: Option<u32>,
    /// When the next probe is due, where that is known. RFC 3339, UTC.
    #[serde(default, with = "crate::time::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub next_check: Option<SystemTime>,
    /// Failed probes since the check began.
    pub failures: u64,
    /// Passed probes since the check began.
    pub successes: u64,
    /// The latest result as a fixed word: `pass`, `refused`, `timeout_connect` and so on. Absent
    /// before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The latest result in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What somebody should look at although the latest probe passed, such as a certificate that
    /// ends soon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// Present while the checker's own machine is in trouble and the health is the last that was
    /// known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldState>,
    /// Names of the checks that it depends on: while one of them is down, a failure is held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// What consumers get, where that is not the health above, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<ReportedState>,
    /// What operators say of the check.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<OverrideState>,
}

/// Why the health of a check is held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct HeldState {
    /// The fault of the checker's machine, as a fixed word: `local_descriptors` and so on.
    pub reason: String,
    /// The same in words.
    pub message: String,
    /// Since when. RFC 3339, UTC.
    #[serde(with = "crate::time")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub since: SystemTime,
}

impl CheckState {
    /// The state of a check without a name and labels.
    #[must_use]
    pub fn new(id: CheckId, spec: &CheckSpec, status: &Status) -> Self {
        let (target, timing) = (spec.target(), spec.timing());
        let outcome = status.outcome.as_ref();
        let unless_zero =
            |time: Duration| Some(time).filter(|time| !time.is_zero()).map(|time| time.as_secs_f64());
        Self {
            id: id.0.to_string(),
            name: None,
            labels: BTreeMap::new(),
            kind: spec.probe().type_name().to_owned(),
            target: target_text(spec),
            addresses: spec.host_name().map(|host| host.addresses().to_vec()).unwrap_or_default(),
            resolve: spec.host_name().map(|host| host.rule().to_string()),
            backend: target.host().filter(|host| *host != target.ip()),
            mode: target.mode(),
            mark: target.mark().map(hc_types::Mark::get),
            health: status.health,
            since: None,
            last_check: status.last_check,
            duration_seconds: status.duration.as_secs_f64(),
            interval_seconds: spec.interval().as_secs_f64(),
            timeout_seconds: spec.timeout().as_secs_f64(),
            retries: timing.retries,
            rise: timing.rise,
            adaptive_timeout: Some(timing.adaptive_timeout)
                .filter(|adaptive| *adaptive != AdaptiveTimeout::Off)
                .map(|adaptive| adaptive.label().to_owned()),
            fast_interval_seconds: timing.fast_interval.map(|interval| interval.as_secs_f64()),
            down_interval_seconds: timing.down_interval.map(|interval| interval.as_secs_f64()),
            jitter_seconds: unless_zero(timing.jitter.of(timing.interval)),
            start_delay_seconds: unless_zero(timing.start_delay),
            failures_in_a_row: None,
            passes_in_a_row: None,
            failures_needed: None,
            passes_needed: None,
            next_check: None,
            failures: status.failures,
            successes: status.successes,
            reason: outcome.map(|outcome| outcome.label().to_owned()),
            message: status
                .note
                .as_deref()
                .map(str::to_owned)
                .or_else(|| outcome.map(|outcome| spec.text(outcome)))
                .unwrap_or_default(),
            warning: status.warning().map(str::to_owned),
            held: status.held.as_deref().map(|held| HeldState {
                reason: held.fault.label().to_owned(),
                message: held.fault.to_string(),
                since: held.since,
            }),
            depends_on: Vec::new(),
            reported: None,
            overrides: Vec::new(),
        }
    }

    /// The same check under a name.
    #[must_use]
    pub fn with_name(mut self, name: Option<&str>) -> Self {
        self.name = name.map(str::to_owned);
        self
    }

    /// The same check with labels.
    #[must_use]
    pub fn with_labels<'a>(mut self, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        self.labels = labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        self
    }

    /// The same check, with what only its shard knows: since when its health is what it is, what
    /// rise and fall still need, and when the next probe is due.
    #[must_use]
    pub fn with_progress(mut self, spec: &CheckSpec, status: &Status, progress: &Progress) -> Self {
        let passed = matches!(status.outcome, Some(Outcome::Pass(_)));
        // Of what an earlier process left, the failures in a row are known.
        let (passes, failures) = if passed { (progress.in_a_row, 0) } else { (0, progress.in_a_row) };
        (self.passes_in_a_row, self.failures_in_a_row) = (Some(passes), Some(failures));
        (self.failures_needed, self.passes_needed) = match spec.needed(status, progress) {
            Needed::AnyResult => (None, None),
            Needed::Failures(failures) => (Some(failures), None),
            Needed::Passes(passes) => (None, Some(passes)),
        };
        (self.since, self.next_check) = (progress.since, progress.next_due);
        self
    }

    /// The same check, with the time since when it has its health.
    #[must_use]
    pub fn with_since(mut self, since: Option<SystemTime>) -> Self {
        self.since = since;
        self
    }

    /// The same check, with the names of those that it depends on.
    #[must_use]
    pub fn with_depends_on(mut self, depends_on: Vec<String>) -> Self {
        self.depends_on = depends_on;
        self
    }

    /// The same check, with what consumers get instead.
    #[must_use]
    pub fn with_reported(mut self, reported: Option<ReportedState>) -> Self {
        self.reported = reported;
        self
    }

    /// The same check, with what operators say of it.
    #[must_use]
    pub fn with_overrides(mut self, overrides: Vec<OverrideState>) -> Self {
        self.overrides = overrides;
        self
    }

    /// The name, or the id of a check without one.
    #[must_use]
    pub fn title(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id)
    }
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_one(rise: &u32) -> bool {
    *rise == 1
}

/// The address or the host name and, where there is one, the port.
pub(crate) fn target_text(spec: &CheckSpec) -> String {
    let target = spec.target();
    match (spec.host_name(), spec.probe()) {
        (Some(host), ProbeSpec::Icmp) => host.name().to_owned(),
        (Some(host), _) => format!("{}:{}", host.name(), target.port()),
        (None, ProbeSpec::Icmp) => target.ip().to_string(),
        (None, _) => SocketAddr::new(target.ip(), target.port()).to_string(),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_plain(mode: &Mode) -> bool {
    *mode == Mode::Plain
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use hc_types::{Failure, Held, HostName, Jitter, LocalFault, Mark, Rule, Target, TcpProbe, Timing};
    use serde_json::{Value, json};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn tcp(target: Target) -> CheckSpec {
        CheckSpec::new(target, ProbeSpec::Tcp(TcpProbe::default()), Timing::every(SECOND).timeout(SECOND))
            .unwrap()
    }

    #[track_caller]
    fn check_reads_back(state: &CheckState, expected: Value) {
        let json = serde_json::to_value(state).unwrap();
        assert_eq!(json, expected);
        assert_eq!(&serde_json::from_value::<CheckState>(json).unwrap(), state);
    }

    #[test]
    fn a_new_check_says_little() {
        let spec = CheckSpec::new(
            Target::plain([192, 0, 2, 1].into(), 0),
            ProbeSpec::Icmp,
            Timing::every(SECOND).timeout(SECOND),
        );
        check_reads_back(
            &CheckState::new(CheckId(u64::MAX), &spec.unwrap(), &Status::NEW),
            json!({
                "id": "18446744073709551615", "type": "icmp", "target": "192.0.2.1", "health": "unknown",
                "duration_seconds": 0.0, "interval_seconds": 1.0, "timeout_seconds": 1.0, "retries": 0, "failures": 0, "successes": 0,
            }),
        );
    }

    #[test]
    fn a_failed_check_says_why_and_since_when() {
        let at = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let status = Status {
            health: Health::Unhealthy,
            last_check: Some(at),
            duration: Duration::from_micros(1500),
            failures: 3,
            successes: 1,
            outcome: Some(Outcome::Fail(Failure::Refused)),
            held: Some(Box::new(Held { fault: LocalFault::Descriptors, since: at })),
            note: None,
        };
        let target = Target::marked(
            "2001:db8::1".parse().unwrap(),
            80,
            Mode::Dsr,
            Mark::new(9).unwrap(),
            "192.0.2.7".parse().ok(),
        );
        let spec = tcp(target);
        let state = CheckState::new(CheckId(1), &spec, &status)
            .with_name(Some("web-1"))
            .with_labels([("group", "web")])
            .with_progress(&spec, &status, &Progress { since: Some(at), in_a_row: 2, ..Progress::default() });
        check_reads_back(
            &state,
            json!({
                "id": "1", "name": "web-1", "labels": {"group": "web"}, "type": "tcp", "target": "[2001:db8::1]:80",
                "backend": "192.0.2.7", "mode": "dsr", "mark": 9, "health": "unhealthy",
                "since": "2023-11-14T22:13:20.123Z", "last_check": "2023-11-14T22:13:20.123Z", "duration_seconds": 0.0015,
                "interval_seconds": 1.0, "timeout_seconds": 1.0, "retries": 0, "failures_in_a_row": 2, "passes_in_a_row": 0, "passes_needed": 1, "failures": 3, "successes": 1, "reason": "refused", "message": state.message.clone(),
                "held": {"reason": "local_descriptors", "message": LocalFault::Descriptors.to_string(), "since": "2023-11-14T22:13:20.123Z"},
            }),
        );
        assert!(!state.message.is_empty());
        assert_eq!(state.title(), "web-1");
    }

    #[test]
    fn timing_beyond_seesaws_is_shown_where_there_is_some() {
        let target = Target::plain([192, 0, 2, 1].into(), 80);
        let timing = Timing::every(10 * SECOND)
            .timeout(SECOND)
            .retries(4)
            .rise(3)
            .fast_interval(SECOND)
            .down_interval(60 * SECOND)
            .jitter(Jitter::Percent(5))
            .start_delay(2 * SECOND);
        let spec = CheckSpec::new(target, ProbeSpec::Tcp(TcpProbe::default()), timing).unwrap();
        let status = Status { health: Health::Unhealthy, outcome: Some(Outcome::PASS), ..Status::NEW };
        let progress = Progress { in_a_row: 1, ..Progress::default() };
        let state = CheckState::new(CheckId(1), &spec, &status).with_progress(&spec, &status, &progress);
        check_reads_back(
            &state,
            json!({
                "id": "1", "type": "tcp", "target": "192.0.2.1:80", "health": "unhealthy", "duration_seconds": 0.0,
                "interval_seconds": 10.0, "timeout_seconds": 1.0, "retries": 4, "rise": 3, "fast_interval_seconds": 1.0,
                "down_interval_seconds": 60.0, "jitter_seconds": 0.5, "start_delay_seconds": 2.0, "failures_in_a_row": 0,
                "passes_in_a_row": 1, "passes_needed": 2, "failures": 0, "successes": 0, "reason": "pass",
                "message": state.message.clone(),
            }),
        );
    }

    #[test]
    fn a_check_of_a_host_name_shows_its_addresses() {
        let host = HostName::new("h.example", [[192, 0, 2, 2].into(), [192, 0, 2, 1].into()], Rule::All);
        let target = Target::plain([0, 0, 0, 0].into(), 80);
        let timing = Timing::every(SECOND).timeout(SECOND);
        let probe = ProbeSpec::Tcp(TcpProbe::default());
        let spec = CheckSpec::of_host_name(host, target, probe, timing).unwrap();
        check_reads_back(
            &CheckState::new(CheckId(1), &spec, &Status::NEW),
            json!({
                "id": "1", "type": "tcp", "target": "h.example:80", "addresses": ["192.0.2.1", "192.0.2.2"], "resolve": "all",
                "health": "unknown", "duration_seconds": 0.0, "interval_seconds": 1.0, "timeout_seconds": 1.0, "retries": 0,
                "failures": 0, "successes": 0,
            }),
        );
    }
}
