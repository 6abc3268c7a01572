//! hc-server with many checks, and the engine's end of its socket.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hc_testkit::admin::ask_text;
use serde_json::Value;

use crate::process::{self, Process, programs, wait_for};
use crate::procfs;

/// Checks in one message: below the limit of a line.
const PART: usize = 2_500;

/// How long every check may take to be told once.
const PATIENCE: Duration = Duration::from_secs(600);

/// A server on the first processor.
pub(crate) struct Server {
    dir: tempfile::TempDir,
    process: Process,
}

impl Server {
    /// Starts it with this configuration, without checks.
    pub(crate) fn start(config: &str) -> Result<Self> {
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
        let process = process::start(0, &log, &programs()?.join("hc-server"), &args)?;
        wait_for("hc-server listening", Duration::from_secs(5), || socket.exists())?;
        Ok(Self { dir, process })
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        procfs::resident(self.process.id())
    }

    /// Processor time so far.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        procfs::cpu_time(self.process.id())
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

    /// Gives it so many TCP checks of `port`, and waits until each has been probed and told once.
    /// What it tells later is taken too, for as long as it runs.
    pub(crate) fn fill(&self, checks: usize, port: u16) -> Result<()> {
        let mut stream = UnixStream::connect(self.dir.path().join("hc.sock"))?;
        let (all_told, wait) = sync_channel(1);
        let reader = stream.try_clone()?;
        // It ends with the server.
        thread::spawn(move || take(reader, checks, &all_told));
        writeln!(stream, r#"{{"type":"hello","protocol":1,"version":"bench"}}"#)?;
        let parts = checks.div_ceil(PART);
        for part in 0..parts {
            let of_part = part * PART..checks.min((part + 1) * PART);
            stream.write_all(update(of_part, (part + 1, parts), port)?.as_bytes())?;
        }
        wait.recv_timeout(PATIENCE).context("not every check was told")?
    }
}

/// Takes every batch, and says once when each check has been told.
fn take(stream: UnixStream, checks: usize, all_told: &SyncSender<Result<()>>) {
    let taken = (|| -> Result<()> {
        let mut answers = stream.try_clone()?;
        let mut told = HashSet::with_capacity(checks);
        for line in BufReader::new(stream).lines() {
            let message: Value = serde_json::from_str(&line?)?;
            if message["type"] != "notification_batch" {
                continue;
            }
            writeln!(answers, r#"{{"type":"ack","seq":{}}}"#, message["seq"])?;
            if told.len() < checks {
                let notifications = message["batch"]["notifications"].as_array().into_iter().flatten();
                told.extend(notifications.filter_map(|notification| notification["id"].as_u64()));
                if told.len() == checks {
                    let _ = all_told.send(Ok(()));
                }
            }
        }
        anyhow::bail!("hc-server closed the connection")
    })();
    // Nobody waits any more where that was told.
    let _ = all_told.try_send(taken);
}

fn update(checks: std::ops::Range<usize>, (part, parts): (usize, usize), port: u16) -> Result<String> {
    let mut line = String::from(r#"{"type":"update_configs","configs":["#);
    let first = checks.start;
    for check in checks {
        let comma = if check == first { "" } else { "," };
        // Ids as the engine makes them: large.
        let id = 5_618_803_485_098_115_072_u64 + check as u64;
        let (a, b, c) = (check / 40_000, check / 200 % 200, check % 200 + 1);
        write!(
            line,
            r#"{comma}{{"id":{id},"interval":"10m","timeout":"1s","retries":2,"checker_type":"tcp","ip":"127.{}.{b}.{c}","port":{port}}}"#,
            a + 1
        )?;
    }
    writeln!(line, r#"],"generation":1,"part":{part},"parts":{parts}}}"#)?;
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
