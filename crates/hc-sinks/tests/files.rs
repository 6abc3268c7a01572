//! State files and event logs.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that fails may panic, and its tasks end with its runtime"
)]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use hc_api::{CheckState, Line, States};
use hc_sinks::file::{EventLog, EventLogConfig, FileSink, StateFile, StateFileConfig};
use hc_types::CheckId;
use hc_types::Health::{Healthy, Unhealthy};

use hc_sinks::Report;
use support::{report, until};

#[tokio::test]
async fn the_state_file_holds_every_check_and_is_replaced_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.json");
    let config =
        StateFileConfig { path: path.clone(), mode: 0o640, interval: Duration::ZERO, node: "n".to_owned() };
    let sink = FileSink::start("state", StateFile::new(config)).unwrap();
    let read =
        || -> States<Vec<CheckState>> { serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap() };

    sink.deliver(&[report(10, "b", Healthy), report(9, "a", Unhealthy)]).await.unwrap();
    let first = read();
    let names: Vec<&str> = first.checks.iter().map(CheckState::title).collect();
    assert_eq!((names, first.node.as_str()), (vec!["a", "b"], "n"));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);

    sink.forget(&[CheckId(9)]).await;
    until("a check that is gone leaves the file", async || read().checks.len() == 1).await;
    sink.deliver(&[report(10, "b", Unhealthy)]).await.unwrap();
    sink.flush().await.unwrap();
    let second = read();
    assert_eq!(second.checks.len(), 1);
    assert_eq!(second.checks[0].reason.as_deref(), Some("refused"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left there");
}

#[tokio::test]
async fn a_state_file_that_cannot_be_written_is_an_error_and_the_old_one_stands() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("away").join("state.json");
    let config =
        StateFileConfig { path: path.clone(), mode: 0o644, interval: Duration::ZERO, node: String::new() };
    let sink = FileSink::start("state", StateFile::new(config)).unwrap();
    let error = sink.deliver(&[report(1, "a", Healthy)]).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("{}: ", path.display())), "{error}");
    std::fs::create_dir(dir.path().join("away")).unwrap();
    sink.deliver(&[]).await.unwrap();
    let states: States<Vec<CheckState>> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(states.checks.len(), 1, "what came with the failed delivery is in the next file");
}

#[tokio::test]
async fn a_state_file_is_written_once_an_interval_and_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.json");
    let start = |interval| {
        let config = StateFileConfig { path: path.clone(), mode: 0o644, interval, node: String::new() };
        FileSink::start("state", StateFile::new(config)).unwrap()
    };
    let checks = || {
        let states: States<Vec<CheckState>> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        states.checks.len()
    };
    let sink = start(Duration::from_secs(3600));
    sink.deliver(&[report(1, "a", Healthy)]).await.unwrap();
    sink.deliver(&[report(2, "b", Healthy)]).await.unwrap();
    sink.forget(&[CheckId(1)]).await;
    sink.deliver(&[report(3, "c", Healthy)]).await.unwrap();
    assert_eq!(checks(), 1, "the second is not due for an hour");
    drop(sink);
    until("the rest is written at the end", async || checks() == 2).await;

    let sink = start(Duration::from_millis(20));
    sink.deliver(&[report(1, "a", Healthy)]).await.unwrap();
    sink.deliver(&[report(2, "b", Healthy)]).await.unwrap();
    sink.deliver(&[report(3, "c", Healthy)]).await.unwrap();
    until("the rest is written by itself", async || checks() == 3).await;
    // A disk that failed is tried again without anybody who delivers.
    let away = dir.path().with_extension("away");
    std::fs::rename(dir.path(), &away).unwrap();
    sink.forget(&[CheckId(1)]).await;
    until("a delivery says so", async || sink.deliver(&[]).await.is_err()).await;
    std::fs::rename(&away, dir.path()).unwrap();
    until("it is written", async || checks() == 2).await;
}

#[tokio::test]
async fn the_event_log_has_a_line_for_each_change_and_survives_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.log");
    let config = EventLogConfig { path: Some(path.clone()), mode: 0o644, node: "n".to_owned() };
    let sink = FileSink::start("events", EventLog::new(config)).unwrap();
    let lines = |path: &std::path::Path| -> Vec<Line> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    sink.deliver(&[report(1, "a", Healthy)]).await.unwrap();
    sink.deliver(&[report(1, "a", Healthy)]).await.unwrap();
    assert_eq!(lines(&path).len(), 1, "a repetition is no change");
    let old = dir.path().join("events.log.1");
    std::fs::rename(&path, &old).unwrap();
    sink.deliver(&[report(1, "a", Unhealthy)]).await.unwrap();
    assert_eq!((lines(&old).len(), lines(&path).len()), (1, 1));
    assert!(!lines(&path)[0].event.initial);
}
