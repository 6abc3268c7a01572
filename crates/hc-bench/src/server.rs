//! hc-server with many checks, and the engine's end of its socket.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Shutdown;
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, sleep};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hc_testkit::admin::ask_text;
use rustix::process::Signal;
use serde_json::Value;

use crate::clock::now;
use crate::process::{self, BACKEND_CPU, CHECKER_CPU, Pinned, Process, programs, wait_for};
use crate::procfs;
use crate::roles::PORT;

/// Checks in one message: below the limit of a line.
const PART: usize = 2_500;

/// How long every check may take to be told once, a set to take effect, and the server to end.
const PATIENCE: Duration = Duration::from_secs(600);

/// How often is asked whether a set is in effect: each answer costs the server about a millisecond.
const LOOK: Duration = Duration::from_millis(20);

/// The checks of a set: how many, of which port, how often. The first `changed` have another
/// timeout than the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Set {
    pub(crate) checks: usize,
    pub(crate) port: u16,
    pub(crate) interval: Duration,
    pub(crate) changed: usize,
}

impl Set {
    /// Checks of the backend of all benchmarks.
    pub(crate) fn new(checks: usize, interval: Duration) -> Self {
        Self { checks, port: PORT, interval, changed: 0 }
    }
}

/// What the engine's end of a connection asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hears {
    /// Every status again in each refresh.
    All,
    /// It keeps what it has got (`keep`), so that a refresh names only what that is, as hc-proxy
    /// asks for.
    News,
}

impl Hears {
    fn hello(self) -> &'static str {
        match self {
            Self::All => r#"{"type":"hello","protocol":1,"version":"bench"}"#,
            Self::News => r#"{"type":"hello","protocol":1,"version":"bench","capabilities":["keep"]}"#,
        }
    }
}

/// The processors of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cpus {
    /// The one of whatever is measured.
    One,
    /// That one and the backend's.
    Both,
}

impl Cpus {
    /// With more than one shard it has all processors.
    pub(crate) fn of(shards: usize) -> Self {
        if shards > 1 { Self::Both } else { Self::One }
    }

    /// As taskset takes them.
    fn list(self) -> String {
        match self {
            Self::One => CHECKER_CPU.to_string(),
            Self::Both => format!("{CHECKER_CPU},{BACKEND_CPU}"),
        }
    }
}

/// Starts hc-server with this configuration, as the last word of the command `wrapper` if there is
/// one. All of its files are in `dir`; its socket is [`socket`].
pub(crate) fn launch(dir: &Path, config: &str, cpus: Cpus, wrapper: &[&str]) -> Result<Process> {
    let file = dir.join("hc-server.toml");
    std::fs::write(&file, config)?;
    let program = programs()?.join("hc-server").display().to_string();
    let words = [wrapper, &[&program]].concat();
    let mut command = process::on(&cpus.list(), Path::new(words[0]));
    command.args(&words[1..]).arg("--config").arg(&file).arg("--socket").arg(socket(dir));
    if !wrapper.is_empty() {
        // The wrapper needs files and calls that hc-server gives up.
        command.arg("--no-sandbox");
    }
    process::spawn(command.arg("--state-dir").arg(dir), &dir.join("hc-server.log"))
}

/// The socket of a server with its files in `dir`.
pub(crate) fn socket(dir: &Path) -> PathBuf {
    dir.join("hc.sock")
}

/// A server on the first processor, and the engine's end of its socket on the other.
pub(crate) struct Server {
    dir: tempfile::TempDir,
    process: Process,
    told: Arc<AtomicU64>,
    acknowledges: Arc<Gate>,
    connection: Option<Connection>,
    _beside: Pinned,
}

/// Open or shut: whoever passes it waits meanwhile.
#[derive(Debug, Default)]
struct Gate {
    is_shut: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, is_open: bool) {
        *self.is_shut.lock().unwrap_or_else(PoisonError::into_inner) = !is_open;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let is_shut = self.is_shut.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(is_shut, |is_shut| *is_shut));
    }
}

struct Connection {
    stream: UnixStream,
    generation: u64,
    all_told: Receiver<Result<()>>,
}

impl Server {
    /// Starts it with this configuration on the first processor, without checks.
    pub(crate) fn start(config: &str) -> Result<Self> {
        Self::start_on(Cpus::One, config)
    }

    /// Starts it with this configuration on these processors, without checks.
    pub(crate) fn start_on(cpus: Cpus, config: &str) -> Result<Self> {
        let beside = Pinned::to(BACKEND_CPU)?;
        let dir = tempfile::tempdir()?;
        let process = launch(dir.path(), config, cpus, &[])?;
        wait_for("hc-server listening", Duration::from_secs(5), || socket(dir.path()).exists())?;
        let (told, acknowledges) = Default::default();
        Ok(Self { dir, process, told, acknowledges, connection: None, _beside: beside })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        procfs::resident(self.process.id())
    }

    /// Processor time so far.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        procfs::cpu_time(self.process.id())
    }

    /// Notifications that it has sent so far.
    pub(crate) fn told(&self) -> u64 {
        self.told.load(Relaxed)
    }

    fn admin(&self) -> PathBuf {
        self.dir.path().join("hc-admin.sock")
    }

    /// The body of a page of the admin API.
    pub(crate) fn get(&self, path: &str) -> Result<String> {
        let (status, body) = ask_text(&self.admin(), &format!("GET {path}"), "");
        ensure!(status == 200, "{path}: {status} {body}");
        Ok(body)
    }

    /// A value of `/metrics`, by its name and labels.
    pub(crate) fn metric(&self, name: &str) -> Result<f64> {
        metric(&self.get("/metrics")?, name)
    }

    /// Gives it a first set, and waits until each check has been probed and told once. What it tells
    /// later is taken too, until [`disconnect`](Self::disconnect).
    pub(crate) fn fill(&mut self, set: Set, hears: Hears) -> Result<()> {
        let mut stream = UnixStream::connect(socket(self.dir.path()))?;
        let (sender, all_told) = sync_channel(1);
        let (reader, told) = (stream.try_clone()?, Arc::clone(&self.told));
        let gate = Arc::clone(&self.acknowledges);
        // It ends with the connection.
        thread::spawn(move || take(reader, set.checks, (&told, &gate), &sender));
        writeln!(stream, "{}", hears.hello())?;
        self.connection = Some(Connection { stream, generation: 0, all_told });
        self.send(set)?;
        let connection = self.connection.as_ref().context("no connection")?;
        connection.all_told.recv_timeout(PATIENCE).context("not every check was told")?
    }

    /// Whether batches are acknowledged, so that more of them come, or wait for that.
    pub(crate) fn acknowledge(&self, does: bool) {
        self.acknowledges.set(does);
    }

    /// Sends a whole set, and waits until it is in effect.
    pub(crate) fn send(&mut self, set: Set) -> Result<()> {
        self.in_effect(|connection| {
            let parts = set.checks.div_ceil(PART);
            for part in 0..parts {
                let of_part = part * PART..set.checks.min((part + 1) * PART);
                let (checks, part) = (checks(&set, of_part)?, part + 1);
                let generation = connection.generation;
                writeln!(
                    connection.stream,
                    r#"{{"type":"update_configs","configs":[{checks}],"generation":{generation},"part":{part},"parts":{parts}}}"#,
                )?;
            }
            Ok(())
        })
    }

    /// Sends the first `count` checks of the set as deltas, and waits until they are in effect.
    pub(crate) fn send_delta(&mut self, set: Set, count: usize) -> Result<()> {
        for from in (0..count).step_by(PART) {
            let checks = checks(&set, from..count.min(from + PART))?;
            self.in_effect(|Connection { stream, generation, .. }| {
                let base = *generation - 1;
                writeln!(
                    stream,
                    r#"{{"type":"update_delta","generation":{generation},"base":{base},"upsert":[{checks}],"remove":[]}}"#,
                )?;
                Ok(())
            })?;
        }
        Ok(())
    }

    fn in_effect(&mut self, send: impl FnOnce(&mut Connection) -> Result<()>) -> Result<()> {
        let before = self.metric("hc_source_sets_total")?;
        let connection = self.connection.as_mut().context("no connection")?;
        connection.generation += 1;
        send(connection)?;
        let end = now() + PATIENCE;
        while self.metric("hc_source_sets_total")? <= before {
            ensure!(now() < end, "a set was not in effect within {PATIENCE:?}");
            sleep(LOOK);
        }
        Ok(())
    }

    /// Ends the connection; the checks go on.
    pub(crate) fn disconnect(&mut self) -> Result<()> {
        match self.connection.take() {
            Some(connection) => Ok(connection.stream.shutdown(Shutdown::Both)?),
            None => Ok(()),
        }
    }

    /// Ends the process as an operator does, and says how long that took.
    pub(crate) fn terminate(&mut self) -> Result<Duration> {
        let begin = now();
        self.process.signal(Signal::TERM)?;
        let status = self.process.wait_end(PATIENCE)?;
        ensure!(status.success(), "{status}: {}", self.process.log_tail());
        Ok(begin.elapsed())
    }
}

/// A value of a page of metrics, by its name and labels.
pub(crate) fn metric(page: &str, name: &str) -> Result<f64> {
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value.with_context(|| format!("no {name}"))?.trim().parse()?)
}

/// Takes every batch, and says once when each check has been told.
fn take(
    stream: UnixStream,
    checks: usize,
    (sum, acknowledges): (&AtomicU64, &Gate),
    all_told: &SyncSender<Result<()>>,
) {
    let taken = (|| -> Result<()> {
        let mut answers = stream.try_clone()?;
        let mut told = HashSet::with_capacity(checks);
        for line in BufReader::new(stream).lines() {
            let line = line?;
            // Most of its time would go into reading what nobody looks at.
            if told.len() == checks {
                sum.fetch_add(line.matches("\"status\":").count() as u64, Relaxed);
                if let Some(seq) = number_behind(&line, "\"seq\":") {
                    acknowledges.pass();
                    writeln!(answers, r#"{{"type":"ack","seq":{seq}}}"#)?;
                }
                continue;
            }
            let message: Value = serde_json::from_str(&line)?;
            if message["type"] == "rejected" || message["type"] == "error" {
                anyhow::bail!("hc-server says {line:.300}");
            }
            if !message["seq"].is_u64() {
                continue;
            }
            writeln!(answers, r#"{{"type":"ack","seq":{}}}"#, message["seq"])?;
            let notifications = message["batch"]["notifications"].as_array().into_iter().flatten();
            told.extend(notifications.filter_map(|notification| notification["id"].as_u64()));
            if told.len() == checks {
                let _ = all_told.send(Ok(()));
            }
        }
        anyhow::bail!("hc-server closed the connection")
    })();
    // Nobody waits any more where that was told.
    let _ = all_told.try_send(taken);
}

/// The number behind the last such name of a line.
fn number_behind<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let rest = &line[line.rfind(name)? + name.len()..];
    let end = rest.find(|byte: char| !byte.is_ascii_digit()).unwrap_or(rest.len());
    (end > 0).then(|| &rest[..end])
}

/// Checks as in `update_configs`.
fn checks(set: &Set, range: Range<usize>) -> Result<String> {
    let (mut line, first, interval) = (String::new(), range.start, set.interval.as_millis());
    for check in range {
        let comma = if check == first { "" } else { "," };
        // Ids as the engine makes them: large.
        let id = 5_618_803_485_098_115_072_u64 + check as u64;
        let (a, b, c) = (check / 40_000, check / 200 % 200, check % 200 + 1);
        let timeout = if check < set.changed { 900 } else { 1_000 };
        write!(
            line,
            r#"{comma}{{"id":{id},"interval":"{interval}ms","timeout":"{timeout}ms","retries":2,"checker_type":"tcp","ip":"127.{}.{b}.{c}","port":{}}}"#,
            a + 1,
            set.port
        )?;
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let page = "hc_a_total 3\nhc_a{le=\"1\"} 5\nhc_a 7\n";
        assert_eq!(metric(page, "hc_a").unwrap(), 7.0);
        assert_eq!(metric(page, "hc_a{le=\"1\"}").unwrap(), 5.0);
        metric(page, "hc").unwrap_err();
    }

    #[test]
    fn the_sequence_number_of_a_batch_is_found() {
        let line = r#"{"type":"notification_batch","batch":{"notifications":[]},"seq":17,"generation":3}"#;
        assert_eq!(number_behind(line, "\"seq\":"), Some("17"));
        assert_eq!(number_behind(line, "\"generation\":"), Some("3"));
        assert_eq!(number_behind(line, "\"none\":"), None);
    }

    #[test]
    fn checks_are_those_of_the_protocol() {
        let set = Set { changed: 1, ..Set::new(2, Duration::from_secs(60)) };
        let checks: Value = serde_json::from_str(&format!("[{}]", checks(&set, 0..2).unwrap())).unwrap();
        assert_eq!(checks[0]["ip"], "127.1.0.1");
        assert_eq!([&checks[0]["timeout"], &checks[1]["timeout"]], ["900ms", "1000ms"]);
    }
}
