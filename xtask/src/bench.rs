//! `cargo xtask bench`: the benchmarks of `crates/hc-bench`, on release programs, in a network namespace of their own.

use std::process::Command;

use anyhow::{Result, bail};
use lexopt::Arg;

use crate::build::{self, Profile};
use crate::command;
use crate::integration::in_namespaces;
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
    let into = in_namespaces()?;
    command::run(
        Command::new(&into[0])
            .args(&into[1..])
            .arg(workspace.target().join("release/hc-bench"))
            .args(names)
            .env("HC_BIN", workspace.bin())
            .current_dir(workspace.root()),
    )
}
