//! HTTP/2: against nginx, and against peers that misbehave frame by frame.
#![cfg(feature = "http2")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hc_checkers::{Checkers, CheckersConfig, ProbeMemory, Roots};
use hc_testkit::backend::Backend;
use hc_testkit::certificate::{Authority, Identity, Wish};
use hc_testkit::outcome::as_told;
use hc_testkit::script::Step;
use hc_types::{
    BodyCondition, CheckSpec, HeaderCondition, HeaderField, HeaderTest, HttpConditions, HttpOverrides,
    HttpProbe, HttpRequest, HttpVersion, JsonCondition, JsonScalar, Outcome, Pattern, ProbeSpec, Target,
    Timing, Tls,
};
use openssl::pkey::PKey;
use openssl::x509::X509;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PLENTY: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_millis(300);

fn http2(request: HttpRequest) -> HttpProbe {
    let request = Some(Arc::new(HttpRequest { version: HttpVersion::Http2, ..request }));
    let overrides = Some(Box::new(HttpOverrides { request, ..HttpOverrides::default() }));
    HttpProbe { expected_codes: [200].into(), overrides, ..HttpProbe::default() }
}

fn get() -> HttpProbe {
    http2(HttpRequest::default())
}

fn with_body(condition: BodyCondition) -> HttpProbe {
    let conditions = HttpConditions { body: [condition].into(), ..HttpConditions::default() };
    HttpProbe { conditions: Some(Arc::new(conditions)), ..get() }
}

/// What a probe of this port finds, and its text behind the subject.
fn run(port: u16, probe: HttpProbe, config: CheckersConfig, timeout: Duration) -> (Outcome, String) {
    let target = Target::plain(LOCALHOST, port);
    let spec =
        CheckSpec::new(target, ProbeSpec::Http(Box::new(probe)), Timing::default().timeout(timeout)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = as_told(runtime.block_on(async { Checkers::new(config).probe(&spec).await }));
    let text = spec.text(&outcome);
    let text = text.split_once("; ").map_or("", |(_, text)| text).to_owned();
    (outcome, text)
}

// ---- nginx

/// nginx on two ports of the kernel's choice, with and without TLS. It inherits the sockets, as in
/// an upgrade of itself.
struct Nginx {
    child: Child,
    plain: u16,
    tls: u16,
    _dir: tempfile::TempDir,
}

impl Nginx {
    fn start(identity: &Identity, more: &str) -> Self {
        let certificate = X509::from_der(&identity.chain[0]).unwrap().to_pem().unwrap();
        let key = PKey::private_key_from_der(&identity.key()).unwrap().private_key_to_pem_pkcs8().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display();
        std::fs::write(dir.path().join("cert.pem"), certificate).unwrap();
        std::fs::write(dir.path().join("key.pem"), key).unwrap();
        let listeners = [(); 2].map(|()| TcpListener::bind((LOCALHOST, 0)).unwrap());
        let [plain, tls] = [0, 1].map(|i: usize| listeners[i].local_addr().unwrap().port());
        let config = format!(
            "daemon off; user root; worker_processes 1; pid {at}/pid; error_log {at}/error.log;\nevents {{}}\nhttp {{\n\
             access_log off; default_type text/plain;\n\
             client_body_temp_path {at}/1; proxy_temp_path {at}/2; fastcgi_temp_path {at}/3; uwsgi_temp_path {at}/4;\n\
             scgi_temp_path {at}/5;\n\
             server {{ listen 127.0.0.1:{plain} http2; listen 127.0.0.1:{tls} ssl http2;\n\
             ssl_certificate {at}/cert.pem; ssl_certificate_key {at}/key.pem;\n{more}\n}}\n}}\n"
        );
        std::fs::write(dir.path().join("nginx.conf"), config).unwrap();
        let [first, second] = listeners.map(|listener| Stdio::from(OwnedFd::from(listener)));
        let child = Command::new("/usr/sbin/nginx")
            .args(["-p", dir.path().to_str().unwrap(), "-c", "nginx.conf"])
            .env("NGINX", "0;1;")
            .stdin(first)
            .stdout(second)
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx (Debian package nginx-light)");
        Self { child, plain, tls, _dir: dir }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its worker ends with it, which a kill would not do.
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap();
    }
}

const PAGES: &str = r#"
location = /up { add_header X-Role primary; return 200 '{"status":"ok","n":3}'; }
location = /agent { return 200 '$http_user_agent|$http_x_token|$request_method|$host|$server_protocol'; }
location = /down { return 503 'sorry'; }
location = /moved { return 302 /up; }
location = /long { return 200 '$request_filename'; }
"#;

#[test]
fn nginx_is_judged_with_and_without_tls() {
    let authority = Authority::new("root", 2000, 2100).unwrap();
    let identity = authority.sign(&Wish::valid_for(["127.0.0.1"])).unwrap();
    let nginx = Nginx::start(&identity, PAGES);
    let (roots, _) = Roots::new([authority.certificate()]);
    for tls in [None, Some(Tls::new(true)), Some(Tls { sha1: true, ..Tls::new(true) })] {
        let port = if tls.is_some() { nginx.tls } else { nginx.plain };
        let check = |path: &str, probe: HttpProbe| {
            let mut config = CheckersConfig::default();
            config.roots = roots.clone();
            run(port, HttpProbe { tls: tls.clone(), request_target: path.into(), ..probe }, config, PLENTY)
        };
        let (outcome, text) = check("/up", get());
        assert_eq!((outcome.label(), &*text), ("pass", "got 200 OK"), "{tls:?}");
        let conditions = HttpConditions {
            headers: [
                HeaderCondition { name: "X-Role".into(), test: HeaderTest::Equals("primary".into()) },
                HeaderCondition { name: "x-none".into(), test: HeaderTest::Absent },
            ]
            .into(),
            body: [
                BodyCondition::Contains("ok".into()),
                BodyCondition::Matches(Pattern::new("3}$").unwrap()),
                BodyCondition::Json(Box::new(JsonCondition {
                    pointer: "/n".into(),
                    equals: Some(JsonScalar::Number(3_i64.into())),
                })),
            ]
            .into(),
            ..HttpConditions::default()
        };
        let conditions = HttpProbe { conditions: Some(Arc::new(conditions)), ..get() };
        assert_eq!(check("/up", conditions).0.label(), "pass");
        let (outcome, text) = check("/down", get());
        assert_eq!((outcome.label(), &*text), ("status", "got 503 Service Unavailable; want 200"));
        let (outcome, text) = check("/up", with_body(BodyCondition::Contains("down".into())));
        let expected =
            "got 200 OK; the body does not contain \"down\": \"{\\\"status\\\":\\\"ok\\\",\\\"n\\\":3}\"";
        assert_eq!((outcome.label(), &*text), ("body_mismatch", expected));
        assert_eq!(check("/up", HttpProbe { expected_body: "{\"st".into(), ..get() }).0.label(), "pass");
        assert_eq!(
            check("/up", HttpProbe { expected_body: "{\"no".into(), ..get() }).0.label(),
            "body_mismatch"
        );
        // A redirect is judged, and has no body that could be compared.
        let moved = HttpProbe { expected_codes: [302].into(), ..get() };
        assert_eq!(check("/moved", moved.clone()).0.label(), "pass");
        assert_eq!(
            check("/moved", HttpProbe { expected_body: "<".into(), ..moved }).0.label(),
            "body_mismatch"
        );

        let token = HeaderField { name: "X-Token".into(), value: "s3cret".into() };
        let request = HttpRequest {
            user_agent: Some("probe/2".into()),
            headers: [token].into(),
            ..HttpRequest::default()
        };
        let agent = "probe/2|s3cret|GET|127.0.0.1|HTTP/2.0";
        let (_, text) = check("/agent", HttpProbe { expected_body: agent.into(), ..http2(request) });
        assert_eq!(text, "got 200 OK");
        let posted = HttpRequest { body: vec![b'a'; 60_000].into(), ..HttpRequest::default() };
        let posted = HttpProbe { method: "POST".into(), ..http2(posted) };
        assert_eq!(check("/up", posted).0.label(), "pass", "{tls:?}");
        let head = HttpProbe { method: "HEAD".into(), ..get() };
        assert_eq!(check("/up", head).0.label(), "pass");
    }
}

/// A port for TLS does not take frames, and one that chooses HTTP/1.1 is not HTTP/2.
#[test]
fn servers_of_other_protocols_are_named() {
    let authority = Authority::new("root", 2000, 2100).unwrap();
    let identity = authority.sign(&Wish::valid_for(["127.0.0.1"])).unwrap();
    // They stay, so that a reset does not overtake the answer.
    let answer = || {
        vec![Step::ReadHead, Step::send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), Step::Hang]
    };
    let plain = Backend::start(LOCALHOST, answer()).unwrap();
    let (outcome, text) = run(plain.address().port(), get(), CheckersConfig::default(), PLENTY);
    assert_eq!(outcome.label(), "malformed_reply", "{text}");
    assert!(text.contains("not HTTP/2: \"HTTP/1.1 400 Bad Request"), "{text}");
    // No ALPN at all.
    let tls = Backend::start_tls(LOCALHOST, &identity, answer()).unwrap();
    let probe = HttpProbe { tls: Some(Tls::new(false)), ..get() };
    let (outcome, text) = run(tls.address().port(), probe, CheckersConfig::default(), PLENTY);
    let expected = "TLS: the peer does not speak HTTP/2: with ALPN it chose no protocol";
    assert_eq!((outcome.label(), &*text), ("tls", expected));
}

// ---- Frame by frame (RFC 9113 section 4.1)

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// `:status: 200` of the static table (RFC 7541 appendix A).
const OK: &[u8] = &[0x88];

fn settings() -> Vec<u8> {
    frame(SETTINGS, 0, 0, b"")
}

/// What a probe finds at a peer that reads its preface (24 bytes) and then plays this.
fn play(script: Vec<Step>, probe: HttpProbe, timeout: Duration) -> (Outcome, String) {
    let steps = [vec![Step::Read(24)], script].concat();
    let backend = Backend::start(LOCALHOST, steps).unwrap();
    run(backend.address().port(), probe, CheckersConfig::default(), timeout)
}

fn sends(frames: &[Vec<u8>]) -> Vec<Step> {
    // It stays, so that closing is not what ends the exchange.
    vec![Step::send(frames.concat()), Step::Hang]
}

#[track_caller]
fn finds(frames: &[Vec<u8>], probe: HttpProbe, label: &str, expected: &str) {
    let (outcome, text) = play(sends(frames), probe, PLENTY);
    assert_eq!(outcome.label(), label, "{text}");
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_response_in_any_pieces_is_one() {
    let ok = frame(HEADERS, END_HEADERS, 1, OK);
    finds(&[settings(), frame(HEADERS, END_HEADERS | END_STREAM, 1, OK)], get(), "pass", "got 200 OK");
    // A head in several frames, and content in several, one of them empty.
    let head = [frame(HEADERS, 0, 1, b""), frame(CONTINUATION, END_HEADERS, 1, OK)].concat();
    let content =
        [frame(DATA, 0, 1, b"re"), frame(DATA, 0, 1, b""), frame(DATA, END_STREAM, 1, b"ady")].concat();
    let ready = || with_body(BodyCondition::Matches(Pattern::new("^ready$").unwrap()));
    finds(&[settings(), head, content.clone()], ready(), "pass", "got 200 OK");
    // An interim response before it: `:status: 100`.
    let interim = frame(HEADERS, END_HEADERS, 1, b"\x08\x03100");
    finds(&[settings(), interim, ok.clone(), content], ready(), "pass", "got 200 OK");
    // Trailers in place of an end of the content.
    let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x00\x01a\x01b");
    finds(&[settings(), ok.clone(), frame(DATA, 0, 1, b"ready"), trailers], ready(), "pass", "got 200 OK");
    // Byte by byte.
    let whole = [settings(), ok, frame(DATA, END_STREAM, 1, b"ready")].concat();
    let drip = vec![Step::Drip { bytes: whole.into(), pause_ms: 1 }, Step::Hang];
    assert_eq!(play(drip, ready(), PLENTY).0.label(), "pass");
}

#[test]
fn what_a_peer_says_in_its_frames_is_named() {
    let ok = frame(HEADERS, END_HEADERS, 1, OK);
    let refused = frame(RST_STREAM, 0, 1, &[0, 0, 0, 7]);
    finds(&[settings(), refused], get(), "reset", "HTTP/2 stream reset by peer: REFUSED_STREAM");
    let goaway = frame(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\x0bcalm down");
    finds(
        &[settings(), goaway],
        get(),
        "reset",
        "HTTP/2 connection ended by peer (GOAWAY): ENHANCE_YOUR_CALM",
    );
    let cut = frame(RST_STREAM, 0, 1, &[0, 0, 0, 2]);
    let contains = || with_body(BodyCondition::Contains("x".into()));
    finds(&[settings(), ok.clone(), frame(DATA, 0, 1, b"re"), cut], contains(), "reset", "INTERNAL_ERROR");
    // A peer that closes.
    let (outcome, text) = play(vec![Step::send(settings())], get(), PLENTY);
    assert!(["closed", "reset"].contains(&outcome.label()), "{text}");
    let (outcome, text) = play(vec![], get(), PLENTY);
    assert!(["closed", "reset"].contains(&outcome.label()), "{text}");
    let (outcome, text) = play(vec![Step::send(settings()), Step::Reset], get(), PLENTY);
    assert_eq!(outcome.label(), "reset", "{text}");
    // One that says nothing, or nothing more.
    assert_eq!(play(vec![Step::Hang], get(), SOON).0.label(), "timeout_response");
    assert_eq!(play(sends(&[settings()]), get(), SOON).0.label(), "timeout_response");
    assert_eq!(play(sends(&[settings(), ok]), contains(), SOON).0.label(), "timeout_response");
}

#[test]
fn frames_that_break_the_protocol_fail() {
    for (what, frames) in [
        ("data before the head", vec![frame(DATA, 0, 1, b"a")]),
        ("a giant frame", vec![[&[0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1][..], &[0; 100]].concat()]),
        ("a stream that is not ours", vec![frame(HEADERS, END_HEADERS, 3, OK)]),
        ("a pushed stream", vec![frame(5, END_HEADERS, 1, b"\0\0\0\x02\x82")]),
        ("settings of a bad length", vec![frame(SETTINGS, 0, 0, b"abc")]),
        ("a head that is no HPACK", vec![frame(HEADERS, END_HEADERS, 1, &[0xff; 9])]),
        ("a head without a status", vec![frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x00\x01a\x01b")]),
        ("a continuation of nothing", vec![frame(CONTINUATION, END_HEADERS, 1, OK)]),
        ("a window of too much", vec![frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff])]),
    ] {
        let (outcome, text) = play(sends(&[vec![settings()], frames].concat()), get(), PLENTY);
        assert!(
            ["malformed_reply", "reset"].contains(&outcome.label()),
            "{what}: {} {text}",
            outcome.label()
        );
    }
}

/// What never ends is cut off, and costs little.
#[test]
fn floods_end() {
    let begun = |repeated: Vec<u8>, before: &[Vec<u8>]| {
        vec![Step::send([&[settings()], before].concat().concat()), Step::Repeat(repeated.into())]
    };
    let ok = frame(HEADERS, END_HEADERS, 1, OK);
    for (what, script) in [
        ("settings", begun(settings().repeat(100), &[])),
        ("pings", begun(frame(PING, 0, 0, &[0; 8]).repeat(100), &[])),
        ("interim responses", begun(frame(HEADERS, END_HEADERS, 1, b"\x08\x03100").repeat(100), &[])),
        (
            "continuations",
            begun(frame(CONTINUATION, 0, 1, &b"\x00\x01a\x01b".repeat(1000)), &[frame(HEADERS, 0, 1, OK)]),
        ),
        (
            "empty continuations",
            begun(frame(CONTINUATION, 0, 1, b"").repeat(100), &[frame(HEADERS, 0, 1, OK)]),
        ),
        ("empty data", begun(frame(DATA, 0, 1, b"").repeat(100), std::slice::from_ref(&ok))),
        ("data without regard to the window", begun(frame(DATA, 0, 1, &[b'a'; 16_000]), &[ok])),
    ] {
        let probe = with_body(BodyCondition::Contains("never".into()));
        let (outcome, text) = play(script, probe, PLENTY);
        let allowed = ["malformed_reply", "body_mismatch", "reset"];
        assert!(allowed.contains(&outcome.label()), "{what}: {} {text}", outcome.label());
    }
}

/// A body is limited as in HTTP/1.1, and what all probes hold together, too.
#[test]
fn a_long_body_is_judged_up_to_its_limit() {
    let ok = frame(HEADERS, END_HEADERS, 1, OK);
    let piece = frame(DATA, 0, 1, &[b'a'; 16_000]);
    let contains = || {
        let body = [BodyCondition::Contains("never".into())].into();
        let conditions = HttpConditions { body, body_limit: 60_000, ..HttpConditions::default() };
        HttpProbe { conditions: Some(Arc::new(conditions)), ..get() }
    };
    let pieces = [vec![settings(), ok], vec![piece; 4]].concat();
    let (outcome, text) = play(sends(&pieces), contains(), PLENTY);
    assert_eq!(outcome.label(), "body_mismatch", "{text}");
    assert!(text.contains("(it is longer than the 60000 bytes that are read of it)"), "{text}");
    let mut config = CheckersConfig::default();
    config.memory = ProbeMemory::new(16 * 1024);
    let backend = Backend::start(LOCALHOST, [vec![Step::Read(24)], sends(&pieces)].concat()).unwrap();
    let (outcome, text) = run(backend.address().port(), contains(), config.clone(), PLENTY);
    assert_eq!(outcome.label(), "local_probe_memory", "{text}");
    assert!(config.memory.most_used() <= 16 * 1024);
}
