//! Connected UDP sockets.

use std::cell::RefCell;
use std::io::{self, Read as _};
use std::net::SocketAddr;

use hc_types::{Phase, Target};
use socket2::{Protocol, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::error_queue;
use crate::fault::{self, Setback};

thread_local! {
    /// Room for any datagram, once for each thread: probes in flight hold what came, not what could have come.
    static LARGEST: RefCell<Box<[u8]>> = RefCell::new(vec![0; 65_535].into_boxed_slice());
}

/// A UDP socket connected to the target: it takes datagrams from there alone, and hears every ICMP error about its own.
#[derive(Debug)]
pub(crate) struct Datagrams {
    socket: UdpSocket,
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
            .and_then(|()| UdpSocket::from_std(socket.into()));
        let socket = ready.map_err(|error| fault::before_sending(&error))?;
        Ok(Self { socket, ipv4 })
    }

    /// Our own address on the way to the target.
    pub(crate) fn local_addr(&self) -> Result<SocketAddr, Setback> {
        self.socket.local_addr().map_err(|error| fault::before_sending(&error))
    }

    /// Sends one datagram, which may be empty. Does not wait: a queue that is full is a local fault.
    pub(crate) fn send(&self, datagram: &[u8]) -> Result<(), Setback> {
        match SockRef::from(&self.socket).send(datagram) {
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
        // ICMP errors make the socket erroneous, not readable.
        let received =
            self.socket.async_io(Interest::READABLE | Interest::ERROR, || read(&SockRef::from(&self.socket)));
        received.await.map_err(|error| self.named(&error))
    }

    fn named(&self, error: &io::Error) -> Setback {
        if self.ipv4 && matches!(error.raw_os_error(), Some(libc::EHOSTUNREACH | libc::ENETUNREACH)) {
            // IPv4 has the same numbers for what is gone and for what a filter forbids; the queue tells them apart.
            if let Some(unreachable) = error_queue::reason(&SockRef::from(&self.socket)) {
                return hc_types::Failure::Unreachable(unreachable).into();
            }
        }
        fault::after_sending(error, Phase::Response)
    }
}
