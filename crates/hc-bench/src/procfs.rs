//! What the kernel counts.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Length of the clock tick in which `/proc/PID/stat` counts: `USER_HZ` is 100 on every Linux that
/// this runs on.
const TICK: Duration = Duration::from_millis(10);

/// Processor time of a process so far, user and system, its ended threads included.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
    // The name in parentheses may hold spaces; what follows it does not.
    let (_, fields) = stat.rsplit_once(") ").with_context(|| format!("{path}: no name"))?;
    let ticks = |n: usize| -> Result<u32> { Ok(fields.split(' ').nth(n).context("too short")?.parse()?) };
    Ok(TICK * (ticks(11)? + ticks(12)?))
}

/// Resident memory of a process in bytes.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}

/// TCP connections that were opened from this network namespace so far.
pub(crate) fn active_opens() -> Result<u64> {
    let snmp = fs::read_to_string("/proc/net/snmp")?;
    let mut tcp = snmp.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (tcp.next().context("no Tcp line")?, tcp.next().context("no Tcp values")?);
    let at = names.split(' ').position(|name| name == "ActiveOpens").context("no ActiveOpens")?;
    Ok(values.split(' ').nth(at).context("too short")?.parse()?)
}
