//! Where connections to the admin API come from.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::time::Duration;

use hc_admin::{Caller, Connections};
use hc_ipc::{Incoming as _, Listener, Peer};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::sleep;

/// The sockets that are open.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    pub(crate) unix: Option<Listener>,
    pub(crate) tcp: Option<std::net::TcpListener>,
}

impl Doors {
    pub(crate) fn is_shut(&self) -> bool {
        self.unix.is_none() && self.tcp.is_none()
    }

    /// Where the Unix socket's file is made.
    pub(crate) fn directory(&self) -> Option<&Path> {
        self.unix.as_ref().and_then(Listener::directory)
    }

    pub(crate) fn changes_owner(&self) -> bool {
        self.unix.as_ref().is_some_and(Listener::changes_owner)
    }
}

type HandedOver = (StdUnixStream, Peer);

/// Connections that wait to be taken over by the API's thread.
const WAITING: usize = 16;

/// The pause after a connection could not be accepted, for example for lack of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) fn channel() -> (Sender<HandedOver>, Unix) {
    let (sender, receiver) = tokio::sync::mpsc::channel(WAITING);
    (sender, Unix(receiver))
}

/// Accepts connections and hands them over, until nobody takes them any more.
pub(super) async fn accept(mut listener: Listener, hand_over: Sender<HandedOver>) {
    loop {
        let accepted = listener.accept().await.and_then(|(stream, peer)| Ok((stream.into_std()?, peer)));
        match accepted {
            Ok(accepted) => {
                if hand_over.send(accepted).await.is_err() {
                    return;
                }
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Connections to the Unix socket, from the other side of the channel.
pub(super) struct Unix(Receiver<HandedOver>);

impl Connections for Unix {
    type Stream = UnixStream;

    async fn accept(&mut self) -> io::Result<(UnixStream, Option<Caller>)> {
        let Some((stream, peer)) = self.0.recv().await else { return std::future::pending().await };
        Ok((UnixStream::from_std(stream)?, Some(Caller { uid: peer.uid, pid: peer.pid })))
    }
}

/// Connections over TCP, which may change nothing.
pub(super) struct Tcp(TcpListener);

impl Tcp {
    /// # Errors
    /// When the runtime cannot watch the socket.
    pub(super) fn new(listener: std::net::TcpListener) -> io::Result<Self> {
        TcpListener::from_std(listener).map(Self)
    }
}

impl Connections for Tcp {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, Option<Caller>)> {
        Ok((self.0.accept().await?.0, None))
    }
}
