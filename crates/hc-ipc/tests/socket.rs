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
        format!("socket in use: process {} listens on {}", std::process::id(), first.path.display())
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

/// What may become of the socket's file while the server runs.
#[tokio::test]
async fn a_socket_file_that_is_gone_or_replaced_is_bound_again() {
    for (what, harm) in [
        ("removed", (|path| fs::remove_file(path).unwrap()) as fn(&Path)),
        ("renamed", |path| fs::rename(path, path.with_extension("away")).unwrap()),
        ("directory renamed and made anew", |path| {
            let directory = path.parent().unwrap();
            fs::rename(directory, directory.with_extension("away")).unwrap();
            fs::create_dir(directory).unwrap();
        }),
        ("directory removed and made anew", |path| {
            fs::remove_dir_all(path.parent().unwrap()).unwrap();
            fs::create_dir(path.parent().unwrap()).unwrap();
        }),
        ("replaced by the socket of a server that is gone", |path| {
            fs::remove_file(path).unwrap();
            drop(UnixListener::bind(path).unwrap());
        }),
    ] {
        let parent = TempDir::new().unwrap();
        let directory = parent.path().join("run");
        fs::create_dir(&directory).unwrap();
        let path = directory.join("proxy.sock");
        let config =
            SocketConfig { mode: 0o640, group: Some("12345".to_owned()), ..SocketConfig::new(&path) };
        let mut server = Server::start(Listener::bind(&config).await.unwrap(), IpcConfig::new("1.0"));
        let mut served = Client::new(UnixStream::connect(&path).await.unwrap());
        served.greet(&mut server).await;
        harm(&path);
        let start = tokio::time::Instant::now();
        let stream = loop {
            if let Ok(stream) = UnixStream::connect(&path).await {
                break stream;
            }
            assert!(start.elapsed().as_secs() < 30, "{what}");
            tokio::task::yield_now().await;
        };
        Client::new(stream).expect(READY).await;
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.gid()), (0o640, 12345), "{what}");
        // Who was connected still is.
        served.send(&rig::full_set(2, &[9])).await;
        assert_eq!(server.apply().await, (Some(2), vec![9]), "{what}");
        server.end().await;
        assert!(!path.exists(), "{what}");
    }
}

/// What is not ours stays where it is, and the socket comes back when that goes.
#[tokio::test]
async fn what_somebody_else_put_in_the_place_of_the_socket_is_left_alone() {
    for kind in ["file", "directory", "link", "socket"] {
        let on = on_socket().await;
        fs::remove_file(&on.path).unwrap();
        let mut another = None;
        match kind {
            "file" => fs::write(&on.path, "precious").unwrap(),
            "directory" => fs::create_dir(&on.path).unwrap(),
            "link" => symlink("nowhere", &on.path).unwrap(),
            _ => another = Some(UnixListener::bind(&on.path).unwrap()),
        }
        let before = fs::symlink_metadata(&on.path).unwrap().ino();
        // Two looks, of half a second each, in no time.
        tokio::time::pause();
        tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
        tokio::time::resume();
        assert_eq!(fs::symlink_metadata(&on.path).unwrap().ino(), before, "{kind}");
        if kind == "directory" {
            fs::remove_dir(&on.path).unwrap();
        } else {
            fs::remove_file(&on.path).unwrap();
        }
        drop(another);
        let stream = rig::soon(async {
            loop {
                match UnixStream::connect(&on.path).await {
                    Ok(stream) => break stream,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        });
        Client::new(stream.await).expect(READY).await;
    }
}

#[tokio::test]
async fn a_socket_that_was_handed_over_is_served_and_its_file_left() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("systemd.sock");
    let config = SocketConfig::new("/nonexistent/proxy.sock");
    let socket = UnixListener::bind(&path).unwrap();
    let listener = Listener::handed_over(socket.into(), &config).unwrap();
    assert_eq!((listener.path(), listener.directory()), (path.as_path(), None));
    let server = Server::start(listener, IpcConfig::new("1.0"));
    Client::new(UnixStream::connect(&path).await.unwrap()).expect(READY).await;
    server.end().await;
    assert!(path.exists());
}

#[tokio::test]
async fn only_a_listening_unix_stream_socket_can_be_handed_over() {
    let directory = TempDir::new().unwrap();
    let config = SocketConfig::new(directory.path().join("proxy.sock"));
    let datagram = std::os::unix::net::UnixDatagram::bind(directory.path().join("datagram")).unwrap();
    let (connected, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let file = fs::File::create(directory.path().join("file")).unwrap();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let cases: [(std::os::fd::OwnedFd, &str); 4] = [
        (datagram.into(), "is no stream socket"),
        (connected.into(), "does not listen"),
        (file.into(), "is no socket"),
        (tcp.into(), "is no Unix socket"),
    ];
    for (descriptor, why) in cases {
        let error = Listener::handed_over(descriptor, &config).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}
