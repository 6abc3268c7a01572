//! `cargo xtask integration`: the end-to-end tests, in a network namespace of their own.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use lexopt::Arg;

use crate::build::{self, Profile};
use crate::ci::tally::{self, Tally};
use crate::command;
use crate::go::go;
use crate::setup::{self, Purpose};
use crate::workspace::Workspace;

/// The command by which we run ourselves again inside the namespace. Not for people.
pub(crate) const INSIDE: &str = "inside-namespace";

/// `cargo xtask integration`.
pub(crate) fn main(mut args: lexopt::Parser) -> Result<()> {
    let mut filter = None;
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Value(value) if filter.is_none() => filter = Some(value.to_string_lossy().into_owned()),
            other => return Err(other.unexpected().into()),
        }
    }
    let workspace = Workspace::load()?;
    test(&workspace, filter.as_deref())?.verdict()
}

/// Builds what the tests run and runs those whose name matches `filter`, a regular expression as `go test -run` takes.
///
/// Go builds the tests out here, where it has its caches and the network; only the finished test program goes into
/// the namespace, by way of [`inside`].
pub(crate) fn test(workspace: &Workspace, filter: Option<&str>) -> Result<Tally> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "the end-to-end tests need root, for a network namespace and socket marks: run `cargo xtask integration` as root"
        );
    }
    setup::ensure(workspace, Purpose::Integration)?;
    build::all(workspace, Profile::Dev)?;
    build::seesaw_programs(workspace)?;
    let us = std::env::current_exe().context("cannot find our own program")?;
    let into = format!("unshare --net --mount '{}' {INSIDE}", us.display());
    let mut command = go(&workspace.seesawtest());
    command.args(["test", "-json", "-count=1", "-timeout=20m", "-exec", &into]);
    if let Some(filter) = filter {
        command.args(["-run", filter]);
    }
    command.arg("./e2e/...").env("HC_BIN", workspace.bin());
    tally::go_test(&mut command)
}

/// Runs inside the fresh namespaces: makes the loopback interface and `/run` usable, then becomes the test program.
///
/// `/run` is an empty one of the tests' own, so that the engine's directories and the servers' process files neither
/// touch nor outlive anything on the machine.
pub(crate) fn inside(mut args: lexopt::Parser) -> Result<()> {
    let mut argv = args.raw_args()?;
    let program = argv.next().context("a program to run is needed")?;
    for kind in ["net", "mnt"] {
        if namespace_of("self", kind)? == namespace_of("1", kind)? {
            bail!("{INSIDE} is for a private {kind} namespace; `cargo xtask integration` makes one");
        }
    }
    command::output(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    command::output(Command::new("mount").args(["-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run"]))?;
    let error = Command::new(&program).args(argv).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

fn namespace_of(process: &str, kind: &str) -> Result<PathBuf> {
    let link = format!("/proc/{process}/ns/{kind}");
    std::fs::read_link(&link).with_context(|| format!("cannot read {link}"))
}
