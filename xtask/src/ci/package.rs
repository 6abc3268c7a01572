//! What would be published, packed and built from the packed files alone.
//!
//! To build a packed crate that needs another packed one, cargo makes a registry of all of them in the target directory.
//! It takes such a crate for one that never changes, as published ones do: a copy that was once unpacked for a registry at
//! this path is not unpacked again, and one that was once built is not built again, as long as the version is the same.
//! After a change, crates would be verified against the old state of their neighbours, and pass or fail for what is no
//! longer there. So nothing of an earlier run is left to be found.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use anyhow::{Context, Result, ensure};

use crate::command;
use crate::workspace::{Package, Workspace};

/// Packs every crate that is published and builds it outside the workspace.
pub(super) fn check(workspace: &Workspace) -> Result<()> {
    // For each crate cargo asks the registry for every dependency anew, to learn what the lock file says: several hundred
    // requests, of which one is enough to fail. So what is missing is fetched first, and then nothing is asked.
    command::run(workspace.cargo().args(["fetch", "--locked"]))?;

    let home = cargo_home()?;
    let target = workspace.target().join("packaging");
    let (published, kept): (Vec<_>, Vec<_>) = workspace.packages().partition(Package::is_published);
    let names: Vec<_> = published.iter().map(Package::name_and_version).collect();
    for copy in unpacked(&home, &names)? {
        remove(&copy)?;
    }
    remove(&target)?;

    let mut cargo = workspace.cargo();
    // Nobody debugs what is built here.
    cargo.args(["package", "--workspace", "--locked", "--offline"]).env("CARGO_PROFILE_DEV_DEBUG", "0");
    cargo.arg("--target-dir").arg(&target);
    for package in kept {
        cargo.args(["--exclude", package.name()]);
    }
    // A person runs this before the commit; CI has a clean clone and means it.
    if env::var_os("CI").is_none() {
        cargo.arg("--allow-dirty");
    }
    command::run(&mut cargo)?;
    ensure!(
        !unpacked(&home, &names)?.is_empty(),
        "cargo no longer unpacks crates in {}, so nobody removed what an earlier run left there",
        sources(&home).display()
    );
    remove(&target)
}

/// Where cargo keeps what it downloads and unpacks, as The Cargo Book defines it.
fn cargo_home() -> Result<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")
}

fn sources(home: &Path) -> PathBuf {
    home.join("registry").join("src")
}

/// The copies of the packages that cargo has unpacked, for registries at any path. `names` are as `hc-types-0.1.0`.
fn unpacked(home: &Path, names: &[String]) -> Result<Vec<PathBuf>> {
    let sources = sources(home);
    let registries = match fs::read_dir(&sources) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        registries => registries.with_context(|| format!("cannot read {}", sources.display()))?,
    };
    let mut copies = Vec::new();
    for registry in registries {
        let registry = registry.with_context(|| format!("cannot read {}", sources.display()))?.path();
        copies.extend(names.iter().map(|name| registry.join(name)).filter(|copy| copy.exists()));
    }
    Ok(copies)
}

/// Removes a directory that may be missing.
fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("cannot remove {}", directory.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_copies_of_the_packages_are_found_in_every_registry() {
        let home = tempfile::tempdir().expect("a directory");
        let names = ["hc-types-0.1.0".to_owned()];
        assert_eq!(unpacked(home.path(), &names).expect("no registry yet"), Vec::<PathBuf>::new());
        let copy = |name: &str| sources(home.path()).join(name);
        let all = ["-1/hc-types-0.1.0", "-2/hc-types-0.1.0", "-2/hc-types-0.2.0", "index-3/serde-1.0.0"];
        for name in all {
            fs::create_dir_all(copy(name)).expect("a copy");
        }
        let mut found = unpacked(home.path(), &names).expect("registries");
        found.sort();
        assert_eq!(found, [copy(all[0]), copy(all[1])]);
        for copy in &found {
            remove(copy).expect("removed");
            remove(copy).expect("nothing to remove");
        }
        assert_eq!(unpacked(home.path(), &names).expect("registries"), Vec::<PathBuf>::new());
        assert!(copy(all[2]).exists() && copy(all[3]).exists());
    }
}
