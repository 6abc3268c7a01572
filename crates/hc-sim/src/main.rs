//! Runs seeds, or replays one.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hc_sim::{Settings, Violation, run, run_fleet, run_names, run_stages};
use lexopt::prelude::*;

const USAGE: &str = "\
Simulates the health checker in virtual time, one seed after the other, and names the invariant that does not hold.

usage: hc-sim [--seeds N] [--start N] [--hours H] [--checks N]
       hc-sim --seed S [--trace] [--hours H] [--checks N]
       hc-sim --fleet [--seeds N] [--start N] [--hours H] | --fleet --seed S [--trace] [--hours H]

  --seeds N   how many seeds to run (default 200)
  --start N   the first of them (default 0)
  --hours H   virtual hours of each (default 1; fractions are fine)
  --checks N  most checks an engine begins with (default 40)
  --seed S    run this seed alone
  --trace     and print what happens
  --fleet     only the fleet of nodes, which otherwise goes along for an hour with each seed

Exit 0 when every invariant held, 1 when one did not, 2 for wrong usage.
";

/// Virtual seconds of the simulation of stages alone, which goes with each seed.
const STAGE_SECONDS: u32 = 3000;

/// Virtual time of the simulation of names, which goes with each seed.
const NAMES_TIME: Duration = Duration::from_secs(1800);

/// Virtual time of the simulation of a fleet.
const FLEET_TIME: Duration = Duration::from_secs(3600);

struct Wanted {
    start: u64,
    seeds: u64,
    trace: bool,
    fleet: bool,
    settings: Settings,
}

fn main() -> ExitCode {
    match parse(lexopt::Parser::from_env()) {
        Ok(Some(wanted)) => simulate(&wanted).unwrap_or_else(|error| complain(&format!("{error:#}"), 1)),
        Ok(None) => complain(USAGE, 0),
        Err(error) => complain(&format!("hc-sim: {error:#}\n{USAGE}"), 2),
    }
}

fn complain(text: &str, code: u8) -> ExitCode {
    // Without anybody to read it, the status has to do.
    let _ = writeln!(io::stderr(), "{text}");
    ExitCode::from(code)
}

fn parse(mut arguments: lexopt::Parser) -> Result<Option<Wanted>> {
    let mut wanted =
        Wanted { start: 0, seeds: 200, trace: false, fleet: false, settings: Settings::default() };
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("seeds") => wanted.seeds = arguments.value()?.parse()?,
            Long("start") => wanted.start = arguments.value()?.parse()?,
            Long("seed") => (wanted.start, wanted.seeds) = (arguments.value()?.parse()?, 1),
            Long("trace") => wanted.trace = true,
            Long("fleet") => wanted.fleet = true,
            Long("checks") => wanted.settings.checks = arguments.value()?.parse()?,
            Long("hours") => {
                let hours: f64 = arguments.value()?.parse()?;
                wanted.settings.length =
                    Duration::try_from_secs_f64(hours * 3600.0).context("--hours needs a number above 0")?;
            }
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    if wanted.trace && wanted.seeds != 1 {
        bail!("--trace needs --seed");
    }
    Ok(Some(wanted))
}

/// All simulations of a seed; how many probes there were.
fn all(seed: u64, settings: &Settings, trace: Option<&mut dyn io::Write>) -> Result<u64, Box<Violation>> {
    run_stages(seed, STAGE_SECONDS, None)?;
    let names = run_names(seed, NAMES_TIME, None)?;
    let fleet = run_fleet(seed, FLEET_TIME, None, false)?;
    Ok(names.probes + fleet.probes + run(seed, settings, trace)?.probes)
}

#[allow(clippy::disallowed_methods, reason = "says how long it took")]
fn simulate(wanted: &Wanted) -> Result<ExitCode> {
    let began = Instant::now();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let (mut failed, mut probes) = (0, 0);
    for seed in wanted.start..wanted.start.saturating_add(wanted.seeds) {
        let trace: Option<&mut dyn io::Write> = if wanted.trace { Some(&mut out) } else { None };
        let done = if wanted.fleet {
            run_fleet(seed, wanted.settings.length, None, wanted.trace).map(|fleet| fleet.probes)
        } else {
            all(seed, &wanted.settings, trace)
        };
        match done {
            Ok(number) => probes += number,
            Err(violation) => {
                failed += 1;
                writeln!(out, "seed {seed}: {violation}")?;
                out.flush()?;
            }
        }
    }
    let hours = wanted.settings.length.as_secs_f64() / 3600.0;
    let seconds = began.elapsed().as_secs_f64();
    writeln!(out, "{} seeds of {hours} h: {failed} failed, {probes} probes, {seconds:.1} s", wanted.seeds)?;
    out.flush()?;
    Ok(ExitCode::from(u8::from(failed > 0)))
}
