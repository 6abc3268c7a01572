//! The programs that the demo starts: logs in files, gone when the demo is gone, however it goes.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::command;

/// How long a program has between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(3);

/// How many lines of a log are shown when something went wrong.
const TAIL: usize = 20;

/// One program of ours.
pub(super) struct Program {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Program {
    /// Starts `file`; what it says on standard error, and on standard output unless that is wanted, goes to `log`.
    ///
    /// It gets a process group of its own, so that Ctrl-C on the terminal reaches only the demo, which then ends
    /// things in their order. Should the demo itself be killed, `setpriv` has told the kernel to kill the program
    /// too; this holds for as long as the calling thread lives, so the main thread starts all programs.
    pub(super) fn start(file: &Path, args: &[&str], log: PathBuf) -> Result<Self> {
        Self::spawn(file, args, log, false).map(|(program, _)| program)
    }

    /// Like [`start`](Self::start), with its standard output for us to read.
    pub(super) fn start_and_listen(file: &Path, args: &[&str], log: PathBuf) -> Result<(Self, ChildStdout)> {
        let (program, stdout) = Self::spawn(file, args, log, true)?;
        Ok((program, stdout.context("standard output was piped")?))
    }

    fn spawn(file: &Path, args: &[&str], log: PathBuf, listen: bool) -> Result<(Self, Option<ChildStdout>)> {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let same = output.try_clone().context("cannot share a log file")?;
        let mut command = match command::find("setpriv") {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL", "--"]).arg(file);
                command
            }
            None => Command::new(file),
        };
        let mut child = command
            .args(args)
            .stdin(Stdio::null())
            .stdout(if listen { Stdio::piped() } else { Stdio::from(same) })
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let stdout = child.stdout.take();
        Ok((Self { name, log, child }, stdout))
    }

    /// An error if the program has ended, which none does by itself.
    pub(super) fn check(&mut self) -> Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => bail!("{} has ended: {status}", self.name),
            Err(error) => Err(error).with_context(|| format!("cannot look after {}", self.name)),
        }
    }

    /// The end of its log.
    pub(super) fn tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let shown = lines[lines.len().saturating_sub(TAIL)..].join("\n");
        format!("--- the end of what {} said\n{shown}\n", self.name)
    }

    /// Asks the program to end and waits for it; after a grace it is killed, which counts as an error.
    pub(super) fn stop(mut self) -> Result<()> {
        self.check()?;
        let pid =
            i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process has no id")?;
        kill_process(pid, Signal::TERM).with_context(|| format!("cannot stop {}", self.name))?;
        #[allow(clippy::disallowed_methods, reason = "the end of a real process is awaited in real time")]
        let end = Instant::now() + GRACE;
        loop {
            if let Some(status) =
                self.child.try_wait().with_context(|| format!("cannot wait for {}", self.name))?
            {
                if status.success() {
                    return Ok(());
                }
                bail!("{} ended badly when it was stopped: {status}", self.name);
            }
            #[allow(clippy::disallowed_methods, reason = "the end of a real process is awaited in real time")]
            if Instant::now() >= end {
                // Dropping kills.
                bail!("{} did not stop within {GRACE:?}", self.name);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail for a program that has ended, and that is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(directory: &tempfile::TempDir, script: &str) -> Program {
        Program::start(Path::new("/bin/sh"), &["-c", script], directory.path().join("log")).unwrap()
    }

    fn wait_for_text(program: &mut Program, text: &str) {
        for _ in 0..2000 {
            if program.tail().contains(text) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("{}", program.tail());
    }

    #[test]
    fn stops_politely() {
        let directory = tempfile::tempdir().unwrap();
        let mut program = start(&directory, "trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done");
        wait_for_text(&mut program, "ready");
        program.check().unwrap();
        program.stop().unwrap();
    }

    #[test]
    fn a_program_that_ended_by_itself_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let mut program = start(&directory, "echo oh no >&2; exit 3");
        program.child.wait().unwrap();
        let error = program.check().unwrap_err().to_string();
        assert!(error.contains("sh has ended: exit status: 3"), "{error}");
        assert!(program.tail().contains("oh no"));
    }

    #[test]
    fn dies_with_its_value() {
        let directory = tempfile::tempdir().unwrap();
        let mut program = start(&directory, "echo $$; exec sleep 1000");
        wait_for_text(&mut program, "\n");
        let pid = Pid::from_raw(i32::try_from(program.child.id()).unwrap()).unwrap();
        drop(program);
        assert!(rustix::process::test_kill_process(pid).is_err());
    }
}
