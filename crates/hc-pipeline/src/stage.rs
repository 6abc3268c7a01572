//! What stands between the state machines and the consumers.

use std::time::Instant;

use hc_types::{CheckId, StatusUpdate};

use crate::effects::Effects;

/// Decides what consumers get of the updates that come to it: it passes them on, later, changed, or not at all.
///
/// Synchronous, with the time as an argument. All stages of a [`Pipeline`](crate::Pipeline) are called under one lock, so no
/// call may block. Updates are of the current life of their check; the pipeline drops others. Instants do not run backwards.
pub trait Stage: Send + 'static {
    /// A word for readers, who see which stage holds a status back.
    fn name(&self) -> &'static str;

    /// A check has a new status, or the stage before passes one on. An update that is not added to `out.pass`, now or
    /// later, does not reach consumers: they go on getting what they got before.
    fn update(&mut self, update: StatusUpdate, now: Instant, out: &mut Effects);

    /// The life of a check has ended: it was removed, or begins again. What is held of it is void.
    fn forget(&mut self, id: CheckId, now: Instant, out: &mut Effects);

    /// Time has come to `now`. Called at [`next_due`](Self::next_due) or later; afterwards that is in the future.
    fn expire(&mut self, now: Instant, out: &mut Effects);

    /// When [`expire`](Self::expire) has something to do; `None` while only an update gives it that.
    fn next_due(&self) -> Option<Instant>;
}
