//! The chain as it runs on a node, three processes: fake-engine in the place of Seesaw's engine,
//! hc-proxy and hc-server.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::process::Process;

/// Where the programs are. Each command runs one of them on the files of a directory:
/// `checks.json`, the sockets `engine.sock` and `hc.sock`, and hc-server's state.
#[derive(Clone, Debug)]
pub struct Programs {
    /// hc-server.
    pub server: PathBuf,
    /// The directory of hc-proxy and fake-engine.
    pub go: PathBuf,
}

impl Programs {
    /// All programs in one directory, as `cargo xtask build` leaves them.
    #[must_use]
    pub fn in_directory(directory: &Path) -> Self {
        Self { server: directory.join("hc-server"), go: directory.to_owned() }
    }

    /// This server, and the Go programs from `HC_BIN`, or built into `directory` if that is not
    /// set.
    ///
    /// # Errors
    /// When the Go programs cannot be built.
    pub fn with_server(server: &Path, directory: &Path) -> io::Result<Self> {
        let go = match std::env::var_os("HC_BIN") {
            Some(built) => PathBuf::from(built),
            None => {
                build_go(directory)?;
                directory.to_owned()
            }
        };
        Ok(Self { server: server.to_owned(), go })
    }

    /// The engine's stand-in, which prints a JSON object for everything that happens.
    #[must_use]
    pub fn engine(&self, directory: &Path) -> Command {
        let mut command = Command::new(self.go.join("fake-engine"));
        command.arg("-socket").arg(directory.join("engine.sock"));
        command.arg("-checks").arg(directory.join("checks.json"));
        command
    }

    /// hc-proxy, which writes its log to standard error.
    #[must_use]
    pub fn proxy(&self, directory: &Path) -> Command {
        let mut command = Command::new(self.go.join("hc-proxy"));
        command.arg("-engine").arg(directory.join("engine.sock"));
        command.arg("-socket").arg(directory.join("hc.sock")).arg("-logtostderr");
        command
    }

    /// hc-server.
    #[must_use]
    pub fn server(&self, directory: &Path) -> Command {
        let mut command = Command::new(&self.server);
        command.arg("--socket").arg(directory.join("hc.sock")).arg("--state-dir").arg(directory);
        command
    }
}

fn build_go(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let status = Command::new("go")
        .args(["build", "-o"])
        .arg(directory)
        .args(["./cmd/hc-proxy", "./cmd/fake-engine"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proxy"))
        .env("CGO_ENABLED", "0")
        .status()
        .map_err(|error| io::Error::new(error.kind(), format!("Go 1.26 or later is needed: {error}")))?;
    if status.success() { Ok(()) } else { Err(io::Error::other("go build failed")) }
}

/// Gives the engine of this directory these checks and no others, whole at once.
///
/// # Errors
/// When the file cannot be written.
pub fn write_checks(directory: &Path, checks: &Value) -> io::Result<()> {
    let next = directory.join("checks.next");
    fs::write(&next, checks.to_string())?;
    fs::rename(next, directory.join("checks.json"))
}

/// The notification in a line of fake-engine, if it is one.
#[must_use]
pub fn notification(line: &str) -> Option<Value> {
    let event: Value = serde_json::from_str(line).ok()?;
    (event["event"] == "notification").then_some(event)
}

/// The states that the engine behind `engine` has heard of a check, repeats left out.
#[must_use]
pub fn states(engine: &Process, id: u64) -> Vec<String> {
    let events = engine.lines().into_iter().filter_map(|line| notification(&line));
    let of_check = events.filter(|event| event["id"] == id);
    let mut states: Vec<_> = of_check.filter_map(|event| Some(event["state"].as_str()?.to_owned())).collect();
    states.dedup();
    states
}
