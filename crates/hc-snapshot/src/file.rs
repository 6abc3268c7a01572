//! The snapshot on disk.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hc_types::{Override, Remembered};

use crate::codec::{self, DecodeError, Decoded, EncodeError};

/// Name of the snapshot in the state directory.
pub const FILE_NAME: &str = "health.snapshot";

/// The most that is read: two million checks, and as many overrides as there may be with the
/// longest texts. A larger file is not ours.
const MAX_BYTES: u64 = 320 * 1024 * 1024;

/// How far a clock may have been set back between two runs without making the snapshot one from the
/// future.
pub const TOLERANCE: Duration = Duration::from_secs(10);

/// Why a snapshot was not written. The old one is still there.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A record cannot be written down.
    #[error("cannot encode the snapshot: {0}")]
    Encode(#[source] EncodeError),
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
    /// A directory, a link, a pipe, a socket or a device has its name.
    #[error("{}: not a regular file", path.display())]
    NotAFile {
        /// What is there.
        path: PathBuf,
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
    /// There is one that was written later than now: the clock was set back, or the machine
    /// restored. How old it is cannot be known.
    FromTheFuture {
        /// When it says it was written.
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

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Health, if it is of use.
    pub health: Found,
    /// What operators say of checks, however old that is: each has an end of its own.
    pub overrides: Vec<Override>,
    /// Whether there are overrides that this program cannot read: another version has written them.
    pub overrides_unknown: bool,
}

/// Replaces the snapshot in `dir`, which must exist. The file has mode 0600 and is on the disk when
/// this returns.
///
/// Blocks on the disk: call it where that harms nobody. A kill during the call leaves the old
/// snapshot, and at worst a hidden temporary file beside it, which the next call removes.
///
/// # Errors
/// [`WriteError`], for example on a full disk; the old snapshot is then as it was.
pub fn write(
    dir: &Path,
    now: SystemTime,
    records: &[Remembered],
    overrides: &[Override],
) -> Result<usize, WriteError> {
    let bytes = codec::encode(now, records, overrides).map_err(WriteError::Encode)?;
    let io = |path: &Path, source| WriteError::Io { path: path.to_owned(), source };
    // A fixed name, so that one left behind by a kill is removed and not one of many.
    let temporary = dir.join(format!(".{FILE_NAME}.new"));
    let written = (|| {
        remove(&temporary)?;
        let mut file = create(&temporary)?;
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

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// A new file, so that it leads nowhere else, whatever has appeared there meanwhile.
fn create(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Reads the snapshot in `dir`. Only a regular file is read, and nothing is followed or waited for.
/// One that was written more than `max_age` before `now` is too old; one from the future (the clock
/// was set back), by more than [`TOLERANCE`], is not used either, since its age cannot be known.
///
/// # Errors
/// [`ReadError`] for a file that is there and cannot be used.
pub fn read(dir: &Path, now: SystemTime, max_age: Duration) -> Result<Contents, ReadError> {
    let path = dir.join(FILE_NAME);
    let io = |source| ReadError::Io { path: path.clone(), source };
    let mut bytes = Vec::new();
    match open_regular(&path) {
        Ok(Some(file)) => file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?,
        Ok(None) => return Err(ReadError::NotAFile { path }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Contents { health: Found::Nothing, overrides: Vec::new(), overrides_unknown: false });
        }
        Err(error) => return Err(io(error)),
    };
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io(io::Error::new(io::ErrorKind::FileTooLarge, "larger than any snapshot")));
    }
    let Decoded { written, records, overrides, overrides_unknown } =
        codec::decode(&bytes).map_err(|source| ReadError::Decode { path: path.clone(), source })?;
    let health = match now.duration_since(written) {
        Ok(age) if age > max_age => Found::TooOld { written },
        Err(ahead) if ahead.duration() > TOLERANCE => Found::FromTheFuture { written },
        _ => Found::Usable { written, records: not_in_the_future(records, now) },
    };
    Ok(Contents { health, overrides, overrides_unknown })
}

/// The clock may have been set back, by up to [`TOLERANCE`] since the file was written, by any time
/// before that: nothing can have begun after `now`, nor after the latest probe.
fn not_in_the_future(mut records: Vec<Remembered>, now: SystemTime) -> Vec<Remembered> {
    for record in &mut records {
        record.last_check = record.last_check.min(now);
        record.since = record.since.map(|since| since.min(record.last_check));
    }
    records
}

/// `None` for what is no regular file.
fn open_regular(path: &Path) -> io::Result<Option<File>> {
    // A pipe that nobody writes is opened at once, and a link is not followed.
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
    match fs::OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => Ok(file.metadata()?.is_file().then_some(file)),
        // What open(2) says of a link and of a socket.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENXIO)) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};
    use std::os::unix::net::UnixListener;
    use std::process::Command;
    use std::sync::mpsc::sync_channel;
    use std::thread;

    use hc_types::{CheckKey, Health, Operator, Ruling, Subject};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const TEMPORARY: &str = ".health.snapshot.new";

    /// Gives up on what blocks.
    #[track_caller]
    fn at_once<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, waiting) = sync_channel(1);
        thread::spawn(move || done.send(what()));
        waiting.recv_timeout(MINUTE).expect("it blocks")
    }

    /// Puts everything but a regular file at `path`, one after the other.
    fn for_each_other_kind(path: &Path, check: impl Fn(&str)) {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
        check("pipe");
        fs::remove_file(path).unwrap();
        let _socket = UnixListener::bind(path).unwrap();
        check("socket");
        fs::remove_file(path).unwrap();
        for target in [path.with_extension("target"), path.with_extension("nowhere"), "/dev/zero".into()] {
            symlink(&target, path).unwrap();
            check("link");
            fs::remove_file(path).unwrap();
        }
    }

    #[track_caller]
    fn health(dir: &Path, now: SystemTime) -> Found {
        read(dir, now, MINUTE).unwrap().health
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn record(key: u8) -> Remembered {
        Remembered {
            key: CheckKey::from_bytes([key; 16]),
            health: Health::Healthy,
            consecutive_failures: 1,
            failures: 2,
            successes: 3,
            last_check: at(990),
            since: Some(at(900)),
            duration: Duration::from_millis(4),
        }
    }

    #[test]
    fn the_newest_is_read_until_it_is_too_old() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(health(dir.path(), at(1000)), Found::Nothing);
        write(dir.path(), at(1000), &[record(1)], &[]).unwrap();
        write(dir.path(), at(1001), &[record(1), record(2)], &[]).unwrap();
        let usable = Found::Usable { written: at(1001), records: vec![record(1), record(2)] };
        assert_eq!(health(dir.path(), at(1061)), usable);
        assert_eq!(health(dir.path(), at(1062)), Found::TooOld { written: at(1001) });
        assert_eq!(health(dir.path(), at(991)), usable, "a clock set back a little");
        let ahead = Found::FromTheFuture { written: at(1001) };
        assert_eq!(health(dir.path(), at(990)), ahead);
        assert_eq!(health(dir.path(), at(5)), ahead);
    }

    /// The clock was set back while the process before ran, or since.
    #[test]
    fn nothing_has_begun_in_the_future() {
        let dir = tempfile::tempdir().unwrap();
        let times = |last_check, since| Remembered {
            last_check: at(last_check),
            since: Some(at(since)),
            ..record(1)
        };
        let read = |now| match health(dir.path(), at(now)) {
            Found::Usable { records, .. } => records,
            found => panic!("{found:?}"),
        };
        write(dir.path(), at(1000), &[times(999, 900), times(999, 5000), times(5000, 4000)], &[]).unwrap();
        assert_eq!(read(1000), [times(999, 900), times(999, 999), times(1000, 1000)]);
        assert_eq!(read(991), [times(991, 900), times(991, 991), times(991, 991)]);
    }

    #[test]
    fn overrides_are_read_however_old_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let order = Override {
            subject: Subject::Name("web".into()),
            title: "web".into(),
            ruling: Ruling::Pause,
            by: Operator { uid: 0, user: None },
            reason: "a test".into(),
            asked: at(1000),
            from: at(1000),
            until: None,
            weekly: None,
        };
        write(dir.path(), at(1000), &[record(1)], std::slice::from_ref(&order)).unwrap();
        for now in [at(1000), at(100_000), at(5)] {
            assert_eq!(read(dir.path(), now, MINUTE).unwrap().overrides, std::slice::from_ref(&order));
        }
    }

    #[test]
    fn nobody_else_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), at(1000), &[], &[]).unwrap();
        assert_eq!(fs::metadata(dir.path().join(FILE_NAME)).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_a_kill_leaves_behind_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(TEMPORARY), vec![7; 100_000]).unwrap();
        write(dir.path(), at(1000), &[record(1)], &[]).unwrap();
        let usable = Found::Usable { written: at(1000), records: vec![record(1)] };
        assert_eq!(health(dir.path(), at(1000)), usable);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_keeps_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), at(1000), &[record(1)], &[]).unwrap();
        // A directory in the way of the temporary file.
        fs::create_dir(dir.path().join(TEMPORARY)).unwrap();
        assert!(matches!(write(dir.path(), at(1001), &[record(2)], &[]), Err(WriteError::Io { .. })));
        let usable = Found::Usable { written: at(1000), records: vec![record(1)] };
        assert_eq!(health(dir.path(), at(1001)), usable);
    }

    #[test]
    fn only_a_regular_file_is_read_and_none_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        write(dir.path(), at(1000), &[record(1)], &[]).unwrap();
        // A good snapshot, for the link to lead to.
        fs::rename(&path, path.with_extension("target")).unwrap();
        let refused = |kind: &str| {
            let dir = dir.path().to_owned();
            let error = at_once(move || read(&dir, at(1000), MINUTE)).unwrap_err();
            assert_eq!(error.to_string(), format!("{}: not a regular file", path.display()), "{kind}");
        };
        for_each_other_kind(&path, refused);
        fs::create_dir(&path).unwrap();
        refused("directory");
        assert!(open_regular(Path::new("/dev/zero")).unwrap().is_none());
    }

    #[test]
    fn what_is_in_the_way_is_replaced_and_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        for name in [TEMPORARY, FILE_NAME] {
            let path = dir.path().join(name);
            let target = path.with_extension("target");
            fs::write(&target, "precious").unwrap();
            for_each_other_kind(&path, |kind| {
                let inside = dir.path().to_owned();
                at_once(move || write(&inside, at(1000), &[record(1)], &[])).unwrap();
                assert!(matches!(health(dir.path(), at(1000)), Found::Usable { .. }), "{kind}");
                assert_eq!(fs::metadata(dir.path().join(FILE_NAME)).unwrap().mode() & 0o777, 0o600, "{kind}");
                assert!(!path.with_extension("nowhere").exists());
                // For the next kind.
                fs::rename(dir.path().join(FILE_NAME), &path).unwrap();
            });
            assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
        }
    }

    #[test]
    fn what_appears_between_removal_and_creation_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(TEMPORARY);
        fs::write(&path, "precious").unwrap();
        let link = dir.path().join("link");
        symlink(dir.path().join("nowhere"), &link).unwrap();
        for path in [&path, &link] {
            assert_eq!(create(path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn errors_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE_NAME), "something else").unwrap();
        let error = read(dir.path(), at(1000), MINUTE).unwrap_err();
        assert!(error.to_string().ends_with("health.snapshot: not a snapshot of this program"), "{error}");
    }
}
