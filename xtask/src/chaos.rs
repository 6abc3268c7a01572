//! `cargo xtask chaos`: real programs are killed, stopped and starved in a network namespace of
//! their own, while a judge holds every word that the engine hears against the truth.

use anyhow::Result;
use clap::Args;

use crate::build::{self, Profile};
use crate::ci::tally::{self, Tally};
use crate::go::go;
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

/// How many tests run at a time in a quick run. What the judge asks for holds under load, too.
const AT_ONCE: usize = 2;

/// A quick run has a process for each test. Otherwise there is one for all, which ends with one
/// table of what was measured, and nothing runs beside it.
fn run(workspace: &Workspace, options: &Options) -> Result<Tally> {
    crate::need_root("chaos")?;
    build::all(workspace, if options.quick { Profile::Dev } else { Profile::Release })?;
    let filter = options.filter.as_deref();
    if options.quick {
        return integration::each(workspace, "chaos", filter, &options.flags(), AT_ONCE);
    }
    let into: Vec<String> = integration::namespace_words()?.iter().map(|word| format!("'{word}'")).collect();
    let mut command = go(&workspace.seesawtest());
    command.args(["test", "-json", "-count=1", "-timeout=0", "-exec", &into.join(" ")]);
    if let Some(filter) = filter {
        command.args(["-run", filter]);
    }
    command.args(["./chaos", "-args"]).args(options.flags()).env("HC_BIN", workspace.bin());
    tally::go_test(&mut command)
}
