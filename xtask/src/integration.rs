//! `cargo xtask integration`: the end-to-end tests, in a network namespace of their own.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build::{self, Profile};
use crate::ci::tally::{self, Tally};
use crate::command;
use crate::go::go;
use crate::setup::{self, Need};
use crate::workspace::Workspace;

/// The command by which we run ourselves again inside the namespaces. Not for people.
pub(crate) const INSIDE: &str = "inside-namespace";

/// What [`test()`] needs.
pub(crate) const NEEDS: &[Need] = &[Need::Rust, Need::Go, Need::Cgo, Need::Servers];

/// `cargo xtask integration`.
pub(crate) fn main(filter: Option<&str>) -> Result<()> {
    let workspace = Workspace::load()?;
    setup::ensure(&workspace, NEEDS)?;
    let tally = test(&workspace, filter)?;
    tally.print();
    tally.verdict()
}

/// How many tests run at a time. Most of each is waiting: for intervals of checks, and for the
/// engine's snapshots.
const AT_ONCE: usize = 3;

/// Builds what the tests run and runs those whose name matches `filter`, a regular expression as
/// `go test -run` takes.
pub(crate) fn test(workspace: &Workspace, filter: Option<&str>) -> Result<Tally> {
    crate::need_root("integration")?;
    build::all(workspace, Profile::Dev)?;
    build::seesaw_programs(workspace)?;
    each(workspace, "e2e", filter, &[], AT_ONCE)
}

/// Runs each test of a Go package of `proxy/seesawtest` with the programs of `target/bin`, in
/// network and mount namespaces of its own, `at_once` at a time. `flags` go to the test program.
///
/// All tests use the same ports, and the engine has one that no setting changes. Go builds the
/// tests out here, where it has its caches and the network; only the finished test program goes
/// into the namespaces, by way of [`inside`].
pub(crate) fn each(
    workspace: &Workspace,
    package: &str,
    filter: Option<&str>,
    flags: &[String],
    at_once: usize,
) -> Result<Tally> {
    let program = workspace.target().join(package).with_extension("test");
    let directory = format!("./{package}");
    command::run(go(&workspace.seesawtest()).args(["test", "-c", "-o"]).arg(&program).arg(directory))?;
    let (names, rest) = parts(filter);
    let ready = |command: &mut Command| {
        command.env("HC_BIN", workspace.bin()).current_dir(workspace.seesawtest().join(package));
    };
    let mut list = in_namespaces(&program)?;
    list.arg(format!("-test.list={names}"));
    ready(&mut list);
    let listed = command::output(&mut list)?;
    let commands = listed
        .lines()
        .filter(|line| line.starts_with("Test"))
        .map(|name| {
            let mut command = go(workspace.root());
            command.args(["tool", "test2json", "-t", "-p", package]).args(namespace_words()?).arg(&program);
            command.args(["-test.v=test2json", "-test.timeout=20m"]).arg(format!("-test.run=^{name}${rest}"));
            command.args(flags);
            ready(&mut command);
            Ok((name.to_owned(), command))
        })
        .collect::<Result<Vec<_>>>()?;
    tally::go_tests(commands, at_once)
}

/// What a filter says of the names of tests, and what of those of their parts, as in
/// `TestMarks/reset`.
fn parts(filter: Option<&str>) -> (&str, &str) {
    let filter = filter.unwrap_or(".");
    filter.split_at(filter.find('/').unwrap_or(filter.len()))
}

/// The command that runs `program` in network and mount namespaces of its own.
pub(crate) fn in_namespaces(program: &Path) -> Result<Command> {
    let words = namespace_words()?;
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg(program);
    Ok(command)
}

/// The words before a program that run it there.
pub(crate) fn namespace_words() -> Result<Vec<String>> {
    let us = our_program()?;
    let mut command = ["unshare", "--net", "--mount"].map(str::to_owned).to_vec();
    command.extend([us, INSIDE.to_owned()]);
    // What must be left behind; see below.
    command.extend([namespace("net")?, namespace("mnt")?]);
    Ok(command)
}

/// Runs inside the fresh namespaces: makes the loopback interface and `/run` usable, then becomes
/// the program.
///
/// `/run` is an empty one of the program's own, so that the engine's directories and the servers'
/// process files neither touch nor outlive anything on the machine. To do that outside would be
/// bad, so the caller says which namespaces it came from, and we do nothing in the same ones.
pub(crate) fn inside(args: Vec<OsString>) -> Result<()> {
    let mut argv = args.into_iter();
    for kind in ["net", "mnt"] {
        let outside = argv.next().context("the namespaces outside are needed")?;
        if *outside == *namespace(kind)? {
            bail!("{INSIDE} is for a private {kind} namespace; `cargo xtask integration` makes one");
        }
    }
    let program = argv.next().context("a program to run is needed")?;
    command::output(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    command::output(Command::new("mount").args(["-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run"]))?;
    let error = Command::new(&program).args(argv).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

/// The file of our own program.
pub(crate) fn our_program() -> Result<String> {
    let us = std::env::current_exe().context("cannot find our own program")?;
    let us = us.to_str().context("the path of our own program is not UTF-8")?;
    // So the kernel names a program whose file was replaced while it ran, as cargo does when it
    // builds us again.
    Ok(us.trim_end_matches(" (deleted)").to_owned())
}

/// The name of the namespace of this kind that we are in.
fn namespace(kind: &str) -> Result<String> {
    let link = format!("/proc/self/ns/{kind}");
    let name = std::fs::read_link(&link).with_context(|| format!("cannot read {link}"))?;
    Ok(name.to_string_lossy().into_owned())
}
