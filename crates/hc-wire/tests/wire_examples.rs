//! Every file of `wire/v1` reads, and writes back byte for byte. The Go side has the same test.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::PathBuf;

use hc_wire::{Message, ToProxy, ToServer};

fn examples() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../wire/v1");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap()))
        .collect()
}

fn round_trip<M: Message>(line: &[u8]) -> Result<Vec<u8>, hc_wire::DecodeError> {
    let message: M = hc_wire::decode(line)?;
    let mut written = Vec::new();
    hc_wire::encode(&message, &mut written).unwrap();
    Ok(written)
}

#[test]
fn every_example_reads_and_writes_back_byte_for_byte() {
    let examples = examples();
    assert!(examples.len() >= 23, "only {} examples", examples.len());
    for (name, line) in &examples {
        let written = round_trip::<ToServer>(line)
            .or_else(|_| round_trip::<ToProxy>(line))
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(line), "{name}");
    }
}

/// A message without an example is a message that only one language tests.
#[test]
fn every_message_has_an_example() {
    let types: std::collections::BTreeSet<String> = examples()
        .iter()
        .map(|(_, line)| {
            serde_json::from_slice::<serde_json::Value>(line).unwrap()["type"].as_str().unwrap().to_owned()
        })
        .collect();
    for name in [
        "ready",
        "hello",
        "update_configs",
        "update_delta",
        "request_configs",
        "rejected",
        "notification_batch",
        "refresh",
        "ack",
        "request_status",
        "status_response",
        "shutdown",
        "error",
    ] {
        assert!(types.contains(name), "no example of {name}");
    }
}

/// The two messages that were given before this project: they must read for ever.
#[test]
fn the_given_messages_are_as_they_were() {
    let file = |name: &str| examples().into_iter().find(|(n, _)| n == name).unwrap().1;
    assert_eq!(
        String::from_utf8(file("update_configs")).unwrap().trim_end(),
        r#"{"type":"update_configs","configs":[{"id":123,"interval":"5s","timeout":"1s","retries":2,"checker_type":"tcp","ip":"192.168.1.100","port":8080}]}"#
    );
    assert_eq!(
        String::from_utf8(file("notification_batch")).unwrap().trim_end(),
        r#"{"type":"notification_batch","batch":{"notifications":[{"id":123,"status":{"last_check":"2024-01-15T10:30:00Z","duration":"45ms","failures":0,"successes":10,"state":"healthy","message":"10/10 checks successful"}}]}}"#
    );
}

/// Fields that hc-proxy does not write, since no Seesaw configuration can ask for them, and that a
/// file of checks can.
#[test]
fn fields_of_no_example_read_and_write_back() {
    let line = concat!(
        r#"{"type":"update_configs","configs":[{"id":1,"interval":"5s","timeout":"3s","retries":0,"checker_type":"radius","#,
        r#""ip":"192.0.2.1","port":1812,"username":"u","secret":"s","require_message_authenticator":true}]}"#,
        "\n"
    );
    assert_eq!(String::from_utf8_lossy(&round_trip::<ToServer>(line.as_bytes()).unwrap()), line);
}
