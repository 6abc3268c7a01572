//! A process of another user at the socket. In a file of its own: the moment between `fork` and
//! `exec` keeps the sockets of all other tests of a process open.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod rig;

use std::fs::Permissions;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::{env, fs};

use hc_ipc::{IpcConfig, Listener, PeerConfig, SocketConfig};
use rig::{READY, Server, soon};
use tempfile::TempDir;

#[tokio::test]
async fn another_users_process_is_closed_unless_it_is_named() {
    const USER: u32 = 54321;
    const GROUP: u32 = 12345;

    let directory = TempDir::new().unwrap();
    assert_eq!(fs::metadata(directory.path()).unwrap().uid(), 0, "only root can be somebody else");
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let path = directory.path().join("proxy.sock");
    let named = |users: &[u32], groups: &[u32]| {
        let names = |numbers: &[u32]| numbers.iter().map(u32::to_string).collect();
        PeerConfig { users: names(users), groups: names(groups), ..PeerConfig::default() }
    };
    for (peers, expected) in [
        (named(&[], &[]), ""),
        (named(&[GROUP], &[USER]), ""),
        (named(&[USER], &[]), READY),
        (named(&[], &[GROUP]), READY),
    ] {
        // The file's mode lets everybody in, so it is the credentials that decide.
        let config = SocketConfig { mode: 0o666, peers, ..SocketConfig::new(&path) };
        let listener = Listener::bind(&config).await.unwrap();
        let server = Server::start(listener, IpcConfig::new("1.0"));
        // This program again; by that name, since its folder may be closed to others.
        let mut peer = Command::new("/proc/self/exe");
        peer.args(["--exact", "connects_as_another_user", "--ignored"]);
        peer.env(SOCKET, &path).env(EXPECTED, expected).uid(USER).gid(GROUP);
        let output = soon(tokio::task::spawn_blocking(move || peer.output())).await.unwrap().unwrap();
        let output = String::from_utf8_lossy(&output.stdout);
        assert!(output.contains("1 passed"), "{config:?}: {output}");
        server.end().await;
    }
}

/// Where the process of the test above connects, and what it hears.
const SOCKET: &str = "HC_IPC_TEST_SOCKET";
const EXPECTED: &str = "HC_IPC_TEST_EXPECTED";

#[test]
#[ignore = "the other process of another_users_process_is_closed_unless_it_is_named"]
fn connects_as_another_user() {
    let (Some(socket), Ok(expected)) = (env::var_os(SOCKET), env::var(EXPECTED)) else { return };
    let mut heard = String::new();
    // One that is refused may find the connection reset.
    let _ = BufReader::new(UnixStream::connect(socket).unwrap()).read_line(&mut heard);
    assert_eq!(heard.trim_end(), expected);
}
