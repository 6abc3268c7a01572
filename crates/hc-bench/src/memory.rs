//! Resident memory of one idle check.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::Result;

use crate::process::{self, programs, wait_for};
use crate::{procfs, table};

const CHECKS: usize = 100_000;
/// Checks in one message: below the limit of a line.
const PART: usize = 2_500;

/// Runs the benchmark and prints its table.
pub(crate) fn run() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("hc.sock");
    // Nobody listens at the targets: a refusal is a verdict, and costs the bench no backend.
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
        stream.write_all(update(part, parts)?.as_bytes())?;
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
    let mebibytes = |bytes: u64| format!("{:.1} MiB", bytes as f64 / 1024.0 / 1024.0);
    table::print(
        &format!("Resident memory of hc-server, {CHECKS} idle TCP checks"),
        &["without checks", "with checks", "bytes a check"],
        &[vec![
            mebibytes(before),
            mebibytes(after),
            format!("{:.0}", (after - before) as f64 / CHECKS as f64),
        ]],
    );
    Ok(())
}

fn update(part: usize, parts: usize) -> Result<String> {
    let mut line = String::from(r#"{"type":"update_configs","configs":["#);
    for n in 0..PART {
        let check = part * PART + n;
        let comma = if n == 0 { "" } else { "," };
        // Ids as the engine makes them: large.
        let id = 5_618_803_485_098_115_072_u64 + check as u64;
        let (a, b, c) = (check / 40_000, check / 200 % 200, check % 200 + 1);
        write!(
            line,
            r#"{comma}{{"id":{id},"interval":"10m","timeout":"1s","retries":2,"checker_type":"tcp","ip":"127.{}.{b}.{c}","port":9}}"#,
            a + 1
        )?;
    }
    writeln!(line, r#"],"generation":1,"part":{},"parts":{parts}}}"#, part + 1)?;
    Ok(line)
}
