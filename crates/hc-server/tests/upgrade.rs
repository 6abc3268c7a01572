//! Health survives an upgrade: this program reads the snapshot that the versions before it wrote.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and read the clock")]

mod chain;

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use chain::{Process, connect, read_line};
use serde_json::{Value, json};

/// One check of every kind. The snapshots beside it hold their health.
const CHECKS: &str = include_str!("upgrade/checks.json");

/// The snapshots are old by the time this runs.
const CONFIG: &str = "[state]\nmax_age = \"1000years\"\n";

fn start_server(dir: &Path) -> Process {
    let config = dir.join("hc-server.toml");
    std::fs::write(&config, CONFIG).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hc-server"));
    command.arg("--config").arg(config);
    command.arg("--socket").arg(dir.join("hc.sock")).arg("--state-dir").arg(dir);
    Process::start(&mut command, &dir.join("server.log"))
}

/// The status of every check, by its id in `checks.json`, from a server that starts with this
/// snapshot.
fn statuses_after_start_with(snapshot: &[u8]) -> Vec<(u64, Value)> {
    // The ids are others than in the process that wrote the snapshot.
    const OFFSET: u64 = 1 << 40;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("health.snapshot"), snapshot).unwrap();
    let mut checks: Vec<Value> = serde_json::from_str(CHECKS).unwrap();
    for check in &mut checks {
        check["id"] = json!(check["id"].as_u64().unwrap() + OFFSET);
    }
    let _server = start_server(dir.path());
    let (mut stream, mut reader) = connect(&dir.path().join("hc.sock"));
    let mut send = |message: Value| writeln!(stream, "{message}").unwrap();
    send(json!({"type": "update_configs", "configs": checks}));
    send(json!({"type": "request_status"}));
    loop {
        let mut message = read_line(&mut reader);
        assert_ne!(message["type"], "rejected", "{message}");
        if message["type"] == "status_response" {
            let Value::Array(statuses) = message["statuses"].take() else { panic!("{message}") };
            // Each shard restores its checks when it hears of them. One that is not restored has
            // the result of its first probe before long.
            if statuses.iter().any(|row| row["status"]["state"] == "unknown") {
                send(json!({"type": "request_status"}));
                continue;
            }
            let mut statuses: Vec<_> = statuses
                .into_iter()
                .map(|mut row| (row["id"].as_u64().unwrap() - OFFSET, row["status"].take()))
                .collect();
            statuses.sort_by_key(|(id, _)| *id);
            return statuses;
        }
    }
}

/// Written by commit 34e9b75: every check healthy after `1000 + id` passes, but 14 unhealthy after
/// 9 failures.
#[test]
fn health_is_restored_from_a_snapshot_of_version_1() {
    check_restored(include_bytes!("upgrade/version-1.snapshot"));
}

/// Written by commit abdf742 of the same health: sections and keys of version 2, and nothing about
/// since when.
#[test]
fn health_is_restored_from_a_snapshot_of_version_2_without_since() {
    check_restored(include_bytes!("upgrade/version-2-without-since.snapshot"));
}

#[track_caller]
fn check_restored(snapshot: &[u8]) {
    let statuses = statuses_after_start_with(snapshot);
    assert_eq!(statuses.len(), 14);
    for (id, status) in statuses {
        // Some probes may have ended already, on a slow machine several. A check that started from
        // unknown would have only those.
        assert_eq!(status["state"], if id == 14 { "unhealthy" } else { "healthy" }, "{id}: {status}");
        assert!(matches!(status["successes"].as_u64().unwrap() - id, 1000..1100), "{id}: {status}");
        let failed_before = if id == 14 { 9 } else { 0 };
        assert!(matches!(status["failures"].as_u64().unwrap() - failed_before, 0..100), "{id}: {status}");
    }
}
