//! Stages one behind the other.

use std::time::Instant;

use hc_types::{CheckId, StatusUpdate};

use crate::effects::Effects;
use crate::stage::Stage;

/// The stages of a pipeline, the first one first.
pub(crate) struct Chain(Vec<Box<dyn Stage>>);

/// What has left the last stage, and which stage is the reason where it is not what the probes say.
pub(crate) struct Passed {
    pub(crate) updates: Vec<StatusUpdate>,
    pub(crate) held_by: &'static str,
}

impl Chain {
    pub(crate) fn new(stages: Vec<Box<dyn Stage>>) -> Self {
        Self(stages)
    }

    /// Lets an update go through all stages.
    pub(crate) fn update(&mut self, update: &StatusUpdate, now: Instant, out: &mut Effects) -> Passed {
        out.pass.push(update.clone());
        let mut held_by = None;
        for stage in &mut self.0 {
            for update in std::mem::take(&mut out.pass) {
                stage.update(update, now, out);
            }
            if held_by.is_none() && !out.pass.iter().any(|passed| is_unchanged(passed, update)) {
                held_by = Some(stage.name());
            }
        }
        let updates = std::mem::take(&mut out.pass);
        Passed { updates, held_by: held_by.unwrap_or_default() }
    }

    /// The life of a check has ended.
    pub(crate) fn forget(&mut self, id: CheckId, now: Instant, out: &mut Effects) -> Passed {
        self.each(now, out, |stage, out| stage.forget(id, now, out))
    }

    /// Time has come to `now`.
    pub(crate) fn expire(&mut self, now: Instant, out: &mut Effects) -> Passed {
        self.each(now, out, |stage, out| stage.expire(now, out))
    }

    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.0.iter().filter_map(|stage| stage.next_due()).min()
    }

    /// Calls each stage; what it passes on goes through the stages behind it first.
    fn each(
        &mut self,
        now: Instant,
        out: &mut Effects,
        step: impl Fn(&mut dyn Stage, &mut Effects),
    ) -> Passed {
        let mut passed = Passed { updates: Vec::new(), held_by: "" };
        for first in 0..self.0.len() {
            step(&mut *self.0[first], out);
            if out.pass.is_empty() {
                continue;
            }
            passed.held_by = self.0[first].name();
            for stage in &mut self.0[first + 1..] {
                for update in std::mem::take(&mut out.pass) {
                    stage.update(update, now, out);
                }
            }
            passed.updates.append(&mut out.pass);
        }
        passed
    }
}

/// Whether this is the update, as it came. Stages may change whether it is a transition.
pub(crate) fn is_unchanged(passed: &StatusUpdate, update: &StatusUpdate) -> bool {
    let key = |update: &StatusUpdate| (update.id, update.incarnation);
    key(passed) == key(update) && passed.status == update.status
}
