//! A clean root of Debian in namespaces of its own, with the packages and those of a version before
//! beside it, for [`super::walk`].

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::walk::{self, Machine};
use super::{Made, files};
use crate::command;
use crate::integration::{namespace_words, our_program};
use crate::workspace::Workspace;
use crate::{build, page};

/// The command by which we run ourselves again inside the namespaces. Not for people.
pub(crate) const INSIDE: &str = "dist-inside";

/// The version that is upgraded from: the same programs, with another default file and another
/// number.
const BEFORE: &str = "0.0.9";

/// Tries the packages out.
pub(super) fn packages(workspace: &Workspace, made: &Made) -> Result<()> {
    page::prepare(workspace)?;
    build::seesaw_programs(workspace)?;
    let work = workspace.target().join("dist");
    let before = work.join("before");
    super::remove(&before)?;
    fs::create_dir_all(&before)?;
    for (name, path) in files(&made.directory)? {
        if is_package(&name) {
            older(&path, &work.join("repacked"), &before)?;
        }
    }
    let clean = clean_root(&work, &made.directory)?;
    let root = tempfile::tempdir_in(&work).context("cannot make a temporary directory")?;
    command::run(Command::new("tar").arg("-xf").arg(clean).arg("-C").arg(root.path()))?;
    let us = our_program()?;
    super::copy(Path::new(&us), &root.path().join("usr/bin/systemctl"))?;
    for (from, to) in [(&before, "before"), (&made.directory, "now")] {
        super::copy_tree(from, &root.path().join(to))?;
    }
    // Namespaces of network and mounts, and in them one of processes, so that nothing is left
    // behind, whatever happens.
    let words = namespace_words()?;
    let mut inside = Command::new(&words[0]);
    inside.args(&words[1..]).args(["unshare", "--pid", "--fork", "--kill-child"]);
    let shots = workspace.target().join("walk-screenshots");
    super::remove(&shots)?;
    let places = [root.path(), &workspace.bin(), &page::directory(workspace), &shots];
    command::run(inside.arg(&us).arg(INSIDE).args(places))
}

/// Whether a file is a package that people install.
pub(super) fn is_package(name: &str) -> bool {
    name.ends_with(".deb") && !name.contains("-dbgsym")
}

/// Packs a package again, as that of the version before.
fn older(package: &Path, unpacked: &Path, to: &Path) -> Result<()> {
    super::remove(unpacked)?;
    command::run(Command::new("dpkg-deb").arg("--raw-extract").arg(package).arg(unpacked))?;
    let control = unpacked.join("DEBIAN/control");
    let text = fs::read_to_string(&control)?;
    fs::write(&control, text.replace(&format!("{}-1", super::version()), &format!("{BEFORE}-1")))?;
    let default = unpacked.join("etc/default/hc-server");
    if let Ok(text) = fs::read_to_string(&default) {
        fs::write(&default, text + "# A line of the version before.\n")?;
    }
    command::run(Command::new("dpkg-deb").args(["-Zgzip", "-z1", "--build"]).arg(unpacked).arg(to))?;
    super::remove(unpacked)
}

/// A root with what the packages depend on, kept for the next time.
fn clean_root(work: &Path, packages: &Path) -> Result<PathBuf> {
    let release = fs::read_to_string("/etc/os-release").context("/etc/os-release")?;
    let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let suite = suite.context("/etc/os-release names no VERSION_CODENAME")?;
    // For the users of sysusers.d and the directories of tmpfiles.d.
    let mut wanted = vec!["systemd".to_owned(), "usr-is-merged".to_owned()];
    for (name, path) in files(packages)? {
        if is_package(&name) {
            wanted.extend(depends(&path)?);
        }
    }
    wanted.sort();
    wanted.dedup();
    let tar = work.join(format!("root-{suite}-{}.tar", wanted.join("+")));
    if !tar.exists() {
        let unfinished = work.join("root.tar");
        command::run(
            Command::new("mmdebstrap")
                .args(["--quiet", "--mode=root", "--variant=essential", "--format=tar"])
                // Otherwise a package with much of Perl merges /usr, and each file is written to
                // the disk before the next.
                .args(["--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", "--dpkgopt=force-unsafe-io"])
                .arg(format!("--include={}", wanted.join(",")))
                // Neither is read by anybody.
                .arg("--dpkgopt=path-exclude=/usr/share/locale/*")
                .arg(suite)
                .arg(&unfinished)
                .args(mirrors()),
        )?;
        fs::rename(&unfinished, &tar).context("cannot keep the root")?;
    }
    Ok(tar)
}

/// What apt of this machine gets Debian from; other sources of it are none of ours.
fn mirrors() -> Option<String> {
    ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list.d/ubuntu.sources"]
        .into_iter()
        .find(|file| Path::new(file).exists())
        .map(str::to_owned)
}

/// The names of the packages that a package depends on, but for ours.
fn depends(package: &Path) -> Result<Vec<String>> {
    let text = command::output(Command::new("dpkg-deb").arg("-f").arg(package).arg("Depends"))?;
    let names = text.trim().split(", ").filter_map(|one| one.split([' ', ':', '|']).next());
    Ok(names.filter(|name| !name.is_empty() && !name.starts_with("hc-")).map(str::to_owned).collect())
}

/// Runs inside the namespaces, as their first process.
pub(crate) fn inside(args: &[OsString]) -> Result<()> {
    let [root, bin, page_tests, shots] = args else { bail!("{INSIDE} is for `cargo xtask dist --check`") };
    ensure!(std::process::id() == 1, "{INSIDE} is for a private namespace of processes");
    let root = Path::new(root);
    for (kind, place) in [("proc", "proc"), ("tmpfs", "run")] {
        command::output(Command::new("mount").args(["-t", kind, kind]).arg(root.join(place)))?;
    }
    command::output(Command::new("mount").args(["--rbind", "/dev"]).arg(root.join("dev")))?;
    // The browser looks for its own processes.
    command::output(Command::new("mount").args(["-t", "proc", "proc", "/proc"]))?;
    // That is how scripts of packages find out that systemd runs.
    fs::create_dir_all(root.join("run/systemd/system"))?;
    walk::walk(&Machine { root, bin: bin.as_ref(), page_tests: page_tests.as_ref(), shots: shots.as_ref() })
}
