//! How hc-server and the runner talk: frames of JSON over a pair of sockets, each with its length
//! in four bytes before it.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex as AsyncMutex, oneshot};

/// The longest frame: a batch of a few thousand events.
const LONGEST: usize = 64 * 1024 * 1024;

/// A command that the runner may start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandSpec {
    /// The program and its arguments; never empty.
    pub argv: Vec<String>,
    /// How long a run may take. After it the process group gets SIGTERM, and SIGKILL 2 s later.
    pub timeout: Duration,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It ended by itself.
    Status {
        /// The exit status.
        code: i32,
        /// The beginning of what it wrote to standard error.
        stderr: String,
    },
    /// A signal ended it.
    Signal {
        /// Its number.
        signal: i32,
    },
    /// It took too long and was ended.
    TimedOut,
    /// It could not be started.
    NotStarted {
        /// Why.
        problem: String,
    },
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { code, stderr } if stderr.is_empty() => write!(f, "exit status {code}"),
            Self::Status { code, stderr } => write!(f, "exit status {code}: {stderr:?}"),
            Self::Signal { signal } => write!(f, "ended by signal {signal}"),
            Self::TimedOut => f.write_str("took too long"),
            Self::NotStarted { problem } => write!(f, "cannot be started: {problem}"),
        }
    }
}

/// A run that is asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ask {
    pub(crate) number: u64,
    pub(crate) command: usize,
    pub(crate) environment: Vec<(String, String)>,
    /// JSON, so it is text.
    pub(crate) input: String,
}

/// How it ended.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) number: u64,
    pub(crate) exit: Exit,
}

pub(crate) async fn write<T: Serialize>(stream: &mut (impl AsyncWrite + Unpin), value: &T) -> io::Result<()> {
    let bytes = serde_json::to_vec(value)?;
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length as usize <= LONGEST);
    let length = length.ok_or_else(|| io::Error::other("too much for one run"))?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// The next frame; `None` at the end.
pub(crate) async fn read<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    };
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST {
        return Err(io::Error::other("a frame of the runner is too long"));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(Some(serde_json::from_slice(&bytes)?))
}

type Waiting = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Exit>>>>>;

/// hc-server's side of the runner.
#[derive(Debug)]
pub struct RunnerHandle {
    writer: AsyncMutex<(u64, OwnedWriteHalf)>,
    /// `None` when the runner is gone.
    waiting: Waiting,
}

impl RunnerHandle {
    /// Tells the runner at the other end its commands. The future that is returned beside the
    /// handle must be driven; it ends when the runner does.
    ///
    /// # Errors
    /// When the runner is gone already.
    pub async fn start(
        stream: UnixStream,
        commands: &[CommandSpec],
    ) -> io::Result<(Self, impl Future<Output = ()> + use<>)> {
        let (reader, mut writer) = stream.into_split();
        write(&mut writer, &commands).await?;
        let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let task = hand_out(reader, waiting.clone());
        Ok((Self { writer: AsyncMutex::new((0, writer)), waiting }, task))
    }

    /// Runs a command and waits for its end.
    ///
    /// # Errors
    /// When the runner is gone.
    ///
    /// # Cancel safety
    /// Drop the future only to end the program: a half-written frame breaks the link.
    pub(crate) async fn run(
        &self,
        command: usize,
        environment: Vec<(String, String)>,
        input: Vec<u8>,
    ) -> io::Result<Exit> {
        let input = String::from_utf8(input).map_err(io::Error::other)?;
        let gone = || io::Error::other("the process that runs commands has ended; restart hc-server");
        let (sender, ended) = oneshot::channel();
        {
            let (next, writer) = &mut *self.writer.lock().await;
            *next += 1;
            let number = *next;
            lock(&self.waiting).as_mut().ok_or_else(gone)?.insert(number, sender);
            write(writer, &Ask { number, command, environment, input }).await.map_err(|_| gone())?;
        }
        ended.await.map_err(|_| gone())
    }
}

async fn hand_out(mut reader: OwnedReadHalf, waiting: Waiting) {
    while let Ok(Some(Answer { number, exit })) = read(&mut reader).await {
        if let Some(sender) = lock(&waiting).as_mut().and_then(|waiting| waiting.remove(&number)) {
            // Nobody may wait any more.
            let _ = sender.send(exit);
        }
    }
    tracing::error!(
        "the process that runs commands has ended; commands do not run until hc-server is restarted"
    );
    *lock(&waiting) = None;
}

fn lock(waiting: &Waiting) -> std::sync::MutexGuard<'_, Option<HashMap<u64, oneshot::Sender<Exit>>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}
