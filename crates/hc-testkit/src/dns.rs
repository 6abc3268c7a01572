//! A DNS server that says what a test wants, right or wrong. Messages are put together by hand, so
//! that they share no mistake with the code under test.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::datagram::DatagramServer;

/// A name on the wire: the labels of `name` between its dots, without compression and without
/// escapes.
///
/// # Panics
/// When a label is longer than 255 bytes.
#[must_use]
pub fn wire_name(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).expect("a label of a test is short"));
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// A DNS message in the making.
#[derive(Clone, Debug)]
pub struct DnsMessage {
    header: [u8; 4],
    question: Option<Vec<u8>>,
    records: Vec<u8>,
    counts: [u16; 3],
}

impl DnsMessage {
    /// An empty NOERROR response with the id and the question of `query`.
    ///
    /// # Panics
    /// When `query` is shorter than a header.
    #[must_use]
    pub fn reply_to(query: &[u8]) -> Self {
        Self {
            // QR and RD; RA.
            header: [query[0], query[1], 0x81, 0x80],
            question: Some(query[12..].to_vec()),
            records: Vec::new(),
            counts: [0; 3],
        }
    }

    /// Another id.
    #[must_use]
    pub fn id(mut self, id: u16) -> Self {
        self.header[..2].copy_from_slice(&id.to_be_bytes());
        self
    }

    /// The id that comes after the right one.
    #[must_use]
    pub fn wrong_id(self) -> Self {
        let id = u16::from_be_bytes([self.header[0], self.header[1]]);
        self.id(id.wrapping_add(1))
    }

    /// A response code, 0 to 15.
    #[must_use]
    pub fn rcode(mut self, code: u8) -> Self {
        self.header[3] = self.header[3] & 0xf0 | code & 0x0f;
        self
    }

    /// Sets TC.
    #[must_use]
    pub fn truncated(mut self) -> Self {
        self.header[2] |= 0x02;
        self
    }

    /// Clears QR: a question, not a response.
    #[must_use]
    pub fn not_a_response(mut self) -> Self {
        self.header[2] &= 0x7f;
        self
    }

    /// Another question.
    #[must_use]
    pub fn question(mut self, name: &str, kind: u16, class: u16) -> Self {
        let mut question = wire_name(name);
        question.extend_from_slice(&kind.to_be_bytes());
        question.extend_from_slice(&class.to_be_bytes());
        self.question = Some(question);
        self
    }

    /// No question at all.
    #[must_use]
    pub fn no_question(mut self) -> Self {
        self.question = None;
        self
    }

    /// One more record in the answer section, of class IN.
    #[must_use]
    pub fn answer(self, name: &str, kind: u16, data: &[u8]) -> Self {
        self.record(0, name, kind, 1, data)
    }

    /// One more record: section 0 is the answer, 1 the authority, 2 the additional. Give them in
    /// that order.
    ///
    /// # Panics
    /// When the data is longer than 65,535 bytes.
    #[must_use]
    pub fn record(mut self, section: usize, name: &str, kind: u16, class: u16, data: &[u8]) -> Self {
        self.counts[section] += 1;
        self.records.extend_from_slice(&wire_name(name));
        self.records.extend_from_slice(&kind.to_be_bytes());
        self.records.extend_from_slice(&class.to_be_bytes());
        self.records.extend_from_slice(&300_u32.to_be_bytes());
        let length = u16::try_from(data.len()).expect("data of a test is short");
        self.records.extend_from_slice(&length.to_be_bytes());
        self.records.extend_from_slice(data);
        self
    }

    /// Bytes as they come, counted as `count` records of the answer section.
    #[must_use]
    pub fn junk(mut self, count: u16, bytes: &[u8]) -> Self {
        self.counts[0] += count;
        self.records.extend_from_slice(bytes);
        self
    }

    /// The bytes.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let mut bytes = self.header.to_vec();
        bytes.extend_from_slice(&u16::from(self.question.is_some()).to_be_bytes());
        for count in self.counts {
            bytes.extend_from_slice(&count.to_be_bytes());
        }
        bytes.extend_from_slice(self.question.as_deref().unwrap_or_default());
        bytes.extend_from_slice(&self.records);
        bytes
    }
}

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsTransport {
    /// In a datagram.
    Udp,
    /// Over TCP, its length before it.
    Tcp,
}

/// A DNS server on one port for both transports. Ends when it is dropped.
#[derive(Debug)]
pub struct DnsServer {
    datagrams: DatagramServer,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl DnsServer {
    /// Answers over UDP only; nobody listens on the TCP port.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn udp<F>(ip: IpAddr, mut script: F) -> io::Result<Self>
    where
        F: FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
    {
        let datagrams = DatagramServer::start(
            ip,
            move |query| {
                if query.len() < 12 { Vec::new() } else { script(query) }
            },
        )?;
        Ok(Self { datagrams, stop: Arc::default(), thread: None })
    }

    /// Answers over both. What the script gives back for TCP is written as it is, so that a test
    /// can also send a wrong length: see [`framed`].
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn both<F>(ip: IpAddr, script: F) -> io::Result<Self>
    where
        F: FnMut(DnsTransport, &[u8]) -> Vec<Vec<u8>> + Send + 'static,
    {
        let (listener, socket) = bind_both(ip)?;
        let script = Arc::new(Mutex::new(script));
        let stop = Arc::new(AtomicBool::new(false));
        let (for_tcp, stopped) = (Arc::clone(&script), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                // A client that hangs up ends its own connection only.
                let _ = answer_stream(stream, |query| {
                    for_tcp.lock().unwrap_or_else(PoisonError::into_inner)(DnsTransport::Tcp, query)
                });
            }
        });
        let datagrams = DatagramServer::serve(socket, move |query| {
            script.lock().unwrap_or_else(PoisonError::into_inner)(DnsTransport::Udp, query)
        })?;
        Ok(Self { datagrams, stop, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.datagrams.address()
    }

    /// The queries that came over UDP.
    #[must_use]
    pub fn seen(&self) -> Vec<Vec<u8>> {
        self.datagrams.seen()
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // Wakes the thread, which is accepting.
            if TcpStream::connect(self.address()).is_ok() {
                let _ = thread.join();
            }
        }
    }
}

/// A message behind its length (RFC 1035 section 4.2.2).
///
/// # Panics
/// When it is longer than 65,535 bytes.
#[must_use]
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("a message has at most 65535 bytes");
    [&length.to_be_bytes(), message].concat()
}

/// A free port for both transports: the kernel gives one for TCP, and the same of UDP may be taken.
fn bind_both(ip: IpAddr) -> io::Result<(TcpListener, UdpSocket)> {
    let mut last = None;
    for _ in 0..64 {
        let listener = TcpListener::bind((ip, 0))?;
        match UdpSocket::bind(listener.local_addr()?) {
            Ok(socket) => return Ok((listener, socket)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

fn answer_stream(mut stream: TcpStream, mut script: impl FnMut(&[u8]) -> Vec<Vec<u8>>) -> io::Result<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut query = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut query)?;
    for bytes in script(&query) {
        stream.write_all(&bytes)?;
    }
    Ok(())
}
