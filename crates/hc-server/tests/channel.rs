//! The example `channel`: a source and consumers that hc-server does not know.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../examples/channel.rs"]
mod channel;

use std::collections::HashMap;
use std::future::pending;
use std::io::{self, Write};
use std::net::TcpListener;
use std::sync::Mutex;
use std::time::Duration;

use channel::{Channel, Checks, Lines, check};
use hc_notifier::{Delivery, DeliveryError};
use hc_server::{Config, Server};
use hc_types::{Batch, CheckId, Proposal, Rejection, Reply, SetChange, Source};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long a test waits for what should come at once, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// More than a test writes.
const ROOM: usize = 1024;

/// Passes on each write.
struct Writes(mpsc::Sender<String>);

impl Write for Writes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_send(String::from_utf8_lossy(bytes).into_owned()).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A consumer that never takes a batch.
struct Hangs;

impl Delivery for Hangs {
    async fn ready(&self) {}

    async fn deliver(&self, _: Batch) -> Result<(), DeliveryError> {
        pending().await
    }
}

/// A source that passes on which of its checks do not run.
struct Replies(mpsc::Receiver<Checks>, mpsc::Sender<Vec<Rejection>>);

impl Source for Replies {
    async fn next(&mut self) -> Option<Proposal> {
        let checks = self.0.recv().await?;
        let heard = self.1.clone();
        let reply = Reply::new(move |rejected| _ = heard.try_send(rejected));
        Some(Proposal { reply, ..Proposal::new(SetChange::Full { generation: None, checks }) })
    }
}

/// The lines that have come until one is the wanted one.
async fn wait_for(lines: &mut mpsc::Receiver<String>, wanted: &str) -> String {
    let mut heard = String::new();
    let all = async {
        while !heard.lines().any(|line| line == wanted) {
            heard.push_str(&lines.recv().await.expect("the server runs"));
        }
    };
    if timeout(PATIENCE, all).await.is_err() {
        panic!("{wanted:?} did not come: {heard}");
    }
    heard
}

#[tokio::test]
async fn checks_of_two_sources_run_beside_a_consumer_that_hangs() {
    let up = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let (up_at, down_at) = (up.local_addr().unwrap(), gone.local_addr().unwrap());
    drop(gone);

    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.state.dir = dir.path().to_owned();
    config.shutdown.grace = Duration::from_millis(10);
    let ((sets, receiver), (more, others)) = (mpsc::channel(1), mpsc::channel(1));
    let (written, mut lines) = mpsc::channel(ROOM);
    let (heard, mut replies) = mpsc::channel(ROOM);
    let shutdown = CancellationToken::new();
    let server = Server::new(config)
        .without_socket()
        .source("channel", Channel(receiver))
        .source("other", Replies(others, heard))
        .delivery(Hangs)
        .delivery(Lines(Mutex::new((Writes(written), HashMap::new()))))
        .shutdown(shutdown.clone());

    let test = async {
        sets.send(vec![check(1, up_at).unwrap()]).await.unwrap();
        wait_for(&mut lines, &format!("{up_at} is healthy")).await;
        // A second source adds a check, and cannot have the id of the first one's.
        more.send(vec![check(1, down_at).unwrap(), check(2, down_at).unwrap()]).await.unwrap();
        let rejected = timeout(PATIENCE, replies.recv()).await.unwrap().unwrap();
        assert_eq!(
            rejected[..],
            [Rejection { id: Some(CheckId(1)), reason: "id: used by a check of channel".to_owned() }]
        );
        wait_for(&mut lines, &format!("{down_at} is unhealthy")).await;
        // An empty set of one source ends nothing of the other's.
        more.send(Vec::new()).await.unwrap();
        assert_eq!(timeout(PATIENCE, replies.recv()).await.unwrap().unwrap(), []);
        drop(up);
        wait_for(&mut lines, &format!("{up_at} is unhealthy")).await;
        shutdown.cancel();
    };
    let (ended, ()) = tokio::join!(server.run(), test);
    ended.unwrap();
}
