//! TCP connections.

use std::fs;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::pin::{Pin, pin};
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::Duration;

use hc_types::{Failure, LocalFault, Phase, ProxyProtocol, Target};
use socket2::{Protocol, SockRef, Type};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::{dropped, proxy};
use crate::deadline::Progress;
use crate::fault::{self, ProbeError};

/// What the probe does with the connection first. It decides which packets the handshake takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectMode {
    /// It sends this many bytes in one write. The handshake's last ACK travels with them.
    SendFirst(usize),
    /// It makes several small writes in a row, as a TLS handshake does.
    Interactive,
    /// It waits for the peer's first bytes, or closes with a FIN: a plain handshake.
    ReceiveFirst,
}

/// No path has a smaller one (RFC 9293 section 3.7.1): what fits is one segment, which Nagle's
/// algorithm never holds back.
const SMALLEST_SEGMENT: usize = 536;

/// A socket that meets itself is thrown away and tried again this often, as Go's dialer does
/// (`net/tcpsock_posix.go`).
pub(super) const SELF_CONNECT_RETRIES: usize = 2;

/// Connects to the target, mark first. Errors before the SYN has left are local faults where they
/// can be; see [`fault::before_sending`].
///
/// A local target whose port is in the range of ephemeral ports can be met by our own socket (RFC
/// 9293 section 3.5, simultaneous open); nobody listens there then, so that is
/// [`Failure::Refused`].
///
/// # Cancel safety
/// Dropping the future closes the socket.
pub(crate) async fn connect<'a>(
    target: &Target,
    opening: ConnectMode,
    progress: &'a Progress,
) -> Result<Stream<'a>, ProbeError> {
    for _ in 0..=SELF_CONNECT_RETRIES {
        let stream = connect_once(target, opening, progress).await?;
        if !met_itself(|| stream.local_addr(), target.socket_addr())? {
            let stream = Stream { stream, progress };
            return match target.proxy_protocol() {
                None => Ok(stream),
                Some(header) => announce(stream, header, target).await,
            };
        }
        // Not closed politely: the socket would keep the port in TIME_WAIT, and the next one could
        // not have it.
        reset(stream);
    }
    Err(Failure::Refused.into())
}

async fn connect_once(
    target: &Target,
    opening: ConnectMode,
    progress: &Progress,
) -> Result<TcpStream, ProbeError> {
    let socket = super::open(target, Type::STREAM, Protocol::TCP)?;
    let (hold_ack, no_delay) = match opening {
        ConnectMode::SendFirst(length) => (true, length > SMALLEST_SEGMENT),
        ConnectMode::Interactive => (true, true),
        ConnectMode::ReceiveFirst => (false, false),
    };
    // Behind a PROXY header there is a second small write.
    let no_delay = no_delay || target.proxy_protocol().is_some();
    let ready = if hold_ack { socket.set_tcp_quickack(false) } else { Ok(()) }
        .and_then(|()| if no_delay { socket.set_tcp_nodelay(true) } else { Ok(()) });
    ready.map_err(|error| fault::before_sending(&error))?;
    match socket.connect(&target.socket_addr().into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(connecting(&error, target)),
    }
    progress.exchanged();
    // Registered only now: before connect the poller would report the unconnected socket as hung
    // up.
    let stream = TcpStream::from_std(socket.into()).map_err(|error| fault::before_sending(&error))?;
    progress.wait_or_final_read(pin!(connected(&stream)), || look_whether_connected(&stream, target)).await?;
    Ok(stream)
}

/// An error of `connect`.
pub(super) fn connecting(error: &io::Error, target: &Target) -> ProbeError {
    if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) {
        // No port, or no address; a datagram socket needs no port of these, so it shows which.
        return super::check_route(target).err().unwrap_or(LocalFault::Ports).into();
    }
    fault::connecting(error, target.ip())
}

/// Sends the PROXY header.
async fn announce<'a>(
    mut stream: Stream<'a>,
    header: ProxyProtocol,
    target: &Target,
) -> Result<Stream<'a>, ProbeError> {
    let ours = stream.stream.local_addr().map_err(|error| fault::after_sending(&error, Phase::Send))?;
    let header = proxy::header(header, ours, target.socket_addr());
    stream.progress.enter(Phase::Send);
    stream.write_all(&header).await.map_err(|error| fault::after_sending(&error, Phase::Send))?;
    Ok(stream)
}

async fn connected(stream: &TcpStream) -> Result<(), ProbeError> {
    let ready = stream.ready(Interest::WRITABLE).await.map_err(|error| fault::before_sending(&error))?;
    // An established connection is only writable; one that failed also has a pending error.
    if ready.is_write_closed() { failed(stream).map_or(Ok(()), Err) } else { Ok(()) }
}

fn failed(stream: &TcpStream) -> Option<ProbeError> {
    match stream.take_error() {
        Ok(None) => None,
        Ok(Some(error)) | Err(error) => Some(fault::after_sending(&error, Phase::Connect)),
    }
}

fn look_whether_connected(stream: &TcpStream, target: &Target) -> Poll<Result<(), ProbeError>> {
    match failed(stream) {
        Some(error) => Poll::Ready(Err(error)),
        None if stream.peer_addr().is_ok() => Poll::Ready(Ok(())),
        None if dropped::syn_was_dropped_here(stream.local_addr(), target.socket_addr()) => {
            Poll::Ready(Err(LocalFault::Filter.into()))
        }
        None => Poll::Pending,
    }
}

/// Whether a connection to the target from the address `local`, which is looked up if it can be so,
/// is one to its own socket.
pub(super) fn met_itself(
    local: impl FnOnce() -> io::Result<SocketAddr>,
    target: SocketAddr,
) -> Result<bool, ProbeError> {
    if !ephemeral_ports().contains(&target.port()) {
        return Ok(false);
    }
    let local = local().map_err(|error| fault::after_sending(&error, Phase::Connect))?;
    Ok(local.port() == target.port() && local.ip() == target.ip())
}

/// The ports that the kernel gives to sockets that ask for none. Read once: asking each connection
/// for its own address instead would cost each a system call.
fn ephemeral_ports() -> &'static RangeInclusive<u16> {
    static PORTS: OnceLock<RangeInclusive<u16>> = OnceLock::new();
    PORTS.get_or_init(|| {
        let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        parse_port_range(&text).unwrap_or(1..=u16::MAX)
    })
}

fn parse_port_range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.trim().split_once(char::is_whitespace)?;
    Some(first.parse().ok()?..=last.trim().parse().ok()?)
}

/// A connection that keeps the progress of its probe.
#[derive(Debug)]
pub(crate) struct Stream<'a> {
    stream: TcpStream,
    progress: &'a Progress,
}

impl<'a> Stream<'a> {
    /// A connection that an earlier probe has made.
    pub(crate) fn over(stream: TcpStream, progress: &'a Progress) -> Self {
        Self { stream, progress }
    }

    /// The connection alone.
    pub(crate) fn into_inner(self) -> TcpStream {
        self.stream
    }

    fn note<T>(&self, polled: Poll<T>) -> Poll<T> {
        if polled.is_ready() {
            self.progress.exchanged();
        }
        polled
    }
}

impl AsyncRead for Stream<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Pending => self.progress.final_read(|| read_now(&self.stream, buffer)),
            read => read,
        };
        self.note(read)
    }
}

/// Reads what the socket has, whatever the poller knows of it.
#[cold]
#[inline(never)]
fn read_now(stream: &TcpStream, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    let mut bytes = [0; 4096];
    let room = buffer.remaining().min(bytes.len());
    match (&*SockRef::from(stream)).read(&mut bytes[..room]) {
        Ok(length) => {
            buffer.put_slice(&bytes[..length]);
            Poll::Ready(Ok(()))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        Err(error) => Poll::Ready(Err(error)),
    }
}

impl AsyncWrite for Stream<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Closes with a reset: nothing is left in TIME_WAIT here, and a peer whose handshake is not
/// complete accepts nothing.
pub(crate) fn reset(stream: TcpStream) {
    // Should it fail, the connection closes the long way, which is no less right.
    let _: io::Result<()> = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    drop(stream);
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;

    use hc_testkit::port::{ClosedPort, FullPort};
    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// Polled once: the poller has no chance to report anything.
    fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
        pin!(future).poll(&mut Context::from_waker(std::task::Waker::noop()))
    }

    #[tokio::test]
    async fn a_last_look_sees_what_the_poller_has_not_reported() {
        let progress = Progress::at_final_read();
        let to = |address: SocketAddr| Target::plain(address.ip(), address.port());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = to(listener.local_addr().unwrap());
        let Poll::Ready(Ok(mut stream)) = poll_once(connect(&target, ConnectMode::ReceiveFirst, &progress))
        else {
            panic!("the kernel has shaken hands")
        };
        let mut bytes = [0; 8];
        assert!(poll_once(stream.read(&mut bytes)).is_pending());
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(b"220").unwrap();
        assert!(matches!(poll_once(stream.read(&mut bytes)), Poll::Ready(Ok(3))), "bytes");
        assert_eq!(bytes[..3], *b"220");
        // Not closed: a process that another test is starting may hold a copy of the descriptor for
        // a moment.
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(matches!(poll_once(stream.read(&mut bytes)), Poll::Ready(Ok(0))), "the end");

        let closed = ClosedPort::reserve([127, 0, 0, 1].into()).unwrap();
        let refused = poll_once(connect(&to(closed.address()), ConnectMode::ReceiveFirst, &progress));
        assert!(matches!(refused, Poll::Ready(Err(ProbeError::Failure(Failure::Refused)))));
        let full = FullPort::start([127, 0, 0, 1].into()).unwrap();
        assert!(poll_once(connect(&to(full.address()), ConnectMode::ReceiveFirst, &progress)).is_pending());
    }

    #[test]
    fn the_range_of_ephemeral_ports_is_read_as_the_kernel_writes_it() {
        assert_eq!(parse_port_range("32768\t60999\n"), Some(32768..=60999));
        assert_eq!(parse_port_range(""), None);
        assert_eq!(parse_port_range("1 70000"), None);
    }
}
