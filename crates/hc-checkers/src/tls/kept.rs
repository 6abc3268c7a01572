//! A TLS session that was kept between probes, over its connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::ClientConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A session whose handshake was made by an earlier probe.
pub(crate) struct KeptSession<'s, S> {
    lower: S,
    session: &'s mut ClientConnection,
}

impl<'s, S> KeptSession<'s, S> {
    pub(crate) fn new(lower: S, session: &'s mut ClientConnection) -> Self {
        Self { lower, session }
    }
}

/// Whether a session has given all that its peer has sent, and the peer may send more.
pub(crate) fn is_drained(session: &mut ClientConnection) -> bool {
    let state = session.process_new_packets();
    state.is_ok_and(|state| state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed())
        && !session.wants_write()
}

/// What a connection reads and writes, to be called as if it did so at once.
struct AtOnce<'s, 'c, S> {
    lower: &'s mut S,
    context: &'s mut Context<'c>,
}

fn at_once<T>(polled: Poll<io::Result<T>>) -> io::Result<T> {
    match polled {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl<S: AsyncRead + Unpin> io::Read for AtOnce<'_, '_, S> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(bytes);
        at_once(Pin::new(&mut *self.lower).poll_read(self.context, &mut buffer))?;
        Ok(buffer.filled().len())
    }
}

impl<S: AsyncWrite + Unpin> io::Write for AtOnce<'_, '_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        at_once(Pin::new(&mut *self.lower).poll_write(self.context, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        at_once(Pin::new(&mut *self.lower).poll_flush(self.context))
    }
}

fn poll_of<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> KeptSession<'_, S> {
    /// Writes all that the session wants to be written.
    fn poll_written(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            let written = self.session.write_tls(&mut AtOnce { lower: &mut self.lower, context });
            if ready!(poll_of(written))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for KeptSession<'_, S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let read = io::Read::read(&mut this.session.reader(), buffer.initialize_unfilled());
            if let Poll::Ready(length) = poll_of(read)? {
                buffer.advance(length);
                return Poll::Ready(Ok(()));
            }
            let came = this.session.read_tls(&mut AtOnce { lower: &mut this.lower, context });
            ready!(poll_of(came))?;
            let processed = this.session.process_new_packets();
            processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            // An answer to what the peer has asked of TLS itself; it goes out when it can.
            if let Poll::Ready(Err(error)) = this.poll_written(context) {
                return Poll::Ready(Err(error));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for KeptSession<'_, S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_written(context))?;
        Poll::Ready(io::Write::write(&mut this.session.writer(), bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_written(context))?;
        Pin::new(&mut this.lower).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().lower).poll_shutdown(context)
    }
}
