//! Connected UDP sockets.

use std::cell::RefCell;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::task::Poll;

use hc_types::{Phase, Target};
use socket2::{Protocol, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::error_queue;
use crate::deadline::Progress;
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
    to: IpAddr,
}

impl Datagrams {
    /// Opens, marks and connects the socket. Nothing is sent.
    pub(crate) fn connect(target: &Target) -> Result<Self, Setback> {
        let ipv4 = target.ip().is_ipv4();
        let socket = super::open(target, Type::DGRAM, Protocol::UDP)?;
        // Without it the kernel keeps "host unreachable" and the like to itself, and the probe would wait for its deadline.
        error_queue::listen(&socket, ipv4).map_err(|error| fault::opening(&error, ipv4))?;
        socket
            .connect(&target.socket_addr().into())
            .map_err(|error| fault::connecting(&error, target.ip()))?;
        let socket = UdpSocket::from_std(socket.into()).map_err(|error| fault::opening(&error, ipv4))?;
        Ok(Self { socket, ipv4, to: target.ip() })
    }

    /// Our own address on the way to the target.
    pub(crate) fn local_addr(&self) -> Result<SocketAddr, Setback> {
        self.socket.local_addr().map_err(|error| fault::before_sending(&error))
    }

    /// Sends one datagram, which may be empty, and notes it in `progress`. Does not wait: a queue that is full is a local fault.
    pub(crate) fn send(&self, datagram: &[u8], progress: &Progress) -> Result<(), Setback> {
        match SockRef::from(&self.socket).send(datagram) {
            // UDP sends all of a datagram or none.
            Ok(_) => {
                progress.exchanged();
                Ok(())
            }
            Err(error) => Err(fault::sending(&error, self.to)),
        }
    }

    /// Waits for one datagram; what does not fit into `buffer` is lost. Its length is at most that of `buffer`. What comes is noted in
    /// `progress`.
    ///
    /// # Errors
    /// What an ICMP message said about a datagram of ours.
    ///
    /// # Cancel safety
    /// A datagram is taken only when it is returned.
    pub(crate) async fn receive(&self, buffer: &mut [u8], progress: &Progress) -> Result<usize, Setback> {
        self.when_ready(|mut socket| socket.read(buffer), progress).await
    }

    /// Waits for one datagram of any size. What comes is noted in `progress`.
    ///
    /// # Errors
    /// What an ICMP message said about a datagram of ours.
    ///
    /// # Cancel safety
    /// A datagram is taken only when it is returned.
    pub(crate) async fn receive_whole(&self, progress: &Progress) -> Result<Vec<u8>, Setback> {
        let read = |mut socket: &Socket| {
            LARGEST.with_borrow_mut(|buffer| {
                let length = socket.read(buffer)?;
                Ok(buffer[..length].to_vec())
            })
        };
        self.when_ready(read, progress).await
    }

    async fn when_ready<R>(
        &self,
        read: impl FnMut(&Socket) -> io::Result<R>,
        progress: &Progress,
    ) -> Result<R, Setback> {
        let read = RefCell::new(read);
        let read = || (read.borrow_mut())(&SockRef::from(&self.socket));
        // ICMP errors make the socket erroneous, not readable.
        let received = pin!(self.socket.async_io(Interest::READABLE | Interest::ERROR, read));
        let look = || match read() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            read => Poll::Ready(read),
        };
        progress.hear(received, look).await.map_err(|error| self.named(&error))
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

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    #[tokio::test]
    async fn a_last_look_sees_what_the_poller_has_not_reported() {
        let progress = Progress::at_last_look();
        let receive = |socket: &Datagrams| {
            pin!(socket.receive_whole(&progress)).poll(&mut Context::from_waker(Waker::noop()))
        };
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = peer.local_addr().unwrap();
        let socket = Datagrams::connect(&Target::plain(address.ip(), address.port())).unwrap();
        assert_eq!(receive(&socket), Poll::Pending);
        peer.send_to(b"", socket.local_addr().unwrap()).unwrap();
        assert_eq!(receive(&socket), Poll::Ready(Ok(Vec::new())));
        // Nobody takes our datagrams any more. Not closed: a process that another test is starting may hold a copy of the descriptor.
        peer.connect("127.0.0.2:1").unwrap();
        socket.send(b"x", &progress).unwrap();
        assert_eq!(receive(&socket), Poll::Ready(Err(hc_types::Failure::Refused.into())));
    }
}
