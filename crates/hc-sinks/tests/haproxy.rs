//! The real HAProxy: traffic stops and returns by our verdict.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that fails may panic, and its tasks end with its runtime"
)]

mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use hc_sinks::haproxy::{Agent, AgentConfig, Runtime, RuntimeAddress, RuntimeConfig};
use hc_types::CheckId;
use hc_types::Health::{Healthy, Unhealthy};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};
use tokio_util::sync::CancellationToken;

use hc_sinks::Report;
use support::{report, until};

/// A server that answers every request with its name.
async fn server(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let length = name.len();
                let answer =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{name}");
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    address
}

/// HAProxy, with a backend `b` of these servers. Ends when it is dropped.
struct HaProxy {
    process: Child,
    dir: TempDir,
}

impl HaProxy {
    async fn start(servers: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (front, api) = (dir.path().join("front"), dir.path().join("api"));
        let config = format!(
            "global\n  stats socket {api} mode 600 level admin\n\
             defaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n\
             frontend f\n  bind unix@{front}\n  default_backend b\n\
             backend b\n{servers}\n",
            api = api.display(),
            front = front.display(),
        );
        std::fs::write(dir.path().join("config"), config).unwrap();
        let process = Self::launch(dir.path());
        let haproxy = Self { process, dir };
        haproxy.answers().await;
        haproxy
    }

    fn launch(dir: &Path) -> Child {
        let mut haproxy = Command::new("haproxy");
        haproxy.args(["-db", "-f"]).arg(dir.join("config")).stdout(Stdio::null()).stderr(Stdio::null());
        haproxy.spawn().expect("haproxy is needed: `cargo xtask setup` installs it")
    }

    async fn answers(&self) {
        until("HAProxy answers", async || UnixStream::connect(self.dir.path().join("front")).await.is_ok())
            .await;
    }

    async fn restart(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let _ = std::fs::remove_file(self.dir.path().join("front"));
        self.process = Self::launch(self.dir.path());
        self.answers().await;
    }

    fn api(&self) -> PathBuf {
        self.dir.path().join("api")
    }

    /// Which server answers, or the status that HAProxy itself gives.
    async fn get(&self) -> String {
        let Ok(mut stream) = UnixStream::connect(self.dir.path().join("front")).await else {
            return "down".to_owned();
        };
        let mut answer = String::new();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
        let _ = stream.read_to_string(&mut answer).await;
        match answer.split_once("\r\n\r\n") {
            Some((head, name)) if head.starts_with("HTTP/1.1 200") => name.to_owned(),
            _ => answer.split(' ').nth(1).unwrap_or_default().to_owned(),
        }
    }

    /// Whether the next requests all go where they should.
    async fn serves(&self, names: &[&str]) -> bool {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..6 {
            seen.insert(self.get().await);
        }
        seen.iter().map(String::as_str).eq(names.iter().copied())
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn agent_checks_stop_traffic_and_let_it_return() {
    let agent = Arc::new(Agent::new(AgentConfig { name: "{label.server}".parse().unwrap() }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(agent.clone().serve(listener, shutdown.clone()));
    let (one, two) = (server("one").await, server("two").await);
    let agent_check = |name| {
        format!(
            "agent-check agent-addr 127.0.0.1 agent-port {port} agent-inter 50ms agent-send \"b/{name}\\n\""
        )
    };
    let servers =
        format!("  server one {one} {}\n  server two {two} {}", agent_check("one"), agent_check("two"));
    let haproxy = HaProxy::start(&servers).await;

    // Nothing is known, so nothing is changed.
    until("both serve", async || haproxy.serves(&["one", "two"]).await).await;
    agent.deliver(&[report(1, "one", Unhealthy), report(2, "two", Healthy)]).unwrap();
    until("only the second serves", async || haproxy.serves(&["two"]).await).await;
    agent.deliver(&[report(1, "one", Healthy), report(2, "two", Unhealthy)]).unwrap();
    until("only the first serves", async || haproxy.serves(&["one"]).await).await;
    agent.deliver(&[report(1, "one", Unhealthy)]).unwrap();
    until("none serves", async || haproxy.serves(&["503"]).await).await;
    // A second check of the same server must be healthy, too.
    agent.deliver(&[report(1, "one", Healthy), report(3, "one", Unhealthy)]).unwrap();
    assert!(haproxy.serves(&["503"]).await);
    agent.forget(&[CheckId(3)]);
    until("only the first serves", async || haproxy.serves(&["one"]).await).await;
    shutdown.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn the_runtime_api_stops_traffic_and_lets_it_return_also_after_a_restart() {
    let (one, two) = (server("one").await, server("two").await);
    let mut haproxy = HaProxy::start(&format!("  server one {one}\n  server two {two}")).await;
    let config = RuntimeConfig {
        address: RuntimeAddress::Unix(haproxy.api()),
        server: "{label.server}".parse().unwrap(),
    };
    let runtime = Arc::new(Runtime::new(config));
    let shutdown = CancellationToken::new();
    let watching = tokio::spawn({
        let (runtime, shutdown) = (runtime.clone(), shutdown.clone());
        async move { runtime.watch(shutdown).await }
    });

    // One that HAProxy does not know stands in nobody's way.
    runtime
        .deliver(&[report(1, "one", Unhealthy), report(9, "nobody", Healthy), report(2, "two", Healthy)])
        .await
        .unwrap();
    assert!(haproxy.serves(&["two"]).await);
    runtime.deliver(&[report(1, "one", Healthy), report(2, "two", Unhealthy)]).await.unwrap();
    assert!(haproxy.serves(&["one"]).await);
    haproxy.restart().await;
    until("a new process is told", async || haproxy.serves(&["one"]).await).await;

    haproxy.process.kill().unwrap();
    haproxy.process.wait().unwrap();
    runtime.deliver(&[report(2, "two", Healthy)]).await.unwrap_err();
    haproxy.restart().await;
    until("both serve", async || haproxy.serves(&["one", "two"]).await).await;
    shutdown.cancel();
    watching.await.unwrap();
}

#[tokio::test]
async fn more_servers_than_fit_into_one_request() {
    let address = server("s").await;
    let servers: Vec<String> =
        (0..500).map(|n| format!("  server server-with-a-long-name-{n} {address}")).collect();
    let haproxy = HaProxy::start(&servers.join("\n")).await;
    let config = RuntimeConfig {
        address: RuntimeAddress::Unix(haproxy.api()),
        server: "{label.server}".parse().unwrap(),
    };
    let runtime = Runtime::new(config);
    let reports: Vec<_> =
        (0..500).map(|n| report(n, &format!("server-with-a-long-name-{n}"), Unhealthy)).collect();
    runtime.deliver(&reports).await.unwrap();
    assert!(haproxy.serves(&["503"]).await);
}
