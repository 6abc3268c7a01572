//! The loop of a shard on one thread under a paused clock, which jumps to the next instant at which
//! anything happens.

#[path = "../../tests/fakes/mod.rs"]
#[allow(dead_code, reason = "each crate of tests uses a part")]
mod fakes;
mod local_faults;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use hc_types::{
    CheckId, CheckSpec, Failure, Health, Incarnation, LocalFault, Outcome, Phase, Remembered, StatusUpdate,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tokio::time::{Instant, advance, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use self::fakes::{Act, Backends, Journal, tcp};
use super::{Clock, Command, Shard, ShardCore};
use crate::check_state::CheckState;
use crate::config::ManagerConfig;
use crate::phases::Phase as GridPhase;
use crate::plan::{Check, Order};
use crate::schedule::nanos;
use crate::stats::{Gauges, ManagerStats};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const TIMEOUT: Outcome = Outcome::Fail(Failure::timeout(Phase::Response));

/// A shard that runs beside the test.
struct Rig {
    backends: Backends,
    journal: Journal,
    gauges: Arc<Gauges>,
    commands: mpsc::Sender<Command>,
    began: Instant,
}

impl Rig {
    async fn apply(&self, orders: Vec<Order>) {
        let (done, applied) = oneshot::channel();
        self.commands.send(Command::Apply { orders, done }).await.unwrap();
        applied.await.unwrap();
    }

    /// Lets the shard run until `millis` after its start.
    async fn until(&self, millis: u32) {
        sleep_until(self.began + MS * millis).await;
    }

    /// The statuses that follow from a verdict, and do not only say that the check is held.
    fn verdicts(&self, id: u64) -> Vec<StatusUpdate> {
        self.journal.statuses(id).into_iter().filter(|update| update.status.held.is_none()).collect()
    }

    fn stats(&self) -> ManagerStats {
        ManagerStats::collect(std::iter::once(&*self.gauges), nanos(self.began.elapsed()))
    }

    /// When the probes of this port started, in milliseconds after the shard did.
    fn starts(&self, port: u16) -> Vec<u128> {
        self.backends.starts(port).iter().map(|start| (*start - self.began).as_millis()).collect()
    }
}

fn add(slot: u32, spec: Arc<CheckSpec>) -> Order {
    let check = Check { id: CheckId(slot.into()), incarnation: Incarnation(1), spec };
    Order::Add { slot, check, phase: GridPhase::ZERO, after: 0, known: None }
}

/// Runs `test` beside a shard with room for so many probes, then stops the shard.
async fn with_shard<F: Future<Output = ()>>(max_in_flight: usize, test: impl FnOnce(Rig) -> F) {
    let (backends, journal) = (Backends::default(), Journal::default());
    let gauges = Arc::new(Gauges::new());
    let (commands, receiver) = mpsc::channel(8);
    let stop = CancellationToken::new();
    let config = ManagerConfig {
        shards: NonZeroUsize::MIN,
        max_in_flight: NonZeroUsize::new(max_in_flight).unwrap(),
        ..ManagerConfig::default()
    };
    let shard = Shard {
        core: ShardCore::new(0, &config, Arc::clone(&gauges)),
        clock: Clock::new(),
        prober: backends.clone(),
        sink: Arc::new(journal.clone()),
        commands: receiver,
        stop: stop.clone(),
    };
    let rig = Rig { backends, journal, gauges, commands, began: Instant::now() };
    let local = LocalSet::new();
    let run = local.run_until(async {
        tokio::join!(shard.run(), async {
            test(rig).await;
            stop.cancel();
        })
    });
    run.await;
}

#[tokio::test(start_paused = true)]
async fn a_day_of_probes_stays_on_its_grid() {
    with_shard(10, async |rig| {
        rig.backends.set(1, Act::After(30 * MS, Outcome::PASS));
        rig.apply(vec![add(0, tcp(1, 7 * SECOND, 0))]).await;
        rig.until(86_400_000).await;
        let starts = rig.starts(1);
        assert_eq!(starts.len(), 86_400 / 7 + 1);
        for (k, start) in starts.into_iter().enumerate() {
            let due = k as u128 * 7000;
            assert!((due..due + 3).contains(&start), "probe {k} at {start}");
        }
        assert!(rig.stats().lateness.max() < 3 * MS);
        let last = rig.journal.statuses(0).pop().unwrap().status;
        assert_eq!((last.successes, last.failures), (86_400 / 7 + 1, 0));
        assert!((29 * MS..33 * MS).contains(&last.duration), "{:?}", last.duration);
    })
    .await;
}

/// The process before may have told of a death and been killed before it wrote that down.
#[tokio::test(start_paused = true)]
async fn remembered_health_is_not_told_before_a_probe_bears_it_out() {
    with_shard(10, async |rig| {
        let known = |spec: &CheckSpec| {
            Some(Box::new(CheckState::from(Remembered {
                key: spec.key(),
                health: Health::Healthy,
                consecutive_failures: 0,
                failures: 0,
                successes: 7,
                last_check: SystemTime::UNIX_EPOCH,
                since: None,
                duration: MS,
            })))
        };
        let add = |slot: u32, spec: Arc<CheckSpec>| {
            let known = known(&spec);
            let check = Check { id: CheckId(slot.into()), incarnation: Incarnation(1), spec };
            Order::Add { slot, check, phase: GridPhase::ZERO, after: 0, known }
        };
        rig.backends.set(1, Act::After(MS, Outcome::Fail(Failure::Refused)));
        rig.backends.set(2, Act::After(MS, Outcome::PASS));
        rig.apply(vec![add(0, tcp(1, SECOND, 2)), add(1, tcp(2, SECOND, 2))]).await;
        rig.until(900).await;
        // Neither another name nor a moment's absence makes it certain.
        let renamed = Check { id: CheckId(7), incarnation: Incarnation(1), spec: tcp(1, SECOND, 2) };
        rig.apply(vec![Order::Move {
            slot: 0,
            check: renamed,
            phase: GridPhase::ZERO,
            after: nanos(10 * SECOND),
        }])
        .await;
        rig.apply(vec![Order::Remove { slot: 0 }]).await;
        let check = Check { id: CheckId(0), incarnation: Incarnation(2), spec: tcp(1, SECOND, 2) };
        rig.apply(vec![Order::Add {
            slot: 0,
            check,
            phase: GridPhase::ZERO,
            after: nanos(100 * MS),
            known: None,
        }])
        .await;
        rig.until(1_900).await;
        assert_eq!(rig.starts(1).len(), 2);
        assert!(rig.journal.statuses(0).is_empty(), "told in doubt: {:?}", rig.journal.statuses(0));
        assert!(rig.journal.statuses(7).is_empty(), "told in doubt: {:?}", rig.journal.statuses(7));
        assert_eq!(rig.journal.statuses(1).first().map(|update| update.status.health), Some(Health::Healthy));
        rig.until(2_900).await;
        let told = rig.journal.statuses(0);
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].status.health, told[0].transition), (Health::Unhealthy, true));
        assert_eq!((told[0].status.successes, told[0].status.failures), (7, 3));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_probe_brought_forward_leaves_the_grid_and_overlaps_nothing() {
    with_shard(10, async |rig| {
        let probe_now = async |slots: Vec<u32>| {
            let (done, known) = oneshot::channel();
            rig.commands.send(Command::ProbeNow { slots, done }).await.unwrap();
            known.await.unwrap();
        };
        rig.backends.set(1, Act::After(300 * MS, Outcome::PASS));
        rig.apply(vec![add(0, tcp(1, SECOND, 0)), add(1, tcp(2, SECOND, 0))]).await;
        rig.until(500).await;
        // At rest; then in flight; twice at once; a slot that is none.
        probe_now(vec![0]).await;
        rig.until(600).await;
        probe_now(vec![0, 0, 77]).await;
        rig.until(1_100).await;
        probe_now(vec![0]).await;
        rig.until(2_900).await;
        let (hastened, other) = (rig.starts(1), rig.starts(2));
        let near = |starts: &[u128], due: &[u128]| {
            starts.len() == due.len()
                && starts.iter().zip(due).all(|(start, due)| (*due..*due + 9).contains(start))
        };
        assert!(near(&hastened, &[0, 500, 1000, 2000]), "{hastened:?}");
        assert!(near(&other, &[0, 1000, 2000]), "{other:?}");
        assert_eq!(rig.backends.most_in_flight(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn probes_longer_than_the_interval_run_back_to_back() {
    with_shard(10, async |rig| {
        rig.backends.set(1, Act::After(250 * MS, TIMEOUT));
        rig.apply(vec![add(0, tcp(1, 100 * MS, 0))]).await;
        rig.until(2_500).await;
        let starts = rig.starts(1);
        assert!((9..=10).contains(&starts.len()), "{starts:?}");
        assert!(starts.windows(2).all(|pair| (250..255).contains(&(pair[1] - pair[0]))), "{starts:?}");
        // The backend is slow, not we.
        assert!(rig.stats().lateness.max() < 3 * MS);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_while_the_process_stood_still_is_no_verdict() {
    with_shard(10, async |rig| {
        rig.apply(vec![add(0, tcp(1, 10 * SECOND, 0)), add(1, tcp(2, 10 * SECOND, 0))]).await;
        rig.journal
            .wait("both pass", |journal| !journal.statuses(0).is_empty() && !journal.statuses(1).is_empty())
            .await;
        rig.backends.set(1, Act::After(900 * MS, TIMEOUT));
        rig.backends.set(2, Act::After(900 * MS, Outcome::Fail(Failure::Refused)));
        rig.backends
            .wait("both are probed again", |backends| backends.in_flight(1) + backends.in_flight(2) == 2)
            .await;
        // SIGSTOP, as far as the shard can tell: the clock jumps, and nothing ran meanwhile.
        advance(30 * SECOND).await;
        rig.journal
            .wait("a refusal counts", |journal| !journal.news(1).is_empty() && journal.statuses(1).len() == 2)
            .await;
        rig.backends.wait("the other is tried again", |backends| backends.started(1) == 3).await;
        assert_eq!(rig.verdicts(0).len(), 1);
        let stats = rig.stats();
        assert_eq!((stats.ended("local_late"), stats.ended("timeout_response"), stats.stalls), (1, 0, 1));
        assert!(stats.stalled > 29 * SECOND);
        assert_eq!(stats.episodes[0].label, "local_late");
        // Without a stall the same failure counts.
        rig.journal.wait("it fails", |_| rig.verdicts(0).len() == 2).await;
        assert_eq!(rig.verdicts(0)[1].status.health, Health::Unhealthy);
    })
    .await;
}

/// A quota of processor time that is used up again and again, say: there is no flight without a
/// stall.
#[tokio::test(start_paused = true)]
async fn a_silent_backend_is_found_out_by_a_shard_that_always_stalls() {
    with_shard(10, async |rig| {
        rig.apply(vec![add(0, tcp(1, SECOND, 1)), add(1, tcp(2, SECOND, 1)), add(2, tcp(3, SECOND, 1))])
            .await;
        rig.until(500).await;
        rig.backends.set(1, Act::After(SECOND, Outcome::Fail(Failure::silence(Phase::Connect))));
        // Peers that were kept waiting, or may have been.
        rig.backends.set(2, Act::After(SECOND, TIMEOUT));
        rig.backends.set(3, Act::After(SECOND, Outcome::Fail(Failure::Closed { heard: None })));
        let mut probed = 0;
        while rig.journal.news(0).len() < 2 {
            advance(80 * MS).await;
            sleep(30 * MS).await;
            probed = rig.backends.started(1);
            assert!(probed < 20, "not found out");
        }
        // One passed, two were excused, and then two count, one of them for the retry. The next may
        // have begun.
        let ended = 1 + 2 + 2;
        assert!((ended..=ended + 1).contains(&probed), "{probed}");
        assert_eq!(rig.journal.statuses(0).last().unwrap().status.health, Health::Unhealthy);
        assert_eq!(rig.stats().ended("timeout_connect"), 2);
        for id in [1, 2] {
            assert_eq!(rig.verdicts(id).len(), 1);
            assert!(rig.backends.started(u16::try_from(id).unwrap() + 1) >= ended);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn inconclusive_probes_are_tried_again_soon() {
    with_shard(10, async |rig| {
        rig.backends.set(1, Act::Answer(LocalFault::Buffers.into()));
        rig.apply(vec![add(0, tcp(1, SECOND, 0))]).await;
        rig.until(2_050).await;
        let starts = rig.starts(1);
        // After 100, 200, 400 ms; then the pause of 800 ms is cut by the grid, and the next one by
        // the interval.
        let expected = [0, 100, 300, 700, 1000, 2000];
        assert_eq!(starts.len(), expected.len(), "{starts:?}");
        assert!(starts.iter().zip(expected).all(|(start, due)| (due..due + 9).contains(start)), "{starts:?}");
        assert!(rig.journal.statuses(0).is_empty());
        assert_eq!(rig.stats().episodes.len(), 1);
        rig.backends.set(1, Act::Answer(Outcome::PASS));
        rig.journal.wait("a verdict", |journal| journal.statuses(0).len() == 1).await;
        // The episode ends by itself when it has been quiet.
        rig.until(14_000).await;
        assert!(rig.stats().episodes.is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn due_checks_wait_for_room_in_the_order_in_which_they_came() {
    with_shard(2, async |rig| {
        for port in 1..=6 {
            rig.backends.set(port, Act::After(100 * MS, Outcome::PASS));
        }
        let orders = (0..6).zip((1..=6).rev()).map(|(slot, port)| add(slot, tcp(port, 60 * SECOND, 0)));
        rig.apply(orders.collect()).await;
        rig.until(50).await;
        assert_eq!((rig.gauges.in_flight.load(Relaxed), rig.gauges.waiting.load(Relaxed)), (2, 4));
        rig.until(400).await;
        assert_eq!(rig.gauges.waiting.load(Relaxed), 0);
        assert_eq!(rig.backends.most_in_flight(), 2);
        for (port, due) in [(6, 0), (5, 0), (4, 100), (3, 100), (2, 200), (1, 200)] {
            let starts = rig.starts(port);
            assert!(matches!(starts[..], [start] if (due..due + 10).contains(&start)), "{port}: {starts:?}");
        }
        let lateness = rig.stats().lateness;
        assert!(lateness.max() >= 200 * MS && lateness.p50() >= 100 * MS);
        assert_eq!(rig.stats().recent.lateness, lateness);
        // Each probes again after a minute, on time: what was late is not of the last minute.
        (1..=6).for_each(|port| rig.backends.set(port, Act::After(MS, Outcome::PASS)));
        rig.until(125_000).await;
        assert!(rig.stats().lateness.max() >= 200 * MS);
        assert!(rig.stats().recent.lateness.max() < 200 * MS, "{:?}", rig.stats().recent);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_removed_check_leaves_nothing_to_the_next_one_in_its_slot() {
    with_shard(10, async |rig| {
        rig.backends.set(1, Act::After(500 * MS, TIMEOUT));
        rig.backends.set(2, Act::After(800 * MS, Outcome::PASS));
        rig.apply(vec![add(0, tcp(1, 10 * SECOND, 0))]).await;
        rig.until(100).await;
        assert_eq!(rig.backends.in_flight(1), 1);
        rig.apply(vec![Order::Remove { slot: 0 }, add(0, tcp(2, 10 * SECOND, 0))]).await;
        rig.until(200).await;
        assert_eq!((rig.backends.in_flight(1), rig.backends.dropped()), (0, 1));
        rig.until(2_000).await;
        assert_eq!(rig.journal.statuses(0).len(), 1);
        assert_eq!(rig.journal.statuses(0)[0].status.health, Health::Healthy);
        assert_eq!((rig.backends.started(1), rig.stats().checks), (1, 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_absence_longer_than_the_interval_is_not_told_before_a_probe() {
    with_shard(10, async |rig| {
        let spec = tcp(1, 2 * SECOND, 1);
        rig.apply(vec![add(0, Arc::clone(&spec))]).await;
        rig.journal.wait("it passes", |journal| journal.statuses(0).len() == 1).await;
        rig.backends.set(1, Act::After(300 * MS, Outcome::Fail(Failure::Refused)));
        rig.apply(vec![Order::Remove { slot: 0 }]).await;
        rig.until(1_500).await;
        rig.apply(vec![add(1, Arc::clone(&spec))]).await;
        rig.until(1_600).await;
        let told = rig.journal.statuses(1);
        assert!(
            matches!(&told[..], [update] if update.transition && update.status.health == Health::Healthy)
        );

        rig.apply(vec![Order::Remove { slot: 1 }]).await;
        rig.until(5_000).await;
        rig.apply(vec![add(2, spec)]).await;
        rig.until(5_200).await;
        assert!(rig.journal.statuses(2).is_empty());
        rig.until(5_400).await;
        // Its retries hold, but this probe does not bear them out.
        assert_eq!(rig.starts(1).len(), 3);
        assert!(rig.journal.statuses(2).is_empty());
        rig.backends.set(1, Act::After(300 * MS, Outcome::PASS));
        rig.until(7_400).await;
        let told = rig.journal.statuses(2);
        assert!(
            matches!(&told[..], [update] if update.transition && update.status.health == Health::Healthy)
        );
        assert_eq!(told[0].status.failures, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_survives_another_interval_and_its_episode_ends_with_the_check() {
    with_shard(10, async |rig| {
        rig.backends.set(1, Act::Answer(LocalFault::Memory.into()));
        rig.apply(vec![add(0, tcp(1, 10 * SECOND, 0))]).await;
        rig.until(400).await;
        let spec = tcp(1, 60 * SECOND, 0);
        rig.apply(vec![Order::Retime { slot: 0, spec, phase: GridPhase::ZERO, after: nanos(5 * SECOND) }])
            .await;
        rig.until(900).await;
        assert_eq!(rig.starts(1).len(), 4, "{:?}", rig.starts(1));
        assert_eq!(rig.stats().episodes[0].held, 1);
        rig.apply(vec![Order::Remove { slot: 0 }]).await;
        rig.until(12_000).await;
        assert!(rig.stats().episodes.is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_not_exported() {
    with_shard(10, async |rig| {
        let kept = async || {
            let (reply, page) = oneshot::channel();
            rig.commands.send(Command::Remembered { from: 0, reply }).await.unwrap();
            page.await.unwrap().rows.len()
        };
        rig.apply(vec![add(0, tcp(1, SECOND, 0))]).await;
        rig.until(1_500).await;
        rig.apply(vec![Order::Remove { slot: 0 }]).await;
        rig.until(61_000).await;
        assert_eq!(kept().await, 1);
        rig.until(62_000).await;
        assert_eq!(kept().await, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_shard_sleeps() {
    with_shard(10, async |rig| {
        rig.apply(vec![add(0, tcp(1, 3600 * SECOND, 0))]).await;
        rig.until(1_000).await;
        // A stop of the whole process while nothing is in flight is no stall: nothing was lost.
        advance(600 * SECOND).await;
        rig.until(900_000).await;
        assert_eq!((rig.stats().stalls, rig.backends.started(1)), (0, 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn heartbeat_is_overdue_only_when_something_is() {
    with_shard(10, async |rig| {
        let heartbeat = |at: Duration| rig.gauges.heartbeat(0, nanos(at));
        rig.until(1_000).await;
        // Without a check nothing is due, however long ago the latest turn was.
        assert_eq!(heartbeat(3600 * SECOND).overdue, Duration::ZERO);
        assert!(heartbeat(3600 * SECOND).last_turn > 3598 * SECOND);
        rig.backends.set(1, Act::Answer(Outcome::PASS));
        rig.apply(vec![add(0, tcp(1, 10 * SECOND, 0))]).await;
        rig.until(5_000).await;
        assert_eq!(heartbeat(5 * SECOND).overdue, Duration::ZERO);
        // The next probe is due at 10 s: by then something should have happened.
        assert_eq!(heartbeat(15 * SECOND).overdue, 5 * SECOND);
    })
    .await;
}
