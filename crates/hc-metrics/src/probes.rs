//! What shards find.

use std::collections::HashMap;

use hc_types::{Outcome, PhaseTimes, ProbeSpec, StatusUpdate};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::CounterWithExemplar;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Upper limits of latencies, in seconds.
const BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// A word that does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Word(pub(crate) &'static str);

impl EncodeLabelValue for Word {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.encode(encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TypeLabel {
    r#type: Word,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    r#type: Word,
    reason: Word,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    r#type: Word,
    phase: Word,
}

/// Names the check of an exemplar.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckLabel {
    check: String,
}

type Failures = CounterWithExemplar<CheckLabel>;

/// The counters of one kind of probe, looked up once.
#[derive(Debug)]
struct OfType {
    total: Counter,
    duration: Histogram,
    /// In the order of [`PhaseTimes::NAMES`].
    phases: [Histogram; PhaseTimes::NAMES.len()],
    failures: HashMap<&'static str, Failures>,
}

#[derive(Debug)]
pub(crate) struct Probes {
    /// A dozen: comparing them all costs less than a hash, and every probe does it.
    types: Vec<(&'static str, OfType)>,
}

impl Probes {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let total: Family<TypeLabel, Counter> = Family::default();
        registry.register("probes", "Probes that ended in a verdict", total.clone());
        let failures: Family<ReasonLabels, Failures> = Family::default();
        registry.register("probe_failures", "Probes that failed, by reason", failures.clone());
        let duration: Family<TypeLabel, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(BUCKETS));
        registry.register_with_unit(
            "probe_duration",
            "How long probes took",
            Unit::Seconds,
            duration.clone(),
        );

        let phases: Family<PhaseLabels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(BUCKETS));
        registry.register_with_unit(
            "probe_phase_duration",
            "How long each phase took of probes that came to it",
            Unit::Seconds,
            phases.clone(),
        );

        let of = |r#type: &'static str| {
            let label = TypeLabel { r#type: Word(r#type) };
            let failures = failure_reasons().map(|reason| {
                let labels = ReasonLabels { r#type: Word(r#type), reason: Word(reason) };
                (reason, failures.get_or_create(&labels).clone())
            });
            OfType {
                total: total.get_or_create(&label).clone(),
                duration: duration.get_or_create(&label).clone(),
                phases: PhaseTimes::NAMES.map(|phase| {
                    let labels = PhaseLabels { r#type: Word(r#type), phase: Word(phase) };
                    phases.get_or_create(&labels).clone()
                }),
                failures: failures.collect(),
            }
        };
        Self { types: ProbeSpec::TYPE_NAMES.iter().map(|r#type| (*r#type, of(r#type))).collect() }
    }

    pub(crate) fn count(&self, updates: &[StatusUpdate]) {
        // Inconclusive probes are counted by the manager.
        for update in updates.iter().filter(|update| update.is_of_verdict()) {
            let kind = update.spec.probe().type_name();
            let Some((_, of_type)) = self.types.iter().find(|(name, _)| *name == kind) else { continue };
            of_type.total.inc();
            of_type.duration.observe(update.status.duration.as_secs_f64());
            for (histogram, micros) in of_type.phases.iter().zip(update.evidence.phases.micros()) {
                if micros > 0 {
                    histogram.observe(f64::from(micros) / 1e6);
                }
            }
            if let Some(Outcome::Fail(failure)) = &update.status.outcome
                && let Some(counter) = of_type.failures.get(failure.label())
            {
                counter.inc_by(1, Some(CheckLabel { check: update.id.0.to_string() }), None);
            }
        }
    }
}

/// Every word for a failure.
fn failure_reasons() -> impl Iterator<Item = &'static str> {
    Outcome::LABELS.iter().copied().filter(|label| *label != "pass" && !label.starts_with("local_"))
}
