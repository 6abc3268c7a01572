//! Resident memory of one idle check.

use std::time::Duration;

use anyhow::Result;

use crate::Options;
use crate::report::{Report, Table};
use crate::server::{self, Server, Set};

const CHECKS: usize = 100_000;
/// No second probe comes meanwhile.
const INTERVAL: Duration = Duration::from_secs(600);
/// Nobody listens there in the benchmark's own network.
const CLOSED_PORT: u16 = 9;

/// Runs the benchmark.
pub(crate) fn run(_: &Options) -> Result<Report> {
    let mut rows = Vec::new();
    for (backends, port) in [("healthy", server::backend()?), ("unhealthy", CLOSED_PORT)] {
        let mut server = Server::start("")?;
        let before = server.resident()?;
        server.fill(Set::new(CHECKS, port, INTERVAL))?;
        let after = server.resident()?;
        let mebibytes = |bytes: u64| format!("{:.1} MiB", bytes as f64 / 1024.0 / 1024.0);
        rows.push(vec![
            backends.to_owned(),
            mebibytes(before),
            mebibytes(after),
            format!("{:.0}", (after - before) as f64 / CHECKS as f64),
        ]);
    }
    Ok(Table::new(
        format!("Resident memory of hc-server, {CHECKS} idle TCP checks"),
        &["backends", "without checks", "with checks", "bytes a check"],
        rows,
    )
    .into())
}
