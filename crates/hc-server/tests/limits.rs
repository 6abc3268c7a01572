//! A server that the system gives too little: it runs, or it ends with one line and status 1.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]

mod chain;

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chain::{PATIENCE, connect, read_line, wait_until};
use serde_json::json;

/// Users of this test, who have no other process: their number, and one for each test.
const USER: u32 = 61_000;

fn folder(user: u32) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    // The program again, where that user may reach it.
    std::fs::copy(env!("CARGO_BIN_EXE_hc-server"), dir.path().join("hc-server")).unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    chown(dir.path(), Some(user), Some(user)).unwrap();
    dir
}

/// hc-server as that user, with these limits of prlimit(1).
fn start(dir: &Path, user: u32, limits: &[String]) -> Child {
    for name in ["hc.sock", "health.snapshot"] {
        let _ = std::fs::remove_file(dir.join(name));
    }
    let id = user.to_string();
    Command::new("setpriv")
        .args(["--reuid", &id, "--regid", &id, "--clear-groups", "prlimit"])
        .args(limits)
        .arg(dir.join("hc-server"))
        .arg("--socket")
        .arg(dir.join("hc.sock"))
        .arg("--state-dir")
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(dir.join("stderr")).unwrap())
        .spawn()
        .unwrap()
}

/// Whether the server runs with these limits. If it does not, it ends with one line and status 1
/// and has left nothing behind.
#[track_caller]
fn runs(dir: &Path, user: u32, limits: &[String]) -> bool {
    let mut server = start(dir, user, limits);
    let text = || std::fs::read_to_string(dir.join("stderr")).unwrap();
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = server.try_wait().unwrap() {
            let text = text();
            assert_eq!((status.code(), status.signal()), (Some(1), None), "{limits:?}: {text}");
            assert_eq!(text.lines().count(), 1, "{limits:?}: {text}");
            assert!(!text.contains("panicked") && !dir.join("hc.sock").exists(), "{limits:?}: {text}");
            return false;
        }
        if text().contains(" ready ") {
            break;
        }
        assert!(Instant::now() < end, "{limits:?}: {}", text());
        std::thread::sleep(Duration::from_millis(2));
    }
    exercise(dir);
    assert!(server.try_wait().unwrap().is_none(), "{limits:?}: {}", text());
    let pid = rustix::process::Pid::from_child(&server);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(server.wait().unwrap().code(), Some(0), "{limits:?}: {}", text());
    true
}

/// All that once took a thread of its own: a long line, and a snapshot.
fn exercise(dir: &Path) {
    let (mut stream, mut reader) = connect(&dir.join("hc.sock"));
    assert_eq!(read_line(&mut reader)["type"], "ready");
    let checks: Vec<_> = (1..200)
        .map(|id| {
            json!({ "id": id, "interval": "1h", "timeout": "5s", "checker_type": "tcp", "ip": "127.0.0.1", "port": 1 })
        })
        .collect();
    let set = json!({ "type": "update_configs", "configs": checks }).to_string();
    assert!(set.len() > 16 * 1024);
    writeln!(stream, "{set}").unwrap();
    assert_eq!(read_line(&mut reader)["type"], "notification_batch");
    wait_until("a snapshot", || dir.join("health.snapshot").exists());
}

#[test]
fn any_limit_of_threads_is_enough_or_one_line() {
    let dir = folder(USER);
    let mut enough = None;
    // One past the first that is enough is the last that is of interest.
    for threads in 0..40 {
        let runs = runs(dir.path(), USER, &[format!("--nproc={threads}:{threads}")]);
        assert!(runs || enough.is_none(), "{threads} are too few, and fewer were not");
        if runs && enough.replace(threads).is_some() {
            break;
        }
    }
    assert!(enough.is_some());
}

#[test]
fn any_limit_of_open_files_is_enough_or_one_line() {
    let dir = folder(USER + 1);
    let mut enough = false;
    // With 3 the dynamic linker opens no library, and says so with status 127.
    for files in 4..=64 {
        let runs = runs(dir.path(), USER + 1, &[format!("--nofile={files}:{files}")]);
        assert!(runs || !enough, "{files} are too few, and fewer were not");
        enough |= runs;
    }
    assert!(enough);
}

#[test]
fn too_little_address_space_is_one_line() {
    let dir = folder(USER + 2);
    let mut enough = false;
    // Below, the dynamic linker ends the program.
    for mib in [64, 72, 80, 100, 200, 400, 1000] {
        enough |= runs(dir.path(), USER + 2, &[format!("--as={0}:{0}", mib << 20)]);
    }
    assert!(enough);
}

/// A full disk or a closed descriptor in place of the log: the checks run all the same.
#[test]
fn a_log_that_cannot_be_written_stops_no_check() {
    for redirection in ["2>/dev/full", "2>&-", ">&- 2>&- <&-"] {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Command::new("sh")
            .arg("-c")
            .arg(format!("exec \"$0\" --socket \"$1/hc.sock\" --state-dir \"$1\" {redirection}"))
            .arg(env!("CARGO_BIN_EXE_hc-server"))
            .arg(dir.path())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        exercise(dir.path());
        assert!(server.try_wait().unwrap().is_none(), "{redirection}");
        let pid = rustix::process::Pid::from_child(&server);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert_eq!(server.wait().unwrap().code(), Some(0), "{redirection}");
    }
}

#[test]
fn no_thread_is_made_after_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = chain::start_server(dir.path());
    drop(connect(&dir.path().join("hc.sock")));
    wait_until("ready", || {
        std::fs::read_to_string(dir.path().join("server.log")).unwrap().contains(" ready ")
    });
    let threads = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", server.id())).unwrap();
        let mut ids: Vec<_> = tasks.map(|task| task.unwrap().file_name()).collect();
        ids.sort();
        ids
    };
    let before = threads();
    exercise(dir.path());
    assert_eq!(threads(), before);
    assert_eq!(server.terminate().code(), Some(0));
    let mut log = String::new();
    std::fs::File::open(dir.path().join("server.log")).unwrap().read_to_string(&mut log).unwrap();
    assert!(log.ends_with("stopped\n"), "{log}");
}
