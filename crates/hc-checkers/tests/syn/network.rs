//! What networks, packet filters and this machine itself do to half-open checks.

use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use hc_checkers::Checkers;
use hc_testkit::network::{Network, await_links, in_own_network, run, set_parameter};
use hc_testkit::port::ClosedPort;
use hc_testkit::syn::{SilentPort, SynServer};
use hc_types::{Failure, LocalFault, Outcome, Target, Unreachable, Via};

use super::{LONG, SHORT, V4, V6, asked, block_on, ip, probe, to};

/// Rules of a packet filter of this network.
fn filter(rules: &[&str]) {
    run("nft add table inet t");
    run("nft add chain inet t in { type filter hook input priority 0 ; }");
    run("nft add chain inet t out { type filter hook output priority 0 ; }");
    run("nft flush table inet t");
    for rule in rules {
        run(&format!("nft add rule inet t {rule}"));
    }
}

#[test]
fn errors_of_the_network_are_what_connect_makes_of_them() {
    in_own_network(|| {
        run("ip addr add fd00::9/128 dev lo nodad");
        let checkers = Checkers::default();
        let unreachable = |reason| Outcome::from(Failure::Unreachable(reason));
        use Unreachable::{Host, Network, Protocol};
        block_on(async {
            for (to_host, with, expected) in [
                ("127.0.0.9", "icmp type host-unreachable", unreachable(Host)),
                ("127.0.0.9", "icmp type net-unreachable", unreachable(Network)),
                ("127.0.0.9", "icmp type prot-unreachable", unreachable(Protocol)),
                ("127.0.0.9", "icmp type port-unreachable", Failure::Refused.into()),
                ("127.0.0.9", "tcp reset", Failure::Refused.into()),
                ("fd00::9", "icmpv6 type addr-unreachable", unreachable(Host)),
                ("fd00::9", "icmpv6 type no-route", unreachable(Network)),
                ("fd00::9", "icmpv6 type admin-prohibited", unreachable(Protocol)),
                ("fd00::9", "icmpv6 type port-unreachable", Failure::Refused.into()),
                ("fd00::9", "tcp reset", Failure::Refused.into()),
            ] {
                let bad = ip(to_host);
                let family = if bad.is_ipv4() { "ip" } else { "ip6" };
                filter(&[&format!("in {family} daddr {bad} tcp flags syn / syn,ack reject with {with}")]);
                let listener = TcpListener::bind((bad, 0)).unwrap();
                let near = TcpListener::bind((if bad.is_ipv4() { V4 } else { V6 }, 0)).unwrap();
                let [bad, good] = [&listener, &near].map(|one| to(one.local_addr().unwrap()));
                assert_eq!(asked(&checkers, bad.clone(), LONG).await, expected, "{with}");
                // One host's error is no other's.
                let both = tokio::join!(asked(&checkers, bad, LONG), asked(&checkers, good, LONG));
                assert_eq!(both, (expected, Outcome::PASS), "{with}");
            }
        });
    });
}

#[test]
fn what_this_machine_does_is_no_verdict() {
    in_own_network(|| {
        let listener = TcpListener::bind((V4, 0)).unwrap();
        let target = to(listener.local_addr().unwrap());
        assert_eq!(probe(Target::plain(ip("192.0.2.1"), 80), LONG), LocalFault::NoRoute.into());
        assert_eq!(probe(Target::plain(ip("2001:db8::1"), 80), LONG), LocalFault::NoRoute.into());
        filter(&["out tcp flags syn / syn,ack drop"]);
        assert_eq!(probe(target.clone(), LONG), LocalFault::Filter.into());
        run("nft flush ruleset");
        run("ip route add prohibit 192.0.2.0/24");
        assert_eq!(probe(Target::plain(ip("192.0.2.1"), 80), LONG), LocalFault::RouteProhibited.into());
        run("ip link set lo down");
        assert!(matches!(probe(target, SHORT), Outcome::Inconclusive(_)));
        run("ip link set lo up");
        // This very test program again, without the capabilities.
        let child = Command::new("setpriv")
            .args(["--bounding-set=-net_raw,-net_admin", "--inh-caps=-net_raw,-net_admin", "--"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "network::without_capabilities", "--ignored"])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && told.contains("1 passed"), "{told}");
    });
}

#[test]
#[ignore = "started by what_this_machine_does_is_no_verdict, without the capabilities for a raw socket"]
fn without_capabilities() {
    for ip in [V4, V6] {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let outcome = probe(to(listener.local_addr().unwrap()), LONG);
        assert_eq!(outcome, LocalFault::Permission.into(), "{ip}");
    }
}

#[test]
fn conntrack_finds_nothing_invalid() {
    in_own_network(|| {
        filter(&[
            "in ct state invalid counter drop",
            "out ct state invalid counter drop",
            "in ct state established accept",
            "in tcp flags syn / syn,ack accept",
            "in counter drop",
        ]);
        let checkers = Checkers::default();
        block_on(async {
            for ip in [V4, V6] {
                let listener = TcpListener::bind((ip, 0)).unwrap();
                let closed = ClosedPort::reserve(ip).unwrap();
                // More than there are ports: pairs come again, also after a refusal and after
                // silence.
                let silent = SilentPort::start(ip).unwrap();
                for _ in 0..30 {
                    let target = to(listener.local_addr().unwrap());
                    assert_eq!(asked(&checkers, target, LONG).await, Outcome::PASS, "{ip}");
                    let refused = asked(&checkers, to(closed.address()), LONG).await;
                    assert_eq!(refused, Failure::Refused.into(), "{ip}");
                    let none = asked(&checkers, to(silent.address()), Duration::from_millis(5)).await;
                    assert!(none != Outcome::PASS, "{ip}");
                }
            }
        });
        let counters = run("nft list ruleset");
        let dropped =
            counters.lines().filter(|line| line.contains("counter") && !line.contains("packets 0 "));
        assert_eq!(dropped.collect::<Vec<_>>(), Vec::<&str>::new());
    });
}

#[test]
fn the_route_chooses_the_source_and_a_check_may_name_one() {
    in_own_network(|| {
        let [east, west] = [Network::new(), Network::new()];
        for (network, device, net) in [(&east, "east", 1), (&west, "west", 2)] {
            network.connect(device, "far");
            run(&format!("ip addr add 10.0.{net}.1/24 dev {device}"));
            run(&format!("ip addr add 10.0.{net}.7/24 dev {device}"));
            run(&format!("ip -6 addr add fd0{net}::1/64 dev {device} nodad"));
            run(&format!("ip link set {device} up"));
            set_parameter(&format!("net.ipv4.conf.{device}.rp_filter"), "1").unwrap();
            network.run(move || {
                run(&format!("ip addr add 10.0.{net}.9/24 dev far"));
                run(&format!("ip -6 addr add fd0{net}::9/64 dev far nodad"));
                run("ip link set far up");
            });
        }
        set_parameter("net.ipv4.conf.all.rp_filter", "1").unwrap();
        await_links();
        let checkers = Checkers::default();
        let source = |source: &str| {
            let mut via = Via::default();
            via.source = Some(ip(source));
            via
        };
        let device = |device: &str| {
            let mut via = Via::default();
            via.device = Some(device.into());
            via
        };
        for (network, net) in [(&east, 1), (&west, 2)] {
            for (far, near) in [("10.0.{}.9", "10.0.{}.1"), ("fd0{}::9", "fd0{}::1")] {
                let [far, near] = [far, near].map(|text| ip(&text.replace("{}", &net.to_string())));
                let (tell, told) = sync_channel(9);
                let (open, opened) = sync_channel(1);
                network.run(move || {
                    let server = SynServer::start(far, move |received| {
                        if received.is_reset {
                            return Some(Vec::new());
                        }
                        tell.send(received.from.ip()).ok()?;
                        Some(vec![received.accept()])
                    });
                    open.send(server.unwrap().address()).unwrap();
                });
                let address = opened.recv().unwrap();
                let mut ways = vec![(None, near)];
                if net == 1 {
                    ways.push((Some(device("east")), near));
                    if far.is_ipv4() {
                        ways.push((Some(source("10.0.1.7")), ip("10.0.1.7")));
                    }
                }
                for (way, from) in ways {
                    let target = to(address).via(way.clone().unwrap_or_default());
                    let outcome = block_on(async { asked(&Checkers::default(), target.clone(), LONG).await });
                    assert_eq!(outcome, Outcome::PASS, "{target}");
                    assert_eq!(told.recv().unwrap(), from, "{target}");
                }
            }
        }
        // One after another by one socket: the source of the one before does not stay.
        let listeners =
            [(&east, "10.0.1.9:0"), (&west, "10.0.2.9:0"), (&east, "[fd01::9]:0"), (&west, "[fd02::9]:0")];
        let listeners: Vec<TcpListener> = listeners
            .into_iter()
            .map(|(network, address)| network.run(move || TcpListener::bind(address).unwrap()))
            .collect();
        block_on(async {
            for _ in 0..3 {
                for listener in &listeners {
                    let address = listener.local_addr().unwrap();
                    assert_eq!(asked(&checkers, to(address), LONG).await, Outcome::PASS, "{address}");
                }
            }
            // A device that is not there, and a source.
            let target = || to(listeners[0].local_addr().unwrap());
            let gone = asked(&checkers, target().via(device("gone")), LONG).await;
            assert_eq!(gone, LocalFault::InterfaceDown.into());
            let gone = asked(&checkers, target().via(source("10.9.9.9")), LONG).await;
            assert_eq!(gone, LocalFault::NoAddress.into());
        });
    });
}
