//! Checks from files, as a [`Source`]: read at the start, read again when somebody asks, and
//! following the addresses of host names.
//!
//! A reading counts as a whole or not at all: while anything is wrong with the files the old checks
//! stand. What did not change is not probed anew, since the manager compares.

mod figures;
mod plan;
mod reader;
#[cfg(feature = "stepped")]
pub mod stepped;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use hc_config::{Checks, Limits};
use hc_resolve::{Change, Handle, NamesConfig, Resolver, follow};
use hc_types::{Proposal, Reply, Source};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub use figures::ReloadStats;
pub use plan::Difference;
pub use reader::{Loaded, load};

use figures::Figures;
use plan::Planned;
use reader::{Reader, Reading};

/// Diagnostics of one reading that the log names.
const NAMED: usize = 100;

/// Where the files are, and how much they may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesConfig {
    /// Globs.
    pub files: Vec<String>,
    /// Limits of what they make.
    pub limits: Limits,
    /// How long addresses of host names are believed.
    pub names: NamesConfig,
    /// Whether the files are read again when they have changed. They are looked at each second, and
    /// read once two looks in a row have seen the same.
    pub watch: bool,
}

/// The directories that the globs begin in: for a sandbox.
#[must_use]
pub fn directories(config: &FilesConfig) -> Vec<PathBuf> {
    let of_glob = |glob: &String| {
        // Up to the first component with a sign of a glob.
        let fixed: PathBuf = Path::new(glob)
            .components()
            .take_while(|part| !has_sign(part.as_os_str().as_encoded_bytes()))
            .collect();
        if fixed == Path::new(glob) { fixed.parent().map(Path::to_owned).unwrap_or(fixed) } else { fixed }
    };
    config.files.iter().map(of_glob).collect()
}

fn has_sign(part: &[u8]) -> bool {
    part.iter().any(|byte| b"*?[".contains(byte))
}

/// Why the old checks stand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The files are wrong: one problem a line.
    #[error("the old checks stand:\n{0}")]
    Wrong(String),
    /// The system lacks descriptors or memory to read them, which says nothing about what is in
    /// them. They are read again each second until that works.
    #[error("the old checks stand, and the files are read again until that works:\n{0}")]
    Shortage(String),
    /// The server ends.
    #[error("the server is stopping")]
    Stopping,
}

/// What came of reading the files again, in words.
pub type Reloaded = Result<String, ReloadError>;

/// Asks for the files to be read again.
#[derive(Clone, Debug)]
pub struct Reloads {
    ask: mpsc::Sender<oneshot::Sender<Reloaded>>,
    figures: Arc<Figures>,
}

impl Reloads {
    /// Reads the files again, and says what changed when it is in effect.
    ///
    /// # Errors
    /// [`ReloadError`]: then the old checks stand.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the files read again or not.
    pub async fn reload(&self) -> Reloaded {
        let (answer, answered) = oneshot::channel();
        self.ask.send(answer).await.map_err(|_| ReloadError::Stopping)?;
        answered.await.map_err(|_| ReloadError::Stopping)?
    }

    /// What came of all readings since the start, whoever or whatever asked for them.
    #[must_use]
    pub fn stats(&self) -> ReloadStats {
        self.figures.get()
    }
}

/// Checks from files, as a source.
pub struct FileSource {
    planned: Planned,
    /// The first set has been given out.
    announced: bool,
    reader: Reader,
    asked: mpsc::Receiver<oneshot::Sender<Reloaded>>,
    /// Who waits for the reading that goes on; empty when none does.
    waiting: Vec<oneshot::Sender<Reloaded>>,
    /// Who asked meanwhile: that reading may have begun before the files changed, so there is one
    /// more.
    later: Vec<oneshot::Sender<Reloaded>>,
    /// The last reading failed for a shortage, which is logged once.
    is_short: bool,
    figures: Arc<Figures>,
    names: Handle,
    addresses: mpsc::Receiver<Change>,
}

impl FileSource {
    /// The checks that were read at the start, and what follows them. The future that is returned
    /// beside the source asks for addresses; it runs until `shutdown`.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(
        config: &FilesConfig,
        loaded: Loaded,
        resolver: Resolver,
        shutdown: CancellationToken,
    ) -> io::Result<(Self, Reloads, impl Future<Output = ()> + Send + use<>)> {
        let (changed, addresses) = mpsc::channel(16);
        let (names, following) = follow(resolver, config.names.clone(), changed, shutdown);
        let (ask, asked) = mpsc::channel(16);
        let figures = Arc::new(Figures::new(SystemTime::now()));
        let reader = Reader::start(config.clone(), &loaded)?;
        let Loaded { checks, .. } = loaded;
        warn_of(&checks);
        let planned = Planned::new(checks);
        names.set(planned.hosts());
        let source = Self {
            planned,
            announced: false,
            reader,
            asked,
            waiting: Vec::new(),
            later: Vec::new(),
            is_short: false,
            figures: figures.clone(),
            names,
            addresses,
        };
        Ok((source, Reloads { ask, figures }, following))
    }

    fn take(&mut self, Reading { is_asked, checks }: Reading) -> Option<Proposal> {
        let mut waiting = Vec::new();
        if is_asked {
            waiting = std::mem::replace(&mut self.waiting, std::mem::take(&mut self.later));
            if !self.waiting.is_empty() {
                self.reader.ask();
            }
        }
        let was_short = std::mem::replace(&mut self.is_short, false);
        let checks = match checks {
            Ok(checks) => checks,
            Err(errors) => {
                let words = errors.to_string();
                let error = if errors.is_shortage() {
                    self.is_short = true;
                    self.figures.short();
                    if !was_short {
                        warn!(
                            problem = words,
                            "too few descriptors or too little memory to read the files of checks: the old checks stand, and the files are read again until that works"
                        );
                    }
                    ReloadError::Shortage(words)
                } else {
                    self.figures.wrong();
                    for problem in errors.diagnostics().iter().take(NAMED) {
                        error!(problem = %problem, "the files of checks are wrong");
                    }
                    error!(problems = errors.diagnostics().len(), "the old checks stand");
                    ReloadError::Wrong(words)
                };
                waiting.into_iter().for_each(|answer| drop(answer.send(Err(error.clone()))));
                return None;
            }
        };
        warn_of(&checks);
        let (proposal, difference) = self.planned.replace(checks);
        self.names.set(self.planned.hosts());
        info!(
            added = difference.added,
            removed = difference.removed,
            changed = difference.changed,
            unchanged = difference.unchanged,
            "the files of checks were read again"
        );
        let (words, figures) = (difference.to_string(), self.figures.clone());
        let reply = Reply::new(move |rejected| {
            figures.applied(SystemTime::now());
            let words = match rejected.len() {
                0 => words,
                count => format!("{words}; {count} rejected, see the log"),
            };
            waiting.into_iter().for_each(|answer| drop(answer.send(Ok(words.clone()))));
        });
        Some(Proposal { reply, ..proposal })
    }
}

impl Source for FileSource {
    async fn next(&mut self) -> Option<Proposal> {
        if !self.announced {
            self.announced = true;
            return Some(self.planned.all());
        }
        loop {
            // Each of these loses nothing when it is dropped.
            tokio::select! {
                Some(answer) = self.asked.recv() => {
                    if self.waiting.is_empty() {
                        self.waiting.push(answer);
                        self.reader.ask();
                    } else {
                        self.later.push(answer);
                    }
                }
                read = self.reader.next() => {
                    if let Some(proposal) = self.take(read?) {
                        return Some(proposal);
                    }
                }
                Some(change) = self.addresses.recv() => {
                    info!(name = &*change.name, addresses = change.addresses.len(), "a host name has other addresses");
                    if let Some(proposal) = self.planned.resolved(&change) {
                        return Some(proposal);
                    }
                }
            }
        }
    }
}

fn warn_of(checks: &Checks) {
    for warning in checks.warnings.iter().take(NAMED) {
        warn!(warning = %warning, "the files of checks");
    }
}

#[cfg(test)]
mod tests;
