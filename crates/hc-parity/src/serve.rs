//! The servers of the cases.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use hc_testkit::backend::Backend;
use hc_testkit::certificate::Identity;
use hc_testkit::datagram::DatagramServer;
use hc_testkit::dns::{DnsServer, DnsTransport};
use hc_testkit::icmp::{EchoReply, EchoRequest, EchoServer};
use hc_testkit::openssl::OpensslServer;
use hc_testkit::port::{ClosedPort, FullPort};
use hc_testkit::script::Step;

use crate::case::Family;

/// What a UDP server makes of a datagram.
pub(crate) type Replies = Arc<dyn Fn(&[u8]) -> Vec<Vec<u8>> + Send + Sync>;
/// What a DNS server makes of a query.
pub(crate) type Answers = Arc<dyn Fn(DnsTransport, &[u8]) -> Vec<Vec<u8>> + Send + Sync>;
/// What a host makes of a ping.
pub(crate) type Echoes = fn(&EchoRequest) -> Vec<EchoReply>;

/// How many addresses there are for hosts that answer pings in their own way.
pub(crate) const ECHO_HOSTS: u16 = 64;

/// What is checked.
#[derive(Clone)]
pub(crate) enum Server {
    /// Plays a script on every connection.
    Tcp(Vec<Step>),
    /// The same inside TLS.
    Tls(Arc<Identity>, Vec<Step>),
    /// Answers datagrams.
    Datagrams(Replies),
    /// Answers DNS queries over UDP and TCP.
    Dns(Answers),
    /// Refuses TCP connections.
    Refusing,
    /// Is not there for datagrams: ICMP says so.
    RefusingDatagrams,
    /// Neither accepts nor refuses.
    Full,
    /// An address of nobody, and a port.
    Elsewhere(fn(Family) -> IpAddr, u16),
    /// Answers pings.
    Echo(Echoes),
    /// `openssl s_server` with these arguments.
    Openssl(Arc<[String]>),
    /// A program that names its address as `s_server` does, and its arguments.
    Program(String, Arc<[String]>),
}

/// A server while its case runs.
pub(crate) enum Running {
    Tcp(Backend),
    Datagrams(DatagramServer),
    Dns(DnsServer),
    Refusing(ClosedPort),
    RefusingDatagrams { address: SocketAddr, _held: UdpSocket },
    Full(FullPort),
    Elsewhere(SocketAddr),
    Openssl(OpensslServer),
}

/// What came to a server in one exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    /// The bytes.
    pub(crate) bytes: Vec<u8>,
    /// The name in TLS.
    pub(crate) server_name: Option<String>,
}

impl Server {
    /// Answers datagrams as `replies` says.
    pub(crate) fn datagrams(replies: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self::Datagrams(Arc::new(replies))
    }

    /// Starts on a port of its own.
    pub(crate) fn start(&self, family: Family) -> io::Result<Running> {
        let ip = family.loopback();
        Ok(match self {
            Self::Tcp(steps) => Running::Tcp(Backend::start(ip, steps.clone())?),
            Self::Tls(identity, steps) => Running::Tcp(Backend::start_tls(ip, identity, steps.clone())?),
            Self::Datagrams(replies) => {
                let replies = Arc::clone(replies);
                Running::Datagrams(DatagramServer::start(ip, move |packet| replies(packet))?)
            }
            Self::Dns(answers) => {
                let answers = Arc::clone(answers);
                Running::Dns(DnsServer::both(ip, move |transport, query| answers(transport, query))?)
            }
            Self::Refusing => Running::Refusing(ClosedPort::reserve(ip)?),
            Self::RefusingDatagrams => {
                // Bound, so that nobody else gets the port, and connected to another peer, so that
                // what comes is refused.
                let socket = UdpSocket::bind((ip, 0))?;
                socket.connect((ip, 9))?;
                Running::RefusingDatagrams { address: socket.local_addr()?, _held: socket }
            }
            Self::Full => Running::Full(FullPort::start(ip)?),
            Self::Elsewhere(address, port) => Running::Elsewhere(SocketAddr::new(address(family), *port)),
            Self::Openssl(arguments) => Running::Openssl(OpensslServer::start(ip, arguments)?),
            Self::Program(program, arguments) => {
                let mut command = Command::new(program);
                command.args(&**arguments);
                Running::Openssl(OpensslServer::of(command, "ACCEPT ")?)
            }
            Self::Echo(echoes) => {
                let host = next_echo_host(family);
                let echoes = *echoes;
                // Lives as long as the process; nobody else has its address.
                EchoServer::start(host, move |request| Some(echoes(request)))?;
                Running::Elsewhere(SocketAddr::new(host, 0))
            }
        })
    }
}

/// The address of the `n`th host that answers pings.
pub(crate) fn echo_host(family: Family, n: u16) -> IpAddr {
    match family {
        Family::V4 => [127, 1, 0, n.to_be_bytes()[1]].into(),
        Family::V6 => [0xfd00, 0, 0, 0, 0, 0, 0, n].into(),
    }
}

fn next_echo_host(family: Family) -> IpAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    echo_host(family, NEXT.fetch_add(1, Ordering::Relaxed) % ECHO_HOSTS)
}

impl Running {
    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Tcp(backend) => backend.address(),
            Self::Datagrams(server) => server.address(),
            Self::Dns(server) => server.address(),
            Self::Refusing(port) => port.address(),
            Self::RefusingDatagrams { address, .. } | Self::Elsewhere(address) => *address,
            Self::Full(port) => port.address(),
            Self::Openssl(server) => server.address(),
        }
    }

    /// What has come so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        match self {
            Self::Tcp(backend) => backend
                .seen()
                .into_iter()
                .map(|seen| Request { bytes: seen.received, server_name: seen.server_name })
                .collect(),
            Self::Datagrams(server) => server.seen().into_iter().map(Request::from).collect(),
            Self::Dns(server) => server.seen().into_iter().map(Request::from).collect(),
            _ => Vec::new(),
        }
    }
}

impl From<Vec<u8>> for Request {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, server_name: None }
    }
}

/// A script that drips bytes.
pub(crate) fn drip(bytes: impl AsRef<[u8]>, pause: Duration) -> Step {
    Step::Drip { bytes: bytes.as_ref().into(), pause_ms: pause.as_millis().try_into().unwrap_or(u64::MAX) }
}

/// A script that writes bytes.
pub(crate) fn send(bytes: impl AsRef<[u8]>) -> Step {
    Step::send(bytes)
}
