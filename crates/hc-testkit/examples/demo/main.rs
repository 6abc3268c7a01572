//! `cargo xtask demo`: the whole chain on this machine, with backends that die and come back.
#![allow(clippy::print_stdout, reason = "a command line program talks on standard output")]

mod alone;

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use hc_testkit::backend::Backend;
use hc_testkit::chain::{Programs, write_checks};
use hc_testkit::process::{PATIENCE, Process};
use hc_testkit::script::Step;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use alone::Alone;

/// The schedule of every check here.
const INTERVAL: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_millis(300);
const RETRIES: u32 = 1;

/// The time between the end of a probe and the engine's knowledge: the batch delay, the two
/// sockets, some air.
const DELIVERY: Duration = Duration::from_millis(300);

/// How long nothing happens between two events, for people to read.
const PAUSE: Duration = Duration::from_millis(1200);

/// How long Ctrl-C may go unnoticed.
const TICK: Duration = Duration::from_millis(20);

/// How long a program has between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(3);

/// The backends; the ids of their checks count from 1. The last two speak TCP only.
const BACKENDS: &[(&str, Kind)] = &[
    ("web-1", Kind::Http),
    ("web-2", Kind::Http),
    ("web-3", Kind::Http),
    ("cache-1", Kind::Tcp),
    ("cache-2", Kind::Tcp),
];

/// Run the whole chain with backends that die and come back.
#[derive(Debug, Parser)]
struct Options {
    /// The directory of the programs.
    bin: PathBuf,
    /// End after this time, as `20s`; without it Ctrl-C does.
    #[arg(long = "for", value_name = "LENGTH", value_parser = humantime::parse_duration)]
    length: Option<Duration>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("cannot catch signals")?;
    }
    let mut demo = Demo::start(&Programs::in_directory(&options.bin), options.length, stop)?;
    if let Err(error) = demo.play() {
        demo.programs.iter().for_each(|program| eprint!("{}", program.log_tail()));
        return Err(error);
    }
    demo.end()
}

/// What a backend speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Accepts connections and closes them.
    Tcp,
    /// Answers 200, or 503 while it is ill.
    Http,
}

impl Kind {
    /// The probe, in a file of checks.
    fn in_file(self) -> &'static str {
        match self {
            Self::Tcp => "tcp = {}",
            Self::Http => "http = { path = \"/healthz\", expected_codes = [200] }",
        }
    }

    fn steps(self, ill: bool) -> Vec<Step> {
        match (self, ill) {
            (Self::Tcp, _) => Vec::new(),
            (Self::Http, false) => Step::respond("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwell\n"),
            (Self::Http, true) => {
                Step::respond("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nill\n")
            }
        }
    }
}

/// A change of a backend that the engine is to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Dies,
    Returns,
    FallsIll,
    Recovers,
}

impl Change {
    fn state(self) -> &'static str {
        match self {
            Self::Dies | Self::FallsIll => "unhealthy",
            Self::Returns | Self::Recovers => "healthy",
        }
    }

    /// The most that may pass until the engine hears of it.
    fn bound(self) -> Duration {
        match self {
            Self::Dies | Self::FallsIll => INTERVAL * (RETRIES + 1) + TIMEOUT + DELIVERY,
            Self::Returns | Self::Recovers => INTERVAL + TIMEOUT + DELIVERY,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Dies => "dies: its port is closed",
            Self::Returns => "comes back",
            Self::FallsIll => "falls ill: it answers 503",
            Self::Recovers => "recovers: it answers 200",
        })
    }
}

/// Whether the demo goes on after a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    GoOn,
    /// Ctrl-C, or the time is over.
    End,
}

struct Demo {
    /// The hc-server without Seesaw, hc-proxy, hc-server and fake-engine. They end in this order,
    /// and before what they use.
    programs: Vec<Process>,
    backends: Vec<(SocketAddr, Option<Backend>)>,
    directory: TempDir,
    /// How many lines of the engine were read.
    read: usize,
    /// The state of every check as the engine last heard it, by id; the first has no check.
    states: Vec<String>,
    /// The server without Seesaw, and the health of every backend as it last said, in their order.
    alone: Alone,
    alone_states: Vec<String>,
    fetches: u64,
    /// Notifications that changed nothing: the refresh that the engine lives on.
    refreshes: u64,
    begin: Instant,
    end: Option<Instant>,
    stop: Arc<AtomicBool>,
    noticed: Vec<(Change, Duration)>,
}

impl Demo {
    fn start(programs: &Programs, length: Option<Duration>, stop: Arc<AtomicBool>) -> Result<Self> {
        let directory =
            tempfile::Builder::new().prefix("hc-demo-").tempdir().context("cannot make a directory")?;
        let path = directory.path();
        let mut backends = Vec::new();
        for (_, kind) in BACKENDS {
            let backend = Backend::start(IpAddr::V4(Ipv4Addr::LOCALHOST), kind.steps(false))?;
            backends.push((backend.address(), Some(backend)));
        }
        write_checks(path, &checks(backends.iter().map(|(address, _)| *address)))?;
        // An empty configuration of our own, so that one of this machine does not play along.
        fs::write(path.join("hc-server.toml"), "").context("cannot write the configuration")?;
        let begin = now();
        let mut server = programs.server(path);
        let server_path = server.get_program().to_owned();
        server.arg("--config").arg(path.join("hc-server.toml"));
        let engine = start("fake-engine", &programs.engine(path), path)?;
        let server = start("hc-server", &server, path)?;
        let proxy = start("hc-proxy", &programs.proxy(path), path)?;
        let of_file = backends
            .iter()
            .zip(BACKENDS)
            .map(|((address, _), (name, kind))| (*name, *address, kind.in_file()));
        let (files, command) = Alone::prepare(path, Path::new(server_path.as_os_str()), of_file)?;
        let standalone = start("hc-server-alone", &command, path)?;
        Ok(Self {
            programs: vec![standalone, proxy, server, engine],
            backends,
            directory,
            read: 0,
            states: vec![String::new(); BACKENDS.len() + 1],
            alone: files,
            alone_states: vec![String::new(); BACKENDS.len()],
            fetches: 0,
            refreshes: 0,
            begin,
            end: length.map(|length| begin + length),
            stop,
            noticed: Vec::new(),
        })
    }

    /// Plays until the time is over or somebody stops it.
    fn play(&mut self) -> Result<()> {
        println!(
            "\n{} backends, one check each: every {}, timeout {}, {RETRIES} retry. Ctrl-C ends the demo.\n",
            BACKENDS.len(),
            humantime::format_duration(INTERVAL),
            humantime::format_duration(TIMEOUT),
        );
        println!(
            "A second hc-server checks the same backends without Seesaw, from this file:\n\n{}",
            self.alone.checks()
        );
        println!("Its page, for a browser on this machine: {}\n", self.alone.page());
        println!("{:>8}  {:9}{:9}", "seconds", "where", "what");
        let all_healthy = |states: &[String], alone: &[String]| {
            states[1..].iter().chain(alone).all(|state| state == "healthy")
        };
        if self.wait("every backend to be healthy", all_healthy)? == Turn::End {
            return Ok(());
        }
        for round in 0.. {
            // Another victim each time; the cache backends are the last two.
            let (web, cache) = (round % 3, 3 + round % 2);
            for (who, change) in [
                (cache, Change::Dies),
                (cache, Change::Returns),
                (web, Change::FallsIll),
                (web, Change::Recovers),
                (web, Change::Dies),
                (web, Change::Returns),
            ] {
                if self.pause()? == Turn::End || self.show(who, change)? == Turn::End {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Changes a backend and waits for the engine to hear of it.
    fn show(&mut self, who: usize, change: Change) -> Result<Turn> {
        let (name, kind) = BACKENDS[who];
        let (address, backend) = &mut self.backends[who];
        let at = now();
        match (change, &backend) {
            (Change::Dies, _) => *backend = None,
            (Change::Returns, _) => {
                let port = address.port();
                let returned = Backend::start_at(*address, kind.steps(false));
                *backend = Some(returned.with_context(|| format!("port {port} was taken meanwhile"))?);
            }
            (Change::FallsIll | Change::Recovers, Some(backend)) => {
                backend.set_steps(kind.steps(change == Change::FallsIll));
            }
            (Change::FallsIll | Change::Recovers, None) => bail!("{name} is dead"),
        }
        self.say("backend", &format!("{name} {change}"));
        let heard = format!("{name} to be {}", change.state());
        let turn = self.wait(&heard, |states, _| states[who + 1] == change.state())?;
        if turn == Turn::GoOn {
            let took = now() - at;
            self.noticed.push((change, took));
            println!(
                "{:29}known to the engine after {:.2} s, allowed are {:.2} s",
                "",
                took.as_secs_f64(),
                change.bound().as_secs_f64()
            );
        } else {
            return Ok(turn);
        }
        let written = format!("{name} to be {} in the log of the server without Seesaw", change.state());
        self.wait(&written, |_, alone| alone[who] == change.state())
    }

    fn pause(&mut self) -> Result<Turn> {
        let until = now() + PAUSE;
        while now() < until {
            if self.turn()? == Turn::End {
                return Ok(Turn::End);
            }
        }
        Ok(Turn::GoOn)
    }

    /// Waits until the states that the engine has heard satisfy `done`.
    fn wait(&mut self, what: &str, done: impl Fn(&[String], &[String]) -> bool) -> Result<Turn> {
        let limit = now() + PATIENCE;
        while !done(&self.states, &self.alone_states) {
            if self.turn()? == Turn::End {
                return Ok(Turn::End);
            }
            if now() >= limit {
                bail!("the engine has waited {PATIENCE:?} for {what}");
            }
        }
        Ok(Turn::GoOn)
    }

    /// Takes the next lines of the engine, if any come within a tick.
    fn turn(&mut self) -> Result<Turn> {
        for program in &mut self.programs {
            if !program.running() {
                bail!("a program has ended by itself");
            }
        }
        let read = self.read;
        let engine = self.programs.last().context("fake-engine is the last")?;
        let lines = engine.wait_lines(TICK, |lines| (lines.len() > read).then(|| lines[read..].to_vec()));
        for line in lines.unwrap_or_default() {
            self.read += 1;
            self.take(&serde_json::from_str(&line).with_context(|| format!("fake-engine said {line}"))?)?;
        }
        for (name, health, message) in self.alone.news()? {
            let index = BACKENDS.iter().position(|(of, _)| *of == name).context("no such backend")?;
            self.say("file", &format!("{name} is {health}: {message}"));
            self.alone_states[index] = health;
        }
        let over = self.stop.load(Ordering::SeqCst) || self.end.is_some_and(|end| now() >= end);
        Ok(if over { Turn::End } else { Turn::GoOn })
    }

    /// Takes what happened at the engine.
    fn take(&mut self, event: &Value) -> Result<()> {
        match event["event"].as_str().unwrap_or_default() {
            "listening" => self.say("engine", "listens"),
            "fetch" => {
                self.fetches += 1;
                if self.fetches == 1 {
                    self.say("engine", &format!("{} checks fetched", event["checks"]));
                }
            }
            "notification" => {
                let id = event["id"].as_u64().and_then(|id| usize::try_from(id).ok()).context("no id")?;
                let state = event["state"].as_str().context("no state")?;
                let (name, _) =
                    id.checked_sub(1).and_then(|index| BACKENDS.get(index)).context("no such id")?;
                if self.states[id] == state {
                    self.refreshes += 1;
                } else {
                    state.clone_into(&mut self.states[id]);
                    let message = event["message"].as_str().unwrap_or_default();
                    self.say("engine", &format!("hears that {name} is {state}: {message}"));
                }
            }
            "error" => self.say("engine", &event.to_string()),
            _ => {}
        }
        Ok(())
    }

    fn say(&self, place: &str, what: &str) {
        println!("{:>8.3}  {place:9}{what}", (now() - self.begin).as_secs_f64());
    }

    /// Ends everything in order and sums up.
    fn end(mut self) -> Result<()> {
        let began = now();
        self.backends.clear();
        for mut program in self.programs.drain(..) {
            program.signal(Signal::TERM)?;
            let status = program.wait_end(GRACE)?;
            if !status.success() {
                bail!("a program ended badly when it was stopped: {status}\n{}", program.log_tail());
            }
        }
        self.directory.close().context("cannot remove the demo's directory")?;
        println!(
            "\nall programs stopped within {:.2} s. The engine was asked for its checks {} times and heard {} \
             confirmations besides the changes.",
            (now() - began).as_secs_f64(),
            self.fetches,
            self.refreshes,
        );
        sum_up(&self.noticed)
    }
}

/// Prints how long the engine waited for changes, worst first, and fails if that was longer than
/// allowed.
fn sum_up(noticed: &[(Change, Duration)]) -> Result<()> {
    if noticed.is_empty() {
        println!("There was no time for a backend to die.");
        return Ok(());
    }
    for change in [Change::Dies, Change::FallsIll, Change::Returns, Change::Recovers] {
        let times = || noticed.iter().filter(|(of, _)| *of == change).map(|(_, took)| *took);
        let Some(worst) = times().max() else { continue };
        let (times, seconds, bound) = (times().count(), worst.as_secs_f64(), change.bound().as_secs_f64());
        println!(
            "{change:26} {times:3} times, known after {seconds:.2} s at worst, allowed are {bound:.2} s"
        );
    }
    let late = noticed.iter().filter(|(change, took)| *took > change.bound()).count();
    if late > 0 {
        bail!("the engine heard too late of {late} of {} changes", noticed.len());
    }
    Ok(())
}

/// Starts a program in a process group of its own, so that Ctrl-C on the terminal reaches only the
/// demo, which then ends things in their order. Should the demo itself be killed, `setpriv` has
/// asked the kernel to kill the program, too; this holds for as long as the calling thread lives,
/// so the main thread starts all programs.
fn start(name: &str, program: &Command, directory: &Path) -> Result<Process> {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program.get_program()).args(program.get_args());
    let log = directory.join(name).with_extension("log");
    Process::try_start(command.process_group(0), &log).with_context(|| format!("{name} (package util-linux)"))
}

/// The checks as fake-engine reads them; ids count from 1 in the order of [`BACKENDS`].
fn checks(addresses: impl Iterator<Item = SocketAddr>) -> Value {
    let check = |((address, (_, kind)), id): ((SocketAddr, &(&str, Kind)), usize)| {
        let mut check = json!({
            "id": id,
            "interval": humantime::format_duration(INTERVAL).to_string(),
            "timeout": humantime::format_duration(TIMEOUT).to_string(),
            "retries": RETRIES,
            "ip": address.ip().to_string(),
            "port": address.port(),
        });
        match kind {
            Kind::Tcp => check["checker_type"] = "tcp".into(),
            Kind::Http => {
                check["checker_type"] = "http".into();
                check["path"] = "/healthz".into();
                check["expected_codes"] = json!([200]);
            }
        }
        check
    };
    addresses.zip(BACKENDS).zip(1..).map(check).collect()
}

#[allow(clippy::disallowed_methods, reason = "the demo shows real processes in real time")]
fn now() -> Instant {
    Instant::now()
}
