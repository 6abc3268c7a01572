//! `cargo xtask bench`: the benchmarks of `crates/hc-bench`, on release programs, in a network namespace of their own.

use std::process::Command;

use anyhow::{Context, Result, bail};
use lexopt::Arg;

use crate::build::{self, Profile};
use crate::command;
use crate::integration::INSIDE;
use crate::setup::{self, Purpose};
use crate::workspace::Workspace;

/// `cargo xtask bench`.
pub(crate) fn main(mut args: lexopt::Parser) -> Result<()> {
    let mut names = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Value(name) => names.push(name),
            other => return Err(other.unexpected().into()),
        }
    }
    if !rustix::process::geteuid().is_root() {
        bail!("the benchmarks need root, for a network namespace: run `cargo xtask bench` as root");
    }
    let workspace = Workspace::load()?;
    setup::ensure(&workspace, Purpose::Integration)?;
    build::all(&workspace, Profile::Release)?;
    build::seesaw_programs(&workspace)?;
    command::run(workspace.cargo().args(["build", "--release", "--package", "hc-bench"]))?;
    command::run(
        Command::new("unshare")
            .args(["--net", "--mount"])
            .arg(std::env::current_exe().context("cannot find our own program")?)
            .arg(INSIDE)
            .arg(workspace.target().join("release/hc-bench"))
            .args(names)
            .env("HC_BIN", workspace.bin())
            .current_dir(workspace.root()),
    )
}
