//! What the kernel counts, and what it says of the machine.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

/// Processor time of a process so far, user and system, its ended threads included, to the
/// nanosecond.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(pid)?))?;
    Ok(clock.now()?.into())
}

/// Processor time so far of each thread that runs now: its id, its name, and its time.
pub(crate) fn threads(pid: u32) -> Result<Vec<(u32, String, Duration)>> {
    let folder = format!("/proc/{pid}/task");
    let mut threads = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.clone())? {
        let entry = entry?;
        let id = entry.file_name().to_string_lossy().parse()?;
        // A thread may end while we look.
        let read = |file: &str| fs::read_to_string(entry.path().join(file));
        let (Ok(name), Ok(times)) = (read("comm"), read("schedstat")) else { continue };
        let on_processor = times.split(' ').next().context("an empty schedstat")?.parse()?;
        threads.push((id, name.trim().to_owned(), Duration::from_nanos(on_processor)));
    }
    Ok(threads)
}

/// Resident memory of a process in bytes.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    memory(pid, "VmRSS:")
}

/// The most that it ever had, in bytes.
pub(crate) fn peak(pid: u32) -> Result<u64> {
    memory(pid, "VmHWM:")
}

fn memory(pid: u32, field: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).context("no such field")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}

/// TCP connections that were opened from this network namespace so far.
pub(crate) fn active_opens() -> Result<u64> {
    counter(&fs::read_to_string("/proc/net/snmp")?, "Tcp", "ActiveOpens")
}

/// One value of a file that has a line of names and a line of values for each protocol.
fn counter(snmp: &str, protocol: &str, name: &str) -> Result<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix(protocol)?.strip_prefix(": "));
    let (names, values) = (lines.next().context("no names")?, lines.next().context("no values")?);
    let at = names.split(' ').position(|found| found == name).with_context(|| format!("no {name}"))?;
    Ok(values.split(' ').nth(at).context("too short")?.parse()?)
}

/// Processes that wanted to run, averaged over a minute.
pub(crate) fn load() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().context("no load")?.parse()?)
}

/// Processor, kernel and how many processors.
pub(crate) fn machine() -> Result<String> {
    let info = fs::read_to_string("/proc/cpuinfo")?;
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    // Without the name that somebody gave to their build of it.
    let kernel = kernel.trim().split('-').next().unwrap_or_default().to_owned();
    let processors = std::thread::available_parallelism()?;
    Ok(format!("{processors} × {}, Linux {kernel}", model.map_or("unknown processor", |(_, name)| name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_by_its_name() {
        let snmp = "Ip: Forwarding TTL\nIp: 1 64\nTcp: RtoMin ActiveOpens\nTcp: 200 17\n";
        assert_eq!(counter(snmp, "Tcp", "ActiveOpens").unwrap(), 17);
        counter(snmp, "Tcp", "PassiveOpens").unwrap_err();
        counter(snmp, "Udp", "ActiveOpens").unwrap_err();
    }

    #[test]
    fn we_have_threads_and_used_time_and_memory() {
        let us = std::process::id();
        let threads = threads(us).unwrap();
        assert!(threads.iter().any(|(id, ..)| *id == us));
        assert!(cpu_time(us).unwrap() > Duration::ZERO);
        assert!(peak(us).unwrap() >= 4096 && resident(us).unwrap() >= 4096);
    }
}
