//! The borders between the crates in the middle, which know this crate and not each other.

use std::sync::Arc;
use std::time::Duration;

use crate::{CheckId, CheckSpec, Incarnation, ProbeResult, StatusUpdate};

/// Runs probes. One value serves one shard and lives on its thread, so neither it nor its futures
/// need be `Send`.
pub trait Prober: 'static {
    /// Runs one probe of `spec` and says what it found and saw.
    ///
    /// The future resolves within `spec.timeout()` of its first poll, give or take the lateness of
    /// the runtime. An error of this machine resolves to
    /// [`Outcome::Inconclusive`](crate::Outcome::Inconclusive), never to a failure.
    ///
    /// # Cancel safety
    /// Dropping the future ends the probe and frees its socket.
    fn probe(&self, spec: Arc<CheckSpec>) -> impl Future<Output = ProbeResult> + 'static;

    /// The same with this timeout, at most that of `spec`. By default that of `spec`.
    ///
    /// # Cancel safety
    /// That of [`probe`](Self::probe).
    fn probe_within(
        &self,
        spec: Arc<CheckSpec>,
        timeout: Duration,
    ) -> impl Future<Output = ProbeResult> + 'static {
        let _ = timeout;
        self.probe(spec)
    }
}

/// Takes what the shards find. Shared by all of them.
///
/// No call blocks on delivery, and none fails: a sink holds the latest status of each check,
/// however long nobody fetches it.
pub trait Sink: Send + Sync + 'static {
    /// A check begins, or begins again under a new incarnation: what was known of this id before is
    /// void. Does nothing by default.
    fn begin(&self, id: CheckId, incarnation: Incarnation, spec: &Arc<CheckSpec>) {
        let _ = (id, incarnation, spec);
    }

    /// Statuses after probes that ended, in order. Updates of an incarnation that is not the
    /// current one of its id are ignored. The vector is drained, so that its memory can be used
    /// again. Updates that are not [`reportable`](StatusUpdate::reportable) are for readers alone.
    fn record(&self, updates: &mut Vec<StatusUpdate>);

    /// A check has ended. Ignored when `incarnation` is not the current one of its id.
    /// Does nothing by default.
    fn forget(&self, id: CheckId, incarnation: Incarnation) {
        let _ = (id, incarnation);
    }

    /// Whether no probe of this check may begin: an operator has paused it. Asked before each
    /// probe, on the thread of the shard, so it must neither block nor take long. A check that is
    /// not probed because of this waits until it is probed out of its turn. False by default.
    fn is_paused(&self, id: CheckId) -> bool {
        let _ = id;
        false
    }

    /// A set of checks has taken effect: every [`begin`](Sink::begin) and [`forget`](Sink::forget)
    /// that belongs to it has been called. After a `full` set everything known is sent again, since
    /// it may come from a new consumer. Does nothing by default.
    fn in_effect(&self, generation: Option<u64>, full: bool) {
        let _ = (generation, full);
    }
}

/// Sees every update, before anything decides what becomes of it.
pub trait Observer: Send + Sync + 'static {
    /// Updates of one shard, in order; also those that are not
    /// [`reportable`](StatusUpdate::reportable). Called on the thread of the shard, so it must
    /// neither block nor take long. An incarnation may have ended meanwhile.
    fn updates(&self, updates: &[StatusUpdate]);
}
