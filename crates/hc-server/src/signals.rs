//! Signals: all of them are blocked from the first line of `main` on and read by one thread, so
//! none has its default effect, which for most is to end the process without its last snapshot.
//!
//! Example: SIGTERM that arrives while the server starts waits until the thread runs, and then ends
//! the server in order.

use std::io;
use std::sync::Arc;
use std::thread::Builder;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::logging;

/// How long the last lines of the log may take when a second signal ends the process.
const LAST_LINES: Duration = Duration::from_millis(500);

/// A signal that comes more often than this is logged once in this time.
const QUIET: Duration = Duration::from_secs(1);

/// One more than the highest signal of Linux.
const SIGNALS: usize = 65;

/// The signals of this process, which are blocked.
///
/// 32 and 33 are left out: they belong to the C library, which lets nobody block them.
#[derive(Debug)]
pub struct Signals(SignalFd);

/// What is done with a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// Ends the server in order, with its last snapshot.
    Stop,
    /// SIGHUP.
    Reload,
    /// SIGUSR1.
    Dump,
    /// Would do harm by default: a line in the log and nothing else.
    Ignore,
    /// Harmless by default, too: nothing to say.
    Silent,
}

impl Signals {
    /// Blocks all signals of this thread and of those that it starts. To be called first, while
    /// there are no threads.
    ///
    /// # Errors
    /// When the system refuses, for example because no descriptor is left.
    pub fn block() -> io::Result<Self> {
        let all = SigSet::all();
        all.thread_block()?;
        Ok(Self(SignalFd::new(&all)?))
    }

    /// Starts the thread that reads the signals. The first SIGTERM, SIGINT or SIGQUIT cancels
    /// `shutdown`; a second one ends the process at once with status 1. SIGUSR1 notifies `dump`,
    /// and SIGHUP `reload` if there is anything to read again.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn watch(
        self,
        shutdown: CancellationToken,
        dump: Arc<Notify>,
        reload: Option<Arc<Notify>>,
    ) -> io::Result<()> {
        let read = move || self.read(&shutdown, &dump, reload.as_deref());
        // Not joined: it waits for signals until the process ends.
        Builder::new().name("hc-signals".to_owned()).spawn(read)?;
        Ok(())
    }

    #[allow(clippy::disallowed_methods, reason = "the driver of the signals reads the clock")]
    fn read(&self, shutdown: &CancellationToken, dump: &Notify, reload: Option<&Notify>) {
        let mut logged = [None::<Instant>; SIGNALS];
        let mut stopping = false;
        loop {
            let info = match self.0.read_signal() {
                Ok(Some(info)) => info,
                Ok(None) | Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => {
                    error!(%error, "cannot read signals any more; SIGKILL is what still ends this process");
                    return;
                }
            };
            let number = info.ssi_signo;
            let (signal, sender_pid, sender_uid) = (name(number), info.ssi_pid, info.ssi_uid);
            let action = action(number);
            if action == Action::Stop {
                if stopping {
                    error!(signal, "stopped before everything was told");
                    logging::flush(LAST_LINES);
                    std::process::exit(1);
                }
                stopping = true;
                info!(signal, sender_pid, sender_uid, "stopping");
                shutdown.cancel();
                continue;
            }
            if action == Action::Dump {
                dump.notify_one();
                continue;
            }
            if action == Action::Reload
                && let Some(reload) = reload
            {
                reload.notify_one();
            }
            let now = Instant::now();
            if let Some(last) = usize::try_from(number).ok().and_then(|number| logged.get_mut(number)) {
                if last.is_some_and(|last| now - last < QUIET) {
                    continue;
                }
                *last = Some(now);
            }
            match action {
                Action::Reload if reload.is_some() => {
                    info!(signal, sender_pid, sender_uid, "reading the files of checks again");
                }
                Action::Reload => {
                    info!(
                        signal,
                        sender_pid, sender_uid, "nothing to reload: a changed configuration needs a restart"
                    );
                }
                Action::Ignore => warn!(signal, sender_pid, sender_uid, "signal ignored"),
                Action::Stop | Action::Dump | Action::Silent => debug!(signal, "signal ignored"),
            }
        }
    }
}

fn action(number: u32) -> Action {
    match i32::try_from(number).ok().and_then(|number| Signal::try_from(number).ok()) {
        // Those that end Seesaw's healthchecker (common/server/server.go).
        Some(Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT) => Action::Stop,
        Some(Signal::SIGHUP) => Action::Reload,
        Some(Signal::SIGUSR1) => Action::Dump,
        Some(Signal::SIGCHLD | Signal::SIGURG | Signal::SIGWINCH | Signal::SIGCONT) => Action::Silent,
        // Those of faults, too, when somebody sends them. A fault of the process itself still ends
        // it: the kernel does not let a thread block that.
        _ => Action::Ignore,
    }
}

/// The name of a signal, or its number if it has none.
fn name(number: u32) -> String {
    match i32::try_from(number).ok().and_then(|number| Signal::try_from(number).ok()) {
        Some(signal) => signal.as_str().to_owned(),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_signals_stop_and_no_other_does() {
        let stopping: Vec<u32> = (1..65).filter(|number| action(*number) == Action::Stop).collect();
        assert_eq!(stopping, [2, 3, 15]);
        assert_eq!((action(1), action(10)), (Action::Reload, Action::Dump));
        assert_eq!((name(14).as_str(), name(40).as_str()), ("SIGALRM", "40"));
    }
}
