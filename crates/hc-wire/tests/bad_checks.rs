//! A bad check is rejected alone, with a reason that names its field.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use hc_types::{CheckId, CheckSpec, Dialogue, DialogueProbe, ProbeSpec, Rejection, Target, Timing};
use hc_wire::{CheckLine, ToServer, decode, parse_check};

const GOOD: &str =
    r#"{"id":1,"interval":"5s","timeout":"1s","retries":2,"checker_type":"tcp","ip":"192.0.2.1","port":80}"#;

/// The good check with some fields replaced or added.
fn with(changes: &str) -> String {
    let mut object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(GOOD).unwrap();
    let changes: serde_json::Map<String, serde_json::Value> = serde_json::from_str(changes).unwrap();
    object.extend(changes);
    serde_json::to_string(&object).unwrap()
}

#[track_caller]
fn rejected(changes: &str, reason: &str) {
    let Rejection { id, reason: got } = parse_check(&with(changes)).unwrap_err();
    assert_eq!(got, reason);
    assert_eq!(id, Some(CheckId(1)));
}

#[test]
fn reasons_name_the_field() {
    rejected(r#"{"interval":"0s"}"#, "interval: must be above 0");
    rejected(r#"{"interval":"-5s"}"#, "interval: must be above 0");
    rejected(r#"{"timeout":"-1s"}"#, "timeout: must be above 0");
    rejected(r#"{"timeout":"soon"}"#, "timeout: \"soon\" is not a duration: expected number at 0");
    rejected(r#"{"interval":"48h"}"#, "interval: must be at most 24h");
    rejected(r#"{"retries":-1}"#, "retries: -1 is not in 0 to 4294967295");
    rejected(r#"{"port":70000}"#, "port: 70000 is not in 1 to 65535");
    rejected(r#"{"port":0}"#, "port: must be 1 to 65535");
    rejected(r#"{"ip":"localhost"}"#, "ip: \"localhost\" is not an IP address");
    rejected(r#"{"ip":""}"#, "ip: \"\" is not an IP address");
    rejected(r#"{"ip":"0.0.0.0"}"#, "ip: 0.0.0.0 is the unspecified address, which no backend has");
    rejected(r#"{"ip":"::"}"#, "ip: :: is the unspecified address, which no backend has");
    rejected(
        r#"{"ip":"::ffff:224.0.0.1"}"#,
        "ip: 224.0.0.1 is a multicast address, from which no backend answers",
    );
    rejected(
        r#"{"ip":"255.255.255.255"}"#,
        "ip: 255.255.255.255 is the broadcast address, which no backend has",
    );
    rejected(
        r#"{"ip":"fe80::1"}"#,
        "ip: fe80::1 is a link-local address, which needs an interface, and a check cannot name one",
    );
    rejected(r#"{"ip":"fe80::1%eth0"}"#, "ip: \"fe80::1%eth0\" names a zone, which a check cannot have");
    rejected(r#"{"checker_type":"carrier_pigeon"}"#, "checker_type: \"carrier_pigeon\" is not known");
    rejected(r#"{"checker_type":"http","method":"GE T"}"#, "method: \"GE T\" is not an HTTP method");
    rejected(
        r#"{"checker_type":"http","expected_codes":[99999]}"#,
        "expected_codes: 99999 is not in 100 to 999",
    );
    rejected(r#"{"checker_type":"dns"}"#, "query: missing");
    rejected(
        r#"{"checker_type":"dns","query":"x","expected_ips":["x"]}"#,
        "expected_ips: \"x\" is not an IP address",
    );
    rejected(
        r#"{"checker_type":"radius","username":"u","secret":"s","expected_response":"Accept"}"#,
        "expected_response: \"Accept\" is none of accept, reject, challenge, any",
    );
    rejected(r#"{"mode":"dsr"}"#, "mark: mode dsr and tun need one, from 1 to 4294967295");
    rejected(r#"{"mode":"dsr","mark":0}"#, "mark: mode dsr and tun need one, from 1 to 4294967295");
}

#[test]
fn a_field_of_the_wrong_kind_is_named_too() {
    let reason = parse_check(&with(r#"{"port":"http"}"#)).unwrap_err().reason;
    assert!(reason.starts_with("port: "), "{reason}");
    let reason = parse_check(&with(r#"{"receive":{"base64":"%%"}}"#)).unwrap_err().reason;
    assert!(reason.starts_with("receive: base64"), "{reason}");
}

#[test]
fn an_unreadable_id_is_null() {
    for id in ["\"7\"", "-1", "1.5", "18446744073709551616"] {
        let rejection = parse_check(&GOOD.replacen('1', id, 1)).unwrap_err();
        assert_eq!(rejection.id, None, "{id}");
        assert!(rejection.reason.starts_with("id: "), "{}", rejection.reason);
    }
    assert_eq!(parse_check("{}").unwrap_err(), Rejection { id: None, reason: "id: missing".to_owned() });
}

#[test]
fn neighbours_of_a_bad_check_stand() {
    let bad = [with(r#"{"interval":"0s","id":2}"#), "7".to_owned(), "null".to_owned(), "{}".to_owned()];
    for bad in bad {
        let line = format!(r#"{{"type":"update_configs","configs":[{GOOD},{bad},{GOOD}]}}"#);
        let ToServer::UpdateConfigs(update) = decode(line.as_bytes()).unwrap() else { panic!() };
        let stand: Vec<bool> = update.configs.iter().map(Result::is_ok).collect();
        assert_eq!(stand, [true, false, true], "{bad}");
    }
}

#[test]
fn unknown_fields_are_ignored() {
    assert!(parse_check(&with(r#"{"colour":"green","nested":{"id":9}}"#)).is_ok());
}

/// hc-server never sends one; a program that tries is told.
#[test]
fn what_the_protocol_cannot_say_is_not_written() {
    let agent = DialogueProbe { tls: None, dialogue: Dialogue::Agent { send: "".into() } };
    let probe = ProbeSpec::Dialogue(Box::new(agent));
    let spec = CheckSpec::new(Target::plain([192, 0, 2, 1].into(), 1), probe, Timing::default()).unwrap();
    let line = CheckLine { id: CheckId(1), spec: spec.into() };
    let error = serde_json::to_string(&line).unwrap_err();
    assert_eq!(error.to_string(), "a dialogue cannot be said in protocol 1");
}
