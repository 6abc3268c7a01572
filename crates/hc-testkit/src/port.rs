//! Ports where nobody answers.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// A TCP port that is ours and on which nobody listens: connections are refused, and no other
/// process can take it.
#[derive(Debug)]
pub struct ClosedPort {
    address: SocketAddr,
    _held: Socket,
}

impl ClosedPort {
    /// Takes a free port of `ip`.
    ///
    /// # Errors
    /// When there is none.
    pub fn reserve(ip: IpAddr) -> io::Result<Self> {
        let held = Socket::new(Domain::for_address(SocketAddr::new(ip, 0)), Type::STREAM, None)?;
        held.bind(&SocketAddr::new(ip, 0).into())?;
        let address = held.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { address, _held: held })
    }

    /// Where nobody listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A TCP port whose queue of connections is full: further ones are neither accepted nor refused.
#[derive(Debug)]
pub struct FullPort {
    address: SocketAddr,
    held: (Socket, Vec<TcpStream>),
}

impl FullPort {
    /// Takes a free port of `ip` and fills its queue.
    ///
    /// # Errors
    /// When there is no port, or the queue cannot be filled.
    pub fn start(ip: IpAddr) -> io::Result<Self> {
        /// A queue of length 0 has room for one; a few more show that it is full.
        const MOST: usize = 16;

        let listener = Socket::new(Domain::for_address(SocketAddr::new(ip, 0)), Type::STREAM, None)?;
        listener.bind(&SocketAddr::new(ip, 0).into())?;
        listener.listen(0)?;
        let address = listener.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let mut waiting = Vec::new();
        while waiting.len() < MOST {
            match TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
                Ok(stream) => waiting.push(stream),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    return Ok(Self { address, held: (listener, waiting) });
                }
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("the queue takes more than it has room for"))
    }

    /// Takes the connections that wait, so that there is room for others, and closes them.
    ///
    /// # Errors
    /// When the socket cannot be made non-blocking.
    pub fn empty(&self) -> io::Result<()> {
        let listener = &self.held.0;
        listener.set_nonblocking(true)?;
        while listener.accept().is_ok() {}
        Ok(())
    }

    /// Where connections wait until the queue is emptied.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A listener that accepts nothing until it is asked whether there was anything to accept.
#[derive(Debug)]
pub struct IdleListener(TcpListener);

impl IdleListener {
    /// Listens on a free port of `ip`.
    ///
    /// # Errors
    /// When there is none.
    pub fn start(ip: IpAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((ip, 0))?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the socket has no address.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Takes all connections that are complete, and says how many there were.
    #[must_use]
    pub fn accept_all(&self) -> usize {
        std::iter::from_fn(|| self.0.accept().ok()).count()
    }
}
