//! The state of all checks in one JSON file.

#![allow(
    clippy::disallowed_methods,
    reason = "it keeps a pause between two writings, on a thread of its own"
)]

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use hc_api::{CheckState, States};
use hc_types::CheckId;
use serde::Serialize;
use serde::ser::{SerializeSeq as _, Serializer};

use super::FileWriter;
use crate::{Report, SinkError};

/// The file takes at most this part of its thread's time.
const SHARE: u32 = 10;

/// Where the state is written.
#[derive(Clone, Debug)]
pub struct StateFileConfig {
    /// The file. Its directory must exist and be writable: the file is replaced, not written over.
    pub path: PathBuf,
    /// The mode of the file, such as 0o644.
    pub mode: u32,
    /// The shortest time between two writings. What is delivered meanwhile is in the next one.
    pub interval: Duration,
    /// The name of this machine in the file.
    pub node: String,
}

/// Writes the state of all checks: `{"version":1,"node":…,"written_at":…,"checks":[…]}`, in the
/// order of ids. The file is replaced as a whole, so a reader sees the old or the new one.
pub struct StateFile {
    config: StateFileConfig,
    checks: BTreeMap<CheckId, Report>,
    /// When the next writing may begin.
    next: Option<Instant>,
    /// Whether the file lacks something that was delivered.
    dirty: bool,
    /// Whether the latest writing failed.
    failing: bool,
}

impl StateFile {
    /// A state without checks. Nothing is written before the first delivery.
    #[must_use]
    pub fn new(config: StateFileConfig) -> Self {
        Self { config, checks: BTreeMap::new(), next: None, dirty: false, failing: false }
    }

    fn replace(&self) -> io::Result<()> {
        let path = &self.config.path;
        let temporary = temporary(path);
        let written = self.write_to(&temporary).and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            // Half a file helps nobody and may be what fills the disk.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn write_to(&self, path: &Path) -> io::Result<()> {
        // One that a kill has left behind; never through a link that somebody put there.
        if let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(self.config.mode).open(path)?;
        let mut writer = BufWriter::new(&file);
        let states = States::new(self.config.node.as_str(), SystemTime::now(), Checks(&self.checks));
        serde_json::to_writer(&mut writer, &states)?;
        writer.write_all(b"\n")?;
        writer.flush()?;
        drop(writer);
        file.sync_all()
    }
}

impl FileWriter for StateFile {
    fn write(&mut self, reports: &[Report]) -> Result<(), SinkError> {
        self.checks.extend(reports.iter().map(|report| (report.id, report.clone())));
        self.dirty = true;
        // After a failure each delivery tries at once, so that its result is the truth about the
        // disk.
        if !self.failing && self.next.is_some_and(|next| next > Instant::now()) {
            return Ok(());
        }
        self.flush()
    }

    fn due(&self) -> Option<Instant> {
        self.next.filter(|_| self.dirty)
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        if !self.dirty {
            return Ok(());
        }
        let begun = Instant::now();
        let written =
            self.replace().map_err(|source| SinkError::File { path: self.config.path.clone(), source });
        self.next = Some(begun + self.config.interval.max(begun.elapsed() * SHARE));
        match &written {
            Ok(()) if self.failing => {
                tracing::info!(path = %self.config.path.display(), "the state file is written again");
            }
            Err(error) if !self.failing => {
                tracing::warn!(%error, "the state file cannot be written; trying again");
            }
            Ok(()) | Err(_) => {}
        }
        (self.dirty, self.failing) = (written.is_err(), written.is_err());
        written
    }

    fn forget(&mut self, ids: &[CheckId]) {
        for id in ids {
            self.checks.remove(id);
        }
        // Logged in there, and tried until it succeeds.
        let _ = self.write(&[]);
    }
}

/// A fixed name, so that one left behind by a kill is removed and not one of many.
fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

/// Written one by one: all at once would take several times the memory.
struct Checks<'a>(&'a BTreeMap<CheckId, Report>);

impl Serialize for Checks<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(Some(self.0.len()))?;
        for report in self.0.values() {
            let state: CheckState = report.state();
            sequence.serialize_element(&state)?;
        }
        sequence.end()
    }
}
