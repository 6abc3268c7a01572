//! What probes say of what they saw, beside their verdict.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hc_checkers::{Checkers, CheckersConfig, Roots};
use hc_testkit::backend::Backend;
use hc_testkit::certificate::{Authority, Wish};
use hc_testkit::datagram::DatagramServer;
use hc_testkit::dns::{DnsMessage, DnsServer};
use hc_testkit::port::ClosedPort;
use hc_testkit::script::Step;
use hc_types::{
    CheckSpec, DnsExpectation, DnsProbe, Evidence, Failure, HttpProbe, Outcome, PhaseTimes, ProbeResult,
    ProbeSpec, RecordClass, RecordType, Seen, Target, TcpProbe, Timing, Tls, UdpProbe,
};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Much longer than anything here takes, much shorter than the timeout.
const PAUSE: u64 = 60;

fn run(probe: ProbeSpec, address: SocketAddr, timeout: Duration, config: CheckersConfig) -> ProbeResult {
    let timing = Timing::every(timeout).timeout(timeout);
    let spec = CheckSpec::new(Target::plain(address.ip(), address.port()), probe, timing).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { Checkers::new(config).probe_with_evidence(&spec).await })
}

fn probe(probe: ProbeSpec, address: SocketAddr) -> ProbeResult {
    run(probe, address, Duration::from_secs(10), CheckersConfig::default())
}

fn answer(evidence: &Evidence) -> &[u8] {
    evidence.seen.as_ref().map_or(b"", |seen| seen.answer.as_slice())
}

fn http(probe: HttpProbe) -> ProbeSpec {
    ProbeSpec::Http(Box::new(probe))
}

fn wanting(code: u16, body: &[u8]) -> ProbeSpec {
    http(HttpProbe { expected_codes: [code].into(), expected_body: body.into(), ..HttpProbe::default() })
}

#[test]
fn a_connection_has_one_phase() {
    let backend = Backend::start(LOCALHOST, vec![Step::Hang]).unwrap();
    let tcp = ProbeSpec::Tcp(TcpProbe::default());
    let ProbeResult { outcome, evidence } = probe(tcp.clone(), backend.address());
    assert_eq!(outcome, Outcome::PASS);
    let PhaseTimes { connect, .. } = evidence.phases;
    assert!(connect > 0, "{evidence:?}");
    assert_eq!(
        evidence,
        Evidence { phases: PhaseTimes { connect, ..PhaseTimes::default() }, ..Evidence::default() }
    );

    let closed = ClosedPort::reserve(LOCALHOST).unwrap();
    let ProbeResult { outcome, evidence } = probe(tcp, closed.address());
    assert_eq!(outcome, Failure::Refused.into());
    assert!(evidence.phases.connect > 0 && evidence.phases.first_byte == 0, "{evidence:?}");
}

#[test]
fn the_phases_of_an_http_exchange_are_told_apart() {
    let pause_ms = PAUSE;
    let response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    let script = vec![
        Step::ReadHead,
        Step::Drip { bytes: b"H".into(), pause_ms },
        Step::send(&response[1..]),
        Step::Drip { bytes: b"ok".into(), pause_ms },
    ];
    let backend = Backend::start(LOCALHOST, script).unwrap();
    let ProbeResult { outcome, evidence } = probe(wanting(200, b"ok"), backend.address());
    assert!(matches!(outcome, Outcome::Pass(_)), "{outcome:?}");
    let PhaseTimes { connect, tls, send, first_byte, response } = evidence.phases;
    assert!(connect > 0 && tls == 0 && send > 0, "{evidence:?}");
    let pause = u32::try_from(pause_ms * 1000).unwrap();
    // A loop that reads the first byte late takes from the phase behind it, so only the sum is
    // exact.
    assert!(first_byte >= pause && first_byte + response >= 3 * pause, "{evidence:?}");
    assert!(response > 0, "{evidence:?}");
    assert_eq!(evidence.seen, None, "what passed is not kept");
}

#[test]
fn the_first_kilobyte_of_an_answer_that_fails_is_kept() {
    let response = [&b"HTTP/1.1 503 Service Unavailable\r\n\r\n"[..], &[b'x'; 5000]].concat();
    let backend = Backend::start(LOCALHOST, Step::respond(&response)).unwrap();
    let ProbeResult { outcome, evidence } = probe(wanting(200, b""), backend.address());
    assert!(matches!(outcome, Outcome::Fail(Failure::Status { .. })), "{outcome:?}");
    // How much of the body is there by the verdict is up to the network.
    let answer = answer(&evidence);
    assert!(answer.len() >= 36 && response[..Seen::KEPT].starts_with(answer), "{evidence:?}");

    let response = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndown";
    let check = |body: &[u8], kept: &[u8]| {
        let backend = Backend::start(LOCALHOST, Step::respond(response)).unwrap();
        let ProbeResult { evidence, .. } = probe(wanting(200, body), backend.address());
        assert_eq!(self::answer(&evidence), kept);
    };
    check(b"ok", response);
    check(b"down", b"");

    let backend = Backend::start(LOCALHOST, Step::respond(b"SSH-2.0-OpenSSH_9.2\r\n")).unwrap();
    let ProbeResult { evidence, .. } = probe(wanting(200, b""), backend.address());
    assert_eq!(self::answer(&evidence), b"SSH-2.0-OpenSSH_9.2\r\n");
}

#[test]
fn all_is_kept_of_probes_that_pass_if_wanted() {
    let response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let backend = Backend::start(LOCALHOST, Step::respond(response)).unwrap();
    let mut config = CheckersConfig::default();
    config.full_evidence = true;
    let result = run(wanting(200, b"ok"), backend.address(), Duration::from_secs(10), config);
    assert!(matches!(result.outcome, Outcome::Pass(_)), "{result:?}");
    assert_eq!(answer(&result.evidence), response);
}

#[test]
fn bytes_and_datagrams_that_differ_are_kept() {
    let backend =
        Backend::start(LOCALHOST, vec![Step::send(b"220 "), Step::send(b"no"), Step::Hang]).unwrap();
    let banner = ProbeSpec::Tcp(TcpProbe { receive: b"220 ready".into(), ..TcpProbe::default() });
    let evidence = probe(banner, backend.address()).evidence;
    assert_eq!(answer(&evidence), b"220 no");
    assert!(evidence.phases.first_byte > 0, "{evidence:?}");

    let server = DatagramServer::start(LOCALHOST, |_| vec![b"pang and more".to_vec()]).unwrap();
    let udp = ProbeSpec::Udp(Box::new(UdpProbe { send: b"ping".into(), receive: b"pong".into() }));
    let evidence = probe(udp, server.address()).evidence;
    assert_eq!(answer(&evidence), b"pang and more");
    let PhaseTimes { connect, send, first_byte, .. } = evidence.phases;
    assert!(connect == 0 && send > 0 && first_byte > 0, "{evidence:?}");

    let server = DnsServer::udp(LOCALHOST, |query| {
        vec![DnsMessage::reply_to(query).answer("www.example.com", 1, &[192, 0, 2, 1]).build()]
    });
    let dns = ProbeSpec::Dns(Box::new(DnsProbe {
        query: "www.example.com".into(),
        query_type: RecordType::A,
        query_class: RecordClass::IN,
        expect: DnsExpectation::Ips(["192.0.2.2".parse().unwrap()].into()),
        options: None,
    }));
    let evidence = probe(dns, server.unwrap().address()).evidence;
    assert!(answer(&evidence).ends_with(&[192, 0, 2, 1]), "{evidence:?}");
}

#[test]
fn the_phase_of_a_timeout_lasted_until_the_deadline() {
    let backend = Backend::start(LOCALHOST, vec![Step::Hang]).unwrap();
    let timeout = Duration::from_millis(200);
    let probe = wanting(200, b"");
    let ProbeResult { outcome, evidence } = run(probe, backend.address(), timeout, CheckersConfig::default());
    assert!(matches!(outcome, Outcome::Fail(Failure::Timeout { .. })), "{outcome:?}");
    // Each phase is rounded up.
    let rounding = Duration::from_micros(3);
    assert!((timeout..timeout + rounding).contains(&evidence.phases.total()), "{evidence:?}");
    assert!(evidence.phases.first_byte > 100_000, "{evidence:?}");
}

#[test]
fn tls_says_what_the_handshake_came_to() {
    let authority = Authority::new("root", 2000, 2100).unwrap();
    let good = authority.sign(&Wish::valid_for(["127.0.0.1"])).unwrap();
    let old = authority.sign(&Wish::valid_for(["127.0.0.1"])).unwrap().only_tls12();
    let other = authority.sign(&Wish::valid_for(["www.example.com"])).unwrap();
    let ok = Step::respond(b"HTTP/1.1 503 No\r\n\r\n");
    let libssl = Tls { sha1: true, ..Tls::new(true) };
    for (identity, tls, version) in [
        (&good, Tls::new(true), "TLS 1.3"),
        (&old, Tls::new(true), "TLS 1.2"),
        (&good, libssl.clone(), "TLS 1.3"),
        (&old, libssl.clone(), "TLS 1.2"),
        // Refused before the handshake has come to a version, by rustls.
        (&other, Tls::new(true), ""),
        (&other, libssl, "TLS 1.3"),
    ] {
        let backend = Backend::start_tls(LOCALHOST, identity, ok.clone()).unwrap();
        let (roots, _) = Roots::new([authority.certificate()]);
        let mut config = CheckersConfig::default();
        config.roots = roots;
        let https =
            http(HttpProbe { tls: Some(tls.clone()), expected_codes: [200].into(), ..HttpProbe::default() });
        let ProbeResult { outcome, evidence } =
            run(https, backend.address(), Duration::from_secs(10), config);
        assert!(matches!(outcome, Outcome::Fail(_)), "{outcome:?}");
        let facts = evidence.seen.clone().unwrap().tls.unwrap();
        assert_eq!((&*facts.version, &*facts.issuer), (version, "CN=root"), "{tls:?}");
        assert!(facts.not_after.is_some(), "{facts:?}");
        assert_eq!(facts.cipher.starts_with("TLS_"), !version.is_empty(), "{facts:?}");
        assert!(evidence.phases.tls > 0, "{evidence:?}");
    }
}
