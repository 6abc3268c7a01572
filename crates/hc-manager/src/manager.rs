//! The handle through which checks are set and read, and the task behind it.

use std::sync::Arc;

use hc_types::{CheckId, CheckKey, CheckSpec, Health, Prober, Remembered, SetChange, Sink};
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, info};

use crate::check_state::CheckState;
use crate::config::ManagerConfig;
use crate::plan::{Applied, Plan, Registry};
use crate::recently_removed::Tombstone;
use crate::schedule::nanos;
use crate::shard::{Clock, Command, Page};
use crate::stats::{Gauges, Heartbeat, ManagerStats};
use crate::threads::{ManagerError, ShardLink, StartError, Threads};

/// Requests that may wait for the manager.
const REQUESTS: usize = 16;

/// Orders handed to a shard at once. Between two such portions it runs probes.
const ORDERS_PER_COMMAND: usize = 2048;

/// Rows whose keys are computed between two pauses.
const KEYS_PER_TURN: usize = 256;

/// The manager has ended, so nothing runs any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the manager has ended")]
pub struct Stopped;

/// A handle on a running manager. Clones are handles on the same one.
#[derive(Clone, Debug)]
pub struct Manager {
    requests: mpsc::Sender<Request>,
    gauges: Arc<[Arc<Gauges>]>,
    clock: Clock,
}

#[derive(Debug)]
enum Request {
    Apply { change: SetChange, reply: oneshot::Sender<Applied> },
    ProbeNow { ids: Vec<CheckId>, reply: oneshot::Sender<usize> },
    Resume { checks: Vec<(CheckId, Health)>, reply: oneshot::Sender<usize> },
    Export { reply: oneshot::Sender<Knowledge> },
}

/// All that is known of checks, older knowledge first.
#[derive(Debug)]
struct Knowledge {
    inherited: Vec<Remembered>,
    /// In pages.
    seen: Vec<Vec<(Arc<CheckSpec>, CheckState)>>,
}

/// The part of a manager that has to be run: it plans, and watches over the threads that probe.
///
/// Dropped, or its [`run`](Self::run) dropped, it ends the threads without waiting for them.
#[derive(Debug)]
pub struct ManagerTask {
    registry: Registry,
    sink: SharedSink,
    requests: mpsc::Receiver<Request>,
    threads: Threads,
    clock: Clock,
    config: ManagerConfig,
    _stop_threads: DropGuard,
}

struct SharedSink(Arc<dyn Sink>);

impl std::fmt::Debug for SharedSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sink")
    }
}

impl Manager {
    /// Starts the threads that probe. No check runs before a set is applied, and none is applied
    /// before [`ManagerTask::run`] is polled.
    ///
    /// `make_prober` is called once on each thread, inside its runtime; `sink` takes what is found.
    ///
    /// # Errors
    /// [`StartError`] when the system gives no thread or no runtime; those already started end.
    pub fn start<P: Prober, S: Sink>(
        config: ManagerConfig,
        make_prober: impl Fn() -> P + Send + Sync + 'static,
        sink: Arc<S>,
    ) -> Result<(Self, ManagerTask), StartError> {
        let clock = Clock::new();
        let stop = CancellationToken::new();
        let stop_threads = stop.clone().drop_guard();
        let threads = Threads::start(&config, clock, make_prober, &sink, &stop)?;
        let gauges = threads.links().iter().map(|link| Arc::clone(&link.gauges)).collect();
        let (sender, requests) = mpsc::channel(REQUESTS);
        let task = ManagerTask {
            registry: Registry::new(config.shards.get(), config.first_probes_per_second),
            sink: SharedSink(sink),
            requests,
            threads,
            clock,
            config,
            _stop_threads: stop_threads,
        };
        Ok((Self { requests: sender, gauges, clock }, task))
    }

    /// Changes the set of checks and waits until every shard has taken its share.
    ///
    /// The sink hears of it in this order: [`forget`](Sink::forget) for each id that is no more,
    /// [`begin`](Sink::begin) for each new life of an id, [`in_effect`](Sink::in_effect); only then
    /// statuses of the new lives.
    ///
    /// Of several checks with one id in one change the last one counts.
    ///
    /// # Errors
    /// [`Stopped`] when the manager has ended.
    ///
    /// # Cancel safety
    /// Once polled, the change may be applied even if the future is dropped.
    pub async fn apply(&self, change: SetChange) -> Result<Applied, Stopped> {
        self.ask(|reply| Request::Apply { change, reply }).await
    }

    /// Makes these checks due at once, and says how many of them are in the set. Ids that are not
    /// are no error.
    ///
    /// Returns when every shard knows; the probes themselves start as there is room for them
    /// ([`ManagerConfig::max_in_flight`]). What they find counts as always. Nothing else moves: the
    /// probes on the grid stay where they are, and a check whose probe is in flight gets no second
    /// one.
    ///
    /// # Errors
    /// [`Stopped`] when the manager has ended.
    ///
    /// # Cancel safety
    /// Once polled, the probes may be started even if the future is dropped.
    pub async fn probe_now(&self, ids: Vec<CheckId>) -> Result<usize, Stopped> {
        self.ask(|reply| Request::ProbeNow { ids, reply }).await
    }

    /// Lets checks go on that were paused ([`Sink::is_paused`]), and says how many of them are in the
    /// set. Each begins with this health, and no failures in a row, unless it is unknown; nothing is
    /// told before a probe has borne it out or changed it.
    ///
    /// A check of known health is probed at the next point of its grid, so within an interval.
    /// Others are probed as soon as [`ManagerConfig::first_probes_per_second`] lets them.
    ///
    /// # Errors
    /// [`Stopped`] when the manager has ended.
    ///
    /// # Cancel safety
    /// Once polled, the checks may go on even if the future is dropped.
    pub async fn resume(&self, checks: Vec<(CheckId, Health)>) -> Result<usize, Stopped> {
        self.ask(|reply| Request::Resume { checks, reply }).await
    }

    /// What the next process should know: the health of the checks that run, and of those that were
    /// removed and are still remembered. Where a key occurs twice the later entry is the newer.
    /// Costs a SHA-256 a check, on this thread.
    ///
    /// # Errors
    /// [`Stopped`] when the manager has ended.
    pub async fn export(&self) -> Result<Vec<Remembered>, Stopped> {
        let Knowledge { mut inherited, seen } = self.ask(|reply| Request::Export { reply }).await?;
        inherited.reserve(seen.iter().map(Vec::len).sum());
        // Each page is gone when its keys are there.
        for page in seen {
            for rows in page.chunks(KEYS_PER_TURN) {
                inherited.extend(rows.iter().filter_map(|(spec, known)| known.remembered(spec.key())));
                yield_now().await;
            }
        }
        Ok(inherited)
    }

    /// Figures, read without asking or locking anybody.
    #[must_use]
    pub fn stats(&self) -> ManagerStats {
        ManagerStats::collect(self.gauges.iter().map(|gauges| &**gauges), self.clock.now())
    }

    /// The figures of each shard by itself, in the order of the shards.
    #[must_use]
    pub fn shard_stats(&self) -> Vec<ManagerStats> {
        let now = self.clock.now();
        self.gauges.iter().map(|gauges| ManagerStats::collect(std::iter::once(&**gauges), now)).collect()
    }

    /// A sign of life of each shard, in the order of the shards. Read without asking or locking
    /// anybody.
    #[must_use]
    pub fn heartbeats(&self) -> Vec<Heartbeat> {
        let now = self.clock.now();
        (0..).zip(&*self.gauges).map(|(shard, gauges)| gauges.heartbeat(shard, now)).collect()
    }

    /// Begins a new histogram of [`ManagerStats::lateness`].
    pub fn reset_lateness(&self) {
        self.gauges.iter().for_each(|gauges| gauges.reset_lateness());
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }
}

impl ManagerTask {
    /// Takes what an earlier process exported. It is remembered as long as the health of a removed
    /// check is ([`ManagerConfig::remember`]), counted from the start of this manager; nothing of
    /// it is told before a probe has ended. Of several entries with one key the last one counts.
    #[must_use]
    pub fn with_remembered(self, remembered: Vec<Remembered>) -> Self {
        self.with_remembered_of_older(remembered, |_| None)
    }

    /// The same, if a process of an older version may have exported it: `older_key` gives the key
    /// that such a process derived from a check, or `None` for a check that it could not have.
    /// Called only while there are such entries.
    #[must_use]
    pub fn with_remembered_of_older(
        mut self,
        remembered: Vec<Remembered>,
        older_key: fn(&CheckSpec) -> Option<CheckKey>,
    ) -> Self {
        self.registry.inherit(remembered, nanos(self.config.remember), older_key);
        self
    }

    /// Runs until `stop` is cancelled; then the shards end, within [`ManagerConfig::grace`], and
    /// their threads are joined. Probes in flight are dropped, and what was found before has been
    /// given to the sink.
    ///
    /// # Errors
    /// [`ManagerError`] names the shard that ended by itself, or that did not end in time.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), ManagerError> {
        let mut asked = true;
        loop {
            // A request that was not taken stays in its queue, an exit that was not taken likewise.
            let request = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                shard = self.threads.exited() => return Err(self.threads.died(shard)),
                request = self.requests.recv(), if asked => request,
            };
            let Some(request) = request else {
                // Nobody can ask any more; the checks run on.
                asked = false;
                continue;
            };
            tokio::select! {
                biased;
                // A shard that is stuck answers nothing; that must not keep us from ending.
                () = stop.cancelled() => break,
                // If one has ended, its exit is what comes next, and whoever asked hears that there
                // is no answer.
                Ok(()) | Err(Unanswered) = self.answer(request) => {}
            }
        }
        self.requests.close();
        self.threads.stop(self.config.grace).await
    }

    async fn answer(&mut self, request: Request) -> Result<(), Unanswered> {
        // Whoever asked may have gone away meanwhile.
        match request {
            Request::Apply { change, reply } => drop(reply.send(self.apply(change).await?)),
            Request::ProbeNow { ids, reply } => drop(reply.send(self.probe_now(&ids).await?)),
            Request::Resume { checks, reply } => drop(reply.send(self.resume(&checks).await?)),
            Request::Export { reply } => drop(reply.send(self.known().await?)),
        }
        Ok(())
    }

    async fn apply(&mut self, change: SetChange) -> Result<Applied, Unanswered> {
        let (generation, full) = (change.generation(), change.is_whole());
        let Plan { forget, begin, orders, applied } = self.registry.change(change, self.clock.now());
        let SharedSink(sink) = &self.sink;
        forget.iter().for_each(|(id, incarnation)| sink.forget(*id, *incarnation));
        begin.iter().for_each(|(id, incarnation, spec)| sink.begin(*id, *incarnation, spec));
        sink.in_effect(generation, full);

        let mut done = Vec::new();
        for (link, mut orders) in self.threads.links().iter().zip(orders) {
            while !orders.is_empty() {
                let rest = orders.split_off(orders.len().min(ORDERS_PER_COMMAND));
                done.push(send(link, |done| Command::Apply { orders, done }).await?);
                orders = rest;
            }
        }
        for done in done {
            done.await.map_err(|_| Unanswered)?;
        }
        let Applied { added, moved, changed, retimed, removed, unchanged } = applied;
        if added + moved + changed + retimed + removed > 0 {
            info!(
                generation,
                full, added, moved, changed, retimed, removed, unchanged, "set of checks in effect"
            );
        } else {
            debug!(generation, full, unchanged, "set of checks in effect, as before");
        }
        Ok(applied)
    }

    async fn probe_now(&self, ids: &[CheckId]) -> Result<usize, Unanswered> {
        let places = self.registry.places(ids.iter().map(|id| (*id, ())));
        self.command(places, |slots, done| Command::ProbeNow {
            slots: slots.into_iter().map(|(slot, ())| slot).collect(),
            done,
        })
        .await
    }

    async fn resume(&self, checks: &[(CheckId, Health)]) -> Result<usize, Unanswered> {
        let places = self.registry.places(checks.iter().copied());
        self.command(places, |slots, done| Command::Resume { slots, done }).await
    }

    /// Gives each shard its part, and says how much that was in all.
    async fn command<T>(
        &self,
        parts: Vec<Vec<T>>,
        command: impl Fn(Vec<T>, oneshot::Sender<()>) -> Command,
    ) -> Result<usize, Unanswered> {
        let found = parts.iter().map(Vec::len).sum();
        let mut done = Vec::new();
        for (link, part) in self.threads.links().iter().zip(parts) {
            if !part.is_empty() {
                done.push(send(link, |done| command(part, done)).await?);
            }
        }
        for done in done {
            done.await.map_err(|_| Unanswered)?;
        }
        Ok(found)
    }

    async fn known(&mut self) -> Result<Knowledge, Unanswered> {
        let inherited = self.registry.inherited(self.clock.now()).copied().collect();
        let mut seen = Vec::new();
        for link in self.threads.links() {
            let pages = read(link, |from, reply| Command::Remembered { from, reply }).await?;
            let known = |page: Vec<Tombstone>| page.into_iter().map(|kept| (kept.spec, kept.known)).collect();
            seen.extend(pages.into_iter().map(known));
        }
        for link in self.threads.links() {
            seen.extend(read(link, |from, reply| Command::States { from, reply }).await?);
        }
        Ok(Knowledge { inherited, seen })
    }
}

/// A shard has ended.
struct Unanswered;

async fn send<T>(
    link: &ShardLink,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Result<oneshot::Receiver<T>, Unanswered> {
    let (reply, answer) = oneshot::channel();
    link.commands.send(command(reply)).await.map_err(|_| Unanswered)?;
    Ok(answer)
}

/// Reads a whole table, page by page.
async fn read<T, N: Default>(
    link: &ShardLink,
    command: impl Fn(N, oneshot::Sender<Page<T, N>>) -> Command,
) -> Result<Vec<Vec<T>>, Unanswered> {
    let mut all = Vec::new();
    let mut from = N::default();
    loop {
        let Page { rows, next } =
            send(link, |reply| command(from, reply)).await?.await.map_err(|_| Unanswered)?;
        all.push(rows);
        match next {
            Some(next) => from = next,
            None => return Ok(all),
        }
    }
}
