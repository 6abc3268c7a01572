//! `cargo xtask dist`: what is handed to others: a tarball, Debian packages, a list of what is in
//! them, and checksums.
//!
//! The same commit gives the same bytes, in whatever directory it is built: paths are mapped away,
//! times are that of the commit, and archives are sorted and belong to root. `--reproduce` shows
//! it.

mod check;
mod debian;
mod programs;
mod sbom;
mod systemctl;
mod walk;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum as _};

use crate::build::Profile;
use crate::command;
use crate::integration::our_program;
use crate::setup::{self, Need};
use crate::workspace::Workspace;

pub(crate) use self::check::{INSIDE, inside};
pub(crate) use self::systemctl::{is_systemctl, stand_in};

/// What the packages and their test need.
pub(crate) const NEEDS: &[Need] = &[Need::Rust, Need::Go, Need::Dist];

/// What the walk needs beside that: a browser, real servers, and Seesaw's engine.
pub(crate) const WALK_NEEDS: &[Need] =
    &[Need::Rust, Need::Go, Need::Dist, Need::Browser, Need::Servers, Need::Cgo];

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How much the compiler optimises. `dev` takes the programs that are built anyway, for tests
    /// of the packages.
    #[arg(long, value_enum, default_value = "release")]
    profile: Profile,
    /// Walk with the packages through a clean root, from their installation to their purge, the page
    /// open in a browser; then the same behind Seesaw's engine (root)
    #[arg(long)]
    check: bool,
    /// Build the committed state twice, in two directories, and compare every byte
    #[arg(long, conflicts_with = "check")]
    reproduce: bool,
}

/// `cargo xtask dist`.
pub(crate) fn main(options: &Options) -> Result<()> {
    let workspace = Workspace::load()?;
    if options.check {
        crate::need_root("dist --check")?;
    }
    setup::ensure(&workspace, if options.check { WALK_NEEDS } else { NEEDS })?;
    if options.reproduce {
        return reproduce(&workspace, options.profile);
    }
    let made = make(&workspace, options.profile)?;
    if options.check {
        check::packages(&workspace, &made)?;
    }
    println!("{} has:", made.directory.display());
    for file in files(&made.directory)?.keys() {
        println!("  {file}");
    }
    Ok(())
}

/// The step of CI: packages of the programs that the other steps have built, looked at and tried
/// out.
pub(crate) fn quick(workspace: &Workspace) -> Result<()> {
    crate::need_root("ci dist")?;
    let made = make(workspace, Profile::Dev)?;
    check::packages(workspace, &made)
}

/// What was made.
struct Made {
    /// Where it is.
    directory: PathBuf,
}

fn make(workspace: &Workspace, profile: Profile) -> Result<Made> {
    let work = workspace.target().join("dist");
    let (directory, stage) = (work.join("out"), work.join("stage"));
    for directory in [&directory, &stage] {
        remove(directory)?;
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    let epoch = epoch(workspace)?;
    let bin = programs::build(workspace, profile, epoch)?;
    stage_files(workspace, &bin, &stage)?;
    let sbom = serde_json::to_string_pretty(&sbom::cyclone_dx(workspace, epoch)?)? + "\n";
    fs::write(stage.join("sbom.cdx.json"), &sbom).context("cannot write the SBOM")?;
    let name = format!("hc-{}-{}-linux-gnu", version(), std::env::consts::ARCH);
    fs::write(directory.join(format!("{name}.cdx.json")), sbom).context("cannot write the SBOM")?;
    tarball(&stage, &name, &directory, epoch, profile)?;
    debian::build(workspace, &stage, debian::Release { version: version(), epoch }, profile, &directory)?;
    debian::lint(&directory)?;
    checksums(&directory)?;
    Ok(Made { directory })
}

/// The version of all our programs.
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// The time that everything is dated by: `SOURCE_DATE_EPOCH`, or that of the commit.
fn epoch(workspace: &Workspace) -> Result<u64> {
    if let Ok(set) = std::env::var("SOURCE_DATE_EPOCH") {
        return set.parse().with_context(|| format!("SOURCE_DATE_EPOCH={set} is not a number of seconds"));
    }
    let time = command::output(git(workspace).args(["log", "-1", "--format=%ct"]))
        .context("the time of the commit is not to be had: set SOURCE_DATE_EPOCH")?;
    time.trim().parse().context("git names no time of the commit")
}

fn git(workspace: &Workspace) -> Command {
    let mut git = Command::new("git");
    git.arg("-C").arg(workspace.root());
    git
}

/// Puts everything that is packed into one directory.
fn stage_files(workspace: &Workspace, bin: &Path, stage: &Path) -> Result<()> {
    for (from, to) in [
        (bin.join("hc-server"), "bin/hc-server"),
        (bin.join("hc-proxy"), "bin/hc-proxy"),
        (bin.join("hcctl"), "bin/hcctl"),
    ] {
        copy(&from, &stage.join(to))?;
    }
    for from in ["LICENSE", "README.md", "CHANGELOG.md", "packaging/hc-server.toml"] {
        let name = Path::new(from).file_name().unwrap_or_default();
        copy(&workspace.root().join(from), &stage.join(name))?;
    }
    for (from, to) in [
        ("docs", "docs"),
        ("packaging/man", "man"),
        ("packaging/systemd", "systemd"),
        ("packaging/sysusers.d", "sysusers.d"),
        ("packaging/tmpfiles.d", "tmpfiles.d"),
        ("packaging/default", "default"),
        ("packaging/seesaw", "examples"),
        ("packaging/grafana", "grafana"),
    ] {
        copy_tree(&workspace.root().join(from), &stage.join(to))?;
    }
    copy(
        &workspace.root().join("packaging/tmpfiles.d/seesaw-hc.conf"),
        &stage.join("examples/seesaw-hc.conf"),
    )?;
    // Without the tests of the rules.
    for name in ["hc-server.rules.yml", "scrape.yml"] {
        copy(
            &workspace.root().join("packaging/prometheus").join(name),
            &stage.join("prometheus").join(name),
        )?;
    }
    let hcctl = stage.join("bin/hcctl");
    command::output(Command::new(&hcctl).arg("man").arg(stage.join("man")))?;
    fs::create_dir_all(stage.join("completions"))?;
    for (shell, name) in [("bash", "hcctl"), ("zsh", "_hcctl"), ("fish", "hcctl.fish")] {
        let completions = command::output(Command::new(&hcctl).args(["completions", shell]))?;
        fs::write(stage.join("completions").join(name), completions)?;
    }
    Ok(())
}

/// Packs the staged files, always in the same way.
fn tarball(stage: &Path, name: &str, directory: &Path, epoch: u64, profile: Profile) -> Result<()> {
    // What is for a test need not be small.
    let level = if profile == Profile::Dev { 1 } else { 9 };
    let file = directory.join(format!("{name}.tar.gz"));
    command::run(
        Command::new("tar")
            .args(["--create", "--sort=name", "--format=gnu", "--owner=0", "--group=0", "--numeric-owner"])
            .args(["--mode=u=rwX,go=rX"])
            .arg(format!("--use-compress-program=gzip -n{level}"))
            .arg(format!("--mtime=@{epoch}"))
            .arg(format!("--transform=s,^\\.,{name},"))
            .arg(format!("--file={}", file.display()))
            .arg("--directory")
            .arg(stage)
            .arg("."),
    )
}

fn checksums(directory: &Path) -> Result<()> {
    let names: Vec<String> = files(directory)?.into_keys().collect();
    let sums = command::output(Command::new("sha256sum").arg("--").args(&names).current_dir(directory))?;
    fs::write(directory.join("SHA256SUMS"), sums).context("cannot write SHA256SUMS")
}

/// The files of a directory, by name.
fn files(directory: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    entries
        .map(|entry| {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok((name, path))
        })
        .collect()
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for (name, path) in files(from)? {
        if path.is_dir() { copy_tree(&path, &to.join(name))? } else { copy(&path, &to.join(name))? }
    }
    Ok(())
}

fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

/// Builds the committed state in two directories whose names are of different lengths, the second
/// time in another time zone, with another character set and another umask.
fn reproduce(workspace: &Workspace, profile: Profile) -> Result<()> {
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let epoch = epoch(workspace)?;
    let archive = directory.path().join("source.tar");
    command::run(git(workspace).args(["archive", "--format=tar", "HEAD", "-o"]).arg(&archive))?;
    let mut made = Vec::new();
    for (name, umask, zone, language) in
        [("first", "022", "UTC", "C"), ("another-one-elsewhere/second", "077", "Asia/Kathmandu", "C.UTF-8")]
    {
        let source = directory.path().join(name);
        fs::create_dir_all(&source)?;
        command::run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&source))?;
        let profile = profile.to_possible_value().context("a profile has a name")?;
        let mut build = Command::new("sh");
        build.args(["-c", &format!("umask {umask}; exec \"$@\""), "sh"]).arg(our_program()?);
        build.args(["dist", "--profile", profile.get_name()]).current_dir(&source);
        build.env("SOURCE_DATE_EPOCH", epoch.to_string()).env_remove("CARGO_TARGET_DIR");
        build.env("TZ", zone).env("LC_ALL", language);
        command::run(&mut build)?;
        made.push(files(&source.join("target/dist/out"))?);
    }
    let (second, first) = (made.pop().unwrap_or_default(), made.pop().unwrap_or_default());
    ensure!(first.keys().eq(second.keys()), "the two builds made other files: {first:?}, {second:?}");
    let mut differ = Vec::new();
    for ((name, first), second) in first.iter().zip(second.values()) {
        if fs::read(first)? != fs::read(second)? {
            differ.push(name.as_str());
        }
    }
    if !differ.is_empty() {
        // So that the two can be looked at.
        let kept = directory.keep();
        bail!("not reproducible: {}. Both builds are in {}", differ.join(", "), kept.display());
    }
    println!("{} files, the same bytes twice", first.len());
    Ok(())
}
