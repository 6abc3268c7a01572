//! Series of single checks, for those that ask for them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hc_types::{CheckId, CheckSpec, Health, Metadata, Progress, Status};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::encode::seconds;

/// The checks that have series of their own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CheckSeries {
    /// These.
    pub checks: Vec<Check>,
    /// How many more would have them but for the limit.
    pub left_out: u64,
}

/// One of them at the time of a scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// Its id.
    pub id: CheckId,
    /// Its name and labels, if it has any.
    pub metadata: Option<Arc<Metadata>>,
    /// What is checked.
    pub spec: Arc<CheckSpec>,
    /// Where it stands.
    pub status: Status,
    /// Since when.
    pub progress: Progress,
}

/// The label by which series of one check are joined: its name, or its id if it has none.
type Name<'a> = [(&'static str, Cow<'a, str>); 1];

impl Check {
    fn name(&self) -> Name<'_> {
        let name = self.metadata.as_ref().and_then(|metadata| metadata.name.as_deref());
        [("check", name.map_or_else(|| self.id.0.to_string().into(), Cow::from))]
    }

    /// Everything that does not change while the check runs. Its own labels have `label_` before
    /// their names, so that they cannot be taken for ours; signs that Prometheus does not allow
    /// become `_`.
    fn facts(&self) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
        let [(name, value)] = self.name();
        let target = self.spec.target();
        let mut facts: Vec<(Cow<'_, str>, Cow<'_, str>)> = vec![
            (name.into(), value),
            ("id".into(), self.id.0.to_string().into()),
            ("type".into(), self.spec.probe().type_name().into()),
            ("address".into(), target.ip().to_string().into()),
            ("port".into(), target.port().to_string().into()),
        ];
        let mut seen = BTreeSet::new();
        let labels = self.metadata.iter().flat_map(|metadata| metadata.labels.iter());
        for (key, value) in labels {
            let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
            let key: String = key.chars().map(allowed).collect();
            // Of two that become one the first stays: a label twice would spoil the whole scrape.
            if seen.insert(key.clone()) {
                facts.push((format!("label_{key}").into(), Cow::from(&**value)));
            }
        }
        facts
    }
}

impl CheckSeries {
    /// A gauge of each check for which `value` knows one.
    fn gauge<V: EncodeGaugeValue>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help, unit): (&str, &str, Option<&Unit>),
        value: impl Fn(&Check) -> Option<V>,
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        let of_check = |check| Some((check, value(check)?));
        self.checks
            .iter()
            .filter_map(of_check)
            .try_for_each(|(check, value)| metric.encode_family(&check.name())?.encode_gauge(&value))
    }

    fn counter(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help): (&str, &str),
        value: impl Fn(&Check) -> u64,
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        self.checks.iter().try_for_each(|check| {
            let no_exemplar = None::<&prometheus_client::metrics::exemplar::Exemplar<Name<'_>, f64>>;
            metric.encode_family(&check.name())?.encode_counter(&value(check), no_exemplar)
        })
    }
}

impl Collector for CheckSeries {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // A name without a series says nothing.
        if self.checks.is_empty() {
            return Ok(());
        }
        let encoder = &mut encoder;
        let help = "What is known of a check that has series of its own: join with these by the label check";
        let mut metric = encoder.encode_descriptor("check", help, None, MetricType::Info)?;
        for check in &self.checks {
            metric.encode_info(&check.facts())?;
        }
        let healthy = "Whether a check is healthy (1) or unhealthy (0); absent while its health is unknown";
        self.gauge(encoder, ("check_healthy", healthy, None), |check| match check.status.health {
            Health::Healthy => Some(1_i64),
            Health::Unhealthy => Some(0),
            Health::Unknown => None,
        })?;
        let held = "Whether the health of a check is held because of trouble on this machine (1) or not (0)";
        self.gauge(encoder, ("check_held", held, None), |check| {
            Some(i64::from(check.status.held.is_some()))
        })?;
        let probes = "Probes of a check that ended in a verdict";
        self.counter(encoder, ("check_probes", probes), |check| {
            check.status.successes.saturating_add(check.status.failures)
        })?;
        let failures = ("check_probe_failures", "Probes of a check that failed");
        self.counter(encoder, failures, |check| check.status.failures)?;
        let unit = Some(&Unit::Seconds);
        let latest = ("check_last_probe_timestamp", "When the latest probe of a check began", unit);
        self.gauge(encoder, latest, |check| check.progress.last_probe.map(seconds))?;
        let since = "When the probe began with which the health of a check became what it is; absent while that is not known";
        self.gauge(encoder, ("check_health_since_timestamp", since, unit), |check| {
            check.progress.since.map(seconds)
        })?;
        let duration =
            ("check_last_probe_duration", "How long the latest probe of a check with a verdict took", unit);
        self.gauge(encoder, duration, |check| {
            let known: Option<SystemTime> = check.status.last_check;
            known.map(|_| Duration::as_secs_f64(&check.status.duration))
        })
    }
}
