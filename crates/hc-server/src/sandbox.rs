//! What this server still needs once it runs.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use hc_sandbox::{Confinement, Files};
use tracing::{info, warn};

/// Gives up the rest. The socket's directory stays writable, so that its file can be removed at the end.
/// `roots`: where the root certificates are read again.
pub(crate) fn enter(socket: &Path, state: Option<&Path>, roots: Vec<PathBuf>) -> Result<()> {
    let directory = socket.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let writable: Vec<PathBuf> = [Some(directory), state].into_iter().flatten().map(Path::to_owned).collect();
    // The range of ephemeral ports, which the first TCP probe reads, and whether IPv6 is switched off.
    let mut readable: Vec<PathBuf> = vec!["/proc/sys/net/ipv4".into(), "/proc/sys/net/ipv6".into()];
    readable.extend(roots);
    let files = Files { writable, readable };
    let report =
        hc_sandbox::enter(&files).context("cannot enter the sandbox (--no-sandbox runs without it)")?;
    if report.files != Confinement::Full {
        warn!(files = ?report.files, "this kernel cannot confine files fully");
    }
    info!(capabilities = ?report.capabilities, files = ?report.files, syscalls = report.syscalls, "in the sandbox");
    Ok(())
}
