//! A queue and an exporter, with collectors that misbehave.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use hc_otlp::{Exporter, Sampling, Service, Stats, Tracer, Transport, TransportError, queue};
use hc_types::{
    CheckId, CheckSpec, Evidence, Failure, Health, Incarnation, Metadata, Observer as _, Outcome, PhaseTimes,
    ProbeSpec, Progress, Status, StatusUpdate, Target, TcpProbe, Timing,
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

type Answer = Result<Vec<u8>, TransportError>;

fn busy(retry_after: Option<Duration>) -> Answer {
    Err(TransportError { problem: "503".to_owned(), may_pass_later: true, retry_after })
}

/// Gives these answers, then takes everything. It takes its time for each.
#[derive(Clone, Default)]
struct Collector {
    state: Arc<Mutex<(VecDeque<Answer>, Vec<usize>)>>,
    delay: Duration,
}

impl Collector {
    fn answering(answers: impl IntoIterator<Item = Answer>) -> Self {
        let collector = Self::default();
        collector.state.lock().unwrap().0.extend(answers);
        collector
    }

    /// The sizes of the requests that came.
    fn requests(&self) -> Vec<usize> {
        self.state.lock().unwrap().1.clone()
    }
}

impl Transport for Collector {
    async fn send(&self, request: Vec<u8>) -> Answer {
        self.state.lock().unwrap().1.push(request.len());
        sleep(self.delay).await;
        self.state.lock().unwrap().0.pop_front().unwrap_or_else(|| Ok(Vec::new()))
    }
}

fn update(id: u64, outcome: Outcome) -> StatusUpdate {
    let second = Duration::from_secs(1);
    let target = Target::plain([192, 0, 2, 1].into(), 80);
    let timing = Timing::every(second).timeout(second);
    let spec = CheckSpec::new(target, ProbeSpec::Tcp(TcpProbe::default()), timing).unwrap();
    let now = SystemTime::UNIX_EPOCH + second;
    let status = Status {
        health: Health::Healthy,
        last_check: Some(now),
        duration: Duration::from_millis(1),
        outcome: Some(outcome),
        ..Status::NEW
    };
    StatusUpdate {
        id: CheckId(id),
        incarnation: Incarnation(0),
        spec: Arc::new(spec),
        status,
        transition: false,
        reportable: true,
        progress: Progress { last_probe: Some(now), next_due: Some(now), ..Progress::default() },
        evidence: Evidence {
            phases: PhaseTimes { connect: 700, ..PhaseTimes::default() },
            ..Evidence::default()
        },
    }
}

fn probes(tracer: &Tracer, ids: impl IntoIterator<Item = u64>) {
    let updates: Vec<_> = ids.into_iter().map(|id| update(id, Outcome::Fail(Failure::Refused))).collect();
    tracer.updates(&updates);
}

/// What is left at the end has so long.
const GRACE: Duration = Duration::from_secs(2);

struct Rig {
    tracer: Tracer,
    collector: Collector,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

#[allow(clippy::disallowed_methods, reason = "the handle is kept")]
fn rig_of(collector: Collector) -> Rig {
    let (tracer, spans) = queue(Sampling::ratio(1.0), Box::new(|_| None));
    let stop = CancellationToken::new();
    let service = Service { version: "1".into(), host: "h".into() };
    let exporter = Exporter::new(spans, service, collector.clone());
    let task = tokio::spawn(exporter.run(stop.clone(), GRACE));
    Rig { tracer, collector, stop, task }
}

fn rig(answers: impl IntoIterator<Item = Answer>) -> Rig {
    rig_of(Collector::answering(answers))
}

fn stats(exported: u64, dropped: u64, rejected: u64) -> Stats {
    Stats { exported, dropped, rejected }
}

#[test]
fn what_the_queue_cannot_hold_is_dropped_and_counted() {
    let (tracer, spans) = queue(Sampling::ratio(1.0), Box::new(|_| None));
    probes(&tracer, 0..5000);
    assert_eq!(tracer.stats(), stats(0, 5000 - 4096, 0));
    drop(spans);
    probes(&tracer, 0..1);
    assert_eq!(tracer.stats().dropped, 5000 - 4096 + 1);
}

#[test]
fn only_sampled_checks_and_only_probes_are_queued() {
    let metadata = |id: CheckId| {
        let name = (id.0 == 7).then(|| "seven".into());
        Some(Arc::new(Metadata { name, ..Metadata::default() }))
    };
    let chosen = |metadata: Option<&Metadata>| metadata.is_some_and(|known| known.name.is_some());
    let (tracer, spans) = queue(Sampling::ratio(0.0).and(chosen), Box::new(metadata));
    probes(&tracer, 0..10);
    let mut restored = update(7, Outcome::PASS);
    restored.progress.next_due = None;
    tracer.updates(&[restored]);
    assert_eq!(spans.waiting(), 1);
}

#[tokio::test(start_paused = true)]
async fn spans_go_together_and_a_full_batch_at_once() {
    let Rig { tracer, collector, stop, task } = rig([]);
    let begun = Instant::now();
    probes(&tracer, 0..600);
    while tracer.stats().exported < 512 {
        sleep(Duration::from_millis(1)).await;
    }
    assert!(begun.elapsed() < Duration::from_millis(100));
    while tracer.stats().exported < 600 {
        sleep(Duration::from_millis(1)).await;
    }
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(collector.requests().len(), 2);
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_for_a_collector_that_is_away() {
    let asked = Duration::from_secs(200);
    let Rig { tracer, collector, stop, task } = rig([busy(None), busy(None), busy(Some(asked))]);
    let begun = Instant::now();
    probes(&tracer, 0..1);
    while tracer.stats().exported == 0 {
        sleep(Duration::from_millis(10)).await;
    }
    // A second for company, then pauses of 1 s, 2 s, and what it asked for.
    assert_eq!(begun.elapsed().as_secs(), 1 + 1 + 2 + 200);
    let requests = collector.requests();
    assert!(requests.len() == 4 && requests.iter().all(|size| *size == requests[0]), "{requests:?}");
    stop.cancel();
    task.await.unwrap();
    assert_eq!(tracer.stats(), stats(1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_collector_refuses_is_counted() {
    let partial = vec![0x0a, 0x02, 0x08, 0x03];
    let never = TransportError { problem: "400".to_owned(), may_pass_later: false, retry_after: None };
    let Rig { tracer, stop, task, .. } = rig([Ok(partial), Err(never)]);
    for expected in [stats(7, 0, 3), stats(7, 0, 13), stats(17, 0, 13)] {
        probes(&tracer, 0..10);
        while tracer.stats() != expected {
            sleep(Duration::from_millis(10)).await;
        }
    }
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn at_the_end_the_rest_is_sent_once() {
    let Rig { tracer, collector, stop, task } = rig([]);
    probes(&tracer, 0..1000);
    stop.cancel();
    task.await.unwrap();
    assert_eq!((tracer.stats(), collector.requests().len()), (stats(1000, 0, 0), 2));

    let Rig { tracer, stop, task, .. } = rig([busy(None), busy(None)]);
    probes(&tracer, 0..1000);
    stop.cancel();
    task.await.unwrap();
    assert_eq!(tracer.stats(), stats(0, 1000, 0));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_under_way_at_the_end_is_not_sent_anew() {
    for (delay, expected) in [(GRACE / 2, stats(1, 0, 0)), (GRACE * 2, stats(0, 1, 0))] {
        let Rig { tracer, collector, stop, task } = rig_of(Collector { delay, ..Collector::default() });
        probes(&tracer, 0..1);
        while collector.requests().is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
        let begun = Instant::now();
        stop.cancel();
        task.await.unwrap();
        assert_eq!((tracer.stats(), collector.requests().len()), (expected, 1));
        assert!(begun.elapsed() <= GRACE, "{:?}", begun.elapsed());
    }
}
