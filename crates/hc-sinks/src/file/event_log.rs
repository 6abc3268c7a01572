//! A line of JSON for each change.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::time::SystemTime;

use hc_types::CheckId;

use super::FileWriter;
use crate::report::{self, Sent};
use crate::{OverrideNews, Report, SinkError};

/// Where changes are written.
#[derive(Clone, Debug)]
pub struct EventLogConfig {
    /// The file, or `None` for standard output.
    pub path: Option<PathBuf>,
    /// The mode of a file that is made, such as 0o640.
    pub mode: u32,
    /// The name of this machine in each line.
    pub node: String,
}

/// Appends a line of JSON for each change of health, and of overrides where it is given them. A
/// file that was moved away or removed (log rotation) is made again.
pub struct EventLog {
    config: EventLogConfig,
    sent: Sent,
    file: Option<File>,
}

impl EventLog {
    /// A log of which nothing is written yet.
    #[must_use]
    pub fn new(config: EventLogConfig) -> Self {
        Self { config, sent: Sent::default(), file: None }
    }

    fn add(&mut self, lines: &[u8]) -> Result<(), SinkError> {
        if lines.is_empty() {
            return Ok(());
        }
        let path = self.config.path.clone().unwrap_or_else(|| "standard output".into());
        self.append(lines).map_err(|source| SinkError::File { path, source })
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let Some(path) = &self.config.path else {
            let mut out = io::stdout().lock();
            out.write_all(lines)?;
            return out.flush();
        };
        let is_same = |file: &File| -> io::Result<bool> {
            let (open, named) = (file.metadata()?, std::fs::metadata(path)?);
            Ok((open.dev(), open.ino()) == (named.dev(), named.ino()))
        };
        if !self.file.as_ref().is_some_and(|file| is_same(file).unwrap_or(false)) {
            let options = OpenOptions::new().append(true).create(true).mode(self.config.mode).open(path);
            self.file = Some(options?);
        }
        // Opened above.
        let Some(file) = &mut self.file else { return Ok(()) };
        let length = file.metadata()?.len();
        let written = file.write_all(lines);
        if written.is_err() {
            // The disk may have had room for half a line, and all of them are written again.
            let _ = file.set_len(length);
        }
        written
    }
}

impl FileWriter for EventLog {
    fn write(&mut self, reports: &[Report]) -> Result<(), SinkError> {
        let mut lines = Vec::new();
        for event in self.sent.news(reports) {
            report::line(&self.config.node, SystemTime::now(), &event, &mut lines);
        }
        self.add(&lines)?;
        self.sent.delivered(reports);
        Ok(())
    }

    fn write_overrides(&mut self, news: &[OverrideNews]) -> Result<(), SinkError> {
        let mut lines = Vec::new();
        for one in news {
            report::override_line(&self.config.node, SystemTime::now(), one, &mut lines);
        }
        self.add(&lines)
    }

    fn forget(&mut self, ids: &[CheckId]) {
        self.sent.forget(ids);
    }
}
