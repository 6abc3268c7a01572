//! `cargo xtask proxy build|test|lint`: the Go side.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use clap::ValueEnum;

use crate::ci::tally::{self, Tally};
use crate::go::go;
use crate::setup::{self, Need};
use crate::workspace::Workspace;
use crate::{build, command};

/// What [`lint`] and [`test()`] need: both compile what is built on Seesaw.
pub(crate) const NEEDS: &[Need] = &[Need::Go, Need::Cgo];

/// What `cargo xtask proxy` does.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum What {
    Build,
    Test,
    Lint,
}

/// `cargo xtask proxy`.
pub(crate) fn main(what: What) -> Result<()> {
    let workspace = Workspace::load()?;
    match what {
        What::Build => {
            setup::ensure(&workspace, &[Need::Go])?;
            build::go_programs(&workspace)
        }
        What::Lint => {
            setup::ensure(&workspace, NEEDS)?;
            lint(&workspace)
        }
        What::Test => {
            setup::ensure(&workspace, NEEDS)?;
            let tally = test(&workspace)?;
            tally.print();
            tally.verdict()
        }
    }
}

/// Format and vet of both modules.
pub(crate) fn lint(workspace: &Workspace) -> Result<()> {
    // gofmt walks directories and takes no notice of modules.
    let unformatted = command::output(
        std::process::Command::new("gofmt").arg("-l").arg(".").current_dir(workspace.proxy()),
    )?;
    if !unformatted.is_empty() {
        bail!("not formatted as gofmt does it, below {}:\n{unformatted}", workspace.proxy().display());
    }
    for module in [workspace.proxy(), workspace.seesawtest()] {
        command::run(go(&module).args(["vet", "./..."]))?;
    }
    Ok(())
}

/// The tests of both modules with the race detector, but for those that need a place of their own.
pub(crate) fn test(workspace: &Workspace) -> Result<Tally> {
    let mut tally = Tally::default();
    for module in [workspace.proxy(), workspace.seesawtest()] {
        let packages = packages_for_any_place(&module)?;
        let of_module = tally::go_test(go(&module).args(["test", "-race", "-json"]).args(packages))?;
        ensure!(of_module.has_run(), "no test ran below {}", module.display());
        tally += of_module;
    }
    Ok(tally)
}

fn packages_for_any_place(module: &Path) -> Result<Vec<String>> {
    let listed = command::output(go(module).args(["list", "./..."]))?;
    let elsewhere = |package: &str| package.split('/').any(|part| part == "e2e" || part == "chaos");
    Ok(listed.lines().filter(|package| !elsewhere(package)).map(str::to_owned).collect())
}
