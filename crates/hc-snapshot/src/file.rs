//! The snapshot on disk.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hc_types::Remembered;

use crate::codec::{self, DecodeError};

/// Name of the snapshot in the state directory.
pub const FILE_NAME: &str = "health.snapshot";

/// The most that is read: two million checks. A larger file is not ours.
const MAX_BYTES: u64 = 160 * 1024 * 1024;

/// Why a snapshot was not written. The old one is still there.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A record cannot be written down.
    #[error("cannot encode the snapshot: {0}")]
    Encode(#[source] postcard::Error),
    /// The file cannot be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or the directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Why a snapshot that is there cannot be used. The program starts as if there were none.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is damaged, foreign, or of another version.
    #[error("{}: {source}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// Which.
        source: DecodeError,
    },
}

/// What is on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is no snapshot: a first start.
    Nothing,
    /// There is one, and it is too old to say anything about now.
    TooOld {
        /// When it was written.
        written: SystemTime,
    },
    /// There is one.
    Usable {
        /// When it was written.
        written: SystemTime,
        /// What it holds.
        records: Vec<Remembered>,
    },
}

/// Replaces the snapshot in `dir`, which must exist. The file has mode 0600 and is on the disk when this returns.
///
/// Blocks on the disk: call it where that harms nobody. A kill during the call leaves the old snapshot, and at worst a
/// hidden temporary file beside it, which the next call removes.
///
/// # Errors
/// [`WriteError`], for example on a full disk; the old snapshot is then as it was.
pub fn write(dir: &Path, now: SystemTime, records: &[Remembered]) -> Result<usize, WriteError> {
    let bytes = codec::encode(now, records).map_err(WriteError::Encode)?;
    let io = |path: &Path, source| WriteError::Io { path: path.to_owned(), source };
    // A fixed name, so that one left behind by a kill is overwritten and not one of many.
    let temporary = dir.join(format!(".{FILE_NAME}.new"));
    let written = (|| {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()
    })();
    if let Err(source) = written {
        // Half a file helps nobody and may be what fills the disk.
        let _ = fs::remove_file(&temporary);
        return Err(io(&temporary, source));
    }
    let path = dir.join(FILE_NAME);
    fs::rename(&temporary, &path).map_err(|source| io(&path, source))?;
    // The rename itself must reach the disk, too.
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| io(dir, source))?;
    Ok(bytes.len())
}

/// Reads the snapshot in `dir`. One that was written more than `max_age` before `now` is too old; one from the future
/// (the clock was set back) is taken for new, since its age cannot be known.
///
/// # Errors
/// [`ReadError`] for a file that is there and cannot be used.
pub fn read(dir: &Path, now: SystemTime, max_age: Duration) -> Result<Found, ReadError> {
    let path = dir.join(FILE_NAME);
    let io = |source| ReadError::Io { path: path.clone(), source };
    let mut bytes = Vec::new();
    match File::open(&path) {
        Ok(file) => file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(io(error)),
    };
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io(io::Error::new(io::ErrorKind::FileTooLarge, "larger than any snapshot")));
    }
    let (written, records) =
        codec::decode(&bytes).map_err(|source| ReadError::Decode { path: path.clone(), source })?;
    match now.duration_since(written) {
        Ok(age) if age > max_age => Ok(Found::TooOld { written }),
        _ => Ok(Found::Usable { written, records }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use hc_types::{Health, SubjectKey};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn record(key: u8) -> Remembered {
        Remembered {
            key: SubjectKey([key; 16]),
            health: Health::Healthy,
            consecutive_failures: 1,
            failures: 2,
            successes: 3,
            last_check: at(999),
            duration: Duration::from_millis(4),
        }
    }

    #[test]
    fn the_newest_is_read_until_it_is_too_old() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path(), at(1000), MINUTE).unwrap(), Found::Nothing);
        write(dir.path(), at(1000), &[record(1)]).unwrap();
        write(dir.path(), at(1001), &[record(1), record(2)]).unwrap();
        let usable = Found::Usable { written: at(1001), records: vec![record(1), record(2)] };
        assert_eq!(read(dir.path(), at(1061), MINUTE).unwrap(), usable);
        assert_eq!(read(dir.path(), at(1062), MINUTE).unwrap(), Found::TooOld { written: at(1001) });
        assert_eq!(read(dir.path(), at(5), MINUTE).unwrap(), usable, "a clock set back");
    }

    #[test]
    fn nobody_else_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), at(1000), &[]).unwrap();
        assert_eq!(fs::metadata(dir.path().join(FILE_NAME)).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_a_kill_leaves_behind_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(format!(".{FILE_NAME}.new")), vec![7; 100_000]).unwrap();
        write(dir.path(), at(1000), &[record(1)]).unwrap();
        let usable = Found::Usable { written: at(1000), records: vec![record(1)] };
        assert_eq!(read(dir.path(), at(1000), MINUTE).unwrap(), usable);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_keeps_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), at(1000), &[record(1)]).unwrap();
        // A directory in the way of the temporary file.
        fs::create_dir(dir.path().join(format!(".{FILE_NAME}.new"))).unwrap();
        assert!(matches!(write(dir.path(), at(1001), &[record(2)]), Err(WriteError::Io { .. })));
        let usable = Found::Usable { written: at(1000), records: vec![record(1)] };
        assert_eq!(read(dir.path(), at(1001), MINUTE).unwrap(), usable);
    }

    #[test]
    fn errors_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE_NAME), "something else").unwrap();
        let error = read(dir.path(), at(1000), MINUTE).unwrap_err();
        assert!(error.to_string().ends_with("health.snapshot: not a snapshot of this program"), "{error}");
    }
}
