//! `cargo xtask chaos`: real programs are killed, stopped and starved in a network namespace of their own, while a judge
//! holds every word that the engine hears against the truth.

use anyhow::Result;
use clap::Args;

use crate::build::{self, Profile};
use crate::ci::tally::{self, Tally};
use crate::integration;
use crate::setup::{self, Need};
use crate::workspace::Workspace;

/// What [`run`] needs.
pub(crate) const NEEDS: &[Need] = &[Need::Rust, Need::Go, Need::Cgo, Need::Servers];

/// What `cargo xtask chaos` runs.
#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// A minute or two of everything but the soak, on programs that are built without optimisation.
    #[arg(long)]
    quick: bool,
    #[arg(long)]
    rounds: Option<u32>,
    #[arg(long)]
    seed: Option<u64>,
    /// Add a soak of this length, as `30m`.
    #[arg(long, value_name = "LENGTH")]
    soak: Option<String>,
    /// Run only the tests whose names match, as `go test -run` takes it.
    filter: Option<String>,
}

impl Options {
    /// As the test program takes them.
    fn flags(&self) -> Vec<String> {
        let valued = [
            ("-rounds", self.rounds.map(|rounds| rounds.to_string())),
            ("-seed", self.seed.map(|seed| seed.to_string())),
            ("-soak", self.soak.clone()),
        ];
        let quick = self.quick.then(|| "-quick".to_owned());
        let valued = valued.into_iter().filter_map(|(flag, value)| Some(format!("{flag}={}", value?)));
        quick.into_iter().chain(valued).collect()
    }
}

/// `cargo xtask chaos`.
pub(crate) fn main(options: &Options) -> Result<()> {
    let workspace = Workspace::load()?;
    setup::ensure(&workspace, NEEDS)?;
    let tally = run(&workspace, options)?;
    tally.print();
    tally.verdict()
}

/// What `cargo xtask ci` runs.
pub(crate) fn quick(workspace: &Workspace) -> Result<Tally> {
    run(workspace, &Options { quick: true, ..Options::default() })
}

/// Builds the programs and the tests out here, where the caches are, and runs the tests inside.
fn run(workspace: &Workspace, options: &Options) -> Result<Tally> {
    crate::need_root("chaos")?;
    build::all(workspace, if options.quick { Profile::Dev } else { Profile::Release })?;
    let mut command = integration::tests(workspace, "./chaos", options.filter.as_deref())?;
    command.arg("-timeout=0").arg("-args").args(options.flags());
    tally::go_test(&mut command)
}
