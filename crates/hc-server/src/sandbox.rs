//! What this server still needs once it runs.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use hc_metrics::{Confined, Sandbox};
use hc_sandbox::{Confinement, Files};
use tracing::{info, warn};

use crate::sinks::Reach;

/// Gives up the rest. The directories of `sockets` stay writable, so that their files can be
/// removed at the end and be made again.
///
/// Landlock knows directories, not paths: one that is made anew, by a cleaner or a restore, is
/// another. So sockets may be made in the directory above as well. The state needs more than that,
/// which is given where the rights of files keep this process out of what is not its own: where it
/// is not root.
///
/// Says how far that went.
///
/// `roots`: where the root certificates are read again. `chown`: the socket's file is given to
/// another user or group, each time that it is bound. `sinks`: what these need.
pub(crate) fn enter(
    sockets: &[&Path],
    state: Option<&Path>,
    roots: Vec<PathBuf>,
    chown: bool,
    sinks: Reach,
) -> Result<Sandbox> {
    let mut writable: Vec<PathBuf> = sockets.iter().copied().chain(state).map(Path::to_owned).collect();
    // The range of ephemeral ports, which the first TCP probe reads, and whether IPv6 is switched
    // off.
    let mut readable: Vec<PathBuf> = vec!["/proc/sys/net/ipv4".into(), "/proc/sys/net/ipv6".into()];
    readable.extend(roots);
    readable.extend(sinks.readable);
    writable.extend(sinks.writable);
    let above = |directory: &Path| {
        let directory = std::fs::canonicalize(directory).ok()?;
        directory.parent().filter(|above| above.parent().is_some()).map(Path::to_owned)
    };
    let sockets = sockets.iter().copied().filter_map(above).collect();
    if !rustix::process::geteuid().is_root() {
        writable.extend(state.and_then(above));
    }
    let files = Files { writable, readable, sockets, chown };
    let report =
        hc_sandbox::enter(&files).context("cannot enter the sandbox (--no-sandbox runs without it)")?;
    if report.files != Confinement::Full {
        warn!(landlock = ?report.files, "this kernel cannot confine files fully");
    }
    info!(capabilities = ?report.capabilities, landlock = ?report.files, syscalls = report.syscalls, "in the sandbox");
    let files = match report.files {
        Confinement::Full => Confined::Full,
        Confinement::Partial => Confined::Partial,
        Confinement::None => Confined::None,
    };
    Ok(Sandbox { capabilities: Confined::Full, files, syscalls: Confined::Full })
}
