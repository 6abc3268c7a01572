//! `cargo xtask chaos`: real programs are killed, stopped and starved in a network namespace of their own, while a judge
//! holds every word that the engine hears against the truth.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Result, bail};
use lexopt::Arg;

use crate::build::{self, Profile};
use crate::command;
use crate::go::go;
use crate::integration::in_namespaces;
use crate::setup::{self, Purpose};
use crate::workspace::Workspace;

/// `cargo xtask chaos`.
pub(crate) fn main(mut args: lexopt::Parser) -> Result<()> {
    let mut settings = Vec::new();
    let mut profile = Profile::Release;
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("quick") => {
                profile = Profile::Dev;
                settings.push("-quick".into());
            }
            Arg::Long("rounds") => settings.extend(["-rounds".into(), args.value()?]),
            Arg::Long("seed") => settings.extend(["-seed".into(), args.value()?]),
            Arg::Long("soak") => settings.extend(["-soak".into(), args.value()?]),
            Arg::Value(filter) => settings.extend(["-test.run".into(), filter]),
            other => return Err(other.unexpected().into()),
        }
    }
    run(&Workspace::load()?, profile, &settings)
}

/// What `cargo xtask ci` runs: a minute or two of everything but the soak.
pub(crate) fn quick(workspace: &Workspace) -> Result<()> {
    run(workspace, Profile::Dev, &["-quick".into()])
}

/// Builds the programs and the tests out here, where the caches are, and runs the tests inside.
fn run(workspace: &Workspace, profile: Profile, settings: &[OsString]) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("chaos needs root, for namespaces and limits: run `cargo xtask chaos` as root");
    }
    setup::ensure(workspace, Purpose::Integration)?;
    build::all(workspace, profile)?;
    let program = workspace.target().join("chaos.test");
    command::run(go(&workspace.seesawtest()).args(["test", "-c", "-o"]).arg(&program).arg("./chaos"))?;
    let into = in_namespaces()?;
    command::run(
        Command::new(&into[0])
            .args(&into[1..])
            .arg(&program)
            .arg("-test.timeout=0")
            .args(settings)
            .env("HC_BIN", workspace.bin())
            .current_dir(workspace.root()),
    )
}
