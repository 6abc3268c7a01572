//! The backend of all benchmarks: one epoll loop that accepts, gives a fixed answer and closes, on
//! a processor of its own, reached at every address of 127.0.0.0/8.

use std::fs;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache};
use rustls::{HandshakeKind, ServerConfig, ServerConnection};

use crate::process::{self, BACKEND_CPU, Process, wait_for};

pub(super) const NAME: &str = "backend";

/// Where it listens, at all addresses.
pub(crate) const PORT: u16 = 8080;

/// The kernel takes less if `net.core.somaxconn` says so.
const BACKLOG: i32 = 65_535;

const LISTENER: u64 = u64::MAX;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
const LAST_ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";

/// What it does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serves {
    /// It accepts and closes.
    Tcp,
    /// It answers each request.
    Http,
    /// The same over TLS 1.2 or 1.3 with an ECDSA certificate, every handshake a full one.
    Https,
    /// The same, with tickets and sessions to resume.
    HttpsResumed,
}

impl Serves {
    const ALL: [(Self, &str); 4] = [
        (Self::Tcp, "tcp"),
        (Self::Http, "http"),
        (Self::Https, "https"),
        (Self::HttpsResumed, "https-resumed"),
    ];

    fn word(self) -> &'static str {
        Self::ALL.iter().find(|(serves, _)| *serves == self).map_or("", |(_, word)| word)
    }
}

/// Every so many handshakes it says how many there were.
const TOLD_EVERY: u64 = 50;

/// The process, and what it says.
pub(crate) struct Backend {
    _process: Process,
    log: PathBuf,
}

impl Backend {
    /// TLS handshakes so far, give or take [`TOLD_EVERY`]: all of them, and those that resumed a
    /// session.
    pub(crate) fn handshakes(&self) -> Result<(u64, u64)> {
        let log = fs::read_to_string(&self.log)?;
        let Some(last) = log.lines().rfind(|line| line.starts_with("handshakes ")) else { return Ok((0, 0)) };
        let mut numbers = last.split(' ').skip(1).map(str::parse);
        let mut next = || numbers.next().context("too short");
        Ok((next()??, next()??))
    }
}

/// Starts it, its log in `dir`.
pub(crate) fn start_backend(dir: &Path, serves: Serves) -> Result<Backend> {
    let log = dir.join("backend.log");
    let process = process::start_role(BACKEND_CPU, &log, &[NAME, serves.word()])?;
    let answers = || TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).is_ok();
    wait_for("the backend answering", Duration::from_secs(5), answers)?;
    Ok(Backend { _process: process, log })
}

/// An address of its own for each check, so that nobody runs out of ports towards one.
pub(crate) fn address(check: usize) -> String {
    format!("127.{}.{}.{}", 1 + check / 40_000, check / 200 % 200, check % 200 + 1)
}

/// `backend WORD`, without end.
pub(super) fn run(args: &[String]) -> Result<()> {
    let [word] = args else { bail!("usage: {NAME} WORD") };
    let serves = Serves::ALL.iter().find(|(_, name)| name == word).context("no such backend")?.0;
    let mut server = Server::listen(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT), serves)?;
    loop {
        server.turn()?;
    }
}

struct Server {
    epoll: OwnedFd,
    listener: OwnedFd,
    serves: Serves,
    tls: Option<Arc<ServerConfig>>,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    events: Vec<Event>,
    handshakes: u64,
    resumed: u64,
}

struct Connection {
    stream: TcpStream,
    session: Option<ServerConnection>,
    /// The part of a request that has come so far.
    request: Vec<u8>,
    /// It has had its last answer; only the peer's end is waited for.
    ends: bool,
}

impl Server {
    fn listen(at: SocketAddrV4, serves: Serves) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let listener = net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_reuseaddr(&listener, true)?;
        net::bind(&listener, &at)?;
        net::listen(&listener, BACKLOG)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        let tls = match serves {
            Serves::Tcp | Serves::Http => None,
            Serves::Https => Some(Arc::new(tls(false)?)),
            Serves::HttpsResumed => Some(Arc::new(tls(true)?)),
        };
        let events = Vec::with_capacity(1024);
        let (connections, free) = (Vec::new(), Vec::new());
        Ok(Self { epoll, listener, serves, tls, connections, free, events, handshakes: 0, resumed: 0 })
    }

    /// Waits until something happens, and serves it.
    fn turn(&mut self) -> Result<()> {
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Err(rustix::io::Errno::INTR) => {}
            other => drop(other?),
        }
        for event in &events {
            match event.data.u64() {
                LISTENER => self.accept()?,
                slot => self.serve(usize::try_from(slot)?),
            }
        }
        self.events = events;
        Ok(())
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            match net::accept_with(&self.listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(socket) if self.serves == Serves::Tcp => drop(socket),
                Ok(socket) => self.keep(socket)?,
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                // The peer has reset it before we came.
                Err(rustix::io::Errno::CONNABORTED | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn keep(&mut self, socket: OwnedFd) -> Result<()> {
        let session = self.tls.clone().map(ServerConnection::new).transpose()?;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, &socket, EventData::new_u64(slot as u64), flags)?;
        let stream = TcpStream::from(socket);
        self.connections[slot] = Some(Connection { stream, session, request: Vec::new(), ends: false });
        // Most requests come with the handshake's last ACK.
        self.serve(slot);
        Ok(())
    }

    fn serve(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) else { return };
        // Whatever a peer does, others are served.
        let goes_on = matches!(connection.serve(), Ok(true));
        let kind = connection.session.as_ref().and_then(|session| session.handshake_kind());
        if !goes_on {
            self.connections[slot] = None;
            self.free.push(slot);
            self.count(kind);
        }
    }

    #[allow(clippy::print_stdout, reason = "it goes to the log that the benchmark reads")]
    fn count(&mut self, kind: Option<HandshakeKind>) {
        self.handshakes += u64::from(kind.is_some());
        self.resumed += u64::from(kind == Some(HandshakeKind::Resumed));
        if kind.is_some() && self.handshakes.is_multiple_of(TOLD_EVERY) {
            println!("handshakes {} {}", self.handshakes, self.resumed);
        }
    }
}

impl Connection {
    /// Reads all there is and answers. `false`: the connection has ended.
    fn serve(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 4096];
        loop {
            let read = match &mut self.session {
                None => self.stream.read(&mut bytes),
                Some(session) => session.read_tls(&mut self.stream),
            };
            match read {
                Ok(0) => return Ok(false),
                Ok(_) if self.ends => {}
                Ok(length) => {
                    self.decrypt(&mut bytes, length)?;
                    if !self.answer()? {
                        return Ok(false);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes what was read over to the request.
    fn decrypt(&mut self, bytes: &mut [u8], length: usize) -> io::Result<()> {
        let Some(session) = &mut self.session else {
            self.request.extend_from_slice(&bytes[..length]);
            return Ok(());
        };
        session.process_new_packets().map_err(io::Error::other)?;
        loop {
            match session.reader().read(bytes) {
                Ok(0) => break,
                Ok(length) => self.request.extend_from_slice(&bytes[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        while session.wants_write() {
            session.write_tls(&mut self.stream)?;
        }
        Ok(())
    }

    /// Answers a request that is complete. `false`: that was the last one.
    fn answer(&mut self) -> io::Result<bool> {
        if !self.request.ends_with(b"\r\n\r\n") {
            return Ok(true);
        }
        let is_last = asks_to_close(&self.request);
        self.request.clear();
        let answer = if is_last { LAST_ANSWER } else { ANSWER };
        let Some(session) = &mut self.session else {
            self.stream.write_all(answer)?;
            return Ok(!is_last);
        };
        session.writer().write_all(answer)?;
        if is_last {
            session.send_close_notify();
        }
        while session.wants_write() {
            session.write_tls(&mut self.stream)?;
        }
        if is_last {
            // The peer's own close_notify must not meet a closed socket.
            self.stream.shutdown(Shutdown::Write)?;
            self.ends = true;
        }
        Ok(true)
    }
}

/// Whether a request has `Connection: close`, or is none of HTTP/1.1.
fn asks_to_close(request: &[u8]) -> bool {
    let head = String::from_utf8_lossy(request).to_ascii_lowercase();
    head.lines().next().is_none_or(|line| !line.ends_with("http/1.1"))
        || head.lines().any(|line| {
            line.split_once(':').is_some_and(|(name, value)| name == "connection" && value.trim() == "close")
        })
}

fn tls(resumes: bool) -> Result<ServerConfig> {
    let made = rcgen::generate_simple_self_signed(["bench.example".to_owned()])?;
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.map_err(anyhow::Error::msg)?)?;
    if resumes {
        config.session_storage = ServerSessionMemoryCache::new(4096);
        config.ticketer = Ticketer::new()?;
        config.send_tls13_tickets = 1;
    } else {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;
    use std::thread;

    use hc_checkers::{Checkers, CheckersConfig};
    use hc_types::{CheckSpec, HttpProbe, Outcome, ProbeSpec, Target, Timing, Tls};

    use super::*;

    /// A server that serves until its connections are gone, and where it listens.
    fn serve(serves: Serves) -> SocketAddrV4 {
        let (listens, at) = sync_channel(1);
        // It ends with the test's process.
        thread::spawn(move || {
            let mut server = Server::listen(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), serves).unwrap();
            listens.send(net::getsockname(&server.listener).unwrap()).unwrap();
            while server.turn().is_ok() {}
        });
        at.recv().unwrap().try_into().unwrap()
    }

    fn ask(at: SocketAddrV4, pieces: &[&str]) -> String {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        for piece in pieces {
            stream.write_all(piece.as_bytes()).unwrap();
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_request_is_answered_and_the_connection_closed_when_asked() {
        let at = serve(Serves::Http);
        let request = "GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n";
        let answer = ask(at, &[request]);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok\n"), "{answer}");
        let in_pieces = [&request[..9], &request[9..40], &request[40..]];
        assert_eq!(ask(at, &in_pieces), answer);
    }

    #[test]
    fn a_connection_is_used_again() {
        let mut stream = TcpStream::connect(serve(Serves::Http)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        for _ in 0..3 {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: b\r\n\r\n").unwrap();
            let mut answer = [0; ANSWER.len()];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer, ANSWER);
        }
    }

    #[test]
    fn tls_is_answered() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for serves in [Serves::Https, Serves::HttpsResumed] {
            let at = serve(serves);
            let probe = HttpProbe {
                tls: Some(Tls::new(false)),
                expected_codes: [200].into(),
                expected_body: b"ok".to_vec().into(),
                ..HttpProbe::default()
            };
            let target = Target::plain((*at.ip()).into(), at.port());
            let timing = Timing::every(Duration::from_secs(60)).timeout(Duration::from_secs(20));
            let spec = CheckSpec::new(target, ProbeSpec::Http(Box::new(probe)), timing).unwrap();
            let checkers = Checkers::new(CheckersConfig::default());
            let outcome = runtime.block_on(checkers.probe(&Arc::new(spec)));
            assert!(matches!(outcome, Outcome::Pass(_)), "{serves:?}: {outcome:?}");
        }
    }

    #[test]
    fn a_bare_connection_is_closed() {
        assert_eq!(ask(serve(Serves::Tcp), &[]), "");
    }

    #[test]
    fn who_asks_to_close() {
        for (request, closes) in [
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", true),
            ("OPTIONS / HTTP/1.0\r\n\r\n", true),
        ] {
            assert_eq!(asks_to_close(request.as_bytes()), closes, "{request}");
        }
    }
}
