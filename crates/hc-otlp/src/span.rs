//! One probe as a span.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hc_types::{
    CheckId, CheckSpec, Health, LocalFault, Metadata, Outcome, PhaseTimes, StatusUpdate, WallTime,
};

use crate::message::{Event, KeyValue, Span, Status};

/// `SPAN_KIND_CLIENT`.
const CLIENT: i32 = 3;
/// `STATUS_CODE_ERROR`.
const ERROR: i32 = 2;

/// What is kept of a probe until it is sent. Words are made then, on the thread that sends.
#[derive(Debug)]
pub(crate) struct Probe {
    id: CheckId,
    metadata: Option<Arc<Metadata>>,
    spec: Arc<CheckSpec>,
    start: SystemTime,
    duration: Duration,
    phases: PhaseTimes,
    found: Found,
    health: Health,
    changed: bool,
}

#[derive(Debug)]
enum Found {
    Verdict(Outcome),
    /// The fault was ours. Which one is not told once the health is not held any more.
    Inconclusive(Option<LocalFault>),
}

impl Probe {
    /// `update` must be of a probe.
    pub(crate) fn new(update: &StatusUpdate, metadata: Option<Arc<Metadata>>) -> Self {
        let StatusUpdate { id, spec, status, progress, evidence, transition, .. } = update;
        let phases = evidence.phases;
        let (duration, found) = if update.is_of_verdict() {
            (status.duration, Found::Verdict(status.outcome.clone().unwrap_or(Outcome::PASS)))
        } else {
            // The status is that of the probe before.
            (phases.total(), Found::Inconclusive(status.held.as_ref().map(|held| held.fault)))
        };
        Self {
            id: *id,
            metadata,
            spec: Arc::clone(spec),
            start: progress.last_probe.or(status.last_check).unwrap_or(SystemTime::UNIX_EPOCH),
            duration,
            phases,
            found,
            health: status.health,
            // `transition` is also set for the first probe that confirms a health of before a restart, and
            // `since` is moved when the clock was set back.
            changed: *transition && progress.since.is_some() && progress.since == progress.last_probe,
        }
    }

    /// A trace of its own: nothing called the probe. Phases are events at their ends, each with its
    /// length.
    pub(crate) fn span(&self) -> Span {
        let start = WallTime::from(self.start).nanos();
        let after =
            |duration: Duration| start.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
        let mut passed = Duration::ZERO;
        let events = self.phases.named().map(|(name, length)| {
            passed += length;
            let micros = i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
            Event {
                time_unix_nano: after(passed),
                name: name.to_owned(),
                attributes: vec![KeyValue::integer("hc.phase.duration_us", micros)],
            }
        });
        let events = events.collect();
        Span {
            trace_id: fastrand::u128(1..).to_be_bytes().to_vec(),
            span_id: fastrand::u64(1..).to_be_bytes().to_vec(),
            name: format!("probe {}", self.spec.probe().type_name()),
            kind: CLIENT,
            start_time_unix_nano: start,
            // Phases are rounded up, each to a microsecond.
            end_time_unix_nano: after(self.duration.max(passed)),
            attributes: self.attributes(),
            events,
            status: self.status(),
        }
    }

    fn attributes(&self) -> Vec<KeyValue> {
        let target = self.spec.target();
        let label = match &self.found {
            Found::Verdict(outcome) => outcome.label(),
            Found::Inconclusive(fault) => fault.map_or("inconclusive", LocalFault::label),
        };
        let mut attributes = vec![
            // As text: an id has 64 bits without a sign.
            KeyValue::text("hc.check.id", self.id.0.to_string()),
            KeyValue::text("hc.check.type", self.spec.probe().type_name()),
            KeyValue::text("hc.check.health", self.health.to_string()),
            KeyValue::text("hc.probe.outcome", label),
            KeyValue::text("server.address", target.ip().to_string()),
        ];
        if target.port() != 0 {
            attributes.push(KeyValue::integer("server.port", target.port().into()));
        }
        if self.changed {
            attributes.push(KeyValue::text("hc.check.changed_to", self.health.to_string()));
        }
        if label != "pass" {
            attributes.push(KeyValue::text("error.type", label));
        }
        if let Some(metadata) = &self.metadata {
            attributes.extend(metadata.name.as_deref().map(|name| KeyValue::text("hc.check.name", name)));
            let labels = metadata.labels.iter();
            attributes.extend(labels.map(|(key, value)| KeyValue::text(format!("hc.label.{key}"), &**value)));
        }
        attributes
    }

    /// Unset for a probe that passed, as the specification of traces wants it of what is no
    /// application's own judgement.
    fn status(&self) -> Option<Status> {
        let message = match &self.found {
            Found::Verdict(Outcome::Pass(_)) => return None,
            Found::Verdict(outcome) => self.spec.text(outcome),
            Found::Inconclusive(fault) => {
                fault.map_or_else(|| "inconclusive".to_owned(), |fault| fault.to_string())
            }
        };
        Some(Status { message, code: ERROR })
    }
}

#[cfg(test)]
mod tests {
    use hc_types::{Evidence, Incarnation, ProbeSpec, Progress, Target, TcpProbe, Timing};

    use super::*;

    fn update(progress: Progress, transition: bool) -> StatusUpdate {
        let second = Duration::from_secs(1);
        let target = Target::plain([192, 0, 2, 1].into(), 80);
        let timing = Timing::every(second).timeout(second);
        let spec = CheckSpec::new(target, ProbeSpec::Tcp(TcpProbe::default()), timing).unwrap();
        StatusUpdate {
            id: CheckId(1),
            incarnation: Incarnation(0),
            spec: Arc::new(spec),
            status: hc_types::Status {
                health: Health::Healthy,
                last_check: progress.last_probe,
                outcome: Some(Outcome::PASS),
                ..hc_types::Status::NEW
            },
            transition,
            reportable: true,
            progress,
            evidence: Evidence::default(),
        }
    }

    #[test]
    fn only_the_probe_that_changed_the_health_says_so() {
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let says = |since, transition| {
            let progress = Progress { since, last_probe: at(9), next_due: at(10), ..Progress::default() };
            let span = Probe::new(&update(progress, transition), None).span();
            span.attributes.iter().any(|attribute| attribute.key == "hc.check.changed_to")
        };
        assert!(says(at(9), true));
        assert!(!says(at(5), false), "as before");
        assert!(!says(at(9), false), "the clock was set back");
        assert!(!says(at(5), true), "confirmed after a restart");
        assert!(!says(None, true), "nobody knows since when");
    }
}
