//! What a health checker gives up once it has started.
//!
//! It reads answers from every backend, so assume that one of them finds a bug. After [`enter`]
//! this thread, and every thread that it starts later, has no capabilities but the two that probes
//! need and, if asked, `CAP_CHOWN`, sees no files but the ones named, and can make no system calls
//! but those that checking needs. A call outside of the list fails with `EPERM` and the kernel logs
//! it (audit record 1326); the process is not killed, because a checker that is gone checks
//! nothing.
//!
//! ```no_run
//! use hc_sandbox::{Files, enter};
//!
//! let files = Files { writable: vec!["/var/lib/seesaw-hc".into()], readable: vec!["/etc".into()], ..Files::default() };
//! let report = enter(&files)?;
//! println!("{report:?}");
//! # Ok::<(), hc_sandbox::SandboxError>(())
//! ```

mod capabilities;
mod files;
mod syscalls;

use std::path::PathBuf;

pub use files::Confinement;

/// The files that stay in reach. Each path is a directory, with everything below it; of `readable`
/// also a single file.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Files and sockets may be made, read, written, renamed and removed here.
    pub writable: Vec<PathBuf>,
    /// Files may be read here. A path that does not exist is left out.
    pub readable: Vec<PathBuf>,
    /// Sockets may be made here, and directories listed, and nothing else. A path that does not
    /// exist is left out.
    pub sockets: Vec<PathBuf>,
    /// Whether files change their owner: `CAP_CHOWN` is kept if the process has it. It works on any
    /// path, also on one that is not named here, since Landlock does not confine chown(2). Default
    /// false.
    pub chown: bool,
}

/// What was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Names of the capabilities that are left: of the two that probes need, those that the process
    /// had, and `CAP_CHOWN` if it was asked for ([`Files::chown`]).
    pub capabilities: Vec<String>,
    /// How far the kernel can confine the files.
    pub files: Confinement,
    /// How many system calls are left.
    pub syscalls: usize,
}

/// The error of the library that was asked, whose type is no part of this crate's API.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why the sandbox is not in force. What had been given up before stays given up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The capabilities cannot be dropped.
    #[error("cannot drop capabilities: {0}")]
    Capabilities(#[source] Cause),
    /// The files cannot be confined.
    #[error("cannot confine files (Landlock): {0}")]
    Files(#[source] Cause),
    /// A directory of [`Files::writable`] cannot be opened.
    #[error("cannot confine files (Landlock): {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: Cause,
    },
    /// The system calls cannot be filtered.
    #[error("cannot filter system calls (seccomp): {0}")]
    Syscalls(#[source] Cause),
}

/// Lets programs that this thread starts from now on inherit none of its capabilities: they get
/// those of their user and of their file. For the process that runs commands, which is not in the
/// sandbox.
///
/// # Errors
/// [`SandboxError::Capabilities`].
pub fn pass_on_no_capabilities() -> Result<(), SandboxError> {
    capabilities::pass_on_none().map_err(|error| SandboxError::Capabilities(error.into()))
}

/// Gives up what checking does not need, for this thread and for those that it starts from now on.
/// Threads that run already keep their capabilities and files: call it before there are any.
///
/// # Errors
/// [`SandboxError`]. A kernel without Landlock is no error; the report says so.
pub fn enter(files: &Files) -> Result<Report, SandboxError> {
    // Files first: with no_new_privs set by it, the filter below needs no capability.
    let confinement = files::confine(files)?;
    let capabilities =
        capabilities::keep_needed(files.chown).map_err(|error| SandboxError::Capabilities(error.into()))?;
    let syscalls = syscalls::filter().map_err(|error| SandboxError::Syscalls(error.into()))?;
    Ok(Report { capabilities, files: confinement, syscalls })
}
