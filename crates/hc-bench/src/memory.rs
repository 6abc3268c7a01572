//! Resident memory of one idle check.

use std::time::Duration;

use anyhow::Result;

use crate::Options;
use crate::report::{Report, Table};
use crate::roles::{self, PORT, Serves};
use crate::server::{Hears, Server, Set};

const CHECKS: usize = 100_000;
const QUICK_CHECKS: usize = 10_000;
/// No second probe comes meanwhile.
const INTERVAL: Duration = Duration::from_secs(600);
/// Nobody listens there in the benchmark's own network.
const CLOSED_PORT: u16 = 9;

/// Runs the benchmark.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let checks = if options.quick { QUICK_CHECKS } else { CHECKS };
    let dir = tempfile::tempdir()?;
    let _backend = roles::start_backend(dir.path(), Serves::Tcp)?;
    let mut rows = Vec::new();
    for (backends, port) in [("healthy", PORT), ("unhealthy", CLOSED_PORT)] {
        let mut server = Server::start("")?;
        let before = server.resident()?;
        server.fill(Set { port, ..Set::new(checks, INTERVAL) }, Hears::News)?;
        let after = server.resident()?;
        let mebibytes = |bytes: u64| format!("{:.1} MiB", bytes as f64 / 1024.0 / 1024.0);
        rows.push(vec![
            backends.to_owned(),
            mebibytes(before),
            mebibytes(after),
            format!("{:.0}", (after - before) as f64 / checks as f64),
        ]);
    }
    Ok(Table::new(
        format!("Resident memory of hc-server, {checks} idle TCP checks"),
        &["backends", "without checks", "with checks", "bytes a check"],
        rows,
    )
    .into())
}
