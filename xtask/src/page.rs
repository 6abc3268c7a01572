//! `cargo xtask page`: the types of the page's scripts, and the page in a real Chromium in front of
//! a real hc-server.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::build::{self, Profile};
use crate::ci::tally::{self, Tally};
use crate::command;
use crate::setup::{self, Need};
use crate::workspace::Workspace;

/// What [`test()`] needs.
pub(crate) const NEEDS: &[Need] = &[Need::Rust, Need::Browser];

/// `cargo xtask page`.
pub(crate) fn main(filter: Option<&str>) -> Result<()> {
    let workspace = Workspace::load()?;
    setup::ensure(&workspace, NEEDS)?;
    let tally = run(&workspace, filter)?;
    tally.print();
    tally.verdict()
}

/// What `cargo xtask ci` runs.
pub(crate) fn test(workspace: &Workspace) -> Result<Tally> {
    run(workspace, None)
}

/// Checks the types, builds the programs and runs the tests whose name matches `filter`.
/// Screenshots are left in `page-screenshots` of the target directory.
fn run(workspace: &Workspace, filter: Option<&str>) -> Result<Tally> {
    prepare(workspace)?;
    let directory = directory(workspace);
    command::run(Command::new("npm").args(["run", "--silent", "types"]).current_dir(&directory))?;
    build::rust(workspace, Profile::Dev)?;
    let mut node = Command::new("node");
    node.args(["--test", "--test-reporter=tap", "--test-concurrency=1"]);
    node.args(filter.map(|filter| format!("--test-name-pattern={filter}")));
    // Without names node runs every file that is called *.test.js.
    node.current_dir(&directory).env("HC_BIN", workspace.bin());
    tally::node_tests(node.env("HC_SCREENSHOTS", workspace.target().join("page-screenshots")))
}

/// Where the tests and what they need are.
pub(crate) fn directory(workspace: &Workspace) -> PathBuf {
    workspace.root().join("page-tests")
}

/// Installs what drives the browser, unless it is there.
pub(crate) fn prepare(workspace: &Workspace) -> Result<()> {
    let _lock = workspace.lock("page")?;
    let directory = directory(workspace);
    let lock = directory.join("package-lock.json");
    let installed = directory.join("node_modules/.package-lock.json");
    let modified = |path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    // The tests are started far more often than the lock file changes.
    if modified(&installed) < modified(&lock) || !installed.exists() {
        command::run(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&directory))?;
    }
    Ok(())
}
