//! What readers wait for, and what they cost the probes: scrapes, and lists of all checks.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use hc_types::{
    CheckId, CheckSpec, Evidence, Health, Incarnation, Outcome, ProbeSpec, Progress, Sink as _, Status,
    StatusUpdate, Target, TcpProbe, Timing,
};
use hc_view::{Cursor, View, ViewConfig};

use crate::server::{self, Server};
use crate::table::{self, median, percentile};

/// Sizes of servers. The first is the scale for the others.
const SIZES: [usize; 3] = [1_000, 100_000, 1_000_000];
const SCRAPES: usize = 50;
const LISTS: usize = 9;
/// Of the list inside the process.
const LISTED: u32 = 100_000;
/// As many rows at once as the admin API reads.
const PAGE: usize = 500;
/// One measurement of lateness, with or without readers.
const SPELL: Duration = Duration::from_secs(10);
const SPELLS: usize = 5;
const BETWEEN_SCRAPES: Duration = Duration::from_millis(100);

/// Runs the benchmark and prints its tables.
pub(crate) fn run() -> Result<()> {
    // The first probes of a million checks would take minutes at the usual rate.
    let config = "[checks]\nfirst_probes_per_second = 20000\n";
    let port = server::backend()?;
    let (mut answers, mut lateness) = (Vec::new(), Vec::new());
    for checks in SIZES {
        let server = Server::start(config)?;
        server.fill(checks, port)?;
        answers.push(of_answers(&server, checks)?);
        if checks == SIZES[SIZES.len() - 1] {
            lateness = of_probes(&server)?;
        }
    }
    let largest = SIZES[SIZES.len() - 1];
    table::print(
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
        &answers,
    );
    table::print(
        &format!(
            "Probes of {largest} checks while `/metrics` is read ten times a second, {SPELLS} spells of each in turns"
        ),
        &["", "probes", "later than 1 ms", "later than 5 ms", "later than 25 ms"],
        &lateness,
    );
    table::print(
        &format!("The view, read inside the process: {LISTED} checks in pages of {PAGE}"),
        &["checks", "median, ms", "max, ms"],
        &[in_process()?],
    );
    Ok(())
}

/// How long readers wait for their answers.
#[allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn of_answers(server: &Server, checks: usize) -> Result<Vec<String>> {
    let millis = |time: f64| format!("{time:.2}");
    let cpu = server.cpu_time()?;
    let mut scrapes = Vec::new();
    for _ in 0..SCRAPES {
        let begin = Instant::now();
        server.get("/metrics")?;
        scrapes.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let cpu = (server.cpu_time()? - cpu).as_secs_f64() * 1e3 / SCRAPES as f64;
    let (mut lists, mut status, mut bytes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..LISTS {
        let begin = Instant::now();
        bytes = list(server)?;
        lists.push(begin.elapsed().as_secs_f64() * 1e3);
        let begin = Instant::now();
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
#[allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn of_probes(server: &Server) -> Result<Vec<Vec<String>>> {
    let mut sums = [[0.0; 4]; 2];
    for _ in 0..SPELLS {
        for (is_read, sum) in sums.iter_mut().enumerate() {
            let before = lateness(server)?;
            let end = Instant::now() + SPELL;
            while Instant::now() < end {
                if is_read == 1 {
                    server.get("/metrics")?;
                    sleep(BETWEEN_SCRAPES);
                } else {
                    sleep(SPELL);
                }
            }
            let after = lateness(server)?;
            sum.iter_mut()
                .zip(after.iter().zip(before))
                .for_each(|(sum, (after, before))| *sum += after - before);
        }
    }
    let row = |(name, [all, one, five, many]): (&str, [f64; 4])| {
        let later = |within: f64| format!("{:.2} %", (all - within) / all * 100.0);
        vec![name.to_owned(), format!("{all:.0}"), later(one), later(five), later(many)]
    };
    Ok(["nobody reads", "ten scrapes a second"].into_iter().zip(sums).map(row).collect())
}

/// Probes so far, and those later than due by at most 1, 5 and 25 ms.
fn lateness(server: &Server) -> Result<[f64; 4]> {
    let metrics = server.get("/metrics")?;
    let value = |name: &str| -> Result<f64> {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)).context("no lateness")?;
        Ok(line.trim().parse()?)
    };
    let bucket = |limit: &str| value(&format!("hc_probe_lateness_seconds_bucket{{le=\"{limit}\"}}"));
    Ok([value("hc_probe_lateness_seconds_count")?, bucket("0.001")?, bucket("0.005")?, bucket("0.025")?])
}

/// The view alone.
#[allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
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
        let begin = Instant::now();
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
