//! The task that lets held statuses go when it is time, and has checks probed.

use std::sync::Arc;

use hc_types::CheckId;
use tokio_util::sync::CancellationToken;

use crate::Pipeline;

/// Has checks probed out of their turn.
pub trait Reprobe: Send + Sync + 'static {
    /// Makes these checks due at once; returns when that is arranged. Ids that are not in the set
    /// are no error. What the probes find comes back through the pipeline, as always.
    fn probe_now(&self, ids: Vec<CheckId>) -> impl Future<Output = ()> + Send;
}

/// The part of a pipeline that has to be run, if it has a stage.
#[derive(Debug)]
pub struct PipelineTask<R> {
    pipeline: Arc<Pipeline>,
    reprobe: R,
}

impl<R: Reprobe> PipelineTask<R> {
    /// The task for this pipeline. There must be no other one.
    #[must_use]
    pub fn new(pipeline: Arc<Pipeline>, reprobe: R) -> Self {
        Self { pipeline, reprobe }
    }

    /// Runs until `stop` is cancelled. Statuses that are held then do not reach consumers: they are
    /// in doubt, and the next process finds out.
    ///
    /// # Cancel safety
    /// Dropping the future is as good as cancelling `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let Self { pipeline, reprobe } = self;
        // Side by side, so that no status is held for longer because arranging a probe takes its
        // time.
        let keep_time = async {
            loop {
                pipeline.expire().await;
            }
        };
        let have_probed = async {
            loop {
                reprobe.probe_now(pipeline.to_probe().await).await;
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
