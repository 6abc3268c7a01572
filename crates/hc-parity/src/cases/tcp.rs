//! TCP without TLS.

use std::time::Duration;

use hc_testkit::script::Step;
use serde_json::{Value, json};

use super::{rejecting_host, routeless_host, silent_host};
use crate::case::{Case, bytes};
use crate::serve::{Server, drip, send};

fn check(send: &[u8], receive: &[u8]) -> Value {
    json!({"checker_type": "tcp", "send": bytes(send), "receive": bytes(receive)})
}

fn case(name: &str, steps: Vec<Step>, send: &[u8], receive: &[u8]) -> Case {
    Case::new(format!("tcp/{name}"), Server::Tcp(steps), check(send, receive))
}

fn bare(name: &str, server: Server) -> Case {
    Case::new(format!("tcp/{name}"), server, check(b"", b""))
}

pub(super) fn cases() -> Vec<Case> {
    use Step::{HalfClose, Hang, Read, Reset};
    let read = Read;
    vec![
        bare("open", Server::Tcp(vec![Hang])),
        bare("open-and-closed", Server::Tcp(vec![])),
        bare("refused", Server::Refusing),
        bare("full", Server::Full).without_end(),
        bare("silent", Server::Elsewhere(silent_host, 80)).without_end(),
        bare("told-unreachable", Server::Elsewhere(rejecting_host, 80)).without_end(),
        bare("no-route", Server::Elsewhere(routeless_host, 80)),
        Case::new("tcp/refused-with-words", Server::Refusing, check(b"x", b"y")),
        case("hang", vec![Hang], b"", b"220").without_end(),
        case("hang-after-request", vec![read(4), Hang], b"PING", b"PONG").without_end(),
        case("greeting", vec![send("220 ok\r\n"), Hang], b"", b"220"),
        case("greeting-whole", vec![send("220 ok\r\n"), Hang], b"", b"220 ok\r\n"),
        case("greeting-wrong", vec![send("421 no\r\n"), Hang], b"", b"220"),
        case("greeting-short-then-closed", vec![send("22")], b"", b"220"),
        case("greeting-wrong-and-short", vec![send("4")], b"", b"220"),
        case("greeting-short-then-hang", vec![send("22"), Hang], b"", b"220").without_end(),
        case("greeting-wrong-then-hang", vec![send("4"), Hang], b"", b"220").without_end(),
        case("closed-before-a-byte", vec![], b"", b"220"),
        case("half-closed", vec![HalfClose, Hang], b"", b"220"),
        case("half-closed-after-answer", vec![read(4), send("PONG"), HalfClose, Hang], b"PING", b"PONG"),
        case("half-closed-part-way", vec![read(4), send("PO"), HalfClose, Hang], b"PING", b"PONG"),
        case("reset-after-request", vec![read(4), Reset], b"PING", b"PONG"),
        case("reset-after-part", vec![read(4), send("PO"), Reset], b"PING", b"PONG"),
        case("answered-then-reset", vec![read(4), send("PONG"), Reset], b"PING", b"PONG"),
        case("answer", vec![read(4), send("PONG")], b"PING", b"PONG"),
        case("answer-and-more", vec![read(4), send("PONG and more"), Hang], b"PING", b"PONG"),
        case("answer-wrong", vec![read(4), send("PANG")], b"PING", b"PONG"),
        case("answer-other-case", vec![read(4), send("pong")], b"PING", b"PONG"),
        case("answer-slow", vec![read(4), drip("PONG", Duration::from_millis(20))], b"PING", b"PONG"),
        case("answer-too-slow", vec![read(4), drip("PONG", Duration::from_secs(1)), Hang], b"PING", b"PONG")
            .without_end(),
        case("answer-endless", vec![read(4), Step::Repeat(b"PONG".into())], b"PING", b"PONGPONGPONG"),
        case("answer-endless-wrong", vec![read(4), Step::Repeat(b"PING".into())], b"PING", b"PONG"),
        case("send-alone", vec![read(4), Hang], b"PING", b""),
        case("send-alone-closed", vec![read(4)], b"PING", b""),
        case("send-alone-unread", vec![Hang], b"PING", b""),
        case("any-byte", vec![read(3), send(b"\x00\xff\x80\n"), Hang], b"b\x00\xff", b"\x00\xff\x80\n"),
        case("nul-is-not-nothing", vec![read(1), send("ab")], b"x", b"ab\x00"),
        case("long", vec![read(20_000), send([b'z'; 20_000]), Hang], &[b'a'; 20_000], &[b'z'; 20_000]),
        case(
            "long-wrong-at-the-end",
            vec![read(1), send([&[b'z'; 19_999][..], b"y"].concat()), Hang],
            b"x",
            &[b'z'; 20_000],
        ),
    ]
}
