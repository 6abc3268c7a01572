//! The programs that are packed, built so that their bytes depend on the commit alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::build::{self, Profile};
use crate::command;
use crate::workspace::{Package, Workspace};

/// Builds the programs and returns the directory that has them.
///
/// Of the profile `dev`, those of `cargo xtask build` serve as they are. They have paths of this
/// machine in them, which does not matter for a test of the packages.
pub(super) fn build(workspace: &Workspace, profile: Profile, epoch: u64) -> Result<PathBuf> {
    if profile == Profile::Dev {
        build::all(workspace, profile)?;
        return Ok(workspace.bin());
    }
    // A directory of its own: the flags are others, and would make cargo build everything anew in
    // either one.
    let target = workspace.target().join("dist/build");
    let root = path(workspace.root())?;
    let home = cargo_home()?;
    let (library, library_as_released) = library(workspace)?;
    // Of several that fit, both compilers take the last.
    let maps = [(root, "/hc"), (path(&target)?, "/target"), (path(&home)?, "/cargo")];
    let c: Vec<String> = maps.iter().map(|(from, to)| format!("-ffile-prefix-map={from}={to}")).collect();
    let rust: Vec<String> = maps
        .into_iter()
        .chain([(library.as_str(), library_as_released.as_str())])
        .map(|(from, to)| format!("--remap-path-prefix={from}={to}"))
        .collect();
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--release", "--bins", "--locked", "--target-dir"]).arg(&target);
    // The names of symbols must not tell either in which directory they were made.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", rust.join("\u{1f}"));
    cargo.env("CFLAGS", c.join(" ")).env("CXXFLAGS", c.join(" "));
    cargo.env("CARGO_INCREMENTAL", "0").env("SOURCE_DATE_EPOCH", epoch.to_string());
    for package in workspace.packages().filter(ships) {
        cargo.args(["--package", package.name()]);
    }
    command::run(&mut cargo)?;
    build::go_programs(workspace)?;
    let release = target.join("release");
    super::copy(&workspace.bin().join("hc-proxy"), &release.join("hc-proxy"))?;
    Ok(release)
}

/// Where the source of Rust's own library is if this machine has it, and what its paths are where
/// it is not there: the compiler names the one or the other.
fn library(workspace: &Workspace) -> Result<(String, String)> {
    let rustc =
        |args: &[&str]| command::output(Command::new("rustc").args(args).current_dir(workspace.root()));
    let version = rustc(&["-vV"])?;
    let hash = version.lines().find_map(|line| line.strip_prefix("commit-hash: "));
    let sysroot = rustc(&["--print", "sysroot"])?;
    Ok((
        format!("{}/lib/rustlib/src/rust", sysroot.trim()),
        format!("/rustc/{}", hash.context("rustc names no commit")?),
    ))
}

/// Whether the programs of this package are handed to others.
pub(super) fn ships(package: &Package<'_>) -> bool {
    package.is_published() && !package.programs().is_empty()
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

fn cargo_home() -> Result<PathBuf> {
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")
}
