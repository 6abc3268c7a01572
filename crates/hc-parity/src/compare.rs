//! Runs the cases on both sides, and holds what came of them together.

use std::collections::VecDeque;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use hc_checkers::{Checkers, CheckersConfig, Roots};
use hc_types::Outcome;
use hc_wire::parse_check;
use tokio::runtime::{Builder, Runtime};

use crate::case::Case;
use crate::exceptions::Exceptions;
use crate::seesaw::{PARALLEL, Seesaw};
use crate::serve::{Request, Running};

/// Something in which the sides differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The name of the case.
    pub(crate) case: String,
    /// For people: family, texts of both sides.
    pub(crate) told: String,
    /// What Seesaw did: a verdict, or a request.
    pub(crate) seesaw: Deed,
    /// What we did.
    pub(crate) ours: Deed,
}

/// What one side did: a verdict and its text, or a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deed {
    /// The verdict, or the request.
    pub(crate) word: String,
    /// The text of a verdict.
    pub(crate) text: String,
}

impl Deed {
    fn new(word: impl Into<String>, text: impl Into<String>) -> Self {
        Self { word: word.into(), text: text.into() }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: Seesaw {}, we {}\n    {}", self.case, self.seesaw.word, self.ours.word, self.told)
    }
}

/// Where both sides meet.
pub(crate) struct Arena {
    seesaw: Seesaw,
    roots: Roots,
    next: AtomicU64,
    passed: AtomicU64,
}

impl Arena {
    pub(crate) fn new(seesaw: Seesaw, roots: Roots) -> Self {
        Self { seesaw, roots, next: AtomicU64::new(1), passed: AtomicU64::new(0) }
    }

    /// Runs all cases, many at once, and returns every difference, and how many cases passed on
    /// both sides.
    ///
    /// # Errors
    /// When a case cannot be run.
    pub(crate) fn run(self, cases: Vec<Case>) -> Result<(Vec<Difference>, u64)> {
        // Seesaw's ping hears every ICMP packet of the host, those of other cases included, and
        // takes a longer one before its reply for a wrong checksum.
        let (pings, others): (Vec<_>, Vec<_>) = cases.into_iter().partition(|case| case.kind() == "icmp");
        let us = Arc::new(self);
        let mut differences = us.run_some(others, PARALLEL)?;
        differences.extend(us.run_some(pings, 1)?);
        differences.sort_by(|a, b| a.case.cmp(&b.case));
        Ok((differences, us.passed.load(Ordering::Relaxed)))
    }

    fn run_some(self: &Arc<Self>, cases: Vec<Case>, parallel: usize) -> Result<Vec<Difference>> {
        let queue = Arc::new(Mutex::new(VecDeque::from(cases)));
        let workers: Vec<_> = (0..parallel)
            .map(|_| {
                let (us, queue) = (Arc::clone(self), Arc::clone(&queue));
                thread::spawn(move || us.work(&queue))
            })
            .collect();
        // All of them, so that no server outlives us.
        let ended: Vec<_> = workers.into_iter().map(thread::JoinHandle::join).collect();
        let mut differences = Vec::new();
        for worker in ended {
            differences.extend(worker.map_err(|_| anyhow!("a worker panicked"))??);
        }
        Ok(differences)
    }

    fn work(&self, queue: &Mutex<VecDeque<Case>>) -> Result<Vec<Difference>> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let mut config = CheckersConfig::default();
        config.roots = self.roots.clone();
        let checkers = Checkers::new(config);
        let mut differences = Vec::new();
        loop {
            let Some(case) = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front() else {
                return Ok(differences);
            };
            differences.extend(self.compare(&case, &runtime, &checkers).with_context(|| case.to_string())?);
        }
    }

    fn compare(&self, case: &Case, runtime: &Runtime, checkers: &Checkers) -> Result<Vec<Difference>> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let server = case.server.start(case.family).context("cannot start the server")?;
        let address = server.address();
        let line = case.line(n, address.ip(), address.port());
        let (seesaw, seesaw_text) = self.seesaw.run(n, &line, case.timeout)?.verdict()?;
        let from = server.requests().len();
        let line = if case.kind() == "http" { self.seesaw.convert(n, &line)? } else { line };
        let (ours, our_text) = ours(&line, runtime, checkers);
        if (seesaw, ours) == ("pass", "pass") {
            self.passed.fetch_add(1, Ordering::Relaxed);
        }
        let told = format!("{case}\n    Seesaw: {seesaw_text}\n    we: {our_text}\n    {line}");
        let mut differences = Vec::new();
        if seesaw != ours {
            differences.push(Difference {
                case: case.name.clone(),
                told: told.clone(),
                seesaw: Deed::new(seesaw, &seesaw_text),
                ours: Deed::new(ours, &our_text),
            });
        }
        let (their_request, our_request) = requests(case, &server, from);
        if their_request != our_request {
            let (seesaw, ours) = (Deed::new(their_request, ""), Deed::new(our_request, ""));
            differences.push(Difference { case: case.name.clone(), told, seesaw, ours });
        }
        Ok(differences)
    }
}

fn ours(line: &str, runtime: &Runtime, checkers: &Checkers) -> (&'static str, String) {
    let spec = match parse_check(line) {
        Ok(line) => line.spec,
        Err(rejection) => return ("refused", rejection.reason),
    };
    let probe = AssertUnwindSafe(|| runtime.block_on(checkers.probe(&spec)));
    let Ok(outcome) = std::panic::catch_unwind(probe) else { return ("panic", "see above".to_owned()) };
    let word = match &outcome {
        Outcome::Pass(_) => "pass",
        Outcome::Fail(_) => "fail",
        Outcome::Inconclusive(_) => "held",
    };
    (word, spec.text(&outcome))
}

/// What Seesaw sent, which came first, and what we sent, in words that can be compared.
fn requests(case: &Case, server: &Running, from: usize) -> (String, String) {
    let mut theirs = server.requests();
    let ours = theirs.split_off(from.min(theirs.len()));
    match case.kind() {
        "http" => (http_words(&theirs), http_words(&ours)),
        "dns" => (dns_words(&theirs), dns_words(&ours)),
        "udp" => (byte_words(&theirs), byte_words(&ours)),
        // A bare connect of ours is reset before it is accepted, and how much of a request is read
        // depends on the script.
        _ => (String::new(), String::new()),
    }
}

/// The part of an HTTP request on which backends decide. What was not read to its end says nothing.
fn http_words(requests: &[Request]) -> String {
    let mut words = Vec::new();
    for request in requests {
        let text = String::from_utf8_lossy(&request.bytes);
        let Some(head) = text.strip_suffix("\r\n\r\n") else { continue };
        let mut lines = head.split("\r\n");
        words.extend(lines.next().map(str::to_owned));
        let told = ["host:", "content-length:", "authorization:", "proxy-authorization:"];
        words.extend(
            lines
                .filter(|line| told.iter().any(|name| line.to_ascii_lowercase().starts_with(name)))
                .map(str::to_owned),
        );
        words.extend(request.server_name.as_ref().map(|name| format!("SNI {name}")));
    }
    words.join("; ")
}

/// Queries but for their ids.
fn dns_words(requests: &[Request]) -> String {
    let words: Vec<String> =
        requests.iter().map(|query| hc_types::quote(query.bytes.get(2..).unwrap_or_default())).collect();
    words.join("; ")
}

fn byte_words(requests: &[Request]) -> String {
    let words: Vec<String> = requests.iter().map(|request| hc_types::quote(&request.bytes)).collect();
    words.join("; ")
}

/// What came of a run.
pub(crate) struct Report {
    unlisted: Vec<Difference>,
    unseen: Vec<String>,
    seen: Vec<(String, usize)>,
}

impl Report {
    /// Holds the differences against the list. Only a run of all cases can say that an exception
    /// was not seen.
    pub(crate) fn new(differences: Vec<Difference>, exceptions: &Exceptions, all: bool) -> Self {
        let counts = exceptions.count(&differences);
        Self {
            unlisted: differences
                .into_iter()
                .filter(|difference| exceptions.find(difference).is_none())
                .collect(),
            unseen: counts.iter().filter(|(_, count)| all && *count == 0).map(|(id, _)| id.clone()).collect(),
            seen: counts.into_iter().filter(|(_, count)| *count > 0).collect(),
        }
    }

    pub(crate) fn is_good(&self) -> bool {
        self.unlisted.is_empty() && self.unseen.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for difference in &self.unlisted {
            writeln!(f, "NOT LISTED {difference}")?;
        }
        for id in &self.unseen {
            writeln!(f, "NOT SEEN {id}, though it is listed")?;
        }
        let seen: Vec<String> = self.seen.iter().map(|(id, count)| format!("{id} {count}")).collect();
        write!(f, "{} differences are not listed; exceptions seen: {}", self.unlisted.len(), seen.join(", "))
    }
}
