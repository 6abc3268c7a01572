//! The life of one connection.
//!
//! Three futures in one task: the reader, the writer, and the conversation between them. The first two are polled until
//! the connection ends and never dropped in the middle of a line; what stands in the `select!` of the conversation are
//! channels and timers, which lose nothing when they are dropped.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hc_types::wire::{DecodeError, ErrorMessage, ToServer, decode};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, split};
use tokio::select;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::conversation::{Conversation, Ended};
use crate::event::Numbered;
use crate::frame::{Line, LineReader};
use crate::handle::{Delivery, Link};
use crate::outgoing::OutLine;
use crate::session::Session;
use crate::split::cut;
use crate::throttle::Chatter;
use crate::{DisconnectReason, IpcConfig, IpcEvent, Peer};

/// Messages that the reader is ahead of the conversation.
const READ_AHEAD: usize = 2;
/// What is kept of a text that may quote the peer's line.
const LONGEST_QUOTE: usize = 512;

/// One connection, before it is run.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) number: u64,
    pub(crate) peer: Peer,
    pub(crate) config: IpcConfig,
    pub(crate) events: mpsc::Sender<Numbered>,
    pub(crate) deliveries: mpsc::Receiver<Delivery>,
    pub(crate) link: Arc<watch::Sender<Option<Link>>>,
    /// Resolves when another connection takes the place of this one.
    pub(crate) replaced: oneshot::Receiver<()>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) chatter: Chatter,
}

impl Connection {
    /// Serves the connection until it ends, whoever ends it.
    pub(crate) async fn run(self, stream: impl AsyncRead + AsyncWrite) {
        let Self { number, peer, config, events, deliveries, link, replaced, shutdown, chatter } = self;
        if chatter.pass(Instant::now()) {
            tracing::info!(connection = number, peer.uid, peer.gid, peer.pid, "peer connected");
        }
        let (farewell, write_timeout) = (config.farewell, config.write_timeout);
        let (read_half, write_half) = split(stream);
        let (received, to_receive) = mpsc::channel(READ_AHEAD);
        let (send, to_send) = mpsc::channel(1);
        let conversation = Conversation::new(
            number,
            Session::new(config, chatter.clone()),
            (events.clone(), IpcEvent::Connected { peer }),
            deliveries,
            link.clone(),
            (replaced, shutdown.clone()),
        );
        let (read_half, write_half) = (pin!(read_half), pin!(write_half));
        let reader = read(read_half, received);
        let writer = write(write_half, to_send, write_timeout);
        let reason = join(reader, writer, conversation.run(to_receive, send), farewell).await;
        link.send_if_modified(|link| link.take_if(|link| link.number == number).is_some());
        if chatter.pass(Instant::now()) {
            tracing::info!(connection = number, %reason, "peer disconnected");
        }
        if reason == DisconnectReason::Replaced {
            // The owner hears of the connection that took its place. Many may do that while it is busy.
            return;
        }
        select! {
            biased;
            // Fails only when the owner is gone.
            _ = events.send((number, IpcEvent::Disconnected { reason })) => {}
            // At the end nobody may fetch events any more.
            () = shutdown.cancelled() => {}
        }
    }
}

/// Runs the three parts of a connection until it is over, and says why it is.
async fn join(
    reader: impl Future<Output = io::Result<()>>,
    writer: impl Future<Output = Result<(), DisconnectReason>>,
    conversation: impl Future<Output = Ended>,
    farewell: Duration,
) -> DisconnectReason {
    let (mut reader, mut writer, mut conversation) = (pin!(reader), pin!(writer), pin!(conversation));
    // The reader's end, once it is there.
    let mut read = None;
    let ended = loop {
        select! {
            end = &mut reader, if read.is_none() => read = Some(end),
            ended = &mut conversation => break ended,
            Err(reason) = &mut writer => {
                if reason == DisconnectReason::Stalled {
                    return reason;
                }
                // The peer has closed its end. What it said before that still counts, and is there already.
                let rest = async {
                    let read_on = async {
                        if read.is_none() {
                            // The writer's error is the reason, whatever the reader says.
                            let _ = reader.await;
                        }
                    };
                    tokio::join!(read_on, conversation)
                };
                return timeout(farewell, rest).await.map_or(reason, |((), ended)| ended.reason);
            }
        }
    };
    let Ended { reason, last_words, send } = ended;
    let say = async move {
        for bytes in last_words {
            let line = OutLine { bytes, written: None, batch: false };
            if send.send(line).await.is_err() {
                break;
            }
        }
    };
    let _ = timeout(farewell, async { tokio::join!(say, writer) }).await;
    match (reason, read) {
        (DisconnectReason::Closed, Some(Err(error))) => DisconnectReason::Io(error.to_string()),
        (reason, _) => reason,
    }
}

/// Reads messages until the stream ends or nobody wants them any more.
async fn read(
    stream: impl AsyncRead + Unpin,
    received: mpsc::Sender<Result<ToServer, ErrorMessage>>,
) -> io::Result<()> {
    let mut lines = LineReader::new(stream);
    while let Some(line) = lines.next().await? {
        let message = understand(&line);
        if received.send(message).await.is_err() {
            break;
        }
    }
    Ok(())
}

fn understand(line: &Line<'_>) -> Result<ToServer, ErrorMessage> {
    let number = line.number;
    let Some(content) = line.content else {
        let ErrorMessage { code, message } = ErrorMessage::line_too_long();
        return Err(ErrorMessage { code, message: format!("line {number}: {message}") });
    };
    decode(content).map_err(|error: DecodeError| {
        let code = error.code();
        let mut message = match error {
            DecodeError::Malformed(error) => {
                // serde_json counts lines in what it was given, which is one.
                let (text, column) = (error.to_string(), error.column());
                let text = text.strip_suffix(&format!(" at line 1 column {column}")).unwrap_or(&text);
                format!("line {number}, column {column}: {text}")
            }
            error @ DecodeError::UnknownType(_) => format!("line {number}: {error}"),
        };
        cut(&mut message, LONGEST_QUOTE);
        ErrorMessage { code, message }
    })
}

/// Writes lines until there will be no more. A line that the peer does not take within `limit` is the end.
async fn write(
    mut stream: impl AsyncWrite + Unpin,
    mut lines: mpsc::Receiver<OutLine>,
    limit: Duration,
) -> Result<(), DisconnectReason> {
    while let Some(OutLine { bytes, written, .. }) = lines.recv().await {
        match timeout(limit, stream.write_all(&bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(DisconnectReason::Io(error.to_string())),
            Err(_) => return Err(DisconnectReason::Stalled),
        }
        if let Some(written) = written {
            // Whoever no longer waits for the answer does not miss it.
            let _ = written.send(Ok(()));
        }
    }
    // The peer may be gone; it is the end either way.
    let _ = stream.shutdown().await;
    Ok(())
}
