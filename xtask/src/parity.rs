//! `cargo xtask parity`: our probes and our programs against Seesaw's own, on the same scripted
//! servers.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::build::{self, Profile};
use crate::command;
use crate::setup::{self, Need};
use crate::workspace::Workspace;

/// What [`run`] needs.
pub(crate) const NEEDS: &[Need] = &[Need::Rust, Need::Go, Need::Cgo, Need::Servers];

/// `cargo xtask parity`. All arguments are those of hc-parity.
pub(crate) fn main(args: &[OsString]) -> Result<()> {
    let workspace = Workspace::load()?;
    setup::ensure(&workspace, NEEDS)?;
    run(&workspace, args)
}

/// What `cargo xtask ci` runs: always the same cases, in less than two minutes.
pub(crate) fn quick(workspace: &Workspace) -> Result<()> {
    run(workspace, &["--seed", "4", "--generated", "4000"].map(Into::into))
}

/// Builds the programs of both sides and holds them against each other.
fn run(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    crate::need_root("parity")?;
    build::all(workspace, Profile::Dev)?;
    build::seesaw_programs(workspace)?;
    command::run(workspace.cargo().args(["build", "--package", "hc-parity"]))?;
    command::run(
        Command::new(workspace.target().join("debug/hc-parity"))
            .args(args)
            .env("HC_BIN", workspace.bin())
            .current_dir(workspace.root()),
    )
}
