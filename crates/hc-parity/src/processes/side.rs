//! An engine, and what checks for it: Seesaw's program or ours.

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use hc_testkit::chain::{self, Programs};
use hc_testkit::process::Process;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

/// How long a side may take for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which programs check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The real `seesaw_healthcheck`.
    Seesaw,
    /// hc-server and hc-proxy.
    Ours,
}

/// What the engine was told, as fake-engine prints it.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Event {
    #[serde(default)]
    pub(super) event: String,
    #[serde(default)]
    pub(super) id: u64,
    #[serde(default)]
    pub(super) state: String,
    #[serde(default)]
    last_check: Option<String>,
    #[serde(default)]
    duration: String,
    #[serde(default)]
    pub(super) failures: u64,
    #[serde(default)]
    pub(super) successes: u64,
    #[serde(default)]
    message: Value,
}

impl Event {
    /// How many checks have had a result.
    pub(super) fn probes(&self) -> u64 {
        self.failures + self.successes
    }

    /// When the last check began.
    pub(super) fn last_check(&self) -> Result<SystemTime> {
        let text = self.last_check.as_deref().context("there was no check")?;
        humantime::parse_rfc3339(text).with_context(|| format!("last_check {text:?}"))
    }

    /// How long it took.
    pub(super) fn duration(&self) -> Result<Duration> {
        humantime::parse_duration(&self.duration).with_context(|| format!("duration {:?}", self.duration))
    }

    /// The text for operators.
    pub(super) fn message(&self) -> String {
        self.message.as_str().map_or_else(|| self.message.to_string(), str::to_owned)
    }
}

/// A running side. Ends when it is dropped.
pub(super) struct Side {
    kind: Kind,
    /// The engine is the first. They end in reverse order.
    programs: Vec<(&'static str, Process)>,
    /// What the engine printed, as far as it was read. A line that cannot be read is an event
    /// without a name.
    heard: RefCell<Vec<Event>>,
    directory: TempDir,
}

impl Side {
    /// Starts an engine with these checks, and who runs them. Everything is told again within a
    /// second.
    pub(super) fn start(kind: Kind, programs: &Path, roots: Option<&Path>, checks: &[Value]) -> Result<Self> {
        let directory = TempDir::new().context("no directory")?;
        let mut side = Self { kind, programs: Vec::new(), heard: RefCell::default(), directory };
        side.set(checks)?;
        let path = side.directory.path().to_owned();
        let chain = Programs::in_directory(programs);
        side.spawn("fake-engine", &mut chain.engine(&path), roots)?;
        side.wait("the engine to listen", |events| events.iter().any(|event| event.event == "listening"))?;
        match kind {
            Kind::Seesaw => {
                let mut program = Command::new(programs.join("seesaw_healthcheck"));
                program.arg("-engine").arg(path.join("engine.sock"));
                program.args(["-logtostderr", "-fetch_interval", "500ms", "-notify_interval", "1s"]);
                side.spawn("seesaw_healthcheck", &mut program, roots)?;
            }
            Kind::Ours => {
                let config = path.join("hc-server.toml");
                // The second probe of a check may come a quarter of the interval after the first.
                // With the delay of a batch below that, each is told by itself, as Seesaw tells
                // them a whole interval apart.
                fs::write(&config, "[notify]\ninterval = \"1s\"\nbatch_delay = \"10ms\"\n")?;
                side.spawn("hc-server", chain.server(&path).arg("--config").arg(&config), roots)?;
                // The counters of each probe are compared, which come with each refresh then.
                let args = ["-fetch_interval", "500ms", "-keep=false"];
                side.spawn("hc-proxy", chain.proxy(&path).args(args), roots)?;
            }
        }
        Ok(side)
    }

    fn spawn(&mut self, name: &'static str, command: &mut Command, roots: Option<&Path>) -> Result<()> {
        let log = self.directory.path().join(name).with_extension("log");
        if let Some(roots) = roots {
            command.env("SSL_CERT_FILE", roots).env("SSL_CERT_DIR", "/nonexistent");
        }
        let process = Process::try_start(command, &log).context("`cargo xtask parity` builds it")?;
        self.programs.push((name, process));
        Ok(())
    }

    /// Gives the engine these checks and no others.
    pub(super) fn set(&self, checks: &[Value]) -> Result<()> {
        chain::write_checks(self.directory.path(), &checks.into()).context("cannot write the checks")
    }

    /// What the engine was told so far, fetches included.
    pub(super) fn events(&self) -> Vec<Event> {
        let mut heard = self.heard.borrow_mut();
        read(&self.programs[0].1.lines(), &mut heard);
        heard.clone()
    }

    /// Waits until the engine has been told enough, and gives it.
    pub(super) fn wait(&self, what: &str, mut enough: impl FnMut(&[Event]) -> bool) -> Result<Vec<Event>> {
        let mut heard = self.heard.borrow_mut();
        let waited = self.programs[0].1.wait_lines(PATIENCE, |lines| {
            read(lines, &mut heard);
            enough(&heard).then(|| heard.clone())
        });
        let Some(events) = waited else {
            let logs: String = self.programs.iter().map(|(_, process)| process.log_tail()).collect();
            bail!("{:?}: waited in vain for {what}; {} events\n{logs}", self.kind, heard.len());
        };
        Ok(events)
    }

    /// Whether one of its programs has ended by itself.
    pub(super) fn has_ended(&mut self, name: &str) -> bool {
        self.programs.iter_mut().any(|(own, process)| *own == name && !process.running())
    }

    /// Waits until a program ends by itself.
    pub(super) fn wait_for_end(&mut self, name: &str) -> Result<()> {
        let (_, process) =
            self.programs.iter_mut().find(|(own, _)| *own == name).context("no such program")?;
        process.wait_end(PATIENCE).with_context(|| process.log_tail())?;
        Ok(())
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        while self.programs.pop().is_some() {}
    }
}

/// Reads the lines that came since.
fn read(lines: &[String], heard: &mut Vec<Event>) {
    heard.extend(lines[heard.len()..].iter().map(|line| serde_json::from_str(line).unwrap_or_default()));
}
