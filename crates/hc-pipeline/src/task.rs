//! The task that lets held verdicts go when it is time, and has samples probed.

use std::sync::Arc;

use hc_types::{CheckId, Sink};
use tokio_util::sync::CancellationToken;

use crate::GuardedSink;

/// Has checks probed out of their turn.
pub trait Reprobe: Send + Sync + 'static {
    /// Makes these checks due at once; returns when that is arranged. Checks that are no more are no error. What the probes
    /// find comes back through the sink, as always.
    fn probe_now(&self, ids: Vec<CheckId>) -> impl Future<Output = ()> + Send;
}

/// The part of a guard that has to be run.
#[derive(Debug)]
pub struct GuardTask<S: ?Sized, R> {
    sink: Arc<GuardedSink<S>>,
    reprobe: R,
}

impl<S: Sink + ?Sized, R: Reprobe> GuardTask<S, R> {
    /// The task for this guard. There must be no other one.
    #[must_use]
    pub fn new(sink: Arc<GuardedSink<S>>, reprobe: R) -> Self {
        Self { sink, reprobe }
    }

    /// Runs until `stop` is cancelled. Verdicts that are held then are not told: they are in doubt, and whoever checks next
    /// finds out.
    ///
    /// # Cancel safety
    /// Dropping the future is as good as cancelling `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let Self { sink, reprobe } = self;
        // Side by side, so that no verdict is held for longer because arranging a probe takes its time.
        let keep_time = async {
            loop {
                sink.keep_time().await;
            }
        };
        let have_probed = async {
            loop {
                reprobe.probe_now(sink.to_probe().await).await;
            }
        };
        // None of the branches comes back after another one has won.
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = keep_time => {}
            () = have_probed => {}
        }
    }
}
