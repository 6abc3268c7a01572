//! hc-server with sinks: the engine's end of its socket, and what the sinks talk to.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hc_testkit::admin::ask_text;
pub(crate) use hc_testkit::backend::Backend;
pub(crate) use hc_testkit::process::{Process, wait_until};
use serde_json::{Value, json};

/// A server in a directory of its own.
pub(crate) struct Rig {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) server: Process,
}

impl Rig {
    /// Starts the server with what `config` makes of the directory.
    pub(crate) fn start(config: impl FnOnce(&Path) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("hc-server.toml"), config(dir.path())).unwrap();
        let server = start_server(dir.path());
        Self { dir, server }
    }

    /// Starts another server in the place of one that was killed.
    pub(crate) fn restart_killed(&mut self) {
        self.server = start_server(self.dir.path());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("server.log")).unwrap()
    }

    /// The engine's end, with these checks.
    pub(crate) fn engine(&self, checks: &Value) -> Engine {
        Engine::connect(&self.path("hc.sock"), checks)
    }

    /// A GET over the admin API's socket: the body.
    pub(crate) fn get(&self, path: &str) -> String {
        let (status, body) = ask_text(&self.path("hc-admin.sock"), &format!("GET {path}"), "");
        assert!(status == 200 || path.starts_with("/readyz"), "{path}: {status} {body}");
        body
    }
}

fn start_server(dir: &Path) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hc-server"));
    command.arg("--config").arg(dir.join("hc-server.toml"));
    command.arg("--socket").arg(dir.join("hc.sock")).arg("--state-dir").arg(dir.join("state"));
    Process::start(&mut command, &dir.join("server.log"))
}

/// What hc-proxy would be: it takes every batch and remembers what it was told.
pub(crate) struct Engine {
    stream: UnixStream,
    told: Arc<Mutex<Vec<(u64, String)>>>,
}

impl Engine {
    fn connect(socket: &Path, checks: &Value) -> Self {
        let mut stream = None;
        wait_until("hc-server listens", || {
            stream = UnixStream::connect(socket).ok();
            stream.is_some()
        });
        let mut stream = stream.unwrap();
        let (told, mut acks) = (Arc::<Mutex<Vec<_>>>::default(), stream.try_clone().unwrap());
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let ours = told.clone();
        thread::spawn(move || {
            while let Some(Ok(line)) = lines.next() {
                let message: Value = serde_json::from_str(&line).unwrap();
                assert_ne!(message["type"], "rejected", "{line}");
                if message["type"] != "notification_batch" {
                    continue;
                }
                let told = message["batch"]["notifications"].as_array().unwrap().iter();
                let told = told.map(|one| {
                    let state = one["status"]["state"].as_str().unwrap().to_owned();
                    (one["id"].as_u64().unwrap(), state)
                });
                ours.lock().unwrap().extend(told);
                // The server may be gone.
                let _ = writeln!(acks, "{}", json!({"type": "ack", "seq": message["seq"]}));
            }
        });
        writeln!(stream, "{}", json!({"type": "hello", "protocol": 1, "version": "t"})).unwrap();
        let mut engine = Self { stream, told };
        engine.set(checks);
        engine
    }

    /// The whole set.
    pub(crate) fn set(&mut self, checks: &Value) {
        writeln!(self.stream, "{}", json!({"type": "update_configs", "configs": checks})).unwrap();
    }

    /// The latest state of each check that it was told.
    pub(crate) fn states(&self) -> BTreeMap<u64, String> {
        self.told.lock().unwrap().iter().cloned().collect()
    }

    /// The states of one check, repeats left out.
    pub(crate) fn history(&self, id: u64) -> Vec<String> {
        let told = self.told.lock().unwrap();
        let mut states: Vec<_> =
            told.iter().filter(|(told, _)| *told == id).map(|(_, state)| state.clone()).collect();
        states.dedup();
        states
    }

    #[track_caller]
    pub(crate) fn wait(&self, id: u64, state: &str) {
        let what = format!("the engine hears that {id} is {state}");
        wait_until(&what, || self.states().get(&id).is_some_and(|told| told == state));
    }
}

/// A TCP check in the words of the protocol, which is unhealthy after its first failure.
pub(crate) fn check(id: u64, address: SocketAddr) -> Value {
    json!({
        "id": id, "interval": "100ms", "timeout": "2s", "retries": 0, "checker_type": "tcp",
        "ip": address.ip().to_string(), "port": address.port(),
    })
}

/// A backend that accepts. Dropped, it refuses.
pub(crate) fn backend() -> Backend {
    Backend::start("127.0.0.1".parse().unwrap(), Vec::new()).unwrap()
}

/// The states of checks in a state file, by id. Never half a file.
pub(crate) fn state_file(path: &Path) -> BTreeMap<u64, String> {
    let Ok(text) = fs::read_to_string(path) else { return BTreeMap::new() };
    let state: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let checks = state["checks"].as_array().unwrap().iter();
    checks.map(|check| (id(check), check["health"].as_str().unwrap().to_owned())).collect()
}

/// The id of a check in any JSON of ours.
pub(crate) fn id(check: &Value) -> u64 {
    check["id"].as_str().unwrap().parse().unwrap()
}

/// What a webhook's receiver does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Ok,
    Status(u16),
    /// Takes the events and closes without an answer.
    Close,
    /// Neither answers nor closes.
    Hang,
}

/// What a webhook posted.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) answer: Answer,
}

impl Post {
    pub(crate) fn events(&self) -> Vec<Value> {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        body["events"].as_array().unwrap().clone()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// The receiver of a webhook.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    shared: Arc<Posts>,
}

#[derive(Default)]
struct Posts {
    got: Mutex<Vec<Post>>,
    answers: Mutex<VecDeque<Answer>>,
    hangs: AtomicBool,
    held: Mutex<Vec<TcpStream>>,
}

impl Receiver {
    /// Gives these answers, and then says that all is well.
    pub(crate) fn start(answers: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Posts>::default();
        shared.answers.lock().unwrap().extend(answers);
        let posts = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let posts = posts.clone();
                thread::spawn(move || posts.serve(stream));
            }
        });
        Self { address, shared }
    }

    /// From now on it hangs, or does no more.
    pub(crate) fn hang(&self, hangs: bool) {
        self.shared.hangs.store(hangs, Ordering::SeqCst);
    }

    pub(crate) fn posts(&self) -> Vec<Post> {
        self.shared.got.lock().unwrap().clone()
    }

    /// The events of posts that were answered well, as (id, health).
    pub(crate) fn taken(&self) -> Vec<(u64, String)> {
        let posts = self.posts();
        let taken = posts.iter().filter(|post| post.answer == Answer::Ok);
        let events = taken.flat_map(Post::events);
        events.map(|event| (id(&event), event["health"].as_str().unwrap().to_owned())).collect()
    }

    /// The latest health of each check.
    pub(crate) fn states(&self) -> BTreeMap<u64, String> {
        self.taken().into_iter().collect()
    }

    #[track_caller]
    pub(crate) fn wait(&self, id: u64, health: &str) {
        let what = format!("the webhook hears that {id} is {health}");
        wait_until(&what, || self.states().get(&id).is_some_and(|told| told == health));
    }
}

impl Posts {
    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut head, mut line) = (String::new(), String::new());
        while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
            head.push_str(&line);
            line.clear();
        }
        let mut post = Post { head, body: Vec::new(), answer: Answer::Ok };
        let Some(length) = post.header("content-length").and_then(|length| length.parse().ok()) else {
            return;
        };
        post.body = vec![0; length];
        if reader.read_exact(&mut post.body).is_err() {
            return;
        }
        post.answer = if self.hangs.load(Ordering::SeqCst) {
            Answer::Hang
        } else {
            self.answers.lock().unwrap().pop_front().unwrap_or(Answer::Ok)
        };
        let answer = post.answer;
        self.got.lock().unwrap().push(post);
        let mut stream = stream;
        let status = match answer {
            Answer::Ok => 204,
            Answer::Status(status) => status,
            Answer::Close => return,
            Answer::Hang => return self.held.lock().unwrap().push(stream),
        };
        let _ = write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
}

/// A server behind HAProxy that answers every request with its name.
pub(crate) fn web(name: &'static str) -> Web {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                let length = name.len();
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
                let _ = stream.write_all((head + name).as_bytes());
            });
        }
    });
    Web { address }
}

/// Serves for as long as the test runs: what changes is the health that is told of it.
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
}

/// HAProxy with a backend `b` of these servers. Ends when it is dropped.
pub(crate) struct HaProxy {
    process: Option<Process>,
    dir: PathBuf,
}

impl HaProxy {
    pub(crate) fn start(dir: &Path, servers: &str) -> Self {
        Self::start_named(dir, "b", servers)
    }

    /// With another name of the backend.
    pub(crate) fn start_named(dir: &Path, backend: &str, servers: &str) -> Self {
        let (front, api) = (dir.join("front"), dir.join("api"));
        let config = format!(
            "global\n  stats socket {api} mode 600 level admin\n\
             defaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n\
             frontend f\n  bind unix@{front}\n  default_backend {backend}\n\
             backend {backend}\n{servers}\n",
            api = api.display(),
            front = front.display(),
        );
        fs::write(dir.join("haproxy.cfg"), config).unwrap();
        let mut haproxy = Self { process: None, dir: dir.to_owned() };
        haproxy.launch();
        haproxy
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
        let _ = fs::remove_file(self.dir.join("front"));
    }

    pub(crate) fn launch(&mut self) {
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f"]).arg(self.dir.join("haproxy.cfg")).stdout(Stdio::null());
        let process = Process::try_start(&mut command, &self.dir.join("haproxy.log"));
        self.process = Some(process.expect("haproxy is needed: `cargo xtask setup` installs it"));
        wait_until("HAProxy answers", || UnixStream::connect(self.dir.join("front")).is_ok());
    }

    /// Which server answers, or the status that HAProxy itself gives.
    fn get(&self) -> String {
        let Ok(mut stream) = UnixStream::connect(self.dir.join("front")) else { return "down".to_owned() };
        let mut answer = String::new();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let _ = stream.read_to_string(&mut answer);
        match answer.split_once("\r\n\r\n") {
            Some((head, name)) if head.starts_with("HTTP/1.1 200") => name.to_owned(),
            _ => answer.split(' ').nth(1).unwrap_or_default().to_owned(),
        }
    }

    /// Waits until requests go to these servers and to no others.
    #[track_caller]
    pub(crate) fn wait_serves(&self, names: &[&str]) {
        wait_until(&format!("HAProxy serves by {names:?}"), || {
            let seen: std::collections::BTreeSet<String> = (0..6).map(|_| self.get()).collect();
            seen.iter().map(String::as_str).eq(names.iter().copied())
        });
    }
}

/// Whether a process is there and no zombie.
pub(crate) fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// How long nothing must happen for it to count as nothing.
pub(crate) const QUIET: Duration = Duration::from_millis(500);
