//! `cargo xtask bench`: the benchmarks of `crates/hc-bench`, on release programs, in a network
//! namespace of their own.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::build::{self, Profile};
use crate::command;
use crate::integration::in_namespaces;
use crate::setup::{self, Need};
use crate::workspace::Workspace;

/// The benchmarks that run others' programs under strace and valgrind.
const COUNTING: &[&str] = &["calls", "instructions"];

/// `cargo xtask bench`. The arguments are options and the names of benchmarks, as
/// `crates/hc-bench` takes them.
pub(crate) fn main(args: &[OsString]) -> Result<()> {
    let workspace = Workspace::load()?;
    let build_bench =
        || command::run(workspace.cargo().args(["build", "--release", "--package", "hc-bench"]));
    let program = workspace.target().join("release/hc-bench");
    if args == ["--page"] {
        build_bench()?;
        return command::run(Command::new(&program).args(args).current_dir(workspace.root()));
    }
    crate::need_root("bench")?;
    setup::ensure(&workspace, &[Need::Rust, Need::Go, Need::Cgo, Need::Servers])?;
    if counts(args) {
        setup::ensure(&workspace, &[Need::Counters])?;
    }
    build::all(&workspace, Profile::Release)?;
    build::seesaw_programs(&workspace)?;
    build_bench()?;
    let cost = ["build", "--release", "--package", "hc-checkers", "--example", "cost"];
    command::run(workspace.cargo().args(cost))?;
    command::run(
        in_namespaces(&program)?.args(args).env("HC_BIN", workspace.bin()).current_dir(workspace.root()),
    )
}

/// Whether one of those is among the named ones, or none is named.
fn counts(args: &[OsString]) -> bool {
    let names = || args.iter().filter(|arg| !arg.to_string_lossy().starts_with('-'));
    names().count() == 0 || names().any(|name| COUNTING.iter().any(|counting| name == counting))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_needed_where_something_counts() {
        let needed = |args: &[&str]| counts(&args.iter().map(OsString::from).collect::<Vec<_>>());
        assert!(needed(&[]) && needed(&["--quick"]) && needed(&["cpu", "calls"]));
        assert!(!needed(&["--quick", "cpu"]));
    }
}
