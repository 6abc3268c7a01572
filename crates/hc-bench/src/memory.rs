//! Resident memory of one idle check.

use anyhow::Result;

use crate::server::{self, Server};
use crate::table;

const CHECKS: usize = 100_000;
/// Nobody listens there in the benchmark's own network.
const CLOSED_PORT: u16 = 9;

/// Runs the benchmark and prints its table.
pub(crate) fn run() -> Result<()> {
    let mut rows = Vec::new();
    for (backends, port) in [("healthy", server::backend()?), ("unhealthy", CLOSED_PORT)] {
        let server = Server::start("")?;
        let before = server.resident()?;
        server.fill(CHECKS, port)?;
        let after = server.resident()?;
        let mebibytes = |bytes: u64| format!("{:.1} MiB", bytes as f64 / 1024.0 / 1024.0);
        rows.push(vec![
            backends.to_owned(),
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
