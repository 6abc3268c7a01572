//! Wall time of one TCP check on loopback: our probe alone, Seesaw's own checker, and our whole
//! chain up to the parsed notification in Go. All on one processor, the backend on the other, one check
//! after another, in turn for several rounds.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hc_checkers::{Checkers, CheckersConfig};
use hc_types::{CheckSpec, Outcome, ProbeSpec, Target, TcpProbe, Timing};

use crate::Options;
use crate::clock::now;
use crate::process::{self, CHECKER_CPU, Pinned, programs, wait_for};
use crate::report::{Report, Table};
use crate::roles::{self, PORT, Serves};
use crate::server::{self, Cpus};
use crate::stats::{median, percentile};

const CHECKS: usize = 3000;
const WARM_UP: usize = 300;

/// The figures of one way, a value a round, in µs.
#[derive(Default)]
struct Way {
    medians: Vec<f64>,
    p99s: Vec<f64>,
}

/// Runs the benchmark.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let dir = tempfile::tempdir()?;
    let _backend = roles::start_backend(dir.path(), Serves::Tcp)?;
    let names = [
        "our probe alone",
        "Seesaw's Go checker alone",
        "our whole chain: set in, parsed notification out",
        "… of it, parsing the notification in Go",
        "… of it, one line through a Unix socket",
    ];
    let mut ways: [Way; 5] = Default::default();
    let checks = if options.quick { CHECKS / 10 } else { CHECKS };
    for _ in 0..options.rounds() {
        let [probe, seesaw, chain, parse, socket] = &mut ways;
        probe.add(our_probe(checks)?);
        seesaw.add(figures(&seesaw_check(checks)?)?);
        let report = our_chain(dir.path(), checks)?;
        chain.add(figures(&report["chain"])?);
        parse.add(figures(&report["parse"])?);
        socket.add(figures(&report["socket"])?);
    }
    let rows: Vec<_> = names.iter().zip(&ways).map(|(name, way)| way.row(name)).collect();
    Ok(Table::new(
        "Wall time of one TCP check on loopback, µs (medians of rounds)",
        &["", "median", "p99", "median of each round"],
        rows,
    )
    .into())
}

impl Way {
    fn add(&mut self, (median, p99): (f64, f64)) {
        self.medians.push(median);
        self.p99s.push(p99);
    }

    fn row(&self, name: &str) -> Vec<String> {
        let all: Vec<_> = self.medians.iter().map(|median| format!("{median:.1}")).collect();
        let (median, p99) = (median(&self.medians), median(&self.p99s));
        vec![name.to_owned(), format!("{median:.1}"), format!("{p99:.1}"), all.join(" ")]
    }
}

fn our_probe(checks: usize) -> Result<(f64, f64)> {
    let _here = Pinned::to(CHECKER_CPU)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let target = Target::plain("127.0.0.1".parse()?, PORT);
    let timing = Timing::every(Duration::from_secs(1)).timeout(Duration::from_secs(1));
    let spec = CheckSpec::new(target, ProbeSpec::Tcp(TcpProbe::default()), timing)?;
    let checkers = Checkers::new(CheckersConfig::default());
    let mut micros = Vec::with_capacity(checks);
    for check in 0..WARM_UP + checks {
        let begin = now();
        let outcome = runtime.block_on(checkers.probe(&spec));
        let took = begin.elapsed();
        ensure!(outcome == Outcome::PASS, "a probe did not pass: {outcome:?}");
        if check >= WARM_UP {
            micros.push(took.as_secs_f64() * 1e6);
        }
    }
    Ok((percentile(&mut micros, 50.0), percentile(&mut micros, 99.0)))
}

fn seesaw_check(checks: usize) -> Result<serde_json::Value> {
    pinned("seesaw-bench-check", &["-address", &format!("127.0.0.1:{PORT}")], checks)
}

fn our_chain(dir: &Path, checks: usize) -> Result<serde_json::Value> {
    let dir = tempfile::tempdir_in(dir)?;
    let config = "[notify]\nbatch_delay = \"0s\"\n[log]\nlevel = \"warn\"\n";
    let _server = server::launch(dir.path(), config, Cpus::One, &[])?;
    let socket = server::socket(dir.path());
    wait_for("hc-server listening", Duration::from_secs(5), || socket.exists())?;
    let socket = socket.display().to_string();
    let address = format!("{}:{}", roles::address(0), PORT);
    pinned("chain-bench", &["-socket", &socket, "-address", &address], checks)
}

/// Runs a program on the checkers' processor and reads the JSON that it prints.
fn pinned(program: &str, args: &[&str], checks: usize) -> Result<serde_json::Value> {
    let program = programs()?.join(program);
    let (n, warmup) = (checks.to_string(), WARM_UP.to_string());
    let output = process::pinned(CHECKER_CPU, &program)
        .args(args)
        .args(["-n", &n, "-warmup", &warmup])
        .output()
        .with_context(|| program.display().to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}: {said}", program.display(), output.status);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    ensure!(report["failures"] == 0, "{}: checks failed: {report}", program.display());
    Ok(report)
}

/// Median and p99 in µs.
fn figures(report: &serde_json::Value) -> Result<(f64, f64)> {
    let micros = |key: &str| -> Result<f64> { Ok(report[key].as_f64().context("no figure")? / 1e3) };
    Ok((micros("median_ns")?, micros("p99_ns")?))
}
