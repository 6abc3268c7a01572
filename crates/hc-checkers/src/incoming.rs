//! What comes from a peer over a connection, held as it comes and counted in [`ProbeMemory`].

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hc_types::{Heard, LocalFault};
use tokio::io::{AsyncRead, ReadBuf};

use crate::fault::{self, ProbeError};
use crate::memory::{Held, ProbeMemory};
use crate::tls;

/// How much is read at once. Most answers of health pages fit.
const READ: usize = 4096;

/// Reads from a connection. While nothing comes no buffer is held for it.
pub(crate) struct Incoming<'a, S> {
    stream: &'a mut S,
    held: Held<'a>,
    /// What has come and was not yet used.
    pub(crate) buffer: Vec<u8>,
}

/// What one read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// More bytes, which are in the buffer.
    More,
    /// The end.
    End,
    /// All that the probe holds is to be given back: too much is held by all of them.
    Taken,
}

impl<'a, S: AsyncRead + Unpin> Incoming<'a, S> {
    pub(crate) fn new(stream: &'a mut S, memory: &'a ProbeMemory) -> Self {
        Self { stream, held: Held::new(memory), buffer: Vec::new() }
    }

    /// Reads once. `beside` is how many bytes the probe holds beside the buffer.
    ///
    /// # Cancel safety
    /// What was read is in the buffer.
    pub(crate) async fn read(&mut self, beside: usize) -> Result<Read, ProbeError> {
        let Self { stream, held, buffer } = self;
        let read = poll_fn(|context| {
            if held.poll_taken(context).is_ready() {
                return Poll::Ready(Ok(Some(Read::Taken)));
            }
            poll_bytes(*stream, context, |bytes| {
                if buffer.capacity() - buffer.len() < bytes.len() {
                    // By half, not to twice: the spare room of a long head is memory, too.
                    buffer.reserve_exact(bytes.len().max(buffer.len() / 2));
                }
                buffer.extend_from_slice(bytes);
                Some(Read::More)
            })
        });
        let read = tls::name_read(read.await).map_err(|error| fault::after(&self.buffer, error))?;
        self.held.set(self.buffer.capacity() + beside);
        Ok(read.unwrap_or(Read::End))
    }

    /// The connection, to write to.
    pub(crate) fn stream(&mut self) -> &mut S {
        self.stream
    }

    /// The probe holds nothing any more. What comes is shown to `look` until that has seen enough:
    /// then the outcome can no longer be known. `None`: the peer closes first.
    pub(crate) async fn watch(mut self, mut look: impl FnMut(&[u8]) -> Watched) -> Result<(), ProbeError> {
        self.buffer = Vec::new();
        loop {
            let read = poll_fn(|context| poll_bytes(self.stream, context, |bytes| Some(look(bytes))));
            match tls::name_read(read.await)? {
                None => return Ok(()),
                Some(Watched::Undecided) => return Err(LocalFault::ProbeMemory.into()),
                Some(Watched::Failed(error)) => return Err(error),
                Some(Watched::GoOn) => {}
            }
        }
    }
}

/// What is found in bytes that are not kept.
pub(crate) enum Watched {
    /// The answer is not complete.
    GoOn,
    /// It fails, whatever the rest of it.
    Failed(ProbeError),
    /// It may be complete, and may be right or wrong.
    Undecided,
}

/// Reads once, and gives `take` the bytes. `None`: the end.
fn poll_bytes<S: AsyncRead + Unpin, R>(
    stream: &mut S,
    context: &mut Context<'_>,
    take: impl FnOnce(&[u8]) -> Option<R>,
) -> Poll<io::Result<Option<R>>> {
    // On the stack, and not in the probe, which would hold it while it waits.
    let mut room = [MaybeUninit::uninit(); READ];
    let mut bytes = ReadBuf::uninit(&mut room);
    ready!(Pin::new(stream).poll_read(context, &mut bytes))?;
    Poll::Ready(Ok(if bytes.filled().is_empty() { None } else { take(bytes.filled()) }))
}

/// The length of an answer of which only the first bytes are kept.
pub(crate) fn heard(before: &[u8], first: &[u8], length: usize) -> Box<Heard> {
    let mut heard = Heard::new(if before.is_empty() { first } else { before });
    heard.length = length as u64;
    Box::new(heard)
}
