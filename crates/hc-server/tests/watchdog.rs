//! What a stand-in for systemd hears on its notification socket.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]

mod chain;

use std::io::{BufReader, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::path::Path;
use std::process::Command;

use chain::{PATIENCE, Process, connect, read_line, wait_until};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use rustix::process::Signal;

/// As short as a machine that is busy with other tests allows: a look every 100 ms.
const WATCHDOG_USEC: &str = "400000";

/// The end of the socket that systemd has.
struct Systemd(UnixDatagram);

impl Systemd {
    fn listen(dir: &Path) -> Self {
        Self::with(UnixDatagram::bind(dir.join("notify.sock")).unwrap())
    }

    fn with(socket: UnixDatagram) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    #[track_caller]
    fn hears(&self) -> String {
        let mut bytes = [0; 4096];
        let length = self.0.recv(&mut bytes).expect("a message in time");
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    /// Reads until a message is as wanted.
    #[track_caller]
    fn hears_some(&self, wanted: impl Fn(&str) -> bool) -> String {
        loop {
            let message = self.hears();
            if wanted(&message) {
                return message;
            }
        }
    }

    /// Forgets what has come so far.
    fn forget(&self) {
        self.0.set_nonblocking(true).unwrap();
        while self.0.recv(&mut [0; 1]).is_ok() {}
        self.0.set_nonblocking(false).unwrap();
    }
}

fn is_fed(message: &str) -> bool {
    message.lines().any(|line| line == "WATCHDOG=1")
}

fn command(dir: &Path, notify: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hc-server"));
    command.arg("--socket").arg(dir.join("hc.sock")).arg("--state-dir").arg(dir);
    command
        .env("NOTIFY_SOCKET", notify)
        .env("WATCHDOG_USEC", WATCHDOG_USEC)
        .env("HC_SERVER_CHECKS_SHARDS", "2");
    command.env_remove("WATCHDOG_PID");
    command
}

fn start(dir: &Path) -> (Process, Systemd) {
    let systemd = Systemd::listen(dir);
    let mut command = command(dir, dir.join("notify.sock").to_str().unwrap());
    let server = Process::start(&mut command, &dir.join("server.log"));
    assert_eq!(systemd.hears(), "READY=1");
    (server, systemd)
}

fn log(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("server.log")).unwrap()
}

/// A set of checks that are due all the time, so that each shard has something to do.
fn set_checks(dir: &Path) -> (UnixStream, BufReader<UnixStream>) {
    let (mut stream, mut reader) = connect(&dir.join("hc.sock"));
    assert_eq!(read_line(&mut reader)["type"], "ready");
    let check = |id: u64| {
        // Addresses on which no machine has a service at the port of tcpmux.
        let (id, last) = (id + 1, id + 1);
        format!(
            r#"{{"id":{id},"interval":"20ms","timeout":"10ms","checker_type":"tcp","ip":"127.90.7.{last}","port":1}}"#
        )
    };
    // Only a peer that has said hello is waited for when it does not acknowledge.
    writeln!(stream, r#"{{"type":"hello","protocol":1,"version":"test"}}"#).unwrap();
    let checks: Vec<String> = (0..64).map(check).collect();
    writeln!(stream, r#"{{"type":"update_configs","generation":1,"configs":[{}]}}"#, checks.join(","))
        .unwrap();
    (stream, reader)
}

/// The thread of this name.
fn thread(server: &Process, name: &str) -> Pid {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.id())).unwrap();
    let found = tasks
        .map(|task| task.unwrap().path())
        .find(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end() == name));
    let found = found.unwrap_or_else(|| panic!("no thread {name}"));
    Pid::from_raw(found.file_name().unwrap().to_str().unwrap().parse().unwrap())
}

/// Stops one thread, and nothing else of the process, until the end of `meanwhile`.
fn while_stopped(thread: Pid, meanwhile: impl FnOnce()) {
    ptrace::seize(thread, ptrace::Options::empty()).unwrap();
    ptrace::interrupt(thread).unwrap();
    waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
    meanwhile();
    ptrace::detach(thread, None).unwrap();
}

/// One thread stands still: the watchdog starves, and says of whom; when it runs again, it is fed
/// again.
#[track_caller]
fn starves_while_stopped(name: &str, what: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (mut server, systemd) = start(dir.path());
    let _proxy = set_checks(dir.path());
    systemd.hears_some(|message| message.contains("STATUS=64 checks: 0 healthy, 64 unhealthy, 0 unknown"));
    while_stopped(thread(&server, name), || {
        let message = systemd.hears_some(|message| !is_fed(message));
        assert!(message.contains(&format!("STATUS={what} hangs")), "{message}");
        for _ in 0..5 {
            let message = systemd.hears();
            assert!(!is_fed(&message), "{message}");
        }
    });
    systemd.hears_some(is_fed);
    let log = log(dir.path());
    assert!(log.contains("it hangs: the watchdog of systemd is not fed any more"), "{log}");
    assert!(log.contains(&format!("what=\"{what}\"")) || log.contains(&format!("what={what}")), "{log}");
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn a_hung_shard_starves_the_watchdog() {
    starves_while_stopped("hc-shard-1", "shard 1");
}

#[test]
fn a_hung_main_loop_starves_the_watchdog() {
    starves_while_stopped("hc-server", "the main loop");
}

/// A process that was stopped for longer than the watchdog waits, as by a suspended machine, feeds
/// it with its first look.
#[test]
fn a_suspended_process_is_not_hung() {
    let dir = tempfile::tempdir().unwrap();
    let (mut server, systemd) = start(dir.path());
    let _proxy = set_checks(dir.path());
    systemd.hears_some(|message| message.contains("64 unhealthy"));
    for _ in 0..3 {
        server.signal(Signal::STOP).unwrap();
        let stat = format!("/proc/{}/stat", server.id());
        wait_until("it is stopped", || std::fs::read_to_string(&stat).unwrap().contains(") T "));
        systemd.forget();
        // What must not matter is time, so time has to pass: six times what the watchdog allows.
        std::thread::sleep(std::time::Duration::from_millis(2400));
        server.signal(Signal::CONT).unwrap();
        for _ in 0..8 {
            let message = systemd.hears();
            assert!(is_fed(&message), "{message}");
        }
    }
    assert!(!log(dir.path()).contains("it hangs"));
    assert_eq!(server.terminate().code(), Some(0));
}

/// What is watched ends during a stop, and a consumer that answers nothing may make it last: the
/// watchdog is fed all the same.
#[test]
fn a_stop_that_lasts_is_not_hung() {
    let dir = tempfile::tempdir().unwrap();
    let systemd = Systemd::listen(dir.path());
    let mut command = command(dir.path(), dir.path().join("notify.sock").to_str().unwrap());
    command.env("HC_SERVER_SHUTDOWN_GRACE", "1m");
    let mut server = Process::start(&mut command, &dir.path().join("server.log"));
    assert_eq!(systemd.hears(), "READY=1");
    // It acknowledges nothing.
    let proxy = set_checks(dir.path());
    systemd.hears_some(|message| message.contains("64 unhealthy"));
    server.signal(Signal::TERM).unwrap();
    systemd.hears_some(|message| message == "STOPPING=1\nSTATUS=stopping");
    for _ in 0..12 {
        let message = systemd.hears();
        assert!(is_fed(&message), "{message}");
    }
    drop(proxy);
    server.kill();
}

/// Without a watchdog, or with that of another process, systemd hears of the state alone. Its
/// socket may be an abstract one.
#[test]
fn the_watchdog_of_another_process_is_not_fed() {
    let dir = tempfile::tempdir().unwrap();
    let name = format!("hc-server-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let systemd = Systemd::with(UnixDatagram::bind_addr(&address).unwrap());
    let mut command = command(dir.path(), &format!("@{name}"));
    command.env("WATCHDOG_PID", "1").env("WATCHDOG_USEC", "20000");
    let mut server = Process::start(&mut command, &dir.path().join("server.log"));
    assert_eq!(systemd.hears(), "READY=1");
    // What is found is told after 100 ms: by then it would have been fed some twenty times.
    let (_proxy, mut news) = set_checks(dir.path());
    assert_eq!(read_line(&mut news)["type"], "notification_batch");
    assert_eq!(server.terminate().code(), Some(0));
    let rest = systemd.hears();
    assert!(!is_fed(&rest), "{rest}");
    assert_eq!(rest, "STOPPING=1\nSTATUS=stopping");
}
