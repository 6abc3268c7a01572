//! Settings of the socket and of its connections.

use std::path::PathBuf;
use std::time::Duration;

/// Where the socket is, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketConfig {
    /// Path of the socket, at most 107 bytes. Its directory must exist and be writable.
    pub path: PathBuf,
    /// File mode; who may write may connect. Default 0660.
    pub mode: u32,
    /// User that owns the file, name or number. Default: the process's own.
    pub user: Option<String>,
    /// Group of the file, name or number. Default: the process's own.
    pub group: Option<String>,
    /// Whose processes are served, whatever the mode lets through.
    pub peers: PeerConfig,
}

impl SocketConfig {
    /// A socket at `path`, the rest at its defaults.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), mode: 0o660, user: None, group: None, peers: PeerConfig::default() }
    }
}

/// Whose processes are served. Judged by the credentials that the kernel vouches for
/// (`SO_PEERCRED`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// Whether root and the process's own user are. Default true.
    pub own_and_root: bool,
    /// Further users, names or numbers. Default none.
    pub users: Vec<String>,
    /// Groups, names or numbers: processes whose primary group is one of them, and processes of the
    /// users that the group lists as members when the socket is bound. Default none.
    pub groups: Vec<String>,
}

impl Default for PeerConfig {
    fn default() -> Self {
        Self { own_and_root: true, users: Vec::new(), groups: Vec::new() }
    }
}

/// How connections are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpcConfig {
    /// Version of the server, told to the peer for its logs.
    pub version: String,
    /// How long a batch waits for its acknowledgement, from when it goes to the socket, before it
    /// counts as not delivered. Default 30 s.
    pub ack_timeout: Duration,
    /// How long one line may take to be taken by a peer that reads slowly, before its connection is
    /// closed. Default 30 s.
    pub write_timeout: Duration,
    /// How long a connection that is being closed may take for its last lines. Default 1 s.
    pub farewell: Duration,
    /// The most checks in one set, bad ones included; a larger set is refused. Default 4,194,304.
    pub max_checks: usize,
}

impl IpcConfig {
    /// The defaults, under a version of the server.
    #[must_use]
    pub fn new(version: impl Into<String>) -> Self {
        Self {
            version: version.into(),
            ack_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            farewell: Duration::from_secs(1),
            max_checks: 4 * 1024 * 1024,
        }
    }
}
