//! Processor time of one check, against HAProxy and against Seesaw's own healthchecker.
//!
//! Every peer runs the same number of checks at the same interval against the same nginx, pinned to
//! the same processor, nginx pinned to the other. One at a time is awake (the others are stopped by
//! signal), in turn, for several rounds. The checks of a round are counted by the kernel:
//! connections opened from the namespace.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::nginx::{self, BACKEND_CPU, CHECKER_CPU, PORT, address};
use crate::process::{self, Process, programs, wait_for};
use crate::{procfs, table};

const CHECKS: usize = 300;
const INTERVAL: Duration = Duration::from_millis(100);
/// HAProxy does not start without something to listen on.
const LISTEN: u16 = 18080;
const ROUNDS: usize = 5;
const SETTLE: Duration = Duration::from_secs(2);
const ROUND: Duration = Duration::from_secs(6);

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Tcp,
    Http,
}

/// A way to run the checks: the processes whose time counts, and those that only serve them.
struct Peer {
    name: &'static str,
    counted: Vec<Process>,
    _serving: Vec<Process>,
    micros: Vec<f64>,
    rates: Vec<f64>,
}

impl Peer {
    fn cpu_time(&self) -> Result<Duration> {
        self.counted.iter().map(|process| procfs::cpu_time(process.id())).sum()
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        self.counted.iter_mut().try_for_each(|process| process.signal(signal)).context(self.name)
    }

    fn round(&mut self) -> Result<()> {
        self.signal(Signal::CONT)?;
        sleep(SETTLE);
        let (cpu, opens) = (self.cpu_time()?, procfs::active_opens()?);
        sleep(ROUND);
        let (cpu, opens) = (self.cpu_time()? - cpu, procfs::active_opens()? - opens);
        self.signal(Signal::STOP)?;
        let expected = CHECKS as f64 * ROUND.as_secs_f64() / INTERVAL.as_secs_f64();
        // HAProxy counts the interval from the end of a check, so it makes a few less.
        anyhow::ensure!(
            (expected * 0.7..expected * 1.05).contains(&(opens as f64)),
            "{}: {opens} checks in a round, not about {expected}",
            self.name
        );
        self.micros.push(cpu.as_secs_f64() * 1e6 / opens as f64);
        self.rates.push(opens as f64 / ROUND.as_secs_f64());
        Ok(())
    }
}

/// Runs the benchmark and prints its tables.
pub(crate) fn run() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let _nginx = nginx::start(dir.path())?;
    for (kind, title) in [(Kind::Tcp, "TCP"), (Kind::Http, "HTTP")] {
        let dir = dir.path().join(title);
        fs::create_dir(&dir)?;
        let mut peers = vec![haproxy(&dir, kind)?, seesaw(&dir, kind)?, ours(&dir, kind)?];
        // Seesaw starts one check each 50 ms.
        sleep(Duration::from_millis(50) * u32::try_from(CHECKS)? + Duration::from_secs(5));
        peers.iter_mut().try_for_each(|peer| peer.signal(Signal::STOP))?;
        for _ in 0..ROUNDS {
            peers.iter_mut().try_for_each(Peer::round)?;
        }
        report(title, &peers);
    }
    Ok(())
}

fn report(title: &str, peers: &[Peer]) {
    let floor =
        |name: &str| peers.iter().find(|p| p.name == name).map_or(f64::NAN, |p| table::median(&p.micros));
    let (haproxy, seesaw) = (floor("HAProxy"), floor("Seesaw"));
    let rows: Vec<_> = peers
        .iter()
        .map(|peer| {
            let median = table::median(&peer.micros);
            let all: Vec<_> = peer.micros.iter().map(|micros| format!("{micros:.1}")).collect();
            vec![
                peer.name.to_owned(),
                format!("{:.0}", table::median(&peer.rates)),
                format!("{median:.1}"),
                format!("{:.2}", median / haproxy),
                format!("{:.2}", median / seesaw),
                all.join(" "),
            ]
        })
        .collect();
    let rate = CHECKS as f64 / INTERVAL.as_secs_f64();
    table::print(
        &format!("Processor time of one {title} check at {rate:.0} checks/s, µs"),
        &["checker", "checks/s", "median", "× HAProxy", "× Seesaw", "rounds"],
        &rows,
    );
}

fn haproxy(dir: &Path, kind: Kind) -> Result<Peer> {
    let mut config = format!(
        "global\n  nbthread 1\n  maxconn 1000\n\
         defaults\n  mode tcp\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\n  timeout check 1s\n\
         frontend f\n  bind 127.0.0.1:{LISTEN}\n  default_backend b\n\
         backend b\n{}",
        match kind {
            Kind::Tcp => "",
            Kind::Http =>
                "  option httpchk\n  http-check send meth GET uri / ver HTTP/1.1 hdr Host bench\n  \
                 http-check expect status 200\n",
        }
    );
    for check in 0..CHECKS {
        let (address, millis) = (address(check), INTERVAL.as_millis());
        writeln!(config, "  server s{check} {address}:{PORT} check inter {millis}ms")?;
    }
    let path = dir.join("haproxy.cfg");
    fs::write(&path, config)?;
    let args = ["-db".as_ref(), "-f".as_ref(), path.as_os_str()];
    let process =
        process::start(CHECKER_CPU, &dir.join("haproxy.log"), Path::new("/usr/sbin/haproxy"), &args)?;
    Ok(Peer { name: "HAProxy", counted: vec![process], _serving: vec![], micros: vec![], rates: vec![] })
}

/// A fake engine on the processor of the backends: serving checks is not checking.
fn engine(dir: &Path, name: &str, kind: Kind) -> Result<(Process, String)> {
    let checks: Vec<_> = (0..CHECKS)
        .map(|check| {
            let mut object = serde_json::json!({
                "id": check + 1, "interval": format!("{}ms", INTERVAL.as_millis()), "timeout": "1s", "retries": 2,
                "checker_type": "tcp", "ip": address(check), "port": PORT,
            });
            if kind == Kind::Http {
                object["checker_type"] = "http".into();
                object["expected_codes"] = serde_json::json!([200]);
            }
            object
        })
        .collect();
    let file = dir.join(format!("{name}.json"));
    fs::write(&file, serde_json::to_vec(&checks)?)?;
    let socket = dir.join(format!("{name}.sock")).display().to_string();
    let args = ["-socket", &socket, "-checks", &file.display().to_string()];
    let log = dir.join(format!("{name}.log"));
    let process = process::start(BACKEND_CPU, &log, &programs()?.join("fake-engine"), &args)?;
    wait_for("fake-engine listening", Duration::from_secs(5), || Path::new(&socket).exists())?;
    Ok((process, socket))
}

fn seesaw(dir: &Path, kind: Kind) -> Result<Peer> {
    let (engine, socket) = engine(dir, "engine-seesaw", kind)?;
    let program = programs()?.join("seesaw_healthcheck");
    let args = ["-engine", &socket, "-log_dir", &dir.display().to_string()];
    let process = process::start(CHECKER_CPU, &dir.join("seesaw.log"), &program, &args)?;
    Ok(Peer { name: "Seesaw", counted: vec![process], _serving: vec![engine], micros: vec![], rates: vec![] })
}

fn ours(dir: &Path, kind: Kind) -> Result<Peer> {
    let (engine, engine_socket) = engine(dir, "engine-ours", kind)?;
    let socket = dir.join("hc.sock").display().to_string();
    let args = ["--socket", &socket, "--state-dir", &dir.display().to_string()];
    let log = dir.join("hc-server.log");
    let server = process::start(CHECKER_CPU, &log, &programs()?.join("hc-server"), &args)?;
    let args = ["-engine", &engine_socket, "-socket", &socket, "-logtostderr"];
    let proxy = process::start(CHECKER_CPU, &dir.join("hc-proxy.log"), &programs()?.join("hc-proxy"), &args)?;
    Ok(Peer {
        name: "hc-server + hc-proxy",
        counted: vec![server, proxy],
        _serving: vec![engine],
        micros: vec![],
        rates: vec![],
    })
}
