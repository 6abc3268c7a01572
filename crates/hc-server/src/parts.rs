//! The tasks that make up the server, and what becomes of the server when one of them is lost.

use std::collections::HashMap;

use anyhow::{Result, anyhow};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::error;

/// A part of the server that runs for as long as the server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Manager,
    Pipeline,
    Notifier,
    Sinks,
    Ipc,
    Sets,
    Snapshots,
    Dump,
    Admin,
    Traces,
    Fleet,
}

/// The parts that run.
#[derive(Default)]
pub(crate) struct Parts {
    tasks: JoinSet<Result<()>>,
    /// By the id of their task, which is all that is known of one that panicked.
    running: HashMap<Id, Part>,
    /// The first thing that went wrong.
    failure: Option<anyhow::Error>,
}

impl Parts {
    pub(crate) fn start(&mut self, part: Part, task: impl Future<Output = Result<()>> + Send + 'static) {
        let task = self.tasks.spawn(task);
        self.running.insert(task.id(), part);
    }

    /// Waits until the server is told to end, or a part ends by itself, which is an error.
    pub(crate) async fn wait_for_end(&mut self, shutdown: &CancellationToken) {
        // Both are cancel safe. A part that ends because it was told to, like the server, is no
        // failure.
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            Some(ended) = self.tasks.join_next_with_id() => {
                let ended = ended.map(|(id, result)| (id, result.and(Err(anyhow!("ended by itself")))));
                self.ended(ended);
            }
        }
    }

    /// Waits for the end of one part, if it runs.
    pub(crate) async fn wait_for(&mut self, part: Part) {
        while self.running.values().any(|running| *running == part) {
            let Some(ended) = self.tasks.join_next_with_id().await else { return };
            self.ended(ended);
        }
    }

    /// What the server ends with, once its parts have ended.
    ///
    /// # Errors
    /// When a part failed, panicked, or ended before it was told to.
    pub(crate) fn result(self) -> Result<()> {
        self.failure.map_or(Ok(()), Err)
    }

    fn ended(&mut self, ended: Result<(Id, Result<()>), JoinError>) {
        let (id, result) = ended.unwrap_or_else(|error| (error.id(), Err(error.into())));
        let Some(part) = self.running.remove(&id) else { return };
        let Err(failure) = result else { return };
        let failure = failure.context(format!("the {part:?} part"));
        if self.failure.is_none() {
            self.failure = Some(failure);
        } else {
            // Most likely because of the first one.
            error!(error = format!("{failure:#}"), "a part of the server failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[track_caller]
    fn check(parts: Parts, expected: &[&str]) {
        let error = format!("{:#}", parts.result().unwrap_err());
        assert!(expected.iter().all(|word| error.contains(word)), "{error}");
    }

    async fn panics() -> Result<()> {
        panic!("a bug")
    }

    /// Gives up on what never comes, since nothing else goes on.
    async fn soon(what: impl Future<Output = ()>) {
        timeout(Duration::from_secs(1), what).await.expect("it waits for ever");
    }

    #[tokio::test(start_paused = true)]
    async fn the_loss_of_a_part_is_the_end_and_is_not_waited_for_again() {
        let mut parts = Parts::default();
        parts.start(Part::Manager, pending());
        parts.start(Part::Snapshots, panics());
        soon(parts.wait_for_end(&CancellationToken::new())).await;
        soon(parts.wait_for(Part::Snapshots)).await;
        check(parts, &["the Snapshots part", "panicked", "a bug"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_is_lost_at_the_end_is_an_error_too() {
        let (mut parts, shutdown) = (Parts::default(), CancellationToken::new());
        parts.start(Part::Manager, pending());
        let told = shutdown.clone();
        parts.start(Part::Notifier, async move {
            told.cancelled().await;
            panics().await
        });
        shutdown.cancel();
        soon(parts.wait_for_end(&shutdown)).await;
        soon(parts.wait_for(Part::Notifier)).await;
        check(parts, &["the Notifier part", "a bug"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_failure_counts() {
        let mut parts = Parts::default();
        parts.start(Part::Ipc, async { Ok(()) });
        soon(parts.wait_for_end(&CancellationToken::new())).await;
        parts.start(Part::Sets, async { Err(anyhow!("no more events")) });
        soon(parts.wait_for(Part::Sets)).await;
        check(parts, &["the Ipc part: ended by itself"]);
    }

    #[tokio::test(start_paused = true)]
    async fn parts_that_end_when_they_are_told_to_are_none() {
        let (mut parts, shutdown) = (Parts::default(), CancellationToken::new());
        let told = shutdown.clone();
        parts.start(Part::Ipc, async move {
            told.cancelled().await;
            Ok(())
        });
        shutdown.cancel();
        soon(parts.wait_for_end(&shutdown)).await;
        for part in [Part::Ipc, Part::Pipeline] {
            soon(parts.wait_for(part)).await;
        }
        parts.result().unwrap();
    }
}
