//! The sandbox in a process of its own, since there is no way out of it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};

use hc_sandbox::{Confinement, Files, enter};

const DIR: &str = "HC_SANDBOX_TEST_DIR";

/// Runs the test `child` of this file in another process, in a directory of its own.
fn run_child() -> (Output, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("state")).unwrap();
    fs::create_dir(dir.path().join("etc")).unwrap();
    fs::write(dir.path().join("etc/passwd"), "root").unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(DIR, dir.path())
        .output()
        .unwrap();
    (output, dir)
}

#[test]
fn what_checking_needs_is_left_and_the_rest_is_gone() {
    let (output, dir) = run_child();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(dir.path().join("state/here").exists(), "the child did nothing: {text}");
}

/// Does nothing unless the test above has started it.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let dir = Path::new(&dir);
    let (state, etc) = (dir.join("state"), dir.join("etc"));
    let report = enter(&Files {
        writable: vec![state.clone()],
        readable: vec![etc.clone(), "/nonexistent".into()],
        sockets: vec![dir.to_owned(), "/nonexistent".into()],
        chown: false,
    });
    let report = report.unwrap();
    assert_eq!(report.files, Confinement::Full, "this kernel has no Landlock");
    let allowed = ["CAP_NET_ADMIN", "CAP_NET_RAW"];
    assert!(report.capabilities.iter().all(|name| allowed.contains(&name.as_str())), "{report:?}");

    // What the server does all day.
    fs::write(state.join("new"), "x").unwrap();
    fs::rename(state.join("new"), state.join("old")).unwrap();
    fs::remove_file(state.join("old")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(state.join("socket")).unwrap();
    assert_eq!(fs::read_to_string(etc.join("passwd")).unwrap(), "root");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    std::thread::spawn(|| {}).join().unwrap();

    // A socket in a directory that was made anew by somebody, and no other file.
    let _socket = std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap();
    assert!(fs::write(dir.join("file"), "x").is_err() && fs::remove_file(dir.join("socket")).is_err());

    // What it never does. It fails, and this process goes on.
    assert!(fs::read_to_string("/etc/hostname").is_err(), "a file outside");
    assert!(fs::write(etc.join("passwd"), "evil").is_err(), "a file that is only to be read");
    assert!(Command::new("/bin/true").status().is_err(), "another program");
    let chroot = std::os::unix::fs::chroot(&state);
    assert_eq!(chroot.unwrap_err().raw_os_error(), Some(1), "a system call outside of the list");
    let status = fs::read_to_string("/proc/self/status");
    assert!(status.is_err(), "/proc is outside, too");
    fs::write(state.join("here"), "").unwrap();
}
