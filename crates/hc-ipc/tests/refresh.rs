//! What a peer that keeps statuses is told instead of them, over a real socket.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod rig;

use hc_ipc::DeliverError;
use hc_types::{CheckId, Digest, Health, Refresh};
use rig::{HELLO, OnSocket, READY, full_set, notification, on_socket, soon};

const KEEPER: &str = r#"{"type":"hello","protocol":1,"version":"1.0","capabilities":["later","keep"]}"#;

fn refresh() -> Refresh {
    let mut digest = Digest::default();
    digest.put(CheckId(1), Health::Unhealthy);
    Refresh { generation: Some(1), buckets: 7..=4095, digest }
}

/// A client that has said this hello and has a set in effect.
async fn client(on: &mut OnSocket, hello: &str) -> rig::Client<tokio::net::UnixStream> {
    let mut client = on.connect().await;
    client.expect(READY).await;
    client.send(hello).await;
    client.send(&full_set(1, &[])).await;
    assert_eq!(on.server.apply().await, (Some(1), vec![]));
    soon(on.server.handle.ready()).await;
    client
}

#[tokio::test]
async fn a_refresh_is_answered_beside_batches() {
    let mut on = on_socket().await;
    let mut client = client(&mut on, KEEPER).await;
    let handle = on.server.handle.clone();
    assert!(handle.keeps());
    let refreshed = soon(handle.refresh(refresh())).await.unwrap();
    let deliver = handle.deliver(vec![notification(1, "x")], Some(1));
    let peer = async {
        client
            .expect(
                r#"{"type":"refresh","seq":1,"generation":1,"first":7,"last":4095,"count":1,"digest":15690285813532428630}"#,
            )
            .await;
        assert_eq!(client.json().await["seq"], 2);
        client.send(r#"{"type":"ack","seq":2}"#).await;
    };
    assert_eq!(soon(async { tokio::join!(deliver, peer) }).await.0, Ok(()));
    client.send(r#"{"type":"ack","seq":1}"#).await;
    assert_eq!(soon(refreshed).await, Ok(()));
}

#[tokio::test]
async fn a_refresh_is_refused_or_differs_or_is_cut_off() {
    let mut on = on_socket().await;
    let mut client = client(&mut on, KEEPER).await;
    let handle = on.server.handle.clone();
    for (seq, answer, result) in [
        (1, r#","error":"no engine""#, Err(DeliverError::Refused("no engine".to_owned()))),
        (2, r#","error":"other","differs":true"#, Err(DeliverError::Differs)),
        (3, "", Ok(())),
    ] {
        let refreshed = soon(handle.refresh(refresh())).await.unwrap();
        assert_eq!(client.json().await["seq"], seq);
        client.send(&format!(r#"{{"type":"ack","seq":{seq}{answer}}}"#)).await;
        assert_eq!(soon(refreshed).await, result);
    }
    let refreshed = soon(handle.refresh(refresh())).await.unwrap();
    client.json().await;
    drop(client);
    assert_eq!(soon(refreshed).await, Err(DeliverError::Disconnected));
}

#[tokio::test]
async fn a_peer_that_does_not_keep_gets_no_refresh() {
    let mut on = on_socket().await;
    let mut client = client(&mut on, HELLO).await;
    let handle = on.server.handle.clone();
    assert!(!handle.keeps());
    let refreshed = soon(handle.refresh(refresh())).await.unwrap();
    assert!(matches!(soon(refreshed).await, Err(DeliverError::Refused(_))));
    let deliver = handle.deliver(vec![notification(1, "x")], Some(1));
    let peer = async {
        assert_eq!(client.json().await["type"], "notification_batch");
        client.send(r#"{"type":"ack","seq":1}"#).await;
    };
    assert_eq!(soon(async { tokio::join!(deliver, peer) }).await.0, Ok(()));
}

#[tokio::test]
async fn a_newer_peer_says_for_itself_whether_it_keeps() {
    let mut on = on_socket().await;
    let _older = client(&mut on, KEEPER).await;
    assert!(on.server.handle.keeps());
    let _newer = client(&mut on, HELLO).await;
    assert!(!on.server.handle.keeps());
}
