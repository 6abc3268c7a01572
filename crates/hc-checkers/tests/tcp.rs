//! TCP probes against backends that misbehave.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hc_checkers::{CheckersConfig, Close, probe_tcp};
use hc_testkit::backend::Backend;
use hc_testkit::network::{in_own_network, run as command, set_parameter};
use hc_testkit::outcome::as_told;
use hc_testkit::port::{ClosedPort, FullPort, IdleListener};
use hc_testkit::script::{Ended, Step};
use hc_types::{Failure, LocalFault, Mark, Mismatch, Mode, Outcome, Phase, Target, TcpProbe, Unreachable};

const FAMILIES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
const PLENTY: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_millis(150);

fn target(address: SocketAddr) -> Target {
    Target::plain(address.ip(), address.port())
}

fn talk(send: &[u8], receive: &[u8]) -> TcpProbe {
    TcpProbe { send: send.into(), receive: receive.into(), tls: None }
}

async fn probe(probe: &TcpProbe, address: SocketAddr, timeout: Duration) -> Outcome {
    as_told(probe_tcp(probe, &target(address), timeout, &CheckersConfig::default()).await)
}

/// Both families: what a probe finds at a backend with this script.
#[track_caller]
fn check(script: &[Step], send: &[u8], receive: &[u8], expected: impl Into<Outcome>) {
    let expected = expected.into();
    let timeout = if matches!(expected, Outcome::Fail(Failure::Timeout { .. })) { SOON } else { PLENTY };
    for ip in FAMILIES {
        let backend = Backend::start(ip, script.to_vec()).unwrap();
        let outcome = run(probe(&talk(send, receive), backend.address(), timeout));
        assert_eq!(outcome, expected, "{ip}");
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn mismatch(got: &[u8]) -> Failure {
    Failure::BodyMismatch(Box::new(Mismatch::new(got, None)))
}

#[test]
fn what_comes_must_begin_as_expected() {
    let banner = [Step::send(b"220 ready\r\n"), Step::Hang];
    check(&banner, b"", b"220 ", Outcome::PASS);
    check(&banner, b"", b"220 ready\r\n", Outcome::PASS);
    check(&banner, b"", b"221 ", mismatch(b"220 "));
    check(&[Step::send(b"\x00\xff\x80"), Step::Hang], b"", b"\x00\xff", Outcome::PASS);
    check(&[Step::send(b"\x00\xfe"), Step::Hang], b"", b"\x00\xff", mismatch(b"\x00\xfe"));
}

#[test]
fn a_question_is_sent_first() {
    let echo = [Step::Read(4), Step::send(b"PONG"), Step::Hang];
    check(&echo, b"PING", b"PONG", Outcome::PASS);
    check(&echo, b"PIN", b"PONG", Failure::timeout(Phase::Response));
    // Sent is enough where nothing is expected.
    check(&[Step::Read(4), Step::Reset], b"PING", b"", Outcome::PASS);
}

#[test]
fn all_of_a_question_arrives_in_its_order() {
    let question: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
    for ip in FAMILIES {
        let script = vec![Step::Read(question.len()), Step::send(b"+"), Step::Hang];
        let backend = Backend::start(ip, script).unwrap();
        assert_eq!(run(probe(&talk(&question, b"+"), backend.address(), PLENTY)), Outcome::PASS);
        assert!(backend.seen()[0].received == question);
    }
}

#[test]
fn an_answer_may_come_byte_by_byte() {
    let slow = [Step::Drip { bytes: b"+OK\r\n".into(), pause_ms: 5 }, Step::Hang];
    check(&slow, b"", b"+OK\r\n", Outcome::PASS);
    // What cannot become the answer is not waited for.
    check(&[Step::send(b"-"), Step::Hang], b"", b"+OK", mismatch(b"-"));
}

#[test]
fn an_answer_that_is_cut_off_is_named() {
    check(&[], b"", b"220 ", Failure::closed_after(b""));
    check(&[Step::send(b"22")], b"", b"220 ", Failure::closed_after(b"22"));
    check(&[Step::HalfClose, Step::Hang], b"", b"220 ", Failure::closed_after(b""));
    check(&[Step::Read(4), Step::Reset], b"PING", b"PONG", Failure::Reset(Phase::Response));
    check(&[Step::send(b"22"), Step::Hang], b"", b"220 ", Failure::timeout(Phase::Response));
    check(&[Step::Hang], b"", b"220 ", Failure::timeout(Phase::Response));
}

#[test]
fn a_peer_that_does_not_read_is_a_timeout_in_sending() {
    let ip = FAMILIES[0];
    let listener = IdleListener::start(ip).unwrap();
    let question = vec![b'x'; 64 << 20];
    let outcome = run(probe(&talk(&question, b""), listener.address().unwrap(), SOON));
    assert_eq!(outcome, Failure::timeout(Phase::Send).into());
}

#[test]
fn nobody_listens() {
    for ip in FAMILIES {
        let port = ClosedPort::reserve(ip).unwrap();
        assert_eq!(run(probe(&TcpProbe::default(), port.address(), PLENTY)), Failure::Refused.into());
    }
}

#[test]
fn a_full_queue_is_a_timeout_in_connecting() {
    for ip in FAMILIES {
        let port = FullPort::start(ip).unwrap();
        let outcome = run(probe(&TcpProbe::default(), port.address(), SOON));
        assert_eq!(outcome, Failure::timeout(Phase::Connect).into());
    }
}

#[test]
fn a_mere_touch_is_never_accepted() {
    for ip in FAMILIES {
        let listener = IdleListener::start(ip).unwrap();
        let address = listener.address().unwrap();
        for _ in 0..20 {
            assert_eq!(run(probe(&TcpProbe::default(), address, PLENTY)), Outcome::PASS);
        }
        assert_eq!(listener.accept_all(), 0, "connections were completed");
        assert_eq!(waiting_to_die(address), 0, "TIME_WAIT");
    }
}

#[test]
fn a_graceful_close_is_a_connection_like_any_other() {
    for ip in FAMILIES {
        let backend = Backend::start(ip, vec![Step::Hang]).unwrap();
        let mut config = CheckersConfig::default();
        config.close = Close::Graceful;
        let outcome = run(probe_tcp(&TcpProbe::default(), &target(backend.address()), PLENTY, &config));
        assert_eq!(outcome, Outcome::PASS);
        let seen = backend.wait_for(|seen| seen.first().is_some_and(|one| one.over));
        assert_eq!(seen[0].ended, Some(Ended::Closed));
    }
}

#[test]
fn a_conversation_ends_politely() {
    let backend = Backend::start(FAMILIES[0], vec![Step::Read(4), Step::send(b"PONG"), Step::Hang]).unwrap();
    assert_eq!(run(probe(&talk(b"PING", b"PONG"), backend.address(), PLENTY)), Outcome::PASS);
    let seen = backend.wait_for(|seen| seen.first().is_some_and(|one| one.over));
    assert_eq!(seen[0].ended, Some(Ended::Closed));
}

/// Connections to `address` that are in TIME_WAIT, from the kernel's table.
fn waiting_to_die(address: SocketAddr) -> usize {
    const TIME_WAIT: &str = "06";
    let (table, port) = (if address.is_ipv4() { "tcp" } else { "tcp6" }, format!(":{:04X}", address.port()));
    let table = std::fs::read_to_string(format!("/proc/net/{table}")).unwrap();
    let rows = table.lines().skip(1).map(|row| row.split_ascii_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[2].ends_with(&port) && row[3] == TIME_WAIT).count()
}

#[test]
fn a_socket_that_meets_itself_has_met_nobody() {
    // A port in the range of ephemeral ports on which nobody listens: the kernel gives it to one of
    // the connecting sockets sooner or later, and that one connects to itself. Made certain here by
    // leaving no other port.
    let outcome = in_own_network(|| {
        set_parameter("net.ipv4.ip_local_port_range", "40000 40000").unwrap();
        run(probe(&TcpProbe::default(), SocketAddr::from(([127, 0, 0, 1], 40_000)), PLENTY))
    });
    assert_eq!(outcome, Failure::Refused.into());
}

#[test]
fn what_we_lack_is_no_verdict() {
    let nowhere = SocketAddr::from(([192, 0, 2, 1], 80));
    let outcome = in_own_network(move || run(probe(&TcpProbe::default(), nowhere, PLENTY)));
    assert_eq!(outcome, LocalFault::NoRoute.into());

    let outcome = in_own_network(|| {
        set_parameter("net.ipv4.ip_local_port_range", "40000 40001").unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:9").unwrap();
        let address = listener.local_addr().unwrap();
        let _taken: Vec<_> = (0..2).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        run(probe(&TcpProbe::default(), address, PLENTY))
    });
    assert_eq!(outcome, LocalFault::Ports.into());
}

#[test]
fn what_the_network_says_is_a_verdict() {
    // No neighbour: a subnet with nobody in it.
    let outcome = in_own_network(|| {
        command("ip link add d0 type veth peer name d1");
        command("ip addr add 192.0.2.2/24 dev d0");
        command("ip link set d0 up");
        command("ip link set d1 up");
        run(probe(&TcpProbe::default(), SocketAddr::from(([192, 0, 2, 1], 80)), PLENTY))
    });
    assert_eq!(outcome, Failure::Unreachable(Unreachable::Host).into());
}

#[test]
fn every_packet_carries_the_mark() {
    for ip in FAMILIES {
        let (marked, strays, unmarked) = in_own_network(move || {
            let backend = Backend::start(ip, vec![Step::Read(4), Step::send(b"PONG"), Step::Hang]).unwrap();
            let address = backend.address();
            command("nft add table inet t");
            command("nft add chain inet t out { type filter hook output priority 0 ; }");
            command(&format!(
                "nft add rule inet t out tcp dport {} meta mark != 65536 counter drop",
                address.port()
            ));
            let target = Target::marked(ip, address.port(), Mode::Dsr, Mark::new(65_536).unwrap(), None);
            let config = CheckersConfig::default();
            let marked: Vec<_> = [TcpProbe::default(), talk(b"PING", b"PONG")]
                .iter()
                .map(|probe| run(probe_tcp(probe, &target, PLENTY, &config)))
                .collect();
            if marked == [Outcome::PASS, Outcome::PASS] {
                backend.wait_for(|seen| seen.iter().any(|one| one.over));
            }
            let strays = !command("nft list ruleset").contains("counter packets 0 ");
            let unmarked = run(probe(&TcpProbe::default(), address, SOON));
            // The backend connects to itself to end.
            command("nft flush ruleset");
            (marked, strays, unmarked)
        });
        assert_eq!(marked, [Outcome::PASS, Outcome::PASS]);
        assert!(!strays, "packets without the mark");
        assert_eq!(unmarked, Failure::timeout(Phase::Connect).into());
    }
}

#[test]
fn probes_leave_no_descriptor_behind() {
    // In a process of its own kind of quiet: other tests of this file open sockets at the same
    // time, so only those to our own backends are counted.
    let (closed, full) = (ClosedPort::reserve(FAMILIES[0]).unwrap(), FullPort::start(FAMILIES[0]).unwrap());
    let silent = Backend::start(FAMILIES[0], vec![Step::Hang]).unwrap();
    let ports = [closed.address().port(), full.address().port(), silent.address().port()];
    let before = connections_of_ours(&ports);
    run(async {
        for round in 0..1000 {
            let address = [closed.address(), full.address(), silent.address()][round % 3];
            let question = talk(b"", if round % 2 == 0 { b"x" } else { b"" });
            let probe = probe(&question, address, Duration::from_millis(1 + (round % 5) as u64));
            if round % 7 == 0 {
                // Cancelled before its time.
                let _ = tokio::time::timeout(Duration::from_micros(300), probe).await;
            } else {
                probe.await;
            }
        }
    });
    assert_eq!(connections_of_ours(&ports), before);
}

/// Sockets of this process that lead to one of `ports` from a client's side.
fn connections_of_ours(ports: &[u16]) -> usize {
    let held: Vec<String> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| {
            std::fs::read_link(entry.unwrap().path()).ok()?.into_os_string().into_string().ok()
        })
        .collect();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table
        .lines()
        .skip(1)
        .filter(|row| {
            let row: Vec<_> = row.split_ascii_whitespace().collect();
            let to_us = ports.iter().any(|port| row[2].ends_with(&format!(":{port:04X}")));
            to_us && held.contains(&format!("socket:[{}]", row[9]))
        })
        .count()
}
