//! hc-server as a process: what it says and how it ends when something is wrong, or when it is told
//! to.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]

mod chain;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use chain::{PATIENCE, connect, read_line, start_server, wait_until};
use libseccomp::{ScmpAction, ScmpFilterContext, ScmpNotifReq, ScmpSyscall};
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
    let mut server = chain::Process::start(&mut command, &dir.path().join("server.log"));
    drop(connect(&dir.path().join("hc.sock")));
    wait_until("the warning", || {
        std::fs::read_to_string(dir.path().join("server.log")).unwrap().contains("no state directory")
    });
    assert_eq!(server.terminate().code(), Some(0));
}

/// A server whose `fsync` does not come back: a filter hands the call to whoever listens, and
/// nobody answers.
#[test]
fn a_disk_that_hangs_keeps_nobody_from_ending() {
    // A filter is for good, so it gets a thread of its own, from which the server has it.
    let test = std::thread::spawn(|| {
        let mut filter = ScmpFilterContext::new(ScmpAction::Allow).unwrap();
        filter.add_rule(ScmpAction::Notify, ScmpSyscall::from_name("fsync").unwrap()).unwrap();
        filter.load().unwrap();
        let calls = filter.get_notify_fd().unwrap();

        let dir = tempfile::tempdir().unwrap();
        let mut server = start_server(dir.path());
        let (mut stream, mut reader) = connect(&dir.path().join("hc.sock"));
        assert_eq!(read_line(&mut reader)["type"], "ready");
        writeln!(stream, "{}", set(&[tcp_check(1, 1)])).unwrap();
        assert_eq!(read_line(&mut reader)["type"], "notification_batch");
        let (hangs, told) = sync_channel(1);
        std::thread::spawn(move || hangs.send(ScmpNotifReq::receive(calls).is_ok()));
        assert_eq!(told.recv_timeout(PATIENCE), Ok(true), "no snapshot is written");
        assert_eq!(server.terminate().code(), Some(0));
        let log = std::fs::read_to_string(dir.path().join("server.log")).unwrap();
        assert!(log.contains("the disk hangs"), "{log}");
    });
    if let Err(panic) = test.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Whoever may write to the state directory does not keep the server from starting.
#[test]
fn a_pipe_in_place_of_the_snapshot_is_one_warning_and_a_clean_start() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Command::new("mkfifo").arg(dir.path().join("health.snapshot")).status().unwrap().success());
    let _server = start_server(dir.path());
    let (_stream, mut reader) = connect(&dir.path().join("hc.sock"));
    assert_eq!(read_line(&mut reader)["type"], "ready");
    let log = || std::fs::read_to_string(dir.path().join("server.log")).unwrap();
    wait_until("the lines of the start", || log().contains(" ready "));
    let log = log();
    assert_eq!(log.matches("the last snapshot cannot be used").count(), 1, "{log}");
    assert!(log.contains("health.snapshot: not a regular file"), "{log}");
}

/// Gives the server so many checks that fail, and waits until it has reported each.
fn report_failing_checks(stream: &mut UnixStream, reader: &mut BufReader<UnixStream>, count: u64) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let checks: Vec<_> = (0..count).map(|id| tcp_check(id, port)).collect();
    for (part, checks) in checks.chunks(4000).enumerate() {
        let mut line = set(checks);
        (line["generation"], line["part"], line["parts"]) =
            (1.into(), (part + 1).into(), count.div_ceil(4000).into());
        writeln!(stream, "{line}").unwrap();
    }
    let mut reported = std::collections::HashSet::new();
    while reported.len() < usize::try_from(count).unwrap() {
        let batch = read_line(reader);
        let news = batch["batch"]["notifications"].as_array().unwrap();
        reported.extend(news.iter().map(|news| news["id"].as_u64().unwrap()));
    }
}

#[test]
fn one_kind_of_log_line_does_not_fill_the_disk() {
    const CHECKS: u64 = 4000;

    let dir = tempfile::tempdir().unwrap();
    let mut server = start_server(dir.path());
    let (mut stream, mut reader) = connect(&dir.path().join("hc.sock"));
    assert_eq!(read_line(&mut reader)["type"], "ready");
    report_failing_checks(&mut stream, &mut reader, CHECKS);
    assert_eq!(server.terminate().code(), Some(0));
    let log = std::fs::read_to_string(dir.path().join("server.log")).unwrap();
    let lines = log.matches("health changed").count();
    // A thousand, and one for each second that it took.
    assert!((1000..1100).contains(&lines), "{lines} lines");
    let held_back = log.lines().filter(|line| line.contains("too many lines of one kind"));
    let counts = held_back.filter_map(|line| line.split("lines=").nth(1)?.trim().parse::<usize>().ok());
    assert_eq!(counts.sum::<usize>() + lines, usize::try_from(CHECKS).unwrap(), "{log}");
}

/// Within the sandbox, with a file that is replaced by a rename and then broken.
#[test]
fn root_certificates_are_read_again_in_the_sandbox() {
    let dir = tempfile::tempdir().unwrap();
    let (certificates, state) = (dir.path().join("certificates"), dir.path().join("state"));
    for path in [&certificates, &state] {
        std::fs::create_dir(path).unwrap();
    }
    let file = certificates.join("roots.pem");
    let pem = |name: &str| hc_testkit::certificate::Authority::new(name, 2000, 2100).unwrap().pem();
    std::fs::write(&file, pem("one")).unwrap();
    let log = dir.path().join("server.log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hc-server"));
    command.arg("--socket").arg(state.join("hc.sock")).arg("--state-dir").arg(&state);
    command.env("SSL_CERT_FILE", &file).env_remove("SSL_CERT_DIR");
    let mut server = chain::Process::start(&mut command, &log);
    let logged = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_until("the sandbox", || logged().contains("in the sandbox") && logged().contains("ready"));
    let next = certificates.join("next.pem");
    std::fs::write(&next, pem("one") + &pem("two")).unwrap();
    std::fs::rename(&next, &file).unwrap();
    wait_until("new roots", || logged().contains("the root certificates have changed and are in use"));
    assert!(logged().contains("count=2") || logged().contains("\"count\":2"), "{}", logged());
    std::fs::write(&file, "").unwrap();
    wait_until("a warning", || logged().contains("the old ones stay in use"));
    assert!(server.terminate().success());
}

/// Whoever reads the log has stopped. Checks run on, and all is told; the log says later what it
/// lacks.
#[test]
fn a_log_that_nobody_reads_stops_no_check() {
    const CHECKS: u64 = 8000;

    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("hc.sock");
    let mut server = Command::new(env!("CARGO_BIN_EXE_hc-server"))
        .arg("--socket")
        .arg(&socket)
        .arg("--state-dir")
        .arg(dir.path())
        // Lines that somebody asked for are not limited in number.
        .env("HC_SERVER_LOG_LEVEL", "info,hc_manager=debug")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap());
    let (mut stream, mut reader) = connect(&socket);
    assert_eq!(read_line(&mut reader)["type"], "ready");
    report_failing_checks(&mut stream, &mut reader, CHECKS);
    let mut line = String::new();
    while !line.contains("lines are lost") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "the log ended");
    }
    let pid = Pid::from_child(&server);
    kill_process(pid, Signal::TERM).unwrap();
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    // What was held back of each kind is reported last of all.
    let mut last = rest.lines().rev().skip_while(|line| line.contains("too many lines of one kind"));
    assert!(last.next().is_some_and(|line| line.ends_with("stopped")), "{rest}");
    assert_eq!(server.wait().unwrap().code(), Some(0));
}

/// What peers and backends say is shown in the log, and is no line of it.
#[test]
fn nobody_else_writes_lines_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = start_server(dir.path());
    let (mut stream, mut reader) = connect(&dir.path().join("hc.sock"));
    assert_eq!(read_line(&mut reader)["type"], "ready");
    writeln!(stream, r#"{{"type":"hello","protocol":1,"version":"t\nforged"}}"#).unwrap();
    let mut check = tcp_check(1, 1);
    (check["checker_type"], check["query"]) = ("dns".into(), "name\nforged \u{1b}[31m".into());
    let mut line = set(&[check]);
    line["generation"] = 1.into();
    writeln!(stream, "{line}").unwrap();
    let seq = read_line(&mut reader)["seq"].clone();
    let ack = serde_json::json!({ "type": "ack", "seq": seq, "error": "no\nforged \u{1b}[31m" });
    writeln!(stream, "{ack}").unwrap();
    assert_eq!(read_line(&mut reader)["type"], "notification_batch");
    assert_eq!(server.terminate().code(), Some(0));
    let log = std::fs::read_to_string(dir.path().join("server.log")).unwrap();
    assert!(log.matches("forged").count() >= 3, "{log}");
    assert!(!log.lines().any(|line| line.starts_with("forged")), "{log}");
    assert!(!log.contains('\u{1b}'), "{log}");
}

/// Nor do connections without end, or what is said on them.
#[test]
fn a_crowd_of_connections_does_not_fill_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("hc.sock");
    let start = Instant::now();
    let mut server = start_server(dir.path());
    let log = || std::fs::read_to_string(dir.path().join("server.log")).unwrap();
    let mut connections = 0;
    wait_until("the count of what is held back", || {
        for _ in 0..100 {
            let (mut stream, mut reader) = connect(&socket);
            assert_eq!(read_line(&mut reader)["type"], "ready");
            // More may come than is read before the end.
            let _ = stream.write_all(b"{\"type\":\"hello\",\"protocol\":1,\"version\":\"1\"}\ngarbage\n");
            connections += 1;
        }
        log().contains("these were held back")
    });
    assert_eq!(server.terminate().code(), Some(0));
    let about_peers = log().lines().filter(|line| line.contains("peer ")).count();
    let most = 64 + usize::try_from(start.elapsed().as_secs()).unwrap() + 1;
    assert!((64..=most).contains(&about_peers), "{about_peers} lines about {connections} connections");
}

/// A set of bad checks does not fill the log.
#[test]
fn a_hundred_rejected_checks_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = start_server(dir.path());
    let (mut stream, mut reader) = connect(&dir.path().join("hc.sock"));
    assert_eq!(read_line(&mut reader)["type"], "ready");
    for checks in [100, 250] {
        let checks: Vec<_> = (0..checks).map(|id| serde_json::json!({ "id": id })).collect();
        writeln!(stream, "{}", set(&checks)).unwrap();
        let told = read_line(&mut reader);
        assert_eq!(told["checks"].as_array().map(Vec::len), Some(checks.len()), "{told}");
    }
    assert_eq!(server.terminate().code(), Some(0));
    let log = std::fs::read_to_string(dir.path().join("server.log")).unwrap();
    assert_eq!(log.matches("a check is rejected").count(), 200, "{log}");
    assert_eq!(log.matches("more checks are rejected").count(), 1, "{log}");
    assert!(log.contains("the peer is told why checks=150"), "{log}");
}

/// However long what a peer says is, and whatever characters are in it.
#[test]
fn each_line_of_a_json_log_is_json() {
    let dir = tempfile::tempdir().unwrap();
    let path = config(dir.path(), "[log]\nformat = \"json\"\n");
    let (socket, log) = (dir.path().join("hc.sock"), dir.path().join("server.log"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_hc-server"));
    command.args(["--config", &path]).arg("--socket").arg(&socket).arg("--state-dir").arg(dir.path());
    let mut server = chain::Process::start(&mut command, &log);
    let (mut stream, mut reader) = connect(&socket);
    assert_eq!(read_line(&mut reader)["type"], "ready");
    for length in [1, 1_000, 40_000] {
        let version = "é\n\u{1b}\u{9b}\"\\".repeat(length);
        let hello = serde_json::json!({ "type": "hello", "protocol": 1, "version": version });
        writeln!(stream, "{hello}").unwrap();
    }
    writeln!(stream, "garbage").unwrap();
    assert_eq!(read_line(&mut reader)["code"], "malformed");
    assert_eq!(server.terminate().code(), Some(0));
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(!log.contains(|c: char| c.is_control() && c != '\n'), "{log}");
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().filter(|line| line["message"] == "the peer says hello").count(), 3, "{log}");
}

fn tcp_check(id: u64, port: u16) -> serde_json::Value {
    serde_json::json!({
        "id": id, "interval": "60s", "timeout": "5s", "checker_type": "tcp", "ip": "127.0.0.1", "port": port,
    })
}

fn set(checks: &[serde_json::Value]) -> serde_json::Value {
    serde_json::json!({ "type": "update_configs", "configs": checks })
}
