//! Dialogues over TCP: steps of one's own, and those of Redis, SMTP, PostgreSQL, MySQL, LDAP and
//! HAProxy's agents.
//!
//! Each is plain code beside this file that sees what has come and says what to do; the connection
//! is here.

pub mod agent;
pub mod ldap;
pub mod mysql;
pub mod postgresql;
pub mod received;
pub mod redis;
pub mod smtp;
pub mod steps;

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use hc_types::{
    Dialogue, DialogueProbe, Failure, Heard, Outcome, Pass, Phase, ProbeResult, StepFailure, Target,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use crate::deadline::{self, Progress};
use crate::fault::ProbeError;
use crate::incoming::{Incoming, Read, Watched, heard};
use crate::socket::{self, CloseOrder, ConnectMode, FinishedConn, LingeringClose};
use crate::tls::{self, Handshake, Peer};
use crate::{CheckersConfig, ProbeMemory};
use received::{MAX_UNREAD, Next, Received, Talk};

/// Connects to `target`, speaks TLS if the probe says so, and holds its dialogue. A failure within
/// the dialogue names the step at which it came ([`Failure::InStep`]).
///
/// `timeout` is the deadline of all of it, from the first poll. At most 128 KiB of what the peer
/// sends are held, and they count in `config.memory`. The connection is closed politely, after the
/// farewell of the protocol where it has one. That of a marked probe is closed as in
/// [`probe_tcp`](crate::probe_tcp).
///
/// # Panics
/// Outside a tokio runtime with time and I/O enabled.
///
/// # Cancel safety
/// Dropping the future closes the socket.
pub async fn probe_dialogue(
    probe: &DialogueProbe,
    target: &Target,
    timeout: Duration,
    config: &CheckersConfig,
) -> Outcome {
    LingeringClose::outcome(judge(probe, target, timeout, config).await).await
}

/// The result, and the connection if it needs a lingering close.
pub(crate) async fn judge(
    probe: &DialogueProbe,
    target: &Target,
    timeout: Duration,
    config: &CheckersConfig,
) -> (ProbeResult, Option<LingeringClose>) {
    let mut held = Held { talk: talk(probe), begun: false };
    let limited =
        deadline::limit(timeout, async |progress| run(probe, target, config, &mut held, progress).await);
    let (ended, evidence) = limited.await;
    let (outcome, rest) = match ended {
        Ok((verdict, used)) => {
            let rest = LingeringClose::or_close(used, target, CloseOrder::Peer);
            (verdict.map_or_else(|error| held.named(error).into(), Outcome::Pass), rest)
        }
        Err(error) => (held.named(error).into(), None),
    };
    (ProbeResult { outcome, evidence }, rest)
}

/// A dialogue, and whether its first step has begun.
struct Held<'p> {
    talk: Box<dyn Talk + 'p>,
    begun: bool,
}

impl Held<'_> {
    /// What fails within the dialogue names its step.
    fn named(&self, error: ProbeError) -> ProbeError {
        match error {
            ProbeError::Failure(failure) if self.begun => {
                let step = self.talk.step().into();
                Failure::InStep(Box::new(StepFailure { step, failure })).into()
            }
            error => error,
        }
    }
}

/// The dialogue of a probe, at its beginning.
#[must_use]
pub fn talk(probe: &DialogueProbe) -> Box<dyn Talk + '_> {
    let tls = probe.tls.is_some();
    match &probe.dialogue {
        Dialogue::Steps(steps) => Box::new(steps::Steps::new(steps)),
        Dialogue::Redis(redis) => Box::new(redis::Redis::new(redis)),
        Dialogue::Smtp(smtp) => Box::new(smtp::Smtp::new(smtp)),
        Dialogue::Postgresql(postgresql) => Box::new(postgresql::Postgresql::new(postgresql, tls)),
        Dialogue::Mysql(mysql) => Box::new(mysql::Mysql::new(mysql, tls)),
        Dialogue::Ldap(ldap) => Box::new(ldap::Ldap::new(ldap)),
        Dialogue::Agent { send } => Box::new(agent::Agent::new(send.as_slice())),
    }
}

/// The verdict, and the connection that it came over.
async fn run<'a>(
    probe: &'a DialogueProbe,
    target: &'a Target,
    config: &'a CheckersConfig,
    held: &mut Held<'_>,
    progress: &'a Progress,
) -> Result<(Result<Pass, ProbeError>, FinishedConn), ProbeError> {
    let mut stream = socket::connect(target, ConnectMode::Interactive, progress).await?;
    if probe.tls.is_none() || probe.dialogue.begins_tls() {
        held.begun = true;
        match converse(&mut *held.talk, &mut stream, &config.memory, progress).await {
            Ok(Some(pass)) => return Ok((Ok(pass), stream.into_inner().into())),
            Ok(None) => {}
            Err(error) => return Ok((Err(error), stream.into_inner().into())),
        }
    }
    let Some(tls) = &probe.tls else {
        return Ok((
            Err(Failure::BadRequest("TLS begins without settings".into()).into()),
            stream.into_inner().into(),
        ));
    };
    // As for TCP checks: the address is what the certificate must hold, and there is no SNI.
    let peer = Peer::of(None, target);
    let handshake = Handshake { target, peer, tls, http2: false, roots: &config.roots, progress };
    let speak = async |session: &mut _| {
        held.begun = true;
        let said = converse(&mut *held.talk, session, &config.memory, progress).await?;
        said.ok_or_else(|| Failure::BadRequest("TLS begins twice".into()).into())
    };
    handshake.speak(stream, config, speak).await
}

/// Goes on with the dialogue over this stream. `None`: TLS begins here.
async fn converse<S>(
    talk: &mut dyn Talk,
    stream: &mut S,
    memory: &ProbeMemory,
    progress: &Progress,
) -> Result<Option<Pass>, ProbeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    progress.enter(Phase::Response);
    let mut incoming = Incoming::new(stream, memory);
    let mut ended = false;
    loop {
        let mut received = Received::new(&incoming.buffer, ended);
        let next = talk.next(&mut received);
        let used = received.used();
        if next.is_err() && !talk.may_repeat_secrets() {
            // What the failure is about begins behind what was understood.
            progress.keep_answer(&incoming.buffer[used..]);
        }
        incoming.buffer.drain(..used);
        match next? {
            Next::Send(bytes) => {
                progress.enter(Phase::Send);
                send(incoming.stream(), &bytes).await?;
                progress.enter(Phase::Response);
            }
            Next::StartTls if incoming.buffer.is_empty() => return Ok(None),
            Next::StartTls => {
                // Anybody on the way could have put them there (CVE-2011-0411).
                let text = format!("{} bytes came before the TLS handshake", incoming.buffer.len());
                return Err(Failure::MalformedReply(text.into()).into());
            }
            Next::Pass { pass, farewell } => {
                say_farewell(incoming.stream(), farewell).await;
                return Ok(Some(pass));
            }
            Next::Read if ended => {
                progress.keep_answer(&incoming.buffer);
                return Err(Failure::closed_after(&incoming.buffer).into());
            }
            Next::Read if incoming.buffer.len() >= MAX_UNREAD => {
                return Err(Failure::MalformedReply("128 KiB without an end".into()).into());
            }
            Next::Read => match incoming.read(0).await? {
                Read::More => progress.answered(),
                Read::End => ended = true,
                Read::Taken => return Err(watch(incoming).await),
            },
        }
    }
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> Result<(), ProbeError> {
    let sent = stream.write_all(bytes).await;
    // Over TLS a write may end in the session's buffer.
    let sent = if sent.is_ok() { stream.flush().await } else { sent };
    sent.map_err(|error| tls::name_error(&error, Phase::Send))
}

/// Sends it if there is room for it now. The verdict does not wait for it.
async fn say_farewell<S: AsyncWrite + Unpin>(stream: &mut S, farewell: &[u8]) {
    if farewell.is_empty() {
        return;
    }
    let mut said = pin!(send(stream, farewell));
    poll_fn(|context| {
        let _ = said.as_mut().poll(context);
        Poll::Ready(())
    })
    .await;
}

/// What had come is given back, so the dialogue cannot go on. A peer that closes has failed
/// nevertheless.
async fn watch<S: AsyncRead + Unpin>(incoming: Incoming<'_, S>) -> ProbeError {
    let length = incoming.buffer.len();
    let first = incoming.buffer[..length.min(Heard::KEPT)].to_vec();
    match incoming.watch(|_| Watched::Undecided).await {
        Ok(()) => Failure::Closed { heard: Some(heard(&[], &first, length)) }.into(),
        Err(error) => error,
    }
}
