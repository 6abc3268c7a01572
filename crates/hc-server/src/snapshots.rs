//! Keeps health on disk: read at the start, written while the server runs and at its end.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use hc_manager::Manager;
use hc_pipeline::Pipeline;
use hc_snapshot::{Contents, Found};
use hc_types::{Override, Remembered};
use humantime::format_rfc3339_seconds;
use tokio::select;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::config::StateConfig;
use crate::state::{OpenError, Problem, StateDir};
use crate::wiring::ChangeFlag;

/// How soon a changed state is on the disk, if the disk can.
const SOON: Duration = Duration::from_millis(250);

/// A snapshot that took so long is followed by a pause this many times as long: a slow disk and a
/// large set cost one part in twenty of a processor at most.
const REST: u32 = 20;

/// How long somebody waits for a snapshot, and how many do so at once.
const PATIENCE: Duration = Duration::from_secs(5);
const WAITING: usize = 16;

const NO_DIRECTORY: &str = "there is no state directory";

/// How long the last snapshot may take.
const LAST: Duration = Duration::from_secs(1);

/// If the one before took longer and is this fresh, it is the last one where no health has changed:
/// counters and failures in a row of these seconds are lost then, as by a kill. Whatever the
/// interval, since a snapshot that is too old says nothing to the next process.
const FRESH: Duration = Duration::from_secs(5);

/// See [`FRESH`].
const QUICK: Duration = Duration::from_millis(100);

/// The snapshot of this server.
pub(crate) struct Snapshots {
    /// `None` when there is no directory to keep it in.
    state: Option<StateDir>,
    interval: Duration,
    max_age: Duration,
}

/// What the thread that writes is asked for.
struct Job {
    records: Vec<Remembered>,
    overrides: Vec<Override>,
    reply: oneshot::Sender<Result<usize, Problem>>,
}

/// How much later than the interval says a snapshot may be written before it is missed.
const MISSED: Duration = Duration::from_secs(60);

/// What became of the snapshots, for whoever wants to show it.
#[derive(Debug)]
pub(crate) struct SnapshotFigures {
    /// When none would have been written for too long: from then on the disk hangs.
    limit: Duration,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    figures: Figures,
    /// Of the latest try, if it failed.
    label: Option<&'static str>,
    /// When one was last written; at first, when the server started.
    latest: Instant,
}

/// What became of the snapshots.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    /// Why none can be written now, in words.
    pub(crate) failing: Option<String>,
    /// Tries that failed.
    pub(crate) failures: u64,
    /// When one was last written.
    pub(crate) last_success: Option<SystemTime>,
}

impl SnapshotFigures {
    fn new(interval: Duration, failing: Option<String>, now: Instant) -> Self {
        let figures = Figures { failing, ..Figures::default() };
        let kept = Mutex::new(Kept { figures, label: None, latest: now });
        Self { limit: interval.saturating_add(MISSED), kept }
    }

    pub(crate) fn get(&self, now: Instant) -> Figures {
        let kept = self.lock();
        let mut figures = kept.figures.clone();
        let age = now.saturating_duration_since(kept.latest);
        // A disk that hangs refuses nothing.
        if figures.failing.is_none() && age > self.limit {
            figures.failing =
                Some(format!("no snapshot has been written for {} s: the disk hangs", age.as_secs()));
        }
        figures
    }

    /// Says whether the try before had failed.
    fn written(&self, time: SystemTime, now: Instant) -> bool {
        let mut kept = self.lock();
        (kept.figures.failing, kept.figures.last_success, kept.latest) = (None, Some(time), now);
        kept.label.take().is_some()
    }

    /// Says whether the try before had failed otherwise, or not at all.
    fn failed(&self, label: &'static str, why: &str) -> bool {
        let mut kept = self.lock();
        kept.figures.failures += 1;
        kept.figures.failing = Some(why.to_owned());
        kept.label.replace(label) != Some(label)
    }

    /// What is kept is whole at any time.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Snapshots, once their thread runs.
pub(crate) struct Keeper {
    jobs: Option<mpsc::Sender<Job>>,
    interval: Duration,
    figures: Arc<SnapshotFigures>,
    asked: mpsc::Receiver<Asked>,
    ask: Flush,
    /// Which overrides are on the disk.
    edition: u64,
}

/// Somebody who waits for a snapshot, to be told why there is none.
type Asked = oneshot::Sender<Result<(), String>>;

/// Has a snapshot written now.
#[derive(Clone)]
pub(crate) struct Flush(mpsc::Sender<Asked>);

impl Flush {
    /// Returns when a snapshot that was begun after the call is on the disk.
    ///
    /// # Errors
    /// Why it is not, in words.
    pub(crate) async fn flush(&self) -> Result<(), String> {
        let (reply, written) = oneshot::channel();
        let stopping = || "the server is stopping".to_owned();
        let asked = async {
            self.0.send(reply).await.map_err(|_| stopping())?;
            written.await.map_err(|_| stopping())?
        };
        timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err("the disk takes too long".to_owned()))
    }
}

impl Snapshots {
    /// Makes the directory if it is missing, and locks it. Without one the server runs, and says
    /// that it will not remember.
    ///
    /// # Errors
    /// When another server uses the directory.
    pub(crate) fn open(config: &StateConfig) -> Result<Self> {
        let StateConfig { dir, interval, max_age } = config;
        let state = match StateDir::open(dir) {
            Ok(state) => Some(state),
            Err(OpenError::Io { source, .. }) => {
                warn!(dir = %dir.display(), error = %source, "no state directory: health will not survive a restart");
                None
            }
            Err(error @ OpenError::InUse { .. }) => bail!(error),
        };
        Ok(Self { state, interval: *interval, max_age: *max_age })
    }

    pub(crate) fn dir(&self) -> Option<&Path> {
        self.state.as_ref().map(StateDir::path)
    }

    /// What an earlier process knew, and what operators said to it. A snapshot that cannot be used
    /// is one warning and a clean start.
    pub(crate) fn read(&self) -> (Vec<Remembered>, Vec<Override>) {
        let Some(dir) = self.dir() else { return Default::default() };
        let contents = hc_snapshot::read(dir, SystemTime::now(), self.max_age);
        let (found, overrides) = match contents {
            Ok(Contents { health, overrides, overrides_unknown }) => {
                if overrides_unknown {
                    error!(
                        "another version of hc-server has written overrides that this one cannot read: none is in force"
                    );
                }
                (Ok(health), overrides)
            }
            Err(error) => (Err(error), Vec::new()),
        };
        if !overrides.is_empty() {
            info!(overrides = overrides.len(), "overrides of the last run are remembered");
        }
        let records = match found {
            Ok(Found::Usable { written, records }) => {
                info!(checks = records.len(), written = %format_rfc3339_seconds(written), "health of the last run is remembered");
                records
            }
            Ok(Found::TooOld { written }) => {
                info!(written = %format_rfc3339_seconds(written), "the last snapshot is too old to be used");
                Vec::new()
            }
            Ok(Found::FromTheFuture { written }) => {
                warn!(
                    written = %format_rfc3339_seconds(written),
                    "the last snapshot is from the future (the clock was set back, or the machine restored): starting without it"
                );
                Vec::new()
            }
            Ok(Found::Nothing) => Vec::new(),
            Err(error) => {
                warn!(%error, "the last snapshot cannot be used: starting without it");
                Vec::new()
            }
        };
        (records, overrides)
    }

    /// Starts the thread that writes: the disk may hang, and no thread can be had for sure later.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(self) -> io::Result<Keeper> {
        let Self { state, interval, max_age: _ } = self;
        let jobs = state
            .map(|mut state| {
                let (jobs, mut todo) = mpsc::channel::<Job>(1);
                // Not joined, since it may hang. It ends with the keeper.
                Builder::new().name("hc-snapshots".to_owned()).spawn(move || {
                    while let Some(Job { records, overrides, reply }) = todo.blocking_recv() {
                        let _ = reply.send(state.write(SystemTime::now(), &records, &overrides));
                    }
                })?;
                io::Result::Ok(jobs)
            })
            .transpose()?;
        let (ask, asked) = mpsc::channel(WAITING);
        let failing = jobs.is_none().then(|| NO_DIRECTORY.to_owned());
        let figures = Arc::new(SnapshotFigures::new(interval, failing, Instant::now()));
        Ok(Keeper { jobs, interval, figures, asked, ask: Flush(ask), edition: 0 })
    }
}

impl Keeper {
    /// Has a snapshot written while [`keep`](Self::keep) runs.
    pub(crate) fn flush(&self) -> Flush {
        self.ask.clone()
    }

    /// What becomes of the snapshots.
    pub(crate) fn figures(&self) -> Arc<SnapshotFigures> {
        self.figures.clone()
    }

    /// Writes the snapshot soon after a change of state, at once when somebody asks, at least once
    /// in the interval, and at the end.
    #[allow(clippy::disallowed_methods, reason = "the driver of the snapshots reads the clock")]
    pub(crate) async fn keep(
        mut self,
        manager: Manager,
        pipeline: Arc<Pipeline>,
        changed: ChangeFlag,
        shutdown: CancellationToken,
    ) -> Result<()> {
        let Some(jobs) = self.jobs.take() else {
            // Whoever asks hears why not.
            while let Some(Some(asked)) = shutdown.run_until_cancelled(self.asked.recv()).await {
                let _ = asked.send(Err(NO_DIRECTORY.to_owned()));
            }
            return Ok(());
        };
        let mut written = Instant::now();
        let mut took = None;
        let mut pause = SOON;
        loop {
            // All three are cancel safe: nothing is lost with a sleep, and who has asked is in the
            // queue or here.
            let mut waiting = Vec::new();
            select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(asked) = self.asked.recv() => waiting.push(asked),
                () = sleep(pause) => {}
            }
            waiting.extend(std::iter::from_fn(|| self.asked.try_recv().ok()));
            pause = SOON;
            let is_due = changed.take()
                || pipeline.overrides_edition() != self.edition
                || written.elapsed() >= self.interval;
            if !is_due && waiting.is_empty() {
                continue;
            }
            let begin = Instant::now();
            // At the end too it is waited for, lest two writers meet in one temporary file; but not
            // for ever.
            let too_late = async {
                shutdown.cancelled().await;
                sleep(LAST).await;
            };
            let result = select! {
                result = self.write(&jobs, &manager, &pipeline) => result,
                () = too_late => {
                    warn!("the disk hangs: the last snapshot was not written");
                    return Ok(());
                }
            };
            written = Instant::now();
            took = result.is_ok().then(|| written - begin);
            for asked in waiting {
                let _ = asked.send(result.clone());
            }
            pause = pause.max((written - begin) * REST).min(self.interval.max(SOON));
        }
        let is_the_same = !changed.take() && pipeline.overrides_edition() == self.edition;
        if is_the_same && took.is_some_and(|took| took > QUICK) && written.elapsed() < FRESH {
            return Ok(());
        }
        if timeout(LAST, self.write(&jobs, &manager, &pipeline)).await.is_err() {
            warn!("the last snapshot was not written in time");
        }
        Ok(())
    }

    /// Says why there is no new snapshot.
    async fn write(
        &mut self,
        jobs: &mpsc::Sender<Job>,
        manager: &Manager,
        pipeline: &Pipeline,
    ) -> Result<(), String> {
        let stopping = || "the server is stopping".to_owned();
        // A manager that has ended takes the process with it.
        let records = manager.export().await.map_err(|_| stopping())?;
        let count = records.len();
        let (edition, overrides) = pipeline.overrides_to_keep();
        let (reply, written) = oneshot::channel();
        jobs.send(Job { records, overrides, reply }).await.map_err(|_| stopping())?;
        match written.await {
            Ok(Ok(bytes)) => {
                debug!(checks = count, bytes, "snapshot written");
                self.edition = edition;
                if self.figures.written(SystemTime::now(), Instant::now()) {
                    info!("snapshots are written again");
                }
                Ok(())
            }
            Ok(Err(Problem { label, error, remedy })) => {
                // Once for each time that it begins to fail, or fails otherwise, not for each try.
                let why = format!("{error}; {remedy}");
                if self.figures.failed(label, &why) {
                    warn!(
                        label,
                        error, remedy, "cannot write a snapshot: health would not survive a restart"
                    );
                } else {
                    debug!(label, error, "still cannot write a snapshot");
                }
                // Tried again in an interval, not at once.
                self.edition = edition;
                Err(why)
            }
            // The thread has ended, which takes a panic.
            Err(_) => {
                debug!("nobody writes snapshots");
                self.figures.failed("thread", "the thread that writes snapshots has ended");
                Err(stopping())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_is_shown_although_it_refuses_nothing() {
        let second = Duration::from_secs(1);
        let begin = Instant::now();
        let figures = SnapshotFigures::new(second * 5, None, begin);
        let failing = |seconds| figures.get(begin + second * seconds).failing;
        assert_eq!((failing(65), failing(66).is_some()), (None, true), "before the first");
        assert!(!figures.written(SystemTime::now(), begin + second * 60));
        assert_eq!(failing(125), None);
        assert_eq!(failing(126).unwrap(), "no snapshot has been written for 66 s: the disk hangs");
        let fails = |label| figures.failed(label, "the disk is full");
        assert_eq!([fails("full"), fails("full"), fails("io")], [true, false, true]);
        assert_eq!(failing(130).unwrap(), "the disk is full");
        assert!(figures.written(SystemTime::now(), begin + second * 130));
        assert_eq!((failing(140), figures.get(begin).failures), (None, 3));
    }
}
