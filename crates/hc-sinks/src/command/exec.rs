//! One run of a command.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::{sleep, timeout};

use super::link::{CommandSpec, Exit};

/// How much of standard error is kept.
const STDERR: usize = 1024;

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// How long standard error is read after the end: a process that the command left behind may hold
/// it open for ever.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// The process group of a run. It is killed when this is dropped before the command has ended.
struct Group(Option<Pid>);

impl Group {
    fn kill(&self, signal: Signal) {
        if let Some(pid) = self.0 {
            // It may have ended meanwhile.
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill(Signal::KILL);
    }
}

pub(super) async fn run(spec: &CommandSpec, environment: Vec<(String, String)>, input: String) -> Exit {
    let mut child = match start(spec, environment) {
        Ok(child) => child,
        Err(problem) => return Exit::NotStarted { problem },
    };
    let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
    let stdin = child.stdin.take();
    let mut stderr = Vec::new();
    let mut errors = child.stderr.take();
    let ended = timeout(spec.timeout, async {
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A command that does not read its input is not wrong.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
            std::future::pending::<()>().await;
        };
        let listen = async {
            if let Some(errors) = &mut errors {
                drain(errors, &mut stderr).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            status = child.wait() => status,
            () = feed => unreachable!("it never ends"),
            () = listen => unreachable!("it never ends"),
        }
    });
    let status = match ended.await {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => return Exit::NotStarted { problem: error.to_string() },
        Err(_) => {
            end(group, &mut child).await;
            return Exit::TimedOut;
        }
    };
    // What it left behind in the background on purpose goes on.
    group.0 = None;
    if let Some(errors) = &mut errors {
        let _ = timeout(LAST_WORDS, drain(errors, &mut stderr)).await;
    }
    exit(status, &stderr)
}

fn start(spec: &CommandSpec, environment: Vec<(String, String)>) -> Result<Child, String> {
    let (program, arguments) = spec.argv.split_first().ok_or("no program is named")?;
    let child = Command::new(program)
        .args(arguments)
        .envs(environment)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    child.map_err(|error| error.to_string())
}

/// Reads to the end, and keeps the beginning.
async fn drain(errors: &mut ChildStderr, kept: &mut Vec<u8>) {
    let mut piece = [0; 512];
    while let Ok(length @ 1..) = errors.read(&mut piece).await {
        let room = STDERR.saturating_sub(kept.len());
        kept.extend_from_slice(&piece[..length.min(room)]);
    }
}

/// The child is waited for last: until then its number, which is that of the group, cannot be
/// another's.
async fn end(mut group: Group, child: &mut Child) {
    group.kill(Signal::TERM);
    sleep(GRACE).await;
    group.kill(Signal::KILL);
    group.0 = None;
    // It cannot refuse that.
    let _ = child.wait().await;
}

fn exit(status: ExitStatus, stderr: &[u8]) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => {
            Exit::Status { code, stderr: String::from_utf8_lossy(stderr).trim_end().to_owned() }
        }
        (None, Some(signal)) => Exit::Signal { signal },
        (None, None) => Exit::NotStarted { problem: "it neither ended nor was ended".to_owned() },
    }
}
