//! What the engine hears: the JSON lines of fake-engine, read and remembered.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::Value;

/// A line of fake-engine that matters here, with the moment at which it came.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) at: Instant,
    pub(super) what: What,
}

/// What happened at the engine.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum What {
    Listening,
    Fetched { checks: u64 },
    Notified { id: u64, state: String, message: String },
    Error(String),
}

/// How many lines may wait for the demo. It reads all the time; if it did not, the pipe would fill up, as pipes do.
const WAITING: usize = 1024;

/// Reads events from `stdout` on a thread of its own, until the program closes it.
pub(super) fn listen(stdout: impl Read + Send + 'static) -> Result<Receiver<Event>> {
    let (to_demo, events) = sync_channel(WAITING);
    std::thread::Builder::new()
        .name("engine events".into())
        .spawn(move || forward(stdout, &to_demo))
        .context("cannot start a thread")?;
    Ok(events)
}

fn forward(stdout: impl Read, to_demo: &SyncSender<Event>) {
    for line in BufReader::new(stdout).lines() {
        let Ok(line) = line else { return };
        #[allow(clippy::disallowed_methods, reason = "this is the moment that the demo shows")]
        let at = Instant::now();
        if let Some(what) = parse(&line)
            && to_demo.send(Event { at, what }).is_err()
        {
            return;
        }
    }
}

fn parse(line: &str) -> Option<What> {
    let event: Value = serde_json::from_str(line).ok()?;
    match event["event"].as_str()? {
        "listening" => Some(What::Listening),
        "fetch" => Some(What::Fetched { checks: event["checks"].as_u64()? }),
        "notification" => Some(What::Notified {
            id: event["id"].as_u64()?,
            state: event["state"].as_str()?.to_owned(),
            message: text(&event["message"]),
        }),
        "error" => Some(What::Error(line.to_owned())),
        _ => None,
    }
}

/// A message is a string, or an object if it is not UTF-8.
fn text(message: &Value) -> String {
    message.as_str().map_or_else(|| message.to_string(), str::to_owned)
}

/// The state of every check as the engine last heard it.
#[derive(Debug, Default)]
pub(super) struct Known {
    states: BTreeMap<u64, String>,
    /// Notifications that changed nothing: the refresh that the engine lives on.
    pub(super) refreshes: u64,
    pub(super) fetches: u64,
}

impl Known {
    /// Takes a notification and says whether it is news.
    pub(super) fn notified(&mut self, id: u64, state: &str) -> bool {
        let news = self.states.get(&id).is_none_or(|known| known != state);
        if news {
            self.states.insert(id, state.to_owned());
        } else {
            self.refreshes += 1;
        }
        news
    }

    /// Whether the engine knows `id` to be in `state`.
    pub(super) fn is(&self, id: u64, state: &str) -> bool {
        self.states.get(&id).is_some_and(|known| known == state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_lines_of_fake_engine() {
        assert_eq!(
            parse(r#"{"event":"fetch","time":"2024-01-15T10:30:00Z","checks":5}"#),
            Some(What::Fetched { checks: 5 })
        );
        let line = r#"{"event":"notification","time":"2024-01-15T10:30:00Z","id":18446744073709551615,"last_check":"2024-01-15T10:30:00Z","duration":"1ms","failures":2,"successes":0,"state":"unhealthy","message":"refused"}"#;
        let expected = What::Notified { id: u64::MAX, state: "unhealthy".into(), message: "refused".into() };
        assert_eq!(parse(line), Some(expected));
        assert_eq!(parse(r#"{"event":"something new"}"#), None);
        assert_eq!(parse("not json"), None);
    }

    #[test]
    fn a_message_that_is_no_text_is_still_shown() {
        let line = r#"{"event":"notification","id":1,"state":"healthy","message":{"base64":"AP8="}}"#;
        assert!(matches!(parse(line), Some(What::Notified { message, .. }) if message.contains("AP8=")));
    }

    #[test]
    fn only_a_change_is_news() {
        let mut known = Known::default();
        assert!(known.notified(1, "healthy"));
        assert!(!known.notified(1, "healthy"));
        assert!(known.notified(1, "unhealthy"));
        assert!(known.is(1, "unhealthy") && !known.is(2, "unhealthy"));
        assert_eq!(known.refreshes, 1);
    }

    #[test]
    fn events_come_in_order_and_end_with_the_program() {
        let lines = b"{\"event\":\"listening\"}\n{\"event\":\"fetch\",\"checks\":1}\n" as &[u8];
        let what: Vec<What> = listen(lines).unwrap().iter().map(|event| event.what).collect();
        assert_eq!(what, [What::Listening, What::Fetched { checks: 1 }]);
    }
}
