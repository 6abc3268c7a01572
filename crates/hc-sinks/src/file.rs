//! Files: the [state](StateFile) of all checks, and a [log](EventLog) of changes.
//!
//! A disk can hang for minutes, so each file has a thread of its own, which nobody else waits for.

mod event_log;
mod state_file;

use std::io;
use std::thread;
use std::time::Instant;

use hc_types::CheckId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout_at;

pub use event_log::{EventLog, EventLogConfig};
pub use state_file::{StateFile, StateFileConfig};

use crate::backoff::Backoff;
use crate::{OverrideNews, Report, SinkError};

/// What is done with reports on the thread of a file.
pub trait FileWriter: Send + 'static {
    /// Writes the reports down, or notes them and says in [`due`](Self::due) when they are. May
    /// block.
    ///
    /// # Errors
    /// [`SinkError::File`] when the disk does not take them.
    fn write(&mut self, reports: &[Report]) -> Result<(), SinkError>;

    /// Writes what is new of overrides down. May block. Does nothing by default.
    ///
    /// # Errors
    /// [`SinkError::File`] when the disk does not take them.
    fn write_overrides(&mut self, news: &[OverrideNews]) -> Result<(), SinkError> {
        let _ = news;
        Ok(())
    }

    /// When what was noted is to be written; `None` when nothing is. Never by default.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// Writes what was noted. May block. Does nothing by default.
    ///
    /// # Errors
    /// [`SinkError::File`] when the disk does not take it.
    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// These checks are gone.
    fn forget(&mut self, ids: &[CheckId]);
}

enum Job {
    Write(Vec<Report>, oneshot::Sender<Result<(), SinkError>>),
    WriteOverrides(Vec<OverrideNews>, oneshot::Sender<Result<(), SinkError>>),
    Forget(Vec<CheckId>),
    Flush(oneshot::Sender<Result<(), SinkError>>),
}

/// A file sink and its thread, which ends when this is dropped and the disk answers.
pub struct FileSink {
    jobs: mpsc::Sender<Job>,
    backoff: Backoff,
}

impl FileSink {
    /// Starts the thread, under the name `name`.
    ///
    /// # Errors
    /// When the system has no thread to spare.
    pub fn start(name: &str, writer: impl FileWriter) -> io::Result<Self> {
        // For the clock alone.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        // A write and what goes meanwhile: whoever has more waits.
        let (jobs, queue) = mpsc::channel(2);
        thread::Builder::new().name(name.to_owned()).spawn(move || runtime.block_on(work(queue, writer)))?;
        Ok(Self { jobs, backoff: Backoff::default() })
    }

    /// Resolves when a delivery may be tried: at once, or after a pause that doubles from 1 s to 60
    /// s with each failure in a row.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn ready(&self) {
        self.backoff.wait().await;
    }

    /// Writes the reports down, a [`StateFile`] within its interval.
    ///
    /// # Errors
    /// [`SinkError::File`] when the disk does not take them, or did not take those before.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the writing to the thread.
    pub async fn deliver(&self, reports: &[Report]) -> Result<(), SinkError> {
        let result = self.ask(|done| Job::Write(reports.to_vec(), done)).await;
        self.backoff.note(&result);
        result
    }

    /// Writes what is new of overrides down.
    ///
    /// # Errors
    /// [`SinkError::File`] when the disk does not take them.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the writing to the thread.
    pub async fn deliver_overrides(&self, news: &[OverrideNews]) -> Result<(), SinkError> {
        let result = self.ask(|done| Job::WriteOverrides(news.to_vec(), done)).await;
        self.backoff.note(&result);
        result
    }

    /// Writes at once what was delivered and is not on the disk yet.
    ///
    /// # Errors
    /// [`SinkError::File`] when the disk does not take it.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the writing to the thread.
    pub async fn flush(&self) -> Result<(), SinkError> {
        self.ask(Job::Flush).await
    }

    async fn ask(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<(), SinkError>>) -> Job,
    ) -> Result<(), SinkError> {
        let (done, written) = oneshot::channel();
        let ended = || SinkError::exchange("file", "its thread has ended");
        self.jobs.send(job(done)).await.map_err(|_| ended())?;
        written.await.unwrap_or_else(|_| Err(ended()))
    }

    /// These checks are gone. Waits while the disk hangs.
    ///
    /// # Cancel safety
    /// Dropping the future leaves them forgotten or not.
    pub async fn forget(&self, ids: &[CheckId]) {
        // A thread that has ended is found out by the next delivery.
        let _ = self.jobs.send(Job::Forget(ids.to_vec())).await;
    }
}

/// Does what is asked for, one after the other, until nobody can ask any more.
async fn work(mut queue: mpsc::Receiver<Job>, mut writer: impl FileWriter) {
    loop {
        // Both ways of receiving lose no job.
        let job = match writer.due() {
            None => queue.recv().await,
            Some(due) => match timeout_at(due.into(), queue.recv()).await {
                Ok(job) => job,
                Err(_) => {
                    // The writer has logged it, and the next delivery says so, too.
                    let _ = writer.flush();
                    continue;
                }
            },
        };
        match job {
            // Whoever asked may have ended meanwhile.
            Some(Job::Write(reports, done)) => drop(done.send(writer.write(&reports))),
            Some(Job::WriteOverrides(news, done)) => drop(done.send(writer.write_overrides(&news))),
            Some(Job::Flush(done)) => drop(done.send(writer.flush())),
            Some(Job::Forget(ids)) => writer.forget(&ids),
            None => return drop(writer.flush()),
        }
    }
}
