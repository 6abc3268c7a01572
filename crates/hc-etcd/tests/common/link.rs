//! A TCP proxy that misbehaves on command.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "its tasks end with the runtime of the test")]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Pass,
    /// Nothing of what a client sends comes through.
    SilentUp,
    /// Nothing of what the server sends comes through.
    SilentDown,
    /// Neither.
    Silent,
    /// Every byte comes later by this.
    Delay(Duration),
    /// Connections are reset, and new ones at once.
    Reset,
}

/// The proxy; it ends with the runtime.
pub(crate) struct Link {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    /// How many connections there have been.
    pub(crate) accepted: watch::Receiver<usize>,
}

impl Link {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, watched) = watch::channel(Mode::Pass);
        let (count, accepted) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                count.send_modify(|count| *count += 1);
                tokio::spawn(carry(client, server, watched.clone()));
            }
        });
        Self { address, mode, accepted }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn carry(client: TcpStream, server: SocketAddr, mut mode: watch::Receiver<Mode>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let raw = socket2::SockRef::from(&client).try_clone().unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pump(from_client, to_server, mode.clone(), Mode::SilentUp) => {}
        () = pump(from_server, to_client, mode.clone(), Mode::SilentDown) => {}
        _ = mode.wait_for(|mode| *mode == Mode::Reset) => {
            raw.set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
    silent: Mode,
) {
    let mut late: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let due = late.front().map(|(due, _)| *due);
        tokio::select! {
            read = from.read(&mut buffer) => {
                let Ok(count @ 1..) = read else { return };
                let delay = match *mode.borrow() {
                    Mode::Delay(delay) => delay,
                    _ => Duration::ZERO,
                };
                late.push_back((Instant::now() + delay, buffer[..count].to_vec()));
            }
            () = async { match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            } } => {
                // What is held back comes when the link is whole again.
                let passes = |mode: &Mode| *mode != silent && *mode != Mode::Silent;
                if mode.wait_for(passes).await.is_err() {
                    return;
                }
                let Some((_, bytes)) = late.pop_front() else { return };
                if to.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        }
    }
}
