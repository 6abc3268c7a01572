//! HTTP probes that go over one connection, and servers that end it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "the tasks of a server end with the runtime of their test")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hc_checkers::{Checkers, CheckersConfig};
use hc_testkit::certificate::{Authority, Wish};
use hc_types::ConnectionOrigin::{New, Resumed, Reused};
use hc_types::{
    BodyCondition, CheckSpec, ConnectionOrigin, Failure, HttpConditions, HttpOverrides, HttpProbe,
    HttpRequest, Outcome, ProbeResult, ProbeSpec, RawBytes, Target, Timing, Tls, TlsOptions,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What a server does with one request.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// Sends these, one after the other, and keeps the connection.
    Send(&'static [&'static str]),
    /// Sends this and closes.
    Last(&'static str),
    /// Answers, and closes once it is told to.
    CloseWhenTold,
    /// Answers, and sends this once it is told to.
    SendWhenTold(&'static str),
    /// Closes without an answer.
    Close,
    /// Answers nothing and keeps the connection.
    Hang,
    /// Answers after so many milliseconds.
    After(u64),
}

const ANSWER: Act = Act::Send(&[OK]);

/// By the number of the connection and that of the request on it, from 0 on.
type Script = fn(usize, usize) -> Act;

struct Server {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    script: Script,
    connections: AtomicUsize,
    /// A permit for each connection that has ended.
    ended: Semaphore,
    told: Notify,
    /// A permit for each thing that was done when it was told.
    done: Semaphore,
    requests: Mutex<Vec<String>>,
    /// Restarted: it closes whatever it accepts.
    is_down: AtomicBool,
}

impl Server {
    async fn start(script: Script) -> Self {
        Self::start_with(script, None).await
    }

    async fn start_with(script: Script, acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((HERE, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            script,
            connections: AtomicUsize::new(0),
            ended: Semaphore::new(0),
            told: Notify::new(),
            done: Semaphore::new(0),
            requests: Mutex::default(),
            is_down: AtomicBool::new(false),
        });
        let of_task = Arc::clone(&state);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = of_task.connections.fetch_add(1, SeqCst);
                if of_task.is_down.load(SeqCst) {
                    continue;
                }
                let (state, acceptor) = (Arc::clone(&of_task), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(stream, number, &state).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, number, &state).await;
                            }
                        }
                    }
                    state.ended.add_permits(1);
                });
            }
        });
        Self { address, state }
    }

    fn connections(&self) -> usize {
        self.state.connections.load(SeqCst)
    }

    /// How many requests there were, and what each says of the connection.
    fn asked(&self) -> Vec<String> {
        let requests = self.state.requests.lock().unwrap();
        let of = |request: &String| {
            let line = request.lines().find_map(|line| line.strip_prefix("Connection: "));
            line.unwrap_or("nothing").to_owned()
        };
        requests.iter().map(of).collect()
    }

    /// Waits until so many connections have ended.
    async fn ended(&self, connections: u32) {
        self.state.ended.acquire_many(connections).await.unwrap().forget();
    }
}

/// Until the client or the script closes.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, connection: usize, state: &State) {
    for number in 0.. {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut bytes = [0; 1024];
            match stream.read(&mut bytes).await {
                Ok(length @ 1..) => request.extend_from_slice(&bytes[..length]),
                _ => return,
            }
        }
        state.requests.lock().unwrap().push(String::from_utf8(request).unwrap());
        let mut send = async |text: &str| {
            // A client that has gone is no error here.
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.flush().await;
        };
        match (state.script)(connection, number) {
            Act::Send(parts) => {
                for part in parts {
                    send(part).await;
                    tokio::task::yield_now().await;
                }
            }
            Act::After(milliseconds) => {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                send(OK).await;
            }
            Act::Last(text) => {
                send(text).await;
                return;
            }
            Act::CloseWhenTold => {
                send(OK).await;
                state.told.notified().await;
                drop(stream);
                return state.done.add_permits(1);
            }
            Act::SendWhenTold(text) => {
                send(OK).await;
                state.told.notified().await;
                send(text).await;
                state.done.add_permits(1);
            }
            Act::Close => return,
            Act::Hang => {}
        }
    }
}

fn requesting(reuse: u16) -> Option<Box<HttpOverrides>> {
    let request = Some(Arc::new(HttpRequest { reuse, ..HttpRequest::default() }));
    Some(Box::new(HttpOverrides { request, ..HttpOverrides::default() }))
}

fn probe(reuse: u16) -> HttpProbe {
    HttpProbe { expected_codes: [200].into(), overrides: requesting(reuse), ..HttpProbe::default() }
}

fn spec_within(server: &Server, probe: HttpProbe, timeout: Duration) -> CheckSpec {
    let timing = Timing::every(timeout).timeout(timeout);
    let target = Target::plain(server.address.ip(), server.address.port());
    CheckSpec::new(target, ProbeSpec::Http(Box::new(probe)), timing).unwrap()
}

fn spec(server: &Server, probe: HttpProbe) -> CheckSpec {
    spec_within(server, probe, Duration::from_secs(20))
}

#[track_caller]
fn passed(result: &ProbeResult) -> ConnectionOrigin {
    assert!(matches!(result.outcome, Outcome::Pass(_)), "{result:?}");
    result.evidence.origin
}

async fn origins<const N: usize>(checkers: &Checkers, spec: &CheckSpec) -> [ConnectionOrigin; N] {
    let mut origins = [New; N];
    for origin in &mut origins {
        *origin = passed(&checkers.probe_with_evidence(spec).await);
    }
    origins
}

#[tokio::test]
async fn so_many_probes_go_over_one_connection() {
    let server = Server::start(|_, _| ANSWER).await;
    let checkers = Checkers::default();
    let spec = spec(&server, probe(3));
    assert_eq!(origins(&checkers, &spec).await, [New, Reused, Reused, New, Reused, Reused, New]);
    assert_eq!(server.connections(), 3);
    let [keep, close] = ["keep-alive", "close"];
    assert_eq!(server.asked(), [keep, keep, close, keep, keep, close, keep]);
    // With the prober ends what it has kept, politely.
    drop(checkers);
    server.ended(3).await;
}

#[tokio::test]
async fn nothing_is_kept_without_being_asked_for() {
    let server = Server::start(|_, _| ANSWER).await;
    let mut config = CheckersConfig::default();
    config.max_kept = 0;
    for (checkers, reuse) in [(Checkers::default(), 0), (Checkers::default(), 1), (Checkers::new(config), 9)]
    {
        let spec = spec(&server, probe(reuse));
        assert_eq!(origins(&checkers, &spec).await, [New, New]);
    }
    assert_eq!(server.connections(), 6);
    assert_eq!(server.asked(), ["close", "close", "close", "close", "keep-alive", "keep-alive"]);
    server.ended(6).await;
}

/// What a server answers, and whether its connection can carry another probe.
#[tokio::test]
async fn a_connection_is_kept_when_its_response_is_complete_and_it_may_be() {
    async fn check(script: Script, expected: ConnectionOrigin) {
        let server = Server::start(script).await;
        let checkers = Checkers::default();
        let spec = spec(&server, probe(100));
        let origins: [_; 2] = origins(&checkers, &spec).await;
        assert_eq!(origins, [New, expected], "{:?}", script(0, 0));
    }
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n";
    for script in [
        (|_, _| ANSWER) as Script,
        |_, _| Act::Send(&["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]),
        |_, _| Act::Send(&["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "o", "k"]),
        |_, _| Act::Send(&["HTTP/1.1 103 Early Hints\r\n\r\n", OK]),
        |_, _| Act::Send(&[CHUNKED, "0\r\n", "\r\n"]),
        |_, _| Act::Send(&["HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n"]),
    ] {
        check(script, Reused).await;
    }
    for script in [
        // It says so.
        (|_, _| Act::Send(&["HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"])) as Script,
        |_, _| Act::Send(&["HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 0\r\n\r\n"]),
        // It does not know how.
        |_, _| Act::Send(&["HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"]),
        // The end is that of the connection.
        |_, _| Act::Last("HTTP/1.1 200 OK\r\n\r\nok"),
        // The rest of the body does not come, or too late.
        |_, _| Act::Send(&["HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok"]),
        |_, _| Act::Send(&[CHUNKED]),
        |_, _| Act::Send(&[CHUNKED, "0\r\n"]),
        // More comes than was asked for.
        |_, _| Act::Send(&["HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nok"]),
        |_, _| Act::Send(&[CHUNKED, "0\r\nTrailer: x\r\n\r\n"]),
        // It closes.
        |_, _| Act::Last("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ] {
        check(script, New).await;
    }
}

#[tokio::test]
async fn a_body_that_is_judged_is_read_to_its_end() {
    const LONG: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok";
    let server = Server::start(|_, _| Act::Send(&[LONG, "345", "67890"])).await;
    let begins = HttpProbe { expected_body: "ok".into(), ..probe(100) };
    let conditions =
        HttpConditions { body: [BodyCondition::Contains("ok".into())].into(), ..HttpConditions::default() };
    let contains = HttpProbe { conditions: Some(Arc::new(conditions)), ..probe(100) };
    for probe in [begins, contains] {
        let checkers = Checkers::default();
        assert_eq!(origins(&checkers, &spec(&server, probe)).await, [New, Reused, Reused]);
    }
}

#[tokio::test]
async fn a_kept_connection_that_ends_or_speaks_is_closed_at_once() {
    for script in [(|_, _| Act::CloseWhenTold) as Script, |_, _| {
        Act::SendWhenTold("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
    }] {
        let server = Server::start(script).await;
        let checkers = Checkers::default();
        let spec = spec(&server, probe(100));
        assert_eq!(origins(&checkers, &spec).await, [New]);
        server.state.told.notify_one();
        // Our side is closed without another probe.
        server.ended(1).await;
        assert_eq!(origins(&checkers, &spec).await, [New]);
        assert_eq!((server.connections(), server.asked().len()), (2, 2));
    }
}

/// What came just before the probe is not taken for its answer.
#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_none() {
    let server = Server::start(|connection, _| match connection {
        0 => Act::SendWhenTold(OK),
        _ => Act::Last("HTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n"),
    })
    .await;
    let checkers = Checkers::default();
    let spec = spec(&server, probe(100));
    assert_eq!(origins(&checkers, &spec).await, [New]);
    server.state.told.notify_one();
    server.state.done.acquire().await.unwrap().forget();
    let result = checkers.probe_with_evidence(&spec).await;
    assert!(matches!(result.outcome, Outcome::Fail(Failure::Status { .. })), "{result:?}");
    assert_eq!(result.evidence.origin, New);
}

#[tokio::test]
async fn a_failure_over_a_kept_connection_is_repeated_over_a_new_one() {
    for script in [
        // It closes when it is asked again, half an answer later, or says that it is over.
        (|_, number| if number == 1 { Act::Close } else { ANSWER }) as Script,
        |_, number| if number == 1 { Act::Last("HTTP/1.1 20") } else { ANSWER },
        |_, number| if number == 1 { Act::Last("HTTP/1.1 408 Request Timeout\r\n\r\n") } else { ANSWER },
        |_, number| if number == 1 { Act::Send(&["what?\n"]) } else { ANSWER },
        // Of many workers the one that has this connection fails.
        |_, number| {
            if number == 1 { Act::Send(&["HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"]) } else { ANSWER }
        },
    ] {
        let server = Server::start(script).await;
        let checkers = Checkers::default();
        let spec = spec(&server, probe(100));
        assert_eq!(origins(&checkers, &spec).await, [New, New, New], "{:?}", script(0, 1));
        assert_eq!(server.connections(), 3);
    }
}

#[tokio::test]
async fn a_failure_over_a_new_connection_is_the_result() {
    let server = Server::start(|connection, number| match (connection, number) {
        (0, 0) => ANSWER,
        _ => Act::Send(&["HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"]),
    })
    .await;
    let checkers = Checkers::default();
    let spec = spec(&server, probe(100));
    assert_eq!(origins(&checkers, &spec).await, [New]);
    for connections in [2, 3] {
        let result = checkers.probe_with_evidence(&spec).await;
        assert!(matches!(result.outcome, Outcome::Fail(Failure::Status { .. })), "{result:?}");
        assert_eq!((result.evidence.origin, server.connections()), (New, connections));
    }
    server.ended(3).await;
}

#[tokio::test]
async fn a_listener_that_is_gone_is_seen_by_the_next_new_connection() {
    let server = Server::start(|_, _| ANSWER).await;
    let checkers = Checkers::default();
    let spec = spec(&server, probe(3));
    assert_eq!(origins(&checkers, &spec).await, [New, Reused]);
    server.state.is_down.store(true, SeqCst);
    assert_eq!(origins(&checkers, &spec).await, [Reused]);
    let result = checkers.probe_with_evidence(&spec).await;
    assert!(matches!(result.outcome, Outcome::Fail(_)), "{result:?}");
}

/// The server has forgotten the connection without a word, as behind a firewall.
#[tokio::test]
async fn a_silent_kept_connection_has_a_new_one_beside_it() {
    let server = Server::start(|connection, number| match (connection, number) {
        (0, 1) => Act::Hang,
        _ => ANSWER,
    })
    .await;
    let checkers = Checkers::default();
    let spec = spec_within(&server, probe(100), Duration::from_secs(2));
    assert_eq!(origins(&checkers, &spec).await, [New]);
    let begun = Instant::now();
    assert_eq!(origins(&checkers, &spec).await, [New]);
    assert!(begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());
    assert_eq!(server.connections(), 2);
    assert_eq!(origins(&checkers, &spec).await, [Reused], "the new one is kept");
}

/// One that is only slow is not given up for the new one.
#[tokio::test]
async fn a_slow_answer_over_a_kept_connection_counts() {
    let server = Server::start(|connection, number| match (connection, number) {
        (0, 0) => ANSWER,
        (0, _) => Act::After(1000),
        _ => Act::Hang,
    })
    .await;
    let checkers = Checkers::default();
    let spec = spec_within(&server, probe(100), Duration::from_secs(3));
    assert_eq!(origins(&checkers, &spec).await, [New, Reused]);
    assert_eq!(server.connections(), 2, "there was one beside it");
}

#[tokio::test]
async fn both_silent_is_a_timeout() {
    let server = Server::start(|connection, _| if connection == 0 { ANSWER } else { Act::Hang }).await;
    let checkers = Checkers::default();
    let spec = spec_within(&server, probe(2), Duration::from_millis(400));
    assert_eq!(origins(&checkers, &spec).await, [New, Reused]);
    let result = checkers.probe_with_evidence(&spec).await;
    assert!(matches!(result.outcome, Outcome::Fail(Failure::Timeout { .. })), "{result:?}");
}

#[tokio::test]
async fn each_check_has_its_own_and_the_oldest_makes_room() {
    let server = Server::start(|_, _| ANSWER).await;
    let mut config = CheckersConfig::default();
    config.max_kept = 2;
    let checkers = Checkers::new(config);
    let to = |path: &str| spec(&server, HttpProbe { request_target: path.into(), ..probe(100) });
    let [one, two, three] = ["/1", "/2", "/3"].map(to);
    assert_eq!(origins(&checkers, &one).await, [New, Reused]);
    assert_eq!(origins(&checkers, &two).await, [New, Reused]);
    assert_eq!(origins(&checkers, &one).await, [Reused]);
    assert_eq!(origins(&checkers, &three).await, [New]);
    // The second one was not used for the longest time.
    server.ended(1).await;
    assert_eq!(origins(&checkers, &one).await, [Reused]);
    assert_eq!(origins(&checkers, &two).await, [New]);
}

#[tokio::test]
async fn over_tls_too_with_its_warnings() {
    let authority = Authority::new("root", 2000, 2100).unwrap();
    let identity = authority.sign(&Wish::valid_for(["127.0.0.1"])).unwrap();
    let acceptor = || Some(TlsAcceptor::from(identity.server_config().unwrap()));
    let mut options = TlsOptions::default();
    options.roots = Some([RawBytes::from(authority.certificate().as_ref())].into());
    (options.warn_days_left, options.resume) = (Some(36_500), 100);
    let tls = Some(Tls { options: Some(Arc::new(options)), ..Tls::new(true) });
    let server = Server::start_with(|_, _| Act::Send(&[OK]), acceptor()).await;
    let checkers = Checkers::default();
    let https = spec(&server, HttpProbe { tls: tls.clone(), ..probe(3) });
    for origin in [New, Reused, Reused, Resumed, Reused] {
        let result = checkers.probe_with_evidence(&https).await;
        assert_eq!(passed(&result), origin);
        let Outcome::Pass(pass) = &result.outcome else { unreachable!() };
        assert!(pass.warning().is_some_and(|warning| warning.contains("certificate ends")), "{pass:?}");
    }
    assert_eq!(server.connections(), 2);
    drop(checkers);
    server.ended(2).await;

    // Without options, and with a body that comes later.
    let server = Server::start_with(
        |_, _| Act::Send(&["HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", "ok", "ok"]),
        acceptor(),
    )
    .await;
    let checkers = Checkers::default();
    let https = spec(&server, HttpProbe { tls: Some(Tls::new(false)), ..probe(100) });
    assert_eq!(origins(&checkers, &https).await, [New, Reused, Reused]);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_kept_tls_session_that_ends_is_closed_and_its_race_is_no_failure() {
    let authority = Authority::new("root", 2000, 2100).unwrap();
    let identity = authority.sign(&Wish::valid_for(["127.0.0.1"])).unwrap();
    let acceptor = || Some(TlsAcceptor::from(identity.server_config().unwrap()));
    let probe = || HttpProbe { tls: Some(Tls::new(false)), ..probe(100) };
    let server = Server::start_with(|_, _| Act::CloseWhenTold, acceptor()).await;
    let checkers = Checkers::default();
    let https = spec(&server, probe());
    assert_eq!(origins(&checkers, &https).await, [New]);
    server.state.told.notify_one();
    server.ended(1).await;
    assert_eq!(origins(&checkers, &https).await, [New]);

    let server =
        Server::start_with(|_, number| if number == 1 { Act::Close } else { ANSWER }, acceptor()).await;
    let https = spec(&server, probe());
    assert_eq!(origins(&checkers, &https).await, [New, New, New]);
}

#[tokio::test]
async fn a_probe_that_is_dropped_keeps_nothing() {
    let server = Server::start(|_, number| if number == 1 { Act::Hang } else { ANSWER }).await;
    let checkers = Checkers::default();
    let spec = spec(&server, probe(100));
    assert_eq!(origins(&checkers, &spec).await, [New]);
    {
        let probe = std::pin::pin!(checkers.probe_with_evidence(&spec));
        let asked = async {
            while server.asked().len() < 2 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            result = probe => panic!("{result:?}"),
            () = asked => {}
        }
    }
    server.ended(1).await;
    assert_eq!(origins(&checkers, &spec).await, [New]);
}
