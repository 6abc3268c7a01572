//! The benchmarks of the hc health checker. `cargo xtask bench` builds what they need and runs them
//! in a network namespace of their own; figures and how to read them are in `docs/performance.md`.

mod arrivals;
mod check_time;
mod cpu;
mod memory;
mod nginx;
mod nobody;
mod process;
mod procfs;
mod readers;
mod schedule;
mod server;
mod snapshot;
mod table;

use anyhow::{Result, bail};

/// A benchmark and its name.
type Bench = (&'static str, fn() -> Result<()>);

const BENCHES: &[Bench] = &[
    ("arrivals", arrivals::run),
    ("check-time", check_time::run),
    ("cpu", cpu::run),
    ("memory", memory::run),
    ("readers", readers::run),
    ("schedule", schedule::run),
    ("snapshot", snapshot::run),
];

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let names: Vec<_> = BENCHES.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = wanted.iter().find(|name| !names.contains(&name.as_str())) {
        bail!("no benchmark {unknown:?}; there are: {}", names.join(", "));
    }
    for (name, run) in BENCHES {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            run()?;
        }
    }
    Ok(())
}
