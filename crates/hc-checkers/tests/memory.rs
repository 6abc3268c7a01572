//! Backends that make probes hold much, beside others that are healthy.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use hc_checkers::{Checkers, CheckersConfig, ProbeMemory};
use hc_testkit::outcome::as_told;
use hc_types::{CheckSpec, Failure, HttpProbe, LocalFault, Outcome, Pass, Phase, ProbeSpec, Target, Timing};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};

const KIB: usize = 1024;

/// Backends of one test, and the limit for its probes.
struct Rig {
    servers: JoinSet<()>,
    checkers: Checkers,
    memory: ProbeMemory,
    /// What lets backends go on that wait.
    go: watch::Sender<bool>,
}

impl Rig {
    fn new(limit: usize) -> Self {
        let memory = ProbeMemory::new(limit);
        let mut config = CheckersConfig::default();
        config.memory = memory.clone();
        Self { servers: JoinSet::new(), checkers: Checkers::new(config), memory, go: watch::channel(false).0 }
    }

    /// A backend that answers each request with `first`, and with `rest` once it may go on. Then it
    /// hangs, or closes.
    async fn backend(&mut self, first: Vec<u8>, rest: Vec<u8>, closes: bool) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (first, rest) = (Arc::new(first), Arc::new(rest));
        let go = self.go.subscribe();
        self.servers.spawn_local(async move {
            let mut open = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let (first, rest, mut go) = (Arc::clone(&first), Arc::clone(&rest), go.clone());
                open.spawn_local(async move {
                    let _ = stream.read(&mut [0; 1024]).await;
                    // A probe that has had enough closes.
                    let _ = stream.write_all(&first).await;
                    if !rest.is_empty() {
                        let _ = go.wait_for(|go| *go).await;
                        let _ = stream.write_all(&rest).await;
                    }
                    if !closes {
                        // Until the probe closes.
                        let _ = stream.read(&mut [0; 1]).await;
                    }
                });
            }
        });
        address
    }

    fn probe(
        &self,
        address: SocketAddr,
        body: &[u8],
        timeout: Duration,
    ) -> impl Future<Output = Outcome> + use<> {
        let probe =
            HttpProbe { expected_codes: [200].into(), expected_body: body.into(), ..HttpProbe::default() };
        let target = Target::plain(address.ip(), address.port());
        let hour = Duration::from_secs(3600);
        let spec =
            CheckSpec::new(target, ProbeSpec::Http(Box::new(probe)), Timing::every(hour).timeout(timeout))
                .unwrap();
        let checkers = self.checkers.clone();
        async move { checkers.probe(&spec).await }
    }

    /// Waits until the probes hold this much, or did.
    async fn until_most_used(&self, bytes: usize) {
        let reached = async {
            while self.memory.most_used() < bytes {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reached).await.unwrap();
    }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

/// A head with a field of so many bytes, without its end.
fn head(length: usize) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: {}", "x".repeat(length)).into_bytes()
}

const END: &[u8] = b"\r\n\r\nok";

#[test]
fn backends_that_hang_behind_a_long_head_time_out_within_the_limit() {
    const LIMIT: usize = 1024 * KIB;
    let (outcomes, healthy, memory) = run(async {
        let mut rig = Rig::new(LIMIT);
        let hanging = rig.backend(head(250 * KIB), Vec::new(), false).await;
        let long = rig.backend([&head(60 * KIB), END].concat(), Vec::new(), false).await;
        let mut probes = JoinSet::new();
        for _ in 0..60 {
            probes.spawn_local(rig.probe(hanging, b"", Duration::from_secs(3)));
        }
        rig.until_most_used(LIMIT * 3 / 4).await;
        // Beside them, and longer than what many of them hold by now.
        let mut healthy = Vec::new();
        for _ in 0..20 {
            healthy.push(rig.probe(long, b"ok", Duration::from_secs(20)).await);
        }
        (probes.join_all().await, healthy, rig.memory)
    });
    for outcome in outcomes {
        assert_eq!(as_told(outcome), Failure::timeout(Phase::Response).into());
    }
    for outcome in healthy {
        assert_eq!(outcome, Outcome::from(Pass::http(200, "200 OK")));
    }
    assert!(memory.most_used() <= LIMIT, "{}", memory.most_used());
    assert_eq!(memory.used(), 0);
}

/// What is found when nothing may be held, of a backend that says `first` and, when that has come,
/// `rest`.
fn without_memory(first: Vec<u8>, rest: &[u8], closes: bool, body: &[u8]) -> Outcome {
    let outcome = run(async {
        let mut rig = Rig::new(0);
        let backend = rig.backend(first, rest.to_vec(), closes).await;
        let timeout =
            if rest.is_empty() && !closes { Duration::from_millis(300) } else { Duration::from_secs(20) };
        let probe = rig.probe(backend, body, timeout);
        let ((), outcome) = tokio::join!(
            async {
                // Long enough for the probe to have read what came first; it does not matter if it
                // has not.
                for _ in 0..200 {
                    tokio::task::yield_now().await;
                }
                rig.go.send_replace(true);
            },
            probe
        );
        outcome
    });
    as_told(outcome)
}

#[test]
fn a_probe_whose_memory_was_taken_judges_what_it_can() {
    let long = || head(20 * KIB);
    // Nothing more comes, or the head does not end: whatever was held, it would have timed out.
    assert_eq!(without_memory(long(), b"", false, b""), Failure::timeout(Phase::Response).into());
    let outcome = without_memory(long(), b"more", true, b"");
    let Outcome::Fail(Failure::Closed { heard: Some(heard) }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(heard.length, long().len() as u64 + 4);
    assert_eq!(heard.first.as_slice(), &long()[..64]);
    let endless = "x".repeat(300 * KIB).into_bytes();
    let outcome = without_memory(long(), &endless, false, b"");
    assert!(matches!(outcome, Outcome::Fail(Failure::MalformedReply(_))), "{outcome:?}");
    // The head ends: it may have been right.
    assert_eq!(without_memory(long(), END, false, b""), LocalFault::ProbeMemory.into());
    assert_eq!(without_memory(long(), b"\n \n", false, b""), LocalFault::ProbeMemory.into());
    let ends_in_line_end = [&long()[..], b"\r\n"].concat();
    assert_eq!(without_memory(ends_in_line_end, b"\r\n", false, b""), LocalFault::ProbeMemory.into());
}

#[test]
fn a_body_that_is_not_held_is_no_verdict_unless_nothing_more_comes() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(&[b'x'; 10_000]).unwrap();
    let body = encoder.finish().unwrap();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", body.len());
    let first = [head.as_bytes(), &body[..5000]].concat();
    let expected = [b'x'; 10_000];
    assert_eq!(
        without_memory(first.clone(), b"", false, &expected),
        Failure::timeout(Phase::Response).into()
    );
    assert_eq!(
        without_memory(first.clone(), &body[5000..], false, &expected),
        LocalFault::ProbeMemory.into()
    );
    assert_eq!(without_memory(first, b"", true, &expected), LocalFault::ProbeMemory.into());
}

#[test]
fn short_answers_are_judged_whatever_is_held_by_others() {
    let answer = [&head(3 * KIB), END].concat();
    assert_eq!(without_memory(answer, b"", false, b"ok"), Outcome::from(Pass::http(200, "200 OK")));
}
