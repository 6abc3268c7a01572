//! The socket's file: who may have it, and what stands in its way.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod rig;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use hc_ipc::{BindError, IpcConfig, Listener, PeerConfig, SocketConfig};
use rig::{Client, HELLO, READY, Server, on_socket};
use tempfile::TempDir;
use tokio::net::UnixStream;

async fn refused(config: SocketConfig) -> BindError {
    Listener::bind(&config).await.expect_err("it must not be bound")
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn the_socket_has_its_mode_and_owner_and_nothing_stays_beside_it() {
    let directory = TempDir::new().unwrap();
    let own = fs::metadata(directory.path()).unwrap();
    // Only root can give a file away.
    let (uid, gid) = if own.uid() == 0 { (54321, 12345) } else { (own.uid(), own.gid()) };
    let path = directory.path().join("proxy.sock");
    for mode in [0o660, 0o600, 0o666] {
        let config = SocketConfig {
            mode,
            user: Some(uid.to_string()),
            group: Some(gid.to_string()),
            ..SocketConfig::new(&path)
        };
        let listener = Listener::bind(&config).await.unwrap();
        let meta = fs::metadata(&path).unwrap();
        assert!(meta.file_type().is_socket());
        assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (mode, uid, gid));
        assert_eq!(names(directory.path()), ["proxy.sock"]);
        drop(listener);
        assert_eq!(names(directory.path()), [""; 0]);
    }
}

#[tokio::test]
async fn a_missing_directory_is_named_and_how_to_make_it() {
    let directory = TempDir::new().unwrap();
    let missing = directory.path().join("seesaw");
    let error = refused(SocketConfig::new(missing.join("proxy.sock"))).await;
    let missing = missing.display();
    assert_eq!(
        error.to_string(),
        format!("no directory for the socket: {missing} does not exist; make it with: mkdir -p {missing}")
    );
}

#[tokio::test]
async fn a_socket_in_use_is_left_alone_and_so_is_its_client() {
    let mut first = on_socket().await;
    let mut client = first.greeted().await;
    let error = refused(SocketConfig::new(&first.path)).await;
    assert_eq!(
        error.to_string(),
        format!("socket in use: another process listens on {}", first.path.display())
    );
    // The one that lives has not even noticed.
    client.send(HELLO).await;
    client.send(&rig::full_set(2, &[9])).await;
    assert_eq!(first.server.apply().await, (Some(2), vec![9]));
}

#[test]
fn of_two_servers_that_start_at_once_one_has_the_socket() {
    let directory = TempDir::new().unwrap();
    for round in 0..200 {
        let config = SocketConfig::new(directory.path().join(format!("{round}.sock")));
        drop(UnixListener::bind(&config.path).unwrap());
        let together = Barrier::new(2);
        let start = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            together.wait();
            runtime.block_on(Listener::bind(&config))
        };
        let (one, other) = thread::scope(|scope| {
            let other = scope.spawn(start);
            (start(), other.join().unwrap())
        });
        let error = match (one, other) {
            (Ok(_listens), Err(error)) | (Err(error), Ok(_listens)) => error,
            both => panic!("{both:?}"),
        };
        assert!(matches!(error, BindError::InUse { .. }), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_held_does_not_keep_the_server_from_starting() {
    let directory = TempDir::new().unwrap();
    let starting = fs::File::open(directory.path()).unwrap();
    starting.lock().unwrap();
    let path = directory.path().join("proxy.sock");
    let _listener = Listener::bind(&SocketConfig::new(&path)).await.unwrap();
    assert!(path.exists());
}

#[tokio::test]
async fn the_socket_of_a_dead_server_is_replaced() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("proxy.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let listener = Listener::bind(&SocketConfig::new(&path)).await.unwrap();
    let _server = Server::start(listener, IpcConfig::new("1.0"));
    Client::new(UnixStream::connect(&path).await.unwrap()).expect(READY).await;
}

#[tokio::test]
async fn what_is_not_a_socket_is_not_removed() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("precious");
    fs::write(&file, "data").unwrap();
    let link = directory.path().join("link");
    symlink(directory.path().join("nowhere"), &link).unwrap();
    for path in [&file, &link] {
        let error = refused(SocketConfig::new(path)).await;
        assert_eq!(error.to_string(), format!("{} exists and is not a socket", path.display()));
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "data");
    assert!(fs::symlink_metadata(&link).is_ok());
}

#[tokio::test]
async fn a_path_that_the_system_does_not_take_is_an_error() {
    let path = std::env::temp_dir().join("x".repeat(110));
    let error = refused(SocketConfig::new(&path)).await.to_string();
    assert!(error.ends_with("is too long: at most 107 bytes"), "{error}");
}

#[tokio::test]
async fn an_unknown_user_or_group_is_an_error_and_leaves_nothing_behind() {
    let directory = TempDir::new().unwrap();
    let config = || SocketConfig::new(directory.path().join("proxy.sock"));
    let name = || Some("no-such-name".to_owned());
    let list = || vec!["no-such-name".to_owned()];
    for (config, kind) in [
        (SocketConfig { user: name(), ..config() }, "user"),
        (SocketConfig { group: name(), ..config() }, "group"),
        (SocketConfig { peers: PeerConfig { users: list(), ..PeerConfig::default() }, ..config() }, "user"),
        (SocketConfig { peers: PeerConfig { groups: list(), ..PeerConfig::default() }, ..config() }, "group"),
    ] {
        assert_eq!(refused(config).await.to_string(), format!("there is no {kind} \"no-such-name\""));
    }
    assert_eq!(names(directory.path()), [""; 0]);
}

#[tokio::test]
async fn the_file_is_removed_at_the_end_unless_it_is_another_servers() {
    let ours = on_socket().await;
    ours.server.end().await;
    assert!(!ours.path.exists());

    let replaced = on_socket().await;
    fs::remove_file(&replaced.path).unwrap();
    let _another = UnixListener::bind(&replaced.path).unwrap();
    replaced.server.end().await;
    assert!(replaced.path.exists());
}

#[tokio::test]
async fn a_peer_that_may_not_connect_is_closed_and_others_are_served() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("proxy.sock");
    let own = fs::metadata(directory.path()).unwrap();
    let strangers = PeerConfig { own_and_root: false, users: vec!["54321".to_owned()], groups: Vec::new() };
    let config = SocketConfig { peers: strangers, ..SocketConfig::new(&path) };
    let server = Server::start(Listener::bind(&config).await.unwrap(), IpcConfig::new("1.0"));
    for _ in 0..3 {
        let mut client = Client::new(UnixStream::connect(&path).await.unwrap());
        assert_eq!(client.next().await, None);
    }
    assert!(!server.handle.is_connected());
    server.end().await;

    let by_group = PeerConfig { own_and_root: false, users: Vec::new(), groups: vec![own.gid().to_string()] };
    let config = SocketConfig { peers: by_group, ..SocketConfig::new(&path) };
    let _server = Server::start(Listener::bind(&config).await.unwrap(), IpcConfig::new("1.0"));
    Client::new(UnixStream::connect(&path).await.unwrap()).expect(READY).await;
}
