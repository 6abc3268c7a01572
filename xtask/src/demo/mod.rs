//! `cargo xtask demo`: the whole chain on this machine, with backends that die and come back.

mod backend;
mod heard;
mod programs;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;
use tempfile::TempDir;

use self::backend::{Backend, Kind};
use self::heard::{Event, Known, What};
use self::programs::Program;
use crate::build::{self, Profile};
use crate::setup::{self, Purpose};
use crate::workspace::Workspace;

/// The schedule of every check here.
const INTERVAL: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_millis(300);
const RETRIES: u32 = 1;

/// The time between the end of a probe and the engine's knowledge: the batch delay, the two sockets, some air.
const ON_THE_WAY: Duration = Duration::from_millis(300);

/// The demo gives up when the engine has not heard after this time, which is far above what it should take.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long nothing happens between two events, for people to read.
const PAUSE: Duration = Duration::from_millis(1200);

/// How long the demo may be deaf to Ctrl-C.
const TICK: Duration = Duration::from_millis(20);

const BACKENDS: &[(&str, Kind)] = &[
    ("web-1", Kind::Http),
    ("web-2", Kind::Http),
    ("web-3", Kind::Http),
    ("cache-1", Kind::Tcp),
    ("cache-2", Kind::Tcp),
];

/// `cargo xtask demo`.
pub(crate) fn main(length: Option<Duration>) -> Result<()> {
    let workspace = Workspace::load()?;
    setup::ensure(&workspace, Purpose::Build)?;
    build::all(&workspace, Profile::Dev)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("cannot catch signals")?;
    }
    run(&workspace.bin(), length, stop)
}

/// Whether the demo goes on after a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    GoOn,
    /// Ctrl-C, or the time is over.
    End,
}

fn run(bin: &Path, length: Option<Duration>, stop: Arc<AtomicBool>) -> Result<()> {
    let mut demo = Demo::start(bin, length, stop)?;
    let result = demo.play();
    if let Err(error) = result {
        for program in &demo.programs {
            eprint!("{}", program.tail());
        }
        return Err(error);
    }
    demo.end()
}

struct Demo {
    // Programs first: they go before what they use. hc-proxy, hc-server, fake-engine.
    programs: Vec<Program>,
    backends: Vec<Backend>,
    directory: TempDir,
    events: Receiver<Event>,
    known: Known,
    begin: Instant,
    end: Option<Instant>,
    stop: Arc<AtomicBool>,
    noticed: Vec<(Change, Duration)>,
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
            Self::Dies | Self::FallsIll => INTERVAL * (RETRIES + 1) + TIMEOUT + ON_THE_WAY,
            Self::Returns | Self::Recovers => INTERVAL + TIMEOUT + ON_THE_WAY,
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

impl Demo {
    fn start(bin: &Path, length: Option<Duration>, stop: Arc<AtomicBool>) -> Result<Self> {
        let directory =
            tempfile::Builder::new().prefix("hc-demo-").tempdir().context("cannot make a directory")?;
        let path = |name: &str| directory.path().join(name);
        let backends = BACKENDS.iter().map(|(_, kind)| Backend::start(*kind)).collect::<Result<Vec<_>>>()?;
        fs::write(path("checks.json"), checks(&backends)).context("cannot write the file of checks")?;
        fs::write(path("hc-server.toml"), "").context("cannot write the configuration")?;
        fs::create_dir(path("state")).context("cannot make the state directory")?;

        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let (engine_socket, server_socket) = (text(path("engine.sock")), text(path("server.sock")));
        let begin = now();
        let (engine, stdout) = Program::start_and_listen(
            &bin.join("fake-engine"),
            &["-socket", &engine_socket, "-checks", &text(path("checks.json"))],
            path("fake-engine.log"),
        )?;
        let events = heard::listen(stdout)?;
        // An empty configuration of our own, so that one of this machine does not play along.
        let server = Program::start(
            &bin.join("hc-server"),
            &[
                "--config",
                &text(path("hc-server.toml")),
                "--socket",
                &server_socket,
                "--state-dir",
                &text(path("state")),
            ],
            path("hc-server.log"),
        )?;
        let proxy = Program::start(
            &bin.join("hc-proxy"),
            &["-engine", &engine_socket, "-socket", &server_socket, "-logtostderr"],
            path("hc-proxy.log"),
        )?;
        let end = length.map(|length| begin + length);
        let programs = vec![proxy, server, engine];
        Ok(Self {
            programs,
            backends,
            directory,
            events,
            known: Known::default(),
            begin,
            end,
            stop,
            noticed: Vec::new(),
        })
    }

    /// Plays until the time is over or somebody stops it.
    fn play(&mut self) -> Result<()> {
        println!(
            "\n{} backends, one check each: every {}, timeout {}, {RETRIES} retry. Ctrl-C ends the demo.\n",
            self.backends.len(),
            humantime::format_duration(INTERVAL),
            humantime::format_duration(TIMEOUT),
        );
        println!("{:>8}  {:9}{:9}", "seconds", "where", "what");
        let everyone = 1..=self.backends.len() as u64;
        let healthy = |known: &Known| everyone.clone().all(|id| known.is(id, "healthy"));
        if self.wait("every backend to be healthy", healthy)? == Turn::End {
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
        let (name, _) = BACKENDS[who];
        let backend = &mut self.backends[who];
        let at = now();
        match change {
            Change::Dies => backend.die(),
            Change::Returns => backend.return_to_life()?,
            Change::FallsIll => backend.set_ill(true),
            Change::Recovers => backend.set_ill(false),
        }
        self.say(at, "backend", &format!("{name} {change}"));
        let id = who as u64 + 1;
        let turn =
            self.wait(&format!("{name} to be {}", change.state()), |known| known.is(id, change.state()))?;
        if turn == Turn::GoOn {
            let took = now() - at;
            self.noticed.push((change, took));
            println!(
                "{:29}known to the engine after {:.2} s, allowed are {:.2} s",
                "",
                took.as_secs_f64(),
                change.bound().as_secs_f64()
            );
        }
        Ok(turn)
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

    /// Waits until what the engine knows satisfies `done`.
    fn wait(&mut self, what: &str, done: impl Fn(&Known) -> bool) -> Result<Turn> {
        let patience = now() + PATIENCE;
        while !done(&self.known) {
            if self.turn()? == Turn::End {
                return Ok(Turn::End);
            }
            if now() >= patience {
                bail!("the engine has waited {PATIENCE:?} for {what}");
            }
        }
        Ok(Turn::GoOn)
    }

    /// Takes the next event, if one comes within a tick.
    fn turn(&mut self) -> Result<Turn> {
        for program in &mut self.programs {
            program.check()?;
        }
        match self.events.recv_timeout(TICK) {
            Ok(event) => self.take(event),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("fake-engine has closed its output"),
        }
        let over = self.stop.load(Ordering::SeqCst) || self.end.is_some_and(|end| now() >= end);
        Ok(if over { Turn::End } else { Turn::GoOn })
    }

    fn take(&mut self, event: Event) {
        match event.what {
            What::Listening => self.say(event.at, "engine", "listens"),
            What::Fetched { checks } => {
                self.known.fetches += 1;
                if self.known.fetches == 1 {
                    self.say(event.at, "engine", &format!("{checks} checks fetched"));
                }
            }
            What::Notified { id, state, message } => {
                if self.known.notified(id, &state) {
                    let name = usize::try_from(id).ok().and_then(|id| BACKENDS.get(id.checked_sub(1)?));
                    let name = name.map_or("?", |(name, _)| name);
                    self.say(event.at, "engine", &format!("hears that {name} is {state}: {message}"));
                }
            }
            What::Error(line) => self.say(event.at, "engine", &line),
        }
    }

    fn say(&self, at: Instant, place: &str, what: &str) {
        println!("{:>8.3}  {place:9}{what}", at.saturating_duration_since(self.begin).as_secs_f64());
    }

    /// Ends everything in order and sums up.
    fn end(mut self) -> Result<()> {
        let began = now();
        self.backends.clear();
        for program in self.programs.drain(..) {
            program.stop()?;
        }
        self.directory.close().context("cannot remove the demo's directory")?;
        println!(
            "\nall programs stopped within {:.2} s. The engine was asked for its checks {} times and heard {} \
             confirmations besides the news.",
            (now() - began).as_secs_f64(),
            self.known.fetches,
            self.known.refreshes,
        );
        sum_up(&self.noticed)
    }
}

/// Prints how long the engine waited for news, worst first, and fails if that was longer than allowed.
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

/// The checks as fake-engine reads them; ids count from 1 in the order of [`BACKENDS`].
fn checks(backends: &[Backend]) -> String {
    let checks: Vec<_> = backends
        .iter()
        .zip(BACKENDS)
        .zip(1_u64..)
        .map(|((backend, (_, kind)), id)| {
            let mut check = json!({
                "id": id,
                "interval": humantime::format_duration(INTERVAL).to_string(),
                "timeout": humantime::format_duration(TIMEOUT).to_string(),
                "retries": RETRIES,
                "ip": backend.address().ip().to_string(),
                "port": backend.address().port(),
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
        })
        .collect();
    json!(checks).to_string()
}

#[allow(clippy::disallowed_methods, reason = "the demo shows real processes in real time")]
fn now() -> Instant {
    Instant::now()
}
