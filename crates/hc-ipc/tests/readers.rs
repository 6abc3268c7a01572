//! Connections that only ask for statuses, beside the one that is served.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod rig;

use std::sync::Arc;
use std::time::Duration;

use hc_wire::Notification;
use rig::{Client, READY, Server, full_set, notification, on_socket, soon};
use tokio::time::Instant;

const REQUEST: &str = r#"{"type":"request_status"}"#;

#[tokio::test]
async fn a_reader_does_not_replace_the_connection_that_is_served() {
    let mut on = on_socket().await;
    let mut served = on.greeted().await;
    let handle = on.server.handle.clone();
    for _ in 0..3 {
        let mut reader = on.connect().await;
        reader.expect(READY).await;
        reader.send(REQUEST).await;
        on.server.status_request().await.statuses(vec![notification(7, "x")]);
        assert_eq!(reader.json().await["statuses"][0]["id"], 7);
        let deliver = handle.deliver(vec![notification(1, "x")], None);
        let peer = async {
            let seq = served.json().await["seq"].clone();
            served.send(&format!(r#"{{"type":"ack","seq":{seq}}}"#)).await;
        };
        assert_eq!(soon(async { tokio::join!(deliver, peer) }).await.0, Ok(()));
    }
}

#[tokio::test]
async fn a_reader_may_change_nothing() {
    let mut on = on_socket().await;
    let mut served = on.greeted().await;
    let mut reader = on.connect().await;
    reader.expect(READY).await;
    reader.send(REQUEST).await;
    on.server.status_request().await.statuses(Vec::<Notification>::new());
    reader.json().await;
    let long = full_set(2, &(0..1000).collect::<Vec<_>>());
    for line in [
        full_set(2, &[]).as_str(),
        &long,
        r#"{"type":"update_delta","generation":3,"base":1}"#,
        rig::HELLO,
        r#"{"type":"ack","seq":1}"#,
    ] {
        reader.send(line).await;
        assert_eq!(reader.json().await["code"], "unexpected", "{line:.80}");
    }
    reader.send("garbage").await;
    assert_eq!(reader.json().await["code"], "malformed");
    // It may still ask.
    reader.send(REQUEST).await;
    on.server.status_request().await.statuses(Vec::<Notification>::new());
    assert_eq!(reader.json().await["type"], "status_response");
    reader.send(r#"{"type":"shutdown"}"#).await;
    assert_eq!(reader.next().await, None);
    served.send(&full_set(5, &[5])).await;
    assert_eq!(on.server.apply().await, (Some(5), vec![5]));
}

#[tokio::test]
async fn a_connection_that_says_nothing_or_garbage_replaces_nobody() {
    let mut on = on_socket().await;
    let mut served = on.greeted().await;
    let mut others = Vec::new();
    for line in [None, Some("garbage"), Some(r#"{"type":"error","code":"internal","message":"x"}"#)] {
        let mut other = on.connect().await;
        other.expect(READY).await;
        if let Some(line) = line {
            other.send(line).await;
        }
        others.push(other);
    }
    assert_eq!(others[1].json().await["code"], "malformed");
    served.send(&full_set(2, &[5])).await;
    assert_eq!(on.server.apply().await, (Some(2), vec![5]));
}

/// A long answer, which keeps `kept`.
fn pages(kept: &Arc<()>) -> impl ExactSizeIterator<Item = Vec<Notification>> + Send + 'static {
    let kept = kept.clone();
    (0..100_u32).map(move |page| {
        let _kept = &kept;
        (0..500).map(|id| notification(u64::from(page) * 500 + id, &"x".repeat(300))).collect()
    })
}

/// Pages are made as they are read, so one that reads nothing has few made for it, and is closed.
#[tokio::test(start_paused = true)]
async fn a_reader_that_never_reads_costs_a_page_and_is_closed() {
    let (mut server, dialer) = Server::in_memory();
    let mut served = Client::new(dialer.connect().await.unwrap());
    served.greet(&mut server).await;
    let mut reader = Client::new(dialer.connect().await.unwrap());
    reader.send(REQUEST).await;
    let kept = Arc::new(());
    server.status_request().await.pages(pages(&kept));
    let start = Instant::now();
    // Another one waits for its turn, and gets it soon.
    let mut next = Client::new(dialer.connect().await.unwrap());
    next.send(REQUEST).await;
    let event = server.status_request().await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    event.statuses(Vec::<Notification>::new());
    next.expect(READY).await;
    next.json().await;
    served.send(&full_set(2, &[5])).await;
    assert_eq!(server.apply().await, (Some(2), vec![5]));
    // The first one is given up.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(Arc::strong_count(&kept), 1);
}

/// All guests but one read nothing; the last one has its answer soon, and of the others few are
/// kept.
#[tokio::test(start_paused = true)]
async fn many_slow_readers_do_not_delay_another_one() {
    let (mut server, dialer) = Server::in_memory();
    let kept = Arc::new(());
    let start = Instant::now();
    let mut slow = Vec::new();
    for _ in 0..7 {
        let mut reader = Client::new(dialer.connect().await.unwrap());
        reader.send(REQUEST).await;
        server.status_request().await.pages(pages(&kept));
        slow.push(reader);
    }
    let mut last = Client::new(dialer.connect().await.unwrap());
    last.send(REQUEST).await;
    let event = server.status_request().await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    // Ours, and those of the slow readers.
    assert_eq!(Arc::strong_count(&kept), 3);
    event.statuses(vec![notification(7, "x")]);
    last.expect(READY).await;
    assert_eq!(last.json().await["statuses"][0]["id"], 7);
}

/// What takes longer than a turn comes in full.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_gets_its_whole_answer() {
    let (mut server, dialer) = Server::in_memory();
    let mut reader = Client::new(dialer.connect().await.unwrap());
    reader.expect(READY).await;
    reader.send(REQUEST).await;
    let page = |page: u64| (0..500).map(|id| notification(page * 500 + id, "text")).collect();
    server.status_request().await.pages((0..20_u32).map(move |number| page(number.into())));
    for part in 1..=20 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(reader.json().await["part"], part);
    }
}

#[tokio::test]
async fn pages_are_made_when_they_are_read() {
    let mut on = on_socket().await;
    let mut reader = on.connect().await;
    reader.expect(READY).await;
    reader.send(REQUEST).await;
    let made = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = made.clone();
    let pages = (0..1000_u32).map(move |page| {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        (0..500).map(|id| notification(u64::from(page) * 500 + id, "text")).collect()
    });
    on.server.status_request().await.pages(pages);
    let first = reader.json().await;
    assert_eq!((&first["part"], &first["parts"]), (&1.into(), &1000.into()));
    let made = made.load(std::sync::atomic::Ordering::SeqCst);
    assert!(made < 50, "{made} pages were made for one that was read");
    for part in 2..=1000 {
        assert_eq!(reader.json().await["part"], part);
    }
}

#[tokio::test]
async fn of_too_many_guests_the_oldest_is_closed_and_the_served_one_is_not() {
    let mut on = on_socket().await;
    let mut served = on.greeted().await;
    let mut guests = Vec::new();
    for _ in 0..50 {
        let mut guest = on.connect().await;
        guest.expect(READY).await;
        guests.push(guest);
    }
    for guest in &mut guests[..42] {
        assert_eq!(guest.next().await, None);
    }
    served.send(&full_set(2, &[5])).await;
    assert_eq!(on.server.apply().await, (Some(2), vec![5]));
    guests[49].send(&full_set(3, &[6])).await;
    assert_eq!(on.server.apply().await, (Some(3), vec![6]));
}
