//! `cargo xtask ci`: every check of the project as a list of steps, cheap ones first.

mod graph;
mod package;
pub(crate) mod tally;
mod units;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use lexopt::Arg;

use self::tally::Tally;
use crate::setup::{self, Purpose};
use crate::workspace::Workspace;
use crate::{WrongUsage, chaos, command, integration, parity, proxy, sim};

/// One step: its name, what it shows, and how it is done. A step without tests returns an empty tally.
struct Step {
    name: &'static str,
    shows: &'static str,
    run: fn(&Workspace) -> Result<Tally>,
}

const STEPS: &[Step] = &[
    Step { name: "format", shows: "rustfmt has nothing to change", run: format },
    Step { name: "graph", shows: "crates depend on each other as designed", run: graph },
    Step { name: "deny", shows: "licences, sources and duplicates of dependencies", run: deny },
    Step { name: "units", shows: "systemd units are valid and well confined", run: units },
    Step { name: "proxy-lint", shows: "gofmt and go vet have nothing to say", run: proxy_lint },
    Step { name: "clippy", shows: "clippy has nothing to say", run: clippy },
    Step { name: "test", shows: "Rust tests, wire examples and documentation examples", run: test },
    Step { name: "docs", shows: "the documentation of every crate builds", run: docs },
    Step { name: "proxy-test", shows: "Go tests with the race detector, wire examples", run: proxy::test },
    Step { name: "package", shows: "what would be published builds by itself", run: package },
    Step { name: "sim", shows: "200 hours of trouble in virtual time break no invariant", run: simulation },
    Step {
        name: "integration",
        shows: "the whole chain against real servers and the real engine",
        run: integration,
    },
    Step { name: "parity", shows: "verdicts, requests and programs agree with Seesaw's own", run: parity },
    Step { name: "chaos", shows: "nothing false and nothing lost while programs die and starve", run: chaos },
];

/// `cargo xtask ci`.
pub(crate) fn main(mut args: lexopt::Parser) -> Result<()> {
    let mut keep_going = false;
    let mut steps: Vec<&Step> = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("keep-going") => keep_going = true,
            Arg::Long("list") => {
                for step in STEPS {
                    println!("{:12} {}", step.name, step.shows);
                }
                return Ok(());
            }
            Arg::Value(name) => match STEPS.iter().find(|step| name == step.name) {
                Some(step) => steps.push(step),
                None => bail!(WrongUsage(format!("ci: there is no step {name:?}; --list names them"))),
            },
            other => return Err(other.unexpected().into()),
        }
    }
    if steps.is_empty() {
        steps = STEPS.iter().collect();
    }
    let workspace = Workspace::load()?;
    setup::ensure(&workspace, Purpose::Ci)?;
    let report = run(&workspace, &steps, keep_going);
    report.print();
    report.verdict()
}

/// How a step went.
struct Done {
    name: &'static str,
    took: Duration,
    error: Option<anyhow::Error>,
}

struct Report {
    done: Vec<Done>,
    left_out: usize,
    tally: Tally,
    /// Whether a step that has tests was among them.
    tests_wanted: bool,
}

#[allow(clippy::disallowed_methods, reason = "we show how long steps take")]
fn run(workspace: &Workspace, steps: &[&Step], keep_going: bool) -> Report {
    let mut report = Report {
        done: Vec::new(),
        left_out: 0,
        tally: Tally::default(),
        tests_wanted: steps.iter().any(|step| ["test", "proxy-test", "integration"].contains(&step.name)),
    };
    for (index, step) in steps.iter().enumerate() {
        println!("\n=== {} ({} of {}): {}", step.name, index + 1, steps.len(), step.shows);
        let begin = Instant::now();
        let result = (step.run)(workspace).and_then(|tally| {
            report.tally += tally.clone();
            tally.failures()
        });
        let took = begin.elapsed();
        match &result {
            Ok(()) => println!("=== {}: ok, {}", step.name, seconds(took)),
            // The reason in full stands at the end.
            Err(error) => {
                let error = format!("{error:#}");
                println!(
                    "=== {}: FAILED, {}: {}",
                    step.name,
                    seconds(took),
                    error.lines().next().unwrap_or_default()
                );
            }
        }
        let failed = result.is_err();
        report.done.push(Done { name: step.name, took, error: result.err() });
        if failed && !keep_going {
            report.left_out = steps.len() - index - 1;
            break;
        }
    }
    report
}

impl Report {
    /// The end of the output is what people and machines read: results of the test runners, steps, totals.
    fn print(&self) {
        println!("\n=== results");
        for line in &self.tally.lines {
            println!("{line}");
        }
        println!();
        for done in &self.done {
            let word = if done.error.is_some() { "FAILED" } else { "ok" };
            println!("{:12} {word:6} {:>8}", done.name, seconds(done.took));
        }
        if self.left_out > 0 {
            println!("{} more steps were not run after the failure (--keep-going runs them)", self.left_out);
        }
        let total = self.done.iter().map(|done| done.took).sum();
        println!("{:12} {:6} {:>8}\n", "all", "", seconds(total));
        for done in &self.done {
            if let Some(error) = &done.error {
                println!("{} failed: {error:#}", done.name);
            }
        }
        if !self.tally.said.is_empty() {
            println!("what failed tests said last:\n{}", command::indented(&self.tally.said));
        }
        if self.tests_wanted {
            println!("{}", self.tally);
        }
    }

    fn verdict(&self) -> Result<()> {
        let failed: Vec<&str> =
            self.done.iter().filter(|done| done.error.is_some()).map(|done| done.name).collect();
        if !failed.is_empty() {
            bail!("failed: {}", failed.join(", "));
        }
        if self.tests_wanted && self.tally.passed == 0 {
            bail!("no test ran");
        }
        Ok(())
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn format(workspace: &Workspace) -> Result<Tally> {
    command::run(workspace.cargo().args(["fmt", "--all", "--check"]))?;
    Ok(Tally::default())
}

fn graph(workspace: &Workspace) -> Result<Tally> {
    let violations = graph::violations(workspace.metadata());
    if !violations.is_empty() {
        bail!("{}", violations.join("\n"));
    }
    Ok(Tally::default())
}

fn deny(workspace: &Workspace) -> Result<Tally> {
    // The database of advisories is fetched from elsewhere; the workflow has a step of its own for it.
    command::run(workspace.cargo().args(["deny", "--workspace", "check", "bans", "licenses", "sources"]))?;
    Ok(Tally::default())
}

fn units(workspace: &Workspace) -> Result<Tally> {
    units::check(&workspace.root().join("packaging/systemd"))?;
    Ok(Tally::default())
}

fn clippy(workspace: &Workspace) -> Result<Tally> {
    command::run(workspace.cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))?;
    Ok(Tally::default())
}

fn proxy_lint(workspace: &Workspace) -> Result<Tally> {
    proxy::lint(workspace)?;
    Ok(Tally::default())
}

fn test(workspace: &Workspace) -> Result<Tally> {
    tally::cargo_test(workspace.cargo().args([
        "test",
        "--workspace",
        "--all-features",
        "--locked",
        "--no-fail-fast",
    ]))
}

fn docs(workspace: &Workspace) -> Result<Tally> {
    command::run(
        workspace
            .cargo()
            .args(["doc", "--workspace", "--all-features", "--no-deps", "--locked"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    Ok(Tally::default())
}

fn package(workspace: &Workspace) -> Result<Tally> {
    package::check(workspace)?;
    Ok(Tally::default())
}

fn simulation(workspace: &Workspace) -> Result<Tally> {
    sim::quick(workspace)?;
    Ok(Tally::default())
}

fn integration(workspace: &Workspace) -> Result<Tally> {
    integration::test(workspace, None)
}

fn parity(workspace: &Workspace) -> Result<Tally> {
    parity::quick(workspace)?;
    Ok(Tally::default())
}

fn chaos(workspace: &Workspace) -> Result<Tally> {
    chaos::quick(workspace)?;
    Ok(Tally::default())
}
