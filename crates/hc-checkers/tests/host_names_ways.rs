//! One check over all addresses of a host name by ICMP and RADIUS, and with a source for each
//! family. Each test has a network of its own, which needs root.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use hc_checkers::Checkers;
use hc_testkit::datagram::DatagramServer;
use hc_testkit::network::{in_own_network, run, set_parameter};
use hc_testkit::radius::{RadiusReply, RadiusRequest};
use hc_types::{
    CheckSpec, Failure, HostName, Outcome, ProbeSpec, RadiusExpectation, RadiusProbe, RadiusStatusProbe,
    Rule, Target, TcpProbe, Timing, Via,
};

const LONG: Duration = Duration::from_secs(20);
/// Long enough for a packet on loopback to come, short enough to wait for in vain.
const SHORT: Duration = Duration::from_millis(600);
const SECRET: &[u8] = b"s3cret";
/// Two backends of each family, and the source for each.
const BACKENDS: [&str; 4] = ["127.9.0.1", "127.9.0.2", "fd00::1", "fd00::2"];
const SOURCES: [&str; 2] = ["127.9.0.9", "fd00::9"];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A probe of any or all of these addresses, by this way.
fn probe(
    addresses: &[&str],
    rule: Rule,
    port: u16,
    kind: &ProbeSpec,
    timeout: Duration,
    via: Via,
) -> Outcome {
    let host = HostName::new("h.example", addresses.iter().map(|address| ip(address)), rule);
    let target = Target::plain([0, 0, 0, 0].into(), port).via(via);
    let timing = Timing::every(10 * timeout).timeout(timeout);
    let spec = CheckSpec::of_host_name(host, target, kind.clone(), timing).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { Checkers::default().probe(&spec).await })
}

#[track_caller]
fn assert_failed(outcome: &Outcome, address: &str, label: &str, counts: (u16, u16)) {
    let Outcome::Fail(Failure::OfAddress(failed)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((failed.address, outcome.label()), (ip(address), label));
    assert_eq!((failed.failed, failed.of), counts);
}

#[track_caller]
fn assert_passed(outcome: &Outcome) {
    assert!(matches!(outcome, Outcome::Pass(_)), "{outcome:?}");
}

/// Gives the loopback interface all these addresses; those of 127/8 it has.
fn add_addresses() {
    for address in BACKENDS.into_iter().chain(SOURCES).filter(|address| address.contains(':')) {
        run(&format!("ip -6 address add {address}/64 dev lo nodad"));
    }
    run("nft add table inet t");
    run("nft add chain inet t in { type filter hook input priority 0 ; }");
}

fn lose_packets_to(address: &str) {
    let family = if address.contains(':') { "ip6" } else { "ip" };
    run(&format!("nft add rule inet t in {family} daddr {address} drop"));
}

fn icmp() {
    add_addresses();
    let ping = |addresses: &[&str], rule, timeout| {
        probe(addresses, rule, 0, &ProbeSpec::Icmp, timeout, Via::default())
    };
    for rule in [Rule::Any, Rule::All] {
        assert_eq!(ping(&BACKENDS, rule, LONG), Outcome::PASS);
    }
    lose_packets_to("127.9.0.2");
    lose_packets_to("fd00::1");
    assert_eq!(ping(&BACKENDS, Rule::Any, SHORT), Outcome::PASS);
    assert_failed(&ping(&BACKENDS, Rule::All, SHORT), "127.9.0.2", "timeout_response", (2, 4));
    let both = ["127.9.0.2", "fd00::1"];
    for rule in [Rule::Any, Rule::All] {
        assert_failed(&ping(&both, rule, SHORT), "127.9.0.2", "timeout_response", (2, 2));
    }
}

/// All pings of one probe go through one socket for each family, and each finds its own reply.
#[test]
fn any_or_all_addresses_must_answer_pings() {
    in_own_network(icmp);
    in_own_network(|| {
        set_parameter("net.ipv4.ping_group_range", "0 0").unwrap();
        icmp();
    });
}

/// RADIUS servers on one port of these addresses, with the code that each answers with.
fn radius_servers(codes: &[(&str, u8)]) -> (u16, Vec<DatagramServer>) {
    let mut port = 0;
    let mut servers = Vec::new();
    for (address, code) in codes.iter().copied() {
        let socket = UdpSocket::bind((ip(address), port)).unwrap();
        port = socket.local_addr().unwrap().port();
        let answer = move |packet: &[u8]| {
            let request = RadiusRequest::parse(packet).unwrap();
            vec![RadiusReply::to(&request, code).message_authenticator().build(SECRET)]
        };
        servers.push(DatagramServer::serve(socket, answer).unwrap());
    }
    (port, servers)
}

fn login() -> ProbeSpec {
    ProbeSpec::Radius(Box::new(RadiusProbe {
        username: "user".into(),
        password: "secret".into(),
        secret: "s3cret".into(),
        expect: RadiusExpectation::Accept,
        require_message_authenticator: true,
    }))
}

fn status_server() -> ProbeSpec {
    ProbeSpec::RadiusStatus(Box::new(RadiusStatusProbe {
        secret: "s3cret".into(),
        require_message_authenticator: true,
    }))
}

#[test]
fn any_or_all_radius_servers_must_accept() {
    const ACCEPT: u8 = 2;
    const REJECT: u8 = 3;
    in_own_network(|| {
        add_addresses();
        let (port, servers) = radius_servers(&BACKENDS.map(|address| (address, ACCEPT)));
        for kind in [login(), status_server()] {
            for rule in [Rule::Any, Rule::All] {
                assert_passed(&probe(&BACKENDS, rule, port, &kind, LONG, Via::default()));
            }
        }
        // Each server is asked once by each probe.
        for server in &servers {
            assert_eq!(server.seen().len(), 4);
        }
        drop(servers);

        let codes = [("127.9.0.1", ACCEPT), ("127.9.0.2", REJECT), ("fd00::1", REJECT)];
        let (port, _servers) = radius_servers(&codes);
        let ask = |addresses: &[&str], rule, timeout| {
            probe(addresses, rule, port, &login(), timeout, Via::default())
        };
        let three = &BACKENDS[..3];
        assert_passed(&ask(three, Rule::Any, LONG));
        assert_failed(&ask(three, Rule::All, LONG), "127.9.0.2", "radius_code", (2, 3));
        assert_failed(&ask(&three[1..], Rule::Any, LONG), "127.9.0.2", "radius_code", (2, 2));
        // Nobody has the port of the fourth; a server that is silent is waited for.
        assert_failed(&ask(&["127.9.0.1", "fd00::2"], Rule::All, LONG), "fd00::2", "refused", (1, 2));
        lose_packets_to("127.9.0.2");
        assert_passed(&ask(&["127.9.0.1", "127.9.0.2"], Rule::Any, SHORT));
        let silent = ask(&["127.9.0.1", "127.9.0.2"], Rule::All, SHORT);
        assert_failed(&silent, "127.9.0.2", "timeout_response", (1, 2));
        // The servers are woken by packets when they end.
        run("nft flush ruleset");
    });
}

#[test]
fn addresses_of_both_families_are_probed_from_the_source_of_their_own() {
    in_own_network(|| {
        add_addresses();
        let mut via = Via::default();
        (via.source, via.second_source) = (Some(ip(SOURCES[1])), Some(ip(SOURCES[0])));
        let (radius, _servers) = radius_servers(&BACKENDS.map(|address| (address, 2)));
        // Both protocols at this port.
        let listeners = BACKENDS.map(|address| std::net::TcpListener::bind((ip(address), radius)).unwrap());
        for (family, backends, source) in
            [("ip", "{ 127.9.0.1, 127.9.0.2 }", SOURCES[0]), ("ip6", "{ fd00::1, fd00::2 }", SOURCES[1])]
        {
            for (name, differs) in [("right", "=="), ("wrong", "!=")] {
                run(&format!("nft add counter inet t {name}_{family}"));
                run(&format!(
                    "nft add rule inet t in {family} daddr {backends} meta l4proto {{ tcp, udp, icmp, ipv6-icmp }} \
                     {family} saddr {differs} {source} counter name {name}_{family}"
                ));
            }
        }
        let tcp = ProbeSpec::Tcp(TcpProbe { send: "x".into(), ..TcpProbe::default() });
        for (kind, port) in
            [(ProbeSpec::Icmp, 0), (login(), radius), (status_server(), radius), (tcp, radius)]
        {
            for rule in [Rule::Any, Rule::All] {
                assert_passed(&probe(&BACKENDS, rule, port, &kind, LONG, via.clone()));
            }
        }
        let packets = |name: &str| {
            let text = run(&format!("nft list counter inet t {name}"));
            let words: Vec<&str> = text.split_whitespace().collect();
            let at = words.iter().position(|word| *word == "packets").unwrap();
            words[at + 1].parse::<u32>().unwrap()
        };
        for family in ["ip", "ip6"] {
            assert_eq!(packets(&format!("wrong_{family}")), 0, "{family}");
            // Two backends, four kinds, two rules, a packet each at least.
            assert!(packets(&format!("right_{family}")) >= 16, "{family}");
        }
        for listener in listeners {
            let source = ip(SOURCES[usize::from(listener.local_addr().unwrap().is_ipv6())]);
            assert_eq!(listener.accept().unwrap().1.ip(), source);
        }
    });
}
