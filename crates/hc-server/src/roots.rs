//! Keeps the root certificates as fresh as their files.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use hc_checkers::{Reload, RootsError, SystemRoots};
use tracing::{info, warn};

/// How often the files are looked at. That costs a `stat(2)` for each.
const PERIOD: Duration = Duration::from_secs(5);

/// A thread of its own, since a disk may hang. Dropping this ends it once it no longer waits for
/// one.
#[derive(Debug)]
pub(crate) struct RootsWatch {
    _running: SyncSender<()>,
}

impl RootsWatch {
    /// Starts the thread. It is as confined as the caller's.
    ///
    /// # Errors
    /// When no thread can be had.
    pub(crate) fn start(mut system: SystemRoots) -> io::Result<Self> {
        let (running, ended) = sync_channel::<()>(0);
        let watch = move || {
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(PERIOD) {
                tell(system.reload());
            }
        };
        // Not waited for: it holds nothing, and may hang with its disk.
        let _thread = thread::Builder::new().name("hc-roots".to_owned()).spawn(watch)?;
        Ok(Self { _running: running })
    }
}

fn tell(reload: Reload) {
    match reload {
        Reload::Unchanged => {}
        Reload::Replaced { count, problems } => {
            tell_problems(problems);
            info!(count, "the root certificates have changed and are in use");
        }
        Reload::Kept(error) => {
            warn!(error, "the root certificates have changed and cannot be used: the old ones stay in use");
        }
    }
}

/// Names the certificates that are left out.
pub(crate) fn tell_problems(problems: Vec<RootsError>) {
    for problem in problems {
        warn!(error = %problem, "a root certificate is left out");
    }
}
