//! One process of hc-server: the cores, joined as its drivers join them, with every step held
//! against the reference.

mod delivery;
mod shard;

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hc_ipc::{Assembled, Assembly};
use hc_manager::ManagerConfig;
use hc_manager::stepped::{Orders, Planned, Stepped};
use hc_notifier::{NotifierConfig, Outbox};
use hc_types::{CheckId, CheckKey, CheckSpec, Incarnation, Remembered, SetChange, Status};
use hc_view::Table;

use crate::clock::{MILLISECOND, Nanos, SECOND, nanos};
use crate::context::{Context, Event};
use crate::invariant::{Invariant, Step, hold, violated};
use crate::proxy::{Sent, Set, Update};
use crate::reference::{Reference, Speaks, Standing};
use crate::truth::{Subject, Truth};

pub(crate) use self::delivery::{Batched, Due, Item, Taken, refresh_patience};
use self::delivery::{Latest, Outstanding, Refreshing};
use self::shard::Shard;

/// How a server of this simulation is set up; every one of its processes is.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) manager: ManagerConfig,
    pub(crate) notifier: NotifierConfig,
}

/// What a server leaves behind on the disk.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) written: SystemTime,
    pub(crate) records: Vec<Remembered>,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) conn: u32,
    assembly: Assembly,
    /// Its first set is in effect.
    in_effect: bool,
    /// The proxy keeps what it tells.
    keeps: bool,
}

/// A change that waits for its turn, or whose orders are under way.
#[derive(Debug)]
struct Change {
    conn: u32,
    change: SetChange,
    set: Rc<Set>,
}

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) life: u32,
    pub(crate) born: Nanos,
    pub(crate) stalled_until: Nanos,
    setup: Setup,
    manager: Stepped,
    table: Table,
    outbox: Outbox,
    start: Instant,
    pub(crate) link: Option<Link>,
    shards: Vec<Shard>,
    pub(crate) reference: Reference,
    pub(crate) desired: HashMap<CheckId, Arc<CheckSpec>>,
    latest: HashMap<CheckId, Latest>,
    generation: Option<u64>,
    changes: VecDeque<Change>,
    /// The connection whose change is being carried out, and how many shards have not applied yet.
    obeying: Option<(u32, usize)>,
    outstanding: Option<Outstanding>,
    refreshing: Option<Refreshing>,
    seq: u64,
    /// The latest delivery failed: batches wait for the end of a pause.
    failing: bool,
    snapshot_asked: bool,
}

impl Server {
    pub(crate) fn start(
        life: u32,
        setup: &Setup,
        snapshot: Option<&Snapshot>,
        ctx: &mut Context<'_>,
    ) -> Self {
        let mut manager = Stepped::new(&setup.manager);
        let mut inherited = HashMap::new();
        if let Some(Snapshot { records, .. }) = snapshot {
            inherited.extend(records.iter().map(|known| (ctx.subject(known.key), Standing::from(known))));
            manager.inherit(records.clone(), setup.manager.remember);
        }
        // A core takes instants; the simulation has one to count from.
        let start = ctx.origin;
        ctx.agenda.put(ctx.now + 5 * SECOND, Event::SnapshotDue { life });
        Self {
            life,
            born: ctx.now,
            stalled_until: 0,
            manager,
            table: Table::new(life.into(), 16),
            outbox: Outbox::new(&setup.notifier, start),
            start,
            link: None,
            shards: (0..setup.manager.shards.get()).map(|_| Shard::default()).collect(),
            reference: Reference::new(nanos(setup.manager.remember), inherited),
            desired: HashMap::new(),
            latest: HashMap::new(),
            generation: None,
            changes: VecDeque::new(),
            obeying: None,
            outstanding: None,
            refreshing: None,
            seq: 0,
            failing: false,
            snapshot_asked: false,
            setup: setup.clone(),
        }
    }

    /// A peer connects; it takes the place of another.
    pub(crate) fn accept(&mut self, conn: u32, keeps: bool, ctx: &mut Context<'_>) {
        if let Some(before) = self.link.take() {
            self.hung_up(before.conn, ctx);
            ctx.agenda.put(ctx.now + MILLISECOND, Event::ProxyHangup { conn: before.conn });
        }
        self.link = Some(Link { conn, assembly: Assembly::new(1 << 16), in_effect: false, keeps });
    }

    /// A connection has ended. Checks run on.
    pub(crate) fn hung_up(&mut self, conn: u32, ctx: &mut Context<'_>) {
        self.link.take_if(|link| link.conn == conn);
        if self.outstanding.as_ref().is_some_and(|batch| batch.conn == conn) {
            self.undelivered("the connection ended", ctx);
        }
        if self.refreshing.as_ref().is_some_and(|refresh| refresh.conn == conn) {
            self.not_refreshed("the connection ended", ctx);
        }
    }

    /// A set, or a part of one.
    pub(crate) fn receive(&mut self, conn: u32, sent: Sent, ctx: &mut Context<'_>) -> Step {
        let Some(link) = self.link.as_mut().filter(|link| link.conn == conn) else { return Ok(()) };
        let assembled = match sent.update {
            Update::Configs(configs) => link.assembly.configs(configs),
            Update::Delta(delta) => link.assembly.delta(delta),
        };
        match assembled {
            Assembled::Nothing => {}
            Assembled::Ask(_) => ctx.send_proxy(Event::ConfigsWanted { conn }),
            Assembled::Set(change, rejected) if rejected.is_empty() => {
                let whole = change.generation() == Some(sent.generation);
                hold(whole, Invariant::SetsArriveWhole, ctx.now, || format!("{:?}", change.generation()))?;
                self.changes.push_back(Change { conn, change, set: sent.set });
                self.next_change(ctx)?;
            }
            Assembled::Set(_, rejected) => {
                return Err(violated(Invariant::SetsArriveWhole, ctx.now, format!("rejected: {rejected:?}")));
            }
            Assembled::Refuse(error) => {
                return Err(violated(Invariant::SetsArriveWhole, ctx.now, error.message));
            }
        }
        Ok(())
    }

    /// Plans the next change, tells the outbox, and sends the shards their orders, as `ManagerTask`
    /// does.
    fn next_change(&mut self, ctx: &mut Context<'_>) -> Step {
        if self.obeying.is_some() {
            return Ok(());
        }
        let Some(Change { conn, change, set }) = self.changes.pop_front() else { return Ok(()) };
        let (generation, full) = (change.generation(), change.is_whole());
        match &change {
            SetChange::Full { checks, .. } => self.desired = checks.iter().cloned().collect(),
            SetChange::Delta { upsert, remove, .. } | SetChange::Renewal { upsert, remove, .. } => {
                self.desired.retain(|id, _| !remove.contains(id));
                self.desired.extend(upsert.iter().cloned());
            }
        }
        let same = self.desired.len() == set.len()
            && set.iter().all(|(id, spec)| self.desired.get(id) == Some(spec));
        hold(same, Invariant::SetsArriveWhole, ctx.now, || {
            format!("set {generation:?} is not what was sent")
        })?;

        let planned = ctx.now - self.born;
        let Planned { forget, begin, orders, applied } = self.manager.plan(change, planned);
        ctx.trace(|| format!("server: set {generation:?}, full {full}, {applied:?}"));
        for (id, incarnation) in forget {
            if let Some(slot) = self.table.forget(id, incarnation) {
                self.outbox.forget(slot, id);
            }
            self.forgotten(id, incarnation);
        }
        for (id, incarnation, spec) in begin {
            let slot = self.table.begin(id, incarnation, &spec);
            self.outbox.begin(slot, id);
            self.latest.insert(id, Latest { incarnation, known: None });
        }
        self.generation = generation;
        self.outbox.in_effect(generation, full, self.instant(ctx.now));
        self.failing &= !full;
        self.check_outbox(full, ctx)?;
        self.obeying = Some((conn, orders.len()));
        for (shard, orders) in orders.into_iter().enumerate() {
            // A shard that is busy reads its orders late, and finds results of the old set
            // meanwhile.
            let longest = if ctx.rng.u8(..8) == 0 { 800 } else { 2 };
            let at = ctx.now + ctx.rng.u64(..longest * MILLISECOND);
            ctx.agenda.put(at, Event::Orders { life: self.life, shard, orders, planned });
        }
        Ok(())
    }

    /// A shard carries out its share of a change.
    pub(crate) fn apply(
        &mut self,
        shard: usize,
        orders: Orders,
        planned: Nanos,
        ctx: &mut Context<'_>,
    ) -> Step {
        let now = ctx.now - self.born;
        let mut cancelled = Vec::new();
        let mut spoken = Vec::new();
        for deed in orders.deeds() {
            ctx.trace(|| format!("server: shard {shard}: {deed:?}"));
            match self.reference.apply(shard, deed, planned, now) {
                Ok((place, speaks, flight)) => {
                    cancelled.extend(flight);
                    spoken.extend(place.filter(|_| speaks != Speaks::No).map(|place| (place, speaks)));
                }
                Err(wrong) => return Err(violated(Invariant::RunningIsDesired, ctx.now, wrong)),
            }
        }
        self.note_fullness(shard, ctx);
        let core = &mut self.manager.shards()[shard];
        let before = core.updates().len();
        let dropped = core.apply(orders, now);
        hold(dropped == cancelled, Invariant::OneProbeAtATime, ctx.now, || {
            format!("dropped {dropped:?} for {cancelled:?}")
        })?;
        self.shards[shard].flights.retain(|flight, _| !dropped.contains(flight));
        let updates = core.updates()[before..].to_vec();
        let mut updates = updates.iter().filter(|update| update.reportable).peekable();
        for (place, speaks) in spoken {
            let Some(run) = self.reference.runs.get_mut(&place) else { continue };
            let update = updates.next_if(|update| update.incarnation == run.incarnation);
            let right = match update {
                Some(update) => update.id == run.id && run.spoke(update),
                None => speaks == Speaks::Perhaps && run.kept_silent(),
            };
            hold(right, Invariant::StatusIsTrue, ctx.now, || format!("{update:?} by order, for {run:?}"))?;
        }
        hold(updates.next().is_none(), Invariant::StatusIsTrue, ctx.now, || {
            "a status nobody expects".into()
        })?;
        if let Some((conn, left)) = &mut self.obeying {
            *left -= 1;
            if *left == 0 {
                let conn = *conn;
                self.obeying = None;
                self.in_effect(conn, ctx)?;
            }
        }
        self.turn(shard, None, ctx)
    }

    /// Every shard has applied.
    fn in_effect(&mut self, conn: u32, ctx: &mut Context<'_>) -> Step {
        if let Some(link) = self.link.as_mut().filter(|link| link.conn == conn) {
            link.in_effect = true;
            let keeps = link.keeps;
            // A batch that was made for the consumer before may still be under way; the driver asks
            // before it takes the next.
            if self.outstanding.is_none() {
                self.outbox.consumer(keeps, self.instant(ctx.now));
            }
        }
        let mut running = 0;
        for (core, shard) in self.manager.shards().iter().zip(&mut self.shards) {
            let statuses = core.statuses();
            running += statuses.len();
            shard.most_checks = shard.most_checks.max(statuses.len());
            for (id, spec, _) in statuses {
                hold(self.desired.get(&id) == Some(&spec), Invariant::RunningIsDesired, ctx.now, || {
                    format!("{id} runs as {spec:?}")
                })?;
            }
            let (remembered, most) = (core.remembered(), (2 * shard.most_checks).max(64));
            hold(remembered <= most, Invariant::BoundedMemory, ctx.now, || {
                format!("{remembered} remembered, {most} at most")
            })?;
        }
        let counts = (running, self.reference.runs.len());
        hold(
            counts == (self.desired.len(), self.desired.len()),
            Invariant::RunningIsDesired,
            ctx.now,
            || format!("{counts:?} run of {}", self.desired.len()),
        )?;
        self.next_change(ctx)
    }

    /// A set is in effect.
    fn check_outbox(&self, full: bool, ctx: &Context<'_>) -> Step {
        let stats = self.outbox.stats(self.instant(ctx.now));
        let bounded = stats.entries == self.desired.len() && stats.known <= stats.entries;
        hold(bounded, Invariant::BoundedMemory, ctx.now, || format!("{stats:?} for {}", self.desired.len()))?;
        hold(!full || stats.undelivered == stats.known, Invariant::LatestIsTold, ctx.now, || {
            format!("after a full set not all is told again: {stats:?}")
        })
    }

    /// Writes a snapshot, if a state has changed or one was not written for long.
    pub(crate) fn snapshot(&mut self, keys: &[CheckKey], ctx: &mut Context<'_>) -> Step<Snapshot> {
        self.snapshot_asked = false;
        self.check_view(ctx)?;
        let records = self.manager.export(ctx.now - self.born);
        for record in &records {
            let known = self.reference.knows(ctx.subject(record.key), record);
            hold(known, Invariant::ExportIsTrue, ctx.now, || format!("{record:?} is exported"))?;
        }
        for run in self.reference.runs.values() {
            // It may know nothing, or no more than the process before.
            let bare = run.standings.iter().any(|standing| standing.status.outcome.is_none());
            let key = keys[run.subject];
            let exported = || {
                let of_it = records.iter().filter(|record| record.key == key);
                of_it.into_iter().any(|record| run.standings.iter().any(|standing| standing.is(record)))
            };
            hold(bare || exported(), Invariant::ExportIsTrue, ctx.now, || {
                format!("{run:?} is not exported")
            })?;
        }
        Ok(Snapshot { written: ctx.wall(), records })
    }

    /// All of it stands still until then.
    pub(crate) fn stall(&mut self, shard: Option<usize>, until: Nanos) {
        match shard.and_then(|shard| self.shards.get_mut(shard)) {
            Some(shard) => shard.stall(until),
            None => {
                self.stalled_until = self.stalled_until.max(until);
                self.shards.iter_mut().for_each(|shard| shard.stall(until));
            }
        }
    }

    /// Until when the whole process, or one of its shards, stands still.
    pub(crate) fn stands_still(&self, shard: Option<usize>) -> Nanos {
        let shard = shard.and_then(|shard| self.shards.get(shard));
        shard.map_or(0, |shard| shard.stalled_until).max(self.stalled_until)
    }

    pub(crate) fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// The next thing that this process does by itself: a turn of a shard, or a batch.
    pub(crate) fn next(&mut self, now: Nanos) -> Option<(Nanos, Option<usize>)> {
        let stalled = self.stalled_until;
        let batch = self.next_batch().map(|at| (at.max(stalled).max(now), None));
        let mut next = batch;
        for (index, (core, shard)) in self.manager.shards().iter().zip(&self.shards).enumerate() {
            let Some(wake) = core.next_wake() else { continue };
            let at = (self.born + wake).max(shard.stalled_until).max(now);
            if next.is_none_or(|(soonest, _)| at < soonest) {
                next = Some((at, Some(index)));
            }
        }
        next
    }

    fn instant(&self, now: Nanos) -> Instant {
        self.start + Duration::from_nanos(now)
    }

    /// The run of a check, by its id.
    pub(crate) fn run_of(&self, id: CheckId) -> Option<&crate::reference::Run> {
        self.reference.runs.values().find(|run| run.id == id)
    }
}

impl Setup {
    pub(crate) fn draw(rng: &mut fastrand::Rng) -> Self {
        let number = |choices: &[usize], rng: &mut fastrand::Rng| {
            NonZeroUsize::new(choices[rng.usize(..choices.len())]).unwrap_or(NonZeroUsize::MIN)
        };
        let manager = ManagerConfig::default()
            .shards(number(&[1, 2, 4], rng))
            .max_in_flight(number(&[8, 64, 4096, 4096, 4096], rng))
            .first_probes_per_second(number(&[10, 5000, 5000], rng))
            .remember(Duration::from_secs([0, 5, 60, 60][rng.usize(..4)]));
        let notifier = NotifierConfig::default()
            .batch_delay(Duration::from_millis([0, 100, 100, 500][rng.usize(..4)]))
            .batch_size(number(&[1, 7, 100, 100], rng))
            .notify_interval(Duration::from_secs([10, 15, 15, 30][rng.usize(..4)]));
        Self { manager, notifier }
    }
}

/// What the outbox said of its subject must be about what the id stands for.
fn same(wanted: Option<&Arc<CheckSpec>>, spec: &CheckSpec) -> bool {
    wanted.is_some_and(|wanted| wanted.same_key(spec))
}

/// Statuses are compared as a whole.
fn differs(status: &Status, known: Option<&(Subject, Status)>, spec: &CheckSpec) -> bool {
    known.is_none_or(|(subject, known)| *subject != Truth::subject_of(spec) || known != status)
}

impl Server {
    fn forgotten(&mut self, id: CheckId, incarnation: Incarnation) {
        if self.latest.get(&id).is_some_and(|latest| latest.incarnation == incarnation) {
            self.latest.remove(&id);
        }
    }
}
