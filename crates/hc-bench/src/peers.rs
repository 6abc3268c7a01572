//! Who runs checks: HAProxy, Seesaw's own healthchecker, our two programs, and bare loops. All are
//! given the same checks of the same backend.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use crate::process::{self, BACKEND_CPU, CHECKER_CPU, Process, programs, wait_for};
use crate::procfs;
use crate::roles::{self, Floor, PORT, Serves, address};
use crate::server::{self, Cpus};

/// HAProxy does not start without something to listen on.
const LISTEN: u16 = 18080;

pub(crate) const HAPROXY: &str = "HAProxy";
pub(crate) const SEESAW: &str = "Seesaw";
pub(crate) const OURS: &str = "hc-server + hc-proxy";

/// What a check does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Http,
    Https,
    HttpsResumed,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Http => "HTTP",
            Self::Https => "HTTPS",
            Self::HttpsResumed => "HTTPS, sessions offered",
        }
    }

    pub(crate) fn backend(self) -> Serves {
        match self {
            Self::Tcp => Serves::Tcp,
            Self::Http => Serves::Http,
            Self::Https => Serves::Https,
            Self::HttpsResumed => Serves::HttpsResumed,
        }
    }

    fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::HttpsResumed)
    }
}

/// The checks that each peer is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) kind: Kind,
    pub(crate) checks: usize,
    pub(crate) interval: Duration,
    /// Threads of hc-server that run probes. With more than one it has all processors.
    pub(crate) shards: usize,
}

impl Load {
    /// Checks a second.
    pub(crate) fn rate(&self) -> f64 {
        self.checks as f64 / self.interval.as_secs_f64()
    }
}

/// How long anybody may take to begin with all checks. HAProxy and hc-server spread the first ones
/// over the interval.
const BEGINS: Duration = Duration::from_secs(2);

/// A way to run the checks: the processes whose time counts, and those that only serve them.
pub(crate) struct Peer {
    pub(crate) name: String,
    /// How long it takes to begin with all checks.
    pub(crate) begins: Duration,
    counted: Vec<Process>,
    _serving: Vec<Process>,
}

/// What a peer did while it was looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// Processor time of one check, in µs.
    pub(crate) micros: f64,
    /// Checks a second.
    pub(crate) rate: f64,
}

impl Peer {
    fn new(name: &str, counted: Vec<Process>, serving: Vec<Process>) -> Self {
        Self { name: name.to_owned(), begins: BEGINS, counted, _serving: serving }
    }

    fn cpu_time(&self) -> Result<Duration> {
        self.pids().map(procfs::cpu_time).sum()
    }

    /// The processes whose time counts.
    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        self.counted.iter().map(Process::id)
    }

    /// Ends the first of them as an operator does, and says what it wrote to its log at last.
    pub(crate) fn terminate(&mut self, limit: Duration) -> Result<String> {
        let first = self.counted.first_mut().context("no process")?;
        first.signal(Signal::TERM).with_context(|| first.log_tail())?;
        first.wait_end(limit)?;
        Ok(first.log_tail())
    }

    /// Counts what it does, which must be all that is done.
    pub(crate) fn watch(&self, length: Duration) -> Result<Work> {
        let (cpu, opens, begin) = (self.cpu_time()?, procfs::active_opens()?, crate::clock::now());
        sleep(length);
        let (cpu, opens) = (self.cpu_time()? - cpu, procfs::active_opens()? - opens);
        let took = begin.elapsed();
        ensure!(opens > 0, "{}: no checks in a round", self.name);
        Ok(Work { micros: cpu.as_secs_f64() * 1e6 / opens as f64, rate: opens as f64 / took.as_secs_f64() })
    }
}

/// A bare loop; `rate` 0 is as fast as it goes.
pub(crate) fn floor(dir: &Path, floor: &Floor, checks: usize, rate: u32) -> Result<Peer> {
    let log = dir.join(format!("{}-{rate}.log", floor.word));
    let args = ["floor", floor.word, &checks.to_string(), &rate.to_string()];
    Ok(Peer::new(floor.name, vec![process::start_role(CHECKER_CPU, &log, &args)?], vec![]))
}

pub(crate) fn haproxy(dir: &Path, load: &Load) -> Result<Peer> {
    haproxy_under(dir, load, &[])
}

/// HAProxy as the last word of another command.
pub(crate) fn haproxy_under(dir: &Path, load: &Load, wrapper: &[&str]) -> Result<Peer> {
    let path = haproxy_config(dir, load)?.display().to_string();
    let words = [wrapper, &["/usr/sbin/haproxy", "-db", "-f", &path]].concat();
    let mut command = process::pinned(CHECKER_CPU, Path::new(words[0]));
    let process = process::spawn(command.args(&words[1..]), &dir.join("haproxy.log"))?;
    Ok(Peer::new(HAPROXY, vec![process], vec![]))
}

/// Its configuration file, in `dir`.
fn haproxy_config(dir: &Path, load: &Load) -> Result<PathBuf> {
    let mut config = format!(
        "global\n  nbthread 1\n  maxconn 1000\n\
         defaults\n  mode tcp\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\n  timeout check 1s\n\
         frontend f\n  bind 127.0.0.1:{LISTEN}\n  default_backend b\n\
         backend b\n{}",
        match load.kind {
            Kind::Tcp => "",
            _ =>
                "  option httpchk\n  http-check send meth GET uri / ver HTTP/1.1 hdr Host bench\n  \
                 http-check expect status 200\n",
        }
    );
    let tls = if load.kind.is_tls() { " check-ssl verify none" } else { "" };
    for check in 0..load.checks {
        let (address, millis) = (address(check), load.interval.as_millis());
        writeln!(config, "  server s{check} {address}:{PORT} check{tls} inter {millis}ms")?;
    }
    let path = dir.join("haproxy.cfg");
    fs::write(&path, config)?;
    Ok(path)
}

/// A fake engine with these checks, and its socket.
fn engine(dir: &Path, name: &str, load: &Load) -> Result<(Process, String)> {
    let checks = (0..load.checks).map(|check| {
        let mut object = serde_json::json!({
            "id": check + 1, "interval": format!("{}ms", load.interval.as_millis()), "timeout": "1s",
            "retries": 2, "checker_type": "tcp", "ip": address(check), "port": PORT,
        });
        if load.kind != Kind::Tcp {
            object["checker_type"] = "http".into();
            object["expected_codes"] = serde_json::json!([200]);
        }
        if load.kind.is_tls() {
            object["secure"] = true.into();
            object["tls_verify"] = false.into();
        }
        object
    });
    engine_with(dir, name, &checks.collect::<Vec<_>>())
}

/// A fake engine on the processor of the backends, since serving checks is not checking. What it
/// hears are the lines of the process.
pub(crate) fn engine_with(dir: &Path, name: &str, checks: &[serde_json::Value]) -> Result<(Process, String)> {
    let file = dir.join(format!("{name}.json"));
    fs::write(&file, serde_json::to_vec(checks)?)?;
    let socket = dir.join(format!("{name}.sock")).display().to_string();
    let mut command = process::pinned(BACKEND_CPU, &programs()?.join("fake-engine"));
    command.args(["-socket", &socket, "-checks", &file.display().to_string()]);
    let process = Process::try_start(&mut command, &dir.join(format!("{name}.log")))?;
    wait_for("fake-engine listening", Duration::from_secs(30), || Path::new(&socket).exists())?;
    Ok((process, socket))
}

pub(crate) fn seesaw(dir: &Path, load: &Load) -> Result<Peer> {
    let (engine, socket) = engine(dir, "engine-seesaw", load)?;
    let program = programs()?.join("seesaw_healthcheck");
    let args = ["-engine", &socket, "-log_dir", &dir.display().to_string()];
    let process = process::start(CHECKER_CPU, &dir.join("seesaw.log"), &program, &args)?;
    // It starts one check each 50 ms.
    let begins = Duration::from_millis(50) * u32::try_from(load.checks)? + Duration::from_secs(3);
    Ok(Peer { begins, ..Peer::new(SEESAW, vec![process], vec![engine]) })
}

pub(crate) fn ours(dir: &Path, load: &Load) -> Result<Peer> {
    ours_under(dir, load, &[])
}

/// Our two programs, hc-server as the last word of another command.
pub(crate) fn ours_under(dir: &Path, load: &Load, wrapper: &[&str]) -> Result<Peer> {
    let (engine, socket) = engine(dir, "engine-ours", load)?;
    let config = format!("[checks]\nshards = {}\nfirst_probes_per_second = 20000\n", load.shards);
    let counted = our_programs(dir, &socket, &config, (Cpus::of(load.shards), wrapper))?;
    Ok(Peer::new(OURS, counted.into(), vec![engine]))
}

/// hc-server, on these processors as the last word of another command, and hc-proxy between it and
/// an engine.
pub(crate) fn our_programs(
    dir: &Path,
    engine: &str,
    config: &str,
    (cpus, wrapper): (Cpus, &[&str]),
) -> Result<[Process; 2]> {
    let server = server::launch(dir, config, cpus, wrapper)?;
    let socket = server::socket(dir).display().to_string();
    let args = ["-engine", engine, "-socket", &socket, "-logtostderr"];
    let proxy = process::start(CHECKER_CPU, &dir.join("hc-proxy.log"), &programs()?.join("hc-proxy"), &args)?;
    Ok([server, proxy])
}

/// Starts a backend in a folder of its own, as it is wanted by checks of this kind.
pub(crate) fn backend(dir: &Path, kind: Kind) -> Result<roles::Backend> {
    roles::start_backend(dir, kind.backend())
}
