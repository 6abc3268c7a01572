//! Files: the [state](StateFile) of all checks, and a [log](EventLog) of changes.
//!
//! A disk can hang for minutes, so each file has a thread of its own, which nobody else waits for.

mod event_log;
mod state_file;

use std::io;
use std::thread;

use hc_types::CheckId;
use tokio::sync::{mpsc, oneshot};

pub use event_log::{EventLog, EventLogConfig};
pub use state_file::{StateFile, StateFileConfig};

use crate::backoff::Backoff;
use crate::{Report, SinkError};

/// What is done with reports on the thread of a file.
pub trait FileWriter: Send + 'static {
    /// Writes the reports down. May block.
    ///
    /// # Errors
    /// [`SinkError::File`] when they are not on the disk.
    fn write(&mut self, reports: &[Report]) -> Result<(), SinkError>;

    /// These checks are gone.
    fn forget(&mut self, ids: &[CheckId]);
}

enum Job {
    Write(Vec<Report>, oneshot::Sender<Result<(), SinkError>>),
    Forget(Vec<CheckId>),
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
    pub fn start(name: &str, mut writer: impl FileWriter) -> io::Result<Self> {
        // A write and what goes meanwhile: whoever has more waits.
        let (jobs, mut queue) = mpsc::channel(2);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            while let Some(job) = queue.blocking_recv() {
                match job {
                    // Whoever asked may have ended meanwhile.
                    Job::Write(reports, done) => drop(done.send(writer.write(&reports))),
                    Job::Forget(ids) => writer.forget(&ids),
                }
            }
        })?;
        Ok(Self { jobs, backoff: Backoff::default() })
    }

    /// Resolves when a delivery may be tried: at once, or after a pause that doubles from 1 s to 60 s with each failure in a row.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn ready(&self) {
        self.backoff.wait().await;
    }

    /// Writes the reports down.
    ///
    /// # Errors
    /// [`SinkError::File`] when they are not on the disk.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the writing to the thread.
    pub async fn deliver(&self, reports: &[Report]) -> Result<(), SinkError> {
        let (done, written) = oneshot::channel();
        let ended = || SinkError::exchange("file", "its thread has ended");
        let result = match self.jobs.send(Job::Write(reports.to_vec(), done)).await {
            Ok(()) => written.await.unwrap_or_else(|_| Err(ended())),
            Err(_) => Err(ended()),
        };
        self.backoff.note(&result);
        result
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
