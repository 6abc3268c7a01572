//! DNS: one question, asked of the target itself (Seesaw's `healthcheck/dns.go`, RFC 1035, RFC
//! 7766).

pub mod answer;
pub mod message;
pub mod name;

use std::time::Duration;

use hc_types::{DnsProbe, Failure, Heard, Outcome, Phase, ProbeResult, Target};
use tokio::io::AsyncWriteExt as _;

use crate::ProbeMemory;
use crate::deadline::{self, Progress};
use crate::fault::{self, ProbeError};
use crate::incoming::{Incoming, Read, Watched, heard};
use crate::socket::{self, ConnectMode, Datagrams, Stream};
use message::{Judgement, Question};

/// Asks `target` the question of `probe` over UDP, and again over TCP if the reply is truncated,
/// and passes if the answer section holds what is expected: at the name that was asked for, or at
/// the end of its chain of CNAMEs. With other response codes among the expected ones, a reply that
/// has one of them passes without an answer.
///
/// The id is random, the socket connected, and the question in the reply compared, so that a late
/// or forged packet does not count: it is ignored, and the probe waits on. An invalid name or
/// expected answer is [`Failure::BadRequest`], and nothing is sent.
///
/// `timeout` is the deadline of all of it, TCP included, from the first poll.
///
/// # Panics
/// Outside a tokio runtime with time and I/O enabled.
///
/// # Cancel safety
/// Dropping the future closes the socket.
pub async fn probe_dns(probe: &DnsProbe, target: &Target, timeout: Duration) -> Outcome {
    judge(probe, target, timeout, &ProbeMemory::default()).await.outcome
}

/// The same within a limit that is shared, with what was seen.
pub(crate) async fn judge(
    probe: &DnsProbe,
    target: &Target,
    timeout: Duration,
    memory: &ProbeMemory,
) -> ProbeResult {
    deadline::within(timeout, async |progress| run(probe, target, memory, progress).await).await
}

async fn run(
    probe: &DnsProbe,
    target: &Target,
    memory: &ProbeMemory,
    progress: &Progress,
) -> Result<Outcome, ProbeError> {
    let question = Question::new(probe, rand::random())
        .map_err(|error| Failure::BadRequest(error.to_string().into()))?;
    let id = rand::random();
    let query = question.encode(id);
    {
        let socket = Datagrams::connect(target)?;
        progress.enter(Phase::Send);
        socket.send(&query, progress)?;
        progress.enter(Phase::Response);
        loop {
            match socket.receive(progress, |reply| keep(question.judge(id, reply), reply, progress)).await? {
                Judgement::Verdict(outcome) => return Ok(outcome),
                Judgement::Truncated => break,
                Judgement::Ignore(stray) => progress.ignored(stray),
            }
        }
    }
    let reply = ask_over_tcp(&query, target, memory, progress).await?;
    match keep(question.judge(id, &reply), &reply, progress) {
        Judgement::Verdict(outcome) => Ok(outcome),
        Judgement::Truncated => Err(Failure::MalformedReply("truncated over TCP as well".into()).into()),
        // On a connection of its own nothing can be late.
        Judgement::Ignore(stray) => {
            Err(Failure::MalformedReply(format!("the replies over TCP {stray}").into()).into())
        }
    }
}

/// Keeps the reply of a judgement that fails.
fn keep(judgement: Judgement, reply: &[u8], progress: &Progress) -> Judgement {
    if let Judgement::Verdict(Outcome::Fail(_)) = &judgement {
        progress.keep_answer(reply);
    }
    judgement
}

async fn ask_over_tcp(
    query: &[u8],
    target: &Target,
    memory: &ProbeMemory,
    progress: &Progress,
) -> Result<Vec<u8>, ProbeError> {
    let length = u16::try_from(query.len()).map_err(|_| Failure::BadRequest("a question of 64 kB".into()))?;
    let request = [&length.to_be_bytes(), query].concat();
    progress.enter(Phase::Connect);
    let mut stream = socket::connect(target, ConnectMode::SendFirst(request.len()), progress).await?;
    progress.enter(Phase::Send);
    stream.write_all(&request).await.map_err(|error| fault::after_sending(&error, Phase::Send))?;
    progress.enter(Phase::Response);
    read_reply(&mut stream, memory).await
}

/// Reads a length and as many bytes (RFC 1035 section 4.2.2). Memory grows with the bytes that
/// arrive, not with the announced length.
async fn read_reply(stream: &mut Stream<'_>, memory: &ProbeMemory) -> Result<Vec<u8>, ProbeError> {
    let mut incoming = Incoming::new(stream, memory);
    loop {
        let came = match &*incoming.buffer {
            &[high, low, ref reply @ ..] => {
                let length = usize::from(u16::from_be_bytes([high, low]));
                if reply.len() >= length {
                    return Ok(reply[..length].to_vec());
                }
                Some((length, reply.len()))
            }
            _ => None,
        };
        match incoming.read(0).await? {
            Read::More => {}
            Read::End => return Err(Failure::closed_after(&incoming.buffer).into()),
            Read::Taken => {
                let (length, mut came) = came.unwrap_or_default();
                let first = incoming.buffer[..incoming.buffer.len().min(Heard::KEPT)].to_vec();
                let watch = incoming.watch(|bytes| {
                    came += bytes.len();
                    if came < length { Watched::GoOn } else { Watched::Undecided }
                });
                watch.await?;
                return Err(Failure::Closed { heard: Some(heard(&[], &first, came + 2)) }.into());
            }
        }
    }
}
