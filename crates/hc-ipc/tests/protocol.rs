//! The protocol over a real socket, from the peer's side: sets, batches, acknowledgements, bad
//! input.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod rig;

use hc_ipc::{DeliverError, DisconnectReason, IpcEvent};
use hc_types::{CheckId, Rejection, SetChange};
use hc_wire::MAX_LINE;
use rig::{READY, check, full_set, notification, on_socket, soon};

/// The two messages that are given.
const GIVEN_SET: &str = r#"{"type":"update_configs","configs":[{"id":123,"interval":"5s","timeout":"1s","retries":2,"checker_type":"tcp","ip":"192.168.1.100","port":8080}]}"#;
const GIVEN_BATCH: &str = r#"{"type":"notification_batch","batch":{"notifications":[{"id":123,"status":{"last_check":"2024-01-15T10:30:00Z","duration":"45ms","failures":0,"successes":10,"state":"healthy","message":"10/10 checks successful"}}]}}"#;

#[tokio::test]
async fn a_peer_that_never_says_hello_gets_the_given_line_to_the_byte() {
    let mut on = on_socket().await;
    let mut client = on.connect().await;
    client.expect(READY).await;
    client.send(GIVEN_SET).await;
    assert_eq!(on.server.apply().await, (None, vec![123]));
    let handle = on.server.handle.clone();
    soon(handle.ready()).await;
    // Delivered when written: nobody acknowledges.
    for _ in 0..3 {
        let batch = vec![notification(123, "10/10 checks successful")];
        assert_eq!(soon(handle.deliver(batch, Some(5))).await, Ok(()));
        client.expect(GIVEN_BATCH).await;
    }
}

#[tokio::test]
async fn a_batch_is_delivered_when_it_is_acknowledged() {
    let mut on = on_socket().await;
    let mut client = on.greeted().await;
    let handle = on.server.handle.clone();

    let deliver = handle.deliver(vec![notification(1, "x")], Some(1));
    let peer = async {
        let batch = client.json().await;
        assert_eq!((&batch["seq"], &batch["generation"]), (&1.into(), &1.into()));
        // Another number acknowledges nothing.
        client.send(r#"{"type":"ack","seq":7}"#).await;
        client.send(r#"{"type":"ack","seq":0,"error":"x"}"#).await;
        client.send(r#"{"type":"ack","seq":1,"later":"field"}"#).await;
    };
    assert_eq!(soon(async { tokio::join!(deliver, peer) }).await.0, Ok(()));

    let deliver = handle.deliver(vec![notification(1, "x")], None);
    let peer = async {
        let batch = client.json().await;
        assert_eq!((&batch["seq"], batch.get("generation")), (&2.into(), None));
        client.send(r#"{"type":"ack","seq":2,"error":"engine: connection refused"}"#).await;
    };
    let refused = DeliverError::Refused("engine: connection refused".to_owned());
    assert_eq!(soon(async { tokio::join!(deliver, peer) }).await.0, Err(refused));

    let deliver = handle.deliver(vec![notification(1, "x")], None);
    let peer = async {
        client.json().await;
        drop(client);
    };
    assert_eq!(soon(async { tokio::join!(deliver, peer) }).await.0, Err(DeliverError::Disconnected));
    assert_eq!(on.server.disconnected().await, DisconnectReason::Closed);
    assert_eq!(handle.deliver(vec![notification(1, "x")], None).await, Err(DeliverError::NotConnected));
}

#[tokio::test]
async fn nothing_is_delivered_before_the_first_set_is_in_effect() {
    let mut on = on_socket().await;
    let handle = on.server.handle.clone();
    let not_connected = Err(DeliverError::NotConnected);
    assert_eq!(handle.deliver(vec![notification(1, "x")], None).await, not_connected);
    let mut client = on.connect().await;
    client.expect(READY).await;
    client.send(&full_set(1, &[1])).await;
    let (_, _, reply) = on.server.set().await;
    assert_eq!(handle.deliver(vec![notification(1, "x")], None).await, not_connected);
    assert!(handle.is_connected());
    reply.applied(Vec::new());
    soon(handle.ready()).await;
    assert_eq!(soon(handle.deliver(vec![notification(1, "x")], None)).await, Ok(()));
}

#[tokio::test]
async fn bad_lines_are_answered_and_the_next_line_is_read() {
    let mut on = on_socket().await;
    let mut client = on.greeted().await;
    // On this connection two lines came before.
    for (number, line, code, text) in [
        (3, "garbage", "malformed", "column 1: expected value"),
        (4, "{\"type\":\"ack\"", "malformed", "column 13: EOF while parsing an object"),
        (5, "[]", "malformed", "column 2: invalid length 0, expected struct Tag with 1 element"),
        (6, "{}", "malformed", "column 2: missing field `type`"),
        (7, r#"{"type":"ack"}"#, "malformed", "column 14: missing field `seq`"),
        (
            8,
            r#"{"type":"ack","seq":-1}"#,
            "malformed",
            "column 22: invalid value: integer `-1`, expected u64",
        ),
        (
            9,
            r#"{"type":"ack","seq":1.0}"#,
            "malformed",
            "column 23: invalid type: floating point `1.0`, expected u64",
        ),
        (10, r#"{"type":"dance"}"#, "unknown_type", "unknown message type \"dance\""),
        (
            11,
            r#"{"type":"ready","protocol":1,"version":"1"}"#,
            "unknown_type",
            "unknown message type \"ready\"",
        ),
        (12, r#"{"type":"update_configs"}"#, "malformed", "column 25: missing field `configs`"),
        (13, r#"{"type":"update_delta","generation":2}"#, "malformed", "column 38: missing field `base`"),
        (14, r#"{"type":"update_configs","configs":[],"part":2}"#, "malformed", ""),
    ] {
        client.send(line).await;
        let answer = client.json().await;
        assert_eq!((answer["type"].as_str(), answer["code"].as_str()), (Some("error"), Some(code)), "{line}");
        let separator = if text.starts_with("column") { ", " } else { ": " };
        let expected = match text {
            "" => "part: 2 of none makes no sense".to_owned(),
            text => format!("line {number}{separator}{text}"),
        };
        assert_eq!(answer["message"].as_str(), Some(expected.as_str()), "{line}");
    }
    client.send_bytes(b"{\"type\":\"\xff\xfe\"}\n").await;
    assert_eq!(client.json().await["code"], "malformed");
    client.send(&full_set(2, &[5])).await;
    assert_eq!(on.server.apply().await, (Some(2), vec![5]));
}

#[tokio::test]
async fn an_oversized_line_is_skipped_and_answered() {
    let mut on = on_socket().await;
    let mut client = on.greeted().await;
    for length in [MAX_LINE, 5 * MAX_LINE] {
        client.send_bytes(&vec![b'x'; length]).await;
        client.send_bytes(b"\n").await;
        assert_eq!(client.json().await["code"], "line_too_long");
    }
    // The longest line that is allowed.
    let set = full_set(2, &[5]);
    client.send(&format!("{set}{}", " ".repeat(MAX_LINE - 1 - set.len()))).await;
    assert_eq!(on.server.apply().await, (Some(2), vec![5]));
}

#[tokio::test]
async fn half_a_line_before_the_end_is_dropped() {
    let mut on = on_socket().await;
    let mut client = on.greeted().await;
    client.send_bytes(&full_set(2, &[5]).as_bytes()[..60]).await;
    drop(client);
    assert_eq!(on.server.disconnected().await, DisconnectReason::Closed);
    // Without its end, a whole object is half a line too.
    let mut client = on.connect().await;
    client.send(rig::HELLO).await;
    client.send_bytes(full_set(2, &[5]).as_bytes()).await;
    drop(client);
    assert_eq!(on.server.disconnected().await, DisconnectReason::Closed);
}

#[tokio::test]
async fn a_set_followed_by_the_end_takes_effect() {
    let mut on = on_socket().await;
    for _ in 0..50 {
        let mut client = on.connect().await;
        client.send(&full_set(2, &[5])).await;
        drop(client);
        assert_eq!(on.server.apply().await, (Some(2), vec![5]));
        on.server.disconnected().await;
    }
}

#[tokio::test]
async fn unknown_fields_and_empty_lines_are_ignored() {
    let mut on = on_socket().await;
    let mut client = on.connect().await;
    client.expect(READY).await;
    client.send(r#"{"color":"red","type":"hello","protocol":1,"version":"9.9","more":{"a":[1]}}"#).await;
    client.send("").await;
    client.send("  ").await;
    let odd = check(7).replace("{\"id\"", "{\"shoe_size\":44,\"id\"");
    client.send(&format!(r#"{{"configs":[{odd}],"x":null,"generation":3,"type":"update_configs"}}"#)).await;
    assert_eq!(on.server.apply().await, (Some(3), vec![7]));
}

#[tokio::test]
async fn another_protocol_is_answered_and_closed() {
    let mut on = on_socket().await;
    let mut client = on.connect().await;
    client.expect(READY).await;
    client.send(r#"{"type":"hello","protocol":2,"version":"2.0"}"#).await;
    client
        .expect(r#"{"type":"error","code":"protocol","message":"this server speaks protocol 1, not 2"}"#)
        .await;
    assert_eq!(client.next().await, None);
    // It never took a place. One that says so later loses its own.
    let mut client = on.greeted().await;
    client.send(r#"{"type":"hello","protocol":2,"version":"2.0"}"#).await;
    assert_eq!(client.json().await["code"], "protocol");
    assert_eq!(client.next().await, None);
    assert_eq!(on.server.disconnected().await, DisconnectReason::Protocol(2));
}

#[tokio::test]
async fn what_does_not_run_is_told() {
    let mut on = on_socket().await;
    let mut client = on.greeted().await;
    let bad = check(8).replace("5s", "0s");
    client
        .send(&format!(
            r#"{{"type":"update_configs","generation":2,"configs":[{},{bad},{},7]}}"#,
            check(9),
            check(10)
        ))
        .await;
    let (change, mut rejected, reply) = on.server.set().await;
    assert_eq!(rejected.len(), 2);
    let SetChange::Full { checks, .. } = change else { panic!() };
    assert_eq!(checks.len(), 2);
    // The owner may have reasons of its own.
    rejected.push(Rejection { id: Some(CheckId(10)), reason: "not today".to_owned() });
    reply.applied(rejected);
    let told = client.json().await;
    assert_eq!((told["type"].as_str(), &told["generation"]), (Some("rejected"), &2.into()));
    let checks = told["checks"].as_array().unwrap();
    assert_eq!((&checks[0]["id"], &checks[0]["reason"]), (&8.into(), &"interval: must be above 0".into()));
    assert!(checks[1]["id"].is_null());
    assert_eq!((&checks[2]["id"], &checks[2]["reason"]), (&10.into(), &"not today".into()));
}

#[tokio::test]
async fn a_delta_changes_the_set_and_one_without_its_base_is_asked_about() {
    let mut on = on_socket().await;
    let mut client = on.greeted().await;
    // Sent in one go with the set that it builds upon.
    let delta = format!(
        r#"{{"type":"update_delta","generation":3,"base":2,"upsert":[{}],"remove":[5,6]}}"#,
        check(5)
    );
    client.send(&format!("{}\n{delta}", full_set(2, &[6]))).await;
    assert_eq!(on.server.apply().await, (Some(2), vec![6]));
    let (change, _, reply) = on.server.set().await;
    let SetChange::Delta { generation, upsert, remove } = change else { panic!("{change:?}") };
    // An id in both lists is left to whoever takes the proposal (`hc-sources`).
    let removed = vec![CheckId(5), CheckId(6)];
    assert_eq!((generation, upsert[0].0, upsert.len(), remove), (Some(3), CheckId(5), 1, removed));
    reply.applied(Vec::new());

    client.send(r#"{"type":"update_delta","generation":4,"base":2}"#).await;
    client.expect(r#"{"type":"request_configs","reason":"set 2, which the delta to set 4 builds upon, is not in effect"}"#).await;
    client.send(&full_set(5, &[1])).await;
    assert_eq!(on.server.apply().await, (Some(5), vec![1]));

    // Another connection knows nothing of it.
    let mut next = on.connect().await;
    next.expect(READY).await;
    next.send(r#"{"type":"update_delta","generation":6,"base":5}"#).await;
    assert_eq!(next.json().await["type"], "request_configs");
}

#[tokio::test]
async fn a_set_in_parts_arrives_whole() {
    let mut on = on_socket().await;
    let mut client = on.greeted().await;
    for part in 1..=3 {
        let line = full_set(2, &[part, part + 10])
            .replace("\"configs\"", &format!("\"part\":{part},\"parts\":3,\"configs\""));
        client.send(&line).await;
    }
    assert_eq!(on.server.apply().await, (Some(2), vec![1, 11, 2, 12, 3, 13]));
    client.send(&full_set(3, &[])).await;
    assert_eq!(on.server.apply().await, (Some(3), vec![]));
}

#[tokio::test]
async fn statuses_come_when_asked_for_in_as_many_lines_as_they_need() {
    let mut on = on_socket().await;
    let mut client = on.greeted().await;
    client.send(r#"{"type":"request_status"}"#).await;
    on.server.status_request().await.statuses(vec![notification(1, "x")]);
    let answer = client.json().await;
    assert_eq!((answer["statuses"][0]["id"].as_u64(), answer.get("part")), (Some(1), None));

    client.send(r#"{"type":"request_status"}"#).await;
    let text = "x".repeat(1000);
    let many = (0..4000).map(|id| notification(id, &text)).collect();
    let reply = on.server.status_request().await;
    // Asked again, and again, before the answer: one more answer.
    for _ in 0..2 {
        client.send(r#"{"type":"request_status"}"#).await;
    }
    // The set that follows shows that both have been read.
    client.send(&full_set(2, &[])).await;
    assert_eq!(on.server.apply().await, (Some(2), vec![]));
    reply.statuses(many);
    let mut ids = Vec::new();
    let mut part = 0;
    loop {
        let line = client.line().await;
        assert!(line.len() < MAX_LINE);
        let answer: serde_json::Value = serde_json::from_str(&line).unwrap();
        part += 1;
        assert_eq!(answer["part"], part);
        ids.extend(
            answer["statuses"].as_array().unwrap().iter().map(|status| status["id"].as_u64().unwrap()),
        );
        if answer["parts"] == part {
            break;
        }
    }
    assert!(part > 1);
    assert_eq!(ids, (0..4000).collect::<Vec<_>>());
    drop(on.server.status_request().await);
    assert_eq!(client.json().await["code"], "internal");
    client.send(&full_set(3, &[])).await;
    assert_eq!(on.server.apply().await, (Some(3), vec![]));
}

#[tokio::test]
async fn a_batch_that_does_not_fit_into_a_line_is_acknowledged_piece_by_piece() {
    let mut on = on_socket().await;
    let mut client = on.greeted().await;
    let handle = on.server.handle.clone();
    let text = "\u{1}".repeat(1000);
    let batch: Vec<_> = (0..1000).map(|id| notification(id, &text)).collect();
    for failing in [None, Some(2)] {
        let deliver = handle.deliver(batch.clone(), Some(1));
        let peer = async {
            let mut ids = Vec::new();
            let mut pieces = 0;
            while ids.len() < 1000 {
                let line = client.line().await;
                assert!(line.len() < MAX_LINE);
                let piece: serde_json::Value = serde_json::from_str(&line).unwrap();
                let told = piece["batch"]["notifications"].as_array().unwrap();
                ids.extend(told.iter().map(|told| told["id"].as_u64().unwrap()));
                pieces += 1;
                let error = if failing == Some(pieces) { r#","error":"gone""# } else { "" };
                client.send(&format!(r#"{{"type":"ack","seq":{}{error}}}"#, piece["seq"])).await;
                if !error.is_empty() {
                    break;
                }
            }
            ids
        };
        let (delivered, ids) = soon(async { tokio::join!(deliver, peer) }).await;
        if failing.is_some() {
            assert_eq!(delivered, Err(DeliverError::Refused("gone".to_owned())));
        } else {
            assert_eq!((delivered, ids), (Ok(()), (0..1000).collect::<Vec<_>>()));
        }
    }
}

#[tokio::test]
async fn the_peer_may_leave_on_purpose() {
    let mut on = on_socket().await;
    let mut client = on.greeted().await;
    client.send(r#"{"type":"error","code":"from_the_future","message":"just saying"}"#).await;
    client.send(r#"{"type":"shutdown"}"#).await;
    assert_eq!(client.next().await, None);
    assert_eq!(on.server.disconnected().await, DisconnectReason::Shutdown);
    on.greeted().await;
}

#[tokio::test]
async fn a_set_that_is_not_applied_ends_the_connection() {
    let mut on = on_socket().await;
    let mut client = on.greeted().await;
    client.send(&full_set(2, &[1])).await;
    drop(on.server.set().await);
    assert_eq!(client.json().await["code"], "internal");
    assert_eq!(client.next().await, None);
    assert_eq!(on.server.disconnected().await, DisconnectReason::NotApplied);
}

#[tokio::test]
async fn the_owner_knows_who_is_connected() {
    let mut on = on_socket().await;
    let mut client = on.connect().await;
    client.send(rig::HELLO).await;
    let IpcEvent::Connected { peer } = on.server.event().await else { panic!() };
    assert_eq!(peer.pid.map(i32::cast_unsigned), Some(std::process::id()));
}
