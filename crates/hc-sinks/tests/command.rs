//! Commands, started by a runner.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that fails may panic, and its tasks end with its runtime"
)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hc_sinks::SinkError;
use hc_sinks::command::{Command, CommandConfig, CommandMode, CommandSpec, RunnerHandle, runner};
use hc_types::Health::{Healthy, Unhealthy};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use hc_sinks::Report;
use support::{PATIENCE, report, until};

/// A command that is this shell script, run in `dir`.
async fn shell(script: &str, dir: &Path, mode: CommandMode, timeout: Duration) -> (Command, JoinHandle<()>) {
    let script = format!("cd {} && {{ {script}\n}}", dir.display());
    let argv = ["sh", "-c", &script].map(str::to_owned).into();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let runner = tokio::spawn(async move { runner::serve(theirs).await.unwrap() });
    let (handle, task) = RunnerHandle::start(ours, &[CommandSpec { argv, timeout }]).await.unwrap();
    tokio::spawn(task);
    let config =
        CommandConfig { command: 0, program: "script".to_owned(), timeout, mode, node: "n".to_owned() };
    (Command::new(config, Arc::new(handle)), runner)
}

fn read(dir: &TempDir, file: &str) -> String {
    std::fs::read_to_string(dir.path().join(file)).unwrap_or_default()
}

#[tokio::test]
async fn each_event_is_a_run_with_variables_and_json() {
    let dir = tempfile::tempdir().unwrap();
    let script = r#"echo "$HC_ID $HC_NAME $HC_TARGET $HC_HEALTH $HC_REASON $HC_INITIAL" >> out; cat >> json; echo >> json"#;
    let (command, _runner) = shell(script, dir.path(), CommandMode::Each, PATIENCE).await;
    command.deliver(&[report(1, "a", Healthy), report(2, "b", Unhealthy)]).await.unwrap();
    command.deliver(&[report(1, "a", Unhealthy), report(2, "b", Unhealthy)]).await.unwrap();
    assert_eq!(
        read(&dir, "out"),
        "1 a 192.0.2.1:80 healthy pass true\n2 b 192.0.2.1:80 unhealthy refused true\n1 a 192.0.2.1:80 unhealthy refused false\n"
    );
    let json = read(&dir, "json");
    let events: Vec<hc_api::Events> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 3);
    assert_eq!(events[2].events[0].check.name.as_deref(), Some("a"));
}

#[tokio::test]
async fn a_batch_is_one_run() {
    let dir = tempfile::tempdir().unwrap();
    let (command, _runner) =
        shell("cat >> json; echo >> json", dir.path(), CommandMode::Batch, PATIENCE).await;
    command.deliver(&[report(1, "a", Healthy), report(2, "b", Unhealthy)]).await.unwrap();
    let json = read(&dir, "json");
    assert_eq!(json.lines().count(), 1);
    assert_eq!(serde_json::from_str::<hc_api::Events>(&json).unwrap().events.len(), 2);
}

#[tokio::test]
async fn events_that_were_not_taken_are_given_again_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let script = r#"echo "$HC_NAME" >> out; if [ "$HC_NAME" = b ] && [ ! -e there ]; then echo "not today" >&2; exit 3; fi"#;
    let (command, _runner) = shell(script, dir.path(), CommandMode::Each, PATIENCE).await;
    let reports = [report(1, "a", Healthy), report(2, "b", Healthy), report(3, "c", Healthy)];
    let error = command.deliver(&reports).await.unwrap_err();
    assert_eq!(error.to_string(), r#"script: exit status 3: "not today""#);
    std::fs::write(dir.path().join("there"), "").unwrap();
    command.deliver(&reports).await.unwrap();
    assert_eq!(read(&dir, "out"), "a\nb\nb\nc\n");
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_ended_with_its_children() {
    let dir = tempfile::tempdir().unwrap();
    // Deaf to SIGTERM, and so is its child.
    let script = "trap '' TERM; sleep 1000 & echo $! > child; wait; wait";
    let (command, _runner) = shell(script, dir.path(), CommandMode::Each, Duration::from_millis(300)).await;
    let error = command.deliver(&[report(1, "a", Healthy)]).await.unwrap_err();
    assert!(matches!(error, SinkError::Timeout { .. }), "{error}");
    let child = read(&dir, "child").trim().to_owned();
    assert!(!child.is_empty());
    until("the child of the command ends", async || !runs(&child)).await;
}

/// Whether a process is there and no zombie.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[tokio::test]
async fn a_command_need_not_read_its_input_nor_end_what_it_started() {
    let dir = tempfile::tempdir().unwrap();
    // More than a pipe holds; and a process in the background that keeps standard error open.
    let (command, _runner) =
        shell("sleep 1000 & echo $! > child; exit 0", dir.path(), CommandMode::Batch, PATIENCE).await;
    let reports: Vec<_> = (0..3000).map(|id| report(id, "a", Healthy)).collect();
    command.deliver(&reports).await.unwrap();
    let child = read(&dir, "child");
    assert!(runs(child.trim()), "what a command leaves behind on purpose goes on");
    std::process::Command::new("kill").arg(child.trim()).status().unwrap();
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    tokio::spawn(runner::serve(theirs));
    let spec = CommandSpec { argv: vec!["/nowhere/program".to_owned()], timeout: PATIENCE };
    let (handle, task) = RunnerHandle::start(ours, &[spec]).await.unwrap();
    tokio::spawn(task);
    let config = CommandConfig {
        command: 0,
        program: "/nowhere/program".to_owned(),
        timeout: PATIENCE,
        mode: CommandMode::Each,
        node: String::new(),
    };
    let command = Command::new(config, Arc::new(handle));
    let error = command.deliver(&[report(1, "a", Healthy)]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "/nowhere/program: cannot be started: No such file or directory (os error 2)"
    );
}

#[tokio::test]
async fn runs_end_with_the_link_and_later_deliveries_fail() {
    let dir = tempfile::tempdir().unwrap();
    let (command, runner) = shell("echo $$ > pid; sleep 1000", dir.path(), CommandMode::Each, PATIENCE).await;
    let command = Arc::new(command);
    let under_way = tokio::spawn({
        let command = command.clone();
        async move { command.deliver(&[report(1, "a", Healthy)]).await }
    });
    until("the command runs", async || !read(&dir, "pid").is_empty()).await;
    runner.abort();
    assert!(under_way.await.unwrap().is_err());
    let pid = read(&dir, "pid").trim().to_owned();
    until("the command is killed", async || !runs(&pid)).await;
    let error = command.deliver(&[report(1, "a", Healthy)]).await.unwrap_err();
    assert!(error.to_string().contains("has ended"), "{error}");
}
