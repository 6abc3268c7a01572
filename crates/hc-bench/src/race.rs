//! Peers that take turns on one processor: what a check costs each of them in the same minutes.
//!
//! Each is started for its turn and ended after it. Who is stopped by a signal instead goes on with
//! all checks at once, and HAProxy and Seesaw, which count an interval from the end of a check, then
//! make them all at once for ever: that saves them most of their waiting.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::peers::Peer;
use crate::report::Table;
use crate::stats::{median, ratios, spread};

/// Starts a peer with its files in a folder.
type Start = Box<dyn Fn(&Path) -> Result<Peer>>;

/// The same peers in turns, and what they did in each round.
#[derive(Default)]
pub(crate) struct Race {
    entries: Vec<Entry>,
}

struct Entry {
    name: String,
    start: Start,
    micros: Vec<f64>,
    rates: Vec<f64>,
}

impl Race {
    /// One more takes part.
    pub(crate) fn enter(&mut self, name: impl Into<String>, start: impl Fn(&Path) -> Result<Peer> + 'static) {
        let (micros, rates) = Default::default();
        self.entries.push(Entry { name: name.into(), start: Box::new(start), micros, rates });
    }

    /// So many rounds, in each of which everyone settles and is then watched. With an `expected`
    /// rate, whoever is far from it is an error.
    pub(crate) fn run(
        &mut self,
        rounds: usize,
        (settle, length): (Duration, Duration),
        expected: Option<f64>,
    ) -> Result<()> {
        for round in 0..rounds {
            for turn in 0..self.entries.len() {
                // Nobody always comes behind the same one.
                let at = (turn + round) % self.entries.len();
                let Entry { name, start, micros, rates } = &mut self.entries[at];
                let dir = tempfile::tempdir()?;
                let peer = start(dir.path())?;
                sleep(peer.begins + settle);
                let work = peer.watch(length)?;
                if let Some(expected) = expected {
                    // HAProxy counts the interval from the end of a check, so it makes a few less.
                    let is_right = (expected * 0.7..expected * 1.1).contains(&work.rate);
                    ensure!(is_right, "{name}: {:.0} checks a second, not {expected:.0}", work.rate);
                }
                micros.push(work.micros);
                rates.push(work.rate);
            }
        }
        Ok(())
    }

    /// Of each peer its name, the cost of a check in each round in µs, and the rate of its checks.
    pub(crate) fn found(&self) -> impl Iterator<Item = (&str, &[f64], f64)> {
        self.entries.iter().map(|entry| (&*entry.name, &entry.micros[..], median(&entry.rates)))
    }

    /// Costs, and ratios to these peers.
    pub(crate) fn table(&self, title: &str, to: &[&str]) -> Table {
        let of = |name: &str| self.entries.iter().find(|entry| entry.name == name);
        let against: Vec<_> = to.iter().filter_map(|name| Some((*name, &of(name)?.micros))).collect();
        let mut head = vec!["checker".to_owned(), "checks/s".to_owned(), "µs a check".to_owned()];
        head.extend(against.iter().map(|(name, _)| format!("× {name}")));
        let mut table = Table::new(title, &[], Vec::new());
        for (name, micros, rate) in self.found() {
            let mut row = vec![name.to_owned(), format!("{rate:.0}"), spread(micros, 1)];
            row.extend(against.iter().map(|(_, to)| spread(&ratios(micros, to), 2)));
            table.rows.push(row);
            table = table.with(format!("{name}, µs"), micros);
        }
        table.head = head;
        table
    }
}
