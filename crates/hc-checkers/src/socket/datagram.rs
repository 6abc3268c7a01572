//! Connected UDP sockets.

use std::cell::{Cell, RefCell};
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
use crate::fault::{self, ProbeError};

thread_local! {
    /// Room for any datagram, once for each thread: probes in flight hold none.
    static LARGEST: RefCell<Box<[u8]>> = RefCell::new(vec![0; 65_535].into_boxed_slice());
}

/// How often a datagram is sent again because it was too long for the path. Each time the kernel
/// has learnt the MTU of one more narrow hop. A router that says so of every size, as no router
/// should, is not obeyed for ever.
const MOST_RESENDS: u8 = 8;

/// A UDP socket connected to the target: it takes datagrams from there alone, and hears every ICMP
/// error about its own.
///
/// A datagram that is longer than the path's MTU is fragmented. Over IPv4 any router may do it:
/// datagrams are sent without the DF bit, so no ICMP message is needed, and none can be lost. Over
/// IPv6 only the sender may, and learns the MTU from an ICMPv6 "packet too big": the datagram that
/// was too long is sent again, and the kernel, which has learnt it too, fragments it.
#[derive(Debug)]
pub(crate) struct Datagrams<'a> {
    socket: UdpSocket,
    ipv4: bool,
    to: IpAddr,
    /// What was last sent.
    sent: Cell<&'a [u8]>,
    resends: Cell<u8>,
}

impl<'a> Datagrams<'a> {
    /// Opens, marks and connects the socket. Nothing is sent.
    pub(crate) fn connect(target: &Target) -> Result<Self, ProbeError> {
        let ipv4 = target.ip().is_ipv4();
        let socket = super::open(target, Type::DGRAM, Protocol::UDP)?;
        // Without it the kernel keeps "host unreachable" and the like to itself, and the probe
        // would wait for its deadline.
        error_queue::listen(&socket, ipv4).map_err(|error| fault::opening(&error, ipv4))?;
        if ipv4 {
            super::let_routers_fragment(&socket).map_err(|error| fault::opening(&error, ipv4))?;
        }
        socket
            .connect(&target.socket_addr().into())
            .map_err(|error| fault::connecting(&error, target.ip()))?;
        let socket = UdpSocket::from_std(socket.into()).map_err(|error| fault::opening(&error, ipv4))?;
        Ok(Self { socket, ipv4, to: target.ip(), sent: Cell::new(&[]), resends: Cell::new(MOST_RESENDS) })
    }

    /// Our own address on the way to the target.
    pub(crate) fn local_addr(&self) -> Result<SocketAddr, ProbeError> {
        self.socket.local_addr().map_err(|error| fault::before_sending(&error))
    }

    /// Sends one datagram, which may be empty, and notes it in `progress`. Does not wait: a queue
    /// that is full is a local fault. A datagram longer than UDP can carry is
    /// [`Failure::BadRequest`](hc_types::Failure::BadRequest).
    pub(crate) fn send(&self, datagram: &'a [u8], progress: &Progress) -> Result<(), ProbeError> {
        self.sent.set(datagram);
        loop {
            match SockRef::from(&self.socket).send(datagram) {
                // UDP sends all of a datagram or none.
                Ok(_) => {
                    progress.exchanged();
                    return Ok(());
                }
                // A "packet too big" about the same datagram, sent before.
                Err(error) if self.is_about_mtu(&error) && self.may_resend() => {}
                Err(error) => return Err(fault::sending(&error, self.to)),
            }
        }
    }

    /// Whether an error is about the path, and not about a datagram that is too long for UDP.
    fn is_about_mtu(&self, error: &io::Error) -> bool {
        // The length field of IPv4 counts its header, that of IPv6 does not.
        let longest = if self.ipv4 { 65_535 - 20 - 8 } else { 65_535 - 8 };
        error.raw_os_error() == Some(libc::EMSGSIZE) && self.sent.get().len() <= longest
    }

    fn may_resend(&self) -> bool {
        let left = self.resends.get();
        self.resends.set(left.saturating_sub(1));
        left > 0
    }

    /// Waits for one datagram of any size, and gives back what `judge` makes of it. Nothing is held
    /// while nothing comes. What comes is noted in `progress`.
    ///
    /// # Errors
    /// What an ICMP message said about a datagram of ours.
    ///
    /// # Cancel safety
    /// A datagram is taken only when it is judged.
    pub(crate) async fn receive<R>(
        &self,
        progress: &Progress,
        mut judge: impl FnMut(&[u8]) -> R,
    ) -> Result<R, ProbeError> {
        let read = |mut socket: &Socket| {
            LARGEST.with_borrow_mut(|buffer| {
                let length = socket.read(buffer)?;
                Ok(judge(&buffer[..length]))
            })
        };
        self.when_ready(read, progress).await
    }

    async fn when_ready<R>(
        &self,
        read: impl FnMut(&Socket) -> io::Result<R>,
        progress: &Progress,
    ) -> Result<R, ProbeError> {
        let read = RefCell::new(read);
        let read = || (read.borrow_mut())(&SockRef::from(&self.socket));
        loop {
            // ICMP errors make the socket erroneous, not readable.
            let received = pin!(self.socket.async_io(Interest::READABLE | Interest::ERROR, read));
            let look = || match read() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
                read => Poll::Ready(read),
            };
            match progress.wait_or_final_read(received, look).await {
                Err(error) if self.is_about_mtu(&error) => {
                    // Its entry in the error queue adds nothing to this error.
                    error_queue::forget(&SockRef::from(&self.socket));
                    if self.may_resend() {
                        self.send(self.sent.get(), progress)?;
                    }
                }
                received => return received.map_err(|error| self.named(&error)),
            }
        }
    }

    fn named(&self, error: &io::Error) -> ProbeError {
        if self.ipv4 && matches!(error.raw_os_error(), Some(libc::EHOSTUNREACH | libc::ENETUNREACH)) {
            // IPv4 has the same numbers for what is gone and for what a filter forbids; the queue
            // tells them apart.
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
        let progress = Progress::at_final_read();
        let receive = |socket: &Datagrams<'_>| {
            pin!(socket.receive(&progress, <[u8]>::to_vec)).poll(&mut Context::from_waker(Waker::noop()))
        };
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = peer.local_addr().unwrap();
        let socket = Datagrams::connect(&Target::plain(address.ip(), address.port())).unwrap();
        assert_eq!(receive(&socket), Poll::Pending);
        peer.send_to(b"", socket.local_addr().unwrap()).unwrap();
        assert_eq!(receive(&socket), Poll::Ready(Ok(Vec::new())));
        // Nobody takes our datagrams any more. Not closed: a process that another test is starting
        // may hold a copy of the descriptor.
        peer.connect("127.0.0.2:1").unwrap();
        socket.send(b"x", &progress).unwrap();
        assert_eq!(receive(&socket), Poll::Ready(Err(hc_types::Failure::Refused.into())));
    }
}
