//! Connected UDP sockets.

use std::cell::RefCell;
use std::io::{self, Read as _};
use std::net::SocketAddr;

use hc_types::{Phase, Target};
use socket2::{Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::error_queue;
use crate::fault::{self, Setback};

thread_local! {
    /// Room for any datagram, once for each thread: probes in flight hold what came, not what could have come.
    static LARGEST: RefCell<Box<[u8]>> = RefCell::new(vec![0; 65_535].into_boxed_slice());
}

/// A UDP socket connected to the target: it takes datagrams from there alone, and hears every ICMP error about its own.
#[derive(Debug)]
pub(crate) struct Datagrams {
    socket: AsyncFd<Socket>,
    ipv4: bool,
}

impl Datagrams {
    /// Opens, marks and connects the socket. Nothing is sent.
    pub(crate) fn connect(target: &Target) -> Result<Self, Setback> {
        let ipv4 = target.ip().is_ipv4();
        let socket = super::open(target, Type::DGRAM, Protocol::UDP)?;
        // Without it the kernel keeps "host unreachable" and the like to itself, and the probe would wait for its deadline.
        let ready = error_queue::listen(&socket, ipv4)
            .and_then(|()| socket.connect(&target.socket_addr().into()))
            .and_then(|()| AsyncFd::with_interest(socket, Interest::READABLE | Interest::ERROR));
        let socket = ready.map_err(|error| fault::before_sending(&error))?;
        Ok(Self { socket, ipv4 })
    }

    /// Our own address on the way to the target.
    pub(crate) fn local_addr(&self) -> Result<SocketAddr, Setback> {
        let addr = self.socket.get_ref().local_addr().map_err(|error| fault::before_sending(&error))?;
        // A socket of these two families has an address of one of these two families.
        addr.as_socket().ok_or_else(|| hc_types::LocalFault::Other(libc::EAFNOSUPPORT).into())
    }

    /// Sends one datagram, which may be empty. Does not wait: a queue that is full is a local fault.
    pub(crate) fn send(&self, datagram: &[u8]) -> Result<(), Setback> {
        match self.socket.get_ref().send(datagram) {
            // UDP sends all of a datagram or none.
            Ok(_) => Ok(()),
            Err(error) => Err(fault::before_sending(&error)),
        }
    }

    /// Waits for one datagram; what does not fit into `buffer` is lost. Its length is at most that of `buffer`.
    ///
    /// # Errors
    /// What an ICMP message said about a datagram of ours.
    ///
    /// # Cancel safety
    /// A datagram is taken only when it is returned.
    pub(crate) async fn receive(&self, buffer: &mut [u8]) -> Result<usize, Setback> {
        self.when_ready(|mut socket| socket.read(buffer)).await
    }

    /// Waits for one datagram of any size.
    ///
    /// # Errors
    /// What an ICMP message said about a datagram of ours.
    ///
    /// # Cancel safety
    /// A datagram is taken only when it is returned.
    pub(crate) async fn receive_whole(&self) -> Result<Vec<u8>, Setback> {
        self.when_ready(|mut socket| {
            LARGEST.with_borrow_mut(|buffer| {
                let length = socket.read(buffer)?;
                Ok(buffer[..length].to_vec())
            })
        })
        .await
    }

    async fn when_ready<R>(&self, mut read: impl FnMut(&Socket) -> io::Result<R>) -> Result<R, Setback> {
        loop {
            // ICMP errors make the socket erroneous, not readable.
            let guard = self.socket.ready(Interest::READABLE | Interest::ERROR).await;
            let mut guard = guard.map_err(|error| fault::before_sending(&error))?;
            match guard.try_io(|socket| read(socket.get_ref())) {
                Ok(Ok(datagram)) => return Ok(datagram),
                Ok(Err(error)) => return Err(self.named(&error)),
                Err(_would_block) => {}
            }
        }
    }

    fn named(&self, error: &io::Error) -> Setback {
        if error.raw_os_error() == Some(libc::EHOSTUNREACH) && self.ipv4 {
            // IPv4 has one number for a host that is gone and for a filter that says no; the queue tells them apart.
            if let Some(unreachable) = error_queue::reason(self.socket.get_ref()) {
                return hc_types::Failure::Unreachable(unreachable).into();
            }
        }
        fault::after_sending(error, Phase::Response)
    }
}
