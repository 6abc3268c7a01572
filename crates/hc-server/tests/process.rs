//! hc-server as a process: what it says and how it ends when something is wrong, or when it is told to.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]

mod chain;

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

use chain::{connect, read_line, start_server, wait_until};
use rustix::process::{Pid, Signal, kill_process};

fn hc_server(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hc-server")).args(args).output().unwrap()
}

#[track_caller]
fn ends(args: &[&str], status: i32, words: &[&str]) {
    let output = hc_server(args);
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

fn config(dir: &Path, text: &str) -> String {
    let path = dir.join("hc-server.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn wrong_usage_and_wrong_configuration_end_with_2() {
    let dir = tempfile::tempdir().unwrap();
    ends(&["--colour"], 2, &["--colour"]);
    ends(&["stray"], 2, &["stray"]);
    ends(&["--config", "/nonexistent/hc.toml"], 2, &["/nonexistent/hc.toml", "No such file"]);
    let path = config(dir.path(), "[notify]\nbatch_size = \"many\"\n");
    ends(&["--config", &path], 2, &[&path, "line 2", "batch_size"]);
    ends(&["--config", &path, "--check-config"], 2, &["line 2"]);
}

#[test]
fn a_right_configuration_can_be_checked_without_running() {
    let dir = tempfile::tempdir().unwrap();
    let path = config(dir.path(), "[notify]\nbatch_size = 7\n");
    ends(&["--config", &path, "--check-config"], 0, &["the configuration is right"]);
    ends(&["--version"], 0, &[env!("CARGO_PKG_VERSION")]);
    ends(&["--help"], 0, &["--state-dir", "--check-config", "--no-sandbox"]);
}

#[test]
fn a_socket_that_cannot_be_made_ends_with_1_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().to_str().unwrap();
    let run = |socket: &Path, words: &[&str]| {
        ends(&["--socket", socket.to_str().unwrap(), "--state-dir", state], 1, words)
    };

    run(&dir.path().join("none/hc.sock"), &["none", "directory"]);

    let taken = dir.path().join("taken.sock");
    let listener = UnixListener::bind(&taken).unwrap();
    run(&taken, &["taken.sock", "in use"]);
    drop(listener);

    let file = dir.path().join("file.sock");
    std::fs::write(&file, "precious").unwrap();
    run(&file, &["file.sock", "not a socket"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");

    let path = config(dir.path(), "[socket]\nuser = \"nobody-of-that-name\"\n");
    let socket = dir.path().join("hc.sock");
    ends(&["--config", &path, "--socket", socket.to_str().unwrap()], 1, &["nobody-of-that-name"]);
}

#[test]
fn a_dead_servers_socket_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = start_server(dir.path());
    drop(connect(&dir.path().join("hc.sock")));
    first.kill();
    assert!(dir.path().join("hc.sock").exists());
    let _second = start_server(dir.path());
    let (_stream, mut reader) = connect(&dir.path().join("hc.sock"));
    assert_eq!(read_line(&mut reader)["type"], "ready");
}

#[test]
fn the_signals_of_seesaw_end_it_with_0_and_its_socket_is_gone() {
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("hc.sock");
        let mut server = start_server(dir.path());
        let (_stream, mut reader) = connect(&socket);
        assert_eq!(read_line(&mut reader)["type"], "ready");
        let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        kill_process(Pid::from_raw(i32::try_from(server.id()).unwrap()).unwrap(), signal).unwrap();
        assert_eq!(server.wait().code(), Some(0), "{signal:?}");
        assert!(!socket.exists(), "{signal:?}");
    }
}

#[test]
fn a_state_directory_that_cannot_be_made_costs_the_memory_and_not_the_checks() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hc-server"));
    command
        .arg("--socket")
        .arg(dir.path().join("hc.sock"))
        .arg("--state-dir")
        .arg(dir.path().join("file/state"));
    let _server = chain::Process::start(&mut command, &dir.path().join("server.log"));
    drop(connect(&dir.path().join("hc.sock")));
    wait_until("the warning", || {
        std::fs::read_to_string(dir.path().join("server.log")).unwrap().contains("no state directory")
    });
}
