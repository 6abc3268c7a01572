//! What the tests of several modules need.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use hc_types::{CheckId, CheckSpec, Failure, Health, Outcome, ProbeSpec, Status, Target, TcpProbe, Timing};

use crate::Report;

/// A check of 192.0.2.1:80.
pub(crate) fn report(id: u64, name: &str, labels: &[(&str, &str)], health: Health) -> Report {
    let second = Duration::from_secs(1);
    let target = Target::plain([192, 0, 2, 1].into(), 80);
    let spec =
        CheckSpec::new(target, ProbeSpec::Tcp(TcpProbe::default()), Timing::every(second).timeout(second))
            .unwrap();
    let outcome = match health {
        Health::Healthy => Some(Outcome::PASS),
        Health::Unhealthy => Some(Outcome::Fail(Failure::Refused)),
        Health::Unknown => None,
    };
    let status = Status { health, last_check: Some(UNIX_EPOCH), outcome, ..Status::NEW };
    let labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    Report {
        id: CheckId(id),
        name: Some(name.into()),
        labels,
        spec: Arc::new(spec),
        status,
        since: None,
        overrides: Vec::new(),
    }
}
