//! `cargo xtask chaos`: real programs are killed, stopped and starved in a network namespace of their own, while a judge
//! holds every word that the engine hears against the truth.

use anyhow::Result;
use clap::Args;

use crate::build::{self, Profile};
use crate::command;
use crate::go::go;
use crate::integration::in_namespaces;
use crate::setup::{self, Purpose};
use crate::workspace::Workspace;

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
    fn flags(self) -> Vec<String> {
        let valued = [
            ("-rounds", self.rounds.map(|rounds| rounds.to_string())),
            ("-seed", self.seed.map(|seed| seed.to_string())),
            ("-soak", self.soak),
            ("-test.run", self.filter),
        ];
        let quick = self.quick.then(|| "-quick".to_owned());
        let valued = valued.into_iter().filter_map(|(flag, value)| Some(format!("{flag}={}", value?)));
        quick.into_iter().chain(valued).collect()
    }
}

/// `cargo xtask chaos`.
pub(crate) fn main(options: Options) -> Result<()> {
    run(&Workspace::load()?, options)
}

/// What `cargo xtask ci` runs.
pub(crate) fn quick(workspace: &Workspace) -> Result<()> {
    run(workspace, Options { quick: true, ..Options::default() })
}

/// Builds the programs and the tests out here, where the caches are, and runs the tests inside.
fn run(workspace: &Workspace, options: Options) -> Result<()> {
    crate::need_root("chaos")?;
    setup::ensure(workspace, Purpose::Integration)?;
    build::all(workspace, if options.quick { Profile::Dev } else { Profile::Release })?;
    let program = workspace.target().join("chaos.test");
    command::run(go(&workspace.seesawtest()).args(["test", "-c", "-o"]).arg(&program).arg("./chaos"))?;
    command::run(
        in_namespaces(&program)?
            .arg("-test.timeout=0")
            .args(options.flags())
            .env("HC_BIN", workspace.bin())
            .current_dir(workspace.root()),
    )
}
