//! Paths whose MTU is smaller than the datagram. Needs root, for networks of the test's own.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hc_checkers::{Checkers, CheckersConfig};
use hc_testkit::datagram::DatagramServer;
use hc_testkit::network::{Network, connect_to, in_own_network, run, set_parameter};
use hc_testkit::outcome::as_told;
use hc_types::{
    CheckSpec, DnsExpectation, DnsProbe, Failure, Mark, Mode, Outcome, Phase, ProbeSpec, RadiusExpectation,
    RadiusProbe, RecordClass, RecordType, Target, Timing, UdpProbe,
};

const SECOND: Duration = Duration::from_secs(1);

/// A client in this thread's network, a router, and a backend behind a hop with a small MTU.
struct Path {
    backend: Network,
    router: Network,
}

impl Path {
    /// `hop` is the MTU behind the router.
    fn new(hop: u32) -> Self {
        let (router, backend) = (Network::new(), Network::new());
        // Link-local addresses can be used at once.
        let no_dad = || set_parameter("net.ipv6.conf.default.accept_dad", "0").unwrap();
        no_dad();
        router.run(no_dad);
        backend.run(no_dad);
        router.connect("near", "left");
        for command in [
            "ip address add 10.1.0.1/24 dev near",
            "ip -6 address add fd01::1/64 dev near nodad",
            "ip link set near up",
            "ip route add default via 10.1.0.2",
            "ip -6 route add default via fd01::2",
        ] {
            run(command);
        }
        let tid = backend.tid();
        router.run(move || {
            connect_to(tid, "right", "far");
            for command in [
                "ip address add 10.1.0.2/24 dev left",
                "ip -6 address add fd01::2/64 dev left nodad",
                "ip link set left up",
                "ip address add 10.2.0.2/24 dev right",
                &format!("ip link set right mtu {hop}"),
                "ip link set right up",
            ] {
                run(command);
            }
            if hop >= 1280 {
                run("ip -6 address add fd02::2/64 dev right nodad");
                set_parameter("net.ipv6.conf.all.forwarding", "1").unwrap();
            }
            set_parameter("net.ipv4.ip_forward", "1").unwrap();
            // Each packet that is too big is told about.
            set_parameter("net.ipv4.icmp_ratelimit", "0").unwrap();
            set_parameter("net.ipv6.icmp.ratelimit", "0").unwrap();
        });
        backend.run(move || {
            for command in [
                "ip address add 10.2.0.1/24 dev far",
                &format!("ip link set far mtu {hop}"),
                "ip link set far up",
                "ip route add default via 10.2.0.2",
            ] {
                run(command);
            }
            if hop >= 1280 {
                run("ip -6 address add fd02::1/64 dev far nodad");
                run("ip -6 route add default via fd02::2");
            }
        });
        Self { backend, router }
    }

    /// The outcomes of `probe` at a server that gives this answer, `rounds` times; before each one
    /// the kernel forgets what it knows of the path.
    fn probe(
        &self,
        ip: &str,
        answer: fn(&[u8]) -> Vec<u8>,
        probe: &ProbeSpec,
        mark: Option<u32>,
    ) -> Vec<Outcome> {
        let ip: IpAddr = ip.parse().unwrap();
        let server =
            self.backend.run(move || DatagramServer::start(ip, move |asked| vec![answer(asked)]).unwrap());
        let port = server.address().port();
        let outcomes = (0..3).map(|_| {
            forget_path();
            probe_once(ip, port, probe, mark)
        });
        let outcomes = outcomes.collect();
        // Its last datagram, to itself, is for its own network.
        self.backend.run(move || drop(server));
        outcomes
    }
}

/// What the kernel does by itself after ten minutes.
fn forget_path() {
    run("ip route flush cache");
    run("ip -6 route flush cache");
}

fn probe_once(ip: IpAddr, port: u16, probe: &ProbeSpec, mark: Option<u32>) -> Outcome {
    let target = match mark.and_then(Mark::new) {
        None => Target::plain(ip, port),
        Some(mark) => Target::marked(ip, port, Mode::Dsr, mark, None),
    };
    let spec =
        Arc::new(CheckSpec::new(target, probe.clone(), Timing::every(SECOND).timeout(2 * SECOND)).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Checkers::new(CheckersConfig::default()).probe(&spec))
}

fn udp(length: usize) -> ProbeSpec {
    ProbeSpec::Udp(Box::new(UdpProbe { send: vec![b'x'; length].into(), receive: b"pong".into() }))
}

fn pong(_: &[u8]) -> Vec<u8> {
    b"pong".to_vec()
}

const PASSES: [Outcome; 3] = [Outcome::PASS; 3];

#[test]
fn udp_probe_beyond_the_path_mtu_passes_each_time_the_kernel_forgot_the_mtu() {
    for (ip, hop) in [("10.2.0.1", 600), ("fd02::1", 1300)] {
        let outcomes = in_own_network(move || {
            let path = Path::new(hop);
            [
                path.probe(ip, pong, &udp(1400), None),
                path.probe(ip, pong, &udp(1400), Some(77)),
                path.probe(ip, pong, &udp(9000), None),
                path.probe(ip, pong, &udp(65_507), None),
            ]
        });
        for outcomes in outcomes {
            assert_eq!(outcomes, PASSES, "{ip}");
        }
    }
}

#[test]
fn udp_probe_passes_where_no_router_says_that_it_is_too_long() {
    let outcomes = in_own_network(|| {
        let path = Path::new(600);
        path.router.run(|| {
            run("nft add table ip t");
            run("nft add chain ip t out { type filter hook output priority 0 ; }");
            run("nft add rule ip t out icmp type destination-unreachable drop");
        });
        path.probe("10.2.0.1", pong, &udp(1400), None)
    });
    assert_eq!(outcomes, PASSES);
}

#[test]
fn udp_probe_longer_than_the_mtu_of_the_own_interface_passes() {
    for ip in ["10.2.0.1", "fd02::1"] {
        let outcomes = in_own_network(move || {
            let path = Path::new(1280);
            run("ip link set near mtu 1290");
            path.probe(ip, pong, &udp(1400), None)
        });
        assert_eq!(outcomes, PASSES, "{ip}");
    }
}

/// A router that calls every packet too big does not make a probe send without end.
#[test]
fn udp_probe_is_resent_a_few_times_and_not_for_ever() {
    let (outcome, sent) = in_own_network(|| {
        let path = Path::new(1300);
        path.router.run(|| {
            // Nothing fits into less than the least MTU of IPv6, since no sender goes below that.
            run("ip -6 route replace fd02::1/128 via fd02::3 dev right mtu 1000");
            run("nft add table ip6 t");
            run("nft add chain ip6 t pre { type filter hook prerouting priority -500 ; }");
            run("nft add rule ip6 t pre frag frag-off 0 udp dport 9 counter");
            run("nft add rule ip6 t pre udp dport 9 udp length 1408 counter");
        });
        let outcome = probe_once("fd02::1".parse().unwrap(), 9, &udp(1400), None);
        (outcome, path.router.run(|| run("nft list ruleset")))
    });
    assert_eq!(as_told(outcome), Failure::timeout(Phase::Response).into());
    let packets = sent.split("packets ").skip(1).map(|rest| rest.split(' ').next().unwrap());
    let sent: u32 = packets.map(|number| number.parse::<u32>().unwrap()).sum();
    assert!((2..40).contains(&sent), "{sent}");
}

#[test]
fn dns_and_radius_probes_beyond_the_path_mtu_are_answered() {
    for (ip, hop) in [("10.2.0.1", 100), ("fd02::1", 1280)] {
        let (dns, radius) = in_own_network(move || {
            let path = Path::new(hop);
            // A question of 255 bytes, and a request of some 250: over IPv6 they fit through any
            // path.
            let query = ["a".repeat(60), "b".repeat(60), "c".repeat(60), "d".repeat(60)].join(".");
            let dns = ProbeSpec::Dns(Box::new(DnsProbe {
                query: query.into(),
                query_type: RecordType::A,
                query_class: RecordClass::IN,
                expect: DnsExpectation::Any,
                options: None,
            }));
            let radius = ProbeSpec::Radius(Box::new(RadiusProbe {
                username: vec![b'u'; 200].into(),
                password: "p".into(),
                secret: "s".into(),
                expect: RadiusExpectation::Accept,
                require_message_authenticator: false,
            }));
            // NXDOMAIN, and a reply that does not know the secret: each shows that the request has
            // arrived.
            let nxdomain = |asked: &[u8]| {
                let mut reply = asked.to_vec();
                reply[2] |= 0x80;
                reply[3] = 3;
                reply
            };
            let forged = |asked: &[u8]| {
                let mut reply = vec![0; 20];
                reply[..2].copy_from_slice(&[2, asked[1]]);
                reply[3] = 20;
                reply
            };
            (path.probe(ip, nxdomain, &dns, None), path.probe(ip, forged, &radius, None))
        });
        for outcome in dns {
            assert_eq!(outcome, Failure::DnsRcode(3).into(), "{ip}");
        }
        for outcome in radius {
            assert!(matches!(outcome, Outcome::Fail(Failure::BadAuthenticator(_))), "{ip}: {outcome:?}");
        }
    }
}

/// With a ping socket and with a raw one.
#[test]
fn ping_passes_through_a_path_narrower_than_its_packet() {
    for group in ["0 2147483647", "1 0"] {
        let outcomes = in_own_network(move || {
            let _path = Path::new(68);
            set_parameter("net.ipv4.ping_group_range", group).unwrap();
            [(); 3].map(|()| {
                forget_path();
                probe_once([10, 2, 0, 1].into(), 0, &ProbeSpec::Icmp, None)
            })
        });
        assert_eq!(outcomes, PASSES, "ping_group_range {group}");
    }
}

#[test]
fn a_broadcast_address_of_the_own_network_is_named() {
    let outcomes = in_own_network(|| {
        let _path = Path::new(1300);
        let probes = [ProbeSpec::Tcp(hc_types::TcpProbe::default()), udp(4), ProbeSpec::Icmp];
        probes.map(|probe| probe_once([10, 1, 0, 255].into(), 9, &probe, None))
    });
    let text = "10.1.0.255 is a broadcast address of this machine's network";
    assert_eq!(outcomes, [(); 3].map(|()| Failure::BadRequest(text.into()).into()));
}
