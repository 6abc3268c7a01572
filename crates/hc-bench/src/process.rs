//! Processes that a benchmark starts on one processor, and that end with it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hc_testkit::process;
pub(crate) use hc_testkit::process::Process;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processor of whatever is measured.
pub(crate) const CHECKER_CPU: usize = 0;

/// The processor of backends, and of what only serves the checkers.
pub(crate) const BACKEND_CPU: usize = 1;

/// This thread, and those that it starts meanwhile, on one processor until this is dropped.
pub(crate) struct Pinned {
    before: CpuSet,
}

impl Pinned {
    pub(crate) fn to(cpu: usize) -> Result<Self> {
        let before = sched_getaffinity(None)?;
        let mut here = CpuSet::new();
        here.set(cpu);
        sched_setaffinity(None, &here)?;
        Ok(Self { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // What was allowed before is allowed again, unless the processor is gone.
        let _ = sched_setaffinity(None, &self.before);
    }
}

/// A command on one processor. `taskset` replaces itself by the program.
pub(crate) fn pinned(cpu: usize, program: &Path) -> Command {
    on(&cpu.to_string(), program)
}

/// A command on these processors, as in `0` or `0,1`.
pub(crate) fn on(cpus: &str, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", cpus]).arg(program);
    command
}

/// Starts a command, its output in `log`.
pub(crate) fn spawn(command: &mut Command, log: &Path) -> Result<Process> {
    Process::try_start_logged(command, log).with_context(|| format!("{command:?} (package util-linux)"))
}

/// Starts a program on one processor, its output in `log`.
pub(crate) fn start<S: AsRef<OsStr>>(cpu: usize, log: &Path, program: &Path, args: &[S]) -> Result<Process> {
    spawn(pinned(cpu, program).args(args), log)
}

/// Starts ourselves in another role, on one processor.
pub(crate) fn start_role(cpu: usize, log: &Path, args: &[&str]) -> Result<Process> {
    let us = std::env::current_exe().context("cannot find our own program")?;
    start(cpu, log, &us, &[&[crate::roles::WORD], args].concat())
}

/// The folder with our programs, and Seesaw's, which `cargo xtask bench` has built.
pub(crate) fn programs() -> Result<PathBuf> {
    let folder = std::env::var_os("HC_BIN").context("HC_BIN is not set: run `cargo xtask bench`")?;
    Ok(folder.into())
}

/// Waits until `done` says so.
pub(crate) fn wait_for(what: &str, limit: Duration, done: impl FnMut() -> bool) -> Result<()> {
    if !process::wait_for(limit, done) {
        bail!("{what} did not happen within {limit:?}");
    }
    Ok(())
}
