//! The guard with its task, under a paused clock that jumps to the next instant at which anything happens.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hc_pipeline::{Group, GuardConfig, GuardTask, GuardedSink, Reprobe};
use hc_types::{
    CheckId, CheckSpec, Health, Incarnation, ProbeSpec, Progress, Sink, Status, StatusUpdate, Target,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

const SECOND: Duration = Duration::from_secs(1);

/// What reached the sink behind, with the time.
#[derive(Default)]
struct Journal(Mutex<Vec<(String, Instant)>>);

impl Journal {
    fn write(&self, line: String) {
        self.0.lock().unwrap().push((line, Instant::now()));
    }

    fn take(&self) -> Vec<(String, Instant)> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Sink for Journal {
    fn begin(&self, id: CheckId, _: Incarnation, _: &Arc<CheckSpec>) {
        self.write(format!("begin {id}"));
    }

    fn record(&self, updates: &mut Vec<StatusUpdate>) {
        updates.drain(..).for_each(|update| self.write(format!("{} {}", update.id, update.status.health)));
    }

    fn forget(&self, id: CheckId, _: Incarnation) {
        self.write(format!("forget {id}"));
    }

    fn in_effect(&self, generation: Option<u64>, full: bool) {
        self.write(format!("in effect {generation:?} {full}"));
    }
}

/// Hands on what is to be probed, and takes its time.
struct Slow(mpsc::Sender<Vec<CheckId>>, Duration);

impl Reprobe for Slow {
    async fn probe_now(&self, ids: Vec<CheckId>) {
        self.0.send(ids).await.unwrap();
        sleep(self.1).await;
    }
}

fn update(id: u64, health: Health) -> StatusUpdate {
    let target = Target::plain("192.0.2.1".parse().unwrap(), 0);
    let spec = Arc::new(CheckSpec::new(target, ProbeSpec::Icmp, SECOND, SECOND, 0).unwrap());
    let status = Status { health, ..Status::NEW };
    StatusUpdate {
        id: CheckId(id),
        incarnation: Incarnation(1),
        spec,
        status,
        transition: true,
        reportable: true,
        progress: Progress::default(),
    }
}

fn record(sink: &impl Sink, ids: std::ops::RangeInclusive<u64>, health: Health) {
    sink.record(&mut ids.map(|id| update(id, health)).collect());
}

/// Runs `test` beside the task of a guard with 20 healthy checks.
async fn with_guard<F: Future<Output = ()>>(
    arranging: Duration,
    test: impl FnOnce(Arc<GuardedSink<Journal>>, Arc<Journal>, mpsc::Receiver<Vec<CheckId>>) -> F,
) {
    let journal = Arc::new(Journal::default());
    let guarded = Arc::new(GuardedSink::new(GuardConfig::default(), Arc::clone(&journal)));
    let (asked, probes) = mpsc::channel(8);
    let stop = CancellationToken::new();
    let task = GuardTask::new(Arc::clone(&guarded), Slow(asked, arranging));
    (1..=20).for_each(|id| guarded.begin(CheckId(id), Incarnation(1), &update(id, Health::Unknown).spec));
    guarded.in_effect(Some(1), true);
    record(&*guarded, 1..=20, Health::Healthy);
    let lines: Vec<String> = journal.take().into_iter().map(|(line, _)| line).collect();
    assert_eq!((lines.len(), &*lines[0], &*lines[20]), (41, "begin 1", "in effect Some(1) true"));
    tokio::join!(task.run(stop.clone()), async {
        test(guarded, journal, probes).await;
        stop.cancel();
    });
}

#[tokio::test(start_paused = true)]
async fn a_lone_failure_is_told_when_its_window_is_over() {
    with_guard(Duration::ZERO, async |guarded, journal, _probes| {
        sleep(SECOND).await;
        let failed = Instant::now();
        record(&*guarded, 3..=3, Health::Unhealthy);
        assert_eq!((journal.take(), guarded.stats().held), (vec![], 1));
        sleep(4 * SECOND).await;
        let [(line, told)] = &journal.take()[..] else { panic!("not told") };
        assert_eq!(line, "3 unhealthy");
        assert!((2 * SECOND..2 * SECOND + SECOND / 100).contains(&(*told - failed)), "{:?}", *told - failed);
        assert_eq!(guarded.stats(), hc_pipeline::GuardStats::default());
    })
    .await;
}

/// Arranging the probes takes longer here than the longest hold.
#[tokio::test(start_paused = true)]
async fn held_verdicts_are_told_in_time_even_while_a_probe_is_arranged() {
    with_guard(3600 * SECOND, async |guarded, journal, mut probes| {
        let failed = Instant::now();
        record(&*guarded, 1..=20, Health::Unhealthy);
        assert_eq!(guarded.stats().alarms, [Group::All]);
        assert_eq!(timeout(SECOND, probes.recv()).await.unwrap().unwrap().len(), 8);
        sleep(29 * SECOND).await;
        assert_eq!((journal.take(), guarded.stats().held), (vec![], 20));
        sleep(2 * SECOND).await;
        let told = journal.take();
        assert_eq!(told.len(), 20);
        assert!(told.iter().all(|(_, at)| *at - failed < 30 * SECOND + SECOND / 100));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_sample_is_probed_in_rounds_and_then_all_is_told() {
    with_guard(Duration::ZERO, async |guarded, journal, mut probes| {
        record(&*guarded, 1..=20, Health::Unhealthy);
        for _ in 0..3 {
            let sample = timeout(5 * SECOND, probes.recv()).await.unwrap().unwrap();
            assert_eq!(journal.take(), vec![]);
            sample.iter().for_each(|id| record(&*guarded, id.0..=id.0, Health::Unhealthy));
        }
        assert_eq!((journal.take().len(), guarded.stats().held), (20, 0));
        assert!(timeout(60 * SECOND, probes.recv()).await.is_err(), "probed after the end");
        record(&*guarded, 1..=10, Health::Healthy);
        guarded.forget(CheckId(20), Incarnation(1));
        assert_eq!(guarded.stats().alarms, []);
    })
    .await;
}
