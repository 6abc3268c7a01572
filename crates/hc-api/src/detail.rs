//! One check, with an explanation.

use hc_types::Health;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Change, CheckState, LatencyState, OverrideKind, ProbeState, Reproduction, VerdictState};

/// Everything about one check: its state, what follows from it, and what happened to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct CheckDetail {
    /// The state.
    #[serde(flatten)]
    pub check: CheckState,
    /// Why it is so and what comes next, a sentence each.
    pub explanation: Vec<String>,
    /// How long its probes took. Absent before the first verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyState>,
    /// Its latest probe that failed, with what it saw. Absent where none has since the check began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<ProbeState>,
    /// What is wrong with the checker's own machine, in words. Empty: nothing.
    #[serde(default)]
    pub own_trouble: Vec<String>,
    /// What the fleet makes of it, with the opinion of each node. Absent without a fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<VerdictState>,
    /// Commands that do by hand what a probe does.
    #[serde(default)]
    pub reproduce: Vec<Reproduction>,
    /// The latest changes of its health, and of what operators say of it, that are still known, in
    /// the order in which they happened. A reader leaves out kinds that it does not know. Absent
    /// from older servers.
    #[serde(default, deserialize_with = "known")]
    pub timeline: Vec<Change>,
}

/// The changes of the kinds that are known.
fn known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Change>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Entry {
        Known(Box<Change>),
        Other(IgnoredAny),
    }

    let entries = Vec::<Entry>::deserialize(deserializer)?.into_iter();
    Ok(entries
        .filter_map(|entry| match entry {
            Entry::Known(change) => Some(*change),
            Entry::Other(IgnoredAny) => None,
        })
        .collect())
}

impl CheckDetail {
    /// A check, explained.
    #[must_use]
    pub fn new(check: CheckState, timeline: Vec<Change>) -> Self {
        let explanation = explain(&check);
        Self {
            check,
            explanation,
            latency: None,
            last_failure: None,
            own_trouble: Vec::new(),
            fleet: None,
            reproduce: Vec::new(),
            timeline,
        }
    }

    /// The same with how long its probes took, and the latest that failed.
    #[must_use]
    pub fn with_evidence(mut self, latency: Option<LatencyState>, last_failure: Option<ProbeState>) -> Self {
        let suggested = latency.as_ref().and_then(|latency| latency.suggested_timeout_seconds);
        if let Some(seconds) = suggested {
            self.explanation.push(suggestion(seconds, &self.check));
        }
        (self.latency, self.last_failure) = (latency, last_failure);
        self
    }

    /// The same with what is wrong with the checker's own machine.
    #[must_use]
    pub fn with_own_trouble(mut self, own_trouble: Vec<String>) -> Self {
        self.own_trouble = own_trouble;
        self
    }

    /// The same with what the fleet makes of it.
    #[must_use]
    pub fn with_fleet(mut self, verdict: Option<VerdictState>) -> Self {
        let Some(verdict) = verdict else { return self };
        if !verdict.probed_here {
            // What the last probe of this node found is history.
            self.explanation =
                self.check.overrides.iter().map(|order| format!("{}.", order.sentence())).collect();
            self.explanation.push("Other nodes of the fleet probe it.".to_owned());
        }
        self.explanation.extend(verdict.sentences());
        self.fleet = Some(verdict);
        self
    }

    /// The same with commands that do by hand what a probe does.
    #[must_use]
    pub fn with_reproduction(mut self, reproduce: Vec<Reproduction>) -> Self {
        self.reproduce = reproduce;
        self
    }
}

fn explain(check: &CheckState) -> Vec<String> {
    let mut lines: Vec<String> =
        check.overrides.iter().map(|order| format!("{}.", order.sentence())).collect();
    if let Some(reported) = &check.reported {
        lines.push(match (reported.health, &*reported.by) {
            (None, _) => "Consumers get nothing of it yet.".to_owned(),
            (Some(health), "dependency") => format!(
                "Consumers get {health}, since it depends on {}, which is down or has not been probed since; the failure is held until that \
                 is known to be up.",
                check.depends_on.join(" and ")
            ),
            (Some(health), by) => format!("Consumers get {health}, because of: {by}."),
        });
    }
    if let Some(held) = &check.held {
        lines.push(format!(
            "The checker's own machine is in trouble since {}: {}. Probes say nothing about the backend until that is over; the \
             health is the last that was known.",
            humantime::format_rfc3339_seconds(held.since),
            held.message
        ));
    }
    let failed = check.failures_in_a_row.unwrap_or_default();
    let passed = check.passes_in_a_row.unwrap_or_default();
    let result = if check.message.is_empty() { String::new() } else { format!(": {}", check.message) };
    let fall = u64::from(check.retries) + 1;
    match check.health {
        Health::Unknown => {
            lines.push(
                "No probe has ended yet; nothing is reported before. The first result decides.".to_owned(),
            );
        }
        Health::Healthy if failed == 0 => lines.push(format!(
            "The latest probe passed{result}. It is healthy until {fall} in a row have failed."
        )),
        Health::Healthy => lines.push(format!(
            "The latest {} failed{result}. It is healthy until {fall} in a row have failed: {} more.",
            probes(failed),
            check.failures_needed.unwrap_or(fall),
        )),
        Health::Unhealthy if passed > 0 => lines.push(format!(
            "The latest {} passed{result}. It is unhealthy until {} in a row have passed: {} more.",
            probes(passed),
            check.rise,
            check.passes_needed.unwrap_or(check.rise),
        )),
        Health::Unhealthy if check.rise > 1 => lines.push(format!(
            "The latest {} failed{result}. It is unhealthy until {} in a row have passed.",
            probes(failed.max(1)),
            check.rise,
        )),
        Health::Unhealthy => lines.push(format!(
            "The latest {} failed{result}. One probe that passes makes it healthy.",
            probes(failed.max(1)),
        )),
    }
    let is_paused = check.overrides.iter().any(|order| order.active && order.kind == OverrideKind::Pause);
    if is_paused {
        lines.push("No probe begins while it is paused.".to_owned());
    } else if let Some(next) = check.next_check {
        lines.push(format!("The next probe is due at {}.", humantime::format_rfc3339_millis(next)));
    }
    lines
}

/// What the latest passes say about the timeout.
fn suggestion(seconds: f64, check: &CheckState) -> String {
    let text = |seconds: f64| format!("{} ms", (seconds * 1000.0).round());
    let (shorter, timeout) = (text(seconds), text(check.timeout_seconds));
    if check.adaptive_timeout.as_deref() == Some("apply") {
        return format!(
            "Its latest passes allow a timeout of {shorter}, which its probes have while it is healthy and the latest passed; \
             after a failure it is {timeout}."
        );
    }
    format!("Its latest passes would allow a timeout of {shorter}; it is {timeout}.")
}

fn probes(count: u32) -> String {
    if count == 1 { "probe".to_owned() } else { format!("{count} probes") }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use hc_types::{
        CheckId, CheckSpec, Failure, Held, LocalFault, Outcome, ProbeSpec, Progress, Status, Target, Timing,
    };

    use super::*;

    #[test]
    fn an_older_reader_leaves_out_what_it_does_not_know() {
        let second = Duration::from_secs(1);
        let target = Target::plain([192, 0, 2, 1].into(), 0);
        let spec = CheckSpec::new(target, ProbeSpec::Icmp, Timing::every(second).timeout(second)).unwrap();
        let state = CheckState::new(CheckId(1), &spec, &Status::NEW);
        let change = crate::Transition::new(7, UNIX_EPOCH, Health::Healthy, &state);
        let detail = CheckDetail::new(state, vec![Change::Health(change)]);
        let mut json = serde_json::to_value(&detail).unwrap();
        let timeline = json["timeline"].as_array_mut().unwrap();
        timeline.insert(0, serde_json::json!({"event": "of a later version", "sequence": 6}));
        assert_eq!(serde_json::from_value::<CheckDetail>(json.clone()).unwrap(), detail);
        // Of an older server.
        json.as_object_mut().unwrap().remove("timeline");
        assert_eq!(serde_json::from_value::<CheckDetail>(json).unwrap().timeline, []);
    }

    #[track_caller]
    fn check(status: Status, in_a_row: u32, expected: &[&str]) {
        check_of(1, status, in_a_row, expected);
    }

    #[track_caller]
    fn check_of(rise: u32, status: Status, in_a_row: u32, expected: &[&str]) {
        let second = Duration::from_secs(1);
        let spec = CheckSpec::new(
            Target::plain([192, 0, 2, 1].into(), 0),
            ProbeSpec::Icmp,
            Timing::every(second).timeout(second).retries(2).rise(rise),
        )
        .unwrap();
        let progress = Progress { in_a_row, next_due: Some(UNIX_EPOCH), ..Progress::default() };
        let state = CheckState::new(CheckId(1), &spec, &status).with_progress(&spec, &status, &progress);
        let mut expected: Vec<&str> = expected.to_vec();
        expected.push("The next probe is due at 1970-01-01T00:00:00.000Z.");
        let explanation = CheckDetail::new(state, Vec::new()).explanation;
        // The words of outcomes are not of interest here.
        let words = [Outcome::Fail(Failure::Refused), Outcome::PASS].map(|outcome| spec.text(&outcome));
        let wordless =
            |line: &String| words.iter().fold(line.clone(), |line, words| line.replace(words, "WORDS"));
        assert_eq!(explanation.iter().map(wordless).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_comes_next_is_explained() {
        let failed =
            |health| Status { health, outcome: Some(Outcome::Fail(Failure::Refused)), ..Status::NEW };
        check(
            Status::NEW,
            0,
            &["No probe has ended yet; nothing is reported before. The first result decides."],
        );
        check(
            failed(Health::Healthy),
            1,
            &["The latest probe failed: WORDS. It is healthy until 3 in a row have failed: 2 more."],
        );
        check(
            failed(Health::Unhealthy),
            7,
            &["The latest 7 probes failed: WORDS. One probe that passes makes it healthy."],
        );
        let passed = |health| Status { health, outcome: Some(Outcome::PASS), ..Status::NEW };
        check(
            passed(Health::Healthy),
            9,
            &["The latest probe passed: WORDS. It is healthy until 3 in a row have failed."],
        );
        check_of(
            4,
            passed(Health::Unhealthy),
            3,
            &["The latest 3 probes passed: WORDS. It is unhealthy until 4 in a row have passed: 1 more."],
        );
        check_of(
            4,
            failed(Health::Unhealthy),
            1,
            &["The latest probe failed: WORDS. It is unhealthy until 4 in a row have passed."],
        );
        let held = Held { fault: LocalFault::Ports, since: UNIX_EPOCH };
        let trouble = format!(
            "The checker's own machine is in trouble since 1970-01-01T00:00:00Z: {}. Probes say nothing about the backend until that is over; the health is the last that was known.",
            LocalFault::Ports
        );
        check(
            Status { held: Some(Box::new(held)), ..failed(Health::Unhealthy) },
            1,
            &[&trouble, "The latest probe failed: WORDS. One probe that passes makes it healthy."],
        );
    }
}
