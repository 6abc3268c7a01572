//! HAProxy's agent checks: for each server it connects, sends the text of `agent-send`, and reads
//! `up` or `down`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hc_types::{CheckId, Health};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::select;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::{Report, SinkError, Template};

/// Connections at once: HAProxy holds each for a moment. Each is a descriptor.
pub const AGENT_CONNECTIONS: usize = 256;
/// How long a peer may take to say which server it means, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest name.
const NAME: usize = 512;
/// The pause after a connection could not be accepted, for example for lack of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// How servers are named.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// What `agent-send` holds for a check.
    pub name: Template,
}

/// Answers agent checks. Of a server that is not known, or has no verdict yet, it says nothing, and
/// HAProxy leaves its state alone.
pub struct Agent(Board);

impl Agent {
    /// An agent that knows of no server yet.
    #[must_use]
    pub fn new(config: AgentConfig) -> Self {
        Self(Board::new(config.name))
    }

    /// Takes the health of checks. Never fails: HAProxy asks when it wants to know.
    ///
    /// # Errors
    /// None.
    pub fn deliver(&self, reports: &[Report]) -> Result<(), SinkError> {
        self.0.update(reports);
        Ok(())
    }

    /// These checks are gone.
    pub fn forget(&self, ids: &[CheckId]) {
        self.0.forget(ids);
    }

    /// Answers until `shutdown`.
    ///
    /// # Cancel safety
    /// Dropping the future closes the listener and the connections.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, shutdown: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            // `accept` loses no connection when it is dropped.
            let accepted = select! {
                accepted = listener.accept(), if connections.len() < AGENT_CONNECTIONS => accepted,
                Some(_) = connections.join_next() => continue,
                () = shutdown.cancelled() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let agent = self.clone();
                    connections.spawn(async move {
                        // A peer that does not ask, or does not listen, has no answer.
                        let _ = timeout(PATIENCE, agent.answer(stream)).await;
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept an agent check");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        let name = read_name(&mut stream).await?;
        let answer: &[u8] = match self.0.health(&name) {
            Some(Health::Healthy) => b"up\n",
            Some(Health::Unhealthy) => b"down\n",
            // An empty line: HAProxy takes it for an answer that changes nothing, and an empty
            // answer for an error.
            Some(Health::Unknown) | None => b"\n",
        };
        stream.write_all(answer).await?;
        stream.shutdown().await
    }
}

/// The first line, without blanks around it.
async fn read_name(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut line = Vec::new();
    let mut piece = [0; 128];
    while !line.contains(&b'\n') && line.len() < NAME {
        match stream.read(&mut piece).await? {
            0 => break,
            length => line.extend_from_slice(&piece[..length]),
        }
    }
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(String::from_utf8_lossy(line).trim().to_owned())
}
