//! ICMP echo, against hosts that answer in their own way. The kernel's own answers are switched
//! off.

use hc_testkit::icmp::{EchoReply, EchoRequest};
use serde_json::json;

use super::{rejecting_host, routeless_host, silent_host};
use crate::case::Case;
use crate::serve::{Echoes, Server};

fn case(name: &str, server: Server) -> Case {
    Case::new(format!("icmp/{name}"), server, json!({"checker_type": "icmp"}))
}

pub(super) fn cases() -> Vec<Case> {
    let right: Echoes = |request| vec![request.reply()];
    let twice: Echoes = |request| vec![request.reply(), request.reply()];
    let never: Echoes = |_| Vec::new();
    let wrong_id: Echoes = |request| vec![request.reply().wrong_id()];
    let wrong_sequence: Echoes = |request| vec![request.reply().wrong_sequence()];
    let late_one_first: Echoes = |request| vec![request.reply().wrong_sequence(), request.reply()];
    let wrong_checksum: Echoes = |request| vec![checksum_spoilt(request)];
    let longer_first: Echoes = |request| vec![request.reply().wrong_id().longer(100), request.reply()];
    vec![
        case("up", Server::Echo(right)),
        case("answered-twice", Server::Echo(twice)),
        case("down", Server::Echo(never)).without_end(),
        case("wrong-id", Server::Echo(wrong_id)).without_end(),
        case("wrong-sequence", Server::Echo(wrong_sequence)).without_end(),
        case("late-one-first", Server::Echo(late_one_first)),
        case("wrong-checksum", Server::Echo(wrong_checksum)).without_end(),
        case("longer-packet-first", Server::Echo(longer_first)),
        case("silent-host", Server::Elsewhere(silent_host, 0)).without_end(),
        case("told-unreachable", Server::Elsewhere(rejecting_host, 0)).without_end(),
        case("no-route", Server::Elsewhere(routeless_host, 0)),
    ]
}

/// Over IPv6 the kernel writes the checksum, so there the reply is just missing.
fn checksum_spoilt(request: &EchoRequest) -> EchoReply {
    if request.from.is_ipv4() { request.reply().wrong_checksum() } else { request.reply().wrong_id() }
}
