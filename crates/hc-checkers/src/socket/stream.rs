//! TCP connections.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::OnceLock;
use std::time::Duration;

use hc_types::{Failure, Phase, Target};
use socket2::{Protocol, SockRef, Type};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::fault::{self, Setback};

/// What the probe does with the connection first. It decides which packets the handshake takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// Nothing: it ends with [`reset`]. The handshake's last ACK is held back, so that the RST can overtake it and the peer's
    /// application never sees a connection.
    Touch,
    /// It sends this many bytes in one write. The handshake's last ACK travels with them.
    Speak(usize),
    /// Several small writes in a row, as a TLS handshake makes them.
    Converse,
    /// It waits for the peer's first bytes, or closes politely: a plain handshake.
    Listen,
}

/// No path has a smaller one (RFC 9293 section 3.7.1): what fits is one segment, which Nagle's algorithm never holds back.
const SMALLEST_SEGMENT: usize = 536;

/// A socket that meets itself is thrown away and tried again this often, as Go's dialer does (`net/tcpsock_posix.go`).
const SELF_CONNECT_RETRIES: usize = 2;

/// Connects to the target, mark first. Errors before the SYN has left are local faults where they can be; see
/// [`fault::before_sending`].
///
/// A local target whose port is in the range of ephemeral ports can be met by our own socket (RFC 9293 section 3.5, simultaneous
/// open); nobody listens there then, so that is [`Failure::Refused`].
///
/// # Cancel safety
/// Dropping the future closes the socket.
pub(crate) async fn connect(target: &Target, opening: Opening) -> Result<TcpStream, Setback> {
    for _ in 0..=SELF_CONNECT_RETRIES {
        let stream = connect_once(target, opening).await?;
        if !met_itself(&stream, target.socket_addr())? {
            return Ok(stream);
        }
        // Not closed politely: the socket would keep the port in TIME_WAIT, and the next one could not have it.
        reset(stream);
    }
    Err(Failure::Refused.into())
}

async fn connect_once(target: &Target, opening: Opening) -> Result<TcpStream, Setback> {
    let socket = super::open(target, Type::STREAM, Protocol::TCP)?;
    let (hold_ack, no_delay) = match opening {
        Opening::Touch => (true, false),
        Opening::Speak(length) => (true, length > SMALLEST_SEGMENT),
        Opening::Converse => (true, true),
        Opening::Listen => (false, false),
    };
    let ready = if hold_ack { socket.set_tcp_quickack(false) } else { Ok(()) }
        .and_then(|()| if no_delay { socket.set_tcp_nodelay(true) } else { Ok(()) });
    ready.map_err(|error| fault::before_sending(&error))?;
    match socket.connect(&target.socket_addr().into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(fault::before_sending(&error)),
    }
    // Registered only now: before connect the poller would report the unconnected socket as hung up.
    let stream = TcpStream::from_std(socket.into()).map_err(|error| fault::before_sending(&error))?;
    let ready = stream.ready(Interest::WRITABLE).await.map_err(|error| fault::before_sending(&error))?;
    // A connection that stands is writable and no more; only one that failed has an error to be asked for.
    if ready.is_write_closed() {
        match stream.take_error() {
            Ok(None) => {}
            Ok(Some(error)) | Err(error) => return Err(fault::after_sending(&error, Phase::Connect)),
        }
    }
    Ok(stream)
}

fn met_itself(stream: &TcpStream, target: SocketAddr) -> Result<bool, Setback> {
    if !ephemeral_ports().contains(&target.port()) {
        return Ok(false);
    }
    let local = stream.local_addr().map_err(|error| fault::after_sending(&error, Phase::Connect))?;
    Ok(local.port() == target.port() && local.ip() == target.ip())
}

/// The ports that the kernel gives to sockets that ask for none. Read once: asking each connection for its own address
/// instead would cost each a system call.
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

/// Closes with a reset: nothing is left in TIME_WAIT here, and a peer whose handshake is not complete accepts nothing.
pub(crate) fn reset(stream: TcpStream) {
    // Should it fail, the connection closes the long way, which is no less right.
    let _: io::Result<()> = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    drop(stream);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_ephemeral_ports_is_read_as_the_kernel_writes_it() {
        assert_eq!(parse_port_range("32768\t60999\n"), Some(32768..=60999));
        assert_eq!(parse_port_range(""), None);
        assert_eq!(parse_port_range("1 70000"), None);
    }
}
