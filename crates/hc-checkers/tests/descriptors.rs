//! Sockets that are kept to be connected again give way where descriptors are short. Alone in its
//! process, whose limit it lowers.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hc_checkers::{Checkers, CheckersConfig};
use hc_testkit::port::IdleListener;
use hc_types::{CheckSpec, LocalFault, Outcome, ProbeSpec, Target, TcpProbe, Timing};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

fn spec(address: SocketAddr) -> CheckSpec {
    let target = Target::plain(address.ip(), address.port());
    let timing = Timing::every(Duration::from_secs(20)).timeout(Duration::from_secs(20));
    CheckSpec::new(target, ProbeSpec::Tcp(TcpProbe::default()), timing).unwrap()
}

#[test]
fn what_is_kept_gives_way_to_what_is_needed() {
    let [v4, v6] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
        .map(|ip| IdleListener::start(ip).unwrap());
    let [v4, v6] = [&v4, &v6].map(|listener| spec(listener.address().unwrap()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let [keeps, keeps_none] = [64, 0].map(|max_idle| {
        let mut config = CheckersConfig::default();
        config.max_idle = max_idle;
        Checkers::new(config)
    });
    for checkers in [&keeps, &keeps_none] {
        assert_eq!(runtime.block_on(checkers.probe(&v4)), Outcome::PASS);
    }
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 128, most).unwrap();
    let _others: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert_eq!(runtime.block_on(keeps_none.probe(&v6)), LocalFault::Descriptors.into());
    assert_eq!(runtime.block_on(keeps.probe(&v6)), Outcome::PASS);
}
