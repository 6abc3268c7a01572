//! What would be published, packed and compiled from the packed files alone.
//!
//! `cargo package` can build what it packs, but by way of a registry that it makes: all
//! dependencies are built once more, and what was once unpacked in cargo's home is not unpacked
//! again as long as the version is the same, so crates would be verified against the old state of
//! their neighbours. So the packed files are unpacked here, as a workspace of their own that shares
//! this one's lock file, profiles and target directory.

use std::path::Path;
use std::process::Command;
use std::{env, fs, io};

use anyhow::{Context, Result};

use crate::command;
use crate::workspace::{Package, Workspace};

/// Packs every crate that is published and compiles it outside the workspace.
pub(super) fn check(workspace: &Workspace) -> Result<()> {
    // For each crate cargo asks the registry for every dependency anew, to learn what the lock file
    // says: several hundred requests, of which one is enough to fail. So what is missing is fetched
    // first, and then nothing is asked.
    command::run(workspace.cargo().args(["fetch", "--locked"]))?;
    let packed = workspace.target().join("package");
    remove(&packed)?;
    let (published, kept): (Vec<_>, Vec<_>) = workspace.packages().partition(Package::is_published);
    pack(workspace, &kept)?;

    let unpacked = packed.join("unpacked");
    fs::create_dir_all(&unpacked).with_context(|| unpacked.display().to_string())?;
    for package in &published {
        let file = packed.join(format!("{}.crate", package.name_and_version()));
        // With the time of now: packed files have one and the same old time, by which cargo would
        // take them for built.
        command::output(Command::new("tar").arg("-xzmf").arg(file).arg("-C").arg(&unpacked))?;
    }
    let root = fs::read_to_string(workspace.root().join("Cargo.toml")).context("cannot read Cargo.toml")?;
    fs::write(unpacked.join("Cargo.toml"), manifest(&root, &published)).context("cannot write Cargo.toml")?;
    fs::copy(workspace.root().join("Cargo.lock"), unpacked.join("Cargo.lock"))
        .context("cannot copy Cargo.lock")?;
    let mut cargo = workspace.cargo();
    // Not built: that each can be compiled is what is asked, and code for it is generated
    // elsewhere.
    cargo.args(["check", "--workspace", "--offline", "--target-dir"]).arg(workspace.target());
    command::run(cargo.current_dir(&unpacked))?;
    remove(&packed)
}

fn pack(workspace: &Workspace, kept: &[Package<'_>]) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo.args(["package", "--workspace", "--no-verify", "--locked", "--offline"]);
    for package in kept {
        cargo.args(["--exclude", package.name()]);
    }
    // A person runs this before the commit; CI has a clean clone and means it.
    if env::var_os("CI").is_none() {
        cargo.arg("--allow-dirty");
    }
    command::run(&mut cargo)
}

/// A workspace of the unpacked packages, in which they find each other, with the profiles of
/// `root`, so that the dependencies that are built already fit.
fn manifest(root: &str, published: &[Package<'_>]) -> String {
    let mut text = "[workspace]\nresolver = \"3\"\nmembers = [\"*-*\"]\n\n[patch.crates-io]\n".to_owned();
    for package in published {
        text.push_str(&format!("{} = {{ path = {:?} }}\n", package.name(), package.name_and_version()));
    }
    let mut wanted = false;
    for line in root.lines() {
        if line.starts_with('[') {
            wanted = line.starts_with("[profile.");
        }
        if wanted {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// Removes a directory that may be missing.
fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("cannot remove {}", directory.display())),
    }
}
