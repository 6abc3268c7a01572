//! Every signal, sent to the real process.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]

mod chain;

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use chain::{Process, connect, read_line, start_server, wait_until};

fn kill(signal: u32, pid: u32) {
    let status = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status().unwrap();
    assert!(status.success(), "signal {signal}");
}

#[test]
fn no_signal_but_three_ends_the_server_and_those_leave_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = start_server(dir.path());
    let log = || std::fs::read_to_string(dir.path().join("server.log")).unwrap();
    let (mut stream, mut reader) = connect(&dir.path().join("hc.sock"));
    assert_eq!(read_line(&mut reader)["type"], "ready");
    // 9 and 19 cannot be caught; 32 and 33 are the C library's own.
    for signal in (1..=64).filter(|signal| ![2, 3, 9, 15, 19, 32, 33].contains(signal)) {
        kill(signal, server.id());
        writeln!(stream, r#"{{"type":"request_status"}}"#).unwrap();
        assert_eq!(read_line(&mut reader)["type"], "status_response", "after signal {signal}");
        assert!(server.running(), "signal {signal}");
    }
    for line in ["nothing to reload", "state: checks", "state: shard", "SIGABRT", "SIGALRM"] {
        wait_until(line, || log().contains(line));
    }
    assert_eq!(server.terminate().code(), Some(0));
    assert!(log().ends_with("stopped\n"));
    assert!(dir.path().join("health.snapshot").exists());
}

/// A state dump has a few lines, however often it is asked for at once.
#[test]
fn a_state_dump_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let server = start_server(dir.path());
    drop(connect(&dir.path().join("hc.sock")));
    let log = || std::fs::read_to_string(dir.path().join("server.log")).unwrap();
    kill(10, server.id());
    wait_until("the dump", || log().contains("state: shard"));
    let lines = log().lines().filter(|line| line.contains("state: ")).count();
    assert!(lines < 48, "{lines}");
}

/// Whenever it comes, SIGTERM ends the server in order: before there is a socket, when there is
/// one, and at the end.
#[test]
fn a_signal_during_the_start_ends_it_with_0_and_its_socket_is_gone() {
    for delay in 0..40_u64 {
        let dir = tempfile::tempdir().unwrap();
        let mut server = start_server(dir.path());
        let stat = format!("/proc/{}/status", server.id());
        // From the moment on that the process has blocked its signals.
        wait_until("the process blocks SIGTERM", || {
            let status = std::fs::read_to_string(&stat).unwrap_or_default();
            let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap_or("0");
            u64::from_str_radix(blocked, 16).unwrap() & (1 << 14) != 0
        });
        std::thread::sleep(std::time::Duration::from_millis(delay));
        assert_eq!(server.terminate().code(), Some(0), "{delay} ms");
        assert!(!dir.path().join("hc.sock").exists(), "{delay} ms");
    }
}

/// A server with a batch that nobody acknowledges, and a minute to wait for that at its end.
fn server_that_waits_at_its_end(dir: &Path) -> (Process, UnixStream) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hc-server"));
    command.arg("--socket").arg(dir.join("hc.sock")).arg("--state-dir").arg(dir);
    command.env("HC_SERVER_SHUTDOWN_GRACE", "1m");
    let server = Process::start(&mut command, &dir.join("server.log"));
    let (mut stream, mut reader) = connect(&dir.join("hc.sock"));
    assert_eq!(read_line(&mut reader)["type"], "ready");
    let check = r#"{"id":1,"interval":"1h","timeout":"5s","checker_type":"tcp","ip":"127.0.0.1","port":1}"#;
    writeln!(stream, r#"{{"type":"hello","protocol":1,"version":"test"}}"#).unwrap();
    writeln!(stream, r#"{{"type":"update_configs","generation":1,"configs":[{check}]}}"#).unwrap();
    while read_line(&mut reader)["type"] != "notification_batch" {}
    (server, stream)
}

#[test]
fn a_second_sigterm_ends_a_shutdown_that_waits_and_other_signals_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let (mut server, _stream) = server_that_waits_at_its_end(dir.path());
    let log = || std::fs::read_to_string(dir.path().join("server.log")).unwrap();
    kill(15, server.id());
    wait_until("the shutdown begins", || log().contains("stopping"));
    for signal in [1, 10, 12, 14, 34, 64] {
        kill(signal, server.id());
    }
    // The signals are read one after the other: this one comes after those.
    wait_until("they are read", || log().contains("signal ignored signal=\"64\""));
    assert!(server.running());
    kill(15, server.id());
    assert_eq!(server.wait().code(), Some(1));
    assert!(log().contains("stopped before everything was told"), "{}", log());
}
