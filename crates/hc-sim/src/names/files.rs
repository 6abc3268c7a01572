//! The file of checks, as an operator writes it, and the checks that it must lead to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use fastrand::Rng;
use hc_config::{Checks, Limits, NoFiles, SourceFile, check_id};
use hc_types::{CheckId, Rule};

use super::zone::LIES;

/// A check in the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Written {
    /// Name and port follow from it, so what is checked has these counts for ever.
    number: u16,
    pub(super) host: usize,
    /// `None` for a check of its own for each address.
    pub(super) rule: Option<Rule>,
    excluded: Option<IpAddr>,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) retries: u32,
    pub(super) rise: u32,
    /// In virtual time, when it came into the file or was last changed.
    pub(super) since: u64,
}

/// A check that must run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) name: String,
    /// Its place in the file.
    pub(super) place: usize,
    /// What it probes: one address, or all of a name.
    pub(super) addresses: BTreeSet<IpAddr>,
}

#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) checks: Vec<Written>,
    numbers: u16,
}

impl File {
    pub(super) fn add(&mut self, hosts: usize, pool: &[IpAddr], now: u64, rng: &mut Rng) {
        self.numbers += 1;
        let interval = [1000, 1500, 2000, 5000][rng.usize(..4)];
        self.checks.push(Written {
            number: self.numbers,
            host: rng.usize(..hosts),
            rule: [None, None, Some(Rule::Any), Some(Rule::All)][rng.usize(..4)],
            excluded: (rng.u8(..4) == 0).then(|| pool[rng.usize(..pool.len())]),
            interval: Duration::from_millis(interval),
            timeout: Duration::from_millis(interval / [2, 5][rng.usize(..2)]),
            retries: rng.u32(..3),
            rise: rng.u32(1..4),
            since: now,
        });
    }

    /// Somebody edits it: a check more, a check less, or another interval.
    pub(super) fn edit(&mut self, hosts: usize, pool: &[IpAddr], now: u64, rng: &mut Rng) {
        let place = (!self.checks.is_empty()).then(|| rng.usize(..self.checks.len()));
        match (rng.u8(..3), place) {
            (0, Some(place)) => drop(self.checks.remove(place)),
            (1, Some(place)) => {
                let check = &mut self.checks[place];
                check.interval += Duration::from_millis(100);
                check.since = now;
            }
            _ => self.add(hosts, pool, now, rng),
        }
    }

    pub(super) fn read(&self) -> Checks {
        let mut text = String::new();
        for check in &self.checks {
            let Written { number, host, excluded, interval, timeout, retries, rise, .. } = check;
            let resolve = check.rule.map_or_else(|| "each".to_owned(), |rule| rule.to_string());
            let port = check.port();
            let milliseconds = |time: &Duration| time.as_millis();
            let (interval, timeout) = (milliseconds(interval), milliseconds(timeout));
            let exclude = excluded.map(|ip| format!("exclude = \"{ip}\"\n")).unwrap_or_default();
            // Writing to a text cannot fail.
            let _ = write!(
                text,
                "[[check]]\nname = \"c{number}\"\ntarget = \"h{host}.example:{port}\"\nresolve = \"{resolve}\"\n\
                 interval = \"{interval}ms\"\ntimeout = \"{timeout}ms\"\nretries = {retries}\nrise = {rise}\n\
                 {exclude}tcp = {{}}\n"
            );
        }
        let files = [SourceFile::new("checks.toml", text)];
        let read = hc_config::parse(&files, &Limits::default(), &NoFiles);
        read.unwrap_or_else(|errors| unreachable!("the file is right: {errors}"))
    }

    /// The checks that must run while the names have these addresses.
    pub(super) fn wanted<'a>(
        &self,
        addresses: impl Fn(usize) -> Option<&'a BTreeSet<IpAddr>>,
    ) -> BTreeMap<CheckId, Wanted> {
        let mut wanted = BTreeMap::new();
        for (place, check) in self.checks.iter().enumerate() {
            let all = addresses(check.host).into_iter().flatten().copied();
            let possible = all.filter(|ip| !LIES.contains(ip) && Some(*ip) != check.excluded);
            let name = format!("c{}", check.number);
            let mut want = |name: String, addresses| {
                wanted.insert(check_id(&name), Wanted { name, place, addresses });
            };
            match check.rule {
                Some(_) => want(name, possible.collect()),
                None => possible.for_each(|ip| want(format!("{name}/{ip}"), [ip].into())),
            }
        }
        wanted
    }
}

impl Written {
    pub(super) fn port(&self) -> u16 {
        1000 + self.number
    }
}
