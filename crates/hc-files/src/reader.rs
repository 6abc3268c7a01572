//! Reads the files on a thread of its own, since a disk may hang, and looks whether they have
//! changed if asked.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use hc_config::{Checks, ConfigErrors, Disk, Files};
use tokio::sync::mpsc;

use crate::FilesConfig;

/// How often the files are looked at. That costs a `stat(2)` for each.
const LOOK: Duration = Duration::from_secs(1);

/// What shows that a file has changed: device, inode, length, and the times of contents and inode
/// in nanoseconds.
type Stamp = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

/// The files and what each looked like.
type Look = BTreeMap<PathBuf, Stamp>;

fn stamp(path: &Path) -> Stamp {
    let meta = std::fs::metadata(path).ok()?;
    let (modified, changed) = ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()));
    Some((meta.dev(), meta.ino(), meta.len(), modified, changed))
}

fn is_empty(stamp: &Stamp) -> bool {
    matches!(stamp, Some((_, _, 0, _, _)))
}

/// The disk, and what each file that was read through it looked like just before.
#[derive(Debug, Default)]
struct Recording(RefCell<Look>);

impl Files for Recording {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.borrow_mut().entry(path.to_owned()).or_insert_with(|| stamp(path));
        Disk.read(path)
    }
}

/// What a reading of the files gave.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The checks.
    pub checks: Checks,
    seen: Look,
}

impl Loaded {
    /// All files that were read: those of the globs, and those that are named in them, such as
    /// files of secrets.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.seen.keys().map(PathBuf::as_path)
    }
}

/// Reads the files.
///
/// # Errors
/// Everything that is wrong with them.
pub fn load(config: &FilesConfig) -> Result<Loaded, ConfigErrors> {
    let (checks, seen) = read(config);
    Ok(Loaded { checks: checks?, seen })
}

fn read(config: &FilesConfig) -> (Result<Checks, ConfigErrors>, Look) {
    let disk = Recording::default();
    let checks = hc_config::load_through(&globs(config), &config.limits, &disk);
    (checks, disk.0.into_inner())
}

fn globs(config: &FilesConfig) -> Vec<&str> {
    config.files.iter().map(String::as_str).collect()
}

/// One reading of the files.
pub(crate) struct Reading {
    /// Somebody asked for it; else the files have changed, or could not be read for a shortage
    /// before.
    pub(crate) is_asked: bool,
    pub(crate) checks: Result<Checks, ConfigErrors>,
}

pub(crate) struct Reader {
    ask: SyncSender<()>,
    read: mpsc::Receiver<Reading>,
}

impl Reader {
    /// `loaded` is what was read last.
    pub(crate) fn start(config: FilesConfig, loaded: &Loaded) -> io::Result<Self> {
        let (ask, asked) = sync_channel::<()>(1);
        let (done, read) = mpsc::channel(1);
        let watch = Watch { seen: loaded.seen.clone(), changing: None, config };
        thread::Builder::new().name("hc-files".to_owned()).spawn(move || watch.run(&asked, &done))?;
        Ok(Self { ask, read })
    }

    /// Asks for a reading. To be called when none that was asked for is outstanding: then there is
    /// room.
    pub(crate) fn ask(&self) {
        let _ = self.ask.try_send(());
    }

    /// The next reading. `None` when the thread has ended.
    pub(crate) async fn next(&mut self) -> Option<Reading> {
        self.read.recv().await
    }
}

/// The thread.
struct Watch {
    config: FilesConfig,
    /// What was read last.
    seen: Look,
    /// What the last look showed, if that is something else.
    changing: Option<Look>,
}

impl Watch {
    fn run(mut self, asked: &Receiver<()>, done: &mpsc::Sender<Reading>) {
        let mut again = false;
        loop {
            let waited = match self.config.watch || again {
                true => asked.recv_timeout(LOOK),
                false => asked.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let is_asked = match waited {
                Ok(()) => true,
                Err(RecvTimeoutError::Timeout) if again || self.has_settled() => false,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let (checks, seen) = read(&self.config);
            again = checks.as_ref().is_err_and(ConfigErrors::is_shortage);
            if !again {
                if !is_asked && self.config.watch && self.changed_since(&seen) {
                    continue;
                }
                (self.seen, self.changing) = (seen, None);
            }
            if done.blocking_send(Reading { is_asked, checks }).is_err() {
                return;
            }
        }
    }

    /// Whether the files are others than those that were read, and stand still: two looks in a row
    /// have seen the same.
    ///
    /// Example: an editor writes half of a file at 0.9 s and the rest at 1.1 s. The looks at 1 s
    /// and 2 s differ, those at 2 s and 3 s do not, and the file is read at 3 s. A file that was
    /// made empty is one that is about to be written: whoever wants no checks says so with a
    /// comment.
    fn has_settled(&mut self) -> bool {
        let now = self.look(self.seen.keys());
        if now == self.seen {
            self.changing = None;
            return false;
        }
        let emptied =
            |(path, stamp): (&PathBuf, &Stamp)| is_empty(stamp) && self.seen.get(path) != Some(stamp);
        let settled = self.changing.as_ref() == Some(&now) && !now.iter().any(emptied);
        self.changing = Some(now);
        settled
    }

    /// Whether the files have changed while they were read: then the next looks say when they stand
    /// still.
    fn changed_since(&mut self, seen: &Look) -> bool {
        let now = self.look(seen.keys());
        let has_changed = now != *seen;
        if has_changed {
            self.changing = Some(now);
        }
        has_changed
    }

    /// What the files of the globs, and those of `more`, look like now.
    fn look<'p>(&self, more: impl Iterator<Item = &'p PathBuf>) -> Look {
        let matching = hc_config::matching(&globs(&self.config));
        let paths: BTreeSet<PathBuf> = matching.into_iter().chain(more.cloned()).collect();
        paths
            .into_iter()
            .map(|path| {
                let stamp = stamp(&path);
                (path, stamp)
            })
            .collect()
    }
}
