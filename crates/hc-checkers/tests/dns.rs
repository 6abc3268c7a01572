//! The DNS probe against a server that is right, wrong, late, cut short or silent, over both
//! families.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;

use hc_checkers::probe_dns;
use hc_testkit::dns::{DnsMessage, DnsServer, DnsTransport, framed, wire_name};
use hc_testkit::outcome::as_told;
use hc_types::{
    DnsAnswer, DnsExpectation, DnsOptions, DnsProbe, Failure, Outcome, Pass, Phase, Rcode, RecordClass,
    RecordType, Stray, Target, TimeoutEvidence,
};

const LONG: Duration = Duration::from_secs(20);
/// Long enough for a packet on loopback to come, short enough to wait for in vain.
const SHORT: Duration = Duration::from_millis(600);
const LOOPBACKS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
const IP: [u8; 4] = [192, 0, 2, 1];

fn www() -> DnsProbe {
    DnsProbe {
        query: "www.example.com".into(),
        query_type: RecordType::A,
        query_class: RecordClass::IN,
        expect: DnsExpectation::Ips([IP.into()].into()),
        options: None,
    }
}

fn target(server: &DnsServer) -> Target {
    Target::plain(server.address().ip(), server.address().port())
}

fn good(query: &[u8]) -> DnsMessage {
    DnsMessage::reply_to(query).answer("www.example.com", 1, &IP)
}

fn pass() -> Outcome {
    Pass::dns(DnsAnswer::Address(IP.into())).into()
}

fn wrong(text: &str) -> Outcome {
    Failure::WrongAnswer(text.into()).into()
}

fn strays(stray: Stray) -> Outcome {
    Failure::Timeout { phase: Phase::Response, evidence: TimeoutEvidence::stray(stray) }.into()
}

/// Probes a server that answers over UDP as `script` says, once for each family.
#[track_caller]
fn check<F>(timeout: Duration, script: F, expected: &Outcome)
where
    F: FnMut(&[u8]) -> Vec<Vec<u8>> + Clone + Send + 'static,
{
    for ip in LOOPBACKS {
        let server = DnsServer::udp(ip, script.clone()).unwrap();
        assert_eq!(&as_told(block_on(probe_dns(&www(), &target(&server), timeout))), expected, "{ip}");
        assert_eq!(server.seen().len(), 1, "one question is asked once");
    }
}

/// The same with a server for both transports.
#[track_caller]
fn check_both<F>(timeout: Duration, script: F, expected: &Outcome)
where
    F: FnMut(DnsTransport, &[u8]) -> Vec<Vec<u8>> + Clone + Send + 'static,
{
    for ip in LOOPBACKS {
        let server = DnsServer::both(ip, script.clone()).unwrap();
        assert_eq!(&as_told(block_on(probe_dns(&www(), &target(&server), timeout))), expected, "{ip}");
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn the_right_answer_passes() {
    check(LONG, |q| vec![good(q).build()], &pass());
}

#[test]
fn the_question_travels_as_configured() {
    let server = DnsServer::udp(LOOPBACKS[0], |q| {
        vec![DnsMessage::reply_to(q).record(0, ".", 2, 3, &wire_name("a.root")).build()]
    })
    .unwrap();
    let probe = DnsProbe {
        query: ".".into(),
        query_type: RecordType(2),
        query_class: RecordClass(3),
        expect: DnsExpectation::Text("A.root".into()),
        options: None,
    };
    assert_eq!(
        block_on(probe_dns(&probe, &target(&server), LONG)),
        Pass::dns(DnsAnswer::Text("a.root.".into())).into()
    );
    assert_eq!(server.seen()[0][2..], *b"\x01\0\0\x01\0\0\0\0\0\0\0\0\x02\0\x03");
}

#[test]
fn ids_are_not_guessed_from_one_another() {
    let server = DnsServer::udp(LOOPBACKS[0], |q| vec![good(q).build()]).unwrap();
    for _ in 0..16 {
        assert_eq!(block_on(probe_dns(&www(), &target(&server), LONG)), pass());
    }
    let mut steps: Vec<u16> = server
        .seen()
        .windows(2)
        .map(|pair| {
            let id = |query: &[u8]| u16::from_be_bytes([query[0], query[1]]);
            id(&pair[1]).wrapping_sub(id(&pair[0]))
        })
        .collect();
    steps.sort_unstable();
    steps.dedup();
    assert!(steps.len() > 8, "{steps:?}");
}

#[test]
fn strays_are_ignored_until_the_answer_comes() {
    check(
        LONG,
        |q| {
            vec![
                Vec::new(),
                vec![q[0]],
                good(q).wrong_id().rcode(3).build(),
                b"\0".repeat(40),
                good(q).question("example.org", 1, 1).rcode(2).build(),
                good(q).no_question().build(),
                good(q).build(),
            ]
        },
        // 40 zero bytes have the right id once in 65536 runs, and are then "not a query response".
        &pass(),
    );
}

#[test]
fn strays_alone_are_named_at_the_deadline() {
    check(SHORT, |q| vec![good(q).wrong_id().build()], &strays(Stray::OtherId));
    check(SHORT, |q| vec![good(q).question("www.example.com", 28, 1).build()], &strays(Stray::OtherQuestion));
    check(SHORT, |q| vec![good(q).no_question().build()], &strays(Stray::OtherQuestion));
    check(SHORT, |_| vec![vec![7]], &strays(Stray::Short));
}

#[test]
fn response_codes_fail() {
    for code in 1..=15 {
        check(LONG, move |q| vec![good(q).rcode(code).build()], &Failure::DnsRcode(code.into()).into());
    }
}

#[test]
fn wrong_answers_fail() {
    check(LONG, |q| vec![DnsMessage::reply_to(q).build()], &wrong("no answers received"));
    check(
        LONG,
        |q| vec![DnsMessage::reply_to(q).answer("www.example.com", 1, &[10, 0, 0, 1]).build()],
        &wrong("failed to match answer: got 10.0.0.1"),
    );
}

#[test]
fn a_chain_of_aliases_passes() {
    check(
        LONG,
        |q| {
            let alias = DnsMessage::reply_to(q).answer("WWW.example.com", 5, &wire_name("b.example"));
            vec![alias.answer("b.example", 1, &IP).build()]
        },
        &pass(),
    );
}

#[test]
fn what_breaks_the_format_fails_at_once() {
    check(
        LONG,
        |q| vec![good(q).not_a_response().build()],
        &Failure::MalformedReply("not a query response".into()).into(),
    );
    for ip in LOOPBACKS {
        // Junk behind a good header.
        let server =
            DnsServer::udp(ip, |q| vec![[&q[..2], b"\x81\x80\0\x01\0\x01\0\0\0\0", &[0xff; 30]].concat()])
                .unwrap();
        let outcome = block_on(probe_dns(&www(), &target(&server), LONG));
        assert!(matches!(outcome, Outcome::Fail(Failure::MalformedReply(_))), "{outcome:?}");
    }
}

#[test]
fn replies_of_any_size_are_read_whole() {
    // The most that a datagram holds is 65507 bytes.
    let many = |q: &[u8]| {
        let filled =
            (0..1500).fold(DnsMessage::reply_to(q), |r, _| r.answer("www.example.com", 16, b"\x05hello"));
        vec![filled.answer("www.example.com", 1, &IP).build()]
    };
    check(LONG, many, &pass());
}

#[test]
fn a_truncated_reply_is_asked_for_again_over_tcp() {
    check_both(
        LONG,
        |transport, q| match transport {
            DnsTransport::Udp => vec![DnsMessage::reply_to(q).truncated().build()],
            // In small pieces, as a slow network may deliver them.
            DnsTransport::Tcp => framed(&good(q).build()).chunks(1).map(<[u8]>::to_vec).collect(),
        },
        &pass(),
    );
}

/// A server whose UDP replies are truncated, and whose replies over TCP are what `over_tcp` makes
/// of the query.
#[track_caller]
fn check_tcp(timeout: Duration, over_tcp: fn(&[u8]) -> Vec<u8>, expected: &Outcome) {
    check_both(
        timeout,
        move |transport, q| match transport {
            DnsTransport::Udp => vec![good(q).truncated().build()],
            DnsTransport::Tcp => vec![over_tcp(q)],
        },
        expected,
    );
}

#[test]
fn replies_over_tcp_are_judged_alike() {
    let malformed = |text: &str| Failure::MalformedReply(text.into()).into();
    check_tcp(LONG, |q| framed(&good(q).rcode(3).build()), &Failure::DnsRcode(3).into());
    check_tcp(LONG, |q| framed(&good(q).truncated().build()), &malformed("truncated over TCP as well"));
    check_tcp(
        LONG,
        |q| framed(&good(q).wrong_id().build()),
        &malformed("the replies over TCP had the id of another question"),
    );
    check_tcp(LONG, |_| Vec::new(), &Failure::closed_after(b"").into());
    check_tcp(LONG, |_| vec![0], &Failure::closed_after(&[0]).into());
    check_tcp(LONG, |_| vec![0, 9], &Failure::closed_after(&[0, 9]).into());
}

#[test]
fn a_truncated_reply_needs_tcp() {
    check(LONG, |q| vec![good(q).truncated().build()], &Failure::Refused.into());
}

#[test]
fn both_transports_share_one_deadline() {
    for ip in LOOPBACKS {
        // Accepted by the kernel, and never answered: nobody serves the listener's queue.
        let listener = std::net::TcpListener::bind((ip, 0)).unwrap();
        let socket = UdpSocket::bind(listener.local_addr().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let server = hc_testkit::datagram::DatagramServer::serve(socket, |q| {
            vec![DnsMessage::reply_to(q).wrong_id().build(), DnsMessage::reply_to(q).truncated().build()]
        })
        .unwrap();
        let begun = std::time::SystemTime::now();
        let outcome = as_told(block_on(probe_dns(&www(), &Target::plain(ip, address.port()), SHORT)));
        assert_eq!(outcome, Failure::timeout(Phase::Response).into());
        assert!(begun.elapsed().unwrap() < 2 * SHORT);
        drop(server);
    }
}

#[test]
fn silence_times_out_and_a_closed_port_refuses() {
    check(Duration::from_millis(20), |_| Vec::new(), &Failure::timeout(Phase::Response).into());
    for ip in LOOPBACKS {
        let port = UdpSocket::bind((ip, 0)).unwrap().local_addr().unwrap().port();
        assert_eq!(block_on(probe_dns(&www(), &Target::plain(ip, port), LONG)), Failure::Refused.into());
    }
}

#[test]
fn a_name_that_is_none_is_not_asked_for() {
    let server = DnsServer::udp(LOOPBACKS[0], |_| Vec::new()).unwrap();
    for (query, why) in [
        ("a..b", "the name \"a..b\" has an empty label"),
        (
            &"a.".repeat(200),
            &*format!("the name {:?} is longer than 255 bytes on the wire", "a.".repeat(200)),
        ),
    ] {
        let probe = DnsProbe { query: query.into(), ..www() };
        let outcome = block_on(probe_dns(&probe, &target(&server), LONG));
        assert_eq!(outcome, Failure::BadRequest(why.into()).into());
    }
    let label = DnsProbe { query: "a".repeat(64).into(), ..www() };
    let outcome = block_on(probe_dns(&label, &target(&server), LONG));
    assert!(matches!(outcome, Outcome::Fail(Failure::BadRequest(_))), "{outcome:?}");
    assert!(server.seen().is_empty());
}

fn with(options: DnsOptions) -> DnsProbe {
    DnsProbe { expect: DnsExpectation::Any, options: Some(Box::new(options)), ..www() }
}

/// A question without the OPT record behind it.
fn without_opt(query: &[u8]) -> &[u8] {
    &query[..query.len() - 11]
}

#[test]
fn options_travel_in_the_question() {
    let server = DnsServer::udp(LOOPBACKS[0], |query| vec![good(without_opt(query)).build()]).unwrap();
    let probe = with(DnsOptions {
        edns_payload: Some(1232),
        dnssec_ok: true,
        checking_disabled: true,
        recursion_desired: false,
        ..DnsOptions::default()
    });
    assert_eq!(block_on(probe_dns(&probe, &target(&server), LONG)), pass());
    let query = &server.seen()[0];
    // CD alone, one question and one additional record: OPT with 1232 bytes and DO.
    assert_eq!(query[2..12], [0, 0x10, 0, 1, 0, 0, 0, 0, 0, 1]);
    assert_eq!(query[query.len() - 11..], [0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0]);
}

#[test]
fn a_fresh_label_is_another_one_each_time() {
    // Answers at the name that was asked for, and at that name only.
    let server = DnsServer::udp(LOOPBACKS[0], |query| {
        let end = 12 + 17;
        let label = String::from_utf8(query[13..end].to_vec()).unwrap();
        vec![DnsMessage::reply_to(query).answer(&format!("{label}.www.example.com"), 1, &IP).build()]
    })
    .unwrap();
    let probe = with(DnsOptions { fresh_label: true, ..DnsOptions::default() });
    for _ in 0..2 {
        assert_eq!(block_on(probe_dns(&probe, &target(&server), LONG)), pass());
    }
    let seen = server.seen();
    let label = |at: usize| seen[at][12..29].to_vec();
    assert!(label(0)[0] == 16 && label(0)[1..].iter().all(u8::is_ascii_hexdigit));
    assert_ne!(label(0), label(1));
    // 255 bytes on the wire are enough without it.
    let long = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(50)].join(".");
    let long = DnsProbe { query: long.into(), ..probe };
    let outcome = block_on(probe_dns(&long, &target(&server), LONG));
    assert!(matches!(outcome, Outcome::Fail(Failure::BadRequest(_))), "{outcome:?}");
}

#[test]
fn expected_response_codes_pass() {
    let server =
        |code| DnsServer::udp(LOOPBACKS[0], move |query| vec![good(query).rcode(code).build()]).unwrap();
    let codes = |codes: &[u16]| {
        let expected_rcodes = codes.iter().copied().map(Rcode).collect();
        with(DnsOptions { expected_rcodes, ..DnsOptions::default() })
    };
    let ask = |probe: &DnsProbe, code| block_on(probe_dns(probe, &target(&server(code)), LONG));
    let nxdomain = Pass::dns(DnsAnswer::Rcode(Rcode(3)));
    assert_eq!(ask(&codes(&[3]), 3), nxdomain.clone().into());
    assert_eq!(ask(&codes(&[3]), 0), Failure::DnsRcode(0).into());
    assert_eq!(ask(&codes(&[3]), 2), Failure::DnsRcode(2).into());
    assert_eq!(ask(&codes(&[0, 3]), 3), nxdomain.into());
    assert_eq!(ask(&codes(&[0, 3]), 0), pass());
    // The upper bits are in OPT: BADVERS is 16, of which the header says 0.
    let badvers = DnsServer::udp(LOOPBACKS[0], |query| {
        let query = if query[11] == 1 { without_opt(query) } else { query };
        let mut reply = good(query).record(2, ".", 41, 1232, &[]).build();
        let ttl = reply.len() - 6;
        reply[ttl..ttl + 4].copy_from_slice(&[1, 0, 0, 0]);
        vec![reply]
    })
    .unwrap();
    let edns = with(DnsOptions { edns_payload: Some(1232), ..DnsOptions::default() });
    assert_eq!(block_on(probe_dns(&edns, &target(&badvers), LONG)), Failure::DnsRcode(16).into());
    // Who has not asked for EDNS does not look.
    assert_eq!(block_on(probe_dns(&www(), &target(&badvers), LONG)), pass());
}
