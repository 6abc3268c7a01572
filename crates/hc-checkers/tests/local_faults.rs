//! Each local fault of the path gets its own name, whatever the kind of probe. Needs root, for a
//! network of the test's own.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use hc_checkers::{Checkers, CheckersConfig};
use hc_testkit::network::{await_links, in_own_network, run};
use hc_testkit::outcome::as_told;
use hc_types::{
    CheckSpec, Failure, LocalFault, Outcome, Phase, ProbeSpec, Target, TcpProbe, Timing, UdpProbe,
};

const TIMEOUT: Duration = Duration::from_millis(300);

/// `10.9.0.0/24` and `fd00::/64` behind an interface, and then these commands.
macro_rules! veth {
    ($more:literal) => {
        concat!(
            "ip link add va type veth peer name vb
            ip address add 10.9.0.1/24 dev va
            ip -6 address add fd00::1/64 dev va nodad
            ip link set vb up
            ip link set va up\n",
            $more
        )
    };
}

/// An interface without an address, also of the kind that IPv6 makes by itself.
macro_rules! bare_veth {
    ($more:literal) => {
        concat!(
            "ip link add va type veth peer name vb
            sysctl -qw net.ipv6.conf.va.addr_gen_mode=1
            ip link set vb up
            ip link set va up\n",
            $more
        )
    };
}

fn nft(rules: &str) {
    let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success(), "{rules}");
}

fn outcomes(setup: &'static str, rules: &'static str, ip: &'static str) -> Vec<(&'static str, Outcome)> {
    in_own_network(move || {
        setup.lines().map(str::trim).filter(|line| !line.is_empty()).for_each(|line| drop(run(line)));
        if !rules.is_empty() {
            nft(rules);
        }
        let ip: IpAddr = ip.parse().unwrap();
        let udp = UdpProbe { send: b"x".into(), receive: b"x".into() };
        let probes = [
            ("tcp", 81, ProbeSpec::Tcp(TcpProbe::default())),
            ("udp", 81, ProbeSpec::Udp(Box::new(udp))),
            ("icmp", 0, ProbeSpec::Icmp),
        ];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let checkers = Checkers::new(CheckersConfig::default());
            let mut outcomes = Vec::new();
            for (name, port, probe) in probes {
                let spec = CheckSpec::new(
                    Target::plain(ip, port),
                    probe,
                    Timing::every(10 * TIMEOUT).timeout(TIMEOUT),
                )
                .unwrap();
                outcomes.push((name, checkers.probe(&spec).await));
            }
            outcomes
        })
    })
}

#[track_caller]
fn check(setup: &'static str, ip: &'static str, expected: LocalFault) {
    for (name, outcome) in outcomes(setup, "", ip) {
        assert_eq!(outcome, expected.into(), "{name} to {ip}, {setup}");
    }
}

#[test]
fn special_routes_are_told_apart() {
    check(veth!(""), "10.50.0.1", LocalFault::NoRoute);
    check(veth!(""), "2001:db8::1", LocalFault::NoRoute);
    check(veth!("ip route add throw 10.50.0.0/16"), "10.50.0.1", LocalFault::NoRoute);
    check(veth!("ip -6 route add throw 2001:db8::/32"), "2001:db8::1", LocalFault::NoRoute);
    check(veth!("ip route add prohibit 10.50.0.0/16"), "10.50.0.1", LocalFault::RouteProhibited);
    check(veth!("ip -6 route add prohibit 2001:db8::/32"), "2001:db8::1", LocalFault::RouteProhibited);
    check(veth!("ip rule add to 10.9.0.0/24 prohibit pref 100"), "10.9.0.7", LocalFault::RouteProhibited);
    check(veth!("ip -6 rule add to fd00::/64 prohibit pref 100"), "fd00::7", LocalFault::RouteProhibited);
    check(veth!("ip route add blackhole 10.50.0.0/16"), "10.50.0.1", LocalFault::RouteBlackhole);
    check(veth!("ip -6 route add blackhole 2001:db8::/32"), "2001:db8::1", LocalFault::RouteBlackhole);
    check(veth!("ip rule add to 10.9.0.0/24 blackhole pref 100"), "10.9.0.7", LocalFault::RouteBlackhole);
    check(veth!("ip -6 rule add to fd00::/64 blackhole pref 100"), "fd00::7", LocalFault::RouteBlackhole);
    check(veth!("ip route add unreachable 10.50.0.0/16"), "10.50.0.1", LocalFault::RouteUnreachable);
    check(veth!("ip -6 route add unreachable 2001:db8::/32"), "2001:db8::1", LocalFault::RouteUnreachable);
}

#[test]
fn ipv6_that_is_switched_off_is_named() {
    check(veth!("sysctl -qw net.ipv6.conf.all.disable_ipv6=1"), "::1", LocalFault::NoIpv6);
    check(veth!("sysctl -qw net.ipv6.conf.all.disable_ipv6=1"), "fd00::7", LocalFault::NoIpv6);
    check(veth!("sysctl -qw net.ipv6.conf.va.disable_ipv6=1"), "fd00::7", LocalFault::NoRoute);
}

#[test]
fn a_way_without_an_address_to_send_from_is_named() {
    check(bare_veth!("ip route add 10.50.0.0/16 dev va"), "10.50.0.1", LocalFault::NoAddress);
    // The kernel would send from ::1, or from nowhere.
    check(bare_veth!("ip -6 route add 2001:db8::/32 dev va"), "2001:db8::1", LocalFault::NoAddress);
    check(
        bare_veth!("ip -6 route add 2001:db8::/32 dev va\nip -6 address del ::1/128 dev lo"),
        "2001:db8::1",
        LocalFault::NoAddress,
    );
}

#[test]
fn an_interface_that_is_down_is_named() {
    check("ip link set lo down", "127.0.0.1", LocalFault::InterfaceDown);
    check("ip link set lo down", "::1", LocalFault::InterfaceDown);
    check(veth!("ip link set lo down"), "10.9.0.1", LocalFault::InterfaceDown);
    check(veth!("ip link set vb down"), "10.9.0.7", LocalFault::InterfaceDown);
    check(veth!("ip link set vb down"), "fd00::7", LocalFault::InterfaceDown);
    // It took its routes with it.
    check(veth!("ip link set va down"), "10.9.0.7", LocalFault::NoRoute);
}

const DROP: &str = "table inet t {
    chain o {
        type filter hook output priority 0;
        th dport 81 drop
        meta l4proto { icmp, icmpv6 } drop
    }
}
";

#[test]
fn an_output_filter_is_told_from_a_missing_capability() {
    for ip in ["10.9.0.7", "127.0.0.1", "fd00::7"] {
        for (name, outcome) in outcomes(veth!(""), DROP, ip) {
            // TCP does not say before it has repeated its SYN.
            if name != "tcp" {
                assert_eq!(outcome, LocalFault::Filter.into(), "{name} to {ip}");
            }
        }
    }
}

/// A TCP probe that has time to repeat its SYN, which it does after 1 s.
fn slow_tcp(setup: &'static str, rules: &'static str, ip: &'static str) -> Outcome {
    in_own_network(move || {
        setup.lines().map(str::trim).filter(|line| !line.is_empty()).for_each(|line| drop(run(line)));
        nft(rules);
        await_links();
        let timeout = Duration::from_millis(1500);
        let target = Target::plain(ip.parse().unwrap(), 81);
        let probe = ProbeSpec::Tcp(TcpProbe::default());
        let spec = CheckSpec::new(target, probe, Timing::every(10 * timeout).timeout(timeout)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { Checkers::new(CheckersConfig::default()).probe(&spec).await })
    })
}

#[test]
fn an_output_filter_that_drops_tcp_is_seen() {
    for ip in ["10.9.0.7", "127.0.0.1", "fd00::7", "::1"] {
        assert_eq!(slow_tcp(veth!(""), DROP, ip), LocalFault::Filter.into(), "{ip}");
    }
    let postrouting = DROP.replace("hook output", "hook postrouting").leak();
    assert_eq!(slow_tcp(veth!(""), postrouting, "127.0.0.1"), LocalFault::Filter.into());
}

#[test]
fn a_filter_at_the_other_end_is_a_timeout() {
    let input = DROP.replace("hook output", "hook input").leak();
    for ip in ["127.0.0.1", "::1"] {
        let outcome = as_told(slow_tcp(veth!(""), input, ip));
        assert_eq!(outcome, Failure::timeout(Phase::Connect).into(), "{ip}");
    }
    // Nobody is there, whether or not that is known to ARP.
    let silent = veth!("ip neighbour add 10.9.0.7 lladdr 02:00:00:00:00:07 dev va");
    for ip in ["10.9.0.7", "10.9.0.8"] {
        assert_eq!(as_told(slow_tcp(silent, "", ip)), Failure::timeout(Phase::Connect).into(), "{ip}");
    }
}
