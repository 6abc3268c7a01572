//! TCP, perhaps with TLS, perhaps with an exchange of bytes (Seesaw's `healthcheck/tcp.go`).

use std::time::Duration;

use hc_types::{Failure, Mismatch, Outcome, Phase, Target, TcpProbe};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::deadline::{self, Progress};
use crate::fault::Setback;
use crate::socket::{self, First, Opening, Parting, Used};
use crate::tls::{self, Handshake, Peer};
use crate::{CheckersConfig, Close};

/// Connects to `target`, speaks TLS if the probe says so, sends `probe.send` if there is any, and reads as many bytes as
/// `probe.receive` has, which must be equal. Later bytes are not looked at.
///
/// `timeout` is the deadline of all of it, from the first poll. `config` says how a connection that carried nothing is closed,
/// and whom to trust. The peer of a marked probe gets 2.2 s more to close the connection, lest its last packets
/// lack the mark; [`Checkers`](crate::Checkers) does not wait for that.
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
    let (outcome, rest) = judge(probe, target, timeout, config).await;
    if let Some(rest) = rest {
        rest.see_off().await;
    }
    outcome
}

/// The outcome, and the connection if it is to be seen off.
pub(crate) async fn judge(
    probe: &TcpProbe,
    target: &Target,
    timeout: Duration,
    config: &CheckersConfig,
) -> (Outcome, Option<Parting>) {
    match deadline::limit(timeout, async |progress| run(probe, target, config, progress).await).await {
        Ok((verdict, used)) => {
            let rest = if is_bare(probe) && config.close == Close::Reset {
                socket::reset(used.stream);
                None
            } else {
                Parting::or_close(used, target, first(probe))
            };
            (verdict.map_or_else(Outcome::from, |()| Outcome::PASS), rest)
        }
        Err(setback) => (setback.into(), None),
    }
}

/// The verdict, and the connection that it came over.
async fn run<'a>(
    probe: &TcpProbe,
    target: &'a Target,
    config: &'a CheckersConfig,
    progress: &'a Progress,
) -> Result<(Result<(), Setback>, Used), Setback> {
    let mut stream = socket::connect(target, opening(probe, config.close), progress).await?;
    let Some(tls) = &probe.tls else {
        let verdict = exchange(probe, &mut stream, progress).await;
        return Ok((verdict, stream.into_inner().into()));
    };
    progress.enter(Phase::Tls);
    // Without a name, as Seesaw: the address is what the certificate must hold, and there is no SNI.
    let peer = Peer::Address(target.ip());
    match (Handshake { target, peer, tls: *tls, roots: &config.roots, progress }).shake(stream).await {
        Ok(mut stream) => {
            let verdict = exchange(probe, &mut stream, progress).await;
            Ok((verdict, tls::leave(stream)))
        }
        Err((setback, Some(stream))) => Ok((Err(setback), stream.into_inner().into())),
        Err((setback, None)) => Err(setback),
    }
}

fn is_bare(probe: &TcpProbe) -> bool {
    probe.tls.is_none() && probe.send.is_empty() && probe.receive.is_empty()
}

/// A peer that has answered may close by itself; one that was told nothing waits for us.
fn first(probe: &TcpProbe) -> First {
    if probe.receive.is_empty() { First::Us } else { First::Peer }
}

fn opening(probe: &TcpProbe, close: Close) -> Opening {
    if probe.tls.is_some() {
        Opening::Converse
    } else if !probe.send.is_empty() {
        Opening::Speak(probe.send.len())
    } else if is_bare(probe) && close == Close::Reset {
        Opening::Touch
    } else {
        Opening::Listen
    }
}

async fn exchange<S>(probe: &TcpProbe, stream: &mut S, progress: &Progress) -> Result<(), Setback>
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
    receive(probe.receive.as_slice(), stream).await
}

/// Reads until as many bytes as expected are there, or they cannot become the expected ones.
async fn receive<S: AsyncRead + Unpin>(expected: &[u8], stream: &mut S) -> Result<(), Setback> {
    let mut got = vec![0; expected.len()];
    let mut length = 0;
    while length < expected.len() && expected.starts_with(&got[..length]) {
        match tls::name_read(stream.read(&mut got[length..]).await)? {
            0 => return Err(Failure::Closed { partial: length > 0 }.into()),
            read => length += read,
        }
    }
    if got[..length] == *expected {
        return Ok(());
    }
    Err(Failure::BodyMismatch(Box::new(Mismatch::new(&got[..length], None))).into())
}
