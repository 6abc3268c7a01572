//! hcctl against a real server, which an hc-proxy of a few lines feeds.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that fails may panic, and waits by the clock"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hc_server::{Config, Server};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);

/// A server in this process, with its files in a directory of its own.
struct Running {
    dir: TempDir,
    stop: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
    proxy: Option<UnixStream>,
    listen: SocketAddr,
}

impl Running {
    fn start() -> Self {
        Self::start_with(|_| {})
    }

    fn start_with(configure: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut config = Config::default();
        config.socket.path = dir.path().join("proxy.sock");
        config.state.dir = dir.path().join("state");
        std::fs::create_dir(&config.state.dir).unwrap();
        config.admin.listen = Some(listen);
        configure(&mut config);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(Server::new(config).shutdown(stopped).run()).unwrap();
        });
        Self { dir, stop, thread: Some(thread), proxy: None, listen }
    }

    /// Sends a set of checks as hc-proxy does, and stays connected.
    fn send(&mut self, checks: &[Value]) {
        let path = self.dir.path().join("proxy.sock");
        let mut proxy = until("the server listens", || UnixStream::connect(&path).ok());
        let lines = [
            json!({"type": "hello", "protocol": 1, "version": "test"}),
            json!({"type": "update_configs", "configs": checks}),
        ];
        for line in lines {
            proxy.write_all(format!("{line}\n").as_bytes()).unwrap();
        }
        // Whatever comes is taken and acknowledged.
        let mut acks = proxy.try_clone().unwrap();
        let reader = BufReader::new(proxy.try_clone().unwrap());
        thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                let message: Value = serde_json::from_str(&line).unwrap();
                if let Some(seq) = message.get("seq") {
                    let _ = acks.write_all(format!("{}\n", json!({"type": "ack", "seq": seq})).as_bytes());
                }
            }
        });
        self.proxy = Some(proxy);
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut hcctl = Command::new(env!("CARGO_BIN_EXE_hcctl"));
        hcctl.arg("--socket").arg(self.dir.path().join("hc-admin.sock")).args(args);
        hcctl
    }

    /// Standard output and exit status.
    fn hcctl(&self, args: &[&str]) -> (String, i32) {
        let Output { status, stdout, stderr } = self.command(args).output().unwrap();
        let text = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
        (text, status.code().unwrap())
    }

    fn json(&self, args: &[&str]) -> Value {
        let (text, _) = self.hcctl(&[&["--json"], args].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !thread::panicking()
        {
            panic!("the server failed");
        }
    }
}

fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn check(id: u64, address: SocketAddr) -> Value {
    json!({
        "id": id, "interval": "100ms", "timeout": "1s", "retries": 0, "checker_type": "tcp",
        "ip": address.ip(), "port": address.port(),
    })
}

/// Ended when it is dropped.
struct Watching(Child);

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_is_down_is_seen_and_explained() {
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let alive = backend.local_addr().unwrap();
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut server = Running::start();
    server.send(&[check(1, alive), check(2, dead)]);

    let (text, status) = until("both checks have a verdict", || {
        let (text, status) = server.hcctl(&["status"]);
        (text.contains("1 healthy, 1 unhealthy")).then_some((text, status))
    });
    assert_eq!(status, 1, "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("CHECK"), "{text}");
    assert!(lines[1].starts_with("2 ") && lines[1].contains("unhealthy"), "what is down comes first: {text}");

    // Filters, and the exit status of what they leave.
    assert_eq!(server.hcctl(&["status", "--health", "healthy"]).1, 0);
    assert_eq!(server.json(&["status", "--health", "unhealthy"]).as_array().unwrap().len(), 1);
    assert_eq!(server.json(&["status", &dead.to_string()])[0]["id"], "2");
    assert_eq!(
        server.hcctl(&["status", "--type", "dns"]),
        (
            "CHECK  HEALTH  FOR  TYPE  TARGET  LATEST RESULT\n0 checks: 0 healthy, 0 unhealthy, 0 unknown\n\
             hcctl: there is no such check\n"
                .to_owned(),
            2
        )
    );
    // None of those that there are is so; and there is none of that name, as after a slip of the
    // finger.
    assert_eq!(server.hcctl(&["status", "--held"]).1, 0);
    assert_eq!(server.hcctl(&["status", "--health", "unhealthy", &alive.to_string()]).1, 0);
    assert_eq!(server.hcctl(&["status", "--health", "unhealthy", "--name", "wbe"]).1, 2);
    assert!(server.hcctl(&["status", "--health", "healthy"]).0.contains("\n1 check: 1 healthy, "));

    let (text, status) = server.hcctl(&["explain", "2"]);
    assert_eq!(status, 1);
    assert!(
        text.contains("One probe that passes makes it healthy.") && text.contains("connection refused"),
        "{text}"
    );
    for part in [
        "The latest failure, at ",
        "connect:",
        "rule:     The backend's machine says that nobody listens there",
        "The checker's own machine: nothing is wrong with it.",
        &format!("\n  nc -v -z -w 1 127.0.0.1 {}\n", dead.port()),
        &format!("\n  hcctl check -v --timeout 1s tcp://{dead}\n"),
        "Weighted mean of all: ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let json = server.json(&["show", "2"]);
    assert_eq!((&json["id"], &json["last_failure"]["reason"]), (&"2".into(), &"refused".into()), "{json}");
    assert!(json["latency"]["max_seconds"].as_f64().unwrap() > 0.0, "{json}");
    assert_eq!(server.json(&["show", "1"]).get("last_failure"), None);
    assert_eq!(server.hcctl(&["show", "1"]).1, 0);
    let (text, status) = server.hcctl(&["show", "none"]);
    assert_eq!((text.as_str(), status), ("hcctl: no check with the id or name \"none\"\n", 2));
    assert_eq!(server.hcctl(&["ready"]), ("ok\n".to_owned(), 0));
}

#[test]
fn changes_are_watched_and_probes_made() {
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = backend.local_addr().unwrap();
    let mut server = Running::start();
    // Probed once in an hour, and on demand.
    let mut hourly = check(7, address);
    hourly["interval"] = json!("1h");
    server.send(&[hourly]);
    until("the first probe has ended", || {
        (server.hcctl(&["status"]).1 == 0 && server.hcctl(&["status"]).0.contains("1 healthy")).then_some(())
    });

    let mut watch = Watching(server.command(&["watch", "--all"]).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(watch.0.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains(&format!("7 ({address}): unknown -> healthy")), "{first}");
    drop(backend);
    assert_eq!(server.hcctl(&["run", "7"]), ("a probe of 7 begins now\n".to_owned(), 0));
    let second = lines.next().unwrap().unwrap();
    assert!(second.contains("healthy -> unhealthy"), "{second}");

    assert_eq!(server.hcctl(&["reload"]).1, 2, "the engine's checks are not read from a file");
    assert_eq!(server.hcctl(&["log-level", "loud"]).1, 2);
}

#[test]
fn what_an_operator_says_is_set_seen_and_ended() {
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut server = Running::start();
    server.send(&[check(7, backend.local_addr().unwrap())]);
    until("a verdict", || server.hcctl(&["status"]).0.contains("1 healthy").then_some(()));

    let (text, status) = server.hcctl(&["force", "down", "7", "--for", "1h", "--reason", "disk replaced"]);
    assert!(status == 0 && text.starts_with("1 check is forced unhealthy until "), "{text}");
    let (text, status) = server.hcctl(&["status"]);
    assert!(status == 0 && text.contains("healthy (forced unhealthy)"), "{text}");
    let (text, _) = server.hcctl(&["show", "7"]);
    assert!(
        text.contains("consumers get:")
            && text.contains(" unhealthy (override)")
            && text.contains(": disk replaced"),
        "{text}"
    );
    let (text, _) = server.hcctl(&["explain", "7"]);
    assert!(text.contains("Consumers get unhealthy, because of: override."), "{text}");
    let mute = ["mute", "7", "--weekly", "Sun 02:00-04:00", "--zone", "Europe/Berlin", "--reason", "backup"];
    assert_eq!(server.hcctl(&mute).1, 0);
    assert_eq!(server.hcctl(&["pause", "7", "--forever", "--reason", "moved"]).1, 0);
    let (text, _) = server.hcctl(&["overrides"]);
    let kinds: Vec<bool> = ["forced unhealthy", "Sun 02:00-04:00 Europe/Berlin", "paused"]
        .map(|word| text.contains(word))
        .into();
    assert_eq!(kinds, [true; 3], "{text}");
    assert_eq!(server.json(&["overrides"])["overrides"].as_array().unwrap().len(), 3);
    assert_eq!(server.hcctl(&["run", "7"]).1, 2, "it is paused");
    for end in ["unforce", "unmute", "resume"] {
        assert_eq!(server.hcctl(&[end, "7"]), ("1 override is ended\n".to_owned(), 0));
        assert_eq!(server.hcctl(&[end, "7"]).1, 2, "there is none any more");
    }
    // What a reader at three in the morning sees: what probes found and what operators said, in
    // order.
    let (text, _) = server.hcctl(&["explain", "7"]);
    let timeline = text.split("of its health and of overrides:\n").nth(1).unwrap_or_default();
    let words: Vec<&str> = timeline.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    let expected = [
        "unknown -> healthy: ",
        "forced unhealthy by ",
        "muted by ",
        "paused by ",
        "no longer forced unhealthy: ended by ",
        "no longer muted: ended by ",
        "no longer paused: ended by ",
    ];
    assert_eq!(words.len(), expected.len(), "{text}");
    assert!(words.iter().zip(expected).all(|(line, words)| line.starts_with(words)), "{text}");
    assert!(words[1].contains(" until ") && words[1].ends_with(": disk replaced"), "{text}");
    assert!(words[2].ends_with(" each week Sun 02:00-04:00 Europe/Berlin: backup"), "{text}");
    let timeline = server.json(&["explain", "7"])["timeline"].clone();
    let events: Vec<&Value> = timeline.as_array().unwrap().iter().map(|change| &change["event"]).collect();
    assert_eq!(events, [&["transition"][..], &["override"; 6]].concat(), "{timeline}");
    assert_eq!(
        (&timeline[0]["to"], &timeline[1]["change"], &timeline[1]["override"]["reason"]),
        (&json!("healthy"), &json!("set"), &json!("disk replaced")),
        "{timeline}"
    );
    let mut watch = server.command(&["watch", "--all", "--only", "override"]);
    let mut watch = Watching(watch.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(watch.0.stdout.take().unwrap()).lines();
    for words in [
        " 7: forced unhealthy by ",
        " 7: muted by ",
        " 7: paused by ",
        " 7: no longer forced unhealthy: ended by ",
        " 7: no longer muted: ended by ",
        " 7: no longer paused: ended by ",
    ] {
        let line = lines.next().unwrap().unwrap();
        assert!(line.contains(words), "{line}");
    }
    assert_eq!(server.hcctl(&["overrides"]).0.lines().count(), 1);
    for wrong in [
        &["force", "down", "7", "--reason", "r"][..],
        &["force", "down", "7", "--for", "1h"],
        &["force", "down", "--for", "1h", "--reason", "r"],
        &["force", "sideways", "7", "--for", "1h", "--reason", "r"],
        &["mute", "7", "--weekly", "Sun 02:00-04:00", "--reason", "r"],
        &["pause", "7", "--for", "1h", "--forever", "--reason", "r"],
        &["pause", "8", "--for", "1h", "--reason", "r"],
    ] {
        assert_eq!(server.hcctl(wrong).1, 2, "{wrong:?}");
    }
}

#[test]
fn over_tcp_everything_is_shown_and_nothing_changed() {
    let mut server = Running::start();
    server.send(&[]);
    let address = server.listen.to_string();
    let tcp = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_hcctl"))
            .args(["--address", &address])
            .args(args)
            .output()
            .unwrap();
        output.status.code().unwrap()
    };
    until("the set is there", || (tcp(&["ready"]) == 0).then_some(()));
    assert_eq!(tcp(&["reload"]), 2);
    assert_eq!((tcp(&["overrides"]), tcp(&["unforce", "7"])), (0, 2));
    let mut stream = TcpStream::connect(server.listen).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.contains("hc_source_sets_total 1\n") && answer.contains("hc_checks{health=\"healthy\"} 0\n"),
        "{answer}"
    );
}

/// A file of checks in `dir`.
fn file(dir: &std::path::Path, name: &str, checks: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, checks).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_plan_says_what_files_cost_and_what_would_change() {
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = backend.local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let check = |name: &str, more: &str| {
        format!(
            "[[check]]\nname = '{name}'\ntarget = '{address}'\ntcp = {{}}\ninterval = '2s'\ntimeout = '1s'\n{more}\n"
        )
    };
    let files = file(dir.path(), "a.toml", &(check("kept", "") + &check("slower", "") + &check("gone", "")));
    let server = Running::start_with(|config| {
        config.source.kind = hc_server::config::SourceKind::File;
        config.source.files = vec![files.clone()];
    });
    until("the checks run", || server.hcctl(&["status"]).0.contains("3 checks: ").then_some(()));

    file(dir.path(), "a.toml", &(check("kept", "") + &check("slower", "retries = 2") + &check("new", "")));
    let (text, status) = server.hcctl(&["plan", &files]);
    assert_eq!(
        (text.as_str(), status),
        (
            "3 checks\n\
             probes a second:    1.5\n\
             sockets:            2 at once while no backend answers\n\
             detection, mean:    3s 333ms from the moment when a backend falls silent\n\
             detection, worst:   7s (slower)\n\
             \n\
             Against the running checks:\n\
             + new\n\
             - gone\n\
             ~ slower: retries 0 -> 2\n\
             1 added, 1 removed, 1 changed, 1 as before. What a probe sends and expects is not compared.\n",
            0
        )
    );
    assert_eq!(server.json(&["plan", &files])["changes"]["changed"]["slower"], json!(["retries 0 -> 2"]));
    // As the server does it.
    assert_eq!(
        server.hcctl(&["reload"]),
        ("1 checks added, 1 removed, 1 changed, 1 as before\n".to_owned(), 0)
    );
    assert_eq!(server.json(&["plan", &files])["changes"]["unchanged"], json!(3));
    let wrong = file(dir.path(), "a.toml", "[[check]]\n");
    let (text, status) = server.hcctl(&["reload"]);
    assert!(
        status == 2 && text.contains("the old checks stand:") && text.contains(":1:1: check.name"),
        "{text}"
    );
    assert_eq!(server.hcctl(&["plan", &wrong]).1, 1);
}
