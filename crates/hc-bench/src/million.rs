//! A million TCP checks every 60 s, nothing changing, and then what a change costs: where the
//! processor time goes, how late probes are, what memory an idle check has, and how long the end
//! takes.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::Options;
use crate::clock::now;
use crate::lateness::Lateness;
use crate::procfs;
use crate::report::{Report, Table};
use crate::server::{self, Server, Set};
use crate::stats::{median, spread};

const INTERVAL: Duration = Duration::from_secs(60);
/// The first probes of a million checks would take minutes at the usual rate.
const CONFIG: &str = "[checks]\nfirst_probes_per_second = 20000\n";
/// Of the set that is sent again.
const CHANGED_PER_CENT: usize = 1;

/// Sizes of one run.
struct Size {
    checks: usize,
    /// One measurement of processor time.
    spell: Duration,
    /// How long a change may still cost something after it has taken effect.
    aftermath: Duration,
}

impl Size {
    fn of(options: &Options) -> Self {
        let (checks, spell) = if options.quick { (100_000, 10) } else { (1_000_000, 30) };
        Self { checks, spell: Duration::from_secs(spell), aftermath: Duration::from_secs(3) }
    }
}

/// Processor time of a spell, as a share of one processor.
struct Share {
    all: f64,
    threads: BTreeMap<String, f64>,
    probes: f64,
    told: f64,
    lateness: Lateness,
}

/// Runs the benchmark.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let size = Size::of(options);
    let port = server::backend()?;
    let mut server = Server::start(CONFIG)?;
    let before = server.resident()?;
    server.fill(Set::new(size.checks, port, INTERVAL))?;
    // Each has been probed once by now, as quickly as that is allowed.
    sleep(INTERVAL);
    let memory = (server.resident()? - before) as f64 / size.checks as f64;
    let peak = (procfs::peak(server.pid())? - before) as f64 / size.checks as f64;

    let with = spells(&server, &size, options)?;
    let recent = recent(&server)?;
    let changes = changes(&mut server, &size, port)?;
    server.disconnect()?;
    let without = spells(&server, &size, options)?;
    let end = server.terminate()?;

    let mut rest = Table::new(
        format!("hc-server with {} idle TCP checks", size.checks),
        &["resident memory, B a check", "at its peak, B a check", "SIGTERM to exit, ms"],
        vec![vec![format!("{memory:.0}"), format!("{peak:.0}"), format!("{:.0}", end.as_secs_f64() * 1e3)]],
    );
    rest = rest.with("memory, B a check", &[memory]).with("exit, s", &[end.as_secs_f64()]);
    Ok(vec![shares(&size, &with, &without), threads(&with, &without), lateness(&with, recent), changes, rest]
        .into())
}

fn spells(server: &Server, size: &Size, options: &Options) -> Result<Vec<Share>> {
    sleep(Duration::from_secs(5));
    (0..options.rounds()).map(|_| spell(server, size.spell)).collect()
}

fn spell(server: &Server, length: Duration) -> Result<Share> {
    let (cpu, threads, lateness) =
        (server.cpu_time()?, procfs::threads(server.pid())?, Lateness::of(server)?);
    let (probes, told, begin) = (procfs::active_opens()?, server.told(), now());
    sleep(length);
    let took = begin.elapsed().as_secs_f64();
    let (probes, told) = (procfs::active_opens()? - probes, server.told() - told);
    let all = (server.cpu_time()? - cpu).as_secs_f64() / took;
    let mut shares = BTreeMap::new();
    for (id, name, time) in procfs::threads(server.pid())? {
        let earlier = threads.iter().find(|(then, ..)| *then == id).map_or(Duration::ZERO, |then| then.2);
        *shares.entry(name).or_default() += (time - earlier).as_secs_f64() / took;
    }
    let lateness = Lateness::of(server)?.since(&lateness);
    Ok(Share { all, threads: shares, probes: probes as f64 / took, told: told as f64 / took, lateness })
}

fn shares(size: &Size, with: &[Share], without: &[Share]) -> Table {
    let values = |shares: &[Share], value: fn(&Share) -> f64| shares.iter().map(value).collect::<Vec<_>>();
    let row = |name: &str, shares: &[Share]| {
        vec![
            name.to_owned(),
            format!("{:.0}", median(&values(shares, |share| share.probes))),
            format!("{:.0}", median(&values(shares, |share| share.told))),
            spread(&values(shares, |share| share.all), 3),
        ]
    };
    let (on, off) = (values(with, |share| share.all), values(without, |share| share.all));
    let protocol = (1.0 - median(&off) / median(&on)) * 100.0;
    let title = format!(
        "hc-server, {} TCP checks every {} s, nothing changing: share of one processor (the protocol's part of it: {protocol:.0} %)",
        size.checks,
        INTERVAL.as_secs()
    );
    let head = ["", "probes/s", "notifications/s", "processors"];
    let rows = vec![row("a proxy is connected", with), row("no proxy is connected", without)];
    Table::new(title, &head, rows).with("with a proxy", &on).with("without", &off)
}

fn threads(with: &[Share], without: &[Share]) -> Table {
    let of = |shares: &[Share], name: &str| {
        let values: Vec<f64> =
            shares.iter().map(|share| share.threads.get(name).copied().unwrap_or_default()).collect();
        median(&values)
    };
    let mut names: Vec<&String> = with.iter().chain(without).flat_map(|share| share.threads.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let rows = names
        .into_iter()
        .map(|name| (name, of(with, name), of(without, name)))
        .filter(|(_, on, off)| on.max(*off) >= 0.0005)
        .map(|(name, on, off)| vec![format!("`{name}`"), format!("{on:.3}"), format!("{off:.3}")])
        .collect();
    Table::new(
        "The same by threads, shares of one processor (medians)",
        &["thread", "a proxy is connected", "no proxy"],
        rows,
    )
}

fn lateness(with: &[Share], recent: [f64; 3]) -> Table {
    let mut sum = Lateness::default();
    with.iter().for_each(|share| sum.add(&share.lateness));
    let head = ["probes", "p50, ms", "p99, ms", "p99.9, ms", "last minute: p50, ms", "p99, ms", "max, ms"];
    let mut row = vec![sum.count().to_string(), sum.below(50.0), sum.below(99.0), sum.below(99.9)];
    row.extend(recent.iter().map(|millis| format!("{millis:.2}")));
    Table::new("How late those probes began", &head, vec![row])
}

/// Lateness of the last minute in ms: half of all, 99 of 100, the latest.
fn recent(server: &Server) -> Result<[f64; 3]> {
    let status: serde_json::Value = serde_json::from_str(&server.get("/api/v1/status")?)?;
    let lateness = &status["recent"]["lateness"];
    let millis = |name: &str| lateness[name].as_f64().map(|seconds| seconds * 1e3).context("no lateness");
    Ok([millis("p50_seconds")?, millis("p99_seconds")?, millis("max_seconds")?])
}

/// The full set again with some checks changed, and the same as a delta.
fn changes(server: &mut Server, size: &Size, port: u16) -> Result<Table> {
    let changed = size.checks * CHANGED_PER_CENT / 100;
    let mut rows = Vec::new();
    let mut row =
        |name: &str, server: &mut Server, change: &dyn Fn(&mut Server) -> Result<()>| -> Result<()> {
            let quiet = spell(server, size.spell)?;
            let (cpu, lateness, begin) = (server.cpu_time()?, Lateness::of(server)?, now());
            change(server)?;
            let effect = begin.elapsed();
            sleep(size.aftermath);
            let cpu = (server.cpu_time()? - cpu).as_secs_f64() - quiet.all * begin.elapsed().as_secs_f64();
            let late = Lateness::of(server)?.since(&lateness);
            rows.push(vec![
                name.to_owned(),
                format!("{:.0}", cpu * 1e3),
                format!("{:.2}", effect.as_secs_f64()),
                quiet.lateness.below(99.0),
                late.below(99.0),
                late.below(99.9),
            ]);
            Ok(())
        };
    let set = Set::new(size.checks, port, INTERVAL);
    row("full set, nothing changed", server, &|server| server.send(set))?;
    row("full set, 1 % changed", server, &|server| server.send(Set { changed, ..set }))?;
    row("full set, 1 % changed back", server, &|server| server.send(set))?;
    row("delta, 1 % changed", server, &|server| server.send_delta(Set { changed, ..set }))?;
    Ok(Table::new(
        format!("A set of {} checks again while they run", size.checks),
        &[
            "",
            "processor time beyond a quiet time's, ms",
            "in effect after, s",
            "lateness p99 before, at most, ms",
            "meanwhile p99",
            "p99.9",
        ],
        rows,
    ))
}
