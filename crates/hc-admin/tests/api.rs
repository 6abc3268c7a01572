//! The API over real sockets, with a reader that is a few vectors.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that fails may panic, and its tasks end with its runtime"
)]

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use hc_admin::{Action, ActionError, Actions, Admin, BoxFuture, Caller, Connections, MetricsFormat, Reader};
use hc_api::{
    CheckDetail, CheckState, Filter, Overview, Page, PageOf, Position, Readiness, Transition, Transitions,
};
use hc_types::{CheckId, CheckSpec, Health, ProbeSpec, Status, Target, Timing};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const EPOCH: u64 = 77;

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

struct Shown {
    checks: Vec<CheckState>,
    reasons: Mutex<Vec<String>>,
    journal: Mutex<Vec<Transition>>,
    length: watch::Sender<u64>,
}

impl Shown {
    fn new() -> Arc<Self> {
        let second = Duration::from_secs(1);
        let spec = CheckSpec::new(
            Target::plain([192, 0, 2, 1].into(), 0),
            ProbeSpec::Icmp,
            Timing::every(second).timeout(second),
        )
        .unwrap();
        let check = |id: u64| {
            let health = if id == 3 { Health::Unhealthy } else { Health::Healthy };
            let name = format!("web/{id}");
            CheckState::new(CheckId(id), &spec, &Status { health, ..Status::NEW }).with_name(Some(&name))
        };
        Arc::new(Self {
            checks: (1..=250).map(check).collect(),
            reasons: Mutex::default(),
            journal: Mutex::default(),
            length: watch::Sender::new(0),
        })
    }

    fn happen(&self, times: u64) {
        let mut journal = self.journal.lock().unwrap();
        for _ in 0..times {
            let sequence = journal.len() as u64 + 1;
            journal.push(Transition::new(sequence, UNIX_EPOCH, Health::Healthy, &self.checks[2]));
        }
        self.length.send_replace(journal.len() as u64);
    }
}

impl Reader for Shown {
    fn readiness(&self) -> Readiness {
        Readiness::new(self.reasons.lock().unwrap().clone())
    }

    fn overview(&self) -> Overview {
        let readiness = self.readiness();
        Overview::new(
            "n",
            "1.2.3",
            UNIX_EPOCH,
            hc_types::Counts { healthy: 249, unhealthy: 1, unknown: 0, held: 0, warned: 0 }.into(),
            readiness,
            Vec::new(),
        )
    }

    fn page(&self, filter: &Filter, page: &PageOf) -> Page {
        let behind =
            |check: &&CheckState| page.after.is_none_or(|after| check.id.parse::<u64>().unwrap() > after);
        let mut checks: Vec<CheckState> =
            self.checks.iter().filter(behind).filter(|check| filter.takes(check)).cloned().collect();
        let more = checks.len() > page.limit.get();
        checks.truncate(page.limit.get());
        let next = checks.last().filter(|_| more).map(|check| check.id.parse().unwrap());
        Page::new(checks, next)
    }

    fn rows(&self, of: &hc_api::RowsOf) -> hc_api::Rows {
        let behind = |id: &u64| *id > of.after.unwrap_or_default();
        let mut ids: Vec<u64> = (1..=250).filter(behind).collect();
        let next = (ids.len() > of.limit.get()).then(|| of.after.unwrap_or_default() + of.limit.get() as u64);
        ids.truncate(of.limit.get());
        let second = Duration::from_secs(1);
        let target = Target::plain([192, 0, 2, 1].into(), 0);
        let spec = CheckSpec::new(target, ProbeSpec::Icmp, Timing::every(second).timeout(second)).unwrap();
        let mut writer = hc_api::RowsWriter::new(self.position());
        ids.iter().for_each(|id| writer.push(CheckId(*id), &spec, &Status::NEW, &hc_api::RowOf::default()));
        writer.end(next)
    }

    fn check(&self, id_or_name: &str) -> Option<CheckDetail> {
        let found = self.checks.iter().find(|check| check.id == id_or_name || check.title() == id_or_name)?;
        Some(CheckDetail::new(found.clone(), Vec::new()))
    }

    fn overrides(&self) -> hc_api::Overrides {
        hc_api::Overrides::default()
    }

    fn position(&self) -> Position {
        Position { epoch: EPOCH, sequence: *self.length.borrow() }
    }

    fn transitions(&self, after: Position, limit: usize) -> Transitions {
        let journal = self.journal.lock().unwrap();
        let length = journal.len() as u64;
        if after.epoch != EPOCH || after.sequence > length {
            return Transitions::new(true, Position { epoch: EPOCH, sequence: length }, Vec::new());
        }
        let part: Vec<_> = journal
            .iter()
            .filter(|transition| transition.sequence > after.sequence)
            .take(limit)
            .cloned()
            .collect();
        let sequence = after.sequence + part.len() as u64;
        Transitions::new(false, Position { epoch: EPOCH, sequence }, part)
    }

    fn grown(&self, sequence: u64) -> BoxFuture<'_, ()> {
        let mut length = self.length.subscribe();
        Box::pin(async move {
            let _ = length.wait_for(|length| *length > sequence).await;
        })
    }

    fn metrics(&self, format: MetricsFormat) -> String {
        match format {
            MetricsFormat::Prometheus => "a 1\n".to_owned(),
            MetricsFormat::OpenMetrics => "a 1\n# EOF\n".to_owned(),
        }
    }
}

#[derive(Default)]
struct Done(Mutex<Vec<(Action, u32)>>);

impl Actions for Done {
    fn act(&self, action: Action, caller: Caller) -> BoxFuture<'_, Result<String, ActionError>> {
        Box::pin(async move {
            if action == (Action::Probe { check: "none".to_owned() }) {
                return Err(ActionError::NotFound("no check none".to_owned()));
            }
            self.0.lock().unwrap().push((action, caller.uid));
            Ok("done".to_owned())
        })
    }
}

struct Tcp(TcpListener, Option<Caller>);

impl Connections for Tcp {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, Option<Caller>)> {
        Ok((self.0.accept().await?.0, self.1))
    }
}

struct Api {
    shown: Arc<Shown>,
    done: Arc<Done>,
    address: SocketAddr,
    shutdown: CancellationToken,
}

impl Api {
    /// For everybody, or for somebody who may change things.
    async fn start(caller: Option<Caller>, limit: usize) -> Self {
        let (shown, done, shutdown) = (Shown::new(), Arc::new(Done::default()), CancellationToken::new());
        let admin = Admin::new(shown.clone(), done.clone(), shutdown.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { admin.serve(Tcp(listener, caller), limit).await });
        Self { shown, done, address, shutdown }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Status and body.
    async fn send(&self, head: &str, body: &[u8]) -> (u16, String) {
        let mut stream = self.connect().await;
        stream
            .write_all(
                format!("{head}\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len())
                    .as_bytes(),
            )
            .await
            .unwrap();
        // The other end may answer and close before it has read all of it.
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
        (status, body)
    }

    /// The head of the answer in lower case, and the length of its body.
    async fn head_of(&self, path: &str, fields: &str) -> (String, usize) {
        let mut stream = self.connect().await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{fields}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        (String::from_utf8_lossy(&answer[..end]).to_lowercase(), answer.len() - end - 4)
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.send(&format!("GET {path} HTTP/1.1"), b"").await
    }

    async fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    async fn check(&self, head: &str, status: u16, text: &str) {
        let (got, body) = self.send(head, b"").await;
        assert_eq!((got, body.contains(text)), (status, true), "{head}: {body}");
    }
}

const ROOT: Option<Caller> = Some(Caller { uid: 0, pid: None });

#[tokio::test]
async fn what_is_shown() {
    let api = Api::start(None, 100).await;
    assert_eq!(api.get("/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(api.get("/readyz").await, (200, "ok\n".to_owned()));
    *api.shown.reasons.lock().unwrap() = vec!["no checks yet".to_owned(), "shard 1 hangs".to_owned()];
    assert_eq!(api.get("/readyz").await, (503, "no checks yet\nshard 1 hangs\n".to_owned()));
    assert_eq!(api.json("/api/v1/status").await["checks"]["unhealthy"], 1);
    assert_eq!(api.json("/api/v1/checks/web%2F3").await["id"], "3");
    assert_eq!(api.json("/api/v1/checks?health=unhealthy").await["checks"].as_array().unwrap().len(), 1);
    assert_eq!(api.get("/metrics").await.1, "a 1\n");
    let accepts =
        "GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    assert_eq!(api.send(accepts, b"").await.1, "a 1\n# EOF\n");
    assert_eq!(api.json("/api/v1/openapi.json").await["openapi"], "3.1.0");
}

#[tokio::test]
async fn pages_hold_every_check_once() {
    let api = Api::start(None, 100).await;
    let mut ids = Vec::new();
    let mut path = "/api/v1/checks?limit=99".to_owned();
    loop {
        let page = api.json(&path).await;
        ids.extend(
            page["checks"].as_array().unwrap().iter().map(|check| check["id"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/checks?limit=99&after={next}");
    }
    assert_eq!(ids, (1..=250).map(|id: u64| id.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn rows_come_in_columns() {
    let api = Api::start(None, 100).await;
    let first = api.json("/api/v1/rows?limit=200").await;
    assert_eq!((&first["position"], &first["next"]), (&"77-0".into(), &"200".into()));
    let rest = api.json("/api/v1/rows?limit=200&after=200").await;
    assert_eq!((rest["id"][0].as_str(), rest["id"].as_array().unwrap().len()), (Some("201"), 50));
    assert_eq!(rest.get("next"), None);
    let word = usize::try_from(rest["health"][0].as_u64().unwrap()).unwrap();
    assert_eq!(rest["words"][word], "unknown");
    let (plain, all) = api.head_of("/api/v1/rows", "").await;
    let (packed, less) = api.head_of("/api/v1/rows", "Accept-Encoding: gzip\r\n").await;
    assert!(!plain.contains("content-encoding") && packed.contains("content-encoding: gzip"), "{packed}");
    assert!(less * 3 < all, "{less} of {all} bytes");
    api.check("GET /api/v1/rows?q=x HTTP/1.1", 400, "there are id, after and limit").await;
}

#[tokio::test]
async fn the_page_comes_with_a_strict_policy_and_is_not_sent_twice() {
    let api = Api::start(None, 100).await;
    let (head, length) = api.head_of("/?q=x", "").await;
    assert!(length > 1000 && head.starts_with("http/1.1 200"), "{head}");
    for field in [
        "content-type: text/html; charset=utf-8",
        "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; ",
        "require-trusted-types-for 'script'",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cache-control: no-cache",
    ] {
        assert!(head.contains(field), "{field}: {head}");
    }
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    for (known, status) in [(tag, "304"), ("\"0\"", "200"), (&format!("W/{tag}, \"0\""), "304")] {
        let (head, length) = api.head_of("/", &format!("If-None-Match: {known}\r\n")).await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{known}: {head}");
        assert_eq!(length == 0, status == "304");
    }
    let (head, less) = api.head_of("/page/style.css", "Accept-Encoding: br, gzip\r\n").await;
    let (_, all) = api.head_of("/page/style.css", "").await;
    assert!(head.contains("content-encoding: gzip") && less * 2 < all, "{less} of {all}: {head}");
    api.check("GET /page/nothing.js HTTP/1.1", 404, "no such path").await;
    api.check("POST / HTTP/1.1", 404, "no such path").await;
}

#[tokio::test]
async fn bad_requests_are_answered_with_words() {
    let api = Api::start(None, 100).await;
    for (head, status, text) in [
        ("GET /nowhere HTTP/1.1", 404, "no such path: /nowhere"),
        ("GET /../etc/passwd HTTP/1.1", 404, "no such path"),
        ("GET /%2e%2e/etc/passwd HTTP/1.1", 404, "no such path"),
        ("GET /api/v1/checks/%2e%2e%2fetc%2fpasswd HTTP/1.1", 404, "no check with the id or name"),
        ("GET /api/v1/checks/none HTTP/1.1", 404, "no check with the id or name"),
        ("GET /api/v1/checks?helth=up HTTP/1.1", 400, "helth: not known"),
        ("GET /api/v1/transitions?after=x HTTP/1.1", 400, "EPOCH-SEQUENCE"),
        ("DELETE /livez HTTP/1.1", 405, "this path takes GET"),
        // Nothing is changed over TCP.
        ("POST /api/v1/reload HTTP/1.1", 404, "no such path"),
        ("POST /api/v1/checks/1/probe HTTP/1.1", 404, "no such path"),
    ] {
        api.check(head, status, text).await;
    }
    let long = format!("GET /livez HTTP/1.1\r\nX: {}", "x".repeat(1024 * 1024));
    // Refused, or cut off while the rest was still on its way.
    assert!(matches!(api.send(&long, b"").await.0, 431 | 0));
    let long = format!("GET /{} HTTP/1.1", "x".repeat(1024 * 1024));
    assert!(matches!(api.send(&long, b"").await.0, 414 | 431 | 0));
    assert_eq!(api.get("/livez").await.0, 200);
}

#[tokio::test]
async fn who_may_changes_things() {
    let api = Api::start(ROOT, 100).await;
    api.check("POST /api/v1/checks/web%2F1/probe HTTP/1.1", 200, "done").await;
    api.check("POST /api/v1/checks/none/probe HTTP/1.1", 404, "no check none").await;
    api.check("POST /api/v1/reload HTTP/1.1", 200, "done").await;
    api.check("GET /api/v1/reload HTTP/1.1", 405, "this path takes POST").await;
    let level = |body: &'static [u8]| api.send("POST /api/v1/log-level HTTP/1.1", body);
    assert_eq!(level(br#"{"level":"debug"}"#).await.0, 200);
    assert_eq!(level(br#"{"levle":"debug"}"#).await.0, 400);
    assert_eq!(level(b"").await.0, 400);
    let done: Vec<Action> = api.done.0.lock().unwrap().iter().map(|(action, _)| action.clone()).collect();
    assert_eq!(
        done,
        [
            Action::Probe { check: "web/1".to_owned() },
            Action::Reload,
            Action::LogLevel { level: "debug".to_owned() }
        ]
    );
    let (status, _) = api.send("POST /api/v1/reload HTTP/1.1", &vec![b'x'; 10 * 1024 * 1024]).await;
    // Refused, or cut off while the rest was still on its way.
    assert!(matches!(status, 413 | 0), "{status}");
    assert_eq!(api.done.0.lock().unwrap().len(), 3);
}

/// Reads events until `enough` holds of what came.
async fn read_events(stream: &mut TcpStream, enough: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    let mut piece = [0; 4096];
    while !enough(&text) {
        let length = tokio::time::timeout(PATIENCE, stream.read(&mut piece)).await.unwrap().unwrap();
        assert!(length > 0, "ended: {text}");
        text.push_str(std::str::from_utf8(&piece[..length]).unwrap());
    }
    text
}

#[tokio::test]
async fn events_come_as_they_happen_and_go_on_where_they_were() {
    let api = Api::start(None, 100).await;
    api.shown.happen(2);
    let mut stream = api.connect().await;
    stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    read_events(&mut stream, |text| text.contains("retry:")).await;
    api.shown.happen(1);
    let text = read_events(&mut stream, |text| text.contains("data:")).await;
    assert!(text.contains("event: transition\nid: 77-3\ndata: {\"sequence\":3,"), "{text}");
    drop(stream);

    // Back after a while, and after a restart of the checker.
    api.shown.happen(1000);
    for (id, first, resync) in
        [("77-3", "id: 77-4\n", false), ("76-3", "id: 77-1003\n", true), ("x", "id: 77-1003\n", true)]
    {
        let mut stream = api.connect().await;
        let head = format!("GET /api/v1/events HTTP/1.1\r\nHost: h\r\nLast-Event-ID: {id}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let text = read_events(&mut stream, |text| text.contains("id: 77-1003\n")).await;
        assert_eq!(text.contains("event: resync"), resync, "{id}");
        assert!(text.contains(first), "{id}: {text}");
    }
    api.shutdown.cancel();
}

#[tokio::test]
async fn a_reader_of_events_that_never_reads_costs_little_and_hinders_nobody() {
    let api = Api::start(None, 100).await;
    let mut stream = api.connect().await;
    stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    for _ in 0..100 {
        api.shown.happen(1000);
        assert_eq!(api.get("/livez").await.0, 200);
    }
}

#[tokio::test]
async fn idle_connections_lock_nobody_out() {
    let api = Api::start(None, 8).await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        let mut stream = api.connect().await;
        stream.write_all(b"GET /liv").await.unwrap();
        idle.push(stream);
    }
    assert_eq!(api.get("/livez").await.0, 200);
    // The first have been cut off.
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, idle[0].read_to_end(&mut rest)).await.unwrap();
}
