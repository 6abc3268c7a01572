//! HAProxy's runtime API: `set server BACKEND/SERVER health up`.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hc_types::{CheckId, Health};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::select;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::board::Board;
use crate::{Report, SinkError, Template};

/// Commands in one request. HAProxy reads a request into one buffer of 16 KiB.
const COMMANDS: usize = 50;
/// The longest answer that is read: the statistics of some 10,000 servers.
const ANSWER: u64 = 16 * 1024 * 1024;
/// How often HAProxy is asked whether it is still the same process.
const LOOK: Duration = Duration::from_secs(1);
/// How many warnings are remembered.
const WARNED: usize = 10_000;
/// Deadline of one request.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where HAProxy's `stats socket` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuntimeAddress {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP address.
    Tcp(std::net::SocketAddr),
}

/// A text that is neither the path of a socket nor an address with a port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an absolute path nor ADDRESS:PORT")]
pub struct RuntimeAddressError(String);

impl FromStr for RuntimeAddress {
    type Err = RuntimeAddressError;

    fn from_str(text: &str) -> Result<Self, RuntimeAddressError> {
        if text.starts_with('/') {
            return Ok(Self::Unix(text.into()));
        }
        text.parse().map(Self::Tcp).map_err(|_| RuntimeAddressError(text.to_owned()))
    }
}

impl fmt::Display for RuntimeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

/// How to reach HAProxy, and what its servers are called there.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Its `stats socket`, with `level admin`.
    pub address: RuntimeAddress,
    /// `BACKEND/SERVER` for a check.
    pub server: Template,
}

/// Sets the health of HAProxy's servers. These must have no `check` of their own, which would undo
/// it.
pub struct Runtime {
    address: RuntimeAddress,
    board: Board,
    backoff: Backoff,
    /// What was read from the board is set before it is read again, so that no older health is set
    /// over a newer one.
    turn: AsyncMutex<()>,
    /// What was warned of, once each.
    warned: Mutex<HashSet<String>>,
}

impl Runtime {
    /// A HAProxy that has been told nothing yet.
    #[must_use]
    pub fn new(config: RuntimeConfig) -> Self {
        let RuntimeConfig { address, server } = config;
        let (backoff, turn, warned) = (Backoff::default(), AsyncMutex::default(), Mutex::default());
        Self { address, board: Board::new(server), backoff, turn, warned }
    }

    /// Resolves when a delivery may be tried: at once, or after a pause that doubles from 1 s to 60
    /// s with each failure in a row.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn ready(&self) {
        self.backoff.wait().await;
    }

    /// Sets the health of the servers of these checks. A server that HAProxy does not know is
    /// logged once and passed over.
    ///
    /// # Errors
    /// [`SinkError`] when HAProxy cannot be reached or does not answer.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the servers set or not.
    pub async fn deliver(&self, reports: &[Report]) -> Result<(), SinkError> {
        let _turn = self.turn.lock().await;
        let names = self.board.update(reports);
        let health = |name: Arc<str>| self.board.health(&name).map(|health| (name, health));
        let result = self.set(names.into_iter().filter_map(health).collect()).await;
        self.backoff.note(&result);
        result
    }

    /// These checks are gone; their servers are left as they are.
    pub fn forget(&self, ids: &[CheckId]) {
        self.board.forget(ids);
    }

    /// Sets every server again whenever another HAProxy process answers, until `shutdown`: after a
    /// restart or a reload HAProxy takes each server for healthy. Looks once a second.
    pub async fn watch(&self, shutdown: CancellationToken) {
        let mut process = None;
        loop {
            select! {
                () = sleep(LOOK) => {}
                () = shutdown.cancelled() => return,
            }
            // One that cannot be reached is found out, and logged, by the next delivery.
            let Ok(answer) = self.ask("show info").await else { continue };
            let found = Process::of(&answer);
            if process.as_ref().is_some_and(|known| found.is_later_of(known)) {
                process = Some(found);
                continue;
            }
            let _turn = self.turn.lock().await;
            let servers = self.board.all();
            if process.is_some() {
                tracing::info!(haproxy = %self.address, servers = servers.len(), "HAProxy was restarted: setting all servers again");
            }
            if self.set(servers).await.is_ok() {
                process = Some(found);
                // What has changed since it was last there need not wait until the pause is over.
                self.backoff.note(&Ok(()));
                self.warn_of_checks().await;
            }
        }
    }

    async fn set(&self, servers: Vec<(Arc<str>, Health)>) -> Result<(), SinkError> {
        let (servers, odd): (Vec<_>, Vec<_>) = servers.into_iter().partition(|(name, _)| is_server(name));
        for (name, _) in odd {
            self.warn(&name, "not BACKEND/SERVER of letters, digits and -_.:");
        }
        for servers in servers.chunks(COMMANDS) {
            let commands: Vec<String> = servers.iter().map(|(name, health)| command(name, *health)).collect();
            let answer = self.ask(&commands.join(";")).await?;
            for ((name, _), answer) in servers.iter().zip(answers(&answer)) {
                if !answer.is_empty() {
                    self.warn(name, &answer);
                }
            }
        }
        Ok(())
    }

    /// Servers that have a check of their own.
    async fn warn_of_checks(&self) {
        // Of all proxies, servers only.
        let Ok(statistics) = self.ask("show stat -1 4 -1").await else { return };
        let servers: HashSet<String> = self.board.all().iter().map(|(name, _)| name.to_string()).collect();
        for name in checked_servers(&statistics) {
            if servers.contains(&name) {
                self.warn(
                    &name,
                    "has a check of its own, which overrules this one: remove `check` from its line",
                );
            }
        }
    }

    fn warn(&self, server: &str, problem: &str) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.len() >= WARNED {
            // Names that come and go must not take memory for ever.
            warned.clear();
        }
        if warned.insert(format!("{server} {problem}")) {
            tracing::warn!(haproxy = %self.address, server, problem, "HAProxy does not take the health of a server");
        }
    }

    async fn ask(&self, request: &str) -> Result<String, SinkError> {
        let place = self.address.to_string();
        let asked = async {
            let refused = |source| SinkError::Connect { place: place.clone(), source };
            match &self.address {
                RuntimeAddress::Unix(path) => {
                    exchange(UnixStream::connect(path).await.map_err(refused)?, &place, request).await
                }
                RuntimeAddress::Tcp(address) => {
                    exchange(TcpStream::connect(address).await.map_err(refused)?, &place, request).await
                }
            }
        };
        match timeout(PATIENCE, asked).await {
            Ok(result) => result,
            Err(_) => Err(SinkError::Timeout { place: place.clone(), timeout: PATIENCE }),
        }
    }
}

/// Which HAProxy answers.
#[derive(Debug, PartialEq, Eq)]
struct Process {
    pid: Option<String>,
    uptime: Option<u64>,
}

impl Process {
    /// By the answer to `show info`.
    fn of(info: &str) -> Self {
        let field = |name| info.lines().find_map(|line| line.strip_prefix(name));
        Self {
            pid: field("Pid: ").map(str::to_owned),
            uptime: field("Uptime_sec: ").and_then(|seconds| seconds.trim().parse().ok()),
        }
    }

    /// Whether it is the process that was `known`. In a container each has the number 1, so how
    /// long it has run counts, too.
    fn is_later_of(&self, known: &Self) -> bool {
        self.pid == known.pid && self.uptime >= known.uptime
    }
}

/// One request on a connection of its own, as HAProxy wants it outside interactive mode.
async fn exchange<S>(mut stream: S, place: &str, request: &str) -> Result<String, SinkError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let broken = |error: std::io::Error| SinkError::exchange(place, error);
    stream.write_all(format!("{request}\n").as_bytes()).await.map_err(broken)?;
    let mut answer = Vec::new();
    stream.take(ANSWER).read_to_end(&mut answer).await.map_err(broken)?;
    if answer.is_empty() {
        // HAProxy says at least an empty line for each command.
        return Err(SinkError::exchange(place, "closed without an answer"));
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    if answer.starts_with("Permission denied") {
        return Err(SinkError::Refused {
            place: place.to_owned(),
            status: None,
            answer: "permission denied: the `stats socket` needs `level admin`".to_owned(),
            retry_after: None,
        });
    }
    Ok(answer)
}

fn command(name: &str, health: Health) -> String {
    let word = if health == Health::Healthy { "up" } else { "down" };
    format!("set server {name} health {word}")
}

/// Whether it is safe in a command: nothing in it ends or splits one.
fn is_server(name: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
    };
    name.split_once('/').is_some_and(|(backend, server)| is_word(backend) && is_word(server))
}

/// The answer to each command: its lines, which an empty one ends.
fn answers(text: &str) -> Vec<String> {
    let mut answers = Vec::new();
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines() {
        if line.is_empty() {
            answers.push(lines.join(" "));
            lines.clear();
        } else {
            lines.push(line);
        }
    }
    answers
}

/// `BACKEND/SERVER` of each server whose `check_status` is not empty in `show stat`.
fn checked_servers(csv: &str) -> Vec<String> {
    let mut lines = csv.lines();
    let header = lines.next().unwrap_or_default().trim_start_matches("# ");
    let column = |name| header.split(',').position(|known| known == name);
    let (Some(proxy), Some(server), Some(check)) =
        (column("pxname"), column("svname"), column("check_status"))
    else {
        return Vec::new();
    };
    let rows = lines.map(|line| line.split(',').collect::<Vec<_>>());
    rows.filter(|row| row.get(check).is_some_and(|status| !status.is_empty()))
        .filter_map(|row| Some(format!("{}/{}", row.get(proxy)?, row.get(server)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_cannot_hold_a_command_are_sent() {
        for name in ["b/s", "www.example/web-1_2:80"] {
            assert!(is_server(name), "{name}");
        }
        for name in ["", "b", "b/", "/s", "b/s/t", "b/s;shutdown", "b/s\nx", "b/s t", "b/é"] {
            assert!(!is_server(name), "{name}");
        }
    }

    #[test]
    fn another_process_is_known_by_its_number_or_its_age() {
        let process =
            |pid, uptime| Process::of(&format!("Name: HAProxy\nPid: {pid}\nUptime_sec: {uptime}\n"));
        assert!(process(1, 9).is_later_of(&process(1, 9)) && process(1, 10).is_later_of(&process(1, 9)));
        assert!(!process(1, 3).is_later_of(&process(1, 9)) && !process(2, 10).is_later_of(&process(1, 9)));
    }

    #[test]
    fn answers_are_told_apart() {
        assert_eq!(answers("\nNo such server.\n\n\n"), ["", "No such server.", ""]);
        assert_eq!(answers(""), Vec::<String>::new());
    }

    #[test]
    fn servers_with_a_check_are_found_in_the_statistics() {
        let csv = "# pxname,svname,status,check_status,\nb,s1,UP,L4OK,\nb,s2,no check,,\nshort\n";
        assert_eq!(checked_servers(csv), ["b/s1"]);
        assert_eq!(checked_servers(""), Vec::<String>::new());
    }
}
