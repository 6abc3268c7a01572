//! A timeout that proves the peer silent, and one that may be our own lateness. The clock stands
//! still while there is something to do, so that whatever this machine is busy with, no time is
//! lost but what a test loses.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hc_checkers::{Checkers, CheckersConfig};
use hc_testkit::dns::DnsMessage;
use hc_testkit::port::FullPort;
use hc_types::{
    CheckSpec, DnsExpectation, DnsProbe, Failure, HttpProbe, Outcome, Phase, ProbeSpec, RadiusExpectation,
    RadiusProbe, RecordClass, RecordType, Stray, Target, TcpProbe, TimeoutEvidence, Timing, Tls, UdpProbe,
};
use tokio::time::{Instant, advance};

const FAMILIES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
const TIMEOUT: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn with_still_clock<R>(test: impl Future<Output = R>) -> R {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().unwrap().block_on(test)
}

async fn probe(probe: ProbeSpec, address: SocketAddr) -> Outcome {
    let target = Target::plain(address.ip(), address.port());
    let spec = CheckSpec::new(target, probe, Timing::every(10 * TIMEOUT).timeout(TIMEOUT)).unwrap();
    Checkers::new(CheckersConfig::default()).probe(&spec).await
}

fn touch() -> ProbeSpec {
    ProbeSpec::Tcp(TcpProbe::default())
}

fn listen() -> ProbeSpec {
    ProbeSpec::Tcp(TcpProbe { receive: b"220 ".into(), ..TcpProbe::default() })
}

fn tls() -> Option<Tls> {
    Some(Tls::new(false))
}

fn http(tls: Option<Tls>) -> ProbeSpec {
    ProbeSpec::Http(Box::new(HttpProbe { tls, ..HttpProbe::default() }))
}

fn udp() -> ProbeSpec {
    ProbeSpec::Udp(Box::new(UdpProbe { send: b"ping".into(), receive: b"pong".into() }))
}

fn dns() -> ProbeSpec {
    ProbeSpec::Dns(Box::new(DnsProbe {
        query: "a.example".into(),
        query_type: RecordType::A,
        query_class: RecordClass::IN,
        expect: DnsExpectation::Ips([Ipv4Addr::LOCALHOST.into()].into()),
        options: None,
    }))
}

fn radius() -> ProbeSpec {
    ProbeSpec::Radius(Box::new(RadiusProbe {
        username: "user".into(),
        password: "password".into(),
        secret: "secret".into(),
        expect: RadiusExpectation::Accept,
        require_message_authenticator: false,
    }))
}

fn poll_once(probe: std::pin::Pin<&mut impl Future<Output = Outcome>>) -> Poll<Outcome> {
    probe.poll(&mut Context::from_waker(Waker::noop()))
}

#[track_caller]
fn check(spec: ProbeSpec, address: SocketAddr, phase: Phase) {
    let name = spec.type_name();
    let (outcome, took) = with_still_clock(async {
        let begun = Instant::now();
        (probe(spec, address).await, begun.elapsed())
    });
    assert_eq!(outcome, Failure::silence(phase).into(), "{name} {address}");
    // A timer goes off within a millisecond after its time.
    assert!((TIMEOUT..TIMEOUT + 2 * MS).contains(&took), "{name} {address}: {took:?}");
}

#[test]
fn a_peer_that_says_nothing_is_silent() {
    for ip in FAMILIES {
        let full = FullPort::start(ip).unwrap();
        check(touch(), full.address(), Phase::Connect);
        check(http(tls()), full.address(), Phase::Connect);
        // The kernel shakes hands, and nobody is there to talk.
        let idle = TcpListener::bind((ip, 0)).unwrap();
        let address = idle.local_addr().unwrap();
        check(listen(), address, Phase::Response);
        check(http(None), address, Phase::Response);
        check(http(tls()), address, Phase::Tls);
        check(ProbeSpec::Tcp(TcpProbe { tls: tls(), ..TcpProbe::default() }), address, Phase::Tls);
        let mute = UdpSocket::bind((ip, 0)).unwrap();
        let address = mute.local_addr().unwrap();
        check(udp(), address, Phase::Response);
        check(dns(), address, Phase::Response);
        check(radius(), address, Phase::Response);
    }
}

/// A peer that was asked late has not had its time, although it says nothing in what is left.
#[test]
fn a_peer_that_was_asked_late_may_not_be_silent() {
    for (late, expected) in
        [(TIMEOUT / 20, Failure::silence(Phase::Response)), (TIMEOUT / 5, Failure::timeout(Phase::Response))]
    {
        for ip in FAMILIES {
            let idle = TcpListener::bind((ip, 0)).unwrap();
            let address = idle.local_addr().unwrap();
            let outcome = with_still_clock(async {
                let mut probe = pin!(probe(http(None), address));
                // It connects, and its shard comes to it again late.
                assert_eq!(poll_once(probe.as_mut()), Poll::Pending);
                advance(late).await;
                probe.await
            });
            assert_eq!(outcome, expected.clone().into());
        }
    }
}

/// A peer that has said something, read late: it may have waited for us.
#[test]
fn a_peer_that_was_heard_late_may_not_be_silent() {
    let cut_short =
        [(http(None), &b"HTTP/1.1 200"[..], Phase::Response), (http(tls()), b"\x16\x03\x03", Phase::Tls)];
    for (spec, words, phase) in cut_short {
        let listener = TcpListener::bind((FAMILIES[0], 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let outcome = with_still_clock(async {
            let mut probe = pin!(probe(spec, address));
            // It connects, and speaks.
            assert_eq!(poll_once(probe.as_mut()), Poll::Pending);
            advance(MS).await;
            assert_eq!(poll_once(probe.as_mut()), Poll::Pending);
            let (mut peer, _) = listener.accept().unwrap();
            peer.write_all(words).unwrap();
            advance(TIMEOUT / 5).await;
            probe.await
        });
        assert_eq!(outcome, Failure::timeout(phase).into());
    }
}

/// After the deadline, a peer that goes on and on does not keep the thread. (The socket has room
/// for more packets than the looks that a probe has, before and after.)
#[test]
fn looks_are_limited() {
    let peer = UdpSocket::bind((FAMILIES[0], 0)).unwrap();
    let address = peer.local_addr().unwrap();
    let outcome = with_still_clock(async {
        let mut probe = pin!(probe(dns(), address));
        assert_eq!(poll_once(probe.as_mut()), Poll::Pending);
        let mut query = [0; 512];
        let (length, from) = peer.recv_from(&mut query).unwrap();
        let query = &query[..length];
        for _ in 0..220 {
            peer.send_to(&DnsMessage::reply_to(query).wrong_id().build(), from).unwrap();
        }
        peer.send_to(&DnsMessage::reply_to(query).answer("a.example", 1, &[127, 0, 0, 1]).build(), from)
            .unwrap();
        advance(2 * TIMEOUT).await;
        probe.await
    });
    let evidence = TimeoutEvidence::stray(Stray::OtherId);
    assert_eq!(outcome, Failure::Timeout { phase: Phase::Response, evidence }.into());
}

/// Long after the deadline, as after a pause of the machine: what comes then at once was on its
/// way.
#[test]
fn what_a_late_timer_finds_is_waited_for_a_moment() {
    for (answers, expected) in [(true, Outcome::PASS), (false, Failure::silence(Phase::Response).into())] {
        for ip in FAMILIES {
            let peer = UdpSocket::bind((ip, 0)).unwrap();
            let address = peer.local_addr().unwrap();
            let outcome = with_still_clock(async {
                let mut probe = pin!(probe(udp(), address));
                assert_eq!(poll_once(probe.as_mut()), Poll::Pending);
                let (_, from) = peer.recv_from(&mut [0; 16]).unwrap();
                advance(2 * TIMEOUT).await;
                assert_eq!(poll_once(probe.as_mut()), Poll::Pending);
                if answers {
                    peer.send_to(b"pong", from).unwrap();
                }
                let left = Instant::now();
                let outcome = probe.await;
                assert!(left.elapsed() <= 22 * MS, "{:?}", left.elapsed());
                outcome
            });
            assert_eq!(outcome, expected);
        }
    }
}
