//! The socket and its file.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hc_types::Throttle;
use nix::sys::socket::sockopt::{AcceptConn, SockType as SockTypeOpt};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrLike as _, SockaddrStorage, UnixAddr, bind,
    getsockname, getsockopt, listen, socket,
};
use tokio::net::{UnixListener, UnixStream};
use tokio::select;
use tokio::time::{Instant, sleep, sleep_until};

use crate::socket_file::{Free, SocketFile, check_free, remove_dead};
use crate::throttle::complaint;
use crate::{AccountError, Incoming, Peer, PeerConfig, SocketConfig, accounts};

/// The longest path that fits into a `sockaddr_un` with its final zero.
const LONGEST_PATH: usize = 107;
/// How often, and at what distance, another server that is starting in the same directory is waited
/// for.
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
    #[error("socket in use: {} listens on {}", process(*pid), path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
        /// Who, if the kernel says so.
        pid: Option<i32>,
    },
    /// The directory was made anew while the server ran, and the sandbox does not let it in.
    #[error("no access to {}, which is not the directory that this server started with: restart it", directory.display())]
    Confined {
        /// The directory.
        directory: PathBuf,
    },
    /// A descriptor that was handed over cannot be served.
    #[error("the descriptor that was handed over (LISTEN_FDS) {why}")]
    HandedOver {
        /// Why not.
        why: String,
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

/// How often the socket's file is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// A listening socket. Dropping it removes the file, unless another server has put its own there.
///
/// While it accepts it looks at its file twice a second, and binds again when that was removed or
/// replaced: by a cleaner, by a person, with the whole directory.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    // Declared, and so dropped, after the listener: a peer that still finds the file is refused,
    // not left waiting.
    file: Option<SocketFile>,
    place: Place,
    peers: Peers,
    complaints: Throttle,
    next_look: Instant,
    /// Why it could not be bound again, as it was logged.
    missing: Option<String>,
}

/// Where the socket is bound, and whose its file is.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    mode: u32,
    user: Option<u32>,
    group: Option<u32>,
    /// systemd bound it, and it is systemd's to remove or to bind again.
    handed_over: bool,
}

impl Listener {
    /// Binds the socket. A file that a dead server left behind is replaced. The file appears under
    /// its final name, and nobody may connect until its mode and owner are right.
    ///
    /// # Errors
    /// [`BindError`] when somebody listens there, something else stands there, the directory is
    /// missing or not writable, or a user or group is unknown.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O.
    pub async fn bind(config: &SocketConfig) -> Result<Self, BindError> {
        let peers = Peers::new(&config.peers)?;
        let user = config.user.as_deref().map(accounts::user).transpose()?;
        let group =
            config.group.as_deref().map(|name| accounts::group(name).map(|(gid, _)| gid)).transpose()?;
        let mode = config.mode & 0o777;
        let place = Place { path: config.path.clone(), mode, user, group, handed_over: false };
        if place.path.as_os_str().len() > LONGEST_PATH {
            return Err(BindError::PathTooLong { path: place.path });
        }
        // Before the lock as well: one that is in use need not be waited for.
        check_free(&place.path)?;
        // Until it is dropped: two servers that start at once must not both find the place free.
        let _lock = lock(place.directory()).await?;
        let (listener, file) = place.bind()?;
        Ok(Self::new(listener, Some(file), place, peers))
    }

    /// Serves a socket that somebody else has bound, such as systemd (sd_listen_fds(3)). Its file
    /// is not touched.
    ///
    /// # Errors
    /// [`BindError`] when it is no listening Unix stream socket, or a user or group of the
    /// configuration is unknown.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O.
    pub fn handed_over(socket: OwnedFd, config: &SocketConfig) -> Result<Self, BindError> {
        let peers = Peers::new(&config.peers)?;
        let wrong = |why: &str| BindError::HandedOver { why: why.to_owned() };
        let family = getsockname::<SockaddrStorage>(socket.as_raw_fd()).map_err(|_| wrong("is no socket"))?;
        if family.family() != Some(AddressFamily::Unix) {
            return Err(wrong("is no Unix socket"));
        }
        if !matches!(getsockopt(&socket, SockTypeOpt), Ok(SockType::Stream)) {
            return Err(wrong("is no stream socket"));
        }
        if !matches!(getsockopt(&socket, AcceptConn), Ok(true)) {
            return Err(wrong("does not listen; in the .socket unit, ListenStream= is needed and Accept=no"));
        }
        let listener = std::os::unix::net::UnixListener::from(socket);
        let path = listener.local_addr().ok().and_then(|address| address.as_pathname().map(Path::to_owned));
        let path = path.unwrap_or_default();
        let io = io_error("use the socket that was handed over", &path);
        listener.set_nonblocking(true).map_err(&io)?;
        let listener = UnixListener::from_std(listener).map_err(&io)?;
        // Without a file (an abstract name) there is nothing to look at.
        let mut file = SocketFile::of(path.clone()).ok();
        if let Some(file) = &mut file {
            file.ours = false;
        }
        let place = Place { path: path.clone(), mode: 0, user: None, group: None, handed_over: true };
        Ok(Self::new(listener, file, place, peers))
    }

    /// Where it listens; empty for a socket without a file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.place.path
    }

    /// The directory that it needs for its file; `None` for a socket that was handed over.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        (!self.place.handed_over).then(|| self.place.directory())
    }

    /// Whether its file is given to another user or group, now and when it is bound again: that
    /// takes `CAP_CHOWN`.
    #[must_use]
    pub fn changes_owner(&self) -> bool {
        self.place.changes_owner()
    }

    fn new(listener: UnixListener, file: Option<SocketFile>, place: Place, peers: Peers) -> Self {
        let (complaints, next_look) = (complaint(), Instant::now() + LOOK);
        Self { listener, file, place, peers, complaints, next_look, missing: None }
    }

    /// Looks at the file, and binds again if it is not ours any more.
    fn look(&mut self) {
        let Some(file) = &self.file else { return };
        if file.is_there() {
            if self.missing.take().is_some() {
                tracing::info!(path = %self.place.path.display(), "the socket's file is back");
            }
            return;
        }
        let path = self.place.path.display();
        if self.place.handed_over {
            if self.missing.is_none() {
                tracing::error!(
                    %path,
                    remedy = "systemctl restart hc-server.socket hc-server",
                    "the socket's file was removed or replaced, and systemd does not make it again: hc-proxy cannot connect"
                );
                self.missing = Some(String::new());
            }
            return;
        }
        match self.place.bind_again() {
            Ok((listener, file)) => {
                // Both of the old ones go. The file is not removed with them, since it is not
                // theirs.
                self.listener = listener;
                self.file = Some(file);
                self.missing = None;
                tracing::warn!(%path, "the socket's file was removed or replaced: bound again");
            }
            Err(error) => {
                let error = error.to_string();
                if self.missing.as_ref() != Some(&error) {
                    tracing::error!(
                        %path,
                        error,
                        "the socket's file was removed or replaced, and cannot be bound again yet: hc-proxy cannot connect; trying on"
                    );
                    self.missing = Some(error);
                }
            }
        }
    }
}

impl Place {
    fn directory(&self) -> &Path {
        self.path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    fn changes_owner(&self) -> bool {
        self.user.is_some() || self.group.is_some()
    }

    /// Binds the socket while the server runs: nothing is waited for.
    fn bind_again(&self) -> Result<(UnixListener, SocketFile), BindError> {
        let directory = self.directory();
        let locked = match File::open(directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(BindError::NoDirectory { directory: directory.to_owned() });
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(BindError::Confined { directory: directory.to_owned() });
            }
            file => file.map_err(io_error("open the directory", directory))?,
        };
        // Somebody who starts holds it for a moment. If it is held for good, by ourselves for the
        // state, no harm is done.
        let _ = locked.try_lock();
        self.bind()
    }

    /// Binds the socket, if its place is free. With the lock of the directory held.
    fn bind(&self) -> Result<(UnixListener, SocketFile), BindError> {
        let path = &self.path;
        if let Free::Dead(inode) = check_free(path)? {
            remove_dead(path, inode)?;
        }
        let error = io_error("bind a socket at", path);
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)
            .map_err(|errno| error(errno.into()))?;
        // The mode of a socket without a file is the widest that its file will have (unix(7): less
        // the umask, which belongs to all threads). So nobody but root may connect before the mode
        // is set, and nobody finds a listener before the end.
        let socket = File::from(socket);
        socket.set_permissions(fs::Permissions::from_mode(0o000)).map_err(&error)?;
        let socket = OwnedFd::from(socket);
        let address = UnixAddr::new(path).map_err(|errno| error(errno.into()))?;
        bind(socket.as_raw_fd(), &address).map_err(|errno| error(errno.into()))?;
        // From here on the file is removed if something fails.
        let (file, made) = SocketFile::made(path)?;
        // The mode first: that of a file which belongs to somebody else takes CAP_FOWNER, which the
        // sandbox does not leave.
        let mode = fs::Permissions::from_mode(self.mode);
        fs::set_permissions(made.path(), mode).map_err(io_error("set the mode of", path))?;
        if self.changes_owner() {
            chown(made.path(), self.user, self.group).map_err(io_error("set the owner of", path))?;
        }
        listen(&socket, Backlog::MAXCONN).map_err(|errno| error(errno.into()))?;
        let listener = UnixListener::from_std(socket.into()).map_err(&error)?;
        Ok((listener, file))
    }
}

impl Incoming for Listener {
    type Stream = UnixStream;

    async fn accept(&mut self) -> io::Result<(UnixStream, Peer)> {
        loop {
            // Both are cancel safe. Whoever has connected is served before the socket is bound
            // again.
            let (stream, _) = select! {
                biased;
                accepted = self.listener.accept() => accepted?,
                () = sleep_until(self.next_look) => {
                    self.look();
                    self.next_look = Instant::now() + LOOK;
                    continue;
                }
            };
            let credentials = stream.peer_cred()?;
            let peer = Peer { uid: credentials.uid(), gid: credentials.gid(), pid: credentials.pid() };
            if self.peers.allow(peer) {
                return Ok((stream, peer));
            }
            if let Some(held_back) = self.complaints.pass(Instant::now().into_std()) {
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

/// Locks the directory itself, which leaves nothing behind. It only keeps apart servers that start
/// at once; whoever may read the directory can hold it, so `None` after a second, and the start
/// goes on.
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

fn process(pid: Option<i32>) -> String {
    pid.map_or("another process".to_owned(), |pid| format!("process {pid}"))
}

pub(crate) fn io_error(what: &'static str, path: &Path) -> impl Fn(io::Error) -> BindError {
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
