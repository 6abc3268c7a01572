//! A route that goes away while a probe is under way. Needs root, for a network of the test's own.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hc_checkers::{Checkers, CheckersConfig};
use hc_testkit::network::{in_own_network, run, set_parameter};
use hc_testkit::outcome::as_told;
use hc_types::{CheckSpec, Failure, LocalFault, Outcome, Phase, ProbeSpec, Prober, Target, TcpProbe, Timing};
use tokio::net::TcpListener;

/// A check of a byte that never comes.
fn spec_in_vain(address: SocketAddr, timeout: Duration) -> Arc<CheckSpec> {
    let probe = TcpProbe { receive: b"x".to_vec().into(), ..TcpProbe::default() };
    let target = Target::plain(address.ip(), address.port());
    let hour = Duration::from_secs(3600);
    Arc::new(CheckSpec::new(target, ProbeSpec::Tcp(probe), Timing::every(hour).timeout(timeout)).unwrap())
}

/// The outcome of a probe that waits for a byte which never comes, when `meanwhile` runs after the
/// connection stands.
fn wait_in_vain(meanwhile: impl FnOnce() + Send + 'static) -> Outcome {
    in_own_network(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            // Not 127.0.0.1, which has a route of its own.
            let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let spec = spec_in_vain(address, Duration::from_millis(300));
            let probe = Prober::probe(&Checkers::default(), spec);
            let (result, _connection) = tokio::join!(probe, async {
                let connection = listener.accept().await.unwrap();
                meanwhile();
                connection
            });
            result.outcome
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

/// It could be ours as well.
#[test]
fn a_timeout_is_no_verdict_when_the_route_cannot_be_looked_up() {
    let outcome = wait_in_vain(|| {
        set_parameter("net.ipv4.ip_local_port_range", "61000 61000").unwrap();
        // The one port that there is, until the test's network is no more.
        std::mem::forget(std::net::UdpSocket::bind("0.0.0.0:61000").unwrap());
    });
    assert!(matches!(outcome, Outcome::Inconclusive(_)), "{outcome:?}");
}

/// The kernel keeps the routes and drops the packets.
#[test]
fn a_timeout_while_the_loopback_interface_is_down_is_no_verdict() {
    let outcome = wait_in_vain(|| {
        run("ip link set lo down");
    });
    assert_eq!(outcome, LocalFault::InterfaceDown.into());
}

/// Packets of the second probe were lost before it came up again. Those of the third cannot have
/// been.
#[test]
fn a_timeout_right_after_the_loopback_interface_was_down_is_no_verdict() {
    let outcomes = in_own_network(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
            let checkers = Checkers::new(CheckersConfig::default());
            let probe =
                |timeout| Prober::probe(&checkers, spec_in_vain(listener.local_addr().unwrap(), timeout));
            run("ip link set lo down");
            let first = probe(Duration::from_millis(200)).await;
            let up = async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                run("ip link set lo up");
            };
            let (second, ()) = tokio::join!(probe(Duration::from_millis(400)), up);
            let third = probe(Duration::from_millis(200)).await;
            [first, second, third]
        })
    });
    let [first, second, third] = outcomes.map(|result| as_told(result.outcome));
    assert_eq!(first, LocalFault::InterfaceDown.into());
    assert_eq!(second, LocalFault::PathChanged.into());
    assert_eq!(third, Failure::timeout(Phase::Response).into());
}

#[test]
fn a_timeout_with_a_route_is_one() {
    assert_eq!(as_told(wait_in_vain(|| {})), Failure::timeout(Phase::Response).into());
}
