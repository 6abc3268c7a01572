//! HTTP and HTTPS probes against servers that answer well, oddly, and not at all.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use hc_checkers::{CheckersConfig, Roots, UserAgent, probe_http};
use hc_testkit::backend::Backend;
use hc_testkit::certificate::{Authority, Wish};
use hc_testkit::outcome::as_told;
use hc_testkit::port::ClosedPort;
use hc_testkit::script::{Ended, Step};
use hc_types::{Failure, HttpOverrides, HttpProbe, Mismatch, Outcome, Pass, Phase, Target, Tls};

const FAMILIES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
const PLENTY: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_millis(150);

fn run(probe: &HttpProbe, backend: &Backend, timeout: Duration, config: &CheckersConfig) -> Outcome {
    let target = Target::plain(backend.address().ip(), backend.address().port());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    as_told(runtime.block_on(probe_http(probe, &target, timeout, config)))
}

/// What a probe finds at a server that plays this script, in both families.
#[track_caller]
fn play(script: &[Step], probe: &HttpProbe, expected: impl Into<Outcome>) {
    let expected = expected.into();
    let timeout = if matches!(expected, Outcome::Fail(Failure::Timeout { .. })) { SOON } else { PLENTY };
    for ip in FAMILIES {
        let backend = Backend::start(ip, script.to_vec()).unwrap();
        assert_eq!(run(probe, &backend, timeout, &CheckersConfig::default()), expected, "{ip} {script:?}");
    }
}

/// What a probe finds that wants this status (0: any) and this body of a response.
#[track_caller]
fn check(response: &[u8], code: u16, body: &[u8], expected: impl Into<Outcome>) {
    play(&Step::respond(response), &wanting(code, body), expected);
}

fn wanting(code: u16, body: &[u8]) -> HttpProbe {
    let expected_codes = if code == 0 { [].into() } else { [code].into() };
    HttpProbe { expected_codes, expected_body: body.into(), ..HttpProbe::default() }
}

fn mismatch(got: &[u8]) -> Failure {
    Failure::BodyMismatch(Box::new(Mismatch::new(got, Some("200 OK".into()))))
}

/// A check at rest keeps the text of its latest failure, and the backend must not say how much
/// memory that takes.
#[test]
fn however_much_a_backend_says_the_text_stays_short() {
    let many = vec![0xff; 200_000];
    for head in ["200 OK\r\nTransfer-Encoding: ", "200 OK\r\n"] {
        let response = [b"HTTP/1.1 ", head.as_bytes(), &many, b"\r\n\r\n"].concat();
        let backend = Backend::start(FAMILIES[0], Step::respond(&response)).unwrap();
        let outcome = run(&wanting(0, b""), &backend, PLENTY, &CheckersConfig::default());
        let Outcome::Fail(Failure::MalformedReply(text)) = outcome else {
            panic!("{head}: {}", outcome.label());
        };
        assert!(text.len() < 1100, "{head}: {} bytes", text.len());
    }
}

#[test]
fn the_status_is_judged() {
    let not_found = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    check(not_found, 404, b"", Outcome::from(Pass::http(404, "404 Not Found")));
    check(not_found, 0, b"", Outcome::from(Pass::http(404, "404 Not Found")));
    check(not_found, 200, b"", Failure::Status { got: "404 Not Found".into() });
    check(b"HTTP/1.0 200 OK\r\n\r\nhello", 200, b"", Outcome::from(Pass::http(200, "200 OK")));
    check(b"HTTP/1.1 200\r\n\r\n", 200, b"", Outcome::from(Pass::http(200, "200")));
    let several = HttpProbe { expected_codes: [200, 204].into(), ..HttpProbe::default() };
    play(
        &Step::respond(b"HTTP/1.1 204 No Content\r\n\r\n"),
        &several,
        Outcome::from(Pass::http(204, "204 No Content")),
    );
}

#[test]
fn the_body_must_begin_as_expected() {
    let hello = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    check(hello, 200, b"hell", Outcome::from(Pass::http(200, "200 OK")));
    check(hello, 200, b"hello", Outcome::from(Pass::http(200, "200 OK")));
    check(hello, 200, b"help", mismatch(b"hell"));
    check(hello, 200, b"hello!", mismatch(b"hello"));
    // Seesaw pads with zeros here, and passes. A body that is not there does not match.
    check(hello, 200, b"hello\0", mismatch(b"hello"));
    check(
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
        200,
        b"until the end",
        Outcome::from(Pass::http(200, "200 OK")),
    );
    check(b"HTTP/1.1 200 OK\r\n\r\n\x00\xff", 200, b"\x00\xff", Outcome::from(Pass::http(200, "200 OK")));
    // Too short for what it announces, but long enough for us.
    check(
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello",
        200,
        b"hello",
        Outcome::from(Pass::http(200, "200 OK")),
    );
    check(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhel", 200, b"hello", mismatch(b"hel"));
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
    check(chunked, 200, b"hello", Outcome::from(Pass::http(200, "200 OK")));
    check(chunked, 200, b"hello!", mismatch(b"hello"));
    let broken = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhello";
    check(broken, 200, b"hello", Failure::MalformedReply("malformed chunked encoding".into()));
}

#[test]
fn a_wrong_status_outweighs_the_body() {
    let response = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 5\r\n\r\nhello";
    check(response, 200, b"hello", Failure::Status { got: "500 Internal Server Error".into() });
    check(response, 0, b"hello", Outcome::from(Pass::http(500, "500 Internal Server Error")));
}

#[test]
fn an_empty_body_matches_nothing() {
    let nothing = |status: &str| Failure::BodyMismatch(Box::new(Mismatch::new(b"", Some(status.into()))));
    check(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b"x", nothing("200 OK"));
    check(b"HTTP/1.1 204 No Content\r\n\r\nx", 204, b"x", nothing("204 No Content"));
    let head = HttpProbe { method: "HEAD".into(), ..wanting(200, b"x") };
    play(&Step::respond(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"), &head, nothing("200 OK"));
}

#[test]
fn a_compressed_body_is_compared_decompressed() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(b"hello world").unwrap();
    let body = encoder.finish().unwrap();
    let response = [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", &body[..]].concat();
    check(&response, 200, b"hello world", Outcome::from(Pass::http(200, "200 OK")));
    check(&response, 200, b"hello", Outcome::from(Pass::http(200, "200 OK")));
    check(&response, 200, b"help", mismatch(b"hell"));
    let plain = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nhello world";
    check(plain, 200, b"hello", Failure::MalformedReply("malformed gzip body".into()));
    check(plain, 200, b"", Outcome::from(Pass::http(200, "200 OK")));
}

#[test]
fn redirects_are_judged_and_not_followed() {
    let moved = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 5\r\n\r\nhello";
    check(moved, 302, b"", Outcome::from(Pass::http(302, "302 Found")));
    check(moved, 200, b"", Failure::Status { got: "302 Found".into() });
    let nothing = Failure::BodyMismatch(Box::new(Mismatch::new(b"", Some("302 Found".into()))));
    check(moved, 302, b"hello", nothing);
    let nowhere = b"HTTP/1.1 302 Found\r\nContent-Length: 5\r\n\r\nhello";
    check(nowhere, 302, b"hello", Outcome::from(Pass::http(302, "302 Found")));
    let choices = b"HTTP/1.1 300 Multiple Choices\r\nLocation: /x\r\nContent-Length: 5\r\n\r\nhello";
    check(choices, 300, b"hello", Outcome::from(Pass::http(300, "300 Multiple Choices")));
    // Where it leads does not matter, since nobody goes there.
    check(
        b"HTTP/1.1 302 Found\r\nLocation: /%zz\r\n\r\n",
        302,
        b"",
        Outcome::from(Pass::http(302, "302 Found")),
    );
}

#[test]
fn interim_responses_are_skipped() {
    let interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
    let last = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    check(&[&interim[..], last].concat(), 200, b"hello", Outcome::from(Pass::http(200, "200 OK")));
    let apart =
        [Step::ReadHead, Step::send(interim), Step::Drip { bytes: last.into(), pause_ms: 1 }, Step::Hang];
    play(&apart, &wanting(200, b"hello"), Outcome::from(Pass::http(200, "200 OK")));
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nhello";
    check(switch, 101, b"hello", Outcome::from(Pass::http(101, "101 Switching Protocols")));
    let endless = [Step::ReadHead, Step::Repeat(b"HTTP/1.1 100 Continue\r\n\r\n".into())];
    let text = "response head longer than 262144 bytes";
    play(&endless, &wanting(200, b""), Failure::MalformedReply(text.into()));
}

#[test]
fn a_response_may_come_byte_by_byte_and_without_end() {
    let response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let slow = [Step::ReadHead, Step::Drip { bytes: response.into(), pause_ms: 1 }, Step::Hang];
    play(&slow, &wanting(200, b"hello"), Outcome::from(Pass::http(200, "200 OK")));
    play(&slow, &wanting(200, b""), Outcome::from(Pass::http(200, "200 OK")));
    let head = Step::send(b"HTTP/1.1 200 OK\r\n\r\n");
    let endless = [Step::ReadHead, head, Step::Repeat(vec![b'x'; 10_000].into())];
    play(&endless, &wanting(200, b"xxx"), Outcome::from(Pass::http(200, "200 OK")));
    play(&endless, &wanting(200, b""), Outcome::from(Pass::http(200, "200 OK")));
}

#[test]
fn no_response_is_named() {
    let any = wanting(0, b"x");
    play(&[Step::Hang], &any, Failure::timeout(Phase::Response));
    play(&[Step::ReadHead], &any, Failure::closed_after(b""));
    play(&[Step::ReadHead, Step::Reset], &any, Failure::Reset(Phase::Response));
    play(
        &Step::respond(b"HTTP/1.1 200 OK\r\nServer"),
        &any,
        Failure::closed_after(b"HTTP/1.1 200 OK\r\nServer"),
    );
    let stuck = [Step::ReadHead, Step::send(b"HTTP/1.1 200 OK\r\nServer: x"), Step::Hang];
    play(&stuck, &any, Failure::timeout(Phase::Response));
    let text = "not an HTTP/1.x response: \"220 mail.example.com ESMTP\\r\\n\": the peer speaks SMTP";
    play(
        &[Step::send(b"220 mail.example.com ESMTP\r\n"), Step::Hang],
        &any,
        Failure::MalformedReply(text.into()),
    );
    for ip in FAMILIES {
        let port = ClosedPort::reserve(ip).unwrap();
        let target = Target::plain(ip, port.address().port());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let outcome = runtime.block_on(probe_http(&any, &target, PLENTY, &CheckersConfig::default()));
        assert_eq!(outcome, Failure::Refused.into());
    }
}

fn with(probe: HttpProbe, overrides: HttpOverrides) -> HttpProbe {
    HttpProbe { overrides: Some(Box::new(overrides)), ..probe }
}

#[test]
fn a_bad_request_is_never_sent() {
    let backend = Backend::start(FAMILIES[0], vec![Step::Hang]).unwrap();
    let text = r#"parse "/%zz": invalid URL escape "%zz""#;
    let error = HttpOverrides { error: Some(text.into()), ..HttpOverrides::default() };
    assert_eq!(
        run(&with(HttpProbe::default(), error), &backend, PLENTY, &CheckersConfig::default()),
        Failure::BadRequest(text.into()).into()
    );
    assert_eq!(backend.seen(), []);
}

#[test]
fn another_host_is_named_and_the_backend_asked() {
    let backend = Backend::start(FAMILIES[0], Step::respond(b"HTTP/1.1 200 OK\r\n\r\n")).unwrap();
    let host = HttpOverrides { host: Some("other.example:99".into()), ..HttpOverrides::default() };
    let probe = with(HttpProbe { request_target: "/x".into(), ..HttpProbe::default() }, host);
    let mut config = CheckersConfig::default();
    config.user_agent = UserAgent::new("lb/7").unwrap();
    assert_eq!(run(&probe, &backend, PLENTY, &config), Outcome::from(Pass::http(200, "200 OK")));
    let request = String::from_utf8(backend.seen()[0].received.clone()).unwrap();
    let expected = "GET /x HTTP/1.1\r\nHost: other.example:99\r\nUser-Agent: lb/7\r\n";
    assert!(request.starts_with(expected), "{request}");
}

#[test]
fn the_server_closes_first_if_it_does_so_soon() {
    let response = Step::respond(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    let backend = Backend::start(FAMILIES[0], response).unwrap();
    for _ in 0..20 {
        assert_eq!(
            run(&wanting(200, b"hello"), &backend, PLENTY, &CheckersConfig::default()),
            Outcome::from(Pass::http(200, "200 OK"))
        );
    }
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{:04X}", backend.address().port());
    let ours = table.lines().filter(|row| {
        let row: Vec<_> = row.split_ascii_whitespace().collect();
        row[2].ends_with(&port) && row[3] == "06"
    });
    assert_eq!(ours.count(), 0, "TIME_WAIT on our side");
}

#[test]
fn a_server_that_keeps_the_connection_is_left_politely_and_the_verdict_stands() {
    let script = [
        Step::ReadHead,
        Step::send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        Step::send(b"hello"),
        Step::Hang,
    ];
    for body in [&b"hello"[..], b""] {
        let backend = Backend::start(FAMILIES[0], script.to_vec()).unwrap();
        let outcome = run(&wanting(200, body), &backend, PLENTY, &CheckersConfig::default());
        assert_eq!(outcome, Outcome::from(Pass::http(200, "200 OK")));
        let seen = backend.wait_for(|seen| seen[0].over);
        assert_eq!(seen[0].ended, Some(Ended::Closed));
    }
}

#[test]
fn https_names_whom_it_asks() {
    let authority = Authority::new("root", 2000, 2100).unwrap();
    let (roots, _) = Roots::new([authority.certificate()]);
    let mut config = CheckersConfig::default();
    config.roots = roots;
    let response = Step::respond(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    let https = |server_name: Option<&str>, verify| {
        let server_name = server_name.map(Into::into);
        let probe = HttpProbe { tls: Some(Tls::new(verify)), ..wanting(200, b"hello") };
        with(probe, HttpOverrides { server_name, ..HttpOverrides::default() })
    };
    for ip in FAMILIES {
        let identity = authority.sign(&Wish::valid_for([ip.to_string(), "www.example.com".into()])).unwrap();
        let backend = Backend::start_tls(ip, &identity, response.clone()).unwrap();
        let probe = |name: &str, verify| run(&https(Some(name), verify), &backend, PLENTY, &config);
        assert_eq!(
            run(&https(None, true), &backend, PLENTY, &config),
            Outcome::from(Pass::http(200, "200 OK"))
        );
        assert_eq!(probe("www.example.com", true), Outcome::from(Pass::http(200, "200 OK")));
        assert_eq!(probe("www.example.com.", true), Outcome::from(Pass::http(200, "200 OK")));
        // An address is looked for among the certificate's addresses and not sent.
        assert_eq!(probe(&ip.to_string(), true), Outcome::from(Pass::http(200, "200 OK")));
        let text = "certificate is valid for www.example.com, not for other.example";
        assert_eq!(probe("other.example", true), Failure::Tls(text.into()).into());
        assert_eq!(probe("other.example", false), Outcome::from(Pass::http(200, "200 OK")));
        assert_eq!(probe("a..b", false), Outcome::from(Pass::http(200, "200 OK")));
        for name in ["a..b", "", "fe80::1%eth0"] {
            let text = format!("{name:?} is not a host name");
            assert_eq!(probe(name, true), Failure::Tls(text.into()).into());
        }
        let names: Vec<_> = backend.seen().into_iter().map(|seen| seen.server_name).collect();
        let named = || Some("www.example.com".to_owned());
        assert_eq!(names[..4], [None, named(), named(), None]);
    }
}

#[test]
fn https_to_a_server_of_plain_http_is_named() {
    let script = [Step::Read(5), Step::send(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Step::Hang];
    let probe = HttpProbe { tls: Some(Tls::new(true)), ..HttpProbe::default() };
    let text = "first record does not look like a TLS handshake: \"HTTP/1.1 400 Bad Request\\r\\n\\r\\n\"; the peer speaks HTTP";
    play(&script, &probe, Failure::Tls(text.into()));
    play(&[Step::Hang], &probe, Failure::timeout(Phase::Tls));
}

#[test]
fn https_may_end_without_saying_so() {
    let authority = Authority::new("root", 2000, 2100).unwrap();
    let identity = authority.sign(&Wish::valid_for(FAMILIES)).unwrap();
    let script =
        vec![Step::ReadHead, Step::send(b"HTTP/1.1 200 OK\r\n\r\nhello"), Step::HalfClose, Step::Hang];
    let backend = Backend::start_tls(FAMILIES[0], &identity, script).unwrap();
    let probe = |body: &[u8]| HttpProbe { tls: Some(Tls::new(false)), ..wanting(200, body) };
    let config = CheckersConfig::default();
    assert_eq!(run(&probe(b"hello"), &backend, PLENTY, &config), Outcome::from(Pass::http(200, "200 OK")));
    assert_eq!(run(&probe(b"hello!"), &backend, PLENTY, &config), mismatch(b"hello").into());
    let script = vec![Step::ReadHead, Step::send(b"HTTP/1.1 200 OK\r\n"), Step::HalfClose, Step::Hang];
    let backend = Backend::start_tls(FAMILIES[0], &identity, script).unwrap();
    let outcome = run(&probe(b"hello"), &backend, PLENTY, &config);
    assert_eq!(outcome, Failure::closed_after(b"HTTP/1.1 200 OK\r\n").into());
}
