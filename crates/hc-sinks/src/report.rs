//! What a sink gets to know of a check.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use hc_api::{CheckState, Event, Events, Line, MissedLine, OverrideEvent, OverrideLine, OverrideState};
use hc_types::{CheckId, CheckSpec, Health, Status};

/// The state of one check, with what it is called.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which check.
    pub id: CheckId,
    /// What it is called, if it is called anything.
    pub name: Option<Arc<str>>,
    /// Its labels.
    pub labels: Arc<[(Box<str>, Box<str>)]>,
    /// What is checked.
    pub spec: Arc<CheckSpec>,
    /// How its backend is.
    pub status: Status,
    /// Since when it is so, where that is known.
    pub since: Option<SystemTime>,
    /// What operators say of it.
    pub overrides: Vec<OverrideState>,
}

impl Report {
    /// The state as JSON shows it.
    #[must_use]
    pub fn state(&self) -> CheckState {
        CheckState::new(self.id, &self.spec, &self.status)
            .with_name(self.name.as_deref())
            .with_labels(self.labels.iter().map(|(key, value)| (&**key, &**value)))
            .with_since(self.since)
            .with_overrides(self.overrides.clone())
    }

    /// The value of a label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(known, _)| **known == *key).map(|(_, value)| &**value)
    }
}

/// What a sink gets to know of what operators say.
#[derive(Clone, Debug, PartialEq)]
pub enum OverrideNews {
    /// Something happened to an override.
    Changed(Box<OverrideEvent>),
    /// So many changes are lost to the sink: they are not kept any longer.
    Missed(u64),
}

/// What a consumer has been sent, so that it gets changes and no repetitions.
#[derive(Debug, Default)]
pub(crate) struct Sent(Mutex<HashMap<CheckId, Health>>);

impl Sent {
    /// The reports that are news, as events.
    pub(crate) fn news(&self, reports: &[Report]) -> Vec<Event> {
        let sent = self.lock();
        let news = reports.iter().filter_map(|report| {
            let before = sent.get(&report.id);
            (before != Some(&report.status.health)).then(|| Event::new(before.is_none(), report.state()))
        });
        news.collect()
    }

    /// The consumer has these.
    pub(crate) fn delivered(&self, reports: &[Report]) {
        self.lock().extend(reports.iter().map(|report| (report.id, report.status.health)));
    }

    /// These checks are gone.
    pub(crate) fn forget(&self, ids: &[CheckId]) {
        let mut sent = self.lock();
        for id in ids {
            sent.remove(id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CheckId, Health>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Events as bytes of JSON.
pub(crate) fn body(node: &str, events: Vec<Event>) -> Vec<u8> {
    let events = Events::new(node, SystemTime::now(), events);
    serde_json::to_vec(&events).expect("strings and numbers can be written as JSON")
}

/// What is new of overrides as bytes of JSON.
pub(crate) fn override_body(node: &str, news: &[OverrideNews]) -> Vec<u8> {
    let (mut changes, mut missed) = (Vec::new(), 0_u64);
    for one in news {
        match one {
            OverrideNews::Changed(change) => changes.push((**change).clone()),
            OverrideNews::Missed(count) => missed = missed.saturating_add(*count),
        }
    }
    let events = Events::new(node, SystemTime::now(), Vec::new());
    let events = events.with_overrides(changes).with_overrides_missed(missed);
    serde_json::to_vec(&events).expect("strings and numbers can be written as JSON")
}

/// One event as a line of JSON, with the machine and the time before it.
pub(crate) fn line(node: &str, at: SystemTime, event: &Event, into: &mut Vec<u8>) {
    let line = Line::new(node, at, event.clone());
    serde_json::to_writer(&mut *into, &line).expect("strings and numbers can be written as JSON");
    into.push(b'\n');
}

/// What is new of an override as a line of JSON.
pub(crate) fn override_line(node: &str, at: SystemTime, news: &OverrideNews, into: &mut Vec<u8>) {
    let written = match news {
        OverrideNews::Changed(change) => {
            serde_json::to_writer(&mut *into, &OverrideLine::new(node, (**change).clone()))
        }
        OverrideNews::Missed(missed) => {
            serde_json::to_writer(&mut *into, &MissedLine::new(node, at, *missed))
        }
    };
    written.expect("strings and numbers can be written as JSON");
    into.push(b'\n');
}
