//! TCP, perhaps with TLS, perhaps with an exchange of bytes (Seesaw's `healthcheck/tcp.go`).

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hc_types::{Failure, Mismatch, Outcome, Pass, Phase, ProbeResult, Target, TcpProbe};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use crate::deadline::{self, Progress};
use crate::fault::{self, ProbeError};
use crate::socket::{self, CloseOrder, ConnectMode, Connector, FinishedConn, LingeringClose};
use crate::tls::{self, Handshake, Peer};
use crate::{CheckersConfig, Close};

/// How much is read at once.
const PIECE: usize = 2048;

/// Connects to `target`, speaks TLS if the probe says so, sends `probe.send` if there is any, and
/// reads as many bytes as `probe.receive` has, which must be equal. Later bytes are not looked at.
///
/// `timeout` is the deadline of all of it, from the first poll. `config` says how a connection that
/// carried nothing is closed, and which roots are trusted. The peer of a marked probe gets up to
/// 2.2 s more to close the connection, so that the last packets of it carry the mark;
/// [`Checkers`](crate::Checkers) does that in the background. A probe that sends nothing opens a
/// socket and an epoll instance of its own here; `Checkers` keeps both for the next one.
///
/// # Panics
/// Outside a tokio runtime with time and I/O enabled.
///
/// # Cancel safety
/// Dropping the future closes the socket.
pub async fn probe_tcp(
    probe: &TcpProbe,
    target: &Target,
    timeout: Duration,
    config: &CheckersConfig,
) -> Outcome {
    LingeringClose::outcome(judge(probe, target, timeout, config, &Connector::new(0)).await).await
}

/// The result, and the connection if it needs a lingering close.
pub(crate) async fn judge(
    probe: &TcpProbe,
    target: &Target,
    timeout: Duration,
    config: &CheckersConfig,
    connector: &Connector,
) -> (ProbeResult, Option<LingeringClose>) {
    if is_bare(probe, target) && config.close == Close::Reset {
        let touch = async |progress: &_| connector.touch(target, progress).await.map(|()| Outcome::PASS);
        return (deadline::within(timeout, touch).await, None);
    }
    let (ended, evidence) =
        deadline::limit(timeout, async |progress| run(probe, target, config, progress).await).await;
    let (outcome, rest) = match ended {
        Ok((verdict, used)) => {
            let rest = LingeringClose::or_close(used, target, first(probe));
            (verdict.map_or_else(Outcome::from, Outcome::Pass), rest)
        }
        Err(error) => (error.into(), None),
    };
    (ProbeResult { outcome, evidence }, rest)
}

/// The verdict, and the connection that it came over.
async fn run<'a>(
    probe: &TcpProbe,
    target: &'a Target,
    config: &'a CheckersConfig,
    progress: &'a Progress,
) -> Result<(Result<Pass, ProbeError>, FinishedConn), ProbeError> {
    let mut stream = socket::connect(target, opening(probe), progress).await?;
    let Some(tls) = &probe.tls else {
        let verdict = exchange(probe, &mut stream, progress).await;
        return Ok((verdict.map(|()| Pass::Plain), stream.into_inner().into()));
    };
    // Without a name, as Seesaw: the address is what the certificate must hold, and there is no
    // SNI.
    let peer = Peer::of(None, target);
    let handshake = Handshake { target, peer, tls, http2: false, roots: &config.roots, progress };
    let speak = async |session: &mut _| exchange(probe, session, progress).await.map(|()| Pass::Plain);
    handshake.speak(stream, config, speak).await
}

fn is_bare(probe: &TcpProbe, target: &Target) -> bool {
    target.proxy_protocol().is_none()
        && probe.tls.is_none()
        && probe.send.is_empty()
        && probe.receive.is_empty()
}

/// A peer that has answered may close by itself; one from which no answer is expected waits for us.
fn first(probe: &TcpProbe) -> CloseOrder {
    if probe.receive.is_empty() { CloseOrder::Us } else { CloseOrder::Peer }
}

fn opening(probe: &TcpProbe) -> ConnectMode {
    if probe.tls.is_some() {
        ConnectMode::Interactive
    } else if !probe.send.is_empty() {
        ConnectMode::SendFirst(probe.send.len())
    } else {
        ConnectMode::ReceiveFirst
    }
}

async fn exchange<S>(probe: &TcpProbe, stream: &mut S, progress: &Progress) -> Result<(), ProbeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if !probe.send.is_empty() {
        progress.enter(Phase::Send);
        let sent = stream.write_all(probe.send.as_slice()).await;
        // Over TLS a write may end in the session's buffer.
        let sent = if sent.is_ok() && probe.tls.is_some() { stream.flush().await } else { sent };
        sent.map_err(|error| tls::name_error(&error, Phase::Send))?;
    }
    if probe.receive.is_empty() {
        return Ok(());
    }
    progress.enter(Phase::Response);
    receive(probe.receive.as_slice(), stream, progress).await
}

/// Reads until as many bytes as expected are there, or they cannot become the expected ones. Holds
/// none of them: what came is what was expected, up to the piece that differs.
async fn receive<S: AsyncRead + Unpin>(
    expected: &[u8],
    stream: &mut S,
    progress: &Progress,
) -> Result<(), ProbeError> {
    let mut equal = 0;
    while equal < expected.len() {
        let read = poll_fn(|context| poll_piece(&expected[equal..], stream, context)).await;
        let came = &expected[..equal];
        match tls::name_read(read).map_err(|error| fault::after(came, error))? {
            Piece::End => return Err(Failure::closed_after(came).into()),
            Piece::Equal(length) => {
                progress.answered();
                equal += length;
            }
            Piece::Differs(piece) => {
                progress.answered();
                let came = [came, &*piece].concat();
                progress.keep_answer(&came);
                let got = &came[..came.len().min(expected.len())];
                let mismatch = Mismatch::new(got, None).recognised(&came, expected);
                return Err(Failure::BodyMismatch(Box::new(mismatch)).into());
            }
        }
    }
    Ok(())
}

/// What one read brought.
#[derive(Default)]
enum Piece {
    /// So many bytes, and they are the expected ones.
    Equal(usize),
    /// Other bytes.
    Differs(Box<[u8]>),
    /// The end.
    #[default]
    End,
}

fn poll_piece<S: AsyncRead + Unpin>(
    expected: &[u8],
    stream: &mut S,
    context: &mut Context<'_>,
) -> Poll<io::Result<Piece>> {
    // On the stack, and not in the probe, which would hold it while it waits.
    let mut room = [MaybeUninit::uninit(); PIECE];
    let mut buffer = ReadBuf::uninit(&mut room);
    ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
    let piece = buffer.filled();
    let length = piece.len().min(expected.len());
    Poll::Ready(Ok(match piece {
        [] => Piece::End,
        piece if piece[..length] == expected[..length] => Piece::Equal(length),
        piece => Piece::Differs(piece.into()),
    }))
}
