//! `cargo xtask bench`: the benchmarks of `crates/hc-bench`, on release programs, in a network
//! namespace of their own.

use std::ffi::OsString;

use anyhow::Result;

use crate::build::{self, Profile};
use crate::command;
use crate::integration::in_namespaces;
use crate::setup::{self, Need};
use crate::workspace::Workspace;

/// `cargo xtask bench`. The arguments are the names of benchmarks.
pub(crate) fn main(names: &[OsString]) -> Result<()> {
    crate::need_root("bench")?;
    let workspace = Workspace::load()?;
    setup::ensure(&workspace, &[Need::Rust, Need::Go, Need::Cgo, Need::Servers])?;
    build::all(&workspace, Profile::Release)?;
    build::seesaw_programs(&workspace)?;
    command::run(workspace.cargo().args(["build", "--release", "--package", "hc-bench"]))?;
    let program = workspace.target().join("release/hc-bench");
    command::run(
        in_namespaces(&program)?.args(names).env("HC_BIN", workspace.bin()).current_dir(workspace.root()),
    )
}
