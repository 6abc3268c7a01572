//! A connection that only asks for statuses. It stands beside the one that is served.

use std::io;
use std::pin::pin;
use std::time::Duration;

use hc_wire::{ErrorCode, ErrorMessage, ToProxy, ToServer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use crate::event::{Numbered, READER};
use crate::frame::LineReader;
use crate::outgoing::{Outgoing, line};
use crate::parser::{ASIDE, Parser};
use crate::{IpcEvent, StatusReply};

/// How long a reader may take for one line of the answer.
const LINE: Duration = Duration::from_secs(5);
/// How long it may take for all of them.
const ANSWER: Duration = Duration::from_secs(60);
/// How long the other readers wait for one that takes its answer slowly. From then on it is a slow
/// reader.
const TURN: Duration = Duration::from_millis(500);
/// Slow readers at once. One more is closed, so what answers hold in memory is bounded: one of a
/// reader in its turn, and these.
const SLOW: usize = 2;
/// How long it may stay without asking again.
const IDLE: Duration = Duration::from_secs(60);
/// An answer is followed by a pause of this many times as long as it took to collect, for all
/// readers together: however often they ask, they take one fifth of the time at most.
const REST: u32 = 4;
const LONGEST_REST: Duration = Duration::from_secs(10);

/// One answer at a time, for all readers together, but for slow readers.
#[derive(Debug)]
pub(crate) struct Turn {
    /// When the next one may begin. Locked by the reader whose turn it is.
    next: Mutex<Instant>,
    /// Places of slow readers.
    slow: Semaphore,
}

impl Turn {
    pub(crate) fn new() -> Self {
        Self { next: Mutex::new(Instant::now()), slow: Semaphore::new(SLOW) }
    }
}

/// Answers requests until the reader closes its end, or takes too long. The first one has been
/// read.
pub(crate) async fn serve(
    mut lines: LineReader<impl AsyncRead + Unpin>,
    mut stream: impl AsyncWrite + Unpin,
    parser: &Parser,
    events: &mpsc::Sender<Numbered>,
    turn: &Turn,
) -> io::Result<()> {
    loop {
        answer(&mut stream, events, turn).await?;
        // Until the next request.
        loop {
            let Some(next) = timeout(IDLE, lines.next()).await?? else { return Ok(()) };
            let understood = match next.content {
                // What a reader may say is short.
                Some(content) if content.len() > ASIDE => Err(unexpected()),
                content => parser.understand(next.number, content).await?,
            };
            let error = match understood.map(|received| received.message) {
                Ok(ToServer::RequestStatus(_)) => break,
                Ok(ToServer::Shutdown(_)) => return Ok(()),
                Ok(ToServer::Error(_)) => continue,
                Ok(_) => unexpected(),
                Err(error) => error,
            };
            say(&mut stream, &error.into()).await?;
        }
    }
}

fn unexpected() -> ErrorMessage {
    let message = "this connection only reads, since request_status was its first message".to_owned();
    ErrorMessage { code: ErrorCode::Unexpected, message }
}

/// One answer.
async fn answer(
    stream: &mut (impl AsyncWrite + Unpin),
    events: &mpsc::Sender<Numbered>,
    turn: &Turn,
) -> io::Result<()> {
    let mut next = turn.next.lock().await;
    sleep_until(*next).await;
    let begin = Instant::now();
    let (reply, statuses) = oneshot::channel();
    let event = IpcEvent::StatusRequest { reply: StatusReply(reply) };
    events.send((READER, event)).await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
    let Ok(statuses) = statuses.await else {
        let message = "the statuses are not to be had".to_owned();
        return say(stream, &ErrorMessage { code: ErrorCode::Internal, message }.into()).await;
    };
    *next = Instant::now() + (begin.elapsed() * REST).min(LONGEST_REST);
    let mut outgoing = Outgoing::default();
    outgoing.statuses(statuses);
    let mut writing = pin!(timeout(ANSWER, write(stream, outgoing)));
    if let Ok(written) = timeout(TURN, &mut writing).await {
        return written?;
    }
    let _slow = turn.slow.try_acquire().map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
    drop(next);
    writing.await?
}

/// Writes line by line. A line is made when the one before is out.
async fn write(stream: &mut (impl AsyncWrite + Unpin), mut outgoing: Outgoing) -> io::Result<()> {
    while let Some(line) = outgoing.next() {
        timeout(LINE, stream.write_all(&line.bytes)).await??;
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn say(stream: &mut (impl AsyncWrite + Unpin), message: &ToProxy) -> io::Result<()> {
    timeout(LINE, stream.write_all(&line(message))).await?
}
