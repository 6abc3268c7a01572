//! Every signal, sent to the real process.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]

mod chain;

use std::io::Write as _;
use std::process::Command;

use chain::{connect, read_line, start_server, wait_until};

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

/// Whenever it comes, SIGTERM ends the server in order: before there is a socket, when there is one, and at the end.
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

#[test]
fn a_second_sigterm_ends_a_shutdown_that_hangs_and_other_signals_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = start_server(dir.path());
    let (_stream, mut reader) = connect(&dir.path().join("hc.sock"));
    assert_eq!(read_line(&mut reader)["type"], "ready");
    let pid = server.id();
    let harmless = std::thread::spawn(move || {
        for signal in [1, 10, 12, 14, 34, 64] {
            let _ = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).output();
        }
    });
    kill(15, pid);
    assert_eq!(server.wait().code(), Some(0));
    harmless.join().unwrap();
}
