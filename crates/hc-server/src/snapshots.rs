//! Keeps health on disk: read at the start, written while the server runs and at its end.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use hc_manager::Manager;
use hc_snapshot::Found;
use hc_types::Remembered;
use humantime::format_rfc3339_seconds;
use tokio::select;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::config::StateConfig;
use crate::wiring::ChangeFlag;

/// How soon a changed state is on the disk, if the disk can.
const SOON: Duration = Duration::from_millis(250);

/// A snapshot that took so long is followed by a pause this many times as long: a slow disk and a large set cost one
/// part in twenty of a processor at most.
const REST: u32 = 20;

/// How long the last snapshot may take.
const LAST: Duration = Duration::from_secs(1);

/// The snapshot of this server.
pub(crate) struct Snapshots {
    /// `None` when there is no directory to keep it in.
    dir: Option<PathBuf>,
    interval: Duration,
    max_age: Duration,
    failing: bool,
}

impl Snapshots {
    /// Makes the directory if it is missing. Without one the server runs, and says that it will not remember.
    pub(crate) fn open(config: &StateConfig) -> Self {
        let StateConfig { dir, interval, max_age } = config;
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        let dir = match made {
            Ok(()) => Some(dir.clone()),
            Err(error) => {
                warn!(dir = %dir.display(), %error, "no state directory: health will not survive a restart");
                None
            }
        };
        Self { dir, interval: *interval, max_age: *max_age, failing: false }
    }

    pub(crate) fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// What an earlier process knew. A snapshot that cannot be used is one warning and a clean start.
    pub(crate) fn read(&mut self) -> Vec<Remembered> {
        let Some(dir) = &self.dir else { return Vec::new() };
        match hc_snapshot::read(dir, SystemTime::now(), self.max_age) {
            Ok(Found::Usable { written, records }) => {
                info!(checks = records.len(), written = %format_rfc3339_seconds(written), "health of the last run is remembered");
                records
            }
            Ok(Found::TooOld { written }) => {
                info!(written = %format_rfc3339_seconds(written), "the last snapshot is too old to be used");
                Vec::new()
            }
            Ok(Found::Nothing) => Vec::new(),
            Err(error) => {
                warn!(%error, "the last snapshot cannot be used: starting without it");
                Vec::new()
            }
        }
    }

    /// Writes the snapshot soon after a change of state, at least once in the interval, and at the end.
    #[allow(clippy::disallowed_methods, reason = "the driver of the snapshots reads the clock")]
    pub(crate) async fn keep(
        mut self,
        manager: Manager,
        changed: ChangeFlag,
        shutdown: CancellationToken,
    ) -> Result<()> {
        let Some(dir) = self.dir.take() else {
            shutdown.cancelled().await;
            return Ok(());
        };
        let mut written = Instant::now();
        let mut pause = SOON;
        // Both are cancel safe: nothing is lost with a sleep.
        while timeout(pause, shutdown.cancelled()).await.is_err() {
            pause = SOON;
            if !changed.take() && written.elapsed() < self.interval {
                continue;
            }
            let begin = Instant::now();
            // At the end too it is waited for, lest two writers meet in one temporary file; but not for ever.
            let too_late = async {
                shutdown.cancelled().await;
                sleep(LAST).await;
            };
            select! {
                () = self.write(&dir, &manager) => {}
                () = too_late => {
                    warn!("the disk hangs: the last snapshot was not written");
                    return Ok(());
                }
            }
            written = Instant::now();
            pause = pause.max((written - begin) * REST).min(self.interval.max(SOON));
        }
        if timeout(LAST, self.write(&dir, &manager)).await.is_err() {
            warn!("the last snapshot was not written in time");
        }
        Ok(())
    }

    async fn write(&mut self, dir: &Path, manager: &Manager) {
        // A manager that has ended takes the process with it.
        let Ok(records) = manager.export().await else { return };
        let dir = dir.to_owned();
        let count = records.len();
        let written = spawn_blocking(move || hc_snapshot::write(&dir, SystemTime::now(), &records)).await;
        match written.context("the writer of snapshots").and_then(|written| Ok(written?)) {
            Ok(bytes) => {
                debug!(checks = count, bytes, "snapshot written");
                if std::mem::take(&mut self.failing) {
                    info!("snapshots are written again");
                }
            }
            // Once for each time that it begins to fail, not for each try.
            Err(error) if !std::mem::replace(&mut self.failing, true) => {
                warn!(
                    error = format!("{error:#}"),
                    "cannot write a snapshot: health would not survive a restart"
                );
            }
            Err(error) => debug!(error = format!("{error:#}"), "still cannot write a snapshot"),
        }
    }
}
