//! gRPC health checks against a peer that is scripted frame by frame.
#![cfg(feature = "http2")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use hc_checkers::Checkers;
use hc_testkit::backend::Backend;
use hc_testkit::certificate::{Authority, Wish};
use hc_testkit::outcome::as_told;
use hc_testkit::script::Step;
use hc_types::{CheckSpec, GrpcProbe, Outcome, ProbeResult, ProbeSpec, Seen, Target, Timing, Tls};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PLENTY: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_millis(300);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let stream = u8::from(kind != SETTINGS);
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// A field as a literal without indexing (RFC 7541 section 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap();
    [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}

/// `:status: 200` of the static table, and the content type of gRPC.
fn head() -> Vec<u8> {
    frame(HEADERS, END_HEADERS, &[vec![0x88], field("content-type", "application/grpc+proto")].concat())
}

fn trailers(fields: &[(&str, &str)]) -> Vec<u8> {
    let fields: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
    frame(HEADERS, END_HEADERS | END_STREAM, &fields)
}

fn ok() -> Vec<u8> {
    trailers(&[("grpc-status", "0")])
}

fn message(status: u8) -> Vec<u8> {
    frame(DATA, 0, &[0, 0, 0, 0, 2, 8, status])
}

fn run(backend: &Backend, probe: GrpcProbe, timeout: Duration) -> (Outcome, String) {
    let (result, text) = run_for_evidence(backend, probe, timeout);
    (as_told(result.outcome), text)
}

fn run_for_evidence(backend: &Backend, probe: GrpcProbe, timeout: Duration) -> (ProbeResult, String) {
    let target = Target::plain(LOCALHOST, backend.address().port());
    let spec =
        CheckSpec::new(target, ProbeSpec::Grpc(Box::new(probe)), Timing::default().timeout(timeout)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(async { Checkers::default().probe_with_evidence(&spec).await });
    let text = spec.text(&result.outcome);
    let text = text.split_once("; ").map_or("", |(_, text)| text).to_owned();
    (result, text)
}

#[track_caller]
fn finds(frames: &[Vec<u8>], timeout: Duration, label: &str, expected: &str) {
    let sent = [frame(SETTINGS, 0, b""), frames.concat()].concat();
    let script = vec![Step::Read(24), Step::send(sent), Step::Hang];
    let backend = Backend::start(LOCALHOST, script).unwrap();
    let (outcome, text) = run(&backend, GrpcProbe::default(), timeout);
    assert_eq!(outcome.label(), label, "{text}");
    assert!(text.contains(expected), "{text}");
}

#[test]
fn the_status_of_the_service_decides() {
    finds(&[head(), message(1), ok()], PLENTY, "pass", "");
    for (status, name) in [(2, "NOT_SERVING"), (3, "SERVICE_UNKNOWN"), (0, "UNKNOWN"), (9, "9, a status")] {
        finds(&[head(), message(status), ok()], PLENTY, "wrong_answer", &format!("the service is {name}"));
    }
    // An empty message is UNKNOWN.
    finds(&[head(), frame(DATA, 0, &[0; 5]), ok()], PLENTY, "wrong_answer", "the service is UNKNOWN");
    // In pieces, and with trailers that say more.
    let pieces = [&[0_u8, 0][..], &[0, 0, 2], &[8], &[1]].map(|piece| frame(DATA, 0, piece)).concat();
    let more = trailers(&[("x-a", "b"), ("grpc-status", "0"), ("grpc-message", "")]);
    finds(&[head(), pieces, more], PLENTY, "pass", "");
}

#[test]
fn the_status_of_the_call_is_named() {
    // Trailers alone, as most servers answer a call that fails.
    let alone = |fields: &[(&str, &str)]| {
        let fields: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
        let kind = field("content-type", "application/grpc");
        frame(HEADERS, END_HEADERS | END_STREAM, &[vec![0x88], kind, fields].concat())
    };
    let unknown = alone(&[("grpc-status", "12"), ("grpc-message", "unknown%20service")]);
    finds(&[unknown], PLENTY, "status", "got grpc-status 12 UNIMPLEMENTED: \"unknown service\"");
    finds(&[alone(&[("grpc-status", "5")])], PLENTY, "status", "got grpc-status 5 NOT_FOUND");
    finds(&[alone(&[("grpc-status", "99")])], PLENTY, "status", "got grpc-status 99 (unknown)");
    finds(&[head(), trailers(&[("grpc-status", "14")])], PLENTY, "status", "got grpc-status 14 UNAVAILABLE");
    // 0 without a message is no answer.
    finds(&[alone(&[("grpc-status", "0")])], PLENTY, "malformed_reply", "without a whole message");
    finds(&[alone(&[("grpc-status", "x")])], PLENTY, "malformed_reply", "the grpc-status is \"x\"");
}

#[test]
fn what_is_no_health_check_fails() {
    let malformed = |frames: &[Vec<u8>], expected: &str| finds(frames, PLENTY, "malformed_reply", expected);
    let compressed = frame(DATA, 0, &[1, 0, 0, 0, 2, 8, 1]);
    malformed(&[head(), compressed, ok()], "a compressed message, and none was asked for");
    malformed(&[head(), message(1), message(1), ok()], "more than one message");
    malformed(&[head(), frame(DATA, 0, &[0, 0, 0, 0, 2, 8]), ok()], "without a whole message");
    malformed(&[head(), frame(DATA, 0, &[0, 0xff, 0, 0, 0])], "a message of 4278190080 bytes");
    malformed(&[head(), frame(DATA, 0, &[0, 0, 0, 0, 1, 8]), ok()], "not a HealthCheckResponse");
    malformed(&[head(), frame(DATA, END_STREAM, &[0, 0, 0, 0, 2, 8, 1])], "no grpc-status");
    // A web server.
    let page = frame(HEADERS, END_HEADERS, &[vec![0x88], field("content-type", "text/html")].concat());
    malformed(&[page], "not gRPC: the content type is \"text/html\"");
    finds(&[frame(HEADERS, END_HEADERS | END_STREAM, &[0x8d])], PLENTY, "status", "got HTTP 404 Not Found");
    finds(
        &[head(), frame(RST_STREAM, 0, &[0, 0, 0, 8])],
        PLENTY,
        "reset",
        "HTTP/2 stream reset by peer: CANCEL",
    );
    finds(&[head(), message(1)], SOON, "timeout_response", "timed out");
}

#[test]
fn the_answer_of_a_failure_is_kept() {
    let kept = |frames: &[Vec<u8>], timeout: Duration, label: &str| {
        let sent = [frame(SETTINGS, 0, b""), frames.concat()].concat();
        let backend = Backend::start(LOCALHOST, vec![Step::Read(24), Step::send(sent), Step::Hang]).unwrap();
        let (result, text) = run_for_evidence(&backend, GrpcProbe::default(), timeout);
        assert_eq!(result.outcome.label(), label, "{text}");
        let answer = result.evidence.seen.map(|seen| seen.answer.as_slice().to_vec());
        answer.map(|answer| String::from_utf8(answer).unwrap())
    };
    let begun = "HTTP/2 200\r\ncontent-type: application/grpc+proto\r\n\r\n";
    let not_serving = "\0\0\0\0\x02\x08\x02";
    let ended = trailers(&[("grpc-status", "0"), ("x-a", "b")]);
    assert_eq!(
        kept(&[head(), message(2), ended], PLENTY, "wrong_answer").unwrap(),
        format!("{begun}{not_serving}\r\ngrpc-status: 0\r\nx-a: b\r\n")
    );
    let failed = trailers(&[("grpc-status", "14"), ("grpc-message", "shutting%20down")]);
    assert_eq!(
        kept(&[head(), failed], PLENTY, "status").unwrap(),
        format!("{begun}\r\ngrpc-status: 14\r\ngrpc-message: shutting%20down\r\n")
    );
    // What had come by the deadline, and before the end.
    assert_eq!(
        kept(&[head(), message(2)], SOON, "timeout_response").unwrap(),
        format!("{begun}{not_serving}")
    );
    assert_eq!(kept(&[head(), frame(RST_STREAM, 0, &[0, 0, 0, 8])], PLENTY, "reset").unwrap(), begun);
    assert_eq!(kept(&[head(), message(1), ok()], PLENTY, "pass"), None);
    // However long it is.
    let value = "v".repeat(100);
    let many: Vec<(&str, &str)> = (0..20).map(|_| ("x-long", &*value)).collect();
    let long = kept(&[head(), trailers(&[&many[..], &[("grpc-status", "2")]].concat())], PLENTY, "status");
    assert_eq!(long.unwrap().len(), Seen::KEPT);
}

#[test]
fn the_request_asks_for_the_service() {
    let script = vec![
        Step::Read(24),
        Step::send([frame(SETTINGS, 0, b""), head(), message(1), ok()].concat()),
        Step::Hang,
    ];
    let backend = Backend::start(LOCALHOST, script).unwrap();
    let probe =
        GrpcProbe { service: "shop.Orders".into(), host: Some("a.example".into()), ..GrpcProbe::default() };
    let (outcome, text) = run(&backend, probe, PLENTY);
    assert_eq!(outcome.label(), "pass", "{text}");
    // The message is the whole of the content.
    let message = b"\x00\x00\x12\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x0d\x0a\x0bshop.Orders";
    let asked = |received: &[u8]| received.windows(message.len()).any(|part| part == message);
    backend.wait_for(|seen| seen.first().is_some_and(|first| asked(&first.received)));
}

#[test]
fn a_server_without_http2_in_tls_is_named() {
    let authority = Authority::new("root", 2000, 2100).unwrap();
    let identity = authority.sign(&Wish::valid_for(["127.0.0.1"])).unwrap();
    let backend = Backend::start_tls(LOCALHOST, &identity, vec![Step::Hang]).unwrap();
    let probe = GrpcProbe { tls: Some(Tls::new(false)), ..GrpcProbe::default() };
    let (outcome, text) = run(&backend, probe, PLENTY);
    let expected = "TLS: the peer does not speak HTTP/2: with ALPN it chose no protocol";
    assert_eq!((outcome.label(), &*text), ("tls", expected));
}
