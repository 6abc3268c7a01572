//! Every packet of a marked DNS or RADIUS probe carries the mark, from the first to the last, as
//! nftables counts them, and so do the last ones of a TCP or HTTP probe whose peer says more than
//! was asked for. Other TCP probes are in `tcp.rs`, pings in `icmp.rs`. Needs root, for a network
//! of the test's own.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use hc_checkers::{CheckersConfig, probe_dns, probe_http, probe_radius, probe_tcp};
use hc_testkit::backend::Backend;
use hc_testkit::datagram::DatagramServer;
use hc_testkit::dns::{DnsMessage, DnsServer, DnsTransport, framed};
use hc_testkit::network::{in_own_network, run};
use hc_testkit::radius::{RadiusReply, RadiusRequest};
use hc_testkit::script::Step;
use hc_types::{
    DnsAnswer, DnsExpectation, DnsProbe, HttpProbe, Mark, Mode, Outcome, Pass, RadiusExpectation,
    RadiusProbe, RecordClass, RecordType, Target, TcpProbe,
};

const LONG: Duration = Duration::from_secs(20);
const LOOPBACKS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
const MARK: u32 = 65_537;

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Counts what goes to `port`, marked and not, while `probe` runs; gives back both counts.
fn counted(port: u16, probe: impl FnOnce()) -> (usize, usize) {
    run("nft add table inet t");
    run("nft add chain inet t out { type filter hook output priority 0 ; }");
    for (name, mark) in [("marked", format!("== {MARK}")), ("unmarked", format!("!= {MARK}"))] {
        run(&format!("nft add counter inet t {name}"));
        run(&format!("nft add rule inet t out th dport {port} meta mark {mark} counter name {name}"));
    }
    probe();
    let packets = |name: &str| {
        let told = run(&format!("nft list counter inet t {name}"));
        let mut words = told.split_ascii_whitespace().skip_while(|word| *word != "packets");
        words.nth(1).unwrap().parse().unwrap()
    };
    let counts = (packets("marked"), packets("unmarked"));
    run("nft delete table inet t");
    counts
}

fn marked(ip: IpAddr, port: u16) -> Target {
    Target::marked(ip, port, Mode::Dsr, Mark::new(MARK).unwrap(), None)
}

#[test]
fn dns_over_both_transports() {
    in_own_network(|| {
        for ip in LOOPBACKS {
            let server = DnsServer::both(ip, |transport, q| {
                let reply = DnsMessage::reply_to(q);
                vec![match transport {
                    DnsTransport::Udp => reply.truncated().build(),
                    DnsTransport::Tcp => framed(&reply.answer("www.example.com", 1, &[192, 0, 2, 1]).build()),
                }]
            })
            .unwrap();
            let probe = DnsProbe {
                query: "www.example.com".into(),
                query_type: RecordType::A,
                query_class: RecordClass::IN,
                expect: DnsExpectation::Any,
                options: None,
            };
            let port = server.address().port();
            let (marked, unmarked) = counted(port, || {
                let outcome = block_on(probe_dns(&probe, &marked(ip, port), LONG));
                assert_eq!(outcome, Pass::dns(DnsAnswer::Address([192, 0, 2, 1].into())).into());
                // To the last acknowledgement: no connection is on its way from open to closed.
                let begun = SystemTime::now();
                while !run("ss -Htan exclude listening exclude time-wait").is_empty() {
                    assert!(begun.elapsed().unwrap() < LONG, "the connection does not end");
                }
            });
            // One datagram; SYN, question and FIN, which may carry all acknowledgements.
            assert!(marked >= 4, "{ip}: {marked}");
            assert_eq!(unmarked, 0, "{ip}");
        }
    });
}

#[test]
fn radius() {
    in_own_network(|| {
        for ip in LOOPBACKS {
            let server = DatagramServer::start(ip, |packet| {
                vec![RadiusReply::to(&RadiusRequest::parse(packet).unwrap(), 2).build(b"s3cret")]
            })
            .unwrap();
            let probe = RadiusProbe {
                username: "user".into(),
                password: "password".into(),
                secret: "s3cret".into(),
                expect: RadiusExpectation::Accept,
                require_message_authenticator: false,
            };
            let port = server.address().port();
            let counts = counted(port, || {
                let outcome = block_on(probe_radius(&probe, &marked(ip, port), LONG, None));
                assert_eq!(outcome, Pass::Radius(2).into());
            });
            assert_eq!(counts, (1, 0), "{ip}");
        }
    });
}

/// Once the socket is gone, the kernel answers what is still on its way with a RST that has no
/// mark.
#[test]
fn an_answer_that_goes_on_after_the_verdict() {
    // Fits into what is read of it; and does not, nor into the socket's buffer.
    for length in [100_000, 10_000_000] {
        in_own_network(move || {
            for ip in LOOPBACKS {
                let body = [b"PONG".as_slice(), &vec![b'.'; length]].concat();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                let config = CheckersConfig::default();

                let backend = Backend::start(ip, vec![Step::Read(4), Step::send(&body)]).unwrap();
                let port = backend.address().port();
                let tcp = TcpProbe { send: "PING".into(), receive: "PONG".into(), tls: None };
                let (_, unmarked) = counted(port, || {
                    let outcome = block_on(probe_tcp(&tcp, &marked(ip, port), LONG, &config));
                    assert_eq!(outcome, Outcome::PASS);
                    backend.wait_for(|seen| seen.iter().any(|one| one.over));
                });
                assert_eq!(unmarked, 0, "tcp of {ip}, {length} bytes");

                let answer = [Step::ReadHead, Step::send(head), Step::send(&body)];
                let backend = Backend::start(ip, answer.into()).unwrap();
                let port = backend.address().port();
                let http = HttpProbe { expected_body: "PONG".into(), ..HttpProbe::default() };
                let (_, unmarked) = counted(port, || {
                    let outcome = block_on(probe_http(&http, &marked(ip, port), LONG, &config));
                    assert_eq!(outcome, Outcome::from(Pass::http(200, "200 OK")));
                    backend.wait_for(|seen| seen.iter().any(|one| one.over));
                });
                assert_eq!(unmarked, 0, "http of {ip}, {length} bytes");
            }
        });
    }
}
