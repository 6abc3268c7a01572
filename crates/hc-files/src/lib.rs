//! Checks from files, as a [`Source`]: read at the start, read again when somebody asks, and following the addresses of host names.
//!
//! A reading counts as a whole or not at all: while anything is wrong with the files the old checks stand. What did not change is
//! not probed anew, since the manager compares.

mod plan;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc as blocking;
use std::thread;

use hc_config::{Checks, ConfigErrors, Limits};
use hc_resolve::{Change, Handle, NamesConfig, Resolver, follow};
use hc_types::{Proposal, Reply, Source};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub use plan::Difference;

use plan::Planned;

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
}

/// Reads the files.
///
/// # Errors
/// Everything that is wrong with them.
pub fn load(config: &FilesConfig) -> Result<Checks, ConfigErrors> {
    let globs: Vec<&str> = config.files.iter().map(String::as_str).collect();
    hc_config::load(&globs, &config.limits)
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

/// What came of reading the files again, in words.
pub type Reloaded = Result<String, String>;

/// Asks for the files to be read again.
#[derive(Clone, Debug)]
pub struct Reloads(mpsc::Sender<oneshot::Sender<Reloaded>>);

impl Reloads {
    /// Reads the files again, and says what changed when it is in effect.
    ///
    /// # Errors
    /// What is wrong with the files, in words: then the old checks stand.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the files read again or not.
    pub async fn reload(&self) -> Reloaded {
        let (answer, answered) = oneshot::channel();
        let ended = || "the server is stopping".to_owned();
        self.0.send(answer).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

/// Reads files on a thread of its own, since a disk may hang.
struct Reader {
    ask: blocking::SyncSender<()>,
    read: mpsc::Receiver<Result<Checks, ConfigErrors>>,
}

impl Reader {
    fn start(config: FilesConfig) -> io::Result<Self> {
        let (ask, asked) = blocking::sync_channel::<()>(1);
        let (done, read) = mpsc::channel(1);
        thread::Builder::new().name("hc-files".to_owned()).spawn(move || {
            while asked.recv().is_ok() {
                if done.blocking_send(load(&config)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { ask, read })
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
    /// Who asked meanwhile: that reading may have begun before the files changed, so there is one more.
    later: Vec<oneshot::Sender<Reloaded>>,
    names: Handle,
    addresses: mpsc::Receiver<Change>,
}

impl FileSource {
    /// The checks that were read at the start, and what follows them. The future that is returned beside the source asks for
    /// addresses; it runs until `shutdown`.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(
        config: &FilesConfig,
        checks: Checks,
        resolver: Resolver,
        shutdown: CancellationToken,
    ) -> io::Result<(Self, Reloads, impl Future<Output = ()> + Send + use<>)> {
        let (changed, addresses) = mpsc::channel(16);
        let (names, following) = follow(resolver, config.names.clone(), changed, shutdown);
        let (sender, asked) = mpsc::channel(16);
        warn_of(&checks);
        let planned = Planned::new(checks);
        names.set(planned.hosts());
        let source = Self {
            planned,
            announced: false,
            reader: Reader::start(config.clone())?,
            asked,
            waiting: Vec::new(),
            later: Vec::new(),
            names,
            addresses,
        };
        Ok((source, Reloads(sender), following))
    }

    fn take(&mut self, read: Result<Checks, ConfigErrors>) -> Option<Proposal> {
        let waiting = std::mem::replace(&mut self.waiting, std::mem::take(&mut self.later));
        if !self.waiting.is_empty() {
            // There is room: the thread waits for it.
            let _ = self.reader.ask.try_send(());
        }
        match read {
            Ok(checks) => {
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
                let words = difference.to_string();
                let reply = Reply::new(move |rejected| {
                    let words = match rejected.len() {
                        0 => words,
                        count => format!("{words}; {count} rejected, see the log"),
                    };
                    waiting.into_iter().for_each(|answer| drop(answer.send(Ok(words.clone()))));
                });
                Some(Proposal { reply, ..proposal })
            }
            Err(errors) => {
                for problem in errors.diagnostics().iter().take(NAMED) {
                    error!(problem = %problem, "the files of checks are wrong");
                }
                error!(problems = errors.diagnostics().len(), "the old checks stand");
                let words = format!("the old checks stand:\n{errors}");
                waiting.into_iter().for_each(|answer| drop(answer.send(Err(words.clone()))));
                None
            }
        }
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
                        // There is room: the thread waits for it.
                        let _ = self.reader.ask.try_send(());
                    } else {
                        self.later.push(answer);
                    }
                }
                read = self.reader.read.recv() => {
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
