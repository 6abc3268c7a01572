//! What stands between the state machines and the consumers.

use std::sync::Arc;
use std::time::Instant;

use hc_types::{CheckId, CheckSpec, Health, Incarnation, StatusUpdate};

use crate::effects::Effects;

/// Decides what consumers get of the updates that come to it: it passes them on, later, changed, or
/// not at all.
///
/// Synchronous, with the time as an argument. All stages of a [`Pipeline`](crate::Pipeline) are
/// called under one lock, so no call may block. Updates are of the current life of their check; the
/// pipeline drops others. Instants do not run backwards.
pub trait Stage: Send + 'static {
    /// A word for readers, who see which stage holds a status back.
    fn name(&self) -> &'static str;

    /// Whether the stage passes on every update as it is and needs none of them. While all stages
    /// say so, updates go past them. False by default.
    fn is_idle(&self) -> bool {
        false
    }

    /// A check begins, or begins again. What was known of its id has been
    /// [forgotten](Self::forget). Does nothing by default.
    fn begin(
        &mut self,
        id: CheckId,
        incarnation: Incarnation,
        spec: &Arc<CheckSpec>,
        now: Instant,
        out: &mut Effects,
    ) {
        let _ = (id, incarnation, spec, now, out);
    }

    /// A set of checks is in effect: what is known of checks beside their ids may have changed.
    /// Does nothing by default.
    fn in_effect(&mut self, now: Instant, out: &mut Effects) {
        let _ = (now, out);
    }

    /// A check has a new status, or the stage before passes one on. An update that is not added to
    /// `out.pass`, now or later, does not reach consumers: they go on getting what they got before.
    fn update(&mut self, update: StatusUpdate, now: Instant, out: &mut Effects);

    /// The life of a check has ended: it was removed, or begins again. What is held of it is void.
    fn forget(&mut self, id: CheckId, now: Instant, out: &mut Effects);

    /// An operator says what consumers hear of a check from now on, or no longer does. What this
    /// stage holds of the check must not reach them meanwhile. By default the check is
    /// [forgotten](Self::forget) while that is so.
    fn overruled(&mut self, id: CheckId, word: Word, now: Instant, out: &mut Effects) {
        if word != Word::Probes {
            self.forget(id, now, out);
        }
    }

    /// Time has come to `now`. Called at [`next_due`](Self::next_due) or later; afterwards that is
    /// in the future.
    fn expire(&mut self, now: Instant, out: &mut Effects);

    /// When [`expire`](Self::expire) has something to do; `None` while only an update gives it
    /// that.
    fn next_due(&self) -> Option<Instant>;
}

/// Whose word consumers hear of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// An operator's, who says this.
    Forced(Health),
    /// Nobody's: they keep what they have.
    Kept,
    /// What probes find.
    Probes,
}
