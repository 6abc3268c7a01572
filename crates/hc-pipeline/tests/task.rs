//! The pipeline with its task, under a paused clock that jumps to the next instant at which
//! anything happens.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hc_pipeline::{Effects, Guard, GuardConfig, Pipeline, PipelineTask, Reprobe, Stage};
use hc_types::{
    CheckId, CheckSpec, Evidence, Health, Incarnation, Observer, ProbeSpec, Progress, Sink, Status,
    StatusUpdate, Target, Timing,
};
use hc_view::{Outlet, Report, Reported, Slot, View, ViewConfig};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

const SECOND: Duration = Duration::from_secs(1);

/// What reached an outlet, with the time. Slots are those of the ids, since they begin in this
/// order.
#[derive(Default)]
struct Journal(Mutex<Vec<(String, Instant)>>);

impl Journal {
    fn write(&self, line: String) {
        self.0.lock().unwrap().push((line, Instant::now()));
    }

    fn take(&self) -> Vec<(String, Instant)> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    fn lines(&self) -> Vec<String> {
        self.take().into_iter().map(|(line, _)| line).collect()
    }
}

impl Outlet for Journal {
    fn begin(&self, Slot(slot): Slot, _: CheckId) {
        self.write(format!("begin {}", slot + 1));
    }

    fn reported(&self, reports: &[Report]) {
        for Report { slot: Slot(slot), transition, .. } in reports {
            self.write(format!("{} {}", slot + 1, if *transition { "transition" } else { "status" }));
        }
    }

    fn forget(&self, Slot(slot): Slot, _: CheckId) {
        self.write(format!("forget {}", slot + 1));
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
    let spec =
        Arc::new(CheckSpec::new(target, ProbeSpec::Icmp, Timing::every(SECOND).timeout(SECOND)).unwrap());
    let status = Status { health, ..Status::NEW };
    StatusUpdate {
        id: CheckId(id),
        incarnation: Incarnation(1),
        spec,
        status,
        transition: true,
        reportable: true,
        progress: Progress::default(),
        evidence: Evidence::default(),
    }
}

fn record(sink: &impl Sink, ids: std::ops::RangeInclusive<u64>, health: Health) {
    sink.record(&mut ids.map(|id| update(id, health)).collect());
}

fn begin(sink: &impl Sink, id: u64, life: u64) {
    sink.begin(CheckId(id), Incarnation(life), &update(id, Health::Unknown).spec);
}

struct Rig {
    pipeline: Arc<Pipeline>,
    view: Arc<View>,
    journal: Arc<Journal>,
    probes: mpsc::Receiver<Vec<CheckId>>,
}

impl Rig {
    fn held(&self) -> usize {
        let checks = self.view.page(hc_view::Cursor::default(), usize::MAX).checks;
        checks.iter().filter(|check| check.reported != Reported::Status).count()
    }
}

/// Runs `test` beside the task of a guard with 20 healthy checks.
async fn with_guard<F: Future<Output = ()>>(arranging: Duration, test: impl FnOnce(Rig) -> F) {
    let journal = Arc::new(Journal::default());
    let view = Arc::new(View::new(&ViewConfig::default(), vec![journal.clone()]));
    let guard = Guard::new(GuardConfig::default());
    let pipeline = Arc::new(Pipeline::new(Arc::clone(&view), Vec::new(), vec![Box::new(guard)]));
    let (asked, probes) = mpsc::channel(8);
    let stop = CancellationToken::new();
    let task = PipelineTask::new(Arc::clone(&pipeline), Slow(asked, arranging));
    (1..=20).for_each(|id| begin(&*pipeline, id, 1));
    pipeline.in_effect(Some(1), true);
    record(&*pipeline, 1..=20, Health::Healthy);
    let lines = journal.lines();
    assert_eq!((lines.len(), &*lines[0], &*lines[20]), (41, "begin 1", "in effect Some(1) true"));
    assert_eq!(&*lines[40], "20 transition");
    tokio::join!(task.run(stop.clone()), async {
        test(Rig { pipeline, view, journal, probes }).await;
        stop.cancel();
    });
}

#[tokio::test(start_paused = true)]
async fn lone_failure_is_reported_when_its_window_is_over() {
    with_guard(Duration::ZERO, async |rig| {
        sleep(SECOND).await;
        let failed = Instant::now();
        record(&*rig.pipeline, 3..=3, Health::Unhealthy);
        assert_eq!((rig.journal.take(), rig.held()), (vec![], 1));
        let check = rig.view.check(CheckId(3)).unwrap();
        assert_eq!(
            (check.status.health, check.reported_health()),
            (Health::Unhealthy, Some(Health::Healthy))
        );
        let Reported::Other(withheld) = check.reported else { panic!("{:?}", check.reported) };
        assert_eq!(withheld.by, "guard");
        sleep(4 * SECOND).await;
        let [(line, told)] = &rig.journal.take()[..] else { panic!("not reported") };
        assert_eq!(line, "3 transition");
        assert!((2 * SECOND..2 * SECOND + SECOND / 100).contains(&(*told - failed)), "{:?}", *told - failed);
        assert_eq!((rig.held(), rig.view.check(CheckId(3)).unwrap().reported), (0, Reported::Status));
    })
    .await;
}

/// Arranging the probes takes longer here than the longest hold.
#[tokio::test(start_paused = true)]
async fn held_verdicts_are_released_in_time_even_while_a_probe_is_arranged() {
    with_guard(3600 * SECOND, async |mut rig| {
        let failed = Instant::now();
        record(&*rig.pipeline, 1..=20, Health::Unhealthy);
        assert_eq!(timeout(SECOND, rig.probes.recv()).await.unwrap().unwrap().len(), 8);
        sleep(29 * SECOND).await;
        assert_eq!((rig.journal.take(), rig.held()), (vec![], 20));
        sleep(2 * SECOND).await;
        let told = rig.journal.take();
        assert_eq!(told.len(), 20);
        assert!(told.iter().all(|(_, at)| *at - failed < 30 * SECOND + SECOND / 100));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn sample_is_probed_in_rounds_and_then_all_is_released() {
    with_guard(Duration::ZERO, async |mut rig| {
        record(&*rig.pipeline, 1..=20, Health::Unhealthy);
        for _ in 0..3 {
            let sample = timeout(5 * SECOND, rig.probes.recv()).await.unwrap().unwrap();
            assert_eq!(rig.journal.take(), vec![]);
            sample.iter().for_each(|id| record(&*rig.pipeline, id.0..=id.0, Health::Unhealthy));
        }
        assert_eq!((rig.journal.take().len(), rig.held()), (20, 0));
        assert!(timeout(60 * SECOND, rig.probes.recv()).await.is_err(), "probed after the end");
    })
    .await;
}

/// A verdict that is held is void when its check begins again or ends, and a late update of the
/// life before is dropped.
#[tokio::test(start_paused = true)]
async fn held_verdict_does_not_outlive_its_check() {
    with_guard(Duration::ZERO, async |rig| {
        record(&*rig.pipeline, 1..=2, Health::Unhealthy);
        begin(&*rig.pipeline, 1, 2);
        rig.pipeline.forget(CheckId(2), Incarnation(1));
        rig.pipeline.forget(CheckId(3), Incarnation(7));
        assert_eq!(rig.journal.lines(), ["begin 1", "forget 2"]);
        record(&*rig.pipeline, 1..=2, Health::Unhealthy);
        sleep(60 * SECOND).await;
        assert_eq!(rig.journal.lines(), [""; 0]);
        assert_eq!((rig.view.check(CheckId(1)).unwrap().reported, rig.view.len()), (Reported::Nothing, 19));
    })
    .await;
}

/// Says of one check what an operator wants, and holds back another one's updates.
struct Forced;

impl Stage for Forced {
    fn name(&self) -> &'static str {
        "forced"
    }

    fn update(&mut self, mut update: StatusUpdate, _: std::time::Instant, out: &mut Effects) {
        if update.id == CheckId(1) {
            update.status.health = Health::Unhealthy;
        }
        if update.id != CheckId(2) {
            out.pass.push(update);
        }
    }

    fn forget(&mut self, _: CheckId, _: std::time::Instant, _: &mut Effects) {}

    fn expire(&mut self, _: std::time::Instant, _: &mut Effects) {}

    fn next_due(&self) -> Option<std::time::Instant> {
        None
    }
}

#[derive(Default)]
struct Seen(Mutex<Vec<(u64, Health)>>);

impl Observer for Seen {
    fn updates(&self, updates: &[StatusUpdate]) {
        self.0.lock().unwrap().extend(updates.iter().map(|update| (update.id.0, update.status.health)));
    }
}

#[tokio::test]
async fn observers_see_what_probes_found_and_consumers_get_what_the_last_stage_passes() {
    let seen = Arc::new(Seen::default());
    let view = Arc::new(View::new(&ViewConfig::default(), Vec::new()));
    let stages: Vec<Box<dyn Stage>> = vec![Box::new(Guard::new(GuardConfig::default())), Box::new(Forced)];
    let pipeline = Pipeline::new(Arc::clone(&view), vec![seen.clone()], stages);
    (1..=3).for_each(|id| begin(&pipeline, id, 1));
    record(&pipeline, 1..=3, Health::Healthy);
    assert_eq!(*seen.0.lock().unwrap(), [1, 2, 3].map(|id| (id, Health::Healthy)));
    let checks = [1, 2, 3].map(|id| view.check(CheckId(id)).unwrap());
    assert!(checks.iter().all(|check| check.status.health == Health::Healthy));
    let reported = checks.each_ref().map(hc_view::CheckView::reported_health);
    assert_eq!(reported, [Some(Health::Unhealthy), None, Some(Health::Healthy)]);
    assert!(matches!(&checks[0].reported, Reported::Other(other) if other.by == "forced"));
}
