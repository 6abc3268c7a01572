//! A backend whose answers change from check to check, as its script says, and not with the clock:
//! so both sides meet the same answers in the same order, however fast they ask.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

/// How long [`Reply::Late`] takes.
pub(super) const LATE: Duration = Duration::from_millis(300);

/// One answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// The expected one.
    Right,
    /// Another one.
    Wrong,
    /// None, and the connection stays open.
    Never,
    /// None, and the connection is closed.
    Closed,
    /// The expected one, after a while.
    Late,
}

/// How the backend is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Http,
    Udp,
}

impl Protocol {
    pub(super) const ALL: [Self; 3] = [Self::Tcp, Self::Http, Self::Udp];

    /// A check of a backend, but for its id, address and periods. What it sends and expects is no
    /// text.
    pub(super) fn check(self) -> Value {
        match self {
            Self::Tcp => json!({"checker_type": "tcp", "receive": crate::case::bytes(RIGHT)}),
            Self::Udp => json!({
                "checker_type": "udp", "send": crate::case::bytes(b"b\x00\xff"), "receive": crate::case::bytes(RIGHT),
            }),
            Self::Http => {
                json!({"checker_type": "http", "path": "/healthz", "expected_codes": [200], "expected_body": "ok"})
            }
        }
    }
}

const RIGHT: &[u8] = b"\x00\xffok";
const WRONG: &[u8] = b"\x00\xffno";

/// The backend. Lives as long as the process.
pub(super) struct Backend {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// When it was asked, and when it had answered, check by check.
    log: Arc<Mutex<Vec<[SystemTime; 2]>>>,
}

impl Backend {
    /// Answers the `n`th check with the `n`th reply, and all further ones with the last.
    pub(super) fn start(protocol: Protocol, replies: &[Reply]) -> io::Result<Self> {
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut play = Play { replies: replies.to_vec(), next: 0, log: Arc::clone(&log), held: Vec::new() };
        let here = (Ipv4Addr::LOCALHOST, 0);
        let address = if protocol == Protocol::Udp {
            let socket = UdpSocket::bind(here)?;
            let address = socket.local_addr()?;
            thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                    play.turn(|reply| {
                        if let Some(answer) = words(reply) {
                            _ = socket.send_to(answer, peer)
                        }
                    });
                }
            });
            address
        } else {
            let listener = TcpListener::bind(here)?;
            let address = listener.local_addr()?;
            thread::spawn(move || {
                while let Ok((stream, _)) = listener.accept() {
                    play.connection(protocol, stream);
                }
            });
            address
        };
        Ok(Self { address, log })
    }

    /// When the `n`th check came, counted from 1, and when it was answered.
    pub(super) fn answered(&self, n: u64) -> Option<[SystemTime; 2]> {
        let index = usize::try_from(n).ok()?.checked_sub(1)?;
        self.log.lock().unwrap_or_else(PoisonError::into_inner).get(index).copied()
    }
}

fn words(reply: Reply) -> Option<&'static [u8]> {
    match reply {
        Reply::Right | Reply::Late => Some(RIGHT),
        Reply::Wrong => Some(WRONG),
        Reply::Never | Reply::Closed => None,
    }
}

struct Play {
    replies: Vec<Reply>,
    next: usize,
    log: Arc<Mutex<Vec<[SystemTime; 2]>>>,
    /// Connections that are neither answered nor closed.
    held: Vec<TcpStream>,
}

impl Play {
    #[allow(clippy::disallowed_methods, reason = "a backend that is slow on purpose")]
    fn turn(&mut self, answer: impl FnOnce(Reply)) -> Reply {
        let asked = SystemTime::now();
        let reply = self.replies[self.next.min(self.replies.len() - 1)];
        self.next += 1;
        if reply == Reply::Late {
            thread::sleep(LATE);
        }
        // Before the answer, so that whoever has it finds the entry.
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push([asked, SystemTime::now()]);
        drop(log);
        answer(reply);
        reply
    }

    fn connection(&mut self, protocol: Protocol, stream: TcpStream) {
        let reply = self.turn(|reply| {
            // A peer that is gone is no error of the backend.
            let _ = if protocol == Protocol::Http {
                answer_http(&stream, reply)
            } else {
                answer_tcp(&stream, reply)
            };
        });
        if reply == Reply::Never {
            self.held.push(stream);
        }
    }
}

fn answer_tcp(mut stream: &TcpStream, reply: Reply) -> io::Result<()> {
    words(reply).map_or(Ok(()), |words| stream.write_all(words))
}

fn answer_http(mut stream: &TcpStream, reply: Reply) -> io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let response = match reply {
        Reply::Right | Reply::Late => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        Reply::Wrong => "HTTP/1.1 500 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno",
        Reply::Never | Reply::Closed => return Ok(()),
    };
    stream.write_all(response.as_bytes())
}
