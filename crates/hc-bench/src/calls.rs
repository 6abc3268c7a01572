//! System calls of one check, by `strace -c`. They do not depend on how busy the machine is, but
//! for those that wait: the more is ready at once, the fewer of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use crate::Options;
use crate::peers::{self, Kind, Load, Peer};
use crate::process;
use crate::procfs;
use crate::report::{Report, Table};
use crate::roles::FLOORS;

const CHECKS: usize = 300;
/// strace makes each call some ten times as slow.
const INTERVAL: Duration = Duration::from_millis(500);
const RATE: u32 = 600;
const LENGTH: Duration = Duration::from_secs(10);

/// Calls of one peer, and the checks that they are of.
struct Counted {
    name: String,
    calls: BTreeMap<String, u64>,
    checks: u64,
}

/// Runs the benchmark.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let length = if options.quick { LENGTH / 5 } else { LENGTH };
    Ok(vec![of_kind(Kind::Tcp, length)?, of_kind(Kind::Http, length)?].into())
}

fn of_kind(kind: Kind, length: Duration) -> Result<Table> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    let load = Load { kind, checks: CHECKS, interval: INTERVAL, shards: 1 };
    let _backend = peers::backend(dir, kind)?;
    let mut all = Vec::new();
    // One at a time: the kernel counts connections of the whole namespace.
    all.push(counted(dir, peers::haproxy(dir, &load)?, length)?);
    let floors = if kind == Kind::Tcp { &FLOORS[..] } else { &[] };
    for floor in floors {
        all.push(counted(dir, peers::floor(dir, floor, CHECKS, RATE)?, length)?);
    }
    all.push(counted(dir, peers::ours(dir, &load)?, length)?);
    Ok(table(kind, &all))
}

/// Watches a peer that has begun, and ends it.
fn counted(dir: &Path, peer: Peer, length: Duration) -> Result<Counted> {
    sleep(Duration::from_secs(2));
    let summary = dir.join("strace");
    let log = dir.join("strace.log");
    let mut strace = Command::new("strace");
    strace.args(["-c", "-f", "-o"]).arg(&summary);
    // Of our two programs only the one that checks: the other only passes on what it is told.
    let pid = peer.pids().next().context("no process")?;
    let mut strace = process::spawn(strace.args(["-p", &pid.to_string()]), &log)?;
    process::wait_for("strace attached", Duration::from_secs(10), || {
        fs::read_to_string(&log).is_ok_and(|log| log.contains("attached"))
    })?;
    let opens = procfs::active_opens()?;
    sleep(length);
    let checks = procfs::active_opens()? - opens;
    strace.signal(Signal::INT)?;
    strace.wait_end(Duration::from_secs(10))?;
    let calls = parse(&fs::read_to_string(&summary)?);
    ensure!(!calls.is_empty() && checks > 0, "{}: nothing counted: {}", peer.name, strace.log_tail());
    Ok(Counted { name: peer.name, calls, checks })
}

/// The calls of a summary of `strace -c`, by name.
fn parse(summary: &str) -> BTreeMap<String, u64> {
    let lines = summary.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter_map(|words| match &words[..] {
            // With or without a column of errors.
            [_, _, _, calls, .., name] if *name != "total" => Some(((*name).to_owned(), calls.parse().ok()?)),
            _ => None,
        })
        .collect()
}

fn table(kind: Kind, all: &[Counted]) -> Table {
    let of = |counted: &Counted, calls: u64| calls as f64 / counted.checks as f64;
    let sum = |counted: &Counted| of(counted, counted.calls.values().sum());
    let mut names: Vec<&String> = all.iter().flat_map(|counted| counted.calls.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let mut table = Table::new(
        format!(
            "System calls of one {} check at {RATE} checks/s (`strace -c -f`; of ours: hc-server)",
            kind.name()
        ),
        &[],
        Vec::new(),
    );
    table.head = std::iter::once("call".to_owned()).chain(all.iter().map(|one| one.name.clone())).collect();
    table.rows.push(row("all of them", all, sum));
    for name in names {
        let calls = |counted: &Counted| of(counted, counted.calls.get(name).copied().unwrap_or_default());
        // What happens now and then is in the sum.
        if all.iter().any(|counted| calls(counted) >= 0.05) {
            table.rows.push(row(name, all, calls));
        }
    }
    for counted in all {
        table = table.with(counted.name.clone(), &[sum(counted)]);
    }
    table
}

fn row(name: &str, all: &[Counted], value: impl Fn(&Counted) -> f64) -> Vec<String> {
    let cell = |value: f64| if value < 0.005 { String::new() } else { format!("{value:.2}") };
    std::iter::once(name.to_owned()).chain(all.iter().map(|counted| cell(value(counted)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUMMARY: &str = "% time     seconds  usecs/call     calls    errors syscall\n\
        ------ ----------- ----------- --------- --------- ----------------\n \
        61.54    0.016064           2      6000      6000 connect\n \
        38.46    0.010039           3      3000           close\n\
        ------ ----------- ----------- --------- --------- ----------------\n\
        100.00    0.026103           2      9000      6000 total\n";

    #[test]
    fn a_summary_is_read_with_and_without_errors() {
        let calls = parse(SUMMARY);
        assert_eq!(calls, [("close".to_owned(), 3000), ("connect".to_owned(), 6000)].into());
    }

    #[test]
    fn rare_calls_are_only_in_the_sum() {
        let calls = [("connect".to_owned(), 100), ("brk".to_owned(), 1)].into();
        let table = table(Kind::Tcp, &[Counted { name: "ours".to_owned(), calls, checks: 100 }]);
        assert_eq!(table.head, ["call", "ours"]);
        assert_eq!(table.rows, [["all of them", "1.01"], ["connect", "1.00"]]);
    }
}
