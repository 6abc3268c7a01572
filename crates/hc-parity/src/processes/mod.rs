//! Whole programs: the real `seesaw_healthcheck`, and hc-proxy with hc-server, take the same checks
//! from an engine and meet the same scripted backends. What they tell the engine must agree: the
//! states in their order, the counters, the time and the length of the check, and the message but
//! for the differences that are listed.

mod backend;
mod messages;
mod rows;
mod sets;
mod side;

use std::path::Path;
use std::thread;

use anyhow::{Result, anyhow, bail};

use crate::exceptions::Exceptions;
use crate::trust::Trust;

pub(crate) use self::messages::MessageTable;
use self::side::Kind;

/// Runs everything on both sides. Returns what was compared, in words.
///
/// # Errors
/// When a program fails, or the sides differ.
pub(crate) fn run(
    programs: &Path,
    trust: &Trust,
    exceptions: &Exceptions,
    texts: &MessageTable,
) -> Result<String> {
    let rows = both(|kind| rows::run(kind, programs))?;
    let told_rows = rows::compare(&rows)?;
    sets::run(programs)?;
    let messages = both(|kind| messages::run(kind, programs, trust))?;
    let told_messages = messages::compare(&messages, exceptions, texts)?;
    Ok(format!("{told_rows}\n{told_messages}"))
}

/// The same on both sides, at the same time.
fn both<T: Send>(run: impl Fn(Kind) -> Result<T> + Sync) -> Result<[T; 2]> {
    let run = &run;
    let [seesaw, ours] = thread::scope(|scope| {
        [Kind::Seesaw, Kind::Ours]
            .map(|kind| scope.spawn(move || run(kind)))
            .map(|thread| thread.join().map_err(|_| anyhow!("a side panicked")))
    });
    Ok([seesaw??, ours??])
}

/// Collects what is wrong, to say all of it at once.
fn verdict(problems: &[String]) -> Result<()> {
    if !problems.is_empty() {
        bail!("{} differences between the programs:\n{}", problems.len(), problems.join("\n"));
    }
    Ok(())
}
