//! Processor time of one check, against HAProxy, against Seesaw's own healthchecker, and against
//! bare loops.
//!
//! Every peer runs the same number of checks at the same interval against the same backend, pinned
//! to the same processor, the backend pinned to the other. One at a time runs, in turn, for several
//! rounds. The checks of a round are counted by the kernel: connections opened from the namespace.

use std::time::Duration;

use anyhow::Result;

use crate::Options;
use crate::peers::{self, HAPROXY, Kind, Load, OURS, SEESAW};
use crate::race::Race;
use crate::report::{Report, Table};
use crate::roles::FLOORS;

const CHECKS: usize = 300;

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
        let mut race = Race::default();
        for floor in FLOORS {
            race.enter(floor.name, move |dir| peers::floor(dir, &floor, CHECKS, rate));
        }
        race.run(options.rounds(), options.spell(), None)?;
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
    let mut race = race(load);
    race.run(options.rounds(), options.spell(), Some(load.rate()))?;
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

fn race(load: Load) -> Race {
    let mut race = Race::default();
    race.enter(HAPROXY, move |dir| peers::haproxy(dir, &load));
    race.enter(SEESAW, move |dir| peers::seesaw(dir, &load));
    race.enter(OURS, move |dir| peers::ours(dir, &load));
    // They take their turn in the same rounds.
    let floors = if load.kind == Kind::Tcp { &FLOORS[..] } else { &[] };
    for floor in floors {
        race.enter(floor.name, move |dir| peers::floor(dir, floor, load.checks, 3_000));
    }
    race
}
