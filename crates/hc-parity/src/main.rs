//! Holds our probes against Seesaw's own: both run the same checks against the same scripted
//! servers, and the verdicts and the requests must be equal, but for the exceptions that
//! `docs/seesaw-parity.md` lists with their reasons.

mod case;
mod cases;
mod compare;
mod exceptions;
mod generate;
mod matrix;
mod pattern;
mod processes;
mod seesaw;
mod serve;
mod trust;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use lexopt::prelude::*;

use crate::compare::{Arena, Report};
use crate::exceptions::Exceptions;
use crate::matrix::Matrix;
use crate::pattern::matches;
use crate::processes::MessageTable;
use crate::seesaw::Seesaw;
use crate::trust::Trust;

const USAGE: &str = "\
Runs the same checks with our probes and with Seesaw's own checkers, against the same servers, and names what differs.
Needs root, for a network namespace of its own, and all programs in the directory that HC_BIN names.

usage: hc-parity [--seed S] [--generated N] [--only PATTERN] [--programs] [--list]

  --seed S        of the generated cases (default: a new one, which is printed)
  --generated N   how many cases to generate (default 4000)
  --only PATTERN  run the cases of this name alone; * is any text
  --programs      compare whole programs alone: seesaw_healthcheck, and hc-proxy with hc-server
  --list          name the cases that were written by hand

Exit 0 when every difference is an exception of docs/seesaw-parity.md and every exception was seen, 1 when not, 2 for wrong usage.
";

struct Wanted {
    seed: u64,
    generated: usize,
    only: Option<String>,
    programs: bool,
    list: bool,
}

fn main() -> ExitCode {
    let wanted = match parse(lexopt::Parser::from_env()) {
        Ok(Some(wanted)) => wanted,
        Ok(None) => return say(USAGE, 0),
        Err(error) => return say(&format!("hc-parity: {error}\n{USAGE}"), 2),
    };
    // The loopback of a namespace of our own: no foreign packets, no lack of ports, and the kernel
    // does not answer pings.
    match hc_testkit::network::in_own_network(move || run(&wanted)) {
        Ok(text) => say(&text, 0),
        Err(error) => say(&format!("hc-parity: {error:#}"), 1),
    }
}

fn say(text: &str, code: u8) -> ExitCode {
    // Without anybody to read it, the status has to do.
    let _ = writeln!(io::stdout(), "{text}");
    ExitCode::from(code)
}

fn parse(mut arguments: lexopt::Parser) -> Result<Option<Wanted>, lexopt::Error> {
    let mut wanted =
        Wanted { seed: fastrand::u64(..), generated: 4000, only: None, programs: false, list: false };
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("seed") => wanted.seed = arguments.value()?.parse()?,
            Long("generated") => wanted.generated = arguments.value()?.parse()?,
            Long("only") => wanted.only = Some(arguments.value()?.string()?),
            Long("programs") => wanted.programs = true,
            Long("list") => wanted.list = true,
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(wanted))
}

#[allow(clippy::disallowed_methods, reason = "we say how long it took")]
fn run(wanted: &Wanted) -> Result<String> {
    let begun = Instant::now();
    let mut matrix = Matrix::new(&programs()?)?;
    let trust = Trust::new(matrix.roots())?;
    let mut cases = cases::all(&trust);
    cases.extend(matrix.take_cases());
    if wanted.list {
        let names: Vec<String> = cases.iter().map(ToString::to_string).collect();
        return Ok(names.join("\n"));
    }
    say(&format!("seed {}", wanted.seed), 0);
    cases.extend(generate::all(wanted.seed, wanted.generated));
    if let Some(only) = &wanted.only {
        cases.retain(|case| matches(only, &case.name));
        if cases.is_empty() {
            bail!("no case is named {only:?}");
        }
    }
    let exceptions = Exceptions::read(&documentation())?;
    cases::prepare_network()?;
    if wanted.only.is_none() {
        let texts = MessageTable::read(&std::fs::read_to_string(documentation())?)?;
        say(&processes::run(&programs()?, &trust, &exceptions, &texts)?, 0);
    }
    if wanted.programs {
        return Ok("the programs agree".to_owned());
    }
    let seesaw = Seesaw::start(&programs()?.join("seesaw-check"), trust.file())?;
    let count = cases.len();
    let (differences, passed) = Arena::new(seesaw, trust.roots()).run(cases)?;
    let report = Report::new(differences, &exceptions, wanted.only.is_none());
    let took = begun.elapsed().as_secs();
    match report.is_good() {
        true => Ok(format!(
            "{report}\n{count} cases in {took} s, {passed} passed on both sides: every difference is a listed exception"
        )),
        false => bail!("{report}\n{count} cases in {took} s; again with --seed {}", wanted.seed),
    }
}

fn documentation() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/seesaw-parity.md")
}

fn programs() -> Result<PathBuf> {
    std::env::var_os("HC_BIN").map(PathBuf::from).context("HC_BIN must name the directory of our programs")
}
