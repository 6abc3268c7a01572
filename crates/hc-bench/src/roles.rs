//! What our own program does as a process beside a benchmark: `hc-bench role NAME …`.

mod backend;
mod floor;
mod pace;

use anyhow::{Result, bail};

pub(crate) use backend::{Backend, PORT, Serves, address, start_backend};
pub(crate) use floor::{FLOORS, Floor};

/// The first word of its command line.
pub(crate) const WORD: &str = "role";

/// Plays a role until the process is killed.
pub(crate) fn run(args: &[String]) -> Result<()> {
    match args {
        [name, rest @ ..] if name == backend::NAME => backend::run(rest),
        [name, rest @ ..] if name == floor::NAME => floor::run(rest),
        _ => bail!("no such role: {args:?}"),
    }
}
