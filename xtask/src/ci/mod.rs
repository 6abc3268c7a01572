//! `cargo xtask ci`: every check of the project as a list of steps, cheap ones first.

mod graph;
mod package;
mod report;
mod run;
pub(crate) mod tally;
mod units;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread::available_parallelism;

use anyhow::{Result, bail};
use clap::Args;
use clap::builder::PossibleValuesParser;

use self::tally::Tally;
use crate::setup::Need;
use crate::workspace::Workspace;
use crate::{api, build, chaos, command, dist, docs, integration, page, parity, proxy, sim};

/// One step: its group and name, what it shows, what it needs on the machine, and how it is done. A
/// step that runs tests returns their tally.
struct Step {
    group: &'static str,
    name: &'static str,
    shows: &'static str,
    needs: &'static [Need],
    load: Load,
    run: Run,
}

/// How much of the machine a step takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    /// All of it: a compiler, or tests that run beside each other.
    Whole,
    /// About one processor.
    Part,
}

enum Run {
    Check(fn(&Workspace) -> Result<()>),
    Tests(fn(&Workspace) -> Result<Tally>),
}

use Run::{Check, Tests};

const fn step(
    group: &'static str,
    name: &'static str,
    shows: &'static str,
    needs: &'static [Need],
    run: Run,
) -> Step {
    Step { group, name, shows, needs, load: Load::Whole, run }
}

impl Step {
    /// Others may run beside it.
    const fn beside_others(mut self) -> Self {
        self.load = Load::Part;
        self
    }
}

/// The groups are the jobs of `.github/workflows/ci.yml`, which run on machines of their own.
const STEPS: &[Step] = &[
    step("lint", "format", "rustfmt has nothing to change", &[], Check(format)),
    step("lint", "graph", "crates depend on each other as designed", &[], Check(graph)),
    step("lint", "deny", "licences, sources and duplicates of dependencies", &[Need::Deny], Check(deny)),
    step("lint", "units", "systemd units are valid and well confined", &[Need::Units], Check(units)),
    step(
        "lint",
        "clippy",
        "clippy has nothing to say, in the fuzz binary either",
        &[Need::Rust],
        Check(clippy),
    ),
    step(
        "lint",
        "docs",
        "crates and pages are documented, and every command of a page runs",
        docs::NEEDS,
        Check(docs),
    ),
    step("lint", "api", "the public API is the one in docs/api", &[Need::Rust], Check(api::check)),
    step(
        "lint",
        "package",
        "what would be published compiles by itself",
        &[Need::Rust, Need::Package],
        Check(package::check),
    ),
    step("test", "test", "Rust tests, wire examples and documentation examples", TEST_NEEDS, Tests(test)),
    step("go", "proxy-lint", "gofmt and go vet have nothing to say", proxy::NEEDS, Check(proxy::lint))
        .beside_others(),
    step(
        "go",
        "proxy-test",
        "Go tests with the race detector, wire examples",
        proxy::NEEDS,
        Tests(proxy::test),
    )
    .beside_others(),
    step(
        "e2e",
        "integration",
        "the whole chain against real servers and the real engine",
        integration::NEEDS,
        Tests(integration),
    )
    .beside_others(),
    step("e2e", "page", "the page in Chromium, its types and its contrasts", page::NEEDS, Tests(page::test))
        .beside_others(),
    step(
        "e2e",
        "dist",
        "the packages from installation to purge, on the page and behind Seesaw's engine",
        dist::WALK_NEEDS,
        Check(dist::quick),
    )
    .beside_others(),
    step(
        "e2e",
        "parity",
        "verdicts, requests and programs agree with Seesaw's own",
        parity::NEEDS,
        Check(parity::quick),
    )
    .beside_others(),
    step(
        "slow",
        "sim",
        "100 hours of trouble in virtual time break no invariant",
        sim::NEEDS,
        Check(sim::quick),
    )
    .beside_others(),
    step(
        "slow",
        "chaos",
        "nothing false and nothing lost while programs die and starve",
        chaos::NEEDS,
        Tests(chaos::quick),
    )
    .beside_others(),
];

/// The tests start the whole chain, and real servers; xtask's own check units.
const TEST_NEEDS: &[Need] = &[Need::Rust, Need::Go, Need::Servers, Need::Units];

/// Which steps `cargo xtask ci` runs.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Run the steps after one that failed, too.
    #[arg(long)]
    keep_going: bool,
    /// Name the steps and end.
    #[arg(long)]
    list: bool,
    /// How many steps that leave the machine idle for most of their time may run at a time
    /// [default: 2, or 1 on a machine with one processor].
    #[arg(long, value_name = "NUMBER")]
    jobs: Option<NonZeroUsize>,
    /// Write how the one step went here, for the process that runs the others.
    #[arg(long, value_name = "FILE", hide = true)]
    report: Option<PathBuf>,
    /// The steps, or groups of steps, to run [default: all].
    #[arg(value_name = "STEP", value_parser = PossibleValuesParser::new(names()))]
    steps: Vec<String>,
}

impl Options {
    fn jobs(&self) -> usize {
        let processors = || available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.jobs.unwrap_or_else(|| processors().min(MOST_JOBS)).get()
    }
}

/// Each of them runs several programs at a time.
const MOST_JOBS: NonZeroUsize = NonZeroUsize::new(2).expect("it is not 0");

/// The names of all groups and steps, each once.
fn names() -> BTreeSet<&'static str> {
    STEPS.iter().flat_map(|step| [step.group, step.name]).collect()
}

/// `cargo xtask ci`.
pub(crate) fn main(options: &Options) -> Result<()> {
    if options.list {
        STEPS.iter().for_each(|step| println!("{:5} {:12} {}", step.group, step.name, step.shows));
        return Ok(());
    }
    let wanted = |step: &&Step| {
        options.steps.is_empty()
            || options.steps.iter().any(|name| [step.group, step.name].contains(&name.as_str()))
    };
    let steps: Vec<&Step> = STEPS.iter().filter(wanted).collect();
    let workspace = Workspace::load()?;
    if let (Some(file), [step]) = (&options.report, &*steps) {
        return run::here(&workspace, step).write(file);
    }
    // Steps that are named are mostly one, and that is watched.
    let jobs = if steps.len() == 1 { 1 } else { options.jobs() };
    let report = run::all(&workspace, &steps, jobs, options.keep_going)?;
    report.print();
    report.verdict()
}

fn format(workspace: &Workspace) -> Result<()> {
    command::run(workspace.cargo().args(["fmt", "--all", "--check"]))
}

fn graph(workspace: &Workspace) -> Result<()> {
    let violations = graph::violations(workspace.metadata());
    if !violations.is_empty() {
        bail!("{}", violations.join("\n"));
    }
    Ok(())
}

fn deny(workspace: &Workspace) -> Result<()> {
    // The database of advisories is fetched from elsewhere; the workflow has a step of its own for
    // it.
    command::run(workspace.cargo().args(["deny", "--workspace", "check", "bans", "licenses", "sources"]))
}

fn units(workspace: &Workspace) -> Result<()> {
    units::check(&workspace.root().join("packaging/systemd"))
}

/// What every command that compiles the whole workspace selects. Equal words, so that nothing is
/// compiled twice.
pub(crate) const EVERYTHING: &[&str] = &["--workspace", "--all-features", "--locked"];

fn clippy(workspace: &Workspace) -> Result<()> {
    command::run(workspace.cargo().arg("clippy").args(EVERYTHING).args([
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

fn test(workspace: &Workspace) -> Result<Tally> {
    // Once, and not by each file of tests that starts the chain.
    build::go_programs(workspace)?;
    build::etcd(workspace)?;
    tally::cargo_tests(workspace, EVERYTHING, TESTS_AT_ONCE)
}

/// How many test programs run at a time; each has as many threads as there are processors.
const TESTS_AT_ONCE: usize = 2;

fn docs(workspace: &Workspace) -> Result<()> {
    command::run(
        workspace.cargo().arg("doc").args(EVERYTHING).arg("--no-deps").env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    docs::check(workspace)
}

fn integration(workspace: &Workspace) -> Result<Tally> {
    integration::test(workspace, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workflow_has_a_job_for_each_group() {
        let workflow = include_str!("../../../.github/workflows/ci.yml");
        let groups =
            workflow.lines().find_map(|line| line.trim().strip_prefix("group: [")?.strip_suffix(']'));
        let jobs: BTreeSet<&str> = groups.unwrap().split(", ").collect();
        assert_eq!(jobs, STEPS.iter().map(|step| step.group).collect());
    }
}
