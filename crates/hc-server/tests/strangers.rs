//! Strangers at the admin API of the real program: ten thousand connections, paths that lead out,
//! writes without the right. Each test has a network of its own, which needs root.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]

mod chain;

use std::collections::VecDeque;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use chain::{Backend, PATIENCE, Process, wait_until};
use hc_testkit::admin;
use hc_testkit::network::in_own_network;
use rustix::process::{Resource, getrlimit};
use serde_json::Value;

const ADMIN: &str = "127.0.0.1:9109";

/// A server with one check of a backend that says `220 `, its admin API open over TCP and, as far
/// as the mode of the socket's file says, to all.
struct Site {
    dir: tempfile::TempDir,
    backend: Backend,
    _server: Process,
}

impl Site {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        Command::new("chmod").arg("755").arg(dir.path()).status().unwrap();
        let backend = Backend::start("127.0.0.1:2525", b"220 ready\r\n");
        let checks = "[[check]]\nname = \"mail\"\ntarget = \"127.0.0.1:2525\"\ninterval = \"50ms\"\ntimeout = \"5s\"\n\
                      retries = 0\ntcp = { receive = \"220 \" }\n";
        fs::write(path("checks.toml"), checks).unwrap();
        let config = format!(
            "[source]\nkind = \"file\"\nfiles = [{:?}]\n[admin]\nlisten = \"{ADMIN}\"\nmode = \"0666\"\n",
            path("checks.toml")
        );
        fs::write(path("hc-server.toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hc-server"));
        command.arg("--config").arg(path("hc-server.toml")).arg("--socket").arg(path("hc.sock"));
        command.arg("--state-dir").arg(path("state"));
        let server = Process::start(&mut command, &path("server.log"));
        let site = Self { dir, backend, _server: server };
        wait_until("ready", || site.log().contains(" ready "));
        wait_until("healthy", || site.check()["health"] == "healthy");
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("server.log")).unwrap_or_default()
    }

    /// Over the Unix socket.
    fn check(&self) -> Value {
        admin::ask(&self.path("hc-admin.sock"), "GET /api/v1/checks/mail", "").1
    }
}

/// Status and body of an answer over TCP; the status is 0 where none came.
fn ask(head: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(ADMIN).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = write!(stream, "{head} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    (status, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
}

/// Ten thousand connections to the admin port, some with half a request, held for as long as they
/// may be: the check goes on, is never told to be anything but healthy, and whoever comes after
/// them is answered.
#[test]
fn ten_thousand_connections_disturb_no_probe() {
    const CONNECTIONS: usize = 10_000;
    in_own_network(|| {
        let site = Site::start();
        let address: SocketAddr = ADMIN.parse().unwrap();
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = CONNECTIONS.min(usize::try_from(files).unwrap_or(usize::MAX).saturating_sub(500));
        let before = site.backend.connections();
        let mut held = VecDeque::new();
        for number in 0..CONNECTIONS {
            let stream = TcpStream::connect_timeout(&address, Duration::from_secs(30));
            let mut stream = stream.unwrap_or_else(|error| panic!("connection {number}: {error}"));
            if number % 2 == 0 {
                // Cut off by the server already, perhaps.
                let _ = stream.write_all(b"GET /api/v1/checks HTTP/1.1\r\nX: ");
            }
            held.push_back(stream);
            if held.len() > most {
                held.pop_front();
            }
            // Somebody with a question in between.
            if number % 1000 == 999 {
                assert_eq!(ask("GET /livez"), (200, "ok\n".to_owned()), "after {number} connections");
            }
        }
        let during = site.backend.connections();
        assert!(during > before, "no probe while {CONNECTIONS} connections came");
        wait_until("probes with all of them", || site.backend.connections() >= during + 5);
        let check = site.check();
        assert_eq!((&check["health"], &check["last_failure"]), (&"healthy".into(), &Value::Null), "{check}");
        let (status, body) = ask("GET /api/v1/transitions");
        let changes: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, changes["transitions"].as_array().unwrap().len()), (200, 1), "{body}");
        drop(held);
        assert_eq!(ask("GET /livez"), (200, "ok\n".to_owned()));
        assert!(!site.log().contains("local fault"), "{}", site.log());
    });
}

#[test]
fn no_path_leads_out_of_the_api() {
    in_own_network(|| {
        let site = Site::start();
        for path in [
            "/../etc/passwd",
            "/%2e%2e/etc/passwd",
            "/%2E%2E%2Fetc%2Fpasswd",
            "/..%2fetc%2fpasswd",
            "/.%2e/.%2e/etc/passwd",
            "/%252e%252e/etc/passwd",
            "/..%5c..%5cetc%5cpasswd",
            "/..\\..\\etc\\passwd",
            "/..%c0%af..%c0%afetc/passwd",
            "//etc/passwd",
            "/api/v1/../../etc/passwd",
            "/api/v1/checks/../checks/mail",
            "/api/v1/checks/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
            "/api/v1/checks/..%2fmail",
            "/api/v1/checks/..%00",
            "/metrics/../api/v1/status",
            "http://h/../etc/passwd",
        ] {
            let (status, body) = ask(&format!("GET {path}"));
            assert!(matches!(status, 400 | 404), "{path}: {status} {body}");
            assert!(!body.contains("root:"), "{path}: {body}");
        }
        assert_eq!(ask("GET /api/v1/checks/mail").0, 200);
        drop(site);
    });
}

#[test]
fn who_may_not_changes_nothing() {
    in_own_network(|| {
        let site = Site::start();
        let socket = site.path("hc-admin.sock");
        let force =
            r#"{"kind":"force","health":"unhealthy","forever":true,"of":{"checks":["mail"]},"reason":"x"}"#;
        let as_user = |user: &str, path: &str, body: &str| {
            let mut curl = Command::new("setpriv");
            curl.args(["--reuid", user, "--regid", "nogroup", "--clear-groups"]);
            curl.args(["curl", "--silent", "--show-error", "--max-time", "30", "--unix-socket"]).arg(&socket);
            curl.args(["--data", body, "--write-out", "%{http_code}"]).arg(format!("http://hc{path}"));
            let output = curl.output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let changes = [
            ("/api/v1/overrides", force),
            ("/api/v1/overrides/withdraw", r#"{"kind":"force","of":{"checks":["mail"]}}"#),
            ("/api/v1/reload", ""),
            ("/api/v1/log-level", r#"{"level":"debug"}"#),
            ("/api/v1/checks/mail/probe", ""),
        ];
        for (path, body) in changes {
            // The file lets everybody in, and the credentials of the peer do not.
            let answer = as_user("nobody", path, body);
            assert_eq!(answer, "000", "{path}: nobody was answered");
            // Over TCP there are no paths that change something; one of them may be read.
            let expected = if path == "/api/v1/overrides" { 405 } else { 404 };
            let (status, body) = ask(&format!("POST {path}"));
            assert_eq!(status, expected, "{path} over TCP: {body}");
        }
        site_is_untouched(&site);
        // It was the peer that was refused, and not a way that is closed to it.
        assert!(site.log().contains("peer may not connect; closed"), "{}", site.log());
        let answer = as_user("root", "/api/v1/overrides", force);
        assert!(answer.ends_with("200"), "{answer}");
    });
}

#[track_caller]
fn site_is_untouched(site: &Site) {
    let check = site.check();
    assert_eq!(check["health"], "healthy", "{check}");
    let (_, overrides) = admin::ask(&site.path("hc-admin.sock"), "GET /api/v1/overrides", "");
    assert_eq!(overrides["overrides"], Value::Array(Vec::new()), "{overrides}");
    assert!(!site.log().contains("changed through the admin socket"), "{}", site.log());
}
