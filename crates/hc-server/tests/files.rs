//! hc-server without Seesaw: checks from files, read at the start and again, with the real program.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]

mod chain;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use chain::{Backend, PATIENCE, Process, wait_until};
use hc_testkit::admin;
use hc_testkit::dns::{DnsMessage, DnsServer};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use serde_json::Value;

/// A server, its configuration and its files of checks, in a directory of its own.
struct Site {
    dir: tempfile::TempDir,
    checks: PathBuf,
}

impl Site {
    /// `keys` are more keys of `[source]`.
    fn new(keys: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let checks = dir.path().join("checks");
        for path in [&checks, &dir.path().join("run")] {
            fs::create_dir(path).unwrap();
        }
        let site = Self { dir, checks };
        site.configure(&format!("{}/*.toml", site.checks.display()), keys);
        site
    }

    fn configure(&self, glob: &str, keys: &str) {
        let text =
            format!("[source]\nkind = \"file\"\nfiles = [{glob:?}]\n{keys}\n[state]\ninterval = \"50ms\"\n");
        fs::write(self.path("hc-server.toml"), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Replaces a file of checks, whole at once.
    fn write(&self, name: &str, checks: &str) {
        let text = format!("[defaults]\ninterval = \"100ms\"\ntimeout = \"2s\"\n{checks}");
        fs::write(self.path("next"), text).unwrap();
        fs::rename(self.path("next"), self.checks.join(name)).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hc-server"));
        command.arg("--config").arg(self.path("hc-server.toml"));
        command.arg("--socket").arg(self.path("run/hc.sock")).arg("--state-dir").arg(self.path("state"));
        command
    }

    fn start(&self) -> Process {
        let before = self.log().matches(" ready ").count();
        let server = Process::start(&mut self.command(), &self.path("server.log"));
        wait_until("ready", || self.log().matches(" ready ").count() > before);
        server
    }

    fn output(&self, more: &[&str]) -> (Option<i32>, Vec<String>) {
        let Output { status, stdout, stderr } = self.command().args(more).output().unwrap();
        assert!(stdout.is_empty());
        (status.code(), String::from_utf8(stderr).unwrap().lines().map(str::to_owned).collect())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("server.log")).unwrap_or_default()
    }

    /// The log is written a moment later than what it tells happens.
    #[track_caller]
    fn wait_log(&self, words: &str) {
        wait_until(words, || self.log().contains(words));
    }

    /// Status and body of an answer of the admin API.
    fn ask(&self, request: &str) -> (u16, Value) {
        admin::ask(&self.path("run/hc-admin.sock"), request, "")
    }

    /// Reads the files again: status, and what the answer says.
    fn reload(&self) -> (u16, String) {
        let (status, body) = self.ask("POST /api/v1/reload");
        let words = if status == 200 { &body["done"] } else { &body["error"] };
        (status, words.as_str().unwrap().to_owned())
    }

    /// Names and health of all checks, sorted.
    fn health(&self) -> Vec<(String, String)> {
        let (status, page) = self.ask("GET /api/v1/checks");
        assert_eq!(status, 200, "{page}");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let checks = page["checks"].as_array().unwrap().iter();
        let mut all: Vec<_> = checks.map(|check| (text(&check["name"]), text(&check["health"]))).collect();
        all.sort();
        all
    }

    #[track_caller]
    fn wait_health(&self, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let mut last = Vec::new();
        let reached = hc_testkit::process::wait_for(PATIENCE, || {
            last = self.health();
            last == expected
        });
        assert!(reached, "{expected:?} wanted, {last:?}; {}", self.log());
    }

    fn check(&self, name: &str) -> Value {
        self.ask(&format!("GET /api/v1/checks/{name}")).1
    }
}

fn tcp(name: &str, address: SocketAddr) -> String {
    format!("[[check]]\nname = \"{name}\"\ntarget = \"{address}\"\ntcp = {{}}\n")
}

fn hello(name: &str, address: SocketAddr, more: &str) -> String {
    format!("[[check]]\nname = \"{name}\"\ntarget = \"{address}\"\ntcp.receive = \"hello\"\n{more}\n")
}

fn backend() -> Backend {
    Backend::start("127.0.0.1:0", b"hello")
}

fn refusing() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn checks_from_a_file_run_without_seesaw_and_survive_kill_9() {
    let (alive, site) = (backend(), Site::new(""));
    site.write("a.toml", &(tcp("web", alive.address) + &tcp("gone", refusing())));
    let mut server = site.start();
    site.wait_health(&[("gone", "unhealthy"), ("web", "healthy")]);
    assert!(!site.path("run/hc.sock").exists(), "there is no hc-proxy");
    assert_eq!(site.ask("GET /readyz").0, 200);
    let since = site.check("web")["since"].clone();
    let counted = |site: &Site| site.check("web")["successes"].as_u64().unwrap();
    wait_until("twenty probes", || counted(&site) > 20);
    wait_until("a snapshot", || site.path("state/health.snapshot").exists());
    wait_until("a snapshot that knows of them", || {
        let before = fs::read(site.path("state/health.snapshot")).unwrap();
        wait_until("the next one", || fs::read(site.path("state/health.snapshot")).unwrap() != before);
        true
    });
    server.kill();
    let mut server = site.start();
    site.wait_health(&[("gone", "unhealthy"), ("web", "healthy")]);
    assert!(counted(&site) > 20, "{}", site.check("web"));
    // It is not written down; and it is not now.
    let now = site.check("web")["since"].clone();
    assert!(now.is_null() || now == since, "{now}");
    assert_eq!(server.terminate().code(), Some(0));
    assert!(site.log().ends_with("stopped\n"), "{}", site.log());
}

#[test]
fn reload_adds_removes_and_keeps_health_and_history() {
    let (kept, added, site) = (backend(), backend(), Site::new(""));
    // An hour between its probes shows that what did not change is not probed anew.
    let hourly = "interval = \"1h\"";
    site.write(
        "a.toml",
        &(hello("kept", kept.address, hourly) + &tcp("removed", refusing()) + &tcp("changed", refusing())),
    );
    let mut server = site.start();
    site.wait_health(&[("changed", "unhealthy"), ("kept", "healthy"), ("removed", "unhealthy")]);
    site.write("a.toml", &(hello("kept", kept.address, hourly) + &tcp("changed", kept.address)));
    assert_eq!(site.reload().1, "0 checks added, 1 removed, 1 changed, 1 as before");
    site.wait_health(&[("changed", "healthy"), ("kept", "healthy")]);
    site.write("a.toml", &hello("kept", kept.address, hourly));
    assert_eq!(site.reload().1, "0 checks added, 1 removed, 0 changed, 1 as before");
    let probes = kept.connections();
    let since = site.check("kept")["since"].clone();
    site.write("a.toml", &hello("kept", kept.address, hourly));
    site.write("b.toml", &tcp("added", added.address));
    server.signal(Signal::HUP).unwrap();
    site.wait_health(&[("added", "healthy"), ("kept", "healthy")]);
    assert_eq!(
        (site.check("kept")["successes"].as_u64(), kept.connections()),
        (Some(1), probes),
        "it was probed anew"
    );
    assert_eq!(site.check("kept")["since"], since);
    let told = "the files of checks were read again added=1 removed=0 changed=0 unchanged=1";
    site.wait_log(told);
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn a_broken_file_keeps_the_old_checks() {
    let (alive, site) = (backend(), Site::new(""));
    site.write("a.toml", &tcp("web", alive.address));
    let mut server = site.start();
    site.wait_health(&[("web", "healthy")]);
    site.write("b.toml", "[[check]]\nnam = 'x'\ntarget = '192.0.2.300'\n");
    let (status, words) = site.reload();
    assert_eq!(status, 409, "{words}");
    assert!(words.starts_with("the old checks stand:\n"), "{words}");
    let place = site.checks.join("b.toml");
    for line in [":5:1: check.nam: is not a key of this table; did you mean `name`?", ":6:10: check.target: "]
    {
        assert!(words.contains(&format!("{}{line}", place.display())), "{words}");
    }
    site.wait_log("the files of checks are wrong");
    site.wait_health(&[("web", "healthy")]);
    fs::remove_file(place).unwrap();
    assert_eq!(site.reload(), (200, "0 checks added, 0 removed, 0 changed, 1 as before".to_owned()));
    // No file at all is wrong too, and not a set without checks.
    fs::remove_file(site.checks.join("a.toml")).unwrap();
    let (status, words) = site.reload();
    assert!(status == 409 && words.contains("matches no file"), "{status} {words}");
    site.wait_health(&[("web", "healthy")]);
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn files_that_are_wrong_at_the_start_end_it_with_2_and_every_problem() {
    let site = Site::new("");
    for more in [&[][..], &["--check-config"]] {
        site.write("a.toml", "[[check]]\nnam = 'x'\n");
        let (status, lines) = site.output(more);
        assert_eq!(status, Some(2), "{lines:?}");
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert!(
            lines.iter().all(|line| line.starts_with("hc-server: /") && line.contains("a.toml:")),
            "{lines:?}"
        );
        fs::remove_file(site.checks.join("a.toml")).unwrap();
        let (status, lines) = site.output(more);
        let glob = format!("hc-server: \"{}/*.toml\" matches no file", site.checks.display());
        assert_eq!((status, lines), (Some(2), vec![glob]));
    }
    site.write("a.toml", &tcp("web", refusing()));
    assert_eq!(
        site.output(&["--check-config"]),
        (Some(0), vec!["hc-server: the configuration is right".to_owned()])
    );
    site.configure("[", "");
    let (status, lines) = site.output(&[]);
    assert!(status == Some(2) && lines[0].contains("is not a glob"), "{lines:?}");
    // A limit is an error, and nothing is cut.
    site.configure(&format!("{}/a.toml", site.checks.display()), "max_range = 100\nmax_checks = 200");
    site.write("a.toml", "[[check]]\nname = 'x'\ntarget = '192.0.2.0/24'\nicmp = {}\n");
    let (status, lines) = site.output(&[]);
    assert!(status == Some(2) && lines[0].contains("254 addresses; a range has at most 100"), "{lines:?}");
}

#[test]
fn watched_files_are_read_when_they_stand_still() {
    let (one, two, site) = (backend(), backend(), Site::new("watch = true"));
    site.write("a.toml", &tcp("one", one.address));
    let mut server = site.start();
    site.wait_health(&[("one", "healthy")]);
    // By a rename, in the sandbox, as editors and configuration management write.
    site.write("a.toml", &(tcp("one", one.address) + &tcp("two", two.address)));
    site.wait_health(&[("one", "healthy"), ("two", "healthy")]);
    // A file that was made empty is one that is about to be written.
    let now = |what: &str| site.log().matches(what).count();
    fs::write(site.checks.join("a.toml"), "").unwrap();
    fs::write(site.checks.join("b.toml"), "[[check]]\nnam = 'x'\n").unwrap();
    let text = format!("[defaults]\ninterval = \"100ms\"\n{}", tcp("two", two.address));
    fs::write(site.checks.join("a.toml"), text).unwrap();
    wait_until("the complaint about b.toml", || now("the old checks stand") == 1);
    site.wait_health(&[("one", "healthy"), ("two", "healthy")]);
    fs::remove_file(site.checks.join("b.toml")).unwrap();
    site.wait_health(&[("two", "healthy")]);
    wait_until("the second reading in the log", || now("the files of checks were read again") == 2);
    assert_eq!(now("the old checks stand"), 1, "a wrong file is complained about once");
    assert_eq!(server.terminate().code(), Some(0));
}

/// Name server with one name and the addresses that a test gives it.
fn name_server(addresses: &Arc<Mutex<Vec<Ipv4Addr>>>) -> DnsServer {
    let known = addresses.clone();
    DnsServer::udp(IpAddr::V4(Ipv4Addr::LOCALHOST), move |query| {
        // The type is the second last word of a query without EDNS; with it, it stands behind the
        // name.
        let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap();
        let is_v4 = query[end + 2] == 1;
        let question = query[..end + 5].to_vec();
        let mut reply = DnsMessage::reply_to(&question);
        if is_v4 {
            for ip in known.lock().unwrap().iter() {
                reply = reply.answer("backend.test", 1, &ip.octets());
            }
        }
        vec![reply.build()]
    })
    .unwrap()
}

#[test]
fn host_names_are_followed_and_a_resolver_that_is_away_changes_nothing() {
    let backend = Backend::start("0.0.0.0:0", b"hello");
    let port = backend.address.port();
    let addresses = Arc::new(Mutex::new(vec![Ipv4Addr::new(127, 0, 0, 1)]));
    let names = name_server(&addresses);
    let keys = format!(
        "dns_servers = [\"{}\"]\ndns_min_age = \"100ms\"\ndns_max_age = \"100ms\"\ndns_retry = \"100ms\"",
        names.address()
    );
    let site = Site::new(&keys);
    let check =
        format!("[[check]]\nname = \"web\"\ntarget = \"backend.test:{port}\"\ntcp.receive = \"hello\"\n");
    site.write("a.toml", &check);
    let mut server = site.start();
    site.wait_health(&[("web/127.0.0.1", "healthy")]);
    addresses.lock().unwrap().push(Ipv4Addr::new(127, 0, 0, 2));
    site.wait_health(&[("web/127.0.0.1", "healthy"), ("web/127.0.0.2", "healthy")]);
    // A reload keeps the addresses.
    assert_eq!(site.reload().1, "0 checks added, 0 removed, 0 changed, 2 as before");
    addresses.lock().unwrap().remove(0);
    site.wait_health(&[("web/127.0.0.2", "healthy")]);
    drop(names);
    site.wait_log("a name cannot be resolved: its last addresses stand");
    site.wait_health(&[("web/127.0.0.2", "healthy")]);
    assert_eq!(site.ask("GET /readyz").0, 200);
    assert_eq!(server.terminate().code(), Some(0));
}

/// Secrets beside the file of checks and elsewhere, replaced by a rename, in the sandbox.
#[test]
fn secret_files_stay_readable_in_the_sandbox() {
    let site = Site::new("");
    let elsewhere = site.path("secrets");
    fs::create_dir(&elsewhere).unwrap();
    for dir in [&site.checks, &elsewhere] {
        fs::write(dir.join("secret"), "one\n").unwrap();
    }
    let check = |name: &str, secret: &str| {
        format!(
            "[[check]]\nname = \"{name}\"\ntarget = \"127.0.0.1\"\nport = {}\nradius = {{ username = \"u\", password_file = \"{secret}\", secret_file = \"{secret}\" }}\n",
            refusing().port()
        )
    };
    site.write(
        "a.toml",
        &(check("beside", "secret") + &check("elsewhere", elsewhere.join("secret").to_str().unwrap())),
    );
    let mut server = site.start();
    site.wait_log("in the sandbox");
    assert_eq!(site.reload(), (200, "0 checks added, 0 removed, 0 changed, 2 as before".to_owned()));
    for dir in [&site.checks, &elsewhere] {
        fs::write(site.path("next"), "two\n").unwrap();
        fs::rename(site.path("next"), dir.join("secret")).unwrap();
    }
    assert_eq!(site.reload(), (200, "0 checks added, 0 removed, 2 changed, 0 as before".to_owned()));
    // What nobody has named at the start is out of reach.
    let far = site.path("far");
    fs::create_dir(&far).unwrap();
    fs::write(far.join("secret"), "three\n").unwrap();
    site.write("a.toml", &check("far", far.join("secret").to_str().unwrap()));
    let (status, words) = site.reload();
    assert!(status == 409 && words.contains("Permission denied"), "{status} {words}");
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn a_shortage_of_descriptors_is_no_verdict_on_the_files() {
    let (alive, site) = (backend(), Site::new(""));
    site.write("a.toml", &tcp("web", alive.address));
    let mut server = site.start();
    site.wait_health(&[("web", "healthy")]);
    let pid = Pid::from_raw(i32::try_from(server.id()).unwrap());
    // Fewer than are open: nothing more can be opened, and what is open stays.
    let none = Rlimit { current: Some(3), ..getrlimit(Resource::Nofile) };
    let before = prlimit(pid, Resource::Nofile, none).unwrap();
    site.write("b.toml", &tcp("more", alive.address));
    server.signal(Signal::HUP).unwrap();
    site.wait_log("too few descriptors or too little memory to read the files");
    assert!(!site.log().contains("the files of checks are wrong"), "{}", site.log());
    prlimit(pid, Resource::Nofile, before).unwrap();
    // Nobody asks again.
    site.wait_health(&[("more", "healthy"), ("web", "healthy")]);
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn no_thread_is_made_after_the_start() {
    let (alive, site) = (backend(), Site::new("watch = true"));
    site.write("a.toml", &tcp("web", alive.address));
    let mut server = site.start();
    let threads = || {
        let tasks = fs::read_dir(Path::new("/proc").join(server.id().to_string()).join("task")).unwrap();
        let mut ids: Vec<_> = tasks.map(|task| task.unwrap().file_name()).collect();
        ids.sort();
        ids
    };
    let before = threads();
    let host = "[[check]]\nname = \"host\"\ntarget = \"localhost\"\nport = 1\ntcp = {}\n";
    site.write("a.toml", &(tcp("web", alive.address) + host));
    wait_until("the host's check", || site.health().iter().any(|(name, _)| name == "host/127.0.0.1"));
    assert_eq!(site.reload().0, 200);
    assert_eq!(threads(), before);
    assert_eq!(server.terminate().code(), Some(0));
}

/// What a server that runs says is in the page of metrics.
#[test]
fn every_metric_is_in_the_reference() {
    let (alive, site) = (backend(), Site::new(""));
    site.write("a.toml", &(tcp("web", alive.address) + &tcp("gone", refusing())));
    let mut server = site.start();
    site.wait_health(&[("gone", "unhealthy"), ("web", "healthy")]);
    let (status, text) = site.ask("GET /metrics");
    let text = text.as_str().unwrap();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/metrics.md");
    let page = fs::read_to_string(page).unwrap();
    let families: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .map(|name| name.trim_end_matches("_total").trim_end_matches("_info"))
        .collect();
    assert!(status == 200 && families.len() > 10, "{text}");
    for family in families {
        assert!(page.contains(&format!("| `{family}` |")), "{family} is not in docs/reference/metrics.md");
    }
    assert_eq!(server.terminate().code(), Some(0));
}
