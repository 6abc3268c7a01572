//! A server whose owner is the test, and a client that sends and reads raw lines.
#![allow(dead_code, reason = "each file of tests uses its part")]

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use hc_ipc::{
    Dialer, DisconnectReason, Incoming, IpcConfig, IpcEvent, IpcEvents, IpcHandle, Listener, SocketConfig,
    StatusReply, memory, serve,
};
use hc_types::{CheckId, Health, Proposal, Rejection, Reply, SetChange};
use hc_wire::{Notification, StatusLine};
use tempfile::TempDir;
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf, split,
};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(crate) const READY: &str = r#"{"type":"ready","protocol":1,"version":"1.0","capabilities":["keep"]}"#;
pub(crate) const HELLO: &str = r#"{"type":"hello","protocol":1,"version":"test"}"#;

/// Whatever is waited for comes within this time, or the test fails.
const SOON: Duration = Duration::from_secs(60);

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(SOON, what).await.expect("it does not happen")
}

pub(crate) struct Server {
    pub(crate) handle: IpcHandle,
    pub(crate) events: IpcEvents,
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinSet<()>,
    /// The ids of the latest whole set.
    pub(crate) in_effect: Vec<u64>,
}

impl Server {
    pub(crate) fn start(incoming: impl Incoming, config: IpcConfig) -> Self {
        let shutdown = CancellationToken::new();
        let (ipc, handle, events) = serve(incoming, config, shutdown.clone()).unwrap();
        let mut task = JoinSet::new();
        task.spawn(ipc.run());
        Self { handle, events, shutdown, task, in_effect: Vec::new() }
    }

    pub(crate) fn in_memory() -> (Self, Dialer) {
        Self::in_memory_with(IpcConfig::new("1.0"))
    }

    pub(crate) fn in_memory_with(config: IpcConfig) -> (Self, Dialer) {
        let (incoming, dialer) = memory();
        (Self::start(incoming, config), dialer)
    }

    pub(crate) async fn event(&mut self) -> IpcEvent {
        soon(self.events.recv()).await.expect("the task runs")
    }

    /// The next set, past connections that come.
    pub(crate) async fn set(&mut self) -> (SetChange, Vec<Rejection>, Reply) {
        loop {
            match self.event().await {
                IpcEvent::Set(Proposal { change, rejected, reply, .. }) => return (change, rejected, reply),
                IpcEvent::Connected { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next whole set, applied: its generation and its ids, those included that were
    /// recognised.
    pub(crate) async fn apply(&mut self) -> (Option<u64>, Vec<u64>) {
        let (change, rejected, reply) = self.set().await;
        reply.applied(rejected);
        let generation = change.generation();
        match change {
            SetChange::Full { checks, .. } => self.in_effect = checks.iter().map(|(id, _)| id.0).collect(),
            SetChange::Renewal { upsert, remove, .. } => {
                self.in_effect.retain(|id| !remove.contains(&CheckId(*id)));
                self.in_effect.extend(upsert.iter().map(|(id, _)| id.0));
                self.in_effect.sort_unstable();
                self.in_effect.dedup();
            }
            SetChange::Delta { .. } => panic!("{change:?}"),
        }
        (generation, self.in_effect.clone())
    }

    pub(crate) async fn status_request(&mut self) -> StatusReply {
        loop {
            match self.event().await {
                IpcEvent::StatusRequest { reply } => return reply,
                IpcEvent::Connected { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) async fn disconnected(&mut self) -> DisconnectReason {
        loop {
            match self.event().await {
                IpcEvent::Disconnected { reason } => return reason,
                IpcEvent::Connected { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) async fn end(mut self) {
        self.shutdown.cancel();
        soon(self.task.join_next()).await.unwrap().unwrap();
    }
}

/// A server on a socket in a directory of its own.
pub(crate) struct OnSocket {
    pub(crate) server: Server,
    pub(crate) path: PathBuf,
    pub(crate) directory: TempDir,
}

pub(crate) async fn on_socket() -> OnSocket {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("proxy.sock");
    let listener = Listener::bind(&SocketConfig::new(&path)).await.unwrap();
    OnSocket { server: Server::start(listener, IpcConfig::new("1.0")), path, directory }
}

impl OnSocket {
    pub(crate) async fn connect(&self) -> Client<UnixStream> {
        Client::new(UnixStream::connect(&self.path).await.unwrap())
    }

    /// A client that has said hello and whose empty set, generation 1, is in effect.
    pub(crate) async fn greeted(&mut self) -> Client<UnixStream> {
        let mut client = self.connect().await;
        client.greet(&mut self.server).await;
        client
    }
}

pub(crate) struct Client<S> {
    lines: BufReader<ReadHalf<S>>,
    writer: WriteHalf<S>,
}

impl<S: AsyncRead + AsyncWrite> Client<S> {
    pub(crate) fn new(stream: S) -> Self {
        let (reader, writer) = split(stream);
        Self { lines: BufReader::new(reader), writer }
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        soon(self.writer.write_all(bytes)).await.unwrap();
    }

    pub(crate) async fn send(&mut self, line: &str) {
        self.send_bytes(line.as_bytes()).await;
        self.send_bytes(b"\n").await;
    }

    /// Sends a line; false when nobody takes it.
    pub(crate) async fn try_send(&mut self, line: &str) -> bool {
        self.writer.write_all(format!("{line}\n").as_bytes()).await.is_ok()
    }

    /// The next line without its end; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        // A reset is an end too.
        match soon(self.lines.read_line(&mut line)).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.strip_suffix('\n').expect("whole lines").to_owned()),
        }
    }

    pub(crate) async fn line(&mut self) -> String {
        self.next().await.expect("the connection is up")
    }

    pub(crate) async fn json(&mut self) -> serde_json::Value {
        serde_json::from_str(&self.line().await).unwrap()
    }

    pub(crate) async fn expect(&mut self, line: &str) {
        assert_eq!(self.line().await, line);
    }

    /// Says hello and puts an empty set, generation 1, in effect.
    pub(crate) async fn greet(&mut self, server: &mut Server) {
        self.expect(READY).await;
        self.send(HELLO).await;
        self.send(&full_set(1, &[])).await;
        assert_eq!(server.apply().await, (Some(1), vec![]));
        soon(server.handle.ready()).await;
    }
}

pub(crate) fn check(id: u64) -> String {
    format!(r#"{{"id":{id},"interval":"5s","timeout":"1s","checker_type":"tcp","ip":"192.0.2.1","port":80}}"#)
}

pub(crate) fn full_set(generation: u64, ids: &[u64]) -> String {
    let checks: Vec<String> = ids.iter().copied().map(check).collect();
    format!(r#"{{"type":"update_configs","configs":[{}],"generation":{generation}}}"#, checks.join(","))
}

/// The status of the protocol's example.
pub(crate) fn notification(id: u64, message: &str) -> Notification {
    let status = StatusLine {
        last_check: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_705_314_600)),
        duration: Duration::from_millis(45),
        failures: 0,
        successes: 10,
        state: Health::Healthy,
        message: message.into(),
    };
    Notification { id: CheckId(id), status }
}
