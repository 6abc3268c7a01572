//! hcctl, the API, the metrics, the state file, a webhook and the engine agree on the same counts,
//! under 10,000 checks that flap.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that fails may panic, and waits by the clock"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hc_server::{Config, Server};
use hc_testkit::admin;
use hc_testkit::process::wait_until;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const CHECKS: u64 = 10_000;
/// Each is a port on all addresses of the loopback network, and the backend of a quarter of the
/// checks.
const PORTS: u64 = 4;
const PATIENCE: Duration = Duration::from_secs(120);

/// Healthy and unhealthy checks.
type Counts = (u64, u64);
type States = Arc<Mutex<BTreeMap<u64, String>>>;

fn counts(states: &BTreeMap<u64, String>) -> Counts {
    let of = |health: &str| states.values().filter(|known| *known == health).count() as u64;
    (of("healthy"), of("unhealthy"))
}

/// Accepts on a port of all addresses until it is dropped; then it refuses.
struct Port(u16, Arc<AtomicBool>, Option<thread::JoinHandle<()>>);

impl Port {
    fn open(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                drop(stream);
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
            }
        });
        Self(port, stop, Some(thread))
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.1.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.0));
        if let Some(thread) = self.2.take() {
            let _ = thread.join();
        }
    }
}

/// The engine's end: what it is told of each check.
fn engine(socket: &Path, checks: &[Value]) -> (UnixStream, States) {
    let mut proxy = None;
    wait_until("the server listens", || {
        proxy = UnixStream::connect(socket).ok();
        proxy.is_some()
    });
    let mut proxy = proxy.unwrap();
    let (states, ours) = {
        let states = States::default();
        (states.clone(), states)
    };
    let mut acks = proxy.try_clone().unwrap();
    let reader = BufReader::new(proxy.try_clone().unwrap());
    thread::spawn(move || {
        for line in reader.lines().map_while(Result::ok) {
            let message: Value = serde_json::from_str(&line).unwrap();
            assert!(message["type"] != "rejected" && message["type"] != "error", "{line:.1000}");
            for told in message["batch"]["notifications"].as_array().into_iter().flatten() {
                let state = told["status"]["state"].as_str().unwrap().to_owned();
                ours.lock().unwrap().insert(told["id"].as_u64().unwrap(), state);
            }
            if let Some(seq) = message.get("seq") {
                let _ = writeln!(acks, "{}", json!({"type": "ack", "seq": seq}));
            }
        }
    });
    writeln!(proxy, "{}", json!({"type": "hello", "protocol": 1, "version": "test"})).unwrap();
    // A line has a limit.
    let parts: Vec<&[Value]> = checks.chunks(2500).collect();
    for (part, configs) in (1..).zip(&parts) {
        let set = json!({
            "type": "update_configs", "generation": 1, "part": part, "parts": parts.len(), "configs": configs,
        });
        writeln!(proxy, "{set}").unwrap();
    }
    (proxy, states)
}

/// A webhook's receiver: what it is told of each check, each change once. A repetition or a change
/// that is none is a fault.
fn webhook() -> (u16, States) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (states, ours) = {
        let states = States::default();
        (states.clone(), states)
    };
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut length, mut line) = (0, String::new());
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            for event in body["events"].as_array().unwrap() {
                let id = event["id"].as_str().unwrap().parse().unwrap();
                let health = event["health"].as_str().unwrap().to_owned();
                let before = ours.lock().unwrap().insert(id, health.clone());
                assert_ne!(before.as_ref(), Some(&health), "{event}");
                assert_eq!(before.is_none(), event["initial"] == true, "{event}");
            }
            write!(stream, "HTTP/1.1 204 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        }
    });
    (port, states)
}

/// What the admin API answers.
fn get(dir: &Path, path: &str) -> String {
    admin::ask_text(&dir.join("hc-admin.sock"), &format!("GET {path}"), "").1
}

fn hcctl(dir: &Path, args: &[&str]) -> Value {
    let mut hcctl = Command::new(env!("CARGO_BIN_EXE_hcctl"));
    hcctl.arg("--socket").arg(dir.join("hc-admin.sock")).arg("--json").args(args);
    serde_json::from_slice(&hcctl.output().unwrap().stdout).unwrap()
}

/// What each of them says.
fn opinions(dir: &Path, engine: &States, webhook: &States) -> BTreeMap<&'static str, Counts> {
    let number = |value: &Value| value.as_u64().unwrap();
    let overview: Value = serde_json::from_str(&get(dir, "/api/v1/status")).unwrap();
    let metrics = get(dir, "/metrics");
    let gauge = |health: &str| {
        let name = format!("hc_checks{{health=\"{health}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap();
        line.parse().unwrap()
    };
    let listed = hcctl(dir, &["status"]);
    let listed = |health: &str| {
        listed.as_array().unwrap().iter().filter(|check| check["health"] == health).count() as u64
    };
    let pages = |health: &str| {
        let (mut seen, mut after) = (0, String::new());
        loop {
            let page: Value =
                serde_json::from_str(&get(dir, &format!("/api/v1/checks?limit=1000&health={health}{after}")))
                    .unwrap();
            seen += page["checks"].as_array().unwrap().len() as u64;
            let Some(next) = page["next"].as_str() else { return seen };
            after = format!("&after={next}");
        }
    };
    let file: Value = serde_json::from_slice(
        &std::fs::read(dir.join("state.json")).unwrap_or_else(|_| b"{\"checks\":[]}".to_vec()),
    )
    .unwrap();
    let file: BTreeMap<u64, String> = file["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| {
            (check["id"].as_str().unwrap().parse().unwrap(), check["health"].as_str().unwrap().to_owned())
        })
        .collect();
    let of = |counts: &Value| (number(&counts["healthy"]), number(&counts["unhealthy"]));
    [
        ("API", of(&overview["checks"])),
        ("hcctl", (listed("healthy"), listed("unhealthy"))),
        ("pages", (pages("healthy"), pages("unhealthy"))),
        ("metrics", (gauge("healthy"), gauge("unhealthy"))),
        ("state file", counts(&file)),
        ("webhook", counts(&webhook.lock().unwrap())),
        ("engine", counts(&engine.lock().unwrap())),
    ]
    .into()
}

#[test]
fn all_agree_on_the_counts_under_flapping_checks() {
    let dir = tempfile::tempdir().unwrap();
    let (hook, webhook) = webhook();
    let here = dir.path().display();
    let text = format!(
        "[checks]\nshards = 2\n[[sink]]\nname = \"hook\"\nkind = \"webhook\"\nurl = \"http://127.0.0.1:{hook}/\"\nbatch_size = 1000\n\
         [[sink]]\nname = \"file\"\nkind = \"state-file\"\npath = \"{here}/state.json\"\n"
    );
    let mut config = Config::parse(Path::new("test.toml"), &text, std::iter::empty()).unwrap();
    config.socket.path = dir.path().join("proxy.sock");
    config.state.dir = dir.path().join("state");
    std::fs::create_dir(&config.state.dir).unwrap();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let server = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Server::new(config).shutdown(stopped).run()).unwrap();
    });

    let mut ports: Vec<Option<Port>> = (0..PORTS).map(|_| Some(Port::open(0))).collect();
    let numbers: Vec<u16> = ports.iter().flatten().map(|port| port.0).collect();
    let checks: Vec<Value> = (0..CHECKS)
        .map(|id| {
            let (address, port) = (id / PORTS, numbers[usize::try_from(id % PORTS).unwrap()]);
            json!({
                "id": id, "interval": "4s", "timeout": "3s", "retries": 0, "checker_type": "tcp",
                "ip": format!("127.1.{}.{}", address / 250, address % 250 + 1), "port": port,
            })
        })
        .collect();
    let (proxy, engine) = engine(&config_socket(dir.path()), &checks);
    let healthy = || -> u64 {
        let status: Value = serde_json::from_str(&get(dir.path(), "/api/v1/status")).unwrap();
        status["checks"]["healthy"].as_u64().unwrap()
    };
    wait_until("all checks are healthy", || healthy() == CHECKS);
    // They flap: each time some change before others have been told.
    for turn in 0..6_usize {
        let at = turn % ports.len();
        let before = healthy();
        ports[at] = match ports[at].take() {
            Some(open) => {
                drop(open);
                None
            }
            None => Some(Port::open(numbers[at])),
        };
        wait_until("some have changed", || healthy().abs_diff(before) > CHECKS / PORTS / 10);
    }
    let open = ports.iter().flatten().count() as u64 * CHECKS / PORTS;
    let expected = (open, CHECKS - open);
    let mut last = BTreeMap::new();
    let begun = Instant::now();
    while !(last.len() == 7 && last.values().all(|counts| *counts == expected)) {
        assert!(begun.elapsed() < PATIENCE, "expected {expected:?}: {last:?}");
        last = opinions(dir.path(), &engine, &webhook);
    }
    // And on which checks they are.
    for id in 0..CHECKS {
        let is_open = ports[usize::try_from(id % PORTS).unwrap()].is_some();
        let health = if is_open { "healthy" } else { "unhealthy" };
        assert_eq!(engine.lock().unwrap()[&id], health);
        assert_eq!(webhook.lock().unwrap()[&id], health);
    }
    drop(proxy);
    stop.cancel();
    server.join().unwrap();
}

fn config_socket(dir: &Path) -> std::path::PathBuf {
    dir.join("proxy.sock")
}
