//! A start that lacks something ends with one line on standard error and status 1.

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};

/// Descriptors that must be free once everything is open: for a connection of hc-proxy, the
/// snapshot and a few probes.
const SPARE_DESCRIPTORS: usize = 8;

/// Address space for the sets of checks, the roots of TLS and whatever else a small server needs.
const MEMORY: usize = 32 << 20;
/// Address space for each thread: its stack, and what the allocator sets aside for it.
const MEMORY_PER_THREAD: usize = 4 << 20;

static STARTED: AtomicBool = AtomicBool::new(false);

/// Until `started` is called, a panic is one line and status 1, like every other failure of a
/// start. Libraries panic where the system refuses what they never expect it to.
pub fn one_line_for_panics() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if STARTED.load(Ordering::Relaxed) {
            return usual(panic);
        }
        let text = panic.payload_as_str().unwrap_or("a panic");
        say(&format!("cannot start: {}", text.replace(['\n', '\r'], " ")));
        std::process::exit(1);
    }));
}

/// From now on a panic is one of a running server.
pub(crate) fn started() {
    STARTED.store(true, Ordering::Relaxed);
}

/// A line on standard error that no log format applies to. One that cannot be written is lost.
pub fn say(text: &str) {
    // In one call, so that it stays one line; and not `eprintln!`, which panics when standard error
    // is a full disk.
    let _ = io::stderr().write_all(format!("hc-server: {text}\n").as_bytes());
}

/// Whether the memory limit of the process (`ulimit -v`, RLIMIT_AS) leaves room for so many
/// threads. An allocation that fails later would abort the process.
///
/// # Errors
/// When it does not.
pub(crate) fn memory(threads: usize) -> Result<()> {
    let wanted = MEMORY.saturating_add(threads.saturating_mul(MEMORY_PER_THREAD));
    let mut room: Vec<u8> = Vec::new();
    room.try_reserve_exact(wanted).with_context(|| {
        format!(
            "too little memory: {} MiB are not to be had; raise the limit of the address space",
            wanted >> 20
        )
    })
}

/// Whether there are descriptors left for what the server is there for.
///
/// # Errors
/// When there are not.
pub(crate) fn descriptors() -> Result<()> {
    let stderr = io::stderr();
    let spare: io::Result<Vec<_>> =
        (0..SPARE_DESCRIPTORS).map(|_| stderr.as_fd().try_clone_to_owned()).collect();
    match spare {
        Ok(_) => Ok(()),
        // Standard error is closed. Then there is no telling, and nobody to tell.
        Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EBADF as i32) => Ok(()),
        Err(error) => Err(error).context("too few open files: raise LimitNOFILE or ulimit -n"),
    }
}
