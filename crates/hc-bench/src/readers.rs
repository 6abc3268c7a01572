//! What readers wait for, and what they cost the probes: scrapes, and lists of all checks.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use hc_types::{
    CheckId, CheckSpec, Evidence, Health, Incarnation, Outcome, ProbeSpec, Progress, Sink as _, Status,
    StatusUpdate, Target, TcpProbe, Timing,
};
use hc_view::{Cursor, View, ViewConfig};

use crate::Options;
use crate::clock::now;
use crate::lateness::Lateness;
use crate::report::{Report, Table};
use crate::roles::{self, Serves};
use crate::server::{Hears, Server, Set};
use crate::stats::{median, percentile};

/// Sizes of servers. The first is the scale for the others.
const SIZES: [usize; 3] = [1_000, 100_000, 1_000_000];
const QUICK_SIZES: [usize; 2] = [1_000, 20_000];
const INTERVAL: Duration = Duration::from_secs(600);
const SCRAPES: usize = 50;
const LISTS: usize = 9;
/// Of the list inside the process.
const LISTED: u32 = 100_000;
/// As many rows at once as the admin API reads.
const PAGE: usize = 500;
/// One measurement of lateness, with or without readers.
const SPELL: Duration = Duration::from_secs(10);
const BETWEEN_SCRAPES: Duration = Duration::from_millis(100);

/// Runs the benchmark.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let (sizes, spell) = if options.quick { (&QUICK_SIZES[..], SPELL / 5) } else { (&SIZES[..], SPELL) };
    // The first probes of a million checks would take minutes at the usual rate.
    let config = "[checks]\nfirst_probes_per_second = 20000\n";
    let dir = tempfile::tempdir()?;
    let _backend = roles::start_backend(dir.path(), Serves::Tcp)?;
    let (mut answers, mut lateness) = (Vec::new(), Vec::new());
    let largest = sizes.iter().copied().max().unwrap_or_default();
    for &checks in sizes {
        let mut server = Server::start(config)?;
        server.fill(Set::new(checks, INTERVAL), Hears::News)?;
        answers.push(of_answers(&server, checks)?);
        if checks == largest {
            lateness = of_probes(&server, options.rounds(), spell)?;
        }
    }
    let of_readers = Table::new(
        "Readers of the admin API, over its Unix socket, connecting included",
        &[
            "checks",
            "`/metrics`, ms",
            "max",
            "processor ms",
            "`/api/v1/rows`, all of them, ms",
            "MB",
            "`/api/v1/status`, ms",
        ],
        answers,
    );
    let of_lateness = Table::new(
        format!(
            "Probes of {largest} checks while `/metrics` is read ten times a second, {} spells of each in turns",
            options.rounds()
        ),
        &["", "probes", "later than 1 ms", "later than 5 ms", "later than 25 ms"],
        lateness,
    );
    let of_view = Table::new(
        format!("The view, read inside the process: {LISTED} checks in pages of {PAGE}"),
        &["checks", "median, ms", "max, ms"],
        vec![in_process()?],
    );
    Ok(vec![of_readers, of_lateness, of_view].into())
}

/// How long readers wait for their answers.
fn of_answers(server: &Server, checks: usize) -> Result<Vec<String>> {
    let millis = |time: f64| format!("{time:.2}");
    let cpu = server.cpu_time()?;
    let mut scrapes = Vec::new();
    for _ in 0..SCRAPES {
        let begin = now();
        server.get("/metrics")?;
        scrapes.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let cpu = (server.cpu_time()? - cpu).as_secs_f64() * 1e3 / SCRAPES as f64;
    let (mut lists, mut status, mut bytes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..LISTS {
        let begin = now();
        bytes = list(server)?;
        lists.push(begin.elapsed().as_secs_f64() * 1e3);
        let begin = now();
        server.get("/api/v1/status")?;
        status.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    Ok(vec![
        checks.to_string(),
        millis(median(&scrapes)),
        millis(percentile(&mut scrapes, 100.0)),
        format!("{cpu:.1}"),
        format!("{:.0}", median(&lists)),
        format!("{:.1}", bytes as f64 / 1e6),
        millis(median(&status)),
    ])
}

/// Reads all rows, as the page does. Says how many bytes they are.
fn list(server: &Server) -> Result<usize> {
    let (mut after, mut bytes) = (String::new(), 0);
    loop {
        let page = server.get(&format!("/api/v1/rows?limit=10000{after}"))?;
        bytes += page.len();
        // Only the cursor: the reader's own work is not measured.
        let Some((_, next)) = page.split_once("\"next\":\"") else { return Ok(bytes) };
        let next: String = next.chars().take_while(char::is_ascii_digit).collect();
        after = format!("&after={next}");
    }
}

/// How late probes start with and without readers.
fn of_probes(server: &Server, spells: usize, spell: Duration) -> Result<Vec<Vec<String>>> {
    let mut sums = [Lateness::default(), Lateness::default()];
    for _ in 0..spells {
        for (is_read, sum) in sums.iter_mut().enumerate() {
            let before = Lateness::of(server)?;
            let end = now() + spell;
            while now() < end {
                if is_read == 1 {
                    server.get("/metrics")?;
                    sleep(BETWEEN_SCRAPES);
                } else {
                    sleep(spell);
                }
            }
            sum.add(&Lateness::of(server)?.since(&before));
        }
    }
    let row = |(name, late): (&str, Lateness)| {
        let later = |limit: &str| format!("{:.2} %", late.later_than(limit));
        vec![name.to_owned(), late.count().to_string(), later("0.001"), later("0.005"), later("0.025")]
    };
    Ok(["nobody reads", "ten scrapes a second"].into_iter().zip(sums).map(row).collect())
}

/// The view alone.
fn in_process() -> Result<Vec<String>> {
    let view = View::new(&ViewConfig::default(), Vec::new());
    for n in 0..LISTED {
        let (id, incarnation) = (CheckId(n.into()), Incarnation(1));
        let target = Target::plain(std::net::Ipv4Addr::from_bits(0x0a00_0000 | n).into(), 80);
        let timing = Timing::every(Duration::from_secs(60)).timeout(Duration::from_secs(1));
        let spec = Arc::new(CheckSpec::new(target, ProbeSpec::Tcp(TcpProbe::default()), timing)?);
        view.begin(id, incarnation, &spec);
        let status = Status {
            health: Health::Healthy,
            last_check: Some(SystemTime::now()),
            successes: 1,
            outcome: Some(Outcome::PASS),
            ..Status::NEW
        };
        let (progress, evidence) = (Progress::default(), Evidence::default());
        let update = StatusUpdate {
            id,
            incarnation,
            spec,
            status,
            transition: true,
            reportable: true,
            progress,
            evidence,
        };
        view.record(&mut vec![update]);
    }
    let mut times = Vec::new();
    for _ in 0..SCRAPES {
        let begin = now();
        let (mut seen, mut next) = (0, Some(Cursor::default()));
        while let Some(from) = next {
            let page = view.page(from, PAGE);
            seen += page.checks.len();
            next = page.next;
        }
        times.push(begin.elapsed().as_secs_f64() * 1e3);
        anyhow::ensure!(seen == LISTED as usize, "{seen} checks");
    }
    Ok(vec![
        LISTED.to_string(),
        format!("{:.1}", median(&times)),
        format!("{:.1}", percentile(&mut times, 100.0)),
    ])
}
