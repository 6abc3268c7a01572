//! Lines into messages.

use std::io;
use std::sync::Arc;
use std::thread::Builder;

use hc_types::cut;
use hc_wire::{CONFIGS_BEGIN, DecodeError, ErrorMessage, ToServer, decode};
use tokio::sync::{mpsc, oneshot};

use crate::recall::{self, Digests, Memory, Texts};

/// A line of more bytes is understood by a thread of its own: 1 MiB of good checks takes 6 ms of a
/// processor, and of what is no check at all up to 350 ms, in which nothing else of this runtime
/// would go on.
pub(crate) const ASIDE: usize = 16 * 1024;
/// What is kept of a text that may quote the peer's line.
const LONGEST_QUOTE: usize = 512;

pub(crate) type Understood = Result<Received, ErrorMessage>;

/// A message, and what else was in its line.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) message: ToServer,
    /// Of a set: what its checks look like, those included that were not read since they are known.
    pub(crate) texts: Option<Texts>,
}

impl From<ToServer> for Received {
    fn from(message: ToServer) -> Self {
        Self { message, texts: None }
    }
}

#[derive(Debug)]
struct Job {
    number: u64,
    content: Vec<u8>,
    reply: oneshot::Sender<Understood>,
}

/// Understands lines, long ones on a thread that was started with it: later the system may have
/// none left.
#[derive(Clone, Debug)]
pub(crate) struct Parser {
    jobs: mpsc::Sender<Job>,
    sets: Sets,
}

/// What is known of sets when a line is read.
#[derive(Clone, Debug, Default)]
struct Sets {
    memory: Memory,
    digests: Arc<Digests>,
}

impl Parser {
    /// Starts the thread, which ends with the last clone.
    pub(crate) fn start() -> io::Result<Self> {
        let (jobs, mut todo) = mpsc::channel::<Job>(1);
        let sets = Sets::default();
        let known = sets.clone();
        Builder::new().name("hc-ipc-lines".to_owned()).spawn(move || {
            while let Some(Job { number, content, reply }) = todo.blocking_recv() {
                // Whoever no longer waits for the answer does not miss it.
                let _ = reply.send(known.understand(number, Some(&content)));
            }
        })?;
        Ok(Self { jobs, sets })
    }

    /// What is in effect of the sets that it reads.
    pub(crate) fn memory(&self) -> &Memory {
        &self.sets.memory
    }

    /// The message in a line; `None` is one that was too long. Waits for long lines, so messages
    /// stay in their order and one line at a time is kept.
    pub(crate) async fn understand(&self, number: u64, content: Option<&[u8]>) -> io::Result<Understood> {
        let Some(content) = content.filter(|content| content.len() > ASIDE) else {
            return Ok(self.sets.understand(number, content));
        };
        let (reply, understood) = oneshot::channel();
        let gone = || io::Error::other("the thread that reads long lines has ended");
        self.jobs.send(Job { number, content: content.to_vec(), reply }).await.map_err(|_| gone())?;
        understood.await.map_err(|_| gone())
    }
}

impl Sets {
    fn understand(&self, number: u64, content: Option<&[u8]>) -> Understood {
        let set = content
            .filter(|line| line.starts_with(CONFIGS_BEGIN))
            .and_then(|line| recall::read(line, self.memory.get(), &self.digests));
        match set {
            Some((set, texts)) => Ok(Received { message: set.into(), texts: Some(texts) }),
            None => understand(number, content).map(Received::from),
        }
    }
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
