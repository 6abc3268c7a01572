//! The file of a socket: who has it, and whose it is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket};

use crate::BindError;
use crate::listener::io_error;

/// The file of a socket, known by its inode.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
    /// To be removed with it.
    pub(crate) ours: bool,
}

/// A socket's file that was just made, by descriptor: it stays the same file, whatever is put in
/// its place.
#[derive(Debug)]
pub(crate) struct Made {
    _file: File,
    path: PathBuf,
}

impl Made {
    /// A path to it for chmod(2) and chown(2).
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl SocketFile {
    pub(crate) fn of(path: PathBuf) -> Result<Self, BindError> {
        let meta = fs::symlink_metadata(&path).map_err(io_error("find", &path))?;
        Ok(Self { path, inode: (meta.dev(), meta.ino()), ours: true })
    }

    /// The file that bind(2) has just made with mode 0. Whoever may write to the directory can put
    /// another one in its place, or a link to one, so that its mode and owner would be changed:
    /// that is an error.
    pub(crate) fn made(path: &Path) -> Result<(Self, Made), BindError> {
        let find = io_error("find", path);
        let check = |meta: fs::Metadata| {
            if meta.file_type().is_socket() && meta.mode() & 0o7777 == 0 && meta.nlink() == 1 {
                return Ok((meta.dev(), meta.ino()));
            }
            Err(find(io::Error::other("another file was put in its place while it was bound")))
        };
        let inode = check(fs::symlink_metadata(path).map_err(&find)?)?;
        // From here on the file is removed if something fails, for example for want of descriptors.
        let mut socket = Self { path: path.to_owned(), inode, ours: true };
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
        let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path).map_err(&find)?;
        socket.inode = check(file.metadata().map_err(&find)?)?;
        // chmod(2) takes no such descriptor, but the path to it. Where /proc is not mounted, the
        // file's own has to do.
        let by_descriptor = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let reach = if by_descriptor.exists() { by_descriptor } else { path.to_owned() };
        Ok((socket, Made { _file: file, path: reach }))
    }

    pub(crate) fn is_there(&self) -> bool {
        stands(&self.path, self.inode)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.ours
            && self.is_there()
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket");
        }
    }
}

fn stands(path: &Path, inode: (u64, u64)) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| (meta.dev(), meta.ino()) == inode)
}

/// Removes the socket of a server that is gone, if it is still the one that was asked. What was put
/// in its place meanwhile stays, and bind(2) fails.
pub(crate) fn remove_dead(path: &Path, inode: (u64, u64)) -> Result<(), BindError> {
    if !stands(path, inode) {
        return Ok(());
    }
    fs::remove_file(path).map_err(io_error("remove the socket of a dead server at", path))
}

/// What stands where the socket is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Free {
    /// Nothing.
    Empty,
    /// The socket of a server that is gone: its device and inode.
    Dead((u64, u64)),
}

/// Whether the socket can be put there.
pub(crate) fn check_free(path: &Path) -> Result<Free, BindError> {
    let inode = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Free::Empty),
        Err(error) => return Err(io_error("look at", path)(error)),
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(BindError::NotASocket { path: path.to_owned() });
        }
        Ok(meta) => (meta.dev(), meta.ino()),
    };
    // A datagram socket never reaches a stream listener (EPROTOTYPE if there is one, unix(7)), so
    // asking does not look like a new proxy to a server that lives: that would cost an older one
    // the proxy it has.
    let asked = UnixDatagram::unbound().and_then(|socket| socket.connect(path));
    match asked {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "replacing the socket of a server that is gone");
            Ok(Free::Dead(inode))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Free::Empty),
        Err(error) if error.raw_os_error() != Some(Errno::EPROTOTYPE as i32) => {
            Err(io_error("find out who listens on", path)(error))
        }
        Ok(()) | Err(_) => Err(BindError::InUse { path: path.to_owned(), pid: listener_of(path) }),
    }
}

/// The process that listens, as the kernel vouches for it. It sees a connection that comes and goes
/// without a word, which takes nobody's place.
fn listener_of(path: &Path) -> Option<i32> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let asking = socket(AddressFamily::Unix, SockType::Stream, flags, None).ok()?;
    connect(asking.as_raw_fd(), &UnixAddr::new(path).ok()?).ok()?;
    getsockopt(&asking, PeerCredentials).ok().map(|peer| peer.pid()).filter(|pid| *pid > 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_file_that_bind_did_not_make_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let _socket = UnixListener::bind(at("made")).unwrap();
        mode(&at("made"), 0o000);
        assert!(SocketFile::made(&at("none")).is_err());
        // Links, to a socket of mode 0 and to nothing.
        for target in ["made", "nowhere"] {
            symlink(at(target), at("link")).unwrap();
            assert!(SocketFile::made(&at("link")).is_err(), "{target}");
            fs::remove_file(at("link")).unwrap();
        }
        fs::hard_link(at("made"), at("hard")).unwrap();
        assert!(SocketFile::made(&at("hard")).is_err());
        fs::remove_file(at("hard")).unwrap();
        fs::write(at("file"), "precious").unwrap();
        mode(&at("file"), 0o000);
        assert!(SocketFile::made(&at("file")).is_err());
        let _other = UnixListener::bind(at("other")).unwrap();
        mode(&at("other"), 0o600);
        assert!(SocketFile::made(&at("other")).is_err());
        assert!(["made", "file", "other"].iter().all(|name| at(name).exists()), "what is refused stays");
        assert!(SocketFile::made(&at("made")).is_ok());
        assert!(!at("made").exists());
    }

    #[test]
    fn mode_and_owner_go_to_the_file_that_was_made_whatever_takes_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let (path, victim) = (directory.path().join("s"), directory.path().join("victim"));
        let _socket = UnixListener::bind(&path).unwrap();
        mode(&path, 0o000);
        let (file, made) = SocketFile::made(&path).unwrap();
        fs::write(&victim, "precious").unwrap();
        mode(&victim, 0o600);
        let away = directory.path().join("away");
        fs::rename(&path, &away).unwrap();
        symlink(&victim, &path).unwrap();
        mode(made.path(), 0o666);
        assert_eq!(fs::metadata(&victim).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&away).unwrap().mode() & 0o777, 0o666);
        assert!(!file.is_there());
    }

    #[test]
    fn only_the_dead_socket_that_was_asked_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        let Free::Dead(inode) = check_free(&path).unwrap() else { panic!("it is dead") };
        fs::rename(&path, directory.path().join("away")).unwrap();
        let _living = UnixListener::bind(&path).unwrap();
        remove_dead(&path, inode).unwrap();
        assert!(path.exists());
        fs::rename(directory.path().join("away"), &path).unwrap();
        remove_dead(&path, inode).unwrap();
        assert!(!path.exists());
    }
}
