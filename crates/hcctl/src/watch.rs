//! Changes as they happen.

use std::time::Duration;

use anyhow::Result;
use hc_api::{Change, Transitions};
use http_body_util::BodyExt as _;
use tokio::time::{sleep, timeout};

use crate::client::Client;

/// The server says something at least every 15 s.
const SILENCE: Duration = Duration::from_secs(40);
/// The pause before the server is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// What is said where changes were lost on the way.
const LOST: &str = "some changes are not known any more: see hcctl status and hcctl overrides";

/// An event of the stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    name: String,
    id: String,
    data: String,
}

/// Calls `print` for each change until the program is interrupted. A server that goes away is
/// waited for; `note` is called for what cannot be shown.
///
/// # Errors
/// When the server cannot be reached at the beginning.
pub(crate) async fn watch(
    client: &Client,
    from_start: bool,
    mut print: impl FnMut(Change),
    mut note: impl FnMut(&str),
) -> Result<()> {
    let path = "/api/v1/events";
    let mut last_id = None;
    if from_start {
        let mut query = String::new();
        loop {
            let part: Transitions = client.get(&format!("/api/v1/transitions{query}")).await?;
            query = format!("?after={}", part.next);
            last_id = Some(part.next.clone());
            if part.resync {
                note(LOST);
            }
            let changes = part.into_changes();
            if changes.is_empty() {
                break;
            }
            changes.into_iter().for_each(&mut print);
        }
    }
    let mut body = client.events(path, last_id.as_deref()).await?;
    loop {
        let mut parser = Parser::default();
        while let Ok(Some(Ok(frame))) = timeout(SILENCE, body.frame()).await {
            let Some(data) = frame.data_ref() else { continue };
            for event in parser.push(data) {
                match event.name.as_str() {
                    "transition" => {
                        if let Ok(transition) = serde_json::from_str(&event.data) {
                            print(Change::Health(transition));
                        }
                    }
                    "override" => {
                        if let Ok(event) = serde_json::from_str(&event.data) {
                            print(Change::Override(event));
                        }
                    }
                    "resync" => note(LOST),
                    _ => {}
                }
                if !event.id.is_empty() {
                    last_id = Some(event.id);
                }
            }
        }
        note("the connection to hc-server is lost; trying again");
        loop {
            sleep(PAUSE).await;
            if let Ok(again) = client.events(path, last_id.as_deref()).await {
                body = again;
                note("connected again");
                break;
            }
        }
    }
}

/// Server-sent events (HTML standard, section 9.2.6), as this server writes them: fields of one
/// line.
#[derive(Default)]
struct Parser {
    line: Vec<u8>,
    event: Event,
}

impl Parser {
    fn push(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let line = String::from_utf8_lossy(&self.line).into_owned();
            self.line.clear();
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                if !event.data.is_empty() {
                    events.push(event);
                }
            }
            match line.split_once(": ") {
                Some(("event", value)) => value.clone_into(&mut self.event.name),
                Some(("id", value)) => value.clone_into(&mut self.event.id),
                Some(("data", value)) => value.clone_into(&mut self.event.data),
                _ => {}
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_put_together_from_pieces() {
        let text = "retry: 1000\n\nevent: transition\nid: 1-2\ndata: {\"a\":\"b: c\"}\n\n: still here\n\nevent: resync\ndata: {}\n\n";
        let mut parser = Parser::default();
        let events: Vec<Event> = text.as_bytes().chunks(3).flat_map(|piece| parser.push(piece)).collect();
        assert_eq!(
            events,
            [
                Event { name: "transition".into(), id: "1-2".into(), data: "{\"a\":\"b: c\"}".into() },
                Event { name: "resync".into(), id: String::new(), data: "{}".into() },
            ]
        );
    }
}
