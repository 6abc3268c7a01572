//! `cargo xtask build`: every program of the project, built into `target/bin`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::command;
use crate::go::go;
use crate::setup::{self, Need};
use crate::workspace::{Package, Workspace};

/// How much the compiler optimises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// Quick to build.
    Dev,
    /// What is deployed.
    Release,
}

/// `cargo xtask build`.
pub(crate) fn main(release: bool) -> Result<()> {
    let workspace = Workspace::load()?;
    setup::ensure(&workspace, &[Need::Rust, Need::Go])?;
    all(&workspace, if release { Profile::Release } else { Profile::Dev })?;
    println!("programs are in {}", workspace.bin().display());
    Ok(())
}

/// Builds the Rust and the Go programs.
pub(crate) fn all(workspace: &Workspace, profile: Profile) -> Result<()> {
    rust(workspace, profile)?;
    go_programs(workspace)
}

/// Builds the Rust programs that ship, apart from everything else, so that no feature which only a
/// test asks for gets into them.
pub(crate) fn rust(workspace: &Workspace, profile: Profile) -> Result<()> {
    let _lock = workspace.lock("build")?;
    let ships = |package: &Package<'_>| package.is_published() && !package.programs().is_empty();
    let packages: Vec<Package<'_>> = workspace.packages().filter(ships).collect();
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--bins"]);
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    for package in &packages {
        cargo.args(["--package", package.name()]);
    }
    command::run(&mut cargo)?;
    let built = workspace.target().join(match profile {
        Profile::Dev => "debug",
        Profile::Release => "release",
    });
    fs::create_dir_all(workspace.bin()).context("cannot make target/bin")?;
    for program in packages.iter().flat_map(Package::programs) {
        install(&built.join(program), &workspace.bin().join(program))?;
    }
    Ok(())
}

/// Builds hc-proxy and fake-engine: static, without paths of this machine, with our version in
/// them.
pub(crate) fn go_programs(workspace: &Workspace) -> Result<()> {
    let _lock = workspace.lock("build")?;
    fs::create_dir_all(workspace.bin()).context("cannot make target/bin")?;
    command::run(
        go(&workspace.proxy())
            // Whether there is a repository, and in what state, must not be in the bytes.
            .args(["build", "-trimpath", "-buildvcs=false", "-ldflags"])
            .arg(concat!("-X main.version=", env!("CARGO_PKG_VERSION")))
            .arg("-o")
            .arg(workspace.bin())
            .args(["./cmd/hc-proxy", "./cmd/fake-engine"])
            .env("CGO_ENABLED", "0"),
    )
}

/// Builds Seesaw's own programs and our stand-ins for its other parts, for the tests against the
/// real thing.
pub(crate) fn seesaw_programs(workspace: &Workspace) -> Result<()> {
    let _lock = workspace.lock("build")?;
    fs::create_dir_all(workspace.bin()).context("cannot make target/bin")?;
    command::run(
        go(&workspace.seesawtest())
            .args(["build", "-trimpath", "-o"])
            .arg(workspace.bin())
            .args(
                ["seesaw_engine", "seesaw_cli", "seesaw_healthcheck"]
                    .map(|name| format!("{SEESAW_BINARIES}/{name}")),
            )
            .arg("./cmd/..."),
    )
}

/// Builds etcd as the module `proxy/etcdtest` names it, for the tests of the fleet's store. Takes a
/// minute the first time.
pub(crate) fn etcd(workspace: &Workspace) -> Result<()> {
    fs::create_dir_all(workspace.bin()).context("cannot make target/bin")?;
    command::run(
        go(&workspace.etcdtest())
            .args(["build", "-trimpath", "-buildvcs=false", "-o"])
            .arg(workspace.bin().join("etcd"))
            .arg("go.etcd.io/etcd/server/v3")
            .env("CGO_ENABLED", "0"),
    )
}

const SEESAW_BINARIES: &str = "github.com/google/seesaw/binaries";

/// Puts a copy in place by renaming, so that a program that is running keeps its file.
fn install(from: &Path, to: &Path) -> Result<()> {
    let fresh = to.with_extension("new");
    fs::copy(from, &fresh).with_context(|| format!("cannot copy {}", from.display()))?;
    fs::rename(&fresh, to).with_context(|| format!("cannot replace {}", to.display()))
}
