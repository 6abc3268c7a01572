//! The state directory: one server uses it at a time, and it may be moved away, replaced or made
//! read-only meanwhile.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use hc_snapshot::WriteError;
use hc_types::{Override, Remembered};
use nix::errno::Errno;

/// How often, and at what distance, a lock that is held is tried again at the start:
/// systemd-tmpfiles holds it for a moment, and so does a server that is just ending.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Why a snapshot is not written, in words for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// A fixed word.
    pub(crate) label: &'static str,
    pub(crate) error: String,
    /// What to do.
    pub(crate) remedy: &'static str,
}

/// Why the server does not start with this directory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// Another server runs with it.
    #[error(
        "state directory in use: {} holds {}; stop it, or give this server a directory of its own ([state] dir)",
        holder(*pid), path.display()
    )]
    InUse { path: PathBuf, pid: Option<u32> },
    /// It cannot be made or opened.
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or("another process".to_owned(), |pid| format!("process {pid}"))
}

/// The directory, and the lock on it. The lock is one of flock(2) on the directory itself: no file
/// can be deleted or be left behind or come back from a backup, and the kernel takes it back from a
/// process that was killed.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    /// The directory that is locked, as long as it is.
    locked: Option<File>,
    /// The directory of the start, by device and inode. The sandbox may let the process into that
    /// one only.
    first: (u64, u64),
}

impl StateDir {
    /// Makes the directory if it is missing, and locks it. A lock that is held by a process which
    /// has ended, but whose disk hangs, is waited for by [`write`](Self::write) instead.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: path.to_owned(), source };
        make(path).map_err(io)?;
        let directory = File::open(path).map_err(io)?;
        let first = inode(&directory.metadata().map_err(io)?);
        let path = path.to_owned();
        for _ in 0..LOCK_TRIES {
            match directory.try_lock() {
                Ok(()) => return Ok(Self { path, locked: Some(directory), first }),
                Err(TryLockError::WouldBlock) => sleep(LOCK_PAUSE),
                Err(TryLockError::Error(error)) => {
                    tracing::warn!(dir = %path.display(), %error, "cannot lock the state directory; going on without");
                    return Ok(Self { path, locked: Some(directory), first });
                }
            }
        }
        let pid = holder_of(first.1);
        if pid.is_some_and(has_ended) {
            tracing::warn!(dir = %path.display(), pid, "the state directory is held by a process that was killed and hangs: waiting for it");
            return Ok(Self { path, locked: None, first });
        }
        Err(OpenError::InUse { path, pid })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a snapshot into the directory that is at the path now, once that is locked, and says
    /// how many bytes.
    ///
    /// # Errors
    /// [`Problem`].
    pub(crate) fn write(
        &mut self,
        now: SystemTime,
        records: &[Remembered],
        overrides: &[Override],
    ) -> Result<usize, Problem> {
        self.hold()?;
        hc_snapshot::write(&self.path, now, records, overrides).map_err(|error| self.problem(error))
    }

    /// Makes sure that the directory at the path is the one that is locked.
    fn hold(&mut self) -> Result<(), Problem> {
        let error = |error: io::Error| format!("{}: {error}", self.path.display());
        let here = match fs::metadata(&self.path) {
            Ok(meta) => inode(&meta),
            Err(missing) if missing.kind() == ErrorKind::NotFound => {
                // Confined, the server may not.
                make(&self.path).map_err(|_| Problem {
                    label: "gone",
                    error: error(missing),
                    remedy: "the state directory was moved or removed: put it back, or make a new one and restart hc-server",
                })?;
                inode(&fs::metadata(&self.path).map_err(|source| other(error(source)))?)
            }
            Err(source) => return Err(other(error(source))),
        };
        let locked = self.locked.as_ref().and_then(|locked| locked.metadata().ok());
        if locked.is_some_and(|locked| inode(&locked) == here) {
            return Ok(());
        }
        let directory = File::open(&self.path).map_err(|source| match source.kind() {
            ErrorKind::PermissionDenied => self.denied(error(source), here),
            _ => other(error(source)),
        })?;
        match directory.try_lock() {
            Ok(()) | Err(TryLockError::Error(_)) => {
                self.locked = Some(directory);
                Ok(())
            }
            Err(TryLockError::WouldBlock) => Err(Problem {
                label: "locked",
                error: format!("{}: {} holds it", self.path.display(), holder(holder_of(here.1))),
                remedy: "two servers use one state directory: stop one, or give it a directory of its own",
            }),
        }
    }

    fn problem(&self, error: WriteError) -> Problem {
        let text = error.to_string();
        let WriteError::Io { source, .. } = error else { return other(text) };
        match source.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EROFS) => Problem {
                label: "read_only",
                error: text,
                remedy: "the file system is read-only: look why (dmesg), and mount it to be written",
            },
            Some(Errno::ENOSPC | Errno::EDQUOT) => {
                Problem { label: "full", error: text, remedy: "the disk or the quota is full: make room" }
            }
            Some(Errno::EACCES | Errno::EPERM) => {
                let here = fs::metadata(&self.path).map_or(self.first, |meta| inode(&meta));
                self.denied(text, here)
            }
            // Moved between the look and the write.
            Some(Errno::ENOENT) => Problem {
                label: "gone",
                error: text,
                remedy: "the state directory was moved or removed: put it back, or make a new one and restart hc-server",
            },
            _ => other(text),
        }
    }

    /// What it means that the directory that is `here` now may not be written.
    fn denied(&self, error: String, here: (u64, u64)) -> Problem {
        if here == self.first {
            return Problem {
                label: "permission",
                error,
                remedy: "the state directory does not belong to the user of hc-server, or its mode forbids writing: chown it",
            };
        }
        Problem {
            label: "replaced",
            error,
            remedy: "another directory is in the place of the one that hc-server started with (a restore, a mount), and its sandbox lets it into that one only: restart hc-server",
        }
    }
}

/// What a directory is known by.
fn inode(meta: &fs::Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn other(error: String) -> Problem {
    Problem { label: "io", error, remedy: "look at the disk and at the state directory" }
}

/// Who holds the lock on the directory of this inode, where /proc tells.
fn holder_of(inode: u64) -> Option<u32> {
    pid_in(&fs::read_to_string("/proc/locks").ok()?, inode)
}

/// Reads proc_locks(5): `1: FLOCK  ADVISORY  WRITE 708 08:01:5678 0 EOF`.
fn pid_in(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace().skip_while(|word| *word != "FLOCK").skip(3);
        let (pid, file) = (words.next()?, words.next()?);
        // The device is left out: for some file systems it is another one than stat(2) gives.
        let same = file.rsplit(':').next()?.parse() == Ok(inode);
        same.then(|| pid.parse().ok().filter(|pid| *pid != 0)).flatten()
    })
}

/// Whether the process was killed, and only has a thread that hangs in the kernel.
fn has_ended(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in brackets may hold anything.
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_found_in_proc_locks() {
        let locks = "1: POSIX  ADVISORY  READ 5 08:01:77 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 708 08:01:77 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 709 08:01:77 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 0 00:1f:78 0 EOF\n";
        assert_eq!((pid_in(locks, 77), pid_in(locks, 78), pid_in(locks, 7)), (Some(708), None, None));
    }

    #[test]
    fn one_server_has_the_directory_and_the_other_hears_who() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateDir::open(dir.path()).unwrap();
        let error = StateDir::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {} holds", std::process::id())), "{error}");
        drop(first);
        StateDir::open(dir.path()).unwrap();
    }

    #[test]
    fn a_directory_that_was_replaced_or_removed_is_locked_and_written_again() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state");
        let mut state = StateDir::open(&path).unwrap();
        state.write(SystemTime::now(), &[], &[]).unwrap();
        fs::rename(&path, parent.path().join("old")).unwrap();
        // Unconfined, it is made again.
        state.write(SystemTime::now(), &[], &[]).unwrap();
        assert!(path.join(hc_snapshot::FILE_NAME).exists());
        fs::rename(&path, parent.path().join("older")).unwrap();
        let other = StateDir::open(&path).unwrap();
        let problem = state.write(SystemTime::now(), &[], &[]).unwrap_err();
        assert_eq!(problem.label, "locked");
        assert!(!path.join(hc_snapshot::FILE_NAME).exists());
        drop(other);
        state.write(SystemTime::now(), &[], &[]).unwrap();
    }
}
