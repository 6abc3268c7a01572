//! A route that goes away while a probe is under way. Needs root, for a network of the test's own.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use hc_checkers::{Checkers, CheckersConfig};
use hc_testkit::network::{in_own_network, run};
use hc_types::{CheckSpec, Failure, LocalFault, Outcome, Phase, ProbeSpec, Prober as _, Target, TcpProbe};
use tokio::net::TcpListener;

/// The outcome of a probe that waits for a byte which never comes, when `meanwhile` runs after the connection stands.
fn wait_in_vain(meanwhile: impl FnOnce() + Send + 'static) -> Outcome {
    in_own_network(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            // Not 127.0.0.1, which has a route of its own.
            let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let probe = TcpProbe { receive: b"x".to_vec().into(), ..TcpProbe::default() };
            let target = Target::plain(address.ip(), address.port());
            let (hour, timeout) = (Duration::from_secs(3600), Duration::from_millis(300));
            let spec = CheckSpec::new(target, ProbeSpec::Tcp(probe), hour, timeout, 0).unwrap();
            let probe = Checkers::new(CheckersConfig::default()).probe(Arc::new(spec));
            let (outcome, _connection) = tokio::join!(probe, async {
                let connection = listener.accept().await.unwrap();
                meanwhile();
                connection
            });
            outcome
        })
    })
}

#[test]
fn a_timeout_without_a_route_is_no_verdict() {
    let outcome = wait_in_vain(|| {
        run("ip route del local 127.0.0.0/8 dev lo table local");
    });
    assert_eq!(outcome, LocalFault::NoRoute.into());
}

#[test]
fn a_timeout_with_a_route_is_one() {
    assert_eq!(wait_in_vain(|| {}), Failure::Timeout(Phase::Response).into());
}
