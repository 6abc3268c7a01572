//! Builds, tests and demonstrates the whole project: `cargo xtask COMMAND`. One file a command, no shell.
#![allow(clippy::print_stdout, reason = "a command line program talks on standard output")]

mod bench;
mod build;
mod chaos;
mod ci;
mod command;
mod demo;
mod fuzz;
mod go;
mod integration;
mod parity;
mod proxy;
mod setup;
mod sim;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};
use lexopt::Arg;

const USAGE: &str = "\
Usage: cargo xtask COMMAND

  setup                      install what is missing on this machine (as root), or say how
  build [--release]          build every program into target/bin/
  demo [--for 20s]           run the whole chain with backends that die and come back
  ci [--keep-going] [STEP…]  run every check of this project, or the named ones; --list names them
  proxy build|test|lint      build, test or check the Go side
  integration [FILTER]       run the end-to-end tests in a network namespace of their own (root)
  chaos [--quick] [--rounds N] [--soak 30m] [--seed N] [FILTER]
                             kill, stop and starve the programs while backends flip; --soak adds the soak (root)
  sim [--seeds N] [--start N] [--hours H] [--seed S --trace]
                             simulate hours of trouble in virtual time, each from one seed
  parity [--seed S] […]      hold our probes and programs against Seesaw's own; --help says more (root)
  bench [NAME…]              run the benchmarks (root)
  fuzz run|fold TARGET [-- libFuzzer options]
                             fuzz a target guided by coverage; fold what was found into its kept corpus

Programs are built into `bin` below the target directory. Exit 0: done; 1: failed; 2: wrong usage.
";

/// A command line that makes no sense: exit 2 and the usage, unlike a failure of the work itself.
#[derive(Debug)]
struct WrongUsage(String);

impl std::fmt::Display for WrongUsage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongUsage {}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<WrongUsage>() || error.is::<lexopt::Error>() => {
            eprintln!("xtask: {error}\n\n{USAGE}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut args = lexopt::Parser::from_env();
    let command = match args.next()? {
        Some(Arg::Value(command)) => command.to_string_lossy().into_owned(),
        Some(Arg::Short('h') | Arg::Long("help")) => {
            print!("{USAGE}");
            return Ok(());
        }
        Some(other) => return Err(other.unexpected().into()),
        None => bail!(WrongUsage("no command given".into())),
    };
    match command.as_str() {
        "setup" => setup::main(args),
        "build" => build::main(args),
        "demo" => demo::main(args),
        "ci" => ci::main(args),
        "chaos" => chaos::main(args),
        "sim" => sim::main(args),
        "proxy" => proxy::main(args),
        "bench" => bench::main(args),
        "fuzz" => fuzz::main(args),
        "parity" => parity::main(args),
        "integration" => integration::main(args),
        integration::INSIDE => integration::inside(args),
        other => bail!(WrongUsage(format!("there is no command `{other}`"))),
    }
}
