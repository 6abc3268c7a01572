//! hc-server with many checks, and the engine's end of its socket.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpListener};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hc_testkit::admin::ask_text;
use rustix::process::Signal;
use serde_json::Value;

use crate::clock::now;
use crate::process::{self, CHECKER_CPU, Process, programs, wait_for};
use crate::procfs;

/// Checks in one message: below the limit of a line.
const PART: usize = 2_500;

/// How long every check may take to be told once, a set to take effect, and the server to end.
const PATIENCE: Duration = Duration::from_secs(600);

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
    pub(crate) fn new(checks: usize, port: u16, interval: Duration) -> Self {
        Self { checks, port, interval, changed: 0 }
    }
}

/// A server on the first processor.
pub(crate) struct Server {
    dir: tempfile::TempDir,
    process: Process,
    told: Arc<AtomicU64>,
    connection: Option<Connection>,
}

struct Connection {
    stream: UnixStream,
    generation: u64,
    all_told: Receiver<Result<()>>,
}

impl Server {
    /// Starts it with this configuration on the first processor, without checks.
    pub(crate) fn start(config: &str) -> Result<Self> {
        Self::start_on(&CHECKER_CPU.to_string(), config)
    }

    /// Starts it with this configuration on these processors, without checks.
    pub(crate) fn start_on(cpus: &str, config: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("hc-server.toml");
        std::fs::write(&file, config)?;
        let socket = dir.path().join("hc.sock");
        let args = [
            "--config".as_ref(),
            file.as_os_str(),
            "--socket".as_ref(),
            socket.as_os_str(),
            "--state-dir".as_ref(),
            dir.path().as_os_str(),
        ];
        let log = dir.path().join("hc-server.log");
        let process = process::spawn(process::on(cpus, &programs()?.join("hc-server")).args(args), &log)?;
        wait_for("hc-server listening", Duration::from_secs(5), || socket.exists())?;
        Ok(Self { dir, process, told: Arc::default(), connection: None })
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
    pub(crate) fn fill(&mut self, set: Set) -> Result<()> {
        let mut stream = UnixStream::connect(self.dir.path().join("hc.sock"))?;
        let (sender, all_told) = sync_channel(1);
        let (reader, told) = (stream.try_clone()?, Arc::clone(&self.told));
        // It ends with the connection.
        thread::spawn(move || take(reader, set.checks, &told, &sender));
        writeln!(stream, r#"{{"type":"hello","protocol":1,"version":"bench"}}"#)?;
        self.connection = Some(Connection { stream, generation: 0, all_told });
        self.send(set)?;
        let connection = self.connection.as_ref().context("no connection")?;
        connection.all_told.recv_timeout(PATIENCE).context("not every check was told")?
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

    /// Sends what of the set is changed as deltas, and waits until they are in effect.
    pub(crate) fn send_delta(&mut self, set: Set) -> Result<()> {
        for from in (0..set.changed).step_by(PART) {
            let checks = checks(&set, from..set.changed.min(from + PART))?;
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
        let is_counted = || self.metric("hc_source_sets_total").is_ok_and(|sets| sets > before);
        wait_for("a set in effect", PATIENCE, is_counted)
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
fn take(stream: UnixStream, checks: usize, sum: &AtomicU64, all_told: &SyncSender<Result<()>>) {
    let taken = (|| -> Result<()> {
        let mut answers = stream.try_clone()?;
        let mut told = HashSet::with_capacity(checks);
        for line in BufReader::new(stream).lines() {
            let line = line?;
            // Most of its time would go into reading what nobody looks at.
            if told.len() == checks {
                sum.fetch_add(line.matches("\"status\":").count() as u64, Relaxed);
                if let Some(seq) = number_behind(&line, "\"seq\":") {
                    writeln!(answers, r#"{{"type":"ack","seq":{seq}}}"#)?;
                }
                continue;
            }
            let message: Value = serde_json::from_str(&line)?;
            if message["type"] != "notification_batch" {
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

/// A port that accepts on all addresses, and closes at once.
pub(crate) fn backend() -> Result<u16> {
    let backend = TcpListener::bind(("0.0.0.0", 0))?;
    let port = backend.local_addr()?.port();
    // It ends with the process.
    thread::spawn(move || backend.incoming().for_each(drop));
    Ok(port)
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
        let set = Set { changed: 1, ..Set::new(2, 80, Duration::from_secs(60)) };
        let checks: Value = serde_json::from_str(&format!("[{}]", checks(&set, 0..2).unwrap())).unwrap();
        assert_eq!(checks[0]["ip"], "127.1.0.1");
        assert_eq!([&checks[0]["timeout"], &checks[1]["timeout"]], ["900ms", "1000ms"]);
    }
}
