//! UDP.

use serde_json::{Value, json};

use super::{rejecting_host, routeless_host, silent_host};
use crate::case::{Case, bytes};
use crate::serve::Server;

fn check(send: &[u8], receive: &[u8]) -> Value {
    json!({"checker_type": "udp", "send": bytes(send), "receive": bytes(receive)})
}

fn case(name: &str, replies: &[&[u8]], receive: &[u8]) -> Case {
    let replies: Vec<Vec<u8>> = replies.iter().map(|reply| reply.to_vec()).collect();
    let server = Server::datagrams(move |_| replies.clone());
    Case::new(format!("udp/{name}"), server, check(b"PING", receive))
}

pub(super) fn cases() -> Vec<Case> {
    let echo = || Server::datagrams(|packet| vec![packet.to_vec()]);
    vec![
        case("answer", &[b"PONG"], b"PONG"),
        case("answer-longer", &[b"PONG and more"], b"PONG"),
        case("answer-shorter", &[b"PON"], b"PONG"),
        case("answer-wrong", &[b"PANG"], b"PONG"),
        case("answer-empty", &[b""], b"PONG"),
        case("answer-empty-none-expected", &[b""], b""),
        case("any-answer", &[b"whatever"], b""),
        case("none-expected-none-comes", &[], b"").without_end(),
        case("silence", &[], b"PONG").without_end(),
        case("first-wrong-second-right", &[b"PANG", b"PONG"], b"PONG"),
        case("first-right-second-wrong", &[b"PONG", b"PANG"], b"PONG"),
        case("first-empty-second-right", &[b"", b"PONG"], b"PONG"),
        case("nul-is-not-nothing", &[b"PONG"], b"PONG\x00"),
        case("any-byte", &[b"\x00\xff\x80\n"], b"\x00\xff\x80\n"),
        case("long", &[&[b'z'; 9000]], &[b'z'; 8999]),
        Case::new(
            "udp/empty-request",
            Server::datagrams(|p| vec![if p.is_empty() { b"E" } else { b"F" }.to_vec()]),
            check(b"", b"E"),
        ),
        Case::new("udp/echo", echo(), check(b"b\x00\xff", b"b\x00\xff")),
        Case::new("udp/largest", echo(), check(&[b'x'; 60_000], &[b'x'; 60_000])),
        Case::new("udp/refused", Server::RefusingDatagrams, check(b"PING", b"PONG")),
        Case::new("udp/refused-none-expected", Server::RefusingDatagrams, check(b"", b"")),
        Case::new("udp/silent-host", Server::Elsewhere(silent_host, 53), check(b"PING", b"PONG"))
            .without_end(),
        Case::new("udp/told-unreachable", Server::Elsewhere(rejecting_host, 53), check(b"PING", b"PONG"))
            .without_end(),
        Case::new("udp/no-route", Server::Elsewhere(routeless_host, 53), check(b"PING", b"PONG")),
    ]
}
