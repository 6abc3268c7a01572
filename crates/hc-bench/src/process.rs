//! Processes that a benchmark starts, and that end with it.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// A child that is killed when this value is dropped.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts a program on one processor, its output in `log`.
    pub(crate) fn start<S: AsRef<OsStr>>(cpu: usize, log: &Path, program: &Path, args: &[S]) -> Result<Self> {
        let out = File::create(log).with_context(|| log.display().to_string())?;
        let child = Command::new("taskset")
            .args(["--cpu-list", &cpu.to_string()])
            .arg(program)
            .args(args)
            .stdin(Stdio::null())
            .stderr(out.try_clone()?)
            .stdout(out)
            .spawn()
            .with_context(|| {
                format!("cannot start {} under taskset (package util-linux)", program.display())
            })?;
        Ok(Self { child })
    }

    /// The process id. `taskset` replaces itself by the program, so this is the program's.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal. A process that has ended is an error.
    pub(crate) fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("a process ended with {status}");
        }
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folder with our programs, and Seesaw's, which `cargo xtask bench` has built.
pub(crate) fn programs() -> Result<PathBuf> {
    let folder = std::env::var_os("HC_BIN").context("HC_BIN is not set: run `cargo xtask bench`")?;
    Ok(folder.into())
}

/// Waits until `done` says so.
#[allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(crate) fn wait_for(what: &str, limit: Duration, mut done: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + limit;
    while !done() {
        if Instant::now() > end {
            bail!("{what} did not happen within {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
