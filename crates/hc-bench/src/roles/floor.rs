//! The least that a TCP check can cost: socket, connect and close in a bare loop, with no schedule,
//! no states and nobody to tell.

use std::io;
use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hc_bench_uring::{Ring, Style};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use super::backend::{PORT, address};
use super::pace::Pace;
use crate::clock;

pub(super) const NAME: &str = "floor";

/// How many connects are in flight when nothing paces them.
const IN_FLIGHT: usize = 100;

/// The most at once with a pace: a second's worth of silent peers at 50,000/s would be more, but
/// these peers answer at once.
const SLOTS: usize = 1024;

/// A bare loop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Floor {
    /// On the command line.
    pub(crate) word: &'static str,
    /// In tables.
    pub(crate) name: &'static str,
    make: fn(Vec<SocketAddrV4>) -> io::Result<Box<dyn Connects>>,
}

/// All of them; the first is the one that others are held against.
pub(crate) const FLOORS: [Floor; 4] = [
    Floor { word: "epoll", name: "bare epoll loop", make: |to| Ok(Box::new(Epoll::new(to, false)?)) },
    Floor {
        word: "epoll-reused",
        name: "bare epoll loop, sockets used again",
        make: |to| Ok(Box::new(Epoll::new(to, true)?)),
    },
    Floor { word: "uring", name: "bare io_uring loop", make: |to| Ok(Box::new(ring(&to, Style::Fresh)?)) },
    Floor {
        word: "uring-reused",
        name: "bare io_uring loop, sockets used again",
        make: |to| Ok(Box::new(ring(&to, Style::Reused)?)),
    },
];

/// Connects to a fixed list of targets, each of which must pass.
trait Connects {
    /// Begins one.
    fn start(&mut self, target: usize) -> io::Result<()>;
    /// Waits for one to end, for `limit` at most, and ends all that can end.
    fn turn(&mut self, limit: Option<Duration>) -> io::Result<()>;
    fn in_flight(&self) -> usize;
}

/// `floor WORD TARGETS RATE`, without end. A rate of 0 means as fast as it goes.
pub(super) fn run(args: &[String]) -> Result<()> {
    let [word, targets, rate] = args else { bail!("usage: {NAME} WORD TARGETS RATE") };
    let floor = FLOORS.iter().find(|floor| floor.word == word).context("no such floor")?;
    let targets: usize = targets.parse()?;
    let to = (0..targets).map(|check| Ok(SocketAddrV4::new(address(check).parse()?, PORT)));
    let mut connects = (floor.make)(to.collect::<Result<_>>()?)?;
    let rate: u32 = rate.parse()?;
    let mut pace = (rate > 0).then(|| Pace::new(rate));
    let begin = clock::now();
    let mut next = (0..targets).cycle();
    loop {
        let now = begin.elapsed();
        let starts = pace.as_mut().map_or(IN_FLIGHT, |pace| pace.due(now) + connects.in_flight());
        // On a busy machine they may be late: what has no slot is left out.
        for _ in connects.in_flight()..starts.min(SLOTS) {
            connects.start(next.next().context("no targets")?)?;
        }
        connects.turn(pace.as_ref().map(|pace| pace.wait(now)))?;
    }
}

fn ring(to: &[SocketAddrV4], style: Style) -> io::Result<Ring> {
    Ring::new(to, u32::try_from(SLOTS).map_err(io::Error::other)?, style)
}

impl Connects for Ring {
    fn start(&mut self, target: usize) -> io::Result<()> {
        Ring::start(self, target)
    }

    fn turn(&mut self, limit: Option<Duration>) -> io::Result<()> {
        Ring::turn(self, limit)
    }

    fn in_flight(&self) -> usize {
        Ring::in_flight(self)
    }
}

/// The calls that hc-server's bare TCP check makes, in a loop of its own: socket, TCP_QUICKACK off,
/// connect, epoll_ctl, and when the connection stands SO_LINGER and close. `reused`: no new socket,
/// TCP_QUICKACK off, connect, and when it stands connect to AF_UNSPEC, which sends the RST.
struct Epoll {
    epoll: OwnedFd,
    targets: Vec<SocketAddrV4>,
    sockets: Vec<Option<OwnedFd>>,
    is_busy: Vec<bool>,
    free: Vec<usize>,
    reused: bool,
    events: Vec<Event>,
}

impl Epoll {
    fn new(targets: Vec<SocketAddrV4>, reused: bool) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut new = Self {
            epoll,
            targets,
            sockets: (0..SLOTS).map(|_| None).collect(),
            is_busy: vec![false; SLOTS],
            free: (0..SLOTS).collect(),
            reused,
            events: Vec::with_capacity(SLOTS),
        };
        if reused {
            for slot in 0..SLOTS {
                let socket = open()?;
                new.watch(slot, &socket)?;
                new.sockets[slot] = Some(socket);
            }
        }
        Ok(new)
    }

    fn watch(&self, slot: usize, socket: &OwnedFd) -> io::Result<()> {
        let flags = EventFlags::OUT | EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(slot as u64), flags)?)
    }

    fn end(&mut self, slot: usize) -> io::Result<()> {
        let kept = self.sockets[slot].take();
        let socket = kept.ok_or_else(|| io::Error::other("an event for no socket"))?;
        if self.reused {
            rustix::net::connect_unspec(&socket)?;
            self.sockets[slot] = Some(socket);
        } else {
            sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
        }
        self.is_busy[slot] = false;
        self.free.push(slot);
        Ok(())
    }
}

fn open() -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, Some(ipproto::TCP))?)
}

impl Connects for Epoll {
    fn start(&mut self, target: usize) -> io::Result<()> {
        let slot = self.free.pop().ok_or_else(|| io::Error::other("all slots are in use"))?;
        let socket = match self.sockets[slot].take() {
            Some(socket) => socket,
            None => open()?,
        };
        sockopt::set_tcp_quickack(&socket, false)?;
        match rustix::net::connect(&socket, &self.targets[target]) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        if !self.reused {
            self.watch(slot, &socket)?;
        }
        self.sockets[slot] = Some(socket);
        self.is_busy[slot] = true;
        Ok(())
    }

    fn turn(&mut self, limit: Option<Duration>) -> io::Result<()> {
        let limit = limit.map(|limit| Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        });
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), limit.as_ref()) {
            // The process was stopped and goes on.
            Err(rustix::io::Errno::INTR) => {}
            other => drop(other?),
        }
        for event in &events {
            let flags = event.flags;
            let slot = usize::try_from(event.data.u64()).map_err(io::Error::other)?;
            // A socket that waits to be used again reports that it is not connected.
            if !self.is_busy[slot] {
                continue;
            }
            if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
                return Err(io::Error::other(format!("a connect failed: {flags:?}")));
            }
            self.end(slot)?;
        }
        self.events = events;
        Ok(())
    }

    fn in_flight(&self) -> usize {
        SLOTS - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use hc_testkit::port::ClosedPort;

    use super::*;

    /// But for those whose last ACK was sent because the machine was busy for longer than 40 ms.
    #[test]
    fn every_floor_passes_and_its_peer_accepts_next_to_nothing() {
        for floor in FLOORS {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let mut connects = (floor.make)(vec![SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)]).unwrap();
            for _ in 0..10 {
                (0..20).for_each(|_| connects.start(0).unwrap());
                while connects.in_flight() > 0 {
                    connects.turn(Some(Duration::from_secs(10))).unwrap();
                }
            }
            listener.set_nonblocking(true).unwrap();
            let accepted = std::iter::from_fn(|| listener.accept().ok()).count();
            assert!(accepted < 100, "{}: {accepted} of 200", floor.name);
        }
    }

    #[test]
    fn every_floor_notices_a_refusal() {
        for floor in FLOORS {
            let closed = ClosedPort::reserve(Ipv4Addr::LOCALHOST.into()).unwrap();
            let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, closed.address().port());
            let mut connects = (floor.make)(vec![to]).unwrap();
            let ended = connects.start(0).and_then(|()| connects.turn(Some(Duration::from_secs(10))));
            assert!(ended.is_err(), "{}", floor.name);
        }
    }
}
