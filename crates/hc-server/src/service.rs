//! What the service manager hears of the server (`sd_notify(3)`): that it is ready, how its checks
//! stand, that it stops, and that it makes progress (`WatchdogSec=` of the unit).
//!
//! The watchdog is fed by a thread of its own that asks nobody and takes no lock of the cores: it
//! compares what the shards and the main loop have written down since its last look. Example with
//! `WatchdogSec=30s`: it looks every 7.5 s. A shard that has been due for the whole time between
//! two looks has not moved; after four such looks in a row it hangs, the watchdog is not fed any
//! more, and systemd kills the process 30 s after the last time it was.
//!
//! Looks are counted, not time: a machine that was suspended, or a process that was stopped, finds
//! after an hour that one look went by, and the watchdog is fed at once. For the same reason a
//! machine that is only busy is not mistaken for one that hangs: where this thread gets no
//! processor, no look is counted either.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Builder, JoinHandle};
use std::time::{Duration, Instant};

use hc_manager::Manager;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

/// Looks between two expiries of the watchdog, and looks without progress after which something
/// hangs.
const LOOKS: u32 = 4;

/// How often the status is told where no watchdog asks for more.
const STATUS_ONLY: Duration = Duration::from_secs(10);

/// How long a service manager that reads nothing may hold us up.
const PATIENCE: Duration = Duration::from_secs(1);

/// The service manager that started us.
///
/// Its socket is opened once: a server whose probes use up all descriptors must still be able to
/// say that it lives.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    socket: UnixDatagram,
    address: SocketAddr,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The one that `NOTIFY_SOCKET` names, with the watchdog of `WATCHDOG_USEC` and `WATCHDOG_PID`.
    /// `None` where there is none, or where it cannot be talked to, which the log says.
    pub(crate) fn from_env() -> Option<Self> {
        let name = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())?;
        let variable = |name| std::env::var(name).ok();
        let watchdog = watchdog(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), std::process::id());
        let watchdog = watchdog.unwrap_or_else(|problem| {
            warn!(problem, "the watchdog of the service manager is not fed");
            None
        });
        match open(&name) {
            Ok((socket, address)) => Some(Self { socket, address, watchdog }),
            Err(error) => {
                warn!(%error, socket = ?name, "the service manager cannot be told anything (NOTIFY_SOCKET)");
                None
            }
        }
    }

    /// Sends assignments, one a line.
    fn tell(&self, state: &str) {
        // Nothing can be done about a manager that does not listen, and the server runs well
        // without it.
        let _ = self.socket.send_to_addr(state.as_bytes(), &self.address);
    }

    fn look_every(&self) -> Duration {
        self.watchdog.map_or(STATUS_ONLY, |limit| limit / LOOKS)
    }
}

fn open(name: &OsString) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok((socket, address))
}

/// The time within which the watchdog must be fed, as sd_watchdog_enabled(3) reads it: none for
/// another process's.
fn watchdog(usec: Option<String>, pid: Option<String>, own: u32) -> Result<Option<Duration>, String> {
    let Some(usec) = usec else { return Ok(None) };
    if let Some(pid) = pid {
        match pid.parse::<u32>() {
            Ok(pid) if pid == own => {}
            Ok(_) => return Ok(None),
            Err(_) => return Err(format!("WATCHDOG_PID={pid} is not the id of a process")),
        }
    }
    match usec.parse() {
        Ok(0) | Err(_) => Err(format!("WATCHDOG_USEC={usec} is not a number of microseconds above 0")),
        Ok(usec) => Ok(Some(Duration::from_micros(usec))),
    }
}

/// What the main loop writes down and the watchdog reads.
#[derive(Debug, Default)]
struct Pulse {
    beats: AtomicU64,
    status: Mutex<String>,
    stopping: AtomicBool,
    ended: AtomicBool,
}

impl Pulse {
    fn status(&self) -> String {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The thread that feeds the watchdog. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Watchdog {
    pulse: Arc<Pulse>,
    manager: Arc<ServiceManager>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Starts the thread, which watches the shards of `shards` and the main loop. It tells nothing
    /// before [`Watchdog::ready`].
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(manager: ServiceManager, shards: Manager) -> io::Result<Self> {
        let (manager, pulse) = (Arc::new(manager), Arc::new(Pulse::default()));
        let thread = {
            let (manager, pulse) = (manager.clone(), pulse.clone());
            Builder::new().name("hc-watchdog".to_owned()).spawn(move || {
                // Unparked when the server is ready, so that systemd hears of that first.
                thread::park();
                watch(&manager, &pulse, &shards);
            })?
        };
        Ok(Self { pulse, manager, thread: Some(thread) })
    }

    /// The server is ready. The watchdog of systemd begins with this.
    pub(crate) fn ready(&self) {
        self.manager.tell("READY=1");
        self.unpark();
    }

    /// The server stops. From now on the watchdog is fed without a look, because what is watched
    /// ends: `TimeoutStopSec=` is what bounds a stop.
    pub(crate) fn stopping(&self) {
        self.pulse.stopping.store(true, Relaxed);
        self.manager.tell("STOPPING=1\nSTATUS=stopping");
    }

    /// Runs `main`, and meanwhile writes down that the main loop gets to its work, and how the
    /// checks stand.
    pub(crate) async fn beat<T>(&self, status: impl Fn() -> String, main: impl Future<Output = T>) -> T {
        // Twice as often as is looked, so that each look finds a new one.
        let mut beats = interval((self.manager.look_every() / 2).max(Duration::from_millis(1)));
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut main = std::pin::pin!(main);
        loop {
            // A tick that was not taken comes again.
            tokio::select! {
                biased;
                done = &mut main => return done,
                _ = beats.tick() => {
                    *self.pulse.status.lock().unwrap_or_else(PoisonError::into_inner) = status();
                    self.pulse.beats.fetch_add(1, Relaxed);
                }
            }
        }
    }

    fn unpark(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.pulse.ended.store(true, Relaxed);
        self.unpark();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the driver of the watchdog reads the clock")]
fn watch(manager: &ServiceManager, pulse: &Pulse, shards: &Manager) {
    let (mut looks, mut beats, mut last) = (Looks::default(), 0, Instant::now());
    let (mut hung, mut told) = (None, String::new());
    while !pulse.ended.load(Relaxed) {
        thread::park_timeout(manager.look_every().saturating_sub(last.elapsed()));
        let since = last.elapsed();
        // A thread may be woken for nothing, and two looks at one time would count twice.
        if since < manager.look_every() {
            continue;
        }
        last = Instant::now();
        let beat = pulse.beats.load(Relaxed);
        let shards = shards.heartbeats();
        let main = (Watched::Main, beat != beats);
        let moved = shards.iter().map(|shard| (Watched::Shard(shard.shard), shard.overdue < since));
        beats = beat;
        let hangs = if pulse.stopping.load(Relaxed) { None } else { looks.look(moved.chain([main])) };
        match (hung, hangs) {
            (None, Some(what)) if manager.watchdog.is_some() => {
                error!(what = %what, "it hangs: the watchdog of systemd is not fed any more")
            }
            (None, Some(what)) => error!(what = %what, "it hangs, and no watchdog of systemd restarts it"),
            (Some(what), None) => info!(what = %what, "it runs again"),
            _ => {}
        }
        hung = hangs;
        let status = match hangs {
            Some(what) => format!("{what} hangs; before that {}", pulse.status()),
            None if pulse.stopping.load(Relaxed) => "stopping".to_owned(),
            None => pulse.status(),
        };
        if manager.watchdog.is_some() && hangs.is_none() {
            manager.tell(&format!("WATCHDOG=1\nSTATUS={status}"));
        } else if hangs.is_some() || status != told {
            manager.tell(&format!("STATUS={status}"));
        }
        told = status;
    }
}

/// Something that must make progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watched {
    Shard(usize),
    Main,
}

impl std::fmt::Display for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Shard(shard) => write!(f, "shard {shard}"),
            Self::Main => f.write_str("the main loop"),
        }
    }
}

/// For how many looks in a row each has not moved.
#[derive(Debug, Default)]
struct Looks(Vec<u32>);

impl Looks {
    /// Takes what has moved since the last look, in the same order each time. Returns the first
    /// that hangs.
    fn look(&mut self, watched: impl Iterator<Item = (Watched, bool)>) -> Option<Watched> {
        let mut hangs = None;
        for (place, (watched, moved)) in watched.enumerate() {
            if self.0.len() <= place {
                self.0.push(0);
            }
            let still = &mut self.0[place];
            *still = if moved { 0 } else { still.saturating_add(1) };
            if *still >= LOOKS {
                hangs = hangs.or(Some(watched));
            }
        }
        hangs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(usec: Option<&str>, pid: Option<&str>, expected: Result<Option<u64>, &str>) {
        let found = watchdog(usec.map(str::to_owned), pid.map(str::to_owned), 7);
        match expected {
            Ok(usec) => assert_eq!(found, Ok(usec.map(Duration::from_micros))),
            Err(word) => assert!(found.as_ref().is_err_and(|error| error.contains(word)), "{found:?}"),
        }
    }

    #[test]
    fn the_watchdog_is_that_of_our_process() {
        check(None, Some("7"), Ok(None));
        check(Some("30000000"), None, Ok(Some(30_000_000)));
        check(Some("30000000"), Some("7"), Ok(Some(30_000_000)));
        check(Some("30000000"), Some("8"), Ok(None));
        check(Some("0"), None, Err("WATCHDOG_USEC=0"));
        check(Some("30s"), None, Err("WATCHDOG_USEC=30s"));
        check(Some("1"), Some("x"), Err("WATCHDOG_PID=x"));
    }

    #[test]
    fn four_looks_without_progress_are_a_hang_and_one_with_it_is_the_end_of_it() {
        let mut looks = Looks::default();
        let mut look = |first, second, main| {
            let shards = [(Watched::Shard(0), first), (Watched::Shard(1), second), (Watched::Main, main)];
            looks.look(shards.into_iter())
        };
        for _ in 1..LOOKS {
            assert_eq!(look(true, false, true), None);
        }
        assert_eq!(look(true, true, true), None);
        for _ in 1..LOOKS {
            assert_eq!(look(true, false, false), None);
        }
        assert_eq!(look(true, false, true), Some(Watched::Shard(1)));
        assert_eq!(look(true, true, true), None);
        (1..LOOKS).for_each(|_| assert_eq!(look(true, true, false), None));
        assert_eq!(look(true, true, false), Some(Watched::Main));
    }
}
