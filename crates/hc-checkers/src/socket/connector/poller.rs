//! The epoll instance of a connector.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::time::Timespec;
use socket2::Socket;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Events that are read with one system call.
const EVENTS: usize = 128;

const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Names a socket in the slab, and only while it is there: the place, and above it the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Token(u64);

impl Token {
    pub(super) fn new(place: usize, id: u32) -> Self {
        Self(u64::from(id) << 32 | (place as u64 & u64::from(u32::MAX)))
    }

    #[allow(clippy::cast_possible_truncation, reason = "it is the lower half")]
    pub(super) fn place(self) -> usize {
        self.0 as u32 as usize
    }

    /// Whether it is that of the socket with this id.
    pub(super) fn is(self, id: u32) -> bool {
        self.0 >> 32 == u64::from(id)
    }
}

/// Reports which sockets have changed.
pub(super) struct Poller {
    epoll: AsyncFd<OwnedFd>,
    events: Vec<epoll::Event>,
}

impl Poller {
    pub(super) fn open() -> io::Result<Self> {
        Self::register(epoll::create(epoll::CreateFlags::CLOEXEC)?)
    }

    /// Makes it known to the runtime.
    fn register(epoll: OwnedFd) -> io::Result<Self> {
        #[allow(
            deprecated,
            reason = "its successor is unsafe, and an OwnedFd owns its descriptor to the end"
        )]
        let epoll = AsyncFd::with_interest(epoll, Interest::READABLE)?;
        Ok(Self { epoll, events: Vec::with_capacity(EVENTS) })
    }

    /// The same under this runtime, when the one before has ended.
    pub(super) fn renew(self) -> io::Result<Self> {
        Self::register(self.epoll.into_inner())
    }

    /// Reports this socket from now on, once for each change, until it is closed.
    pub(super) fn add(&self, socket: &Socket, token: Token) -> io::Result<()> {
        let (data, flags) = (EventData::new_u64(token.0), EventFlags::OUT | EventFlags::ET);
        Ok(epoll::add(self.epoll.get_ref(), socket, data, flags)?)
    }

    /// Waits until there is something to read. The error is that the runtime has ended.
    pub(super) fn poll_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut ready = ready!(self.epoll.poll_read_ready(context))?;
        // Before the reading: what is ready after it is told once more.
        ready.clear_ready();
        Poll::Ready(Ok(()))
    }

    /// Calls `take` with all that there is to report.
    pub(super) fn read(&mut self, mut take: impl FnMut(Token, EventFlags)) {
        loop {
            self.events.clear();
            let read = epoll::wait(self.epoll.get_ref(), spare_capacity(&mut self.events), Some(&AT_ONCE));
            self.events.iter().for_each(|event| take(Token(event.data.u64()), event.flags));
            if read.is_err() || self.events.len() < self.events.capacity() {
                return;
            }
        }
    }
}
