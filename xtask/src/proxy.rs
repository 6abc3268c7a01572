//! `cargo xtask proxy build|test|lint`: the Go side.

use std::path::Path;

use anyhow::{Result, bail};
use lexopt::Arg;

use crate::ci::tally::{self, Tally};
use crate::go::go;
use crate::setup::{self, Purpose};
use crate::workspace::Workspace;
use crate::{WrongUsage, build, command};

/// `cargo xtask proxy`.
pub(crate) fn main(mut args: lexopt::Parser) -> Result<()> {
    let what = match args.next()? {
        Some(Arg::Value(what)) => what.to_string_lossy().into_owned(),
        Some(other) => return Err(other.unexpected().into()),
        None => bail!(WrongUsage("proxy: one of build, test, lint is needed".into())),
    };
    if let Some(arg) = args.next()? {
        return Err(arg.unexpected().into());
    }
    let workspace = Workspace::load()?;
    match what.as_str() {
        "build" => {
            setup::ensure(&workspace, Purpose::Build)?;
            build::go_programs(&workspace)
        }
        "lint" => {
            setup::ensure(&workspace, Purpose::GoTests)?;
            lint(&workspace)
        }
        "test" => {
            setup::ensure(&workspace, Purpose::GoTests)?;
            test(&workspace)?.verdict()
        }
        other => bail!(WrongUsage(format!("proxy: there is no `{other}`; it is one of build, test, lint"))),
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
        tally += tally::go_test(go(&module).args(["test", "-race", "-json"]).args(packages))?;
    }
    Ok(tally)
}

fn packages_for_any_place(module: &Path) -> Result<Vec<String>> {
    let listed = command::output(go(module).args(["list", "./..."]))?;
    let elsewhere = |package: &str| package.split('/').any(|part| part == "e2e" || part == "chaos");
    Ok(listed.lines().filter(|package| !elsewhere(package)).map(str::to_owned).collect())
}
