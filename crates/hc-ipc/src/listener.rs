//! The socket and its file.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Instant, sleep};

use crate::throttle::Throttle;
use crate::{AccountError, Incoming, Peer, PeerConfig, SocketConfig, accounts};

/// The longest path that fits into a `sockaddr_un` with its final zero.
const LONGEST_PATH: usize = 107;
/// How often, and at what distance, another server that is starting in the same directory is waited for.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Its directory does not exist.
    #[error("no directory for the socket: {} does not exist; make it with: mkdir -p {}", directory.display(), directory.display())]
    NoDirectory {
        /// The directory.
        directory: PathBuf,
    },
    /// Somebody listens there.
    #[error("socket in use: another process listens on {}", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else stands there, which is not ours to remove.
    #[error("{} exists and is not a socket", path.display())]
    NotASocket {
        /// What stands there.
        path: PathBuf,
    },
    /// The system takes no socket path of that length.
    #[error("the socket path {} is too long: at most {LONGEST_PATH} bytes", path.display())]
    PathTooLong {
        /// The path.
        path: PathBuf,
    },
    /// A user or a group of the configuration is not known.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The system refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A listening socket. Dropping it removes the file, unless another server has put its own there.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    // Declared, and so dropped, after the listener: a peer that still finds the file is refused, not left waiting.
    _file: SocketFile,
    peers: Peers,
    complaints: Throttle,
}

impl Listener {
    /// Binds the socket. A file that a dead server left behind is replaced; the new one appears with its mode and owner,
    /// never without.
    ///
    /// # Errors
    /// [`BindError`] when somebody listens there, something else stands there, the directory is missing or not writable,
    /// or a user or group is unknown.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O.
    pub async fn bind(config: &SocketConfig) -> Result<Self, BindError> {
        let peers = Peers::new(&config.peers)?;
        let user = config.user.as_deref().map(accounts::user).transpose()?;
        let group =
            config.group.as_deref().map(|name| accounts::group(name).map(|(gid, _)| gid)).transpose()?;
        let path = &config.path;
        let directory = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let passing = directory.join(format!(".hc{}", std::process::id()));
        if [path, &passing].into_iter().any(|path| path.as_os_str().len() > LONGEST_PATH) {
            return Err(BindError::PathTooLong { path: path.clone() });
        }
        // Until it is dropped: two servers that start at once must not both find the place free.
        let _lock = lock(directory).await?;
        check_free(path)?;
        // Bound under a passing name, so that nobody finds it before mode and owner are right.
        let _ = fs::remove_file(&passing);
        let listener = UnixListener::bind(&passing).map_err(io_error("bind a socket at", &passing))?;
        let mut file = SocketFile::of(passing)?;
        let mode = fs::Permissions::from_mode(config.mode & 0o777);
        fs::set_permissions(&file.path, mode).map_err(io_error("set the mode of", path))?;
        if user.is_some() || group.is_some() {
            chown(&file.path, user, group).map_err(io_error("set the owner of", path))?;
        }
        fs::rename(&file.path, path).map_err(io_error("put the socket at", path))?;
        file.path.clone_from(path);
        Ok(Self { listener, _file: file, peers, complaints: Throttle::complaint() })
    }
}

impl Incoming for Listener {
    type Stream = UnixStream;

    async fn accept(&mut self) -> io::Result<(UnixStream, Peer)> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            let credentials = stream.peer_cred()?;
            let peer = Peer { uid: credentials.uid(), gid: credentials.gid(), pid: credentials.pid() };
            if self.peers.allow(peer) {
                return Ok((stream, peer));
            }
            if let Some(held_back) = self.complaints.pass(Instant::now()) {
                tracing::warn!(peer.uid, peer.gid, peer.pid, held_back, "peer may not connect; closed");
            }
        }
    }
}

/// Who is served.
#[derive(Debug)]
struct Peers {
    uids: Vec<u32>,
    gids: Vec<u32>,
}

impl Peers {
    fn new(config: &PeerConfig) -> Result<Self, AccountError> {
        let mut peers = Self { uids: Vec::new(), gids: Vec::new() };
        if config.own_and_root {
            peers.uids.extend([0, accounts::own_user()]);
        }
        for name in &config.users {
            peers.uids.push(accounts::user(name)?);
        }
        for name in &config.groups {
            let (gid, members) = accounts::group(name)?;
            peers.gids.push(gid);
            peers.uids.extend(members);
        }
        Ok(peers)
    }

    fn allow(&self, peer: Peer) -> bool {
        self.uids.contains(&peer.uid) || self.gids.contains(&peer.gid)
    }
}

/// The file of a socket that we bound, known by its inode.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl SocketFile {
    fn of(path: PathBuf) -> Result<Self, BindError> {
        let meta = fs::symlink_metadata(&path).map_err(io_error("find", &path))?;
        Ok(Self { path, inode: (meta.dev(), meta.ino()) })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = |meta: fs::Metadata| (meta.dev(), meta.ino()) == self.inode;
        if fs::symlink_metadata(&self.path).is_ok_and(ours)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket");
        }
    }
}

/// Locks the directory itself, which leaves nothing behind. It only keeps apart servers that start at once; whoever may read
/// the directory can hold it, so `None` after a second, and the start goes on.
async fn lock(directory: &Path) -> Result<Option<File>, BindError> {
    let file = match File::open(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(BindError::NoDirectory { directory: directory.to_owned() });
        }
        file => file.map_err(io_error("open the directory", directory))?,
    };
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) => sleep(LOCK_PAUSE).await,
            Err(TryLockError::Error(source)) => {
                return Err(io_error("lock the directory", directory)(source));
            }
        }
    }
    tracing::warn!(directory = %directory.display(), "somebody holds the lock of the directory; going on without it");
    Ok(None)
}

/// Whether the socket can be put there.
fn check_free(path: &Path) -> Result<(), BindError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error("look at", path)(error)),
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(BindError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    // A datagram socket never reaches a stream listener (EPROTOTYPE if there is one, unix(7)), so asking does not look
    // like a new proxy to a server that lives: that would cost it the proxy it has.
    let asked = UnixDatagram::unbound().and_then(|socket| socket.connect(path));
    match asked {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "replacing the socket of a server that is gone");
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.raw_os_error() != Some(Errno::EPROTOTYPE as i32) => {
            Err(io_error("find out who listens on", path)(error))
        }
        Ok(()) | Err(_) => Err(BindError::InUse { path: path.to_owned() }),
    }
}

fn io_error(what: &'static str, path: &Path) -> impl Fn(io::Error) -> BindError {
    let path = path.to_owned();
    move |source| BindError::Io { what, path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(config: &PeerConfig, uid: u32, gid: u32, allowed: bool) {
        let peers = Peers::new(config).unwrap();
        assert_eq!(peers.allow(Peer { uid, gid, pid: None }), allowed, "{uid}:{gid} of {peers:?}");
    }

    #[test]
    fn root_and_ourselves_and_whoever_is_named() {
        let own = accounts::own_user();
        let default = PeerConfig::default();
        check(&default, 0, 4711, true);
        check(&default, own, 4711, true);
        check(&default, 54321, 0, false);
        let named = PeerConfig { users: vec!["54321".to_owned()], groups: vec!["777".to_owned()], ..default };
        check(&named, 54321, 4711, true);
        check(&named, 4711, 777, true);
        check(&named, 4711, 4711, false);
        let others = PeerConfig { own_and_root: false, ..named };
        check(&others, 0, 0, false);
        check(&others, own, 0, own == 54321);
    }
}
