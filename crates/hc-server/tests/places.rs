//! The socket's file and the state directory, when somebody moves, replaces or shares them while
//! the server runs.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]

mod chain;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use chain::{Process, connect, read_line, wait_until};

fn server(dir: &Path, run: &Path, state: &Path, more: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hc-server"));
    command.arg("--socket").arg(run.join("hc.sock")).arg("--state-dir").arg(state).args(more);
    Process::start(&mut command, &dir.join("server.log"))
}

fn log(dir: &Path) -> String {
    fs::read_to_string(dir.join("server.log")).unwrap()
}

/// With the sandbox, which knows directories and not paths.
#[test]
fn a_socket_whose_directory_was_made_anew_is_bound_again_in_the_sandbox() {
    let dir = tempfile::tempdir().unwrap();
    let (run, state) = (dir.path().join("run"), dir.path().join("state"));
    fs::create_dir(&run).unwrap();
    let mut server = server(dir.path(), &run, &state, &[]);
    let (mut served, mut reader) = connect(&run.join("hc.sock"));
    assert_eq!(read_line(&mut reader)["type"], "ready");
    writeln!(served, r#"{{"type":"hello","protocol":1,"version":"t"}}"#).unwrap();

    fs::remove_file(run.join("hc.sock")).unwrap();
    drop(connect(&run.join("hc.sock")));
    fs::rename(&run, dir.path().join("away")).unwrap();
    wait_until("the complaint", || log(dir.path()).contains("cannot be bound again yet"));
    fs::create_dir(&run).unwrap();
    let (_stream, mut other) = connect(&run.join("hc.sock"));
    assert_eq!(read_line(&mut other)["type"], "ready");
    let mode = fs::metadata(run.join("hc.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let bound_again = format!(": bound again path={}", run.join("hc.sock").display());
    assert_eq!(log(dir.path()).matches(&bound_again).count(), 2, "{}", log(dir.path()));

    // Who was connected still is.
    writeln!(served, r#"{{"type":"update_configs","configs":[{{"id":1}}]}}"#).unwrap();
    assert_eq!(read_line(&mut reader)["type"], "rejected");
    assert_eq!(server.terminate().code(), Some(0));
}

/// As root, whose capabilities the sandbox drops.
#[test]
fn a_socket_with_another_owner_is_bound_again_in_the_sandbox() {
    assert!(rustix::process::geteuid().is_root(), "this test needs root");
    let owner = |path: &Path| fs::metadata(path).map(|meta| (meta.uid(), meta.gid(), meta.mode() & 0o7777));
    for (user, group) in
        [(Some("nobody"), None), (None, Some("nogroup")), (Some("nobody"), Some("nogroup")), (None, None)]
    {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("hc.sock");
        let config = dir.path().join("hc-server.toml");
        let line = |name, value: Option<&str>| {
            value.map(|value| format!("{name} = {value:?}\n")).unwrap_or_default()
        };
        fs::write(&config, format!("[socket]\n{}{}", line("user", user), line("group", group))).unwrap();
        let more = ["--config", config.to_str().unwrap()];
        let mut server = server(dir.path(), dir.path(), &dir.path().join("state"), &more);
        wait_until("ready", || log(dir.path()).contains(" ready "));
        let before = owner(&socket).unwrap();
        assert_eq!((before.0 != 0, before.1 != 0, before.2), (user.is_some(), group.is_some(), 0o660));
        assert_eq!(
            log(dir.path()).contains("CAP_CHOWN"),
            user.is_some() || group.is_some(),
            "{}",
            log(dir.path())
        );
        for _ in 0..2 {
            fs::remove_file(&socket).unwrap();
            let (_stream, mut reader) = connect(&socket);
            assert_eq!(read_line(&mut reader)["type"], "ready", "{user:?} {group:?}");
            assert_eq!(owner(&socket).unwrap(), before);
        }
        assert_eq!(server.terminate().code(), Some(0));
        assert!(!socket.exists());
    }
}

#[test]
fn a_state_directory_that_was_replaced_is_told_with_its_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let (run, state) = (dir.path().join("run"), dir.path().join("state"));
    fs::create_dir(&run).unwrap();
    let config = dir.path().join("hc-server.toml");
    fs::write(&config, "[state]\ninterval = \"50ms\"\n").unwrap();
    let more = ["--config", config.to_str().unwrap()];
    let mut confined = server(dir.path(), &run, &state, &more);
    wait_until("a snapshot", || state.join("health.snapshot").exists());
    fs::rename(&state, dir.path().join("old")).unwrap();
    wait_until("gone", || log(dir.path()).contains("label=\"gone\""));
    fs::create_dir(&state).unwrap();
    wait_until("replaced", || log(dir.path()).contains("label=\"replaced\""));
    assert!(log(dir.path()).contains("restart hc-server"));
    fs::remove_dir(&state).unwrap();
    fs::rename(dir.path().join("old"), &state).unwrap();
    wait_until("the old one is back", || log(dir.path()).contains("snapshots are written again"));
    assert_eq!(confined.terminate().code(), Some(0));

    // Without the sandbox it just goes on.
    let more = [more[0], more[1], "--no-sandbox"];
    let _free = server(dir.path(), &run, &state, &more);
    wait_until("ready", || log(dir.path()).matches(" ready ").count() == 2);
    fs::rename(&state, dir.path().join("old")).unwrap();
    wait_until("a snapshot in a new directory", || state.join("health.snapshot").exists());
}

fn second(run: &Path, state: &Path) -> Output {
    fs::create_dir_all(run).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hc-server"));
    command.arg("--socket").arg(run.join("hc.sock")).arg("--state-dir").arg(state).output().unwrap()
}

#[test]
fn a_second_server_hears_who_has_the_socket_or_the_state_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (run, state) = (dir.path().join("run"), dir.path().join("state"));
    fs::create_dir(&run).unwrap();
    let mut first = server(dir.path(), &run, &state, &[]);
    drop(connect(&run.join("hc.sock")));
    wait_until("ready", || log(dir.path()).contains(" ready "));
    for (run, state, words) in [
        (&run, &dir.path().join("other"), "socket in use"),
        (&dir.path().join("other"), &state, "state directory in use"),
    ] {
        let output = second(run, state);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{text}");
        assert!(text.contains(words) && text.contains(&format!("process {} ", first.id())), "{text}");
    }
    assert!(!dir.path().join("other/hc.sock").exists());
    // A lock does not outlive its process.
    first.kill();
    let mut third = server(dir.path(), &run, &state, &[]);
    wait_until("ready", || log(dir.path()).matches(" ready ").count() == 2);
    assert_eq!(third.terminate().code(), Some(0));
}

#[test]
fn a_snapshot_from_the_future_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let hour = std::time::SystemTime::now() + Duration::from_secs(3600);
    hc_snapshot::write(dir.path(), hour, &[], &[]).unwrap();
    let _server = server(dir.path(), dir.path(), dir.path(), &[]);
    wait_until("the warning", || log(dir.path()).contains("from the future"));
}

/// Under root with a capability in the ambient set, as the unit has it for another user.
#[test]
fn a_command_inherits_neither_the_socket_of_systemd_nor_capabilities() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    let checks = "[[check]]\nname = \"web\"\ntarget = \"127.0.0.1:1\"\ntcp = {}\n";
    fs::write(dir.path().join("checks.toml"), checks).unwrap();
    let script = "for f in /proc/$$/fd/*; do readlink $f; done > DIR/fds; grep Cap /proc/$$/status > DIR/caps.new; \
                  mv DIR/caps.new DIR/caps";
    let script = script.replace("DIR", &at.to_string());
    let config = format!(
        "[source]\nkind = \"file\"\nfiles = [\"{at}/checks.toml\"]\n\
         [[sink]]\nname = \"script\"\nkind = \"command\"\ncommand = [\"/bin/sh\", \"-c\", \"{script}\"]\n"
    );
    fs::write(dir.path().join("hc-server.toml"), config).unwrap();
    let socket = UnixListener::bind(dir.path().join("systemd.sock")).unwrap();
    let wrapper = if rustix::process::geteuid().is_root() {
        "setpriv --inh-caps=+net_raw --ambient-caps=+net_raw"
    } else {
        ""
    };
    let start = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec WRAPPER \"$0\" --config \"$1/hc-server.toml\" \
                 --state-dir \"$1/state\"";
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(start.replace("WRAPPER", wrapper))
        .arg(env!("CARGO_BIN_EXE_hc-server"))
        .arg(dir.path())
        .stdin(std::os::fd::OwnedFd::from(socket))
        .stderr(fs::File::create(dir.path().join("server.log")).unwrap());
    let mut server = command.spawn().unwrap();
    drop(command);
    wait_until("the command ran", || dir.path().join("caps").exists());
    let pid = rustix::process::Pid::from_child(&server);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(server.wait().unwrap().code(), Some(0), "{}", log(dir.path()));
    let open = fs::read_to_string(dir.path().join("fds")).unwrap();
    assert!(!open.contains("socket:"), "{open}");
    let capabilities = fs::read_to_string(dir.path().join("caps")).unwrap();
    for set in ["CapInh", "CapAmb"] {
        assert!(capabilities.contains(&format!("{set}:\t0000000000000000\n")), "{capabilities}");
    }
}

/// As systemd does it: descriptor 3, and LISTEN_PID is the process itself.
#[test]
fn a_socket_of_systemd_is_served_and_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("systemd.sock");
    let socket = UnixListener::bind(&path).unwrap();
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg("exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" --socket /nonexistent/hc.sock --state-dir \"$1\"")
        .arg(env!("CARGO_BIN_EXE_hc-server"))
        .arg(dir.path().join("state"))
        .stdin(std::os::fd::OwnedFd::from(socket))
        .stderr(fs::File::create(dir.path().join("server.log")).unwrap());
    let mut server = command.spawn().unwrap();
    drop(command);
    let (_stream, mut reader) = connect(&path);
    assert_eq!(read_line(&mut reader)["type"], "ready");
    let pid = rustix::process::Pid::from_child(&server);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(server.wait().unwrap().code(), Some(0), "{}", log(dir.path()));
    assert!(path.exists());
}
