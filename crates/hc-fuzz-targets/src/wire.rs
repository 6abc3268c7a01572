//! Lines of the protocol between hc-proxy and hc-server, and the checks in them.

use std::fmt::Debug;

use hc_types::{Failure, Outcome, Phase};
use hc_wire::{CheckEntry, MAX_LINE, Message, ToProxy, ToServer, decode, encode};
use serde_json::value::RawValue;

/// A line of hc-proxy: what is read writes to one line, which reads as the same message.
pub fn wire_to_server(data: &[u8]) {
    let Ok(mut message) = decode::<ToServer>(data) else { return };
    // Nobody writes a check that it knows to be wrong.
    match &mut message {
        ToServer::UpdateConfigs(update) => keep_good(&mut update.configs),
        ToServer::UpdateDelta(update) => keep_good(&mut update.upsert),
        _ => {}
    }
    check_stable(&message);
}

/// A line of hc-server, likewise.
pub fn wire_to_proxy(data: &[u8]) {
    if let Ok(message) = decode::<ToProxy>(data) {
        check_stable(&message);
    }
}

/// A check by itself: it means the same alone and within a set, and what is read writes to what
/// reads the same, under the same key.
pub fn parse_check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let entry = hc_wire::parse_check(text);
    if let Ok(json) = serde_json::from_str::<&RawValue>(text) {
        let set = format!("{{\"type\":\"update_configs\",\"configs\":[{}]}}", json.get());
        match decode::<ToServer>(set.as_bytes()) {
            Ok(ToServer::UpdateConfigs(update)) => {
                assert_eq!(update.configs, [hc_wire::parse_check(json.get())])
            }
            other => panic!("a check spoils its set: {other:?}"),
        }
    }
    let line = match &entry {
        Ok(line) => line,
        Err(rejection) => return assert!(!rejection.reason.is_empty()),
    };
    let written = serde_json::to_string(line).expect("a check is written");
    let again = hc_wire::parse_check(&written).expect("what is written is a check");
    assert_eq!(*line, again);
    assert_eq!(line.spec.key(), again.spec.key());
    assert!(line.spec.same_key(&again.spec));
    for outcome in [Outcome::PASS, Failure::Refused.into(), Failure::timeout(Phase::Response).into()] {
        assert!(!line.spec.text(&outcome).is_empty());
    }
}

fn keep_good(entries: &mut Vec<CheckEntry>) {
    assert!(
        entries.iter().flat_map(|entry| entry.as_ref().err()).all(|rejection| !rejection.reason.is_empty())
    );
    entries.retain(Result::is_ok);
}

fn check_stable<M: Message + Debug + PartialEq>(message: &M) {
    let mut line = Vec::new();
    encode(message, &mut line).expect("what was read can be written");
    assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1), "one line");
    let again = decode::<M>(&line).expect("what was written can be read");
    assert_eq!(*message, again);
    let mut twice = b"before".to_vec();
    encode(&again, &mut twice).expect("what was read can be written");
    assert_eq!(twice[6..], line);
    assert!(line.len() <= MAX_LINE * 8, "a line grows without measure");
}
