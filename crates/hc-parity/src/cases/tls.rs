//! TLS handshakes, alone and below HTTP.

use std::sync::Arc;

use hc_testkit::script::Step;
use serde_json::{Value, json};

use crate::case::{Case, bytes};
use crate::serve::{Server, send};
use crate::trust::Trust;

fn check(verify: bool, send: &[u8], receive: &[u8]) -> Value {
    json!({
        "checker_type": "tcp", "secure": true, "tls_verify": verify, "send": bytes(send), "receive": bytes(receive),
    })
}

/// A TLS alert record: fatal, with this description (RFC 8446 section 6).
fn alert(description: u8) -> [u8; 7] {
    [21, 3, 1, 0, 2, 2, description]
}

pub(super) fn cases(trust: &Trust) -> Vec<Case> {
    let mut cases = identities(trust);
    cases.extend(conversations(trust));
    cases.extend(peers_that_speak_something_else());
    cases
}

/// Every kind of certificate, for its address and for a name, verified and not.
fn identities(trust: &Trust) -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, identity) in &trust.identities {
        for verify in [true, false] {
            let word = if verify { "verified" } else { "unverified" };
            let server = |steps| Server::Tls(Arc::clone(identity), steps);
            cases.push(Case::new(
                format!("tls/{word}/{name}"),
                server(vec![Step::Hang]),
                check(verify, b"", b""),
            ));
            let http = |path: &str| {
                json!({
                    "checker_type": "http", "secure": true, "tls_verify": verify, "path": path,
                    "mode": "dsr", "mark": 65536, "expected_codes": [200],
                })
            };
            let answer = Step::respond("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            for (form, path) in [
                ("address", "/"),
                ("name", "https://www.example.com/"),
                ("name-with-port", "https://www.example.com:8443/"),
                ("upper-case-name", "https://WWW.EXAMPLE.COM/"),
                ("deep-name", "https://a.b.example.com/"),
                ("stranger-name", "https://unknown.test/"),
                ("other-address", "https://192.0.2.1/"),
            ] {
                cases.push(Case::new(
                    format!("https/{word}/{name}/{form}"),
                    server(answer.clone()),
                    http(path),
                ));
            }
        }
    }
    cases
}

fn conversations(trust: &Trust) -> Vec<Case> {
    use Step::{HalfClose, Hang, Read, Reset};
    let case = |name: &str, steps: Vec<Step>, send: &[u8], receive: &[u8]| {
        let server = Server::Tls(Arc::clone(&trust.good), steps);
        Case::new(format!("tls/{name}"), server, check(true, send, receive))
    };
    vec![
        case("closed-at-once", vec![], b"", b""),
        case("greeting", vec![send("220 ok"), Hang], b"", b"220"),
        case("greeting-wrong", vec![send("421 no"), Hang], b"", b"220"),
        case("answer", vec![Read(4), send("PONG")], b"PING", b"PONG"),
        case("answer-wrong", vec![Read(4), send("PANG")], b"PING", b"PONG"),
        case("answer-part-then-closed", vec![Read(4), send("PO")], b"PING", b"PONG"),
        case("answer-part-then-half-closed", vec![Read(4), send("PO"), HalfClose, Hang], b"PING", b"PONG"),
        case("answer-then-half-closed", vec![Read(4), send("PONG"), HalfClose, Hang], b"PING", b"PONG"),
        case("answer-then-reset", vec![Read(4), send("PONG"), Reset], b"PING", b"PONG"),
        case("part-then-reset", vec![Read(4), send("PO"), Reset], b"PING", b"PONG"),
        case("closed-without-answer", vec![Read(4)], b"PING", b"PONG"),
        case("hang-after-request", vec![Read(4), Hang], b"PING", b"PONG").without_end(),
        case("long", vec![Read(40_000), send([b'z'; 40_000]), Hang], &[b'a'; 40_000], &[b'z'; 40_000]),
    ]
}

fn peers_that_speak_something_else() -> Vec<Case> {
    use Step::{HalfClose, Hang, Read, Reset};
    let http = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
    let peers = [
        ("hang", vec![Hang], true),
        ("closed", vec![Read(5)], false),
        ("half-closed", vec![Read(5), HalfClose, Hang], false),
        ("reset", vec![Read(5), Reset], false),
        ("plain-http", vec![Read(5), send(http), Hang], false),
        ("plain-smtp", vec![send("220 mail ESMTP\r\n"), Hang], false),
        ("ssh", vec![send("SSH-2.0-OpenSSH_9.6\r\n"), Hang], false),
        ("zeroes", vec![Read(5), send([0; 64]), Hang], false),
        ("part-of-a-record", vec![Read(5), send([22, 3, 3, 0, 40, 2]), Hang], true),
        ("part-of-a-record-then-closed", vec![Read(5), send([22, 3, 3, 0, 40, 2]), HalfClose, Hang], false),
        (
            "handshake-of-zeroes",
            vec![Read(5), send([[22, 3, 3, 0, 59].as_slice(), &[0; 59]].concat()), Hang],
            false,
        ),
        (
            "long-record",
            vec![Read(5), send([[22, 3, 3, 0xff, 0xff].as_slice(), &[0; 400]].concat()), Hang],
            false,
        ),
        ("application-data-first", vec![Read(5), send([23, 3, 3, 0, 1, 0]), Hang], false),
        ("old-record-version", vec![Read(5), send([22, 2, 0, 0, 1, 0]), Hang], false),
        ("alert-protocol-version", vec![Read(5), send(alert(70)), Hang], false),
        ("alert-handshake-failure", vec![Read(5), send(alert(40)), Hang], false),
        ("alert-internal-error", vec![Read(5), send(alert(80)), Hang], false),
        ("alert-unrecognized-name", vec![Read(5), send(alert(112)), Hang], false),
        ("alert-close-notify", vec![Read(5), send([21, 3, 1, 0, 2, 1, 0]), Hang], false),
        ("alert-unknown", vec![Read(5), send(alert(200)), Hang], false),
    ];
    let mut cases = Vec::new();
    for (name, steps, endless) in peers {
        let server = || Server::Tcp(steps.clone());
        let both = [
            Case::new(format!("tls/not/{name}"), server(), check(false, b"", b"")),
            Case::new(format!("https/not/{name}"), server(), json!({"checker_type": "http", "secure": true})),
        ];
        cases.extend(both.into_iter().map(|case| if endless { case.without_end() } else { case }));
    }
    cases.push(Case::new("tls/refused", Server::Refusing, check(true, b"", b"")));
    cases.push(Case::new("tls/full", Server::Full, check(true, b"", b"")).without_end());
    cases
}
