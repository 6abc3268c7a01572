//! Resident memory of one idle check.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::process::{self, programs, wait_for};
use crate::{procfs, table};

const CHECKS: usize = 100_000;
/// Nobody listens there in the benchmark's own network.
const CLOSED_PORT: u16 = 9;
/// Checks in one message: below the limit of a line.
const PART: usize = 2_500;

/// Runs the benchmark and prints its table.
pub(crate) fn run() -> Result<()> {
    let mut rows = Vec::new();
    for answers in [true, false] {
        let backend = answers.then(|| TcpListener::bind(("0.0.0.0", 0))).transpose()?;
        let port =
            backend.as_ref().map_or(Ok(CLOSED_PORT), |backend| backend.local_addr().map(|at| at.port()))?;
        if let Some(backend) = backend {
            // It ends with the process.
            thread::spawn(move || backend.incoming().for_each(drop));
        }
        let (before, after) = of_checks(port)?;
        let mebibytes = |bytes: u64| format!("{:.1} MiB", bytes as f64 / 1024.0 / 1024.0);
        rows.push(vec![
            if answers { "healthy" } else { "unhealthy" }.to_owned(),
            mebibytes(before),
            mebibytes(after),
            format!("{:.0}", (after - before) as f64 / CHECKS as f64),
        ]);
    }
    table::print(
        &format!("Resident memory of hc-server, {CHECKS} idle TCP checks"),
        &["backends", "without checks", "with checks", "bytes a check"],
        &rows,
    );
    Ok(())
}

/// Resident memory of a server without checks, and with checks of `port` that have each been probed
/// and told once.
fn of_checks(port: u16) -> Result<(u64, u64)> {
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("hc.sock");
    let args = ["--socket".as_ref(), socket.as_os_str(), "--state-dir".as_ref(), dir.path().as_os_str()];
    let server = process::start(0, &dir.path().join("hc-server.log"), &programs()?.join("hc-server"), &args)?;
    wait_for("hc-server listening", Duration::from_secs(5), || socket.exists())?;
    let before = procfs::resident(server.id())?;

    let mut stream = UnixStream::connect(&socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    writeln!(stream, r#"{{"type":"hello","protocol":1,"version":"bench"}}"#)?;
    let parts = CHECKS / PART;
    for part in 0..parts {
        stream.write_all(update(part, parts, port)?.as_bytes())?;
    }
    // Every check is told once: then it has been probed, and is at rest.
    let mut told = HashSet::with_capacity(CHECKS);
    while told.len() < CHECKS {
        let Some(line) = lines.next() else { anyhow::bail!("hc-server closed the connection") };
        let message: serde_json::Value = serde_json::from_str(&line?)?;
        if message["type"] == "notification_batch" {
            let notifications = message["batch"]["notifications"].as_array().into_iter().flatten();
            told.extend(notifications.filter_map(|notification| notification["id"].as_u64()));
            writeln!(stream, r#"{{"type":"ack","seq":{}}}"#, message["seq"])?;
        }
    }
    let after = procfs::resident(server.id())?;
    Ok((before, after))
}

fn update(part: usize, parts: usize, port: u16) -> Result<String> {
    let mut line = String::from(r#"{"type":"update_configs","configs":["#);
    for n in 0..PART {
        let check = part * PART + n;
        let comma = if n == 0 { "" } else { "," };
        // Ids as the engine makes them: large.
        let id = 5_618_803_485_098_115_072_u64 + check as u64;
        let (a, b, c) = (check / 40_000, check / 200 % 200, check % 200 + 1);
        write!(
            line,
            r#"{comma}{{"id":{id},"interval":"10m","timeout":"1s","retries":2,"checker_type":"tcp","ip":"127.{}.{b}.{c}","port":{port}}}"#,
            a + 1
        )?;
    }
    writeln!(line, r#"],"generation":1,"part":{},"parts":{parts}}}"#, part + 1)?;
    Ok(line)
}
