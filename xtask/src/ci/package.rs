//! What would be published, packed and built from the packed files alone.

use anyhow::Result;

use crate::command;
use crate::workspace::Workspace;

/// Packs every crate that is published and builds it outside the workspace.
pub(super) fn check(workspace: &Workspace) -> Result<()> {
    // For each crate cargo asks the registry for every dependency anew, to learn what the lock file says: several hundred
    // requests, of which one is enough to fail. So what is missing is fetched first, and then nothing is asked.
    command::run(workspace.cargo().args(["fetch", "--locked"]))?;
    let mut cargo = workspace.cargo();
    // Without debug information, as our profile builds dependencies, so that those are not built a second time.
    cargo.args(["package", "--workspace", "--locked", "--offline"]).env("CARGO_PROFILE_DEV_DEBUG", "0");
    for package in workspace.packages().filter(|package| !package.is_published()) {
        cargo.args(["--exclude", package.name()]);
    }
    // A person runs this before the commit; CI has a clean clone and means it.
    if std::env::var_os("CI").is_none() {
        cargo.arg("--allow-dirty");
    }
    command::run(&mut cargo)
}
