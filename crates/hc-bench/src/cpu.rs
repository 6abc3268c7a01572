//! Processor time of one check, against HAProxy, against Seesaw's own healthchecker, and against
//! bare loops.
//!
//! Every peer runs the same number of checks at the same interval against the same backend, pinned
//! to the same processor, the backend pinned to the other. One at a time is awake (the others are
//! stopped by signal), in turn, for several rounds. The checks of a round are counted by the
//! kernel: connections opened from the namespace.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::Options;
use crate::peers::{self, HAPROXY, Kind, Load, Peer, SEESAW};
use crate::report::{Report, Table};
use crate::roles::FLOORS;
use crate::stats::{median, ratios, spread};

const CHECKS: usize = 300;

/// The same peers at the same time, and what they did in each round.
struct Race {
    peers: Vec<Peer>,
    micros: Vec<Vec<f64>>,
    rates: Vec<Vec<f64>>,
}

/// TCP, bare loops beside the others.
pub(crate) fn run_tcp(options: &Options) -> Result<Report> {
    Ok(of_kind(Kind::Tcp, options)?.into())
}

/// HTTP.
pub(crate) fn run_http(options: &Options) -> Result<Report> {
    Ok(of_kind(Kind::Http, options)?.into())
}

/// HTTPS with full handshakes, and where the backend offers sessions to resume.
pub(crate) fn run_https(options: &Options) -> Result<Report> {
    Ok(vec![of_kind(Kind::Https, options)?, of_kind(Kind::HttpsResumed, options)?].into())
}

/// The bare loops alone: at a pace and as fast as they go.
pub(crate) fn run_floors(options: &Options) -> Result<Report> {
    let mut tables = Vec::new();
    for (rate, title) in [
        (3_000, "Bare loops, 3,000 TCP checks a second: processor time of one check, µs"),
        (0, "Bare loops, 100 TCP checks in flight, as fast as it goes: processor time of one check, µs"),
    ] {
        let dir = tempfile::tempdir()?;
        let _backend = peers::backend(dir.path(), Kind::Tcp)?;
        let floors = FLOORS.iter().map(|floor| peers::floor(dir.path(), floor, CHECKS, rate));
        let mut race = Race::new(floors.collect::<Result<_>>()?)?;
        race.run(options, None)?;
        tables.push(race.table(title, &FLOORS.map(|floor| floor.name)[..1]));
    }
    Ok(tables.into())
}

fn of_kind(kind: Kind, options: &Options) -> Result<Table> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    // A handshake takes ten times as long as the rest.
    let interval = Duration::from_millis(if matches!(kind, Kind::Tcp | Kind::Http) { 100 } else { 1_000 });
    let load = Load { kind, checks: CHECKS, interval, shards: 1 };
    let backend = peers::backend(dir, kind)?;
    let mut race = Race::new(peers_of(dir, &load)?)?;
    race.run(options, Some(load.rate()))?;
    let mut title = format!("Processor time of one {} check at {:.0} checks/s, µs", kind.name(), load.rate());
    if kind == Kind::HttpsResumed {
        let (all, resumed) = backend.handshakes()?;
        title += &format!(" ({:.0} % of all handshakes resumed)", resumed as f64 * 100.0 / all as f64);
    }
    let to: &[&str] = match kind {
        Kind::Tcp => &[HAPROXY, SEESAW, FLOORS[0].name],
        _ => &[HAPROXY, SEESAW],
    };
    Ok(race.table(&title, to))
}

fn peers_of(dir: &Path, load: &Load) -> Result<Vec<Peer>> {
    let mut all = vec![peers::haproxy(dir, load)?, peers::seesaw(dir, load)?, peers::ours(dir, load)?];
    if load.kind == Kind::Tcp {
        for floor in FLOORS {
            // They take their turn in the same rounds.
            all.push(peers::floor(dir, &floor, load.checks, 3_000)?);
        }
    }
    sleep(peers::seesaw_start(load.checks));
    Ok(all)
}

impl Race {
    /// All of them stopped.
    fn new(mut peers: Vec<Peer>) -> Result<Self> {
        peers.iter_mut().try_for_each(|peer| peer.signal(Signal::STOP))?;
        let none = vec![Vec::new(); peers.len()];
        Ok(Self { micros: none.clone(), rates: none, peers })
    }

    fn run(&mut self, options: &Options, expected: Option<f64>) -> Result<()> {
        let (settle, length) = options.spell();
        for round in 0..options.rounds() {
            for turn in 0..self.peers.len() {
                // Nobody always comes behind the same one.
                let at = (turn + round) % self.peers.len();
                let work = self.peers[at].round(settle, length)?;
                if let Some(expected) = expected {
                    // HAProxy counts the interval from the end of a check, so it makes a few less.
                    let is_right = (expected * 0.7..expected * 1.1).contains(&work.rate);
                    let name = &self.peers[at].name;
                    ensure!(is_right, "{name}: {:.0} checks a second, not {expected:.0}", work.rate);
                }
                self.micros[at].push(work.micros);
                self.rates[at].push(work.rate);
            }
        }
        Ok(())
    }

    /// Costs, and ratios to these peers.
    fn table(&self, title: &str, to: &[&str]) -> Table {
        let of = |name: &str| self.peers.iter().position(|peer| peer.name == name);
        let against: Vec<_> = to.iter().filter_map(|name| Some((*name, &self.micros[of(name)?]))).collect();
        let mut head = vec!["checker".to_owned(), "checks/s".to_owned(), "µs a check".to_owned()];
        head.extend(against.iter().map(|(name, _)| format!("× {name}")));
        let mut table = Table::new(title, &[], Vec::new());
        for ((peer, micros), rates) in self.peers.iter().zip(&self.micros).zip(&self.rates) {
            let mut row = vec![peer.name.clone(), format!("{:.0}", median(rates)), spread(micros, 1)];
            row.extend(against.iter().map(|(_, to)| spread(&ratios(micros, to), 2)));
            table.rows.push(row);
            table = table.with(format!("{}, µs", peer.name), micros);
        }
        table.head = head;
        table
    }
}
