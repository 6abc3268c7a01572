//! An engine, and what checks for it: Seesaw's program or ours.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
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
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Event {
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

type Heard = Arc<(Mutex<Vec<Event>>, Condvar)>;

/// A running side. Ends when it is dropped.
pub(super) struct Side {
    kind: Kind,
    directory: TempDir,
    file: PathBuf,
    programs: Vec<(&'static str, Child)>,
    heard: Heard,
    reader: Option<JoinHandle<()>>,
}

impl Side {
    /// Starts an engine with these checks, and who runs them. Everything is told again within a second.
    pub(super) fn start(kind: Kind, programs: &Path, roots: Option<&Path>, checks: &[Value]) -> Result<Self> {
        let directory = TempDir::new().context("no directory")?;
        let path = |name: &str| directory.path().join(name);
        let (engine, socket) = (path("engine.sock"), path("proxy.sock"));
        let file = path("checks.json");
        let mut side =
            Self { kind, file, programs: Vec::new(), heard: Heard::default(), reader: None, directory };
        side.set(checks)?;
        let mut fake_engine = Command::new(programs.join("fake-engine"));
        fake_engine.arg("-socket").arg(&engine).arg("-checks").arg(&side.file).stdout(Stdio::piped());
        side.spawn("fake-engine", &mut fake_engine, roots)?;
        side.listen()?;
        side.wait("the engine to listen", |events| events.iter().any(|event| event.event == "listening"))?;
        match kind {
            Kind::Seesaw => {
                let mut program = Command::new(programs.join("seesaw_healthcheck"));
                program.arg("-engine").arg(&engine);
                program.args(["-logtostderr", "-fetch_interval", "500ms", "-notify_interval", "1s"]);
                side.spawn("seesaw_healthcheck", &mut program, roots)?;
            }
            Kind::Ours => {
                let config = side.directory.path().join("hc-server.toml");
                // The second probe of a check may come a quarter of the interval after the first. With the delay of a batch
                // below that, each is told by itself, as Seesaw tells them a whole interval apart.
                fs::write(&config, "[notify]\ninterval = \"1s\"\nbatch_delay = \"10ms\"\n")?;
                let mut server = Command::new(programs.join("hc-server"));
                server.arg("--config").arg(&config).arg("--socket").arg(&socket);
                server.arg("--state-dir").arg(side.directory.path().join("state"));
                side.spawn("hc-server", &mut server, roots)?;
                let mut proxy = Command::new(programs.join("hc-proxy"));
                proxy.arg("-engine").arg(&engine).arg("-socket").arg(&socket);
                proxy.args(["-logtostderr", "-fetch_interval", "500ms"]);
                side.spawn("hc-proxy", &mut proxy, roots)?;
            }
        }
        Ok(side)
    }

    fn spawn(&mut self, name: &'static str, command: &mut Command, roots: Option<&Path>) -> Result<()> {
        let log = File::create(self.directory.path().join(name).with_extension("log"))?;
        if let Some(roots) = roots {
            command.env("SSL_CERT_FILE", roots).env("SSL_CERT_DIR", "/nonexistent");
        }
        let child = command
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {name}: `cargo xtask parity` builds it"))?;
        self.programs.push((name, child));
        Ok(())
    }

    fn listen(&mut self) -> Result<()> {
        let output = self.programs[0].1.stdout.take().context("its output was piped")?;
        let heard = Arc::clone(&self.heard);
        self.reader = Some(thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // A line that cannot be read is missed by whoever waits for it.
                if let Ok(event) = serde_json::from_str(&line) {
                    heard.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
                    heard.1.notify_all();
                }
            }
        }));
        Ok(())
    }

    /// Gives the engine these checks and no others.
    pub(super) fn set(&self, checks: &[Value]) -> Result<()> {
        let next = self.file.with_extension("next");
        fs::write(&next, serde_json::to_vec(checks)?)?;
        fs::rename(&next, &self.file).context("cannot write the checks")
    }

    /// What the engine was told so far, fetches included.
    pub(super) fn events(&self) -> Vec<Event> {
        self.heard.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the engine has been told enough, and gives it.
    pub(super) fn wait(&self, what: &str, mut enough: impl FnMut(&[Event]) -> bool) -> Result<Vec<Event>> {
        let events = self.heard.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.heard.1.wait_timeout_while(events, PATIENCE, |events| !enough(events));
        let (events, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            bail!("{:?}: waited in vain for {what}; {} events\n{}", self.kind, events.len(), self.logs());
        }
        Ok(events.clone())
    }

    /// Whether one of its programs has ended by itself.
    pub(super) fn has_ended(&mut self, name: &str) -> bool {
        self.programs.iter_mut().any(|(own, child)| *own == name && matches!(child.try_wait(), Ok(Some(_))))
    }

    /// Waits until a program ends by itself.
    pub(super) fn wait_for_end(&mut self, name: &str) -> Result<()> {
        let deadline = SystemTime::now() + PATIENCE;
        while !self.has_ended(name) {
            if SystemTime::now() > deadline {
                bail!("{:?}: {name} does not end\n{}", self.kind, self.logs());
            }
            // There is nothing to be told by: a process that ends sends no event.
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The ends of the logs.
    fn logs(&self) -> String {
        const SHOWN: usize = 15;
        let mut text = String::new();
        for (name, _) in &self.programs {
            let log = fs::read(self.directory.path().join(name).with_extension("log")).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<&str> = log.lines().collect();
            text.push_str(&format!(
                "--- {name}\n{}\n",
                lines[lines.len().saturating_sub(SHOWN)..].join("\n")
            ));
        }
        text
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        for (_, child) in self.programs.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
