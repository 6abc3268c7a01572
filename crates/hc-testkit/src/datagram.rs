//! A UDP server that a closure scripts.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Answers datagrams as its script says: each one that comes gives any number of datagrams back to
/// its sender, in order. Ends when it is dropped.
#[derive(Debug)]
pub struct DatagramServer {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl DatagramServer {
    /// Starts on a free port of `ip`.
    ///
    /// # Errors
    /// When the socket cannot be bound.
    pub fn start<F>(ip: IpAddr, script: F) -> io::Result<Self>
    where
        F: FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
    {
        Self::serve(UdpSocket::bind((ip, 0))?, script)
    }

    /// Starts on a socket that is bound already.
    ///
    /// # Errors
    /// When the socket has no address.
    pub fn serve<F>(socket: UdpSocket, mut script: F) -> io::Result<Self>
    where
        F: FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
    {
        let address = socket.local_addr()?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (log, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; 65_535];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                let packet = &buffer[..length];
                log.lock().unwrap_or_else(PoisonError::into_inner).push(packet.to_vec());
                for reply in script(packet) {
                    // A peer that is gone already is no error of the server.
                    let _ = socket.send_to(&reply, peer);
                }
            }
        });
        Ok(Self { address, seen, stop, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The datagrams that have come, in order.
    #[must_use]
    pub fn seen(&self) -> Vec<Vec<u8>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for DatagramServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the thread, which is reading.
        let any: IpAddr = if self.address.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
        let woken = UdpSocket::bind((any, 0)).and_then(|socket| socket.send_to(&[], self.address));
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            // A script that panicked has failed its test in its own words.
            let _ = thread.join();
        }
    }
}
