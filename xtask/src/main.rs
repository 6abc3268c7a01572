//! Builds, tests and demonstrates the whole project: `cargo xtask COMMAND`. One file a command, no
//! shell.
#![allow(clippy::print_stdout, reason = "a command line program talks on standard output")]

mod api;
mod bench;
mod build;
mod chaos;
mod ci;
mod command;
mod demo;
mod dist;
mod docs;
mod fuzz;
mod go;
mod integration;
mod page;
mod parity;
mod proxy;
mod reference;
mod setup;
mod sim;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;

/// Builds, tests and demonstrates the whole project. Programs are built into `bin` below the target
/// directory.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    after_help = "Exit 0: done; 1: failed; 2: wrong usage."
)]
enum Xtask {
    /// Install what is missing on this machine (as root), or say how
    Setup,
    /// Build every program into target/bin/
    Build {
        /// Build what is deployed.
        #[arg(long)]
        release: bool,
    },
    /// Run the whole chain with backends that die and come back; --for 20s ends it
    #[command(disable_help_flag = true)]
    Demo(Passed),
    /// Run every check of this project, or the named ones
    Ci(ci::Options),
    /// Build, test or check the Go side
    Proxy {
        #[arg(value_enum)]
        what: proxy::What,
    },
    /// Run the end-to-end tests in a network namespace of their own (root)
    Integration {
        /// Run only the tests whose names match, as `go test -run` takes it.
        filter: Option<String>,
    },
    /// Check the types of the page's scripts and run it in Chromium, in front of a real hc-server
    Page {
        /// Run only the tests whose names match.
        filter: Option<String>,
    },
    /// Kill, stop and starve the programs while backends flip (root)
    Chaos(chaos::Options),
    /// Simulate hours of trouble in virtual time, each from one seed; --help says more
    #[command(disable_help_flag = true)]
    Sim(Passed),
    /// Hold our probes and programs against Seesaw's own (root); --help says more
    #[command(disable_help_flag = true)]
    Parity(Passed),
    /// Run the benchmarks, or the named ones (root)
    Bench(Passed),
    /// Fuzz a target guided by coverage, or fold what was found into its kept corpus
    Fuzz(fuzz::Options),
    /// Make the tarball, the Debian packages, the list of what is in them and checksums
    Dist(dist::Options),
    /// Record the public API of every published library in docs/api
    Api {
        /// Change nothing, and fail if the API is not the recorded one.
        #[arg(long)]
        check: bool,
    },
    /// Build the pages of docs/ as a site, by mdbook
    Docs {
        /// Build nothing; run every console block, and check links, log lines, alerts and the
        /// dashboard (root).
        #[arg(long)]
        check: bool,
    },
    /// Write the pages of docs/ that are made from the programs
    Reference,
    #[command(name = integration::INSIDE, hide = true)]
    Inside(Passed),
    #[command(name = dist::INSIDE, hide = true)]
    DistInside(Passed),
}

/// Arguments of the program that the command runs.
#[derive(Debug, clap::Args)]
struct Passed {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    if dist::is_systemctl(args.next()) {
        return dist::stand_in(args.filter_map(|arg| arg.into_string().ok()));
    }
    match run(Xtask::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Xtask) -> Result<()> {
    match command {
        Xtask::Setup => setup::main(),
        Xtask::Build { release } => build::main(release),
        Xtask::Demo(Passed { args }) => demo::main(&args),
        Xtask::Ci(options) => ci::main(&options),
        Xtask::Proxy { what } => proxy::main(what),
        Xtask::Integration { filter } => integration::main(filter.as_deref()),
        Xtask::Page { filter } => page::main(filter.as_deref()),
        Xtask::Chaos(options) => chaos::main(&options),
        Xtask::Sim(Passed { args }) => sim::main(&args),
        Xtask::Parity(Passed { args }) => parity::main(&args),
        Xtask::Bench(Passed { args }) => bench::main(&args),
        Xtask::Fuzz(options) => fuzz::main(options),
        Xtask::Dist(options) => dist::main(&options),
        Xtask::Api { check } => api::main(check),
        Xtask::Docs { check } => docs::main(check),
        Xtask::Reference => reference::main(),
        Xtask::Inside(Passed { args }) => integration::inside(args),
        Xtask::DistInside(Passed { args }) => dist::inside(&args),
    }
}

/// An error unless we are root, which `what` needs for namespaces, marks and raw sockets.
fn need_root(what: &str) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("`cargo xtask {what}` needs root, for a network namespace, socket marks and raw sockets");
    }
    Ok(())
}
