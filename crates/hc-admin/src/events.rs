//! Changes as server-sent events (the `text/event-stream` of the HTML standard, section 9.2).
//!
//! - `event: transition`, `id: EPOCH-SEQUENCE`, `data:` a change of health as JSON.
//! - `event: override`, with an id of the same row, `data:` a change of what operators say as JSON.
//!   A client that knows no such event ignores it, as the standard says.
//! - `event: resync`: what happened since the id that the client named is not known any more. It
//!   asks for all checks again and goes on from here.
//! - A comment every 15 s, so that both ends notice a connection that is dead.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hc_api::{Change, Position};
use http_body_util::BodyExt as _;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Bytes;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::Reader;
use crate::answer::Body;

/// The time between two signs of life.
const PING: Duration = Duration::from_secs(15);

/// Changes that are made ready at once for one reader.
const CHUNK: usize = 200;

/// How long a reader may take for what is under way to it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A stream that goes on behind `after`, and what feeds it. The latter ends with the reader or with
/// `shutdown`.
pub(crate) fn stream(
    reader: Arc<dyn Reader>,
    after: Position,
    shutdown: CancellationToken,
) -> (Body, impl Future<Output = ()>) {
    let (sender, body) = Channel::<Bytes, Infallible>::new(2);
    let feed = async move {
        tokio::select! {
            () = feed(&*reader, after, sender) => {}
            () = shutdown.cancelled() => {}
        }
    };
    (body.boxed_unsync(), feed)
}

/// Ends when the reader is gone or takes too long.
async fn feed(reader: &dyn Reader, mut after: Position, mut sender: Sender<Bytes, Infallible>) {
    // The browser comes back after a second.
    let mut text = "retry: 1000\n\n".to_owned();
    loop {
        let part = reader.transitions(after, CHUNK);
        let Ok(next) = part.next.parse::<Position>() else { return };
        if part.resync {
            text.push_str(&format!("event: resync\nid: {next}\ndata: {{}}\n\n"));
        }
        for change in part.into_changes() {
            event(&mut text, next.epoch, &change);
        }
        after = next;
        if text.is_empty() {
            let ping = Instant::now() + PING;
            tokio::select! {
                () = reader.grown(after.sequence) => continue,
                () = sleep_until(ping) => text.push_str(": still here\n\n"),
            }
        }
        let send = sender.send_data(std::mem::take(&mut text).into());
        if !matches!(timeout(PATIENCE, send).await, Ok(Ok(()))) {
            return;
        }
    }
}

fn event(text: &mut String, epoch: u64, change: &Change) {
    let id = Position { epoch, sequence: change.sequence() };
    // JSON has no line ends outside of strings, and escapes those inside.
    let (name, data) = match change {
        Change::Health(transition) => ("transition", serde_json::to_string(transition)),
        Change::Override(event) => ("override", serde_json::to_string(event)),
        _ => return,
    };
    text.push_str(&format!("event: {name}\nid: {id}\ndata: {}\n\n", data.unwrap_or_default()));
}
