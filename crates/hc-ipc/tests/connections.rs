//! Connections that come, go, hang and are cut at the worst moment.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod rig;

use std::time::Duration;

use hc_ipc::{DeliverError, DisconnectReason, IpcConfig};
use hc_wire::Notification;
use rig::{Client, HELLO, READY, Server, check, full_set, notification, on_socket, soon};
use tokio::time::Instant;

#[tokio::test]
async fn a_newer_connection_replaces_the_older_one() {
    let mut on = on_socket().await;
    let mut old = on.greeted().await;
    let handle = on.server.handle.clone();
    let mut new = None;
    let deliver = handle.deliver(vec![notification(1, "x")], Some(1));
    let replace = async {
        old.json().await;
        let mut newer = on.connect().await;
        newer.send(HELLO).await;
        new = Some(newer);
        old.expect(
            r#"{"type":"error","code":"replaced","message":"a newer connection took the place of this one"}"#,
        )
        .await;
        assert_eq!(old.next().await, None);
    };
    let (delivered, ()) = soon(async { tokio::join!(deliver, replace) }).await;
    assert_eq!(delivered, Err(DeliverError::Disconnected));
    // What was in effect on the old one is not on the new one.
    assert_eq!(handle.deliver(vec![notification(1, "x")], Some(1)).await, Err(DeliverError::NotConnected));
    new.unwrap().greet(&mut on.server).await;
}

#[tokio::test]
async fn many_connections_at_once_leave_the_last_one_served() {
    let mut on = on_socket().await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        let mut client = on.connect().await;
        client.send(HELLO).await;
        idle.push(client);
    }
    let mut last = on.connect().await;
    last.greet(&mut on.server).await;
    for mut client in idle {
        while client.next().await.is_some() {}
    }
}

/// Each has more to write than its peer reads, so it takes the whole farewell to close it.
#[tokio::test(start_paused = true)]
async fn twenty_four_connections_are_open_at_once_and_more_wait() {
    let (mut server, dialer) = Server::in_memory();
    let start = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..24 {
        let mut client = Client::new(dialer.connect().await.unwrap());
        client.greet(&mut server).await;
        client.send(r#"{"type":"request_status"}"#).await;
        server.status_request().await.statuses(many());
        clients.push(client);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    Client::new(dialer.connect().await.unwrap()).expect(READY).await;
    assert_eq!(start.elapsed(), IpcConfig::new("1.0").farewell);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_older_connection_is_not_that_of_the_newer_one() {
    let (mut server, dialer) = Server::in_memory();
    let mut old = Client::new(dialer.connect().await.unwrap());
    old.greet(&mut server).await;
    // Its end takes the whole farewell.
    old.send(r#"{"type":"request_status"}"#).await;
    server.status_request().await.statuses(many());
    let mut new = Client::new(dialer.connect().await.unwrap());
    new.greet(&mut server).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(server.handle.is_connected());
    soon(server.handle.ready()).await;
}

#[tokio::test]
async fn a_line_that_arrives_slowly_survives_what_is_sent_meanwhile() {
    let mut on = on_socket().await;
    let mut client = on.connect().await;
    client.expect(READY).await;
    client.send(&full_set(1, &[])).await;
    on.server.apply().await;
    let handle = on.server.handle.clone();
    soon(handle.ready()).await;
    let ids: Vec<u64> = (0..2000).collect();
    let line = full_set(2, &ids) + "\n";
    for piece in line.as_bytes().chunks(1000) {
        client.send_bytes(piece).await;
        soon(handle.deliver(vec![notification(1, "x")], None)).await.unwrap();
        assert_eq!(client.json().await["type"], "notification_batch");
    }
    assert_eq!(on.server.apply().await, (Some(2), ids));
}

#[tokio::test]
async fn a_conversation_may_be_cut_after_any_byte() {
    let mut on = on_socket().await;
    let script = format!(
        "{HELLO}\n{}\n{{\"type\":\"request_status\"}}\n{{\"type\":\"update_delta\",\"generation\":6,\"base\":5,\"upsert\":[{}]}}\n{{\"type\":\"ack\",\"seq\":1}}\n",
        full_set(5, &[1, 2]),
        check(3)
    );
    let ends: Vec<usize> = script.match_indices('\n').map(|(at, _)| at).collect();
    for cut in 0..=script.len() {
        let mut client = on.connect().await;
        client.send_bytes(&script.as_bytes()[..cut]).await;
        drop(client);
        // Exactly what was whole takes effect.
        if cut > ends[1] {
            assert_eq!(on.server.apply().await, (Some(5), vec![1, 2]));
        }
        if cut > ends[2] {
            on.server.status_request().await.statuses(vec![notification(1, "x")]);
        }
        // The first line says what the connection is for; before it there is nothing to hear of.
        if cut <= ends[0] {
            continue;
        }
        if cut > ends[3] {
            let (change, _, reply) = on.server.set().await;
            assert_eq!(change.generation(), Some(6));
            reply.applied(Vec::new());
        }
        on.server.disconnected().await;
    }
    on.greeted().await;
}

#[tokio::test]
async fn the_end_of_the_server_closes_what_is_open() {
    let mut on = on_socket().await;
    let mut client = on.greeted().await;
    let path = on.path.clone();
    on.server.end().await;
    assert_eq!(client.next().await, None);
    assert!(!path.exists());
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_a_peer_that_does_not_read_for_the_farewell_only() {
    let (mut server, dialer) = Server::in_memory();
    let mut client = Client::new(dialer.connect().await.unwrap());
    client.greet(&mut server).await;
    client.send(r#"{"type":"request_status"}"#).await;
    server.status_request().await.statuses(many());
    client.send(&full_set(2, &[])).await;
    assert_eq!(server.apply().await, (Some(2), vec![]));
    let before = Instant::now();
    server.end().await;
    assert!(before.elapsed() <= Duration::from_secs(1), "{:?}", before.elapsed());
}

/// More than fits into any buffer on the way.
fn many() -> Vec<Notification> {
    let text = "x".repeat(1000);
    (0..20_000).map(|id| notification(id, &text)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_batch_without_acknowledgement_fails_after_thirty_seconds() {
    let (mut server, dialer) = Server::in_memory();
    let mut client = Client::new(dialer.connect().await.unwrap());
    client.greet(&mut server).await;
    let before = Instant::now();
    let timeout = Duration::from_secs(30);
    let failed = soon(server.handle.deliver(vec![notification(1, "x")], Some(1))).await;
    assert_eq!(failed, Err(DeliverError::AckTimeout(timeout)));
    assert_eq!(failed.unwrap_err().to_string(), "no acknowledgement within 30 s");
    assert_eq!(before.elapsed(), timeout);
    assert_eq!(client.json().await["seq"], 1);

    // An answer that comes too late is not taken for one to the next batch.
    client.send(r#"{"type":"ack","seq":1,"error":"late"}"#).await;
    let deliver = server.handle.deliver(vec![notification(1, "x")], Some(1));
    let peer = async {
        assert_eq!(client.json().await["seq"], 2);
        client.send(r#"{"type":"ack","seq":2}"#).await;
    };
    assert_eq!(tokio::join!(deliver, peer).0, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_slowly_is_still_heard() {
    let (mut server, dialer) = Server::in_memory();
    let mut client = Client::new(dialer.connect().await.unwrap());
    client.greet(&mut server).await;
    client.send(r#"{"type":"request_status"}"#).await;
    server.status_request().await.statuses(many());
    // It reads nothing, and its sets take effect.
    for generation in 2..20 {
        client.send(&full_set(generation, &[generation])).await;
        assert_eq!(server.apply().await, (Some(generation), vec![generation]));
    }
    // A batch does not wait for the end of the list.
    let handle = server.handle.clone();
    let deliver = handle.deliver(vec![notification(1, "x")], Some(19));
    let peer = async {
        let mut before = 0;
        loop {
            let line = client.line().await;
            if line.starts_with(r#"{"type":"notification_batch""#) {
                break;
            }
            before += 1;
        }
        client.send(r#"{"type":"ack","seq":1}"#).await;
        before
    };
    let (delivered, before) = tokio::join!(deliver, peer);
    assert_eq!(delivered, Ok(()));
    assert!(before <= 3, "{before} lines went first");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_at_all_is_closed() {
    let write_timeout = Duration::from_secs(20);
    let (mut server, dialer) = Server::in_memory_with(IpcConfig { write_timeout, ..IpcConfig::new("1.0") });
    let mut client = Client::new(dialer.connect().await.unwrap());
    client.greet(&mut server).await;
    client.send(r#"{"type":"request_status"}"#).await;
    let before = Instant::now();
    server.status_request().await.statuses(many());
    // Batches fail meanwhile, and nothing piles up.
    let failed = server.handle.deliver(vec![notification(1, "x")], Some(1)).await;
    assert_eq!(failed, Err(DeliverError::Disconnected));
    assert_eq!(server.disconnected().await, DisconnectReason::Stalled);
    assert_eq!(before.elapsed(), write_timeout);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_garbage_without_a_reader_is_not_kept() {
    let (mut server, dialer) = Server::in_memory();
    let mut client = Client::new(dialer.connect().await.unwrap());
    client.greet(&mut server).await;
    // Each line is answered, nobody reads the answers, so at some point no more lines are taken,
    // and then it is over.
    let flood = async {
        let mut lines = 0;
        while client.try_send("garbage").await {
            lines += 1;
            assert!(lines < 100_000, "they are all taken");
        }
    };
    let (reason, ()) = tokio::join!(server.disconnected(), flood);
    assert_eq!(reason, DisconnectReason::Stalled);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_does_not_fetch_events_holds_up_its_peer_only() {
    let (mut server, dialer) = Server::in_memory();
    let mut client = Client::new(dialer.connect().await.unwrap());
    client.greet(&mut server).await;
    // More sets than are taken ahead; the rest waits in the stream.
    let ids: Vec<u64> = (0..100).collect();
    let sets = async {
        for generation in 2..100 {
            client.send(&full_set(generation, &ids)).await;
        }
    };
    let owner = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        for generation in 2..100 {
            assert_eq!(server.apply().await.0, Some(generation));
        }
    };
    tokio::join!(sets, owner);
    server.end().await;
}

/// An event that waits for the owner is not replaced by what is still owed to the peer.
#[tokio::test(start_paused = true)]
async fn statuses_asked_for_again_come_after_the_sets_that_wait() {
    let (mut server, dialer) = Server::in_memory();
    let mut client = Client::new(dialer.connect().await.unwrap());
    client.greet(&mut server).await;
    client.send(r#"{"type":"request_status"}"#).await;
    let reply = server.status_request().await;
    client.send(r#"{"type":"request_status"}"#).await;
    // One is queued for the owner, one has no place there.
    client.send(&full_set(2, &[2])).await;
    client.send(&full_set(3, &[3])).await;
    // In virtual time: until nobody has anything to do.
    tokio::time::sleep(Duration::from_secs(1)).await;
    reply.statuses(Vec::<Notification>::new());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(server.apply().await, (Some(2), vec![2]));
    assert_eq!(server.apply().await, (Some(3), vec![3]));
    server.status_request().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_nobody_waits_for_any_more_does_not_overtake_itself() {
    let (mut server, dialer) = Server::in_memory();
    let mut client = Client::new(dialer.connect().await.unwrap());
    client.greet(&mut server).await;
    let handle = server.handle.clone();
    let given_up =
        tokio::time::timeout(Duration::from_secs(1), handle.deliver(vec![notification(1, "x")], None));
    assert!(given_up.await.is_err());
    let deliver = handle.deliver(vec![notification(2, "x")], None);
    let peer = async {
        assert_eq!(client.json().await["seq"], 1);
        // The second one has not been sent yet.
        client.send("garbage").await;
        assert_eq!(client.json().await["code"], "malformed");
        client.send(r#"{"type":"ack","seq":1}"#).await;
        assert_eq!(client.json().await["seq"], 2);
        client.send(r#"{"type":"ack","seq":2}"#).await;
    };
    assert_eq!(soon(async { tokio::join!(deliver, peer) }).await.0, Ok(()));
}
