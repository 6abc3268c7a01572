//! The life of one connection.
//!
//! Three futures in one task: the reader, the writer, and the conversation between them. The first
//! two are polled until the connection ends and never dropped in the middle of a line; what stands
//! in the `select!` of the conversation are channels and timers, which lose nothing when they are
//! dropped.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hc_wire::{KEEP, PROTOCOL, Ready, ToProxy, ToServer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, split};
use tokio::select;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::conversation::{Conversation, Ended};
use crate::event::Numbered;
use crate::frame::LineReader;
use crate::handle::Link;
use crate::outgoing::{Clock, OutLine, line};
use crate::parser::{Parser, Received, Understood};
use crate::reader::{self, Turn};
use crate::repeats::Repeats;
use crate::seats::{Guest, Seat};
use crate::session::{Session, other_protocol};
use crate::throttle::Chatter;
use crate::{DisconnectReason, IpcConfig, IpcEvent, Peer};

/// Messages that the reader is ahead of the conversation.
const READ_AHEAD: usize = 2;

/// One connection, before it is run.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) guest: Guest,
    pub(crate) peer: Peer,
    pub(crate) config: IpcConfig,
    pub(crate) events: mpsc::Sender<Numbered>,
    pub(crate) link: Arc<watch::Sender<Option<Link>>>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) chatter: Chatter,
    pub(crate) parser: Parser,
    pub(crate) turn: Arc<Turn>,
}

impl Connection {
    /// Serves the connection until it ends, whoever ends it.
    pub(crate) async fn run(self, stream: impl AsyncRead + AsyncWrite) {
        let Self { mut guest, peer, config, events, link, shutdown, chatter, parser, turn } = self;
        let (read_half, write_half) = split(stream);
        let (read_half, mut write_half) = (pin!(read_half), pin!(write_half));
        let mut lines = LineReader::new(read_half);
        // Nothing is lost with what is dropped here: the connection ends with it.
        let first = select! {
            biased;
            () = shutdown.cancelled() => return,
            _ = &mut guest.evicted => return,
            first = meet(&mut lines, &mut write_half, &config, &parser, &chatter) => first,
        };
        let message = match first {
            Ok(Some(Received { message: ToServer::RequestStatus(_), .. })) => {
                tracing::debug!(peer.uid, peer.gid, peer.pid, "a reader asks for statuses");
                let ended = select! {
                    biased;
                    () = shutdown.cancelled() => return,
                    _ = &mut guest.evicted => return,
                    ended = reader::serve(lines, &mut write_half, &parser, &events, &turn) => ended,
                };
                tracing::debug!(peer.pid, ?ended, "the reader is gone");
                return;
            }
            Ok(Some(message)) => message,
            // It went, or failed, before it said anything.
            Ok(None) | Err(_) => return,
        };
        let Seat { number, deliveries, replaced } = guest.take_seat();
        if chatter.pass(Instant::now()) {
            tracing::info!(connection = number, peer.uid, peer.gid, peer.pid, "peer connected");
        }
        let (farewell, write_timeout) = (config.farewell, config.write_timeout);
        let (received, to_receive) = mpsc::channel(READ_AHEAD);
        let (send, to_send) = mpsc::channel(1);
        let conversation = Conversation::new(
            number,
            Session::new(config, chatter.clone(), parser.memory().clone()),
            (events.clone(), IpcEvent::Connected { peer }),
            deliveries,
            link.clone(),
            (replaced, shutdown.clone()),
        );
        let reader = read(Some(message), lines, received, &parser);
        let writer = write(write_half, to_send, write_timeout);
        let reason = join(reader, writer, conversation.run(to_receive, send), farewell).await;
        link.send_if_modified(|link| link.take_if(|link| link.number == number).is_some());
        if chatter.pass(Instant::now()) {
            tracing::info!(connection = number, %reason, "peer disconnected");
        }
        if reason == DisconnectReason::Replaced {
            // The owner hears of the connection that took its place. Many may do that while it is
            // busy.
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

/// Greets the peer and waits for the message that says what the connection is for; `None` when
/// there will be none. Until then it takes nobody's place.
async fn meet(
    lines: &mut LineReader<impl AsyncRead + Unpin>,
    mut stream: impl AsyncWrite + Unpin,
    config: &IpcConfig,
    parser: &Parser,
    chatter: &Chatter,
) -> io::Result<Option<Received>> {
    let mut say = async |message: ToProxy| -> io::Result<()> {
        // A peer that has closed its end: what it said before that still counts, and is there
        // already.
        let _ = timeout(config.write_timeout, stream.write_all(&line(&message))).await?;
        Ok(())
    };
    let capabilities = vec![KEEP.to_owned()];
    say(Ready { protocol: PROTOCOL, version: config.version.clone(), capabilities }.into()).await?;
    let mut bad_lines = Repeats::default();
    while let Some(next) = lines.next().await? {
        let understood = parser.understand(next.number, next.content).await?;
        match understood.as_ref().map(|received| &received.message) {
            Ok(ToServer::Hello(hello)) if hello.protocol != PROTOCOL => {
                if chatter.pass(Instant::now()) {
                    let reason = DisconnectReason::Protocol(hello.protocol);
                    tracing::warn!(%reason, hello.version, "peer turned away");
                }
                say(other_protocol(hello.protocol).into()).await?;
                return Ok(None);
            }
            Ok(ToServer::Shutdown(_)) => return Ok(None),
            // About nothing that was said on this connection.
            Ok(ToServer::Ack(_) | ToServer::Error(_)) => {}
            Ok(_) => return Ok(understood.ok()),
            Err(error) => {
                if let Some(lines) = bad_lines.worth_telling()
                    && chatter.pass(Instant::now())
                {
                    tracing::warn!(code = ?error.code, error.message, lines, "the peer sent a line that is no message");
                }
                say(error.clone().into()).await?;
            }
        }
    }
    Ok(None)
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
                // The peer has closed its end. What it said before that still counts, and is there
                // already.
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
            let line = OutLine { bytes, written: None, clock: Clock::None };
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

/// Reads messages, after the `first`, until the stream ends or nobody wants them any more.
async fn read(
    first: Option<Received>,
    mut lines: LineReader<impl AsyncRead + Unpin>,
    received: mpsc::Sender<Understood>,
    parser: &Parser,
) -> io::Result<()> {
    if let Some(first) = first
        && received.send(Ok(first)).await.is_err()
    {
        return Ok(());
    }
    while let Some(line) = lines.next().await? {
        let message = parser.understand(line.number, line.content).await?;
        if received.send(message).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Writes lines until there will be no more. A line that the peer does not take within `limit` is
/// the end.
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

    /// Reads these lines, and says whether that took one step, in which nothing else could go on,
    /// and what came of it.
    async fn read_all(input: &str) -> (bool, Vec<ToServer>) {
        let (received, mut to_receive) = mpsc::channel(8);
        let parser = Parser::start().unwrap();
        let mut reader = pin!(read(None, LineReader::new(input.as_bytes()), received, &parser));
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
            messages.push(message.unwrap().message);
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
