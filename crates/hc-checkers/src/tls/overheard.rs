//! A connection that keeps the first bytes of its peer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::socket::Stream;

/// Enough for "HTTP/1.1 400 Bad Request" and for "220 mail.example ESMTP".
const KEPT: usize = 32;

/// A TCP connection that keeps the first bytes of its peer: when they are not TLS, they show which
/// protocol it speaks.
#[derive(Debug)]
pub(crate) struct Overheard<'a> {
    stream: Stream<'a>,
    heard: [u8; KEPT],
    length: usize,
    read: usize,
}

impl<'a> Overheard<'a> {
    pub(crate) fn new(stream: Stream<'a>) -> Self {
        Self { stream, heard: [0; KEPT], length: 0, read: 0 }
    }

    /// The first bytes of the peer, as far as they have been read.
    pub(crate) fn heard(&self) -> &[u8] {
        &self.heard[..self.length]
    }

    /// How many bytes have been read of it.
    pub(crate) fn read(&self) -> usize {
        self.read
    }

    /// The connection, which forgets.
    pub(crate) fn into_inner(self) -> Stream<'a> {
        self.stream
    }
}

impl AsyncRead for Overheard<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let Self { heard, length, read, .. } = &mut *self;
        let new = &buffer.filled()[before..];
        *read += new.len();
        let kept = new.len().min(heard.len() - *length);
        heard[*length..*length + kept].copy_from_slice(&new[..kept]);
        *length += kept;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Overheard<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
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
