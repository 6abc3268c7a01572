//! The loop that drives one shard: the only place with its clock, its probes in flight and its
//! `select!`.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hc_types::{CheckSpec, Health, LocalFault, Outcome, Prober, Sink};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinError, JoinSet, yield_now};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::core::{FlightId, ProbeReport, ShardCore, Start};
use crate::check_state::CheckState;
use crate::plan::Order;
use crate::recently_removed::Tombstone;
use crate::schedule::{Nanos, nanos};

/// Probes started before those that were started get to run: their deadlines begin with their first
/// poll, and their connections should not all be made at the same instant.
const STARTS_PER_TURN: usize = 64;

/// Rows copied in one turn, so that a snapshot of very many checks makes no probe late.
const ROWS_PER_TURN: usize = 2048;

/// The wait for something that will not come by itself.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// While probes are in flight, some timer is never further away than this. tokio writes to a file
/// of its own, and wakes itself by that, for each timer that is set before the next one that it
/// knows of; that would be the timer of each probe, the nearest of which is at 250 ms.
const BEAT: Duration = Duration::from_millis(100);

/// The monotonic clock of a manager and all its shards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now() }
    }

    pub(crate) fn now(self) -> Nanos {
        nanos(self.origin.elapsed())
    }

    fn instant(self, at: Nanos) -> Instant {
        self.origin + Duration::from_nanos(at)
    }
}

/// Rows of a table, and where to go on reading.
pub(crate) struct Page<T, N> {
    pub(crate) rows: Vec<T>,
    pub(crate) next: Option<N>,
}

/// What the manager asks of a shard. Answers that nobody waits for are dropped.
pub(crate) enum Command {
    Apply { orders: Vec<Order>, done: oneshot::Sender<()> },
    ProbeNow { slots: Vec<u32>, done: oneshot::Sender<()> },
    Resume { slots: Vec<(u32, Health)>, done: oneshot::Sender<()> },
    States { from: usize, reply: oneshot::Sender<Page<(Arc<CheckSpec>, CheckState), usize>> },
    Remembered { from: u64, reply: oneshot::Sender<Page<Tombstone, u64>> },
}

/// A shard with all it needs to run.
pub(crate) struct Shard<P, S: ?Sized> {
    pub(crate) core: ShardCore,
    pub(crate) clock: Clock,
    pub(crate) prober: P,
    pub(crate) sink: Arc<S>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) stop: CancellationToken,
}

impl<P: Prober, S: Sink + ?Sized> Shard<P, S> {
    /// Runs until `stop` is cancelled or nobody can send commands any more. What was found is
    /// handed to the sink before; probes in flight are dropped.
    ///
    /// Must be polled inside a [`LocalSet`](tokio::task::LocalSet).
    pub(crate) async fn run(self) {
        let Self { mut core, clock, prober, sink, mut commands, stop } = self;
        let mut flights = Flights::new(clock);
        let mut landed = None;
        let mut sleep = pin!(sleep_until(clock.instant(clock.now()) + LONG));
        let mut stopped = pin!(stop.cancelled());
        let mut beat = pin!(sleep_until(clock.instant(clock.now()) + BEAT));
        loop {
            let turn = clock.now();
            core.gauges().turn_began(turn);
            core.begin_turn(turn);
            while let Some(report) = landed.take().or_else(|| flights.try_complete()) {
                core.complete(report);
            }
            for _ in 0..STARTS_PER_TURN {
                let Some(start) = core.start(clock.now(), SystemTime::now(), |id| sink.is_paused(id)) else {
                    break;
                };
                flights.start(start, &prober);
            }
            if !core.updates().is_empty() {
                sink.record(core.updates());
            }
            core.end_turn(turn);
            let busy = core.can_start();
            let next = core.next_wake();
            core.gauges().turn_ended(if busy { Some(turn) } else { next });
            set(sleep.as_mut(), next.map(|at| clock.instant(at)));
            if beat.is_elapsed() && !flights.is_empty() {
                beat.as_mut().reset(clock.instant(turn) + BEAT);
            }
            // Each branch may be dropped at any moment: a command or report that was not taken
            // stays where it is, a timer that was not awaited to its end is looked at again in the
            // next turn.
            tokio::select! {
                biased;
                () = &mut stopped => break,
                command = commands.recv() => match command {
                    Some(command) => flights.cancel(carry_out(&mut core, clock, command)),
                    None => break,
                },
                // What was started runs, then the next are started.
                () = yield_now(), if busy => {}
                report = flights.complete(), if !flights.is_empty() => landed = report,
                () = sleep.as_mut(), if !busy => {}
                // Set again when something is in flight.
                () = beat.as_mut(), if !beat.is_elapsed() => {}
            }
        }
        if !core.updates().is_empty() {
            sink.record(core.updates());
        }
    }
}

/// Sets a timer that may go off early and must not go off late: an earlier instant than needed
/// costs one idle turn, setting it anew each turn costs more.
fn set(sleep: std::pin::Pin<&mut Sleep>, wake: Option<Instant>) {
    match wake {
        Some(wake) if sleep.is_elapsed() || wake < sleep.deadline() => sleep.reset(wake),
        None if sleep.is_elapsed() => {
            let far = sleep.deadline() + LONG;
            sleep.reset(far);
        }
        _ => {}
    }
}

/// Gives back the probes in flight that are to be dropped.
fn carry_out(core: &mut ShardCore, clock: Clock, command: Command) -> Vec<FlightId> {
    // What is too old must not be read, however long nothing else happened.
    core.begin_turn(clock.now());
    let mut cancelled = Vec::new();
    match command {
        Command::Apply { orders, done } => {
            core.apply(orders, clock.now(), &mut cancelled);
            let _ = done.send(());
        }
        Command::ProbeNow { slots, done } => {
            let now = clock.now();
            slots.into_iter().for_each(|slot| core.probe_now(slot, now));
            let _ = done.send(());
        }
        Command::Resume { slots, done } => {
            core.resume(slots, clock.now());
            let _ = done.send(());
        }
        Command::States { from, reply } => {
            let (rows, next) = core.known(from, ROWS_PER_TURN);
            let _ = reply.send(Page { rows, next });
        }
        Command::Remembered { from, reply } => {
            let (rows, next) = core.remembered(from, ROWS_PER_TURN);
            let _ = reply.send(Page { rows, next });
        }
    }
    cancelled
}

/// The probes in flight.
struct Flights {
    tasks: JoinSet<ProbeReport>,
    handles: HashMap<FlightId, AbortHandle>,
    clock: Clock,
}

impl Flights {
    fn new(clock: Clock) -> Self {
        Self { tasks: JoinSet::new(), handles: HashMap::new(), clock }
    }

    fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    fn start<P: Prober>(&mut self, start: Start, prober: &P) {
        let Start { flight, spec, timeout } = start;
        let (probe, clock) = (prober.probe_within(spec, timeout), self.clock);
        let handle = self.tasks.spawn_local(async move {
            let began = clock.now();
            let result = probe.await;
            ProbeReport { flight, result, began, ended: clock.now() }
        });
        self.handles.insert(flight, handle);
    }

    /// Waits until a probe ends. `None` when it was cancelled, or none is in flight.
    ///
    /// # Cancel safety
    /// That of [`JoinSet::join_next`]: nothing is lost.
    async fn complete(&mut self) -> Option<ProbeReport> {
        let joined = self.tasks.join_next().await?;
        self.report_of(joined)
    }

    /// A probe that has ended already.
    fn try_complete(&mut self) -> Option<ProbeReport> {
        loop {
            let joined = self.tasks.try_join_next()?;
            if let Some(report) = self.report_of(joined) {
                return Some(report);
            }
        }
    }

    fn report_of(&mut self, joined: Result<ProbeReport, JoinError>) -> Option<ProbeReport> {
        match joined {
            Ok(report) => {
                self.handles.remove(&report.flight);
                Some(report)
            }
            Err(error) if error.is_cancelled() => None,
            Err(error) => {
                let (flight, _) = self.handles.iter().find(|(_, handle)| handle.id() == error.id())?;
                let flight = *flight;
                self.handles.remove(&flight);
                // Only where panics unwind; the release profile aborts. A defect of ours is no
                // verdict.
                error!(%error, "a probe panicked");
                let now = self.clock.now();
                let outcome = Outcome::from(LocalFault::Other(0));
                Some(ProbeReport { flight, result: outcome.into(), began: now, ended: now })
            }
        }
    }

    /// Drops probes: each is gone, with its socket, before this thread rests again.
    fn cancel(&mut self, flights: Vec<FlightId>) {
        for flight in flights {
            if let Some(handle) = self.handles.remove(&flight) {
                handle.abort();
            }
        }
    }
}
