//! The demo's backends: small servers on threads that can die, fall ill and come back on the same port.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

/// What a backend answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Accepts connections and says nothing.
    Tcp,
    /// Answers 200, or 503 while it is ill.
    Http,
}

/// One backend, running or dead. It dies with its value.
pub(super) struct Backend {
    kind: Kind,
    address: SocketAddr,
    ill: Arc<AtomicBool>,
    running: Option<Running>,
}

struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Backend {
    /// Starts a backend on a free port of 127.0.0.1.
    pub(super) fn start(kind: Kind) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on 127.0.0.1")?;
        let address = listener.local_addr().context("a listener has no address")?;
        let mut backend = Self { kind, address, ill: Arc::default(), running: None };
        backend.serve(listener)?;
        Ok(backend)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port, so that connections are refused.
    pub(super) fn die(&mut self) {
        if let Some(Running { stop, thread }) = self.running.take() {
            stop.store(true, Ordering::SeqCst);
            // The thread waits in accept, and this connection wakes it.
            let _ = TcpStream::connect(self.address);
            let _ = thread.join();
        }
    }

    /// Opens the same port again.
    pub(super) fn return_to_life(&mut self) -> Result<()> {
        let listener = TcpListener::bind(self.address).with_context(|| {
            format!("port {} was taken by another program meanwhile", self.address.port())
        })?;
        self.serve(listener)
    }

    /// From now on answers 503 (`true`) or 200 (`false`).
    pub(super) fn set_ill(&self, ill: bool) {
        self.ill.store(ill, Ordering::SeqCst);
    }

    fn serve(&mut self, listener: TcpListener) -> Result<()> {
        let (kind, ill, stop) = (self.kind, Arc::clone(&self.ill), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("backend".into())
            .spawn(move || {
                for connection in listener.incoming() {
                    if stopped.load(Ordering::SeqCst) {
                        break;
                    }
                    if let (Ok(connection), Kind::Http) = (connection, kind) {
                        // A client that went away is its own affair.
                        let _ = answer(connection, ill.load(Ordering::SeqCst));
                    }
                }
            })
            .context("cannot start a thread for a backend")?;
        self.running = Some(Running { stop, thread });
        Ok(())
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.die();
    }
}

/// Reads a request up to its empty line and answers it. One after the other is enough for a demo.
fn answer(mut connection: TcpStream, ill: bool) -> std::io::Result<()> {
    connection.set_read_timeout(Some(Duration::from_millis(500)))?;
    for line in BufReader::new((&mut connection).take(8192)).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let (status, body) = if ill { ("503 Service Unavailable", "ill\n") } else { ("200 OK", "well\n") };
    let length = body.len();
    write!(connection, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn get(backend: &Backend) -> String {
        let mut connection = TcpStream::connect(backend.address()).unwrap();
        connection.write_all(b"GET / HTTP/1.1\r\nHost: demo\r\n\r\n").unwrap();
        let mut said = String::new();
        connection.read_to_string(&mut said).unwrap();
        said
    }

    #[test]
    fn falls_ill_and_recovers() {
        let backend = Backend::start(Kind::Http).unwrap();
        assert!(get(&backend).starts_with("HTTP/1.1 200 "));
        backend.set_ill(true);
        assert!(get(&backend).starts_with("HTTP/1.1 503 "));
        backend.set_ill(false);
        assert!(get(&backend).ends_with("\r\n\r\nwell\n"));
    }

    #[test]
    fn dies_and_comes_back_on_its_port() {
        let mut backend = Backend::start(Kind::Tcp).unwrap();
        TcpStream::connect(backend.address()).unwrap();
        backend.die();
        let refused = TcpStream::connect(backend.address()).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        backend.return_to_life().unwrap();
        TcpStream::connect(backend.address()).unwrap();
    }
}
