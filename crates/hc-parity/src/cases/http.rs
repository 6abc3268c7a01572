//! HTTP: statuses, redirects, and what can happen to the connection.

use std::time::Duration;

use hc_testkit::script::Step;
use serde_json::{Value, json};

use super::{routeless_host, silent_host};
use crate::case::{Case, bytes};
use crate::serve::{Server, drip, send};

/// A check with these expectations; no code is any code.
pub(super) fn check(codes: &[u16], body: &[u8]) -> Value {
    json!({"checker_type": "http", "expected_codes": codes, "expected_body": bytes(body)})
}

/// One response, as it stands on the wire, to a check that wants `body`.
pub(super) fn respond(name: &str, response: impl AsRef<[u8]>, codes: &[u16], body: &[u8]) -> Case {
    Case::new(format!("http/{name}"), Server::Tcp(Step::respond(response)), check(codes, body))
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = connections();
    cases.extend(redirects());
    for code in 100..600_u16 {
        let response = format!("HTTP/1.1 {code} Word\r\nContent-Length: 2\r\n\r\nok");
        cases.push(respond(&format!("status/{code}"), &response, &[code], b""));
        if code % 7 == 0 {
            cases.push(respond(&format!("status/{code}-unwanted"), &response, &[code ^ 1], b""));
            cases.push(respond(&format!("status/{code}-any"), &response, &[], b""));
            cases.push(respond(&format!("status/{code}-with-body"), &response, &[code], b"ok"));
        }
    }
    for word in [
        "000", "001", "010", "099", "600", "999", "1000", "20", "2", "2000", "abc", "2x0", "+20", "-20",
        "0x8",
    ] {
        let response = format!("HTTP/1.1 {word} Word\r\nContent-Length: 0\r\n\r\n");
        cases.push(respond(&format!("status/odd/{word}"), response, &[], b""));
    }
    cases.push(respond("code-of-two-digits", "HTTP/1.1 099 Word\r\n\r\n", &[99], b""));
    cases.push(respond("code-of-five-digits", "HTTP/1.1 200 OK\r\n\r\n", &[20_000], b""));
    cases
}

fn connections() -> Vec<Case> {
    use Step::{HalfClose, Hang, ReadHead, Reset};
    let case = |name: &str, steps: Vec<Step>, body: &[u8]| {
        Case::new(format!("http/connection/{name}"), Server::Tcp(steps), check(&[200], body))
    };
    let bare =
        |name: &str, server: Server| Case::new(format!("http/connection/{name}"), server, check(&[200], b""));
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    vec![
        bare("refused", Server::Refusing),
        bare("full", Server::Full).without_end(),
        bare("silent-host", Server::Elsewhere(silent_host, 80)).without_end(),
        bare("no-route", Server::Elsewhere(routeless_host, 80)),
        case("hang-before-request", vec![Hang], b"").without_end(),
        case("hang", vec![ReadHead, Hang], b"").without_end(),
        case("closed", vec![ReadHead], b""),
        case("half-closed", vec![ReadHead, HalfClose, Hang], b""),
        case("reset", vec![ReadHead, Reset], b""),
        case("closed-in-status-line", vec![ReadHead, send("HTTP/1.1 20")], b""),
        case("closed-behind-status-line", vec![ReadHead, send("HTTP/1.1 200 OK\r\n")], b""),
        case("closed-in-field", vec![ReadHead, send("HTTP/1.1 200 OK\r\nServer: x")], b""),
        case("closed-before-empty-line", vec![ReadHead, send("HTTP/1.1 200 OK\r\nServer: x\r\n")], b""),
        case("reset-in-head", vec![ReadHead, send("HTTP/1.1 200 OK\r\nServer"), Reset], b""),
        case("hang-in-head", vec![ReadHead, send("HTTP/1.1 200 OK\r\nServer"), Hang], b"").without_end(),
        case("hang-behind-head", vec![ReadHead, send(ok), Hang], b""),
        case("hang-before-body", vec![ReadHead, send(ok), Hang], b"hello").without_end(),
        case("hang-in-body", vec![ReadHead, send(ok), send("hel"), Hang], b"hello").without_end(),
        case("hang-behind-wanted-part", vec![ReadHead, send(ok), send("hel"), Hang], b"hel"),
        case("body-in-two-parts", vec![ReadHead, send(ok), send("hel"), send("lo")], b"hello"),
        case("closed-in-body", vec![ReadHead, send(ok), send("hel")], b"hello"),
        case("closed-before-body", vec![ReadHead, send(ok)], b"hello"),
        case("reset-in-body", vec![ReadHead, send(ok), send("hel"), Reset], b"hello"),
        case("reset-behind-body", vec![ReadHead, send(ok), send("hello"), Reset], b"hello"),
        case("half-closed-behind-body", vec![ReadHead, send(ok), send("hello"), HalfClose, Hang], b"hello"),
        case("kept-open-behind-body", vec![ReadHead, send(ok), send("hello"), Hang], b"hello"),
        case(
            "slow",
            vec![ReadHead, drip("HTTP/1.1 200 OK\r\n\r\nhello", Duration::from_millis(10))],
            b"hello",
        ),
        case("slow-body", vec![ReadHead, send(ok), drip("hello", Duration::from_millis(40))], b"hello"),
        case("too-slow", vec![ReadHead, drip(ok, Duration::from_secs(1)), Hang], b"").without_end(),
        case(
            "too-slow-body",
            vec![ReadHead, send(ok), drip("hello", Duration::from_secs(1)), Hang],
            b"hello",
        )
        .without_end(),
        case(
            "endless-body",
            vec![ReadHead, send("HTTP/1.1 200 OK\r\n\r\n"), Step::Repeat(b"hello".into())],
            b"hello",
        ),
        case(
            "endless-body-wrong",
            vec![ReadHead, send("HTTP/1.1 200 OK\r\n\r\n"), Step::Repeat(b"hallo".into())],
            b"hello",
        ),
        case(
            "endless-body-not-looked-at",
            vec![ReadHead, send("HTTP/1.1 200 OK\r\n\r\n"), Step::Repeat(b"hello".into())],
            b"",
        ),
        case(
            "endless-chunks",
            vec![
                ReadHead,
                send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
                Step::Repeat(b"5\r\nhello\r\n".into()),
            ],
            b"hellohello",
        ),
        case(
            "endless-head",
            vec![
                ReadHead,
                send("HTTP/1.1 200 OK\r\n"),
                Step::Repeat([&b"X: "[..], &[b'x'; 4000], b"\r\n"].concat().into()),
            ],
            b"",
        ),
        case(
            "endless-status-line",
            vec![ReadHead, send("HTTP/1.1 200 "), Step::Repeat([b'x'; 4096][..].into())],
            b"",
        ),
        case(
            "endless-interim-responses",
            vec![ReadHead, Step::Repeat(b"HTTP/1.1 103 Early Hints\r\n\r\n".into())],
            b"",
        ),
        case(
            "response-before-request",
            vec![send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), ReadHead, Hang],
            b"",
        ),
        case(
            "two-responses",
            vec![ReadHead, send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 500 No\r\n\r\n")],
            b"",
        ),
    ]
}

fn redirects() -> Vec<Case> {
    let mut cases = Vec::new();
    for code in [300, 301, 302, 303, 304, 305, 306, 307, 308, 309] {
        for (name, location) in [
            ("path", "Location: /login\r\n"),
            ("absolute", "Location: http://other.test/\r\n"),
            ("none", ""),
            ("empty", "Location:\r\n"),
            ("blank", "Location:   \r\n"),
            ("bad-escape", "Location: /%zz\r\n"),
            ("bad-scheme", "Location: :foo\r\n"),
            ("bad-host", "Location: http://a b/\r\n"),
            ("bad-port", "Location: http://a:b/\r\n"),
            ("control-character", "Location: /a\x01b\r\n"),
            ("other-scheme", "Location: ftp://other.test/\r\n"),
            ("opaque", "Location: mailto:x@y\r\n"),
            ("not-utf-8", "Location: /\u{fc}\r\n"),
            ("twice", "Location: /a\r\nLocation: /%zz\r\n"),
            ("bad-one-first", "Location: /%zz\r\nLocation: /a\r\n"),
            ("space", "Location: /a b\r\n"),
            ("other-colon", "Location: 1:2\r\n"),
        ] {
            let response = format!("HTTP/1.1 {code} Moved\r\n{location}Content-Length: 5\r\n\r\nmoved");
            cases.push(respond(&format!("redirect/{code}/{name}"), &response, &[code], b""));
            cases.push(respond(&format!("redirect/{code}/{name}-with-body"), &response, &[code], b"moved"));
        }
    }
    cases
}
