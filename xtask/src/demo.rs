//! `cargo xtask demo`: the whole chain on this machine, with backends that die and come back.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;

use anyhow::{Context, Result};

use crate::build::{self, Profile};
use crate::setup::{self, Need};
use crate::workspace::Workspace;

/// `cargo xtask demo`: its arguments are those of the example of hc-testkit.
pub(crate) fn main(args: &[OsString]) -> Result<()> {
    let workspace = Workspace::load()?;
    setup::ensure(&workspace, &[Need::Rust, Need::Go])?;
    build::all(&workspace, Profile::Dev)?;
    let mut cargo = workspace.cargo();
    cargo.args(["run", "--quiet", "--package", "hc-testkit", "--example", "demo", "--"]);
    // In our place, as cargo is replaced by the demo in turn: Ctrl-C reaches only it, and it ends
    // things in their order.
    Err(cargo.arg(workspace.bin()).args(args).exec()).context("cannot run cargo")
}
