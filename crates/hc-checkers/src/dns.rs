//! DNS: one question, asked of the target itself (Seesaw's `healthcheck/dns.go`, RFC 1035, RFC 7766).

pub mod answer;
pub mod message;
pub mod name;

use std::cell::Cell;
use std::io;
use std::time::Duration;

use hc_types::{DnsProbe, Failure, Outcome, Phase, Target};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::deadline::{self, Progress};
use crate::fault::{self, Setback};
use crate::socket::{self, Datagrams, Opening, Stream};
use message::{Judgement, Question, Stray};

/// Asks `target` the question of `probe` over UDP, and again over TCP if the reply is truncated, and passes if the answer
/// section holds what is expected: at the name that was asked for, or at the end of its chain of CNAMEs.
///
/// The id is random, the socket connected, and the question in the reply compared, so that a late or forged packet does
/// not count: it is ignored, and the probe waits on. A name or an expected answer that is none is
/// [`Failure::BadRequest`], and nothing is sent.
///
/// `timeout` is the deadline of all of it, TCP included, from the first poll.
///
/// # Panics
/// Outside a tokio runtime with time and I/O enabled.
///
/// # Cancel safety
/// Dropping the future closes the socket.
pub async fn probe_dns(probe: &DnsProbe, target: &Target, timeout: Duration) -> Outcome {
    let stray = Cell::new(None);
    let outcome =
        deadline::within(timeout, async |progress| run(probe, target, progress, &stray).await).await;
    match (outcome, stray.get()) {
        (
            Outcome::Fail(Failure::Timeout(Phase::Response) | Failure::Silence(Phase::Response)),
            Some(stray),
        ) => Failure::Strays(format!("timed out, the only replies {stray}").into()).into(),
        (outcome, _) => outcome,
    }
}

async fn run(
    probe: &DnsProbe,
    target: &Target,
    progress: &Progress,
    stray: &Cell<Option<Stray>>,
) -> Result<Outcome, Setback> {
    let question = Question::new(probe).map_err(|error| Failure::BadRequest(error.to_string().into()))?;
    let id = rand::random();
    let query = question.encode(id);
    {
        let socket = Datagrams::connect(target)?;
        socket.send(&query, progress)?;
        progress.enter(Phase::Response);
        loop {
            match question.judge(id, &socket.receive_whole(progress).await?) {
                Judgement::Verdict(outcome) => return Ok(outcome),
                Judgement::Truncated => break,
                Judgement::Ignore(why) => stray.set(Some(why)),
            }
        }
    }
    // What came over UDP has no part in a timeout from here on.
    stray.set(None);
    match question.judge(id, &ask_over_tcp(&query, target, progress).await?) {
        Judgement::Verdict(outcome) => Ok(outcome),
        Judgement::Truncated => Err(Failure::MalformedReply("truncated over TCP as well".into()).into()),
        // On a connection of its own nothing can be late.
        Judgement::Ignore(stray) => {
            Err(Failure::MalformedReply(format!("the replies over TCP {stray}").into()).into())
        }
    }
}

async fn ask_over_tcp(query: &[u8], target: &Target, progress: &Progress) -> Result<Vec<u8>, Setback> {
    let length = u16::try_from(query.len()).map_err(|_| Failure::BadRequest("a question of 64 kB".into()))?;
    let request = [&length.to_be_bytes(), query].concat();
    progress.enter(Phase::Connect);
    let mut stream = socket::connect(target, Opening::Speak(request.len()), progress).await?;
    progress.enter(Phase::Send);
    stream.write_all(&request).await.map_err(|error| fault::after_sending(&error, Phase::Send))?;
    progress.enter(Phase::Response);
    let mut length = [0; 2];
    read_all(&mut stream, &mut length, false).await?;
    let mut reply = vec![0; u16::from_be_bytes(length).into()];
    read_all(&mut stream, &mut reply, true).await?;
    Ok(reply)
}

/// Fills `buffer`. `begun` says whether the reply has begun before it.
async fn read_all(stream: &mut Stream<'_>, buffer: &mut [u8], begun: bool) -> Result<(), Setback> {
    let mut read = 0;
    while read < buffer.len() {
        match stream.read(&mut buffer[read..]).await {
            Ok(0) => return Err(Failure::Closed { partial: begun || read > 0 }.into()),
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(fault::after_sending(&error, Phase::Response)),
        }
    }
    Ok(())
}
