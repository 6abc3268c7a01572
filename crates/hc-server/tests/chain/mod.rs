//! The chain as it runs on a node: fake-engine, hc-proxy and hc-server, three processes.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a test waits for what should come at once, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A program of the Go module: from `HC_BIN`, or built here, once.
fn go_program(name: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os("HC_BIN") {
        return PathBuf::from(folder).join(name);
    }
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("go-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let status = Command::new("go")
            .args(["build", "-o"])
            .arg(&folder)
            .args(["./cmd/hc-proxy", "./cmd/fake-engine"])
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proxy"))
            .env("CGO_ENABLED", "0")
            .status()
            .expect("these tests need Go 1.26 or later, from https://go.dev/dl");
        assert!(status.success(), "go build failed");
        folder
    });
    folder.join(name)
}

/// A child that is killed with the test, and the lines that it writes to standard output.
pub(crate) struct Process {
    child: Child,
    reader: Option<JoinHandle<()>>,
    lines: Arc<(Mutex<Vec<String>>, Condvar)>,
}

impl Process {
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let lines = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let (stdout, writer) = (child.stdout.take().unwrap(), lines.clone());
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                writer.0.lock().unwrap().push(line);
                writer.1.notify_all();
            }
        });
        Self { child, reader: Some(reader), lines }
    }

    /// Waits until a line at or after `from` is as wanted, and says which.
    #[track_caller]
    pub(crate) fn wait_line(&self, from: usize, what: &str, wanted: impl Fn(&str) -> bool) -> usize {
        let end = Instant::now() + PATIENCE;
        let mut lines = self.lines.0.lock().unwrap();
        let mut at = from;
        loop {
            while at < lines.len() {
                if wanted(&lines[at]) {
                    return at;
                }
                at += 1;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "{what} did not come; lines since: {:#?}",
                &lines[from.min(lines.len())..]
            );
            lines = self.lines.1.wait_timeout(lines, left).unwrap().0;
        }
    }

    pub(crate) fn line(&self, at: usize) -> String {
        self.lines.0.lock().unwrap()[at].clone()
    }

    /// How many lines there are.
    pub(crate) fn mark(&self) -> usize {
        self.lines.0.lock().unwrap().len()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM and waits for the end.
    #[track_caller]
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.wait()
    }

    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the process did not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Waits until `done`.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The three processes and their files.
pub(crate) struct Chain {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) engine: Process,
    pub(crate) proxy: Process,
    pub(crate) server: Process,
}

impl Chain {
    /// Starts all three, with these checks.
    pub(crate) fn start(checks: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("checks.json"), checks.to_string()).unwrap();
        let path = dir.path();
        let (engine, proxy, server) = (start_engine(path), start_proxy(path), start_server(path));
        Self { dir, engine, proxy, server }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Replaces the engine's checks, whole at once.
    pub(crate) fn set_checks(&self, checks: &Value) {
        std::fs::write(self.path("checks.new"), checks.to_string()).unwrap();
        std::fs::rename(self.path("checks.new"), self.path("checks.json")).unwrap();
    }

    /// Waits until the engine hears, at or after `from`, that this check has this state. Returns the notification.
    #[track_caller]
    pub(crate) fn wait_told(&self, from: usize, id: u64, state: &str) -> Value {
        let what = format!("{id} {state} (logs in {})", self.dir.path().display());
        let at = self.engine.wait_line(from, &what, |line| {
            let event: Value = serde_json::from_str(line).unwrap();
            event["event"] == "notification" && event["id"] == id && event["state"] == state
        });
        serde_json::from_str(&self.engine.line(at)).unwrap()
    }

    /// The states that the engine has heard of this check, repeats left out.
    pub(crate) fn told(&self, id: u64) -> Vec<String> {
        let lines = self.engine.lines.0.lock().unwrap();
        let events = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let states = events.filter(|event| event["event"] == "notification" && event["id"] == id);
        let mut states: Vec<_> = states.map(|event| event["state"].as_str().unwrap().to_owned()).collect();
        states.dedup();
        states
    }
}

pub(crate) fn start_engine(dir: &Path) -> Process {
    let mut command = Command::new(go_program("fake-engine"));
    command.arg("-socket").arg(dir.join("engine.sock")).arg("-checks").arg(dir.join("checks.json"));
    Process::start(&mut command, &dir.join("engine.log"))
}

pub(crate) fn start_proxy(dir: &Path) -> Process {
    let mut command = Command::new(go_program("hc-proxy"));
    command.arg("-engine").arg(dir.join("engine.sock")).arg("-socket").arg(dir.join("hc.sock"));
    command.args(["-logtostderr", "-fetch_interval", "200ms"]);
    Process::start(&mut command, &dir.join("proxy.log"))
}

pub(crate) fn start_server(dir: &Path) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hc-server"));
    command.arg("--socket").arg(dir.join("hc.sock")).arg("--state-dir").arg(dir);
    Process::start(&mut command, &dir.join("server.log"))
}

/// Connects to hc-server as hc-proxy would.
#[track_caller]
pub(crate) fn connect(socket: &Path) -> (UnixStream, BufReader<UnixStream>) {
    let mut stream = None;
    wait_until("hc-server listens", || {
        stream = UnixStream::connect(socket).ok();
        stream.is_some()
    });
    let stream = stream.unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let reader = BufReader::new(stream.try_clone().unwrap());
    (stream, reader)
}

#[track_caller]
pub(crate) fn read_line(reader: &mut impl BufRead) -> Value {
    let mut line = String::new();
    assert_ne!(reader.read_line(&mut line).unwrap(), 0, "the connection was closed");
    serde_json::from_str(&line).unwrap()
}

/// A TCP backend that greets every connection and counts them. Dropped, it refuses.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Backend {
    pub(crate) fn start(address: &str, greeting: &'static [u8]) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (connections.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                // A peer that closed before it was greeted is none of the backend's business.
                let _ = stream.and_then(|mut stream| stream.write_all(greeting));
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { address, connections, stop, thread: Some(thread) }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread from its accept.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A TCP check of a [`Backend`], in the words of the protocol.
pub(crate) fn check(id: u64, address: SocketAddr, receive: &Value) -> Value {
    serde_json::json!({
        "id": id, "interval": "100ms", "timeout": "2s", "retries": 0, "checker_type": "tcp",
        "ip": address.ip().to_string(), "port": address.port(), "receive": receive,
    })
}
