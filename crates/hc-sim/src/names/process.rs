//! One process of hc-server with a file of checks: the real task that follows names, the plan of
//! the file, the admission, the manager, the view and one outbox, joined as their drivers join
//! them.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use hc_config::Checks;
use hc_files::stepped::Stepped as Plan;
use hc_manager::ManagerConfig;
use hc_manager::stepped::{Flight, Stepped as Manager};
use hc_notifier::{DeliveryError, Due, NotifierConfig, Outbox};
use hc_resolve::{Change, Handle, NamesConfig, follow};
use hc_sources::{Admission, Admitted, Directory, SourceId};
use hc_types::{Batch, CheckId, CheckSpec, Incarnation, Outcome, Proposal, Remembered, SetChange};
use hc_view::Table;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::zone::{Resolver, Zone};
use super::{NamesFault, SHARDS};
use crate::clock::{Nanos, nanos};
use crate::invariant::{Invariant, Step, hold};

/// A check that runs.
#[derive(Clone, Debug)]
struct Running {
    name: Arc<str>,
    incarnation: Incarnation,
    spec: Arc<CheckSpec>,
}

#[derive(Debug)]
pub(super) struct Process {
    pub(super) life: u32,
    pub(super) born: Nanos,
    plan: Plan,
    admission: Admission,
    source: SourceId,
    directory: Arc<Directory>,
    manager: Manager,
    table: Table,
    outbox: Outbox,
    origin: Instant,
    names: Handle,
    changes: mpsc::Receiver<Change>,
    /// The task that follows names; it ends with the process.
    _following: JoinSet<()>,
    running: BTreeMap<CheckId, Running>,
    /// Probes in flight whose checks run.
    flights: HashSet<(usize, Flight)>,
    fault: Option<NamesFault>,
}

/// What a process is made of.
pub(super) struct Start<'a> {
    pub(super) life: u32,
    pub(super) now: Nanos,
    pub(super) origin: Instant,
    pub(super) zone: &'a Arc<Mutex<Zone>>,
    pub(super) names: &'a NamesConfig,
    pub(super) checks: Checks,
    pub(super) remembered: Vec<Remembered>,
    pub(super) fault: Option<NamesFault>,
}

impl Process {
    /// With the checks of the file, and no address of any name.
    pub(super) fn start(start: Start<'_>) -> Self {
        let Start { life, now, origin, zone, names, checks, remembered, fault } = start;
        let (changed, changes) = mpsc::channel(16);
        let resolver = Resolver::new(zone, life);
        let (names, following) = follow(resolver, names.clone(), changed, CancellationToken::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(following);
        let config = ManagerConfig::default().shards(SHARDS);
        let mut manager = Manager::new(&config);
        manager.inherit(remembered, config.remember);
        let directory = Arc::new(Directory::default());
        let mut admission = Admission::new(Arc::clone(&directory));
        let plan = Plan::new(checks);
        names.set(plan.hosts());
        Self {
            life,
            born: now,
            plan,
            source: admission.add("files"),
            admission,
            directory,
            manager,
            table: Table::new(life.into(), 16),
            outbox: Outbox::new(&NotifierConfig::default(), origin),
            origin,
            names,
            changes,
            _following: tasks,
            running: BTreeMap::new(),
            flights: HashSet::new(),
            fault,
        }
    }

    /// The first proposal.
    pub(super) fn announce(&mut self, now: Nanos) -> Step {
        let proposal = self.plan.all();
        self.propose(proposal, now)
    }

    /// The file has been read again.
    pub(super) fn replace(&mut self, checks: Checks, now: Nanos) -> Step {
        let (proposal, _) = self.plan.replace(checks);
        self.names.set(self.plan.hosts());
        self.propose(proposal, now)
    }

    /// The next change of addresses.
    pub(super) async fn change(&mut self) -> Option<Change> {
        self.changes.recv().await
    }

    /// A change of addresses that has come.
    pub(super) fn has_changed(&mut self) -> Option<Change> {
        self.changes.try_recv().ok()
    }

    pub(super) fn resolved(&mut self, change: &Change, now: Nanos) -> Step {
        match self.plan.resolved(change) {
            Some(proposal) => self.propose(proposal, now),
            None => Ok(()),
        }
    }

    fn propose(&mut self, mut proposal: Proposal, now: Nanos) -> Step {
        self.spoil(&mut proposal);
        let (Admitted { change, rejected }, reply) = self.admission.admit(self.source, proposal);
        let wrong = rejected.iter().find(|rejection| rejection.id.is_some());
        hold(wrong.is_none(), Invariant::LastAddressesStand, now, || format!("{wrong:?} is rejected"))?;
        let full = change.is_whole();
        let before = self.running.clone();
        let planned = self.manager.plan(change.clone(), now - self.born);
        for (id, incarnation) in planned.forget {
            self.running.remove(&id);
            if let Some(slot) = self.table.forget(id, incarnation) {
                self.outbox.forget(slot, id);
            }
        }
        for (id, incarnation, spec) in planned.begin {
            let slot = self.table.begin(id, incarnation, &spec);
            self.outbox.begin(slot, id);
            let name = self.directory.get(id).and_then(|known| known.name.clone()).unwrap_or_default();
            self.running.insert(id, Running { name, incarnation, spec });
        }
        let (SetChange::Full { checks: specs, .. }
        | SetChange::Renewal { upsert: specs, .. }
        | SetChange::Delta { upsert: specs, .. }) = change;
        for (id, spec) in specs {
            self.running.entry(id).and_modify(|running| running.spec = spec);
        }
        self.outbox.in_effect(None, full, self.instant(now));
        self.check_kept(&before, now)?;
        for (shard, orders) in planned.orders.into_iter().enumerate() {
            for flight in self.manager.shards()[shard].apply(orders, now - self.born) {
                self.flights.remove(&(shard, flight));
            }
            self.record(shard, now);
        }
        reply.applied(rejected);
        Ok(())
    }

    /// Checks that stay go on as they are, whatever else has changed: what a name stands for never
    /// does.
    fn check_kept(&self, before: &BTreeMap<CheckId, Running>, now: Nanos) -> Step {
        let named = |running: &Running| running.name.clone();
        let old: BTreeMap<_, _> =
            before.iter().map(|(id, running)| (named(running), (id, running))).collect();
        for (id, running) in &self.running {
            let Some((was, old)) = old.get(&running.name) else { continue };
            let stays = (*was, old.incarnation) == (id, running.incarnation);
            hold(stays, Invariant::HealthIsKept, now, || {
                format!("{} was {was} and is {id} now: {old:?}, {running:?}", running.name)
            })?;
        }
        Ok(())
    }

    /// Does wrongly what is to be done wrongly on purpose.
    fn spoil(&self, proposal: &mut Proposal) {
        let SetChange::Delta { upsert, remove, .. } = &mut proposal.change else { return };
        match self.fault {
            Some(NamesFault::RemovedStay) => remove.clear(),
            Some(NamesFault::NewIds) => {
                let renamed = |id: CheckId| CheckId(id.0 ^ u64::from(u32::MAX));
                remove.extend(upsert.iter().map(|(id, _)| *id));
                upsert.iter_mut().for_each(|(id, _)| *id = renamed(*id));
                proposal.metadata.iter_mut().for_each(|(id, _)| *id = renamed(*id));
            }
            _ => {}
        }
    }

    /// When a shard or the outbox has something to do.
    pub(super) fn next(&mut self) -> Option<Nanos> {
        let born = self.born;
        let wake = self.manager.shards().iter().filter_map(|core| core.next_wake()).min();
        let batch = match self.outbox.due() {
            Due::At(due) => Some(nanos(due.saturating_duration_since(self.origin))),
            Due::OnChange | Due::Never => None,
        };
        wake.map(|wake| wake + born).into_iter().chain(batch).min()
    }

    /// A turn of a shard begins.
    pub(super) fn begin_turn(&mut self, shard: usize, now: Nanos) {
        let now = now - self.born;
        self.manager.shards()[shard].begin_turn(now);
    }

    pub(super) fn end_turn(&mut self, shard: usize, now: Nanos) {
        self.record(shard, now);
        let since = now - self.born;
        self.manager.shards()[shard].end_turn(since);
    }

    pub(super) fn start_probe(
        &mut self,
        shard: usize,
        now: Nanos,
        wall: SystemTime,
    ) -> Option<(Flight, Arc<CheckSpec>)> {
        let since = now - self.born;
        let started = self.manager.shards()[shard].start(since, wall);
        self.flights.extend(started.as_ref().map(|(flight, _)| (shard, *flight)));
        started
    }

    /// A probe has ended. Whether its check still runs.
    pub(super) fn complete(
        &mut self,
        shard: usize,
        flight: Flight,
        outcome: Outcome,
        [began, ended]: [Nanos; 2],
    ) -> bool {
        let (began, ended) = (began - self.born, ended - self.born);
        self.manager.shards()[shard].complete(flight, outcome, began, ended);
        self.flights.remove(&(shard, flight))
    }

    fn record(&mut self, shard: usize, now: Nanos) {
        let instant = self.instant(now);
        for update in self.manager.shards()[shard].updates().drain(..) {
            if let Some(report) = self.table.record(update) {
                self.outbox.reported(report, instant);
            }
        }
    }

    pub(super) fn take_batch(&mut self, now: Nanos) -> Option<Batch> {
        self.outbox.take(&self.table, self.instant(now))
    }

    pub(super) fn delivered(&mut self, is_taken: bool, now: Nanos) {
        let now = self.instant(now);
        match is_taken {
            true => self.outbox.delivered(now),
            false => self.outbox.failed(&DeliveryError::new("not today"), now),
        }
    }

    pub(super) fn incarnation(&self, id: CheckId) -> Option<Incarnation> {
        self.running.get(&id).map(|running| running.incarnation)
    }

    /// What each check in the shards probes.
    pub(super) fn probed(&mut self) -> BTreeMap<CheckId, BTreeSet<IpAddr>> {
        let of = |spec: &CheckSpec| match spec.host_name() {
            Some(host) => host.addresses().iter().copied().collect(),
            None => [spec.target().ip()].into(),
        };
        let all = self.manager.shards().iter().flat_map(|core| core.statuses());
        all.map(|(id, spec, _)| (id, of(&spec))).collect()
    }

    pub(super) fn export(&mut self, now: Nanos) -> Vec<Remembered> {
        self.manager.export(now - self.born)
    }

    fn instant(&self, now: Nanos) -> Instant {
        self.origin + Duration::from_nanos(now)
    }
}
