//! UDP probes against backends that misbehave.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use hc_checkers::probe_udp;
use hc_testkit::datagram::DatagramServer;
use hc_testkit::network::{in_own_network, run as command};
use hc_testkit::outcome::as_told;
use hc_types::{Failure, LocalFault, Mark, Mismatch, Mode, Outcome, Phase, Target, UdpProbe, Unreachable};

const FAMILIES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
const PLENTY: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_millis(150);

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn ask(target: &Target, send: &[u8], receive: &[u8], timeout: Duration) -> Outcome {
    as_told(run(probe_udp(&UdpProbe { send: send.into(), receive: receive.into() }, target, timeout)))
}

fn plain(address: SocketAddr) -> Target {
    Target::plain(address.ip(), address.port())
}

/// Both families: what a probe finds at a server that gives these answers to each datagram.
#[track_caller]
fn check(answers: &[&[u8]], send: &[u8], receive: &[u8], expected: impl Into<Outcome>) {
    let expected = expected.into();
    for ip in FAMILIES {
        let script: Vec<Vec<u8>> = answers.iter().map(|answer| answer.to_vec()).collect();
        let server = DatagramServer::start(ip, move |_| script.clone()).unwrap();
        assert_eq!(ask(&plain(server.address()), send, receive, PLENTY), expected, "{ip}");
        assert_eq!(server.seen(), [send], "{ip}");
    }
}

fn mismatch(got: &[u8]) -> Failure {
    Failure::BodyMismatch(Box::new(Mismatch::new(got, None)))
}

#[test]
fn the_first_datagram_decides() {
    check(&[b"pong"], b"ping", b"pong", Outcome::PASS);
    check(&[b"pong and more"], b"ping", b"pong", Outcome::PASS);
    check(&[b"pon"], b"ping", b"pong", mismatch(b"pon"));
    check(&[b"no", b"pong"], b"ping", b"pong", mismatch(b"no"));
    check(&[b"\x00\xff"], b"", b"\x00\xff", Outcome::PASS);
}

#[test]
fn empty_datagrams_count() {
    check(&[b""], b"", b"", Outcome::PASS);
    check(&[b"anything"], b"", b"", Outcome::PASS);
    check(&[b""], b"", b"x", mismatch(b""));
}

#[test]
fn silence_is_a_timeout_whatever_is_expected() {
    for ip in FAMILIES {
        let silent = UdpSocket::bind((ip, 0)).unwrap();
        for receive in [&b""[..], b"x"] {
            let outcome = ask(&plain(silent.local_addr().unwrap()), b"x", receive, SOON);
            assert_eq!(outcome, Failure::timeout(Phase::Response).into());
        }
    }
}

#[test]
fn a_stranger_does_not_answer_for_the_target() {
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = plain(target.local_addr().unwrap());
    let answers = std::thread::spawn(move || {
        let (_, peer) = target.recv_from(&mut [0; 16]).unwrap();
        stranger.send_to(b"pong", peer).unwrap();
        target.send_to(b"true", peer).unwrap();
    });
    assert_eq!(ask(&address, b"ping", b"true", PLENTY), Outcome::PASS);
    answers.join().unwrap();
}

#[test]
fn a_closed_port_is_refused_at_once() {
    for ip in FAMILIES {
        let address = UdpSocket::bind((ip, 0)).unwrap().local_addr().unwrap();
        assert_eq!(ask(&plain(address), b"ping", b"", PLENTY), Failure::Refused.into());
    }
}

#[test]
fn icmp_errors_are_named() {
    let cases = [
        ("with icmp type net-unreachable", Unreachable::Network),
        ("with icmp type host-unreachable", Unreachable::Host),
        ("with icmp type prot-unreachable", Unreachable::Protocol),
        ("with icmp type net-prohibited", Unreachable::Protocol),
        ("with icmp type admin-prohibited", Unreachable::Protocol),
        ("with icmpv6 type no-route", Unreachable::Network),
        ("with icmpv6 type admin-prohibited", Unreachable::Protocol),
        ("with icmpv6 type addr-unreachable", Unreachable::Host),
    ];
    for (reject, expected) in cases {
        let outcome = in_own_network(move || {
            let family = if reject.contains("icmpv6") { "ip6" } else { "ip" };
            command(&format!("nft add table {family} t"));
            command(&format!("nft add chain {family} t in {{ type filter hook input priority 0 ; }}"));
            command(&format!("nft add rule {family} t in udp dport 9 reject {reject}"));
            let ip = FAMILIES[usize::from(family == "ip6")];
            ask(&Target::plain(ip, 9), b"ping", b"", PLENTY)
        });
        assert_eq!(outcome, Failure::Unreachable(expected).into(), "{reject}");
    }
}

#[test]
fn what_we_lack_is_no_verdict() {
    let outcome = in_own_network(|| ask(&Target::plain([192, 0, 2, 1].into(), 9), b"ping", b"", PLENTY));
    assert_eq!(outcome, LocalFault::NoRoute.into());
    let outcome = in_own_network(|| {
        command("nft add table ip t");
        command("nft add chain ip t out { type filter hook output priority 0 ; policy drop ; }");
        ask(&Target::plain([127, 0, 0, 1].into(), 9), b"ping", b"", PLENTY)
    });
    assert_eq!(outcome, LocalFault::Filter.into());
}

#[test]
fn the_datagram_carries_the_mark() {
    for ip in FAMILIES {
        let (marked, unmarked) = in_own_network(move || {
            let server = DatagramServer::start(ip, |_| vec![Vec::new()]).unwrap();
            let port = server.address().port();
            command("nft add table inet t");
            command("nft add chain inet t out { type filter hook output priority 0 ; }");
            command(&format!("nft add rule inet t out udp dport {port} meta mark != 65536 drop"));
            let marked = Target::marked(ip, port, Mode::Tun, Mark::new(65_536).unwrap(), None);
            let outcomes =
                (ask(&marked, b"ping", b"", PLENTY), ask(&Target::plain(ip, port), b"ping", b"", PLENTY));
            // The server's last datagram to itself must get through, too.
            command("nft flush ruleset");
            outcomes
        });
        assert_eq!(marked, Outcome::PASS);
        assert_eq!(unmarked, LocalFault::Filter.into());
    }
}

#[test]
fn a_datagram_too_long_to_be_sent_is_a_bad_request() {
    let outcome = ask(&plain("127.0.0.1:9".parse().unwrap()), &vec![0; 65_508], b"", PLENTY);
    assert!(matches!(outcome, Outcome::Fail(Failure::BadRequest(_))), "{outcome:?}");
}
