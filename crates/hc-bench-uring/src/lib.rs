//! TCP connects by io_uring with nothing beside them: the floor that a prober on io_uring could
//! reach.
//!
//! Each connect is one chain of linked entries over a direct descriptor, which no other part of the
//! process sees. It ends as hc-server's bare check does: with an RST that overtakes the
//! handshake's last ACK, so that the peer accepts nothing.

use std::ffi::{c_int, c_void};
use std::io;
use std::net::SocketAddrV4;
use std::time::Duration;

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{DestinationSlot, Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode};

/// How a chain gets its socket and ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// socket, two options, connect, close: five entries.
    Fresh,
    /// option, connect, connect to `AF_UNSPEC`, which dissolves the connection with an RST: three
    /// entries, and the socket is used again.
    Reused,
}

/// Connects under way, driven by one ring.
#[derive(Debug)]
pub struct Ring {
    // First, so that the kernel is done with the addresses before they go.
    ring: Debuggable,
    targets: Box<[libc::sockaddr_in]>,
    free: Vec<u32>,
    slots: u32,
    style: Style,
}

struct Debuggable(IoUring);

impl std::fmt::Debug for Debuggable {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("IoUring")
    }
}

/// What options point at; the kernel reads it while a chain runs.
static OFF: c_int = 0;
static AT_ONCE: libc::linger = libc::linger { l_onoff: 1, l_linger: 0 };
static NOWHERE: libc::sockaddr = libc::sockaddr { sa_family: family(libc::AF_UNSPEC), sa_data: [0; 14] };

const STEPS: u64 = 8;

impl Ring {
    /// A ring for at most `slots` connects at once to these targets.
    ///
    /// # Errors
    /// When the kernel has no io_uring, forbids it, or is older than Linux 6.7.
    pub fn new(targets: &[SocketAddrV4], slots: u32, style: Style) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(slots.next_power_of_two() * 8)
            .build(slots.next_power_of_two() * 8)?;
        ring.submitter().register_files_sparse(slots)?;
        let targets = targets.iter().copied().map(sockaddr).collect();
        let mut ring = Self { ring: Debuggable(ring), targets, free: (0..slots).collect(), slots, style };
        if style == Style::Reused {
            ring.open_all()?;
        }
        Ok(ring)
    }

    /// How many connects have not ended.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.slots as usize - self.free.len()
    }

    /// Queues a connect to the target of this number. It leaves with the next [`turn`](Self::turn).
    ///
    /// # Errors
    /// When all slots are in use.
    ///
    /// # Panics
    /// When there is no such target.
    pub fn start(&mut self, target: usize) -> io::Result<()> {
        let slot = self.free.pop().ok_or_else(|| io::Error::other("all slots are in use"))?;
        let to = &raw const self.targets[target];
        let connect = opcode::Connect::new(Fixed(slot), to.cast(), length_of::<libc::sockaddr_in>()).build();
        let quickack = set(slot, libc::IPPROTO_TCP, libc::TCP_QUICKACK, &OFF);
        match self.style {
            Style::Fresh => {
                let linger = set(slot, libc::SOL_SOCKET, libc::SO_LINGER, &AT_ONCE);
                let close = opcode::Close::new(Fixed(slot)).build();
                self.chain(slot, [open(slot)?, quickack, linger, connect, close])
            }
            Style::Reused => {
                let unspec =
                    opcode::Connect::new(Fixed(slot), &raw const NOWHERE, length_of::<libc::sockaddr>());
                self.chain(slot, [quickack, connect, unspec.build()])
            }
        }
    }

    /// Hands over what is queued, waits for the end of a connect, for `limit` at most, and takes all
    /// that have ended.
    ///
    /// # Errors
    /// When a connect failed, or the kernel refuses the ring.
    pub fn turn(&mut self, limit: Option<Duration>) -> io::Result<()> {
        self.wait(limit)?;
        // One call finishes 20 at least, and no more than that if there are more.
        while self.take()? >= 20 && self.in_flight() > 0 {
            self.wait(Some(Duration::ZERO))?;
        }
        Ok(())
    }

    fn wait(&self, limit: Option<Duration>) -> io::Result<()> {
        let limit = limit.map(Timespec::from);
        let args = match &limit {
            Some(limit) => SubmitArgs::new().timespec(limit),
            None => SubmitArgs::new(),
        };
        match self.ring.0.submitter().submit_with_args(1, &args) {
            // Nothing has ended yet, or the process was stopped and goes on.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR)) => Ok(()),
            other => other.map(drop),
        }
    }

    /// How many have ended.
    fn take(&mut self) -> io::Result<usize> {
        let before = self.free.len();
        for completion in self.ring.0.completion() {
            let (slot, step) = (completion.user_data() / STEPS, completion.user_data() % STEPS);
            if completion.result() < 0 {
                let error = io::Error::from_raw_os_error(-completion.result());
                return Err(io::Error::new(error.kind(), format!("step {step} of a connect: {error}")));
            }
            self.free.push(u32::try_from(slot).map_err(io::Error::other)?);
        }
        Ok(self.free.len() - before)
    }

    /// Links the steps, so that each begins when the one before has passed. Only the last one is
    /// told when all is well.
    fn chain<const N: usize>(&mut self, slot: u32, steps: [Entry; N]) -> io::Result<()> {
        for (step, entry) in steps.into_iter().enumerate() {
            let flags = match N - 1 - step {
                0 => Flags::empty(),
                // What gives the socket back runs even if the connect has failed.
                1 => Flags::IO_HARDLINK | Flags::SKIP_SUCCESS,
                _ => Flags::IO_LINK | Flags::SKIP_SUCCESS,
            };
            self.push(entry.flags(flags).user_data(u64::from(slot) * STEPS + step as u64))?;
        }
        Ok(())
    }

    fn open_all(&mut self) -> io::Result<()> {
        for slot in 0..self.slots {
            self.push(open(slot)?.user_data(u64::from(slot) * STEPS))?;
        }
        self.ring.0.submit_and_wait(self.slots as usize)?;
        match self.ring.0.completion().find(|completion| completion.result() < 0) {
            Some(failed) => Err(io::Error::from_raw_os_error(-failed.result())),
            None => Ok(()),
        }
    }

    fn push(&mut self, entry: Entry) -> io::Result<()> {
        #[allow(
            unsafe_code,
            reason = "the crate io-uring cannot know how long what an entry points at lives"
        )]
        // SAFETY: entries point at statics and at `targets`, which is dropped after the ring and never
        // changed; direct descriptors belong to the ring.
        unsafe { self.ring.0.submission().push(&entry) }.map_err(io::Error::other)
    }
}

fn open(slot: u32) -> io::Result<Entry> {
    let at = DestinationSlot::try_from_slot_target(slot).map_err(|_| io::Error::other("no such slot"))?;
    Ok(opcode::Socket::new(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP).file_index(Some(at)).build())
}

#[allow(clippy::cast_sign_loss, reason = "constants of the kernel, none below 0")]
fn set<T>(slot: u32, level: c_int, name: c_int, value: &'static T) -> Entry {
    let value: *const T = value;
    opcode::SetSockOpt::new(Fixed(slot), level as u32, name as u32, value.cast::<c_void>(), length_of::<T>())
        .build()
}

#[allow(clippy::cast_possible_truncation, reason = "an address or an option, a few bytes long")]
const fn length_of<T>() -> u32 {
    size_of::<T>() as u32
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a family is a small number")]
const fn family(family: c_int) -> libc::sa_family_t {
    family as libc::sa_family_t
}

fn sockaddr(target: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: family(libc::AF_INET),
        sin_port: target.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*target.ip()).to_be() },
        sin_zero: [0; 8],
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    fn run(style: Style) -> io::Result<TcpListener> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let mut ring = Ring::new(&[SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)], 4, style)?;
        for _ in 0..10 {
            (0..4).try_for_each(|_| ring.start(0))?;
            assert!(ring.start(0).is_err(), "a fifth slot");
            while ring.in_flight() > 0 {
                ring.turn(Some(Duration::from_secs(10)))?;
            }
        }
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    /// But for those whose last ACK was sent because the machine was busy for longer than 40 ms.
    #[test]
    fn the_peer_accepts_next_to_nothing() {
        for style in [Style::Fresh, Style::Reused] {
            let listener = run(style).unwrap();
            let accepted = std::iter::from_fn(|| listener.accept().ok()).count();
            assert!(accepted < 20, "{style:?}: {accepted} of 40");
        }
    }
}
