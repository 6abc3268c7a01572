//! Instructions in user mode of one check, by `valgrind --tool=callgrind`: the difference of two
//! runs with different numbers of checks, so that start and end cancel out. They do not depend on
//! how busy the machine is.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::Options;
use crate::peers::{self, Kind, Load, Peer};
use crate::process::{self, CHECKER_CPU, wait_for};
use crate::procfs;
use crate::report::{Report, Table};
use crate::roles::PORT;

const CALLGRIND: [&str; 3] = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"];

/// Probes of the two runs of the probe alone, so many at once.
const PROBES: [u64; 2] = [2_000, 6_000];
const QUICK_PROBES: [u64; 2] = [500, 1_500];
const AT_ONCE: &str = "30";

/// Checks of the two runs of a whole program, at least.
const CHECKED: [u64; 2] = [2_000, 8_000];
const QUICK_CHECKED: [u64; 2] = [1_000, 2_000];
const CHECKS: usize = 100;
const INTERVAL: Duration = Duration::from_millis(200);

/// valgrind makes a program some fifty times as slow.
const PATIENCE: Duration = Duration::from_secs(300);

/// How many instructions so many checks took.
#[derive(Clone, Copy, Debug)]
struct Run {
    checks: u64,
    instructions: u64,
}

/// Runs the benchmark.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let (probes, checked) = if options.quick { (QUICK_PROBES, QUICK_CHECKED) } else { (PROBES, CHECKED) };
    let mut rows = Vec::new();
    let mut samples = Vec::new();
    for kind in [Kind::Tcp, Kind::Http, Kind::Https] {
        let dir = tempfile::tempdir()?;
        let dir = dir.path();
        let _backend = peers::backend(dir, kind)?;
        let load = Load { kind, checks: CHECKS, interval: INTERVAL, shards: 1 };
        let probe = both(probes, |probes| alone(dir, kind, probes))?;
        let ours = both(checked, |checks| whole(peers::ours_under(dir, &load, &CALLGRIND)?, checks))?;
        let haproxy = both(checked, |checks| whole(peers::haproxy_under(dir, &load, &CALLGRIND)?, checks))?;
        let mut row = vec![kind.name().to_owned()];
        row.extend([probe, ours, haproxy].map(|instructions| format!("{instructions:.0}")));
        row.push(format!("{:.2}", ours / haproxy));
        rows.push(row);
        for (name, value) in [("probe", probe), ("hc-server", ours), ("HAProxy", haproxy)] {
            samples.push((format!("{} {name}", kind.name()), value));
        }
    }
    let head = ["check", "our probe alone (`examples/cost`)", "hc-server", "HAProxy", "hc-server × HAProxy"];
    let mut table = Table::new("Instructions in user mode for one check (callgrind)", &head, rows);
    for (name, value) in samples {
        table = table.with(name, &[value]);
    }
    Ok(table.into())
}

/// Instructions of one check out of two runs.
fn both(sizes: [u64; 2], run: impl Fn(u64) -> Result<Run>) -> Result<f64> {
    let [short, long] = sizes.map(run);
    each(short?, long?)
}

fn each(short: Run, long: Run) -> Result<f64> {
    ensure!(long.checks > short.checks, "{} checks are not more than {}", long.checks, short.checks);
    let more = long.instructions as f64 - short.instructions as f64;
    Ok(more / (long.checks - short.checks) as f64)
}

/// The probe alone, without a schedule.
fn alone(dir: &Path, kind: Kind, probes: u64) -> Result<Run> {
    let us = std::env::current_exe()?;
    let example = us.parent().context("no folder")?.join("examples/cost");
    let log = dir.join(format!("cost-{probes}.log"));
    let mut command = process::pinned(CHECKER_CPU, Path::new(CALLGRIND[0]));
    command.args(&CALLGRIND[1..]).arg(example).arg(kind.name().to_ascii_lowercase());
    command.args([format!("127.0.0.1:{PORT}"), probes.to_string(), AT_ONCE.to_owned()]);
    let mut process = process::spawn(&mut command, &log)?;
    let status = process.wait_end(PATIENCE)?;
    ensure!(status.success(), "{}", process.log_tail());
    Ok(Run { checks: probes, instructions: collected(&process.log_tail())? })
}

/// A whole program, until it has made so many checks.
fn whole(mut peer: Peer, checks: u64) -> Result<Run> {
    let before = procfs::active_opens()?;
    let made = || procfs::active_opens().unwrap_or_default() - before;
    wait_for("enough checks under valgrind", PATIENCE, || made() >= checks)?;
    let log = peer.terminate(PATIENCE)?;
    Ok(Run { checks: made(), instructions: collected(&log)? })
}

/// What callgrind says at the end of a run.
fn collected(log: &str) -> Result<u64> {
    let line = log.lines().find_map(|line| line.split_once("Collected : ")).context(log.to_owned())?.1;
    Ok(line.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_callgrind_collected_is_found() {
        let log = "==7== Events    : Ir\n==7== Collected : 61324\n==7== \n";
        assert_eq!(collected(log).unwrap(), 61_324);
        collected("==7== Events").unwrap_err();
    }

    #[test]
    fn start_and_end_cancel_out() {
        let run = |checks| Run { checks, instructions: 1_000_000 + checks * 50 };
        assert_eq!(each(run(100), run(300)).unwrap(), 50.0);
        each(run(100), run(100)).unwrap_err();
    }
}
