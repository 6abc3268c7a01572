//! A TCP server that plays a script on each connection.

use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::certificate::Identity;
use crate::script::{Ended, Step, Wire};

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A TCP server, perhaps with TLS, that plays the same script on every connection. Ends when it is
/// dropped, and its connections with it.
#[derive(Debug)]
pub struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What came of one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// What the peer sent, after TLS, as far as the script read it.
    pub received: Vec<u8>,
    /// How the peer ended the connection, if it did while the script was reading.
    pub ended: Option<Ended>,
    /// The name that the peer asked for in TLS.
    pub server_name: Option<String>,
    /// Whether the script is over.
    pub over: bool,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    connections: Mutex<Connections>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Connections {
    /// What is played on the next one.
    steps: Arc<[Step]>,
    seen: Vec<Seen>,
    /// Copies, for the end of the backend.
    open: Vec<Option<TcpStream>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, index: usize, change: impl FnOnce(&mut Seen)) {
        change(&mut self.lock().seen[index]);
        self.changed.notify_all();
    }
}

impl Backend {
    /// Plays `steps` on a free port of `ip`.
    ///
    /// # Errors
    /// When the socket cannot be bound.
    pub fn start(ip: IpAddr, steps: Vec<Step>) -> io::Result<Self> {
        Self::start_at(SocketAddr::new(ip, 0), steps)
    }

    /// Plays `steps` at `address`, where another backend may have been before.
    ///
    /// # Errors
    /// When the socket cannot be bound.
    pub fn start_at(address: SocketAddr, steps: Vec<Step>) -> io::Result<Self> {
        Self::serve(TcpListener::bind(address)?, None, steps)
    }

    /// Plays `steps` on a free port of `ip`, inside TLS.
    ///
    /// # Errors
    /// When the socket cannot be bound, or the identity is none.
    pub fn start_tls(ip: IpAddr, identity: &Identity, steps: Vec<Step>) -> io::Result<Self> {
        let tls = identity.server_config().map_err(io::Error::other)?;
        Self::serve(TcpListener::bind((ip, 0))?, Some(tls), steps)
    }

    fn serve(listener: TcpListener, tls: Option<Arc<ServerConfig>>, steps: Vec<Step>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let shared = Arc::<Shared>::default();
        shared.lock().steps = Arc::from(steps);
        let ours = Arc::clone(&shared);
        let thread = thread::spawn(move || accept(&listener, tls.as_ref(), &ours));
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Plays `steps` on each connection that comes from now on.
    pub fn set_steps(&self, steps: Vec<Step>) {
        self.shared.lock().steps = Arc::from(steps);
    }

    /// What came of the connections so far, in the order in which they were accepted.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.lock().seen.clone()
    }

    /// Waits until the connections satisfy `condition`, for ten seconds at most, and gives them
    /// back.
    ///
    /// # Panics
    /// When they do not.
    #[track_caller]
    pub fn wait_for(&self, mut condition: impl FnMut(&[Seen]) -> bool) -> Vec<Seen> {
        let waited = self
            .shared
            .changed
            .wait_timeout_while(self.shared.lock(), PATIENCE, |connections| !condition(&connections.seen));
        let (connections, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "waited in vain, saw {:?}", connections.seen);
        connections.seen.clone()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        // Wakes the thread that accepts.
        let _woken = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            // A panic of the script is told by the thread itself.
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, tls: Option<&Arc<ServerConfig>>, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    while let Ok((socket, _)) = listener.accept() {
        if shared.stop.load(Ordering::Acquire) {
            break;
        }
        let Ok(copy) = socket.try_clone() else { continue };
        // What one step writes is on its way before the next: a reset does not take it back.
        if socket.set_nodelay(true).is_err() {
            continue;
        }
        let (index, steps) = {
            let mut connections = shared.lock();
            connections.open.push(Some(copy));
            connections.seen.push(Seen::default());
            (connections.seen.len() - 1, Arc::clone(&connections.steps))
        };
        shared.changed.notify_all();
        let (tls, ours) = (tls.cloned(), Arc::clone(shared));
        threads.push(thread::spawn(move || play(socket, index, tls, &steps, &ours)));
    }
    for open in shared.lock().open.iter().flatten() {
        let _ = open.shutdown(Shutdown::Both);
    }
    for thread in threads {
        let _ = thread.join();
    }
}

fn play(socket: TcpStream, index: usize, tls: Option<Arc<ServerConfig>>, steps: &[Step], shared: &Shared) {
    let ended = play_on(&socket, index, tls, steps, shared);
    // The copy that was kept for the end must not hold the connection open.
    shared.lock().open[index] = None;
    drop(socket);
    shared.update(index, |seen| {
        seen.ended = ended.unwrap_or_default();
        seen.over = true;
    });
}

fn play_on(
    socket: &TcpStream,
    index: usize,
    tls: Option<Arc<ServerConfig>>,
    steps: &[Step],
    shared: &Shared,
) -> io::Result<Option<Ended>> {
    let heard = &mut |bytes: &[u8]| shared.update(index, |seen| seen.received.extend_from_slice(bytes));
    let Some(config) = tls else {
        return Wire { stream: socket, socket: socket.try_clone()? }.play(steps, heard);
    };
    let session = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut wire =
        Wire { stream: StreamOwned::new(session, socket.try_clone()?), socket: socket.try_clone()? };
    // The first byte in either direction shakes hands.
    wire.stream.conn.complete_io(&mut wire.stream.sock)?;
    let name = wire.stream.conn.server_name().map(str::to_owned);
    shared.update(index, |seen| seen.server_name = name);
    let ended = wire.play(steps, heard)?;
    if ended.is_none() && !steps.contains(&Step::Reset) {
        wire.stream.conn.send_close_notify();
        wire.stream.conn.complete_io(&mut wire.stream.sock)?;
    }
    Ok(ended)
}
