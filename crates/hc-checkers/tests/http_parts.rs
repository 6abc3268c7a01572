//! The parts of an HTTP exchange that only compute: URLs, requests, heads, bodies.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use hc_checkers::UserAgent;
use hc_checkers::fuzzing::http::{Body, BodyError, Framing, MAX_HEAD, Request, ResponseHead};
use hc_types::{CheckSpec, HttpOverrides, HttpProbe, ProbeSpec, Target, Timing, Tls};
use proptest::prelude::*;

fn backend() -> Target {
    Target::plain("192.0.2.1".parse().unwrap(), 8080)
}

fn get(request_target: &str) -> HttpProbe {
    HttpProbe { request_target: request_target.into(), ..HttpProbe::default() }
}

fn with(probe: HttpProbe, overrides: HttpOverrides) -> HttpProbe {
    HttpProbe { overrides: Some(Box::new(overrides)), ..probe }
}

fn text(probe: &HttpProbe) -> String {
    String::from_utf8(Request::new(probe, &backend(), &UserAgent::default()).bytes).unwrap()
}

#[track_caller]
fn begins(probe: &HttpProbe, expected: &str) {
    let request = text(probe);
    assert!(request.starts_with(expected), "{request}");
}

#[test]
fn the_request_target_is_sent_as_it_stands() {
    const HOST: &str = " HTTP/1.1\r\nHost: 192.0.2.1:8080\r\n";
    for target in ["/healthz?x=1", "/%41%2f", "healthz", "*", "///x", "/?", "http://a/b"] {
        begins(&get(target), &format!("GET {target}{HOST}"));
    }
    let raw = HttpProbe { request_target: b"/?\xff".into(), ..HttpProbe::default() };
    let request = Request::new(&raw, &backend(), &UserAgent::default());
    assert!(request.bytes.starts_with(b"GET /?\xff HTTP/1.1\r\n"));
}

#[test]
fn the_host_is_the_address_unless_the_check_names_one() {
    let target = Target::plain("2001:db8::1".parse().unwrap(), 80);
    let request = Request::new(&get("/"), &target, &UserAgent::default());
    assert!(request.bytes.starts_with(b"GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n"));
    for host in ["www.example.com", "a:81", "[fe80::1]:81", ""] {
        let probe = with(get("/x"), HttpOverrides { host: Some(host.into()), ..HttpOverrides::default() });
        begins(&probe, &format!("GET /x HTTP/1.1\r\nHost: {host}\r\n"));
    }
}

#[test]
fn a_proxy_gets_the_absolute_form() {
    let proxy = |target: &str| HttpProbe { proxy: true, ..get(target) };
    begins(&proxy("/p"), "GET http://192.0.2.1:8080/p HTTP/1.1\r\nHost: 192.0.2.1:8080\r\n");
    begins(&proxy("http://a/p"), "GET http://a/p HTTP/1.1\r\nHost: 192.0.2.1:8080\r\n");
    let named = || HttpOverrides { host: Some("www.example.com".into()), ..HttpOverrides::default() };
    begins(&with(proxy("/p"), named()), "GET http://www.example.com/p HTTP/1.1\r\nHost: www.example.com\r\n");
    let secure = HttpProbe { tls: Some(Tls::new(true)), ..proxy("/p") };
    begins(&with(secure, named()), "GET https://www.example.com/p HTTP/1.1\r\nHost: www.example.com\r\n");
}

#[test]
fn a_request_has_the_fields_it_needs_and_no_more() {
    let agent = concat!("hc-server/", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        text(&get("/")),
        format!("GET / HTTP/1.1\r\nHost: 192.0.2.1:8080\r\nUser-Agent: {agent}\r\nConnection: close\r\n\r\n")
    );
    for (method, has_length) in
        [("GET", false), ("get", false), ("POST", true), ("PUT", true), ("PATCH", true)]
    {
        let request = text(&HttpProbe { method: method.into(), ..get("/") });
        assert!(request.starts_with(&format!("{method} / ")));
        assert_eq!(request.contains("Content-Length: 0\r\n"), has_length, "{method}");
    }
    let named = UserAgent::new("lb/7").unwrap();
    let request = String::from_utf8(Request::new(&get("/"), &backend(), &named).bytes).unwrap();
    assert!(request.contains("\r\nUser-Agent: lb/7\r\n"), "{request}");
}

#[test]
fn credentials_are_sent_as_they_stand() {
    let user = HttpOverrides { authorization: Some("Basic dXNlcjpwYXNz".into()), ..HttpOverrides::default() };
    let with_user = with(get("/"), user);
    assert!(text(&with_user).contains("\r\nAuthorization: Basic dXNlcjpwYXNz\r\n"));
    assert!(!text(&with_user).contains("Proxy-Authorization"));
    let to_proxy = HttpProbe { proxy: true, ..with_user };
    assert!(text(&to_proxy).contains("\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n"));
}

fn head(text: &str) -> ResponseHead {
    ResponseHead::parse(text.as_bytes(), "GET").unwrap().unwrap()
}

#[track_caller]
fn status(text: &str, status: u16, words: &str) {
    let head = head(text);
    assert_eq!((head.status, &*head.status_text, head.length), (status, words, text.len()));
}

#[test]
fn odd_heads_are_read() {
    status("HTTP/1.1 200 OK\r\n\r\n", 200, "200 OK");
    status("HTTP/1.0 200 Fine by me!\r\n\r\n", 200, "200 Fine by me!");
    status("HTTP/1.1 200\r\n\r\n", 200, "200");
    status("HTTP/1.1 200 \r\n\r\n", 200, "200");
    status("HTTP/1.1   404  Not  Found\n\n", 404, "404  Not  Found");
    status("HTTP/1.1 999 \u{e9}\r\nA: b\r\n\r\n", 999, "999 \u{e9}");
    // Whatever version it says it has, as long as it is one, and a number that Go takes for one.
    status("HTTP/2.0 200 OK\r\n\r\n", 200, "200 OK");
    status("HTTP/0.9 200 OK\r\n\r\n", 200, "200 OK");
    status("HTTP/1.1 +20 OK\r\n\r\n", 20, "+20 OK");
    status("HTTP/1.1 200 O\x01\0\rK\r\n\r\n", 200, "200 O\x01\0\rK");
    // A blank in a name lets the head pass, and makes it another name.
    framing("GET", "HTTP/1.1 200 OK\r\nSome name: x\r\nContent-Length : 5\r\n\r\n", Framing::Close);
    framing("GET", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\t5\r\n \r\n\r\n", Framing::Length(5));
    framing("GET", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Framing::Close);
    framing("GET", "HTTP/2.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Framing::Chunked);
}

#[test]
fn what_is_no_head_is_named() {
    let check = |text: &str, error: &str| {
        assert_eq!(ResponseHead::parse(text.as_bytes(), "GET").unwrap_err().to_string(), error);
    };
    check("SSH-2.0-OpenSSH_9.2\r\n", "not an HTTP/1.x response: \"SSH-2.0-OpenSSH_9.2\": no HTTP version");
    check("\r\nHTTP/1.1 200 OK\r\n\r\n", "not an HTTP/1.x response: \"\": no HTTP version");
    for field in ["no colon", ": x", "a\tb: x", "\u{e9}: x", "a: \x01", "a: \x7f", " a: x", "a: b\rc"] {
        let line = hc_types::quote(field.as_bytes());
        let text = format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n");
        check(&text, &format!("not an HTTP/1.x response: {line}: malformed field"));
    }
    check("HTTP/1.1 2x0 OK\r\n\r\n", "not an HTTP/1.x response: \"HTTP/1.1 2x0 OK\": no status");
    check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "bad Content-Length");
    check("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n", "bad Content-Length");
    check("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", "bad Content-Length");
    check("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", "bad Content-Length");
    check(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "unsupported transfer encoding \"gzip, chunked\"",
    );
    let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(MAX_HEAD));
    check(&endless, "response head longer than 262144 bytes");
}

#[test]
fn a_head_may_have_many_fields() {
    let text = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 7\r\n\r\n", "A: b\r\n".repeat(1000));
    assert_eq!(head(&text).framing, Framing::Length(7));
}

#[track_caller]
fn framing(method: &str, head: &str, expected: Framing) {
    assert_eq!(ResponseHead::parse(head.as_bytes(), method).unwrap().unwrap().framing, expected, "{head}");
}

#[test]
fn the_end_of_a_body_is_where_go_sees_it() {
    framing("GET", "HTTP/1.1 200 OK\r\n\r\n", Framing::Close);
    framing("GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", Framing::Length(5));
    framing(
        "GET",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\nContent-Length: 5\r\n\r\n",
        Framing::Chunked,
    );
    framing("GET", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Framing::Close);
    framing("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Framing::Length(0));
    framing("head", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Framing::Length(5));
    framing("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", Framing::Length(0));
    framing("GET", "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", Framing::Length(0));
    framing("GET", "HTTP/1.1 101 Switching Protocols\r\n\r\n", Framing::Length(0));
    framing("GET", "HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: keep-alive, Upgrade\r\n\r\n", Framing::Close);
}

/// What comes of a body whose bytes arrive in pieces of every size.
fn read(head: &ResponseHead, wanted: usize, bytes: &[u8]) -> Result<Vec<u8>, BodyError> {
    let mut results = (1..=bytes.len().max(1)).map(|size| {
        let mut body = Body::new(head, wanted);
        bytes.chunks(size).try_for_each(|piece| body.take(piece))?;
        if !body.is_enough() {
            body.finish()?;
        }
        Ok(body.prefix().to_vec())
    });
    let first = results.next().unwrap();
    assert!(results.all(|other| other == first), "the result depends on the pieces");
    first
}

#[test]
fn a_body_ends_where_its_framing_says() {
    let length = head("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(read(&length, 9, b"hello world").unwrap(), b"hello");
    assert_eq!(read(&length, 2, b"hello world").unwrap(), b"he");
    assert_eq!(read(&length, 9, b"hel").unwrap(), b"hel");
    let close = head("HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(read(&close, 99, b"hello world").unwrap(), b"hello world");
}

#[test]
fn chunks_are_put_together() {
    let chunked = head("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    let check = |wanted, bytes: &[u8], expected: Result<&[u8], BodyError>| {
        assert_eq!(read(&chunked, wanted, bytes), expected.map(<[u8]>::to_vec));
    };
    check(99, b"5\r\nhello\r\n6;ext=\"1\"\r\n world\r\n0\r\nTrailer: x\r\n\r\n", Ok(b"hello world"));
    check(99, b"0b  \r\nhello world\r\n0\r\n\r\nHTTP/1.1 200 OK", Ok(b"hello world"));
    check(7, b"5\r\nhello\r\n6\r\n world\r\nnonsense", Ok(b"hello w"));
    check(99, b"5\r\nhel", Ok(b"hel"));
    for bad in [
        &b"\r\nx"[..],
        b"5\nhello",
        b"-5\r\nhello",
        b"5x\r\nhello",
        b"5\r\nhelloX\r\n",
        b"1\r\r\nx",
        b"00000000000000001\r\nx",
    ] {
        check(99, bad, Err(BodyError::Chunk));
    }
    check(99, &[b'0'; 5000], Err(BodyError::Chunk));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_compressed_body_is_decompressed() {
    let compressed = head("HTTP/1.1 200 OK\r\nContent-Encoding: GZIP\r\n\r\n");
    let text = b"hello world, hello world, hello world";
    assert_eq!(read(&compressed, 99, &gzip(text)).unwrap(), text);
    assert_eq!(read(&compressed, 5, &gzip(text)).unwrap(), b"hello");
    let two = [gzip(b"hello "), gzip(b"world")].concat();
    assert_eq!(read(&compressed, 99, &two).unwrap(), b"hello world");
    assert_eq!(read(&compressed, 99, b"hello world, in plain text"), Err(BodyError::Gzip));
    let mut spoilt = gzip(text);
    let end = spoilt.len() - 6;
    spoilt[end] ^= 1;
    assert_eq!(read(&compressed, 99, &spoilt), Err(BodyError::Gzip));
}

/// Found by the fuzz target `http_body`: what was decompressed last stayed in the decoder until
/// more came.
#[test]
fn what_is_decompressed_counts_at_once_and_before_any_error() {
    let compressed = head("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n");
    let text = b"hello world, hello world, hello world";
    let mut body = Body::new(&compressed, text.len());
    body.take(&gzip(text)).unwrap();
    assert!(body.is_enough(), "the connection may stay open");
    let mut spoilt = gzip(text);
    let end = spoilt.len() - 6;
    spoilt[end] ^= 1;
    for bytes in [spoilt, [gzip(text), b"more".to_vec()].concat()] {
        for step in [1, 7, bytes.len()] {
            let mut body = Body::new(&compressed, text.len());
            bytes.chunks(step).for_each(|piece| body.take(piece).unwrap());
            body.finish().unwrap();
            assert_eq!(body.prefix(), text, "in pieces of {step}");
        }
    }
}

#[test]
fn a_bomb_does_not_go_off() {
    let compressed = head("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n");
    let bomb = gzip(&vec![0; 64 << 20]);
    let mut body = Body::new(&compressed, 4);
    body.take(&bomb).unwrap();
    assert_eq!(body.prefix(), [0; 4]);
}

/// Texts in which characters that could end a field or a line are frequent.
fn odd_text() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof![any::<char>(), Just('\r'), Just('\n'), Just(' '), Just(':')], 0..8)
        .prop_map(String::from_iter)
}

proptest! {
    /// A check that can be built makes one request with the fields it should have.
    #[test]
    fn no_check_adds_fields_to_its_request(target in odd_text(), host in odd_text(), user in odd_text()) {
        let overrides = HttpOverrides {
            host: Some(host.into()),
            authorization: Some(user.as_str().into()),
            ..HttpOverrides::default()
        };
        let probe = ProbeSpec::Http(Box::new(with(get(&format!("/{target}")), overrides)));
        let second = Duration::from_secs(1);
        let Ok(spec) = CheckSpec::new(backend(), probe, Timing::every(second)) else { return Ok(()) };
        let ProbeSpec::Http(probe) = spec.probe() else { unreachable!("it was one") };
        let request = text(probe);
        let lines: Vec<&str> = request.split(['\r', '\n']).filter(|line| !line.is_empty()).collect();
        prop_assert_eq!(lines[0].split(' ').count(), 3);
        let names: Vec<&str> = lines[1..].iter().filter_map(|line| line.split(':').next()).collect();
        prop_assert_eq!(names, ["Host", "User-Agent", "Authorization", "Connection"]);
    }

    #[test]
    fn no_bytes_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..300), wanted in 0_usize..64) {
        let _ = ResponseHead::parse(&bytes, "GET");
        for field in ["Content-Length: 40", "Transfer-Encoding: chunked", "Content-Encoding: gzip", "A: b"] {
            let head = head(&format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n"));
            let _ = Body::new(&head, wanted).take(&bytes);
        }
    }

    #[test]
    fn a_head_is_the_same_however_it_arrives(cut in 0_usize..70) {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: hc\r\n folded\r\n\r\nhello";
        let part = &text[..cut.min(text.len())];
        let head = ResponseHead::parse(part, "GET").unwrap();
        prop_assert_eq!(head.is_some(), part.len() >= text.len() - 5);
        prop_assert!(head.is_none_or(|head| head.length == text.len() - 5));
    }
}
