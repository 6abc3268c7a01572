//! `cargo xtask ci`: every check of the project as a list of steps, cheap ones first.

mod graph;
mod package;
pub(crate) mod tally;
mod units;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use clap::builder::PossibleValuesParser;

use self::tally::Tally;
use crate::setup::{self, Need};
use crate::workspace::Workspace;
use crate::{api, build, chaos, command, dist, docs, integration, page, parity, proxy, sim};

/// One step: its group and name, what it shows, what it needs on the machine, and how it is done. A
/// step that runs tests returns their tally.
struct Step {
    group: &'static str,
    name: &'static str,
    shows: &'static str,
    needs: &'static [Need],
    run: Run,
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
    Step { group, name, shows, needs, run }
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
    step("go", "proxy-lint", "gofmt and go vet have nothing to say", proxy::NEEDS, Check(proxy::lint)),
    step(
        "go",
        "proxy-test",
        "Go tests with the race detector, wire examples",
        proxy::NEEDS,
        Tests(proxy::test),
    ),
    step(
        "e2e",
        "integration",
        "the whole chain against real servers and the real engine",
        integration::NEEDS,
        Tests(integration),
    ),
    step("e2e", "page", "the page in Chromium, its types and its contrasts", page::NEEDS, Tests(page::test)),
    step(
        "e2e",
        "dist",
        "the packages from installation to purge, on the page and behind Seesaw's engine",
        dist::WALK_NEEDS,
        Check(dist::quick),
    ),
    step(
        "e2e",
        "parity",
        "verdicts, requests and programs agree with Seesaw's own",
        parity::NEEDS,
        Check(parity::quick),
    ),
    step(
        "slow",
        "sim",
        "200 hours of trouble in virtual time break no invariant",
        sim::NEEDS,
        Check(sim::quick),
    ),
    step(
        "slow",
        "chaos",
        "nothing false and nothing lost while programs die and starve",
        chaos::NEEDS,
        Tests(chaos::quick),
    ),
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
    /// The steps, or groups of steps, to run [default: all].
    #[arg(value_name = "STEP", value_parser = PossibleValuesParser::new(names()))]
    steps: Vec<String>,
}

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
    let report = run(&workspace, &steps, options.keep_going);
    report.print();
    report.verdict()
}

/// How a step went.
struct Done {
    name: &'static str,
    took: Duration,
    /// Processor time of the programs that it ran, on all processors.
    cpu: Duration,
    error: Option<anyhow::Error>,
}

#[derive(Default)]
struct Report {
    done: Vec<Done>,
    left_out: usize,
    /// The sum of all steps that run tests, if there were any.
    tally: Option<Tally>,
}

#[allow(clippy::disallowed_methods, reason = "we show how long steps take")]
fn run(workspace: &Workspace, steps: &[&Step], keep_going: bool) -> Report {
    let mut report = Report::default();
    for (index, step) in steps.iter().enumerate() {
        println!("\n=== {} ({} of {}): {}", step.name, index + 1, steps.len(), step.shows);
        let (begin, cpu) = (Instant::now(), cpu_of_children());
        let result = report.step(workspace, step);
        let (took, cpu) = (begin.elapsed(), cpu_of_children().saturating_sub(cpu));
        match &result {
            Ok(()) => println!("=== {}: ok, {}", step.name, seconds(took)),
            // The reason in full stands at the end.
            Err(error) => {
                let error = format!("{error:#}");
                let reason = error.lines().next().unwrap_or_default();
                println!("=== {}: FAILED, {}: {reason}", step.name, seconds(took));
            }
        }
        let failed = result.is_err();
        report.done.push(Done { name: step.name, took, cpu, error: result.err() });
        if failed && !keep_going {
            report.left_out = steps.len() - index - 1;
            break;
        }
    }
    report
}

impl Report {
    /// Runs a step on a machine that has what it needs. One that lacks it and cannot get it fails
    /// this step alone.
    fn step(&mut self, workspace: &Workspace, step: &Step) -> Result<()> {
        setup::ensure(workspace, step.needs)?;
        match step.run {
            Run::Check(check) => check(workspace),
            Run::Tests(tests) => {
                let all = self.tally.get_or_insert_default();
                let tally = tests(workspace)?;
                let verdict = tally.verdict();
                *all += tally;
                verdict
            }
        }
    }

    /// The end of the output is what people and machines read: steps, what failed, results of the
    /// test runners, totals.
    fn print(&self) {
        println!("\n=== results");
        println!("{:12} {:6} {:>8} {:>10}", "step", "", "took", "processor");
        for done in &self.done {
            let word = if done.error.is_some() { "FAILED" } else { "ok" };
            println!("{:12} {word:6} {:>8} {:>10}", done.name, seconds(done.took), seconds(done.cpu));
        }
        if self.left_out > 0 {
            println!("{} more steps were not run after the failure (--keep-going runs them)", self.left_out);
        }
        let total = self.done.iter().map(|done| done.took).sum();
        let cpu = self.done.iter().map(|done| done.cpu).sum();
        println!("{:12} {:6} {:>8} {:>10}\n", "all", "", seconds(total), seconds(cpu));
        for done in &self.done {
            if let Some(error) = &done.error {
                println!("{} failed: {error:#}", done.name);
            }
        }
        if let Some(tally) = &self.tally {
            tally.print();
        }
    }

    fn verdict(&self) -> Result<()> {
        let failed: Vec<&str> =
            self.done.iter().filter(|done| done.error.is_some()).map(|done| done.name).collect();
        if !failed.is_empty() {
            bail!("failed: {}", failed.join(", "));
        }
        Ok(())
    }
}

/// Processor time of all children that have ended and were waited for, and of theirs. Zero where
/// the kernel does not say.
fn cpu_of_children() -> Duration {
    /// `USER_HZ` is 100 on every Linux.
    const TICK: Duration = Duration::from_millis(10);

    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, which is field 2, may hold spaces. `cutime` and `cstime` are the fields 16 and 17 of
    // proc(5), so the 14th and 15th behind it.
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields.split(' ').skip(13).take(2));
    fields.into_iter().flatten().filter_map(|ticks| ticks.parse::<u32>().ok()).map(|ticks| TICK * ticks).sum()
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
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
    fn processor_time_of_children_grows() {
        let before = cpu_of_children();
        let spin = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        assert!(std::process::Command::new("sh").args(["-c", spin]).status().unwrap().success());
        assert!(cpu_of_children() > before);
    }

    #[test]
    fn workflow_has_a_job_for_each_group() {
        let workflow = include_str!("../../../.github/workflows/ci.yml");
        let groups =
            workflow.lines().find_map(|line| line.trim().strip_prefix("group: [")?.strip_suffix(']'));
        let jobs: BTreeSet<&str> = groups.unwrap().split(", ").collect();
        assert_eq!(jobs, STEPS.iter().map(|step| step.group).collect());
    }
}
