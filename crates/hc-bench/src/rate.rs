//! Processor time of one TCP check against the rate of checks, and against their number.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

use crate::Options;
use crate::peers::{self, HAPROXY, Kind, Load};
use crate::plot::{Line, Plot};
use crate::procfs;
use crate::race::Race;
use crate::report::{Report, Table};
use crate::roles::{self, FLOORS, Serves};
use crate::server::{Cpus, Hears, Server, Set};
use crate::stats::{median, spread};

/// The least interval is 10 ms, so these can make 50,000 checks a second.
const CHECKS: usize = 1_000;
const RATES: [u32; 7] = [100, 300, 1_000, 3_000, 10_000, 30_000, 50_000];
const QUICK_RATES: [u32; 3] = [300, 3_000, 30_000];

const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
const QUICK_SIZES: [usize; 2] = [1_000, 100_000];
/// Of the checks of all sizes together, a second.
const RATE: u32 = 5_000;
const SHARDS: [usize; 2] = [1, 2];

/// Points of one line: where it is on the x axis, and the cost in each round.
type Points = Vec<(f64, Vec<f64>)>;

/// Against the rate.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let rates = if options.quick { &QUICK_RATES[..] } else { &RATES };
    let mut lines: Vec<(String, Points)> = Vec::new();
    let mut rows = Vec::new();
    for &rate in rates {
        let dir = tempfile::tempdir()?;
        let _backend = peers::backend(dir.path(), Kind::Tcp)?;
        for (name, micros, reached) in at_rate(rate, options)? {
            rows.push(vec![rate.to_string(), name.clone(), format!("{reached:.0}"), spread(&micros, 1)]);
            add(&mut lines, name, f64::from(rate), micros);
        }
    }
    let head = ["checks/s asked for", "checker", "checks/s made", "µs a check"];
    let title = format!("Processor time of one TCP check against the rate, {CHECKS} checks, µs");
    let table = samples(Table::new(title, &head, rows), &lines);
    let plot = plot("rate", "Processor time of one TCP check", "checks a second", &lines);
    Ok(Report { tables: vec![table], plots: vec![plot], ..Report::default() })
}

/// What all peers need at one rate, in turns: their names, the cost of a check in µs in each round,
/// and the rate that they reached.
fn at_rate(rate: u32, options: &Options) -> Result<Vec<(String, Vec<f64>, f64)>> {
    let of = move |shards| Load {
        kind: Kind::Tcp,
        checks: CHECKS,
        interval: Duration::from_secs(1) * u32::try_from(CHECKS).unwrap_or(u32::MAX) / rate,
        shards,
    };
    let mut race = Race::default();
    race.enter(HAPROXY, move |dir| peers::haproxy(dir, &of(1)));
    race.enter(FLOORS[0].name, move |dir| peers::floor(dir, &FLOORS[0], CHECKS, rate));
    for shards in SHARDS {
        race.enter(ours(shards), move |dir| peers::ours(dir, &of(shards)));
    }
    let (settle, length) = options.spell();
    race.run(options.rounds(), (settle, length / 2), None)?;
    Ok(race.found().map(|(name, micros, rate)| (name.to_owned(), micros.to_vec(), rate)).collect())
}

fn ours(shards: usize) -> String {
    format!("ours, {shards} {}", if shards == 1 { "shard" } else { "shards" })
}

/// Against the number of checks: hc-server alone, with a proxy that takes what it tells.
pub(crate) fn run_scale(options: &Options) -> Result<Report> {
    let sizes = if options.quick { &QUICK_SIZES[..] } else { &SIZES };
    let dir = tempfile::tempdir()?;
    let _backend = roles::start_backend(dir.path(), Serves::Tcp)?;
    let mut lines: Vec<(String, Points)> = Vec::new();
    let mut rows = Vec::new();
    for &checks in sizes {
        for shards in SHARDS {
            let (micros, told) = at_size(checks, shards, options)?;
            let told = format!("{told:.0}");
            rows.push(vec![checks.to_string(), ours(shards), told, spread(&micros, 1)]);
            add(&mut lines, ours(shards), checks as f64, micros);
        }
    }
    let head = ["checks", "", "notifications/s", "µs a check"];
    let title = format!(
        "Processor time of hc-server divided by its TCP checks, {RATE} checks a second, against their number, µs"
    );
    let table = samples(Table::new(title, &head, rows), &lines);
    let title = format!("Processor time of hc-server for one TCP check, {RATE} a second");
    let plot = plot("scale", &title, "checks", &lines);
    Ok(Report { tables: vec![table], plots: vec![plot], ..Report::default() })
}

fn at_size(checks: usize, shards: usize, options: &Options) -> Result<(Vec<f64>, f64)> {
    let config = format!("[checks]\nshards = {shards}\nfirst_probes_per_second = 20000\n");
    let mut server = Server::start_on(Cpus::of(shards), &config)?;
    let interval = Duration::from_secs_f64(checks as f64 / f64::from(RATE));
    server.fill(Set::new(checks, interval), Hears::All)?;
    let (settle, length) = options.spell();
    sleep(settle);
    let (mut micros, mut told) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds() {
        let (cpu, probes, before) = (server.cpu_time()?, procfs::active_opens()?, server.told());
        sleep(length);
        let (cpu, probes) = (server.cpu_time()? - cpu, procfs::active_opens()? - probes);
        micros.push(cpu.as_secs_f64() * 1e6 / probes as f64);
        told.push((server.told() - before) as f64 / length.as_secs_f64());
    }
    Ok((micros, median(&told)))
}

fn add(lines: &mut Vec<(String, Points)>, name: String, x: f64, values: Vec<f64>) {
    match lines.iter_mut().find(|(known, _)| *known == name) {
        Some((_, points)) => points.push((x, values)),
        None => lines.push((name, vec![(x, values)])),
    }
}

fn samples(mut table: Table, lines: &[(String, Points)]) -> Table {
    for (name, points) in lines {
        for (x, values) in points {
            table = table.with(format!("{name}, {x:.0}"), values);
        }
    }
    table
}

fn plot(name: &str, title: &str, x: &str, lines: &[(String, Points)]) -> Plot {
    let line = |(name, points): &(String, Points)| Line {
        name: name.clone(),
        points: points.iter().map(|(x, values)| (*x, median(values))).collect(),
    };
    Plot {
        name: name.to_owned(),
        title: title.to_owned(),
        axes: [x.to_owned(), "µs a check".to_owned()],
        lines: lines.iter().map(line).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_the_medians() {
        let mut lines = Vec::new();
        add(&mut lines, "ours".to_owned(), 100.0, vec![1.0, 5.0, 3.0]);
        add(&mut lines, "ours".to_owned(), 300.0, vec![2.0]);
        let plot = plot("rate", "Cost", "checks", &lines);
        assert_eq!(plot.lines[0].points, [(100.0, 3.0), (300.0, 2.0)]);
        let table = samples(Table::default(), &lines);
        assert_eq!(table.samples["ours, 100"], [1.0, 5.0, 3.0]);
    }
}
