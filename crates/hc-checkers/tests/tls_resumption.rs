//! TLS sessions that are resumed: what a probe then still sees of certificates, and servers that
//! refuse.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hc_checkers::{Checkers, CheckersConfig, Roots, TlsSessions};
use hc_testkit::certificate::{Authority, Identity, Wish};
use hc_types::ConnectionOrigin::{New, Resumed};
use hc_types::{
    CheckSpec, ConnectionOrigin, Failure, HttpProbe, Outcome, ProbeResult, ProbeSpec, RawBytes, Target,
    TcpProbe, Timing, Tls, TlsOptions, TlsVersion,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A server over TLS that answers each request with 200, or with 503 while it is `down`.
struct Server {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    config: Mutex<Arc<ServerConfig>>,
    down: AtomicBool,
    /// It closes connections whose client offers a session.
    aborts: AtomicBool,
    connections: AtomicUsize,
}

impl Server {
    fn start(config: ServerConfig) -> Self {
        let listener = TcpListener::bind((HERE, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            config: Mutex::new(Arc::new(config)),
            down: AtomicBool::new(false),
            aborts: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
        });
        let of_thread = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that leaves early is no error here.
                let _ = serve(stream.unwrap(), &of_thread);
            }
        });
        Self { address, state }
    }

    fn use_config(&self, config: ServerConfig) {
        *self.state.config.lock().unwrap() = Arc::new(config);
    }

    fn connections(&self) -> usize {
        self.state.connections.load(SeqCst)
    }
}

fn serve(mut stream: TcpStream, state: &State) -> std::io::Result<()> {
    state.connections.fetch_add(1, SeqCst);
    if state.aborts.load(SeqCst) && offers_session(&stream) {
        return Ok(());
    }
    let config = Arc::clone(&state.config.lock().unwrap());
    let mut session = rustls::ServerConnection::new(config).unwrap();
    let mut tls = rustls::Stream::new(&mut session, &mut stream);
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if tls.read(&mut byte)? == 0 {
            return Ok(());
        }
        request.push(byte[0]);
    }
    let status = if state.down.load(SeqCst) { "503 Down" } else { "200 OK" };
    write!(tls, "HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")?;
    tls.conn.send_close_notify();
    tls.flush()
}

/// Whether a ClientHello has the extension pre_shared_key (RFC 8446 section 4.2.11).
fn offers_session(stream: &TcpStream) -> bool {
    let mut hello = [0; 4096];
    let mut length = 0;
    // All of the record.
    while length < 5 || length < 5 + usize::from(u16::from_be_bytes([hello[3], hello[4]])) {
        length = stream.peek(&mut hello).unwrap();
    }
    let hello = &hello[5 + 4 + 2 + 32..length];
    let hello = &hello[1 + usize::from(hello[0])..];
    let hello = &hello[2 + usize::from(u16::from_be_bytes([hello[0], hello[1]]))..];
    let mut extensions = &hello[1 + usize::from(hello[0]) + 2..];
    while let [a, b, c, d, rest @ ..] = extensions {
        if u16::from_be_bytes([*a, *b]) == 41 {
            return true;
        }
        extensions = &rest[usize::from(u16::from_be_bytes([*c, *d]))..];
    }
    false
}

fn config(identity: &Identity) -> ServerConfig {
    let mut config = ServerConfig::clone(&identity.server_config().unwrap());
    config.ticketer = Ticketer::new().unwrap();
    config
}

fn tls(authority: &Authority, set: impl Fn(&mut TlsOptions)) -> Tls {
    let mut options = TlsOptions::default();
    options.roots = Some([RawBytes::from(authority.certificate().as_ref())].into());
    set(&mut options);
    Tls { options: Some(Arc::new(options)), ..Tls::new(true) }
}

fn spec(server: &Server, tls: &Tls) -> CheckSpec {
    let http = HttpProbe { tls: Some(tls.clone()), expected_codes: [200].into(), ..HttpProbe::default() };
    of(server, ProbeSpec::Http(Box::new(http)))
}

fn of(server: &Server, probe: ProbeSpec) -> CheckSpec {
    let timing = Timing::every(Duration::from_secs(20)).timeout(Duration::from_secs(20));
    let target = Target::plain(server.address.ip(), server.address.port());
    CheckSpec::new(target, probe, timing).unwrap()
}

fn here(authority: &Authority) -> Identity {
    authority.sign(&Wish::valid_for(["127.0.0.1"])).unwrap()
}

fn checkers() -> Checkers {
    let mut config = CheckersConfig::default();
    config.roots = Roots::none();
    Checkers::new(config)
}

#[track_caller]
fn passed(result: &ProbeResult) -> ConnectionOrigin {
    assert!(matches!(result.outcome, Outcome::Pass(_)), "{result:?}");
    result.evidence.origin
}

#[track_caller]
fn failed(result: &ProbeResult) -> (&Failure, ConnectionOrigin) {
    let Outcome::Fail(failure) = &result.outcome else { panic!("{result:?}") };
    (failure, result.evidence.origin)
}

#[tokio::test]
async fn of_so_many_handshakes_one_is_full() {
    let authority = Authority::new("root", 2000, 2100).unwrap();
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let identity = here(&authority);
        let identity = if version == TlsVersion::V1_2 { identity.only_tls12() } else { identity };
        let server = Server::start(config(&identity));
        let checkers = checkers();
        let spec = spec(&server, &tls(&authority, |options| options.resume = 3));
        let mut origins = Vec::new();
        for _ in 0..7 {
            origins.push(passed(&checkers.probe_with_evidence(&spec).await));
        }
        assert_eq!(origins, [New, Resumed, Resumed, New, Resumed, Resumed, New], "{version:?}");
    }
}

#[tokio::test]
async fn nothing_is_resumed_without_being_asked_for() {
    let authority = Authority::new("root", 2000, 2100).unwrap();
    let server = Server::start(config(&here(&authority)));
    let sessions = TlsSessions::default();
    let mut config = CheckersConfig::default();
    config.tls_sessions = sessions.clone();
    let checkers = Checkers::new(config);
    for resume in [0, 1] {
        let spec = spec(&server, &tls(&authority, |options| options.resume = resume));
        for _ in 0..3 {
            assert_eq!(passed(&checkers.probe_with_evidence(&spec).await), New);
        }
        assert!(sessions.is_empty());
    }
}

#[tokio::test]
async fn another_certificate_is_seen_after_so_many_handshakes_and_then_with_each() {
    let [trusted, other] = ["root", "other"].map(|name| Authority::new(name, 2000, 2100).unwrap());
    let first = config(&here(&trusted));
    let mut second = config(&here(&other));
    // The tickets of one are good for the other, as in a pool of servers.
    second.ticketer = Arc::clone(&first.ticketer);
    let server = Server::start(first);
    let checkers = checkers();
    let spec = spec(&server, &tls(&trusted, |options| options.resume = 3));
    assert_eq!(passed(&checkers.probe_with_evidence(&spec).await), New);
    server.use_config(second);
    assert_eq!(passed(&checkers.probe_with_evidence(&spec).await), Resumed);
    assert_eq!(passed(&checkers.probe_with_evidence(&spec).await), Resumed);
    for _ in 0..2 {
        let result = checkers.probe_with_evidence(&spec).await;
        assert!(matches!(failed(&result), (Failure::Tls(_), New)), "{result:?}");
    }
}

#[tokio::test]
async fn a_server_that_has_forgotten_shakes_hands_in_full() {
    let authority = Authority::new("root", 2000, 2100).unwrap();
    let identity = here(&authority);
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let identity =
            if version == TlsVersion::V1_2 { here(&authority).only_tls12() } else { here(&authority) };
        let server = Server::start(config(&identity));
        let checkers = checkers();
        let spec = spec(&server, &tls(&authority, |options| options.resume = 100));
        assert_eq!(passed(&checkers.probe_with_evidence(&spec).await), New);
        assert_eq!(passed(&checkers.probe_with_evidence(&spec).await), Resumed);
        // Restarted: with other keys for its tickets.
        server.use_config(config(&identity));
        assert_eq!(passed(&checkers.probe_with_evidence(&spec).await), New);
        assert_eq!(passed(&checkers.probe_with_evidence(&spec).await), Resumed);
        assert_eq!(server.connections(), 4, "{version:?}: it went on in full");
    }
    // And with another version.
    let server = Server::start(config(&identity));
    let checkers = checkers();
    let spec = spec(&server, &tls(&authority, |options| options.resume = 100));
    assert_eq!(passed(&checkers.probe_with_evidence(&spec).await), New);
    server.use_config(config(&here(&authority).only_tls12()));
    assert_eq!(passed(&checkers.probe_with_evidence(&spec).await), New);
    assert_eq!(passed(&checkers.probe_with_evidence(&spec).await), Resumed);
}

#[tokio::test]
async fn a_server_that_cannot_cope_with_a_ticket_is_asked_again_without() {
    let authority = Authority::new("root", 2000, 2100).unwrap();
    let server = Server::start(config(&here(&authority)));
    let checkers = checkers();
    let spec = spec(&server, &tls(&authority, |options| options.resume = 100));
    assert_eq!(passed(&checkers.probe_with_evidence(&spec).await), New);
    server.state.aborts.store(true, SeqCst);
    assert_eq!(passed(&checkers.probe_with_evidence(&spec).await), New);
    assert_eq!(server.connections(), 3, "one was aborted");
}

#[tokio::test]
async fn a_probe_after_one_that_failed_makes_a_full_handshake() {
    let authority = Authority::new("root", 2000, 2100).unwrap();
    let server = Server::start(config(&here(&authority)));
    let checkers = checkers();
    let spec = spec(&server, &tls(&authority, |options| options.resume = 100));
    assert_eq!(passed(&checkers.probe_with_evidence(&spec).await), New);
    server.state.down.store(true, SeqCst);
    let result = checkers.probe_with_evidence(&spec).await;
    assert!(matches!(failed(&result), (Failure::Status { .. }, Resumed)), "{result:?}");
    let result = checkers.probe_with_evidence(&spec).await;
    assert!(matches!(failed(&result), (Failure::Status { .. }, New)), "{result:?}");
    server.state.down.store(false, SeqCst);
    assert_eq!(passed(&checkers.probe_with_evidence(&spec).await), New);
    assert_eq!(passed(&checkers.probe_with_evidence(&spec).await), Resumed);
}

#[tokio::test]
async fn warnings_of_dates_go_on() {
    let authority = Authority::new("root", 2000, 2100).unwrap();
    let server = Server::start(config(&here(&authority)));
    let checkers = checkers();
    let spec = spec(
        &server,
        &tls(&authority, |options| {
            (options.resume, options.warn_days_left) = (100, Some(36_500));
        }),
    );
    for origin in [New, Resumed, Resumed] {
        let result = checkers.probe_with_evidence(&spec).await;
        assert_eq!(passed(&result), origin);
        let Outcome::Pass(pass) = &result.outcome else { unreachable!() };
        assert!(pass.warning().is_some_and(|warning| warning.contains("certificate ends")), "{pass:?}");
    }
}

#[tokio::test]
async fn checks_that_verify_in_other_ways_share_no_session() {
    let [trusted, other] = ["root", "other"].map(|name| Authority::new(name, 2000, 2100).unwrap());
    let server = Server::start(config(&here(&trusted)));
    let checkers = checkers();
    let resume = |options: &mut TlsOptions| options.resume = 100;
    let mut unverified = TlsOptions::default();
    unverified.resume = 100;
    let unverified = Tls { options: Some(Arc::new(unverified)), ..Tls::new(false) };
    let good = spec(&server, &tls(&trusted, resume));
    let bad = spec(&server, &tls(&other, resume));
    let named = spec(
        &server,
        &tls(&trusted, |options| {
            (options.resume, options.verify_name) = (100, Some("other.example".into()));
        }),
    );
    for spec in [&spec(&server, &unverified), &good] {
        assert_eq!(passed(&checkers.probe_with_evidence(spec).await), New);
        assert_eq!(passed(&checkers.probe_with_evidence(spec).await), Resumed);
    }
    for spec in [&bad, &named] {
        let result = checkers.probe_with_evidence(spec).await;
        assert!(matches!(failed(&result), (Failure::Tls(_), New)), "{result:?}");
    }
    assert_eq!(passed(&checkers.probe_with_evidence(&good).await), Resumed);
}

#[tokio::test]
async fn a_tcp_check_that_reads_resumes_too() {
    let authority = Authority::new("root", 2000, 2100).unwrap();
    let server = Server::start(config(&here(&authority)));
    let checkers = checkers();
    let probe = TcpProbe {
        send: "GET / HTTP/1.1\r\n\r\n".into(),
        receive: "HTTP/1.1 200".into(),
        tls: Some(tls(&authority, |options| options.resume = 2)),
    };
    let spec = of(&server, ProbeSpec::Tcp(probe));
    for origin in [New, Resumed, New] {
        assert_eq!(passed(&checkers.probe_with_evidence(&spec).await), origin);
    }
}
