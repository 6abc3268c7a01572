//! The parts of an HTTP exchange that only compute: URLs, requests, heads, bodies.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use hc_checkers::fuzzing::http::{Body, BodyError, Framing, MAX_HEAD, Request, RequestTarget, ResponseHead};
use hc_types::{HttpProbe, Mark, Mode, Target, Tls};
use proptest::prelude::*;

fn backend() -> Target {
    Target::plain("192.0.2.1".parse().unwrap(), 8080)
}

fn get(request: &str) -> HttpProbe {
    HttpProbe { request: request.into(), ..HttpProbe::default() }
}

/// The request line without its version, and the host.
fn line_and_host(probe: &HttpProbe, target: &Target) -> (String, String) {
    let request = Request::new(probe, target).unwrap();
    let text = String::from_utf8(request.bytes).unwrap();
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap().strip_suffix(" HTTP/1.1").unwrap().to_owned();
    (line, lines.next().unwrap().strip_prefix("Host: ").unwrap().to_owned())
}

#[track_caller]
fn sent(request: &str, line: &str, host: &str) {
    assert_eq!(line_and_host(&get(request), &backend()), (line.to_owned(), host.to_owned()), "{request}");
}

#[test]
fn a_request_is_read_as_go_reads_it() {
    const HERE: &str = "192.0.2.1:8080";
    sent("/healthz?x=1", "GET /healthz?x=1", HERE);
    sent("/a b#frag", "GET /a%20b", HERE);
    sent("/é", "GET /%C3%A9", HERE);
    sent("/%41%2f", "GET /%41%2f", HERE);
    sent("/a b%2f", "GET /a%20b/", HERE);
    sent("healthz", "GET healthz", HERE);
    sent("?x", "GET /?x", HERE);
    sent("/?", "GET /?", HERE);
    sent("", "GET /", HERE);
    sent("#frag", "GET /", HERE);
    sent("*", "GET *", HERE);
    sent("foo:bar", "GET bar", HERE);
    sent("/a:b", "GET /a:b", HERE);
    sent("///x", "GET ///x", HERE);
    sent("//other/path", "GET /path", "other");
    sent("http://localhost/s", "GET /s", "localhost");
    sent("http://www.example.com", "GET /", "www.example.com");
    sent("ftp://www.example.com:/x?a b", "GET /x?a b", "www.example.com");
    sent("http://www.example.com:81/x", "GET /x", "www.example.com:81");
    sent("http://[fe80::1%25eth0]:81/x", "GET /x", "[fe80::1]:81");
    sent("http://a<b/x", "GET /x", "");
    sent("http://:/x", "GET /x", ":");
    let options = HttpProbe { method: "OPTIONS".into(), ..get("*") };
    assert_eq!(line_and_host(&options, &backend()).0, "OPTIONS *");
    let connect = HttpProbe { method: "CONNECT".into(), ..get("http://www.example.com:443") };
    assert_eq!(line_and_host(&connect, &backend()).0, "CONNECT www.example.com:443");
}

#[test]
fn the_target_of_ipv6_stands_in_brackets() {
    let target = Target::plain("2001:db8::1".parse().unwrap(), 80);
    assert_eq!(line_and_host(&get("/"), &target).1, "[2001:db8::1]:80");
}

#[test]
fn a_proxy_gets_the_absolute_form() {
    let proxy = |request: &str| HttpProbe { proxy: true, ..get(request) };
    let vip = Target::marked([192, 0, 2, 9].into(), 80, Mode::Dsr, Mark::new(65_536).unwrap(), None);
    let line = |request: &str| line_and_host(&proxy(request), &vip);
    assert_eq!(
        line("http://www.example.com/p"),
        ("GET http://www.example.com/p".into(), "www.example.com".into())
    );
    assert_eq!(line("/relp"), ("GET http://192.0.2.9:80/relp".into(), "192.0.2.9:80".into()));
    assert_eq!(
        Request::new(&proxy("http://a<b/"), &vip).unwrap_err().to_string(),
        "http: invalid Host header"
    );
}

#[test]
fn a_request_has_the_fields_it_needs_and_no_more() {
    let text = |probe: &HttpProbe| String::from_utf8(Request::new(probe, &backend()).unwrap().bytes).unwrap();
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
    let with_user = get("http://us%65r:pass%3Aword@www.example.com/");
    assert!(text(&with_user).contains("\r\nAuthorization: Basic dXNlcjpwYXNzOndvcmQ=\r\n"));
    assert!(!text(&with_user).contains("Proxy-Authorization"));
    let to_proxy = HttpProbe { proxy: true, ..with_user };
    assert!(text(&to_proxy).contains("\r\nProxy-Authorization: Basic dXNlcjpwYXNzOndvcmQ=\r\n"));
}

#[test]
fn the_host_of_the_url_is_the_name_in_tls() {
    let name = |request: &str| {
        let probe = HttpProbe { tls: Some(Tls::new(true)), ..get(request) };
        Request::new(&probe, &backend()).unwrap().server_name
    };
    assert_eq!(name("/x"), None);
    assert_eq!(name("https://www.example.com/x").as_deref(), Some("www.example.com"));
    assert_eq!(name("https://www.example.com:444/x").as_deref(), Some("www.example.com"));
    assert_eq!(name("https://[2001:db8::1]:444/x").as_deref(), Some("2001:db8::1"));
    assert_eq!(name("https://[2001:db8::1]/x").as_deref(), Some("2001:db8::1"));
}

#[track_caller]
fn rejected(request: &[u8], text: &str) {
    assert_eq!(RequestTarget::parse(request).unwrap_err().to_string(), text);
}

#[test]
fn what_is_no_url_is_rejected_in_gos_words() {
    rejected(b"/%zz", r#"parse "/%zz": invalid URL escape "%zz""#);
    rejected(b"/%4", r#"parse "/%4": invalid URL escape "%4""#);
    rejected(b"/x#%", r#"parse "/x#%": invalid URL escape "%""#);
    rejected(b":foo", r#"parse ":foo": missing protocol scheme"#);
    rejected(b"1:2", r#"parse "1:2": first path segment in URL cannot contain colon"#);
    rejected(b"/\x01", r#"parse "/\x01": net/url: invalid control character in URL"#);
    rejected(b"http://me:s3cret@h/%zz", r#"parse "http://***@h/%zz": invalid URL escape "%zz""#);
    rejected(b"//me:s3@cret@h:x", r#"parse "//***@h:x": invalid port ":x" after host"#);
    rejected(b"http://a b/", r#"parse "http://a b/": invalid character " " in host name"#);
    rejected(b"http://a:8a/", r#"parse "http://a:8a/": invalid port ":8a" after host"#);
    rejected(b"http://a:1:2/", r#"parse "http://a:1:2/": invalid port ":1:2" after host"#);
    rejected(b"http://[::1/", r#"parse "http://[::1/": missing ']' in host"#);
    rejected(b"http://[192.0.2.1]/", r#"parse "http://[192.0.2.1]/": invalid IP-literal"#);
    rejected(b"http://a[::1]/", r#"parse "http://a[::1]/": invalid IP-literal"#);
    rejected(b"http://us er@a/", r#"parse "http://***@a/": net/url: invalid userinfo"#);
    rejected(b"http://%41/", r#"parse "http://%41/": invalid URL escape "%41""#);
    let error = Request::new(&get("http://é.xn--abc-/"), &backend()).unwrap_err();
    assert_eq!(error.to_string(), "host name \"é.xn--abc-\" has a label that is not in Punycode");
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

/// Found by the fuzz target `http_body`: what was decompressed last stayed in the decoder until more came.
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

proptest! {
    #[test]
    fn no_bytes_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..300), wanted in 0_usize..64) {
        let _ = RequestTarget::parse(&bytes);
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
