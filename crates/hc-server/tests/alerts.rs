//! The alerts of `packaging/prometheus` in Prometheus itself: it reads the metrics of the real
//! program, and tells a receiver in the place of its Alertmanager when backends die.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]

mod rig;

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use rig::{Process, Receiver, Rig, backend, check, wait_until};
use serde_json::{Value, json};

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/prometheus/hc-server.rules.yml");

/// An alert of this test alone: Prometheus has read the metrics of the server, and all is well.
const READ: &str = "Read";

/// As many checks as `HcMassFailure` takes for a mass.
const CHECKS: u64 = 10;

/// An address at which a Unix socket answers, so that the server needs no port.
fn bridge(socket: PathBuf) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for outer in listener.incoming().map_while(Result::ok) {
            let Ok(inner) = UnixStream::connect(&socket) else { continue };
            let (mut outer_reader, mut inner_writer) =
                (outer.try_clone().unwrap(), inner.try_clone().unwrap());
            thread::spawn(move || io::copy(&mut outer_reader, &mut inner_writer));
            let (mut outer, mut inner) = (outer, inner);
            thread::spawn(move || io::copy(&mut inner, &mut outer));
        }
    });
    address
}

/// The rules as they are, but that an alert waits for nothing.
fn impatient_rules() -> String {
    let rules = fs::read_to_string(RULES).unwrap();
    let waits = |line: &&str| line.trim_start().starts_with("for: ");
    assert!(rules.lines().filter(waits).count() > 10);
    let rules: String = rules.lines().filter(|line| !waits(line)).map(|line| format!("{line}\n")).collect();
    let read = format!("sum(hc_checks{{health=\"healthy\"}}) == {CHECKS} and sum(hc_ready) == 1");
    format!("{rules}  - name: test\n    rules: [{{alert: {READ}, expr: '{read}'}}]\n")
}

fn start_prometheus(dir: &Path, server: SocketAddr, alertmanager: SocketAddr) -> Process {
    fs::write(dir.join("rules.yml"), impatient_rules()).unwrap();
    let config = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
         rule_files: [rules.yml]\n\
         alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{alertmanager}']}}]}}]}}\n\
         scrape_configs:\n  - job_name: hc-server\n    enable_http2: false\n    static_configs: [{{targets: ['{server}']}}]\n"
    );
    fs::write(dir.join("prometheus.yml"), config).unwrap();
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", dir.join("prometheus.yml").display()));
    command.arg(format!("--storage.tsdb.path={}", dir.join("prometheus").display()));
    command.args(["--web.listen-address=127.0.0.1:0", "--log.level=warn"]);
    Process::start(&mut command, &dir.join("prometheus.log"))
}

/// The alerts of this name that were sent.
fn alerts(receiver: &Receiver, name: &str) -> Vec<Value> {
    let posts = receiver.posts();
    let sent = posts.iter().flat_map(|post| {
        let alerts: Vec<Value> = serde_json::from_slice(&post.body).unwrap();
        alerts
    });
    sent.filter(|alert| alert["labels"]["alertname"] == name).collect()
}

#[test]
fn prometheus_sends_an_alert_when_backends_die() {
    let rig = Rig::start(|_| String::new());
    let backends: Vec<_> = (0..CHECKS).map(|_| backend()).collect();
    let checks: Vec<Value> = (1..).zip(&backends).map(|(id, backend)| check(id, backend.address())).collect();
    let engine = rig.engine(&json!(checks));
    (1..=CHECKS).for_each(|id| engine.wait(id, "healthy"));

    let server = bridge(rig.path("hc-admin.sock"));
    let alertmanager = Receiver::start(&[]);
    let _prometheus = start_prometheus(rig.dir.path(), server, alertmanager.address);
    wait_until("Prometheus has read the server", || !alerts(&alertmanager, READ).is_empty());
    assert!(alerts(&alertmanager, "HcMassFailure").is_empty());
    drop(backends);
    (1..=CHECKS).for_each(|id| engine.wait(id, "unhealthy"));
    wait_until("the alert", || !alerts(&alertmanager, "HcMassFailure").is_empty());
    let alert = &alerts(&alertmanager, "HcMassFailure")[0];
    assert_eq!(alert["labels"]["instance"], json!(server.to_string()));
    assert_eq!(alert["labels"]["severity"], "critical");
    // As many as had failed when Prometheus read the server.
    let summary = alert["annotations"]["summary"].as_str().unwrap();
    let share = summary.strip_suffix(&format!("% of the checks of {server} are unhealthy"));
    let share: f64 = share.and_then(|share| share.parse().ok()).unwrap_or_default();
    assert!((50.0..=100.0).contains(&share), "{summary}");
    assert_eq!(alert["annotations"]["runbook"], "docs/runbook.md#hcmassfailure");
}
