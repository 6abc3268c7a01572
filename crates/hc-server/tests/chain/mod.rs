//! The chain as it runs on a node: fake-engine, hc-proxy and hc-server, three processes.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use hc_testkit::chain::{Programs, notification, states, write_checks};
use hc_testkit::script::Step;
#[allow(unused_imports, reason = "each test file uses its part")]
pub(crate) use hc_testkit::{
    backend::Backend as Scripted,
    process::{PATIENCE, Process, wait_until},
};
use serde_json::Value;

/// This crate's hc-server, and the Go programs, built once if need be.
fn programs() -> &'static Programs {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("go-{}", std::process::id()));
        Programs::with_server(Path::new(SERVER), &folder).unwrap()
    })
}

const SERVER: &str = env!("CARGO_BIN_EXE_hc-server");

/// The three processes and their files.
pub(crate) struct Chain {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) engine: Process,
    pub(crate) proxy: Process,
    pub(crate) server: Process,
}

impl Chain {
    /// Starts all three, with these checks.
    pub(crate) fn start(checks: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_checks(dir.path(), checks).unwrap();
        let path = dir.path();
        let (engine, proxy, server) = (start_engine(path), start_proxy(path), start_server(path));
        Self { dir, engine, proxy, server }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Replaces the engine's checks, whole at once.
    pub(crate) fn set_checks(&self, checks: &Value) {
        write_checks(self.dir.path(), checks).unwrap();
    }

    /// Waits until the engine hears, at or after `from`, that this check has this state. Returns
    /// the notification.
    #[track_caller]
    pub(crate) fn wait_told(&self, from: usize, id: u64, state: &str) -> Value {
        let what = format!("{id} {state} (logs in {})", self.dir.path().display());
        let at = self.engine.wait_line(from, &what, |line| {
            notification(line).is_some_and(|event| event["id"] == id && event["state"] == state)
        });
        serde_json::from_str(&self.engine.line(at)).unwrap()
    }

    /// The states that the engine has heard of this check, repeats left out.
    pub(crate) fn told(&self, id: u64) -> Vec<String> {
        states(&self.engine, id)
    }
}

pub(crate) fn start_engine(dir: &Path) -> Process {
    Process::start(&mut programs().engine(dir), &dir.join("engine.log"))
}

pub(crate) fn start_proxy(dir: &Path) -> Process {
    Process::start(programs().proxy(dir).args(["-fetch_interval", "200ms"]), &dir.join("proxy.log"))
}

pub(crate) fn start_server(dir: &Path) -> Process {
    // Tests without the rest of the chain need no Go.
    let programs = Programs { server: SERVER.into(), go: PathBuf::new() };
    Process::start(&mut programs.server(dir), &dir.join("server.log"))
}

/// Connects to hc-server as hc-proxy would.
#[track_caller]
pub(crate) fn connect(socket: &Path) -> (UnixStream, BufReader<UnixStream>) {
    let mut stream = None;
    wait_until("hc-server listens", || {
        stream = UnixStream::connect(socket).ok();
        stream.is_some()
    });
    let stream = stream.unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let reader = BufReader::new(stream.try_clone().unwrap());
    (stream, reader)
}

#[track_caller]
pub(crate) fn read_line(reader: &mut impl BufRead) -> Value {
    let mut line = String::new();
    assert_ne!(reader.read_line(&mut line).unwrap(), 0, "the connection was closed");
    serde_json::from_str(&line).unwrap()
}

/// A TCP backend that greets every connection and counts them. Dropped, it refuses.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    backend: Scripted,
}

impl Backend {
    pub(crate) fn start(address: &str, greeting: &'static [u8]) -> Self {
        let backend = Scripted::start_at(address.parse().unwrap(), vec![Step::send(greeting)]).unwrap();
        Self { address: backend.address(), backend }
    }

    pub(crate) fn connections(&self) -> usize {
        self.backend.seen().len()
    }
}

/// A TCP check of a [`Backend`], in the words of the protocol.
pub(crate) fn check(id: u64, address: SocketAddr, receive: &Value) -> Value {
    serde_json::json!({
        "id": id, "interval": "100ms", "timeout": "2s", "retries": 0, "checker_type": "tcp",
        "ip": address.ip().to_string(), "port": address.port(), "receive": receive,
    })
}
