//! What several of these tests need.
#![allow(dead_code, clippy::unwrap_used, reason = "each test uses a part of it, and may panic")]

use std::future::Future;
use std::time::Duration;

use hc_sinks::Report;
use hc_types::Health;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[path = "../../src/testing.rs"]
mod testing;

/// A check of 192.0.2.1:80 with a label `server`, which is `b/NAME`.
pub(crate) fn report(id: u64, name: &str, health: Health) -> Report {
    testing::report(id, name, &[("server", &format!("b/{name}"))], health)
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
