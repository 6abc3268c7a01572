//! Processes that a benchmark starts on one processor, and that end with it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hc_testkit::process;
pub(crate) use hc_testkit::process::Process;

/// Starts a program on one processor, its output in `log`. `taskset` replaces itself by the
/// program.
pub(crate) fn start<S: AsRef<OsStr>>(cpu: usize, log: &Path, program: &Path, args: &[S]) -> Result<Process> {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &cpu.to_string()]).arg(program).args(args);
    Process::try_start_logged(&mut command, log)
        .with_context(|| format!("{} under taskset (package util-linux)", program.display()))
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
