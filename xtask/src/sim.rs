//! `cargo xtask sim`: hours of crashes, stalls and lost acknowledgements in virtual time, each hour
//! from one seed.

use std::ffi::OsString;

use anyhow::Result;

use crate::command;
use crate::setup::{self, Need};
use crate::workspace::Workspace;

/// What [`run`] needs.
pub(crate) const NEEDS: &[Need] = &[Need::Rust];

/// `cargo xtask sim`: its arguments are those of `hc-sim`.
pub(crate) fn main(args: &[OsString]) -> Result<()> {
    let workspace = Workspace::load()?;
    setup::ensure(&workspace, NEEDS)?;
    run(&workspace, args)
}

/// What `cargo xtask ci` runs.
pub(crate) fn quick(workspace: &Workspace) -> Result<()> {
    run(workspace, &["--seeds".into(), "100".into()])
}

/// Optimised: an hour takes a tenth of a second then, and some seconds otherwise.
fn run(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    command::run(
        workspace.cargo().args(["run", "--quiet", "--release", "--package", "hc-sim", "--"]).args(args),
    )
}
