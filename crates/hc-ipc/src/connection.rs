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
use tokio::task::spawn_blocking;
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
/// A line of more bytes is understood by a thread of its own: 1 MiB of good checks takes 6 ms of a processor, and of what is no
/// check at all up to 350 ms, in which nothing else of this runtime would go on.
const ASIDE: usize = 16 * 1024;
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
        let Line { number, content } = line;
        let message = match content {
            Some(content) if content.len() > ASIDE => {
                let content = content.to_vec();
                // Waited for, so messages stay in their order and one line at a time is kept.
                spawn_blocking(move || understand(number, Some(&content))).await?
            }
            content => understand(number, content),
        };
        if received.send(message).await.is_err() {
            break;
        }
    }
    Ok(())
}

fn understand(number: u64, content: Option<&[u8]>) -> Result<ToServer, ErrorMessage> {
    let Some(content) = content else {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads these lines, and says whether that took one step, in which nothing else could go on, and what came of it.
    async fn read_all(input: &str) -> (bool, Vec<ToServer>) {
        let (received, mut to_receive) = mpsc::channel(8);
        let mut reader = pin!(read(input.as_bytes(), received));
        let at_once = select! {
            biased;
            _ = &mut reader => true,
            () = std::future::ready(()) => false,
        };
        if !at_once {
            reader.await.unwrap();
        }
        let mut messages = Vec::new();
        while let Some(message) = to_receive.recv().await {
            messages.push(message.unwrap());
        }
        (at_once, messages)
    }

    #[tokio::test]
    async fn a_long_line_is_understood_aside_and_in_its_order() {
        let shutdown = "{\"type\":\"shutdown\"}\n";
        let set = format!("{{\"type\":\"update_configs\",\"configs\":[{}7]}}\n", "7,".repeat(10_000));
        let (at_once, messages) = read_all(&shutdown.repeat(2)).await;
        assert!(at_once && messages.len() == 2, "{messages:?}");
        let (at_once, messages) = read_all(&format!("{shutdown}{set}{shutdown}{set}")).await;
        assert!(!at_once);
        let [ToServer::Shutdown(_), ToServer::UpdateConfigs(set), ToServer::Shutdown(_), _] = &messages[..]
        else {
            panic!("{messages:?}")
        };
        assert_eq!(set.configs.len(), 10_001);
    }
}
