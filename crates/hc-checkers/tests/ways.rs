//! A source address, an interface and a PROXY header of a check's own, with real sockets and the
//! real HAProxy. Needs root, for networks of the tests' own.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{IpAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::time::Duration;

use hc_checkers::{Checkers, CheckersConfig, probe_http, probe_tcp};
use hc_testkit::network::{in_own_network, run};
use hc_testkit::process::{Process, wait_until};
use hc_types::{
    CheckSpec, Failure, HttpProbe, LocalFault, Outcome, ProbeSpec, ProxyProtocol, Target, TcpProbe, Timing,
    Tls, UdpProbe, Via,
};

const LONG: Duration = Duration::from_secs(20);

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn from(source: &str) -> Via {
    let mut via = Via::default();
    via.source = Some(ip(source));
    via
}

fn on(device: &str) -> Via {
    let mut via = Via::default();
    via.device = Some(device.into());
    via
}

fn announcing(header: ProxyProtocol) -> Via {
    let mut via = Via::default();
    via.proxy_protocol = Some(header);
    via
}

fn probe(target: Target, probe: ProbeSpec) -> Outcome {
    let timing = Timing::default().timeout(Duration::from_secs(2));
    let spec = CheckSpec::new(target, probe, timing).unwrap();
    block_on(async { Checkers::default().probe(&spec).await })
}

fn tcp() -> ProbeSpec {
    // Closed by a FIN, so that the listener sees the connection.
    ProbeSpec::Tcp(TcpProbe { send: "x".into(), ..TcpProbe::default() })
}

#[test]
fn packets_are_sent_from_the_source() {
    in_own_network(|| {
        for (to, source) in [("127.0.0.1", "127.0.0.9"), ("fd00::1", "fd00::9")] {
            run("ip -6 address replace fd00::1/64 dev lo nodad");
            run("ip -6 address replace fd00::9/64 dev lo nodad");
            let listener = TcpListener::bind((ip(to), 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            assert_eq!(probe(Target::plain(ip(to), port).via(from(source)), tcp()), Outcome::PASS);
            assert_eq!(listener.accept().unwrap().1.ip(), ip(source));

            let server = UdpSocket::bind((ip(to), 0)).unwrap();
            let port = server.local_addr().unwrap().port();
            let answering = std::thread::spawn(move || {
                let (_, peer) = server.recv_from(&mut [0; 16]).unwrap();
                server.send_to(b"pong", peer).unwrap();
                peer.ip()
            });
            let udp = ProbeSpec::Udp(Box::new(UdpProbe { send: "ping".into(), receive: "pong".into() }));
            assert_eq!(probe(Target::plain(ip(to), port).via(from(source)), udp), Outcome::PASS);
            assert_eq!(answering.join().unwrap(), ip(source));

            run("nft add table inet t");
            run("nft add chain inet t out { type filter hook output priority 0 ; }");
            let family = if ip(to).is_ipv4() { "ip" } else { "ip6" };
            let request = if ip(to).is_ipv4() { "icmp type" } else { "icmpv6 type" };
            run("nft add counter inet t sent");
            run(&format!(
                "nft add rule inet t out {request} echo-request {family} saddr {source} counter name sent"
            ));
            assert_eq!(probe(Target::plain(ip(to), 0).via(from(source)), ProbeSpec::Icmp), Outcome::PASS);
            let counted = run("nft list counter inet t sent");
            assert!(counted.contains("packets 1 "), "{counted}");
            run("nft delete table inet t");
        }
    });
}

#[test]
fn a_source_or_an_interface_that_is_not_there_is_no_verdict() {
    in_own_network(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for (way, fault) in
            [(from("192.0.2.9"), LocalFault::NoAddress), (on("eth77"), LocalFault::InterfaceDown)]
        {
            for (port, kind) in [(port, tcp()), (port, udp()), (0, ProbeSpec::Icmp)] {
                let target = Target::plain(ip("127.0.0.1"), port).via(way.clone());
                assert_eq!(probe(target, kind.clone()), fault.into(), "{way:?} {kind:?}");
            }
        }
    });
}

fn udp() -> ProbeSpec {
    ProbeSpec::Udp(Box::default())
}

#[test]
fn packets_go_through_the_interface_whatever_the_routes_say() {
    in_own_network(|| {
        // The route leads to one end of a pair, whose other end answers nothing.
        run("ip link add left type veth peer name right");
        run("ip link set left up");
        run("ip link set right up");
        run("ip address add 192.0.2.1/24 dev left");
        run("nft add table inet t");
        run("nft add chain inet t out { type filter hook output priority 0 ; }");
        run("nft add counter inet t through");
        run("nft add rule inet t out oifname right meta l4proto udp counter name through");
        hc_testkit::network::await_links();
        run("ip neighbour replace 192.0.2.7 lladdr 02:00:00:00:00:07 dev right nud permanent");
        let target = Target::plain(ip("192.0.2.7"), 9).via(on("right"));
        let outcome = probe(target, udp());
        assert!(matches!(outcome, Outcome::Fail(Failure::Timeout { .. })), "{outcome:?}");
        let counted = run("nft list counter inet t through");
        assert!(counted.contains("packets 1 "), "{counted}");
    });
}

/// HAProxy on ports of its own in the test's network, and its files. Ends when it is dropped.
fn haproxy() -> (Process, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let pem = dir.path().join("pem");
    let request = "req -x509 -nodes -newkey rsa:2048 -days 30 -subj /CN=here -keyout key -out crt";
    let made = Command::new("openssl").args(request.split(' ')).current_dir(&dir).output().unwrap();
    assert!(made.status.success());
    let [key, certificate] = ["key", "crt"].map(|name| std::fs::read(dir.path().join(name)).unwrap());
    std::fs::write(&pem, [certificate, key].concat()).unwrap();
    let config = format!(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n\
         frontend f\n  bind 127.0.0.1:80 accept-proxy\n  bind ::1:80 v6only accept-proxy\n\
         \x20 bind 127.0.0.1:443 accept-proxy ssl crt {}\n\
         \x20 http-request return status 200 content-type text/plain lf-string \"%[src] %[dst_port]\"\n",
        pem.display()
    );
    let file = dir.path().join("config");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f"]).arg(&file);
    let process = Process::try_start_logged(&mut command, &dir.path().join("log"))
        .expect("haproxy is needed: `cargo xtask setup` installs it");
    wait_until("HAProxy listens", || std::net::TcpStream::connect("127.0.0.1:443").is_ok());
    (process, dir)
}

#[test]
fn a_backend_that_wants_a_proxy_header_gets_it() {
    in_own_network(|| {
        let _haproxy = haproxy();
        let config = CheckersConfig::default();
        for header in [ProxyProtocol::V1, ProxyProtocol::V2, ProxyProtocol::V2Local] {
            for (address, tls) in [("127.0.0.1", false), ("::1", false), ("127.0.0.1", true)] {
                let port = if tls { 443 } else { 80 };
                let mut via = announcing(header);
                via.source = address.starts_with("127").then(|| ip("127.0.0.9"));
                let source = via.source.unwrap_or(ip(address));
                let target = Target::plain(ip(address), port).via(via);
                let body = format!("{source} {port}");
                let http = HttpProbe {
                    tls: tls.then(|| Tls::new(false)),
                    expected_codes: [200].into(),
                    expected_body: body.into(),
                    ..HttpProbe::default()
                };
                let outcome = block_on(probe_http(&http, &target, LONG, &config));
                assert!(matches!(outcome, Outcome::Pass(_)), "{header:?} {address} {tls}: {outcome:?}");
                let bare = TcpProbe { tls: tls.then(|| Tls::new(false)), ..TcpProbe::default() };
                assert_eq!(block_on(probe_tcp(&bare, &target, LONG, &config)), Outcome::PASS);
            }
        }
        let http = HttpProbe { expected_codes: [200].into(), ..HttpProbe::default() };
        let without = Target::plain(ip("127.0.0.1"), 80);
        let outcome = block_on(probe_http(&http, &without, LONG, &config));
        assert!(matches!(outcome, Outcome::Fail(_)), "{outcome:?}");
    });
}
