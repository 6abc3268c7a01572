//! What several of these tests need.
#![allow(dead_code, clippy::unwrap_used, reason = "each test uses a part of it, and may panic")]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hc_sinks::Report;
use hc_types::{CheckId, CheckSpec, Failure, Health, Outcome, ProbeSpec, Status, Target, TcpProbe, Timing};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A check of 192.0.2.1:80 with a label `server`, which is `b/NAME`.
pub(crate) fn report(id: u64, name: &str, health: Health) -> Report {
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
    let status = Status { health, outcome, ..Status::NEW };
    let labels = [("server".into(), format!("b/{name}").into())].into();
    Report { id: CheckId(id), name: Some(name.into()), labels, spec: Arc::new(spec), status }
}

/// Waits until `condition` holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"));
}
