//! Whether this machine's path to a target stood for the whole of a probe: links, addresses, routes
//! and rules.
//!
//! The kernel drops packets and reports no error while an interface is down or a route is away. For
//! example: the loopback interface is down for 4 s, a probe with a timeout of 5 s sends its SYN at
//! 0, 1 and 3 s, all are lost, and the next would go at 7 s. Looking at the path when the time is
//! up shows nothing, since everything is back by then. So the kernel's notices of changes
//! (rtnetlink(7)) are read, and a probe that failed while something on its path changed says
//! nothing about its backend.

#![allow(
    clippy::disallowed_methods,
    reason = "it drives the sockets that it reads; the history takes its times from it"
)]

mod history;
mod kernel;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hc_types::{LocalFault, Mark, Target};
use nix::net::if_::if_nametoindex;

use history::{History, Noted};
use kernel::{Change, LOOPBACK, Notices, Questions, Read, Route, Way};

/// The queue of notices is read at least this often while probes run, so that it is known when a
/// change was made.
const READ_EVERY: Duration = Duration::from_millis(100);

/// A probe that has not ended after this time gets its path looked up, to be compared with later
/// changes.
const SLOW: Duration = Duration::from_millis(250);

/// Notices that are read in one go.
const MOST_NOTICES: usize = 65_536;

/// Without the kernel's notices, how long until they are asked for again.
const RETRY: Duration = Duration::from_secs(10);

/// Observes the paths of all probes of one thread.
#[derive(Debug, Default)]
pub(crate) struct PathWatch {
    observer: RefCell<Option<Observer>>,
    tried: Cell<Option<Instant>>,
}

/// Whether this process can observe the paths of its probes. Without, a path that is away for a
/// part of a probe only is not noticed, and the probe's timeout counts.
///
/// # Errors
/// Why not: the kernel refuses a netlink socket (a seccomp filter, `RestrictAddressFamilies`
/// without `AF_NETLINK`).
pub fn can_observe_paths() -> io::Result<()> {
    Observer::open().map(drop)
}

impl PathWatch {
    /// Opens what it needs. Where the kernel refuses, it is tried again later.
    pub(crate) fn open() -> Self {
        let watch = Self::default();
        watch.ensure_open(Instant::now());
        watch
    }

    fn ensure_open(&self, now: Instant) {
        if self.observer.borrow().is_some() || self.tried.get().is_some_and(|at| now - at < RETRY) {
            return;
        }
        self.tried.set(Some(now));
        *self.observer.borrow_mut() = Observer::open().ok();
    }

    /// Whether changes are observed now.
    pub(crate) fn is_open(&self) -> bool {
        self.observer.borrow().is_some()
    }

    /// A probe begins.
    pub(crate) fn begin(self: &Rc<Self>) -> Flight {
        let now = Instant::now();
        self.ensure_open(now);
        let mut observer = self.observer.borrow_mut();
        let has_read = observer.as_mut().is_some_and(|observer| observer.read_if_due(now));
        // What has been read by now was before the probe.
        let begun = if has_read { Instant::now() } else { now };
        Flight { watch: Rc::clone(self), begun, slow: None }
    }
}

/// A probe in flight. Drop it when the probe has ended.
#[derive(Debug)]
pub(crate) struct Flight {
    watch: Rc<PathWatch>,
    begun: Instant,
    slow: Option<Box<Slow>>,
}

/// The path of a probe that takes long, as it was after `at`.
#[derive(Debug)]
struct Slow {
    at: Instant,
    paths: Paths,
    /// Changes before `at` may be missing.
    is_unsure: bool,
}

impl Flight {
    /// The probe goes on waiting. Cheap unless it has waited for long; the deadline polls each
    /// probe a few times a second.
    pub(crate) fn waits(&mut self, target: &Target, timeout: Duration) {
        let now = Instant::now();
        if now.duration_since(self.begun) < SLOW.min(timeout / 2) {
            return;
        }
        let Some(observer) = &mut *self.watch.observer.borrow_mut() else { return };
        if self.slow.is_some() {
            observer.read_if_due(now);
            return;
        }
        let paths = observer.paths(target);
        // Only now: what is read later was changed after the path was looked up.
        observer.read();
        let is_unsure = observer.history.may_lack_recent(self.begun);
        paths.targets().for_each(|ip| observer.history.register(ip));
        self.slow = Some(Box::new(Slow { at: observer.read_at, paths, is_unsure }));
    }

    /// The local fault that may have caused the failure of this probe. To be called when the probe
    /// has just ended. `heard`: something came from the network, so there is a path now, and only a
    /// change can have caused the failure.
    pub(crate) fn fault(&self, target: &Target, heard: bool) -> Option<LocalFault> {
        let observer = &mut *self.watch.observer.borrow_mut();
        let observer = observer.as_mut()?;
        observer.read();
        let slow = self.slow.as_deref();
        let lacks = match slow {
            Some(slow) => slow.is_unsure || observer.history.may_lack_kept(self.begun),
            None => observer.history.may_lack_recent(self.begun),
        };
        let has_changes = observer.history.since(self.begun).next().is_some();
        if heard && !has_changes && !lacks {
            // As nearly always, and the kernel is not asked for the path of every refusal.
            return None;
        }
        let now = observer.paths(target);
        if now.all().any(|route| observer.is_down(route)) {
            return Some(LocalFault::InterfaceDown);
        }
        let tables = if has_changes { observer.tables(target.ip().is_ipv4()) } else { Vec::new() };
        let concern = Concern { target, slow, now: &now, tables: &tables };
        let changed = observer.history.since(self.begun).any(|noted| concern.is_about(noted));
        (lacks || changed).then_some(LocalFault::PathChanged)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let (Some(slow), Some(observer)) = (&self.slow, &mut *self.watch.observer.borrow_mut()) {
            slow.paths.targets().for_each(|ip| observer.history.release(ip));
        }
    }
}

/// The ways that packets of a probe take: to the target, and for a marked one to the host behind
/// it.
#[derive(Debug, Default)]
struct Paths([Option<(IpAddr, Option<Route>)>; 2]);

impl Paths {
    fn targets(&self) -> impl Iterator<Item = IpAddr> {
        self.0.iter().flatten().map(|(ip, _)| *ip)
    }

    fn all(&self) -> impl Iterator<Item = &Route> {
        self.0.iter().flatten().filter_map(|(_, route)| route.as_ref())
    }
}

/// Reads and remembers the changes.
#[derive(Debug)]
struct Observer {
    notices: Notices,
    questions: Questions,
    history: History,
    /// When the queue was last found empty.
    read_at: Instant,
    /// The tables that the rules look at, in their order, for IPv4 and IPv6, until a rule changes.
    tables: [Option<Vec<u32>>; 2],
    buffer: Box<[u8]>,
}

impl Observer {
    fn open() -> io::Result<Self> {
        let mut observer = Self {
            notices: Notices::open()?,
            questions: Questions::open()?,
            history: History::default(),
            read_at: Instant::now(),
            tables: [None, None],
            buffer: vec![0; kernel::LONGEST].into_boxed_slice(),
        };
        let links = observer.questions.links(&mut observer.buffer)?;
        observer.history.set_links(links);
        Ok(observer)
    }

    /// Whether it was, and has been read.
    fn read_if_due(&mut self, now: Instant) -> bool {
        let is_due = now.duration_since(self.read_at) >= READ_EVERY;
        if is_due {
            self.read();
        }
        is_due
    }

    /// Reads the notices that have arrived.
    fn read(&mut self) {
        let after = self.read_at;
        // Before the first reading: what comes while it goes on may be left in the queue.
        let mut reading = Instant::now();
        let mut was_lost = false;
        for nth in 0.. {
            match self.notices.read(&mut self.buffer) {
                Read::Nothing => break,
                Read::Lost => was_lost = true,
                Read::Bytes(length) => {
                    let before = Instant::now();
                    for change in kernel::changes(&self.buffer[..length]) {
                        if matches!(change, Change::Rule { .. }) {
                            self.tables = [None, None];
                        }
                        self.history.note(after, before, change);
                    }
                }
            }
            if nth == MOST_NOTICES {
                was_lost = true;
                break;
            }
        }
        if was_lost {
            self.tables = [None, None];
            if let Ok(links) = self.questions.links(&mut self.buffer) {
                self.history.set_links(links);
            }
            reading = Instant::now();
            self.history.note(after, reading, Change::Unknown);
        }
        self.read_at = reading;
        self.history.age(reading);
    }

    fn paths(&mut self, target: &Target) -> Paths {
        let mut look = |way: Way| (way.to, self.questions.route(&way, &mut self.buffer).ok());
        let host = target.host().filter(|host| *host != target.ip());
        let device = target.device().and_then(|device| if_nametoindex(device).ok());
        let own = Way { to: target.ip(), mark: target.mark(), source: target.source(), device };
        Paths([Some(look(own)), host.map(|host| look(Way::to(host)))])
    }

    fn is_down(&self, route: &Route) -> bool {
        if route.is_local {
            return self.history.link_is_down(LOOPBACK);
        }
        let all_down =
            !route.links.is_empty() && route.links.iter().all(|link| self.history.link_is_down(*link));
        route.is_down || all_down
    }

    fn tables(&mut self, ipv4: bool) -> Vec<u32> {
        let Self { tables: [v4, v6], questions, buffer, .. } = self;
        let known = if ipv4 { v4 } else { v6 };
        if known.is_none() {
            *known = questions.tables(ipv4, buffer).ok();
        }
        known.clone().unwrap_or_default()
    }
}

/// What decides which changes concern a probe.
struct Concern<'a> {
    target: &'a Target,
    slow: Option<&'a Slow>,
    now: &'a Paths,
    /// Empty when it is not known.
    tables: &'a [u32],
}

impl Concern<'_> {
    fn routes(&self) -> impl Iterator<Item = &Route> {
        self.slow.into_iter().flat_map(|slow| slow.paths.all()).chain(self.now.all())
    }

    fn is_about(&self, noted: &Noted) -> bool {
        // The path was looked up before the change. If not, the path that the probe began with is
        // not known.
        let is_known = self.slow.is_some_and(|slow| noted.after >= slow.at);
        let mut ips = self.now.targets();
        match &noted.change {
            Change::Link { index, works, is_port, .. } => {
                let is_on_path = self.routes().any(|route| route.links.contains(index));
                // The path may have led there, and lead elsewhere since: not one to ourselves, and
                // not where links come and go all the time, which would excuse every failure.
                let is_elsewhere = self.routes().any(|route| !route.is_local);
                is_on_path || (!is_known && !works && !is_port && noted.is_sudden && is_elsewhere)
            }
            Change::AddressGone { ip, link } => {
                let same_family = ip.is_ipv4() == self.target.ip().is_ipv4();
                ips.any(|target| target == *ip)
                    || self.routes().any(|route| route.source == Some(*ip))
                    || (!is_known && same_family && self.routes().any(|route| route.links.contains(link)))
            }
            Change::Route { to, table } => {
                ips.any(|ip| to.contains(&ip)) && self.takes(*table, to.prefix_len())
            }
            Change::Rule { to, mark } => {
                let ours = self.target.mark().map_or(0, Mark::get);
                ips.any(|ip| to.contains(&ip)) && mark.is_none_or(|(mark, mask)| ours & mask == mark & mask)
            }
            Change::Unknown => true,
        }
    }

    /// Whether a route in `table`, which covers the target with a prefix of this length, can be the
    /// one that packets take.
    fn takes(&self, table: u32, length: u8) -> bool {
        let shortest = self.routes().filter(|route| route.table == table).map(|route| route.length).min();
        if let Some(shortest) = shortest {
            // A longer prefix is in use.
            return length >= shortest;
        }
        let place = |table| self.tables.iter().position(|known| *known == table);
        let last = self.routes().map(|route| place(route.table).unwrap_or(usize::MAX)).max();
        match place(table) {
            Some(place) => last.is_none_or(|last| place <= last),
            // No rule leads there, if the rules are known.
            None => self.tables.is_empty(),
        }
    }
}
