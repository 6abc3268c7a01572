//! Conditions on header fields and bodies, and what a request says beside method and target.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use hc_checkers::{CheckersConfig, ProbeMemory, probe_http};
use hc_testkit::backend::Backend;
use hc_testkit::outcome::as_told;
use hc_testkit::script::Step;
use hc_types::{
    BodyCondition, CheckSpec, HeaderCondition, HeaderField, HeaderTest, HttpConditions, HttpOverrides,
    HttpProbe, HttpRequest, JsonCondition, JsonScalar, Outcome, Pattern, ProbeSpec, RawBytes, Target, Timing,
};

const PLENTY: Duration = Duration::from_secs(10);

fn with(conditions: HttpConditions) -> HttpProbe {
    HttpProbe { conditions: Some(Arc::new(conditions)), ..HttpProbe::default() }
}

fn header(name: &str, test: HeaderTest) -> HttpProbe {
    let headers = [HeaderCondition { name: name.into(), test }].into();
    with(HttpConditions { headers, ..HttpConditions::default() })
}

fn body(conditions: impl Into<Box<[BodyCondition]>>) -> HttpProbe {
    with(HttpConditions { body: conditions.into(), ..HttpConditions::default() })
}

fn contains(part: impl Into<RawBytes>) -> BodyCondition {
    BodyCondition::Contains(part.into())
}

fn matches(pattern: &str) -> BodyCondition {
    BodyCondition::Matches(Pattern::new(pattern).unwrap())
}

fn json(pointer: &str, equals: Option<JsonScalar>) -> BodyCondition {
    BodyCondition::Json(Box::new(JsonCondition { pointer: pointer.into(), equals }))
}

fn limited(limit: u32, condition: BodyCondition) -> HttpProbe {
    with(HttpConditions { body: [condition].into(), body_limit: limit, ..HttpConditions::default() })
}

/// What a probe finds at a server that plays this script, and the text of it behind the status.
fn play(
    script: Vec<Step>,
    probe: &HttpProbe,
    config: &CheckersConfig,
    timeout: Duration,
) -> (Outcome, String) {
    let backend = Backend::start(IpAddr::V4(Ipv4Addr::LOCALHOST), script).unwrap();
    let target = Target::plain(backend.address().ip(), backend.address().port());
    let spec = ProbeSpec::Http(Box::new(probe.clone()));
    let spec = CheckSpec::new(target.clone(), spec, Timing::default().timeout(timeout)).unwrap();
    let ProbeSpec::Http(probe) = spec.probe() else { unreachable!() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = as_told(runtime.block_on(probe_http(probe, &target, timeout, config)));
    let text = spec.text(&outcome);
    let text = text.split_once("; ").map_or("", |(_, text)| text).to_owned();
    (outcome, text)
}

fn run(response: &[u8], probe: &HttpProbe) -> (Outcome, String) {
    play(Step::respond(response), probe, &CheckersConfig::default(), PLENTY)
}

#[track_caller]
fn passes(response: &[u8], probe: &HttpProbe) {
    let (outcome, text) = run(response, probe);
    assert!(matches!(outcome, Outcome::Pass(_)), "{text}");
}

#[track_caller]
fn fails(response: &[u8], probe: &HttpProbe, label: &str, expected: &str) {
    let (outcome, text) = run(response, probe);
    assert_eq!((outcome.label(), &*text), (label, expected));
}

const HEADERS: &[u8] =
    b"HTTP/1.1 200 OK\r\nX-Role:  primary \r\nx-role: spare\r\nX-Empty:\r\nX-Long: a\r\n b\r\nContent-Length: 0\r\n\r\n";

#[test]
fn header_fields_are_judged() {
    for (name, test) in [
        ("X-ROLE", HeaderTest::Present),
        ("x-empty", HeaderTest::Present),
        ("x-none", HeaderTest::Absent),
        ("x-role", HeaderTest::Equals("primary".into())),
        // One of several is enough.
        ("x-role", HeaderTest::Equals("spare".into())),
        ("x-empty", HeaderTest::Equals("".into())),
        ("x-long", HeaderTest::Equals("a b".into())),
        ("x-role", HeaderTest::Contains("mar".into())),
        ("x-role", HeaderTest::Matches(Pattern::new("^s").unwrap())),
        // Fields that the probe reads itself can be judged, too.
        ("content-length", HeaderTest::Equals("0".into())),
    ] {
        passes(HEADERS, &header(name, test));
    }
    let not = |name, test, expected: &str| {
        fails(HEADERS, &header(name, test), "header_mismatch", &format!("got 200 OK; {expected}"));
    };
    not("x-none", HeaderTest::Present, "the response has no header x-none");
    not("x-none", HeaderTest::Equals("a".into()), "the response has no header x-none");
    not("X-Role", HeaderTest::Absent, "the response has a header x-role, and must not: \"primary\"");
    not("x-role", HeaderTest::Equals("Spare".into()), "the header x-role is not \"Spare\": \"primary\"");
    not(
        "x-role",
        HeaderTest::Contains("up".into()),
        "the header x-role does not contain \"up\": \"primary\"",
    );
    let pattern = Pattern::new("^up$").unwrap();
    not("x-role", HeaderTest::Matches(pattern), "the header x-role does not match \"^up$\": \"primary\"");
    // The status comes first.
    let wanted = HttpProbe { expected_codes: [204].into(), ..header("x-none", HeaderTest::Present) };
    fails(HEADERS, &wanted, "status", "got 200 OK; want 204");
    // Interim responses are not judged.
    let early = [b"HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\n", HEADERS].concat();
    fails(
        &early,
        &header("x-early", HeaderTest::Present),
        "header_mismatch",
        "got 200 OK; the response has no header x-early",
    );
}

fn response(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[test]
fn bodies_are_judged() {
    let up = response(b"state: up\nload: 0.5\n");
    passes(&up, &body([contains("up"), contains("0.5\n"), matches("(?m)^load: 0"), matches(r"\n$")]));
    fails(
        &up,
        &body([contains("up"), contains("down")]),
        "body_mismatch",
        "got 200 OK; the body does not contain \"down\": \"state: up\\nload: 0.5\\n\"",
    );
    fails(
        &up,
        &body([matches("^load")]),
        "body_mismatch",
        "got 200 OK; the body does not match \"^load\": \"state: up\\nload: 0.5\\n\"",
    );
    fails(
        &response(b""),
        &body([contains("a")]),
        "body_mismatch",
        "got 200 OK; the body does not contain \"a\"",
    );
    // Together with the beginning.
    let begins = HttpProbe { expected_body: "state: ".into(), ..body([contains("load")]) };
    passes(&up, &begins);
    let begins = HttpProbe { expected_body: "State".into(), ..body([contains("load")]) };
    fails(&up, &begins, "body_mismatch", "got 200 OK; unexpected response - \"state\"");
    // However it is framed.
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nsta\r\n3\r\nte:\r\n0\r\n\r\n";
    passes(chunked, &body([contains("state:"), matches("^state:$")]));
    passes(b"HTTP/1.1 200 OK\r\n\r\nuntil the end", &body([matches("end$")]));
    fails(
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\ncut",
        &body([matches("cut and more")]),
        "body_mismatch",
        "got 200 OK; the body does not match \"cut and more\": \"cut\"",
    );
}

#[test]
fn json_bodies_are_judged() {
    let text = br#"{"status":"ok","checks":[{"up":true,"lag":1.0}],"a/b":null}"#;
    let string = |text: &str| Some(JsonScalar::String(text.into()));
    passes(
        &response(text),
        &body([
            json("/status", string("ok")),
            json("/checks/0/up", Some(JsonScalar::Bool(true))),
            json("/checks/0/lag", Some(JsonScalar::Number(1_i64.into()))),
            json("/a~1b", Some(JsonScalar::Null)),
            json("/checks", None),
            json("", None),
        ]),
    );
    let not = |text: &[u8], condition, expected: &str| {
        let shown = hc_types::quote(&text[..text.len().min(128)]);
        fails(
            &response(text),
            &body([condition]),
            "body_mismatch",
            &format!("got 200 OK; {expected}: {shown}"),
        );
    };
    not(text, json("/status", string("up")), r#"the JSON body has "ok" at "/status", want "up""#);
    not(text, json("/checks", string("up")), r#"the JSON body has an array at "/checks", want "up""#);
    not(text, json("/checks/1", None), r#"the JSON body has nothing at "/checks/1""#);
    not(b"<html>", json("/a", None), "the body is not JSON: expected value at line 1 column 1");
    not(b"{} {}", json("", None), "the body is not JSON: trailing characters at line 1 column 4");
}

#[test]
fn what_only_the_rest_of_a_long_body_would_show_fails_and_says_so() {
    let long = response(&[&[b'a'; 100][..], b"ready"].concat());
    passes(&long, &limited(105, contains("ready")));
    passes(&long, &limited(105, matches("ready$")));
    passes(&long, &limited(10, matches("^a{10}")));
    let shown = format!("\"{}\"", "a".repeat(100));
    let behind = "(it is longer than the 100 bytes that are read of it)";
    fails(
        &long,
        &limited(100, contains("ready")),
        "body_mismatch",
        &format!("got 200 OK; the body does not contain \"ready\" {behind}: {}", shown),
    );
    fails(
        &long,
        &limited(100, matches("^a+$")),
        "body_mismatch",
        &format!("got 200 OK; the body does not match \"^a+$\" {behind}: {}", shown),
    );
    fails(
        &response(b"{\"a\": 1}"),
        &limited(7, json("/a", None)),
        "body_mismatch",
        "got 200 OK; the body is longer than the 7 bytes that are read of it, too long for JSON: \"{\\\"a\\\": 1\"",
    );
    passes(&response(b"{\"a\": 1}"), &limited(8, json("/a", None)));
}

/// A server that streams, or that leaves the connection open, is not waited for longer than needed.
#[test]
fn a_body_that_does_not_end_is_judged_as_soon_as_it_can_be() {
    let stream = |rest: Step| vec![Step::ReadHead, Step::send("HTTP/1.1 200 OK\r\n\r\ndata: up\n"), rest];
    let config = CheckersConfig::default();
    let judge = |rest, probe: &HttpProbe, timeout| play(stream(rest), probe, &config, timeout);
    let (outcome, text) = judge(Step::Hang, &body([contains("up")]), PLENTY);
    assert!(matches!(outcome, Outcome::Pass(_)), "{text}");
    let (outcome, _) = judge(Step::Hang, &body([contains("down")]), Duration::from_millis(150));
    assert_eq!(outcome.label(), "timeout_response");
    let (outcome, text) = judge(Step::Repeat("data: up\n".into()), &body([contains("down")]), PLENTY);
    assert_eq!(outcome.label(), "body_mismatch", "{text}");
    assert!(text.contains("(it is longer than the 65536 bytes that are read of it)"), "{text}");
}

#[test]
fn gzip_is_undone_and_another_encoding_is_named() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&[&[b'a'; 70_000][..], b"ready"].concat()).unwrap();
    let packed = encoder.finish().unwrap();
    let head = |encoding: &str, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    passes(&head("gzip", &packed), &limited(100_000, contains("ready")));
    let (outcome, text) = run(&head("gzip", &packed), &body([contains("ready")]));
    assert_eq!(outcome.label(), "body_mismatch");
    assert!(text.contains("it is longer than the 65536 bytes"), "{text}");
    fails(
        &head("br", b"ready"),
        &body([contains("ready")]),
        "body_mismatch",
        "got 200 OK; the body has Content-Encoding \"br\", which is not decoded",
    );
    passes(&head("identity", b"ready"), &body([contains("ready")]));
    // What a body begins with is compared as it came.
    passes(&head("br", b"ready"), &HttpProbe { expected_body: "ready".into(), ..HttpProbe::default() });
}

/// A pattern that would take too long for what a backend sends ends at once.
#[test]
fn a_search_that_takes_too_long_fails() {
    let mut seed = 1_u32;
    let text: Vec<u8> = (0..60_000)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if seed >> 31 == 0 { b'a' } else { b'b' }
        })
        .collect();
    let (outcome, text) = run(&response(&text), &body([matches("a[ab]{400}c")]));
    assert_eq!(outcome.label(), "body_mismatch");
    let expected = "nobody knows whether the body matches \"a[ab]{400}c\": the search was given up, since it has too many states";
    assert!(text.contains(expected), "{text}");
}

/// What all probes hold together is limited, bodies that are judged included.
#[test]
fn a_body_for_which_there_is_no_memory_is_inconclusive() {
    let mut config = CheckersConfig::default();
    config.memory = ProbeMemory::new(16 * 1024);
    let long = response(&[b'a'; 60_000]);
    let (outcome, text) = play(Step::respond(&long), &body([matches("a$")]), &config, PLENTY);
    assert_eq!(outcome.label(), "local_probe_memory", "{text}");
    assert!(config.memory.most_used() <= 16 * 1024);
}

#[test]
fn the_request_says_what_the_check_asks_for() {
    let field = |name: &str, value: &str| HeaderField { name: name.into(), value: value.into() };
    let request = HttpRequest {
        user_agent: Some("probe/1".into()),
        headers: [field("X-Token", "s3cret"), field("Accept", "application/json")].into(),
        body: "{\"deep\":true}".into(),
        ..HttpRequest::default()
    };
    let overrides = HttpOverrides { request: Some(Arc::new(request)), ..HttpOverrides::default() };
    let probe =
        HttpProbe { method: "POST".into(), overrides: Some(Box::new(overrides)), ..HttpProbe::default() };
    let backend = Backend::start(IpAddr::V4(Ipv4Addr::LOCALHOST), {
        let response = Step::send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        vec![Step::ReadHead, Step::Read("{\"deep\":true}".len()), response]
    })
    .unwrap();
    let target = Target::plain(backend.address().ip(), backend.address().port());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(probe_http(&probe, &target, PLENTY, &CheckersConfig::default()));
    assert!(matches!(outcome, Outcome::Pass(_)), "{}", outcome.label());
    let port = target.port();
    let seen = backend.wait_for(|seen| seen.first().is_some_and(|first| first.received.ends_with(b"}")));
    let sent = String::from_utf8(seen[0].received.clone()).unwrap();
    assert_eq!(
        sent,
        format!(
            "POST / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: probe/1\r\nContent-Length: 13\r\n\
             X-Token: s3cret\r\nAccept: application/json\r\nConnection: close\r\n\r\n{{\"deep\":true}}"
        )
    );
    assert!(!format!("{probe:?}").contains("s3cret"));
}
