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
use crate::process::wait_for;
use crate::procfs;
use crate::report::{Report, Table};
use crate::roles::{self, Serves};
use crate::server::{Hears, Server, Set};
use crate::stats::{median, spread};

const INTERVAL: Duration = Duration::from_secs(60);
/// The first probes of a million checks would take minutes at the usual rate.
const CONFIG: &str = "[checks]\nfirst_probes_per_second = 20000\n";
/// Of the set that is sent again.
const CHANGED_PER_CENT: usize = 1;
/// How long a change may still cost something after it has taken effect.
const AFTERMATH: Duration = Duration::from_secs(1);
/// How long the engine may take to be told everything again.
const PATIENCE: Duration = Duration::from_secs(120);

/// Sizes of one run.
struct Size {
    checks: usize,
    /// One measurement of processor time.
    spell: Duration,
}

impl Size {
    fn of(options: &Options) -> Self {
        let (checks, spell) = if options.quick { (100_000, 5) } else { (1_000_000, 10) };
        Self { checks, spell: Duration::from_secs(spell) }
    }

    fn set(&self) -> Set {
        Set::new(self.checks, INTERVAL)
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
    let dir = tempfile::tempdir()?;
    let _backend = roles::start_backend(dir.path(), Serves::Tcp)?;
    let mut server = Server::start(CONFIG)?;
    let before = server.resident()?;
    server.fill(size.set(), Hears::News)?;
    // Each has been probed once by now, as quickly as that is allowed.
    sleep(INTERVAL);
    let memory = (server.resident()? - before) as f64 / size.checks as f64;
    let peak = (procfs::peak(server.pid())? - before) as f64 / size.checks as f64;

    let keeps = spells(&server, &size, options)?;
    let recent = recent(&server)?;
    let changes = changes(&mut server, &size, options, median(&all(&keeps)))?;
    server.disconnect()?;
    let alone = spells(&server, &size, options)?;
    server.fill(size.set(), Hears::All)?;
    let hears_all = spells(&server, &size, options)?;
    let end = server.terminate()?;

    let mut rest = Table::new(
        format!("hc-server with {} idle TCP checks", size.checks),
        &["resident memory, B a check", "at its peak, B a check", "SIGTERM to exit, ms"],
        vec![vec![format!("{memory:.0}"), format!("{peak:.0}"), format!("{:.0}", end.as_secs_f64() * 1e3)]],
    );
    rest = rest.with("memory, B a check", &[memory]).with("exit, ms", &[end.as_secs_f64() * 1e3]);
    let with = [("a proxy that keeps", &keeps), ("a proxy that does not", &hears_all), ("no proxy", &alone)];
    Ok(vec![shares(&size, &with), threads(&with), lateness(&keeps, recent), changes, rest].into())
}

/// A way to be connected, and what was measured so.
type With<'a> = (&'a str, &'a Vec<Share>);

fn all(shares: &[Share]) -> Vec<f64> {
    shares.iter().map(|share| share.all).collect()
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

fn shares(size: &Size, with: &[With<'_>; 3]) -> Table {
    let alone = median(&all(with[2].1));
    let row = |(name, shares): &With<'_>| {
        let values = |value: fn(&Share) -> f64| shares.iter().map(value).collect::<Vec<_>>();
        let protocol = (1.0 - alone / median(&all(shares))) * 100.0;
        vec![
            (*name).to_owned(),
            format!("{:.0}", median(&values(|share| share.probes))),
            format!("{:.0}", median(&values(|share| share.told))),
            spread(&all(shares), 3),
            format!("{protocol:.0} %"),
        ]
    };
    let title = format!(
        "hc-server, {} TCP checks every {} s, nothing changing: share of one processor",
        size.checks,
        INTERVAL.as_secs()
    );
    let head = ["connected", "probes/s", "notifications/s", "processors", "of it the protocol"];
    let mut table = Table::new(title, &head, with.iter().map(row).collect());
    for (name, shares) in with {
        table = table.with(*name, &all(shares));
    }
    table
}

fn threads(with: &[With<'_>; 3]) -> Table {
    let of = |shares: &[Share], name: &str| {
        let values: Vec<f64> =
            shares.iter().map(|share| share.threads.get(name).copied().unwrap_or_default()).collect();
        median(&values)
    };
    let mut names: Vec<&String> =
        with.iter().flat_map(|(_, shares)| shares.iter().flat_map(|share| share.threads.keys())).collect();
    names.sort_unstable();
    names.dedup();
    let rows = names
        .into_iter()
        .map(|name| (name, with.map(|(_, shares)| of(shares, name))))
        .filter(|(_, values)| values.iter().any(|value| *value >= 0.0005))
        .map(|(name, values)| {
            [vec![format!("`{name}`")], values.map(|value| format!("{value:.3}")).to_vec()].concat()
        })
        .collect();
    let head = [&["thread"][..], &with.map(|(name, _)| name)].concat();
    Table::new("The same by threads, shares of one processor (medians)", &head, rows)
}

fn lateness(with: &[Share], recent: [f64; 3]) -> Table {
    let mut sum = Lateness::default();
    with.iter().for_each(|share| sum.add(&share.lateness));
    let head = ["probes", "p50, ms", "p99, ms", "p99.9, ms", "last minute: p50, ms", "p99, ms", "max, ms"];
    let mut row = vec![sum.count().to_string(), sum.below(50.0), sum.below(99.0), sum.below(99.9)];
    row.extend(recent.iter().map(|millis| format!("{millis:.2}")));
    Table::new("How late those probes began, with a proxy that keeps", &head, vec![row])
        .with("p50, ms", &recent[..1])
        .with("p99, ms", &recent[1..2])
}

/// Lateness of the last minute in ms: half of all, 99 of 100, the latest.
fn recent(server: &Server) -> Result<[f64; 3]> {
    let status: serde_json::Value = serde_json::from_str(&server.get("/api/v1/status")?)?;
    let lateness = &status["recent"]["lateness"];
    let millis = |name: &str| lateness[name].as_f64().map(|seconds| seconds * 1e3).context("no lateness");
    Ok([millis("p50_seconds")?, millis("p99_seconds")?, millis("max_seconds")?])
}

/// What one change came to: until it is in effect, and then until the engine has been told again.
struct Change {
    /// Seconds.
    effect: f64,
    taken: Cost,
    told: Cost,
}

/// Processor time beyond the usual, in ms, and how late probes were meanwhile.
struct Cost {
    millis: f64,
    lateness: Lateness,
}

/// The full set again, as it was and with some checks changed, and these changed back by deltas:
/// beyond the `usual` share of a processor.
fn changes(server: &mut Server, size: &Size, options: &Options, usual: f64) -> Result<Table> {
    type Send = fn(&mut Server, Set, usize) -> Result<()>;
    let count = size.checks * CHANGED_PER_CENT / 100;
    // What is sent, and how many checks the engine is told again because of it.
    let kinds: [(&str, usize, Send); 3] = [
        ("full set, nothing changed", size.checks, |server, set, _| server.send(set)),
        ("full set, 1 % changed", size.checks, |server, set, changed| server.send(Set { changed, ..set })),
        ("deltas, 1 % changed back", 0, |server, set, count| server.send_delta(set, count)),
    ];
    let mut found = [const { Vec::new() }; 3];
    for _ in 0..options.rounds() {
        for ((_, told, send), found) in kinds.iter().zip(&mut found) {
            found.push(change(server, usual, *told, |server| send(server, size.set(), count))?);
        }
    }
    let title = format!("A set of {} checks again while they run, {} times", size.checks, options.rounds());
    let head = [
        "",
        "in effect after, s",
        "processor time of that, ms",
        "lateness p99",
        "p99.9",
        "to tell the engine all again, ms",
        "lateness p99",
        "p99.9",
    ];
    let mut table = Table::new(title, &head, Vec::new());
    for ((name, ..), changes) in kinds.iter().zip(&found) {
        let all = |value: fn(&Change) -> f64| changes.iter().map(value).collect::<Vec<_>>();
        let (taken, told) = (all(|change| change.taken.millis), all(|change| change.told.millis));
        let (mut late, mut later) = (Lateness::default(), Lateness::default());
        for change in changes {
            late.add(&change.taken.lateness);
            later.add(&change.told.lateness);
        }
        table.rows.push(vec![
            (*name).to_owned(),
            spread(&all(|change| change.effect), 2),
            spread(&taken, 0),
            late.below(99.0),
            late.below(99.9),
            spread(&told, 0),
            later.below(99.0),
            later.below(99.9),
        ]);
        table = table
            .with(format!("{name}, ms"), &taken)
            .with(format!("{name}, told again, ms"), &told)
            .with(format!("{name}, lateness p99 at most, ms"), &[late.limit(99.0)]);
    }
    Ok(table)
}

fn change(
    server: &mut Server,
    usual: f64,
    tells: usize,
    send: impl FnOnce(&mut Server) -> Result<()>,
) -> Result<Change> {
    // Nothing is told meanwhile but one batch.
    server.acknowledge(false);
    let ((taken, effect), cost) = cost(server, usual, |server| {
        let begin = now();
        send(server)?;
        let effect = begin.elapsed().as_secs_f64();
        sleep(AFTERMATH);
        Ok((server.told(), effect))
    })?;
    server.acknowledge(true);
    let ((), told) = self::cost(server, usual, |server| {
        let is_told = || server.told() - taken >= tells as u64;
        wait_for("all told again", PATIENCE, is_told)?;
        sleep(AFTERMATH);
        Ok(())
    })?;
    Ok(Change { effect, taken: cost, told })
}

fn cost<T>(server: &mut Server, usual: f64, act: impl FnOnce(&mut Server) -> Result<T>) -> Result<(T, Cost)> {
    let (cpu, lateness, begin) = (server.cpu_time()?, Lateness::of(server)?, now());
    let done = act(server)?;
    let seconds = (server.cpu_time()? - cpu).as_secs_f64() - usual * begin.elapsed().as_secs_f64();
    let lateness = Lateness::of(server)?.since(&lateness);
    Ok((done, Cost { millis: seconds * 1e3, lateness }))
}
