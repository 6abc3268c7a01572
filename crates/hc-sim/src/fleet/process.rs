//! A process with a node: what its driver does, its probes and its consumers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use fastrand::Rng;
use hc_fleet::{Action, Basis, Finding, Node, NodeConfig, NodeName, Note, Request, StoreEvent};
use hc_types::{CheckKey, Health};

use super::{Event, FleetFault, TWIN, Who, World};
use crate::clock::{MILLISECOND, Nanos, SECOND};
use crate::invariant::{Invariant, Step, hold};

/// Tells one process on a host from the next.
pub(super) type Life = u32;

/// How long the driver waits for an answer.
const TIMEOUT: Nanos = 5 * SECOND;
/// Objects that the fleet may write in a second.
pub(super) const RATE: u32 = 20;

/// Where a process may run.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: NodeName,
    pub(super) zone: String,
    pub(super) capacity: u16,
    pub(super) process: Option<Process>,
    lives: Life,
    /// Nothing that it sends arrives.
    pub(super) is_up_cut: bool,
    /// Nothing that is sent to it arrives.
    pub(super) is_down_cut: bool,
    /// Since when neither is so, or one of them.
    pub(super) link_since: Nanos,
    /// What it has sent while it was cut off; some of that arrives in the end.
    pub(super) held: Vec<(Who, u64, Request)>,
    /// When a process has last run.
    pub(super) ran: Nanos,
    /// Its clock is so far ahead of that of the simulation.
    clock: Duration,
    /// What its latest life that has ended told.
    pub(super) told_before: Vec<Option<(Health, Basis)>>,
    /// It is to stay down.
    pub(super) is_out: bool,
    /// The number of the latest time at which it began to abstain.
    pub(super) abstention: u64,
}

#[derive(Debug)]
struct Machine {
    epoch: u64,
    health: Health,
    /// When it came to that health, or was begun.
    changed: Nanos,
    /// Results in a row, of one kind.
    passes: bool,
    row: u32,
}

#[derive(Debug)]
pub(super) struct Process {
    pub(super) life: Life,
    pub(super) node: Node,
    machines: BTreeMap<usize, Machine>,
    pub(super) told: Vec<Option<(Health, Basis)>>,
    /// Up to which revision it has heard of everything; `None` while it reads all keys.
    watch: Option<u64>,
    /// Reads of all keys; what an earlier one has found is dropped.
    reads: u64,
    /// The watch says nothing.
    pub(super) is_silent: bool,
    pub(super) is_joined: bool,
    /// Since when it has been a member and heard everything.
    pub(super) well_since: Nanos,
    pub(super) abstains: bool,
    pub(super) stalled_until: Nanos,
    /// When the latest of its requests arrives.
    arrival: Nanos,
    pending: BTreeMap<u64, (Pending, Instant)>,
    ticks_at: Nanos,
    /// When it has written, and how many objects.
    pub(super) writes: VecDeque<(Nanos, usize)>,
}

#[derive(Clone, Copy, Debug)]
enum Pending {
    Write(u64),
    Other,
}

impl Host {
    pub(super) fn new(number: usize, rng: &mut Rng) -> Self {
        let named = if number == TWIN { 0 } else { number };
        Self {
            name: NodeName::new(&format!("lb{named}")).expect("a name"),
            zone: ["", "a", "b"][rng.usize(..3)].into(),
            capacity: [1, 1, 2][rng.usize(..3)],
            process: None,
            lives: 0,
            is_up_cut: false,
            is_down_cut: false,
            link_since: 0,
            held: Vec::new(),
            ran: 0,
            clock: Duration::from_secs(rng.u64(..7200)),
            told_before: Vec::new(),
            is_out: false,
            abstention: 0,
        }
    }

    pub(super) fn is_cut(&self) -> bool {
        self.is_up_cut || self.is_down_cut
    }
}

impl Process {
    /// Whether it probes a check.
    pub(super) fn probes(&self, check: usize) -> bool {
        self.machines.contains_key(&check)
    }

    /// When its own probes last came to another health of a check, or began.
    pub(super) fn changed(&self, check: usize) -> Option<Nanos> {
        self.machines.get(&check).map(|machine| machine.changed)
    }
}

impl World {
    pub(super) fn clock(&self, host: usize) -> Instant {
        self.origin + self.hosts[host].clock + Duration::from_nanos(self.now)
    }

    pub(super) fn start(&mut self, host: usize) -> Step {
        if self.hosts[host].process.is_some() || self.hosts[host].is_out {
            return Ok(());
        }
        let now = self.clock(host);
        let slot = &mut self.hosts[host];
        slot.lives += 1;
        let life = slot.lives;
        let mut config = NodeConfig::new(slot.name.clone(), format!("process {life} on {host}"));
        config.record.zone.clone_from(&slot.zone);
        config.record.capacity = slot.capacity;
        config.writes_per_second = RATE;
        let mut node = Node::new(config, now);
        for (number, check) in self.checks.iter().enumerate() {
            if !self.lacking.contains(&(host, number)) {
                node.add(check.key, check.policy, now);
            }
        }
        slot.process = Some(Process {
            life,
            node,
            machines: BTreeMap::new(),
            told: vec![None; self.checks.len()],
            watch: None,
            reads: 0,
            is_silent: false,
            is_joined: false,
            well_since: self.now,
            abstains: false,
            stalled_until: 0,
            arrival: 0,
            pending: BTreeMap::new(),
            ticks_at: Nanos::MAX,
            writes: VecDeque::new(),
        });
        self.trace(|| format!("{host} starts"));
        let who = (host, life);
        self.agenda.put(self.now, Event::Read(who));
        self.agenda.put(self.now + 3 * SECOND, Event::Progress(who));
        self.act(host, |_, _| {})
    }

    pub(super) fn kill(&mut self, host: usize) {
        let slot = &mut self.hosts[host];
        slot.told_before = slot.process.take().map(|process| process.told).unwrap_or_default();
        slot.ran = self.now;
        slot.held.clear();
        self.trace(|| format!("{host} is killed"));
    }

    pub(super) fn who(&self, host: usize) -> Option<Who> {
        self.hosts[host].process.as_ref().map(|process| (host, process.life))
    }

    /// Does something to a node, and what it wants done then.
    pub(super) fn act(&mut self, host: usize, act: impl FnOnce(&mut Node, Instant)) -> Step {
        let now = self.clock(host);
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        act(&mut process.node, now);
        for action in process.node.take_actions() {
            self.do_it(host, action)?;
        }
        self.wake(host)
    }

    /// A tick when the node is due.
    fn wake(&mut self, host: usize) -> Step {
        let now = self.clock(host);
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        let due = process.node.due();
        let wait = due.saturating_duration_since(now).as_nanos();
        let at = self.now + u64::try_from(wait).unwrap_or(Nanos::MAX / 2);
        // A timer that is late a little.
        let at = at + MILLISECOND;
        if at < process.ticks_at || process.ticks_at < self.now {
            process.ticks_at = at;
            self.agenda.put(at, Event::Tick((host, process.life)));
        }
        Ok(())
    }

    pub(super) fn tick(&mut self, who: Who) -> Step {
        let now = self.clock(who.0);
        let Some(process) = &mut self.hosts[who.0].process else { return Ok(()) };
        if process.ticks_at > self.now {
            return Ok(());
        }
        process.ticks_at = Nanos::MAX;
        if process.node.due() <= now {
            self.act(who.0, Node::tick)?;
            let process = self.hosts[who.0].process.as_ref();
            let is_due = process.is_some_and(|process| process.node.due() <= now);
            return hold(!is_due, Invariant::FleetActsOnce, self.now, || {
                format!("{} is due again at once", who.0)
            });
        }
        self.wake(who.0)
    }

    fn do_it(&mut self, host: usize, action: Action) -> Step {
        match action {
            Action::Store(request) => self.request(host, request),
            Action::Probe(key, health) => return self.begin(host, key, health),
            Action::Rest(key) => {
                let check = self.number(key);
                self.trace(|| format!("{host} rests {check}"));
                let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
                let was = process.machines.remove(&check).is_some();
                return hold(was, Invariant::FleetActsOnce, self.now, || {
                    format!("{host} is to rest {check}, which it does not probe")
                });
            }
            Action::Tell(key, health, basis) => {
                let check = self.number(key);
                self.trace(|| format!("{host} tells {check} is {health:?} ({basis:?})"));
                return self.hear(host, check, health, basis);
            }
            Action::Log(note) => {
                self.trace(|| format!("{host} says {note:?}"));
                let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
                match note {
                    Note::Joined => process.is_joined = true,
                    Note::LeaseLost => process.is_joined = false,
                    _ => return Ok(()),
                }
                process.well_since = self.now;
            }
        }
        Ok(())
    }

    fn number(&self, key: CheckKey) -> usize {
        self.checks.iter().position(|check| check.key == key).unwrap_or(usize::MAX)
    }

    fn begin(&mut self, host: usize, key: CheckKey, health: Health) -> Step {
        let check = self.number(key);
        self.trace(|| format!("{host} probes {check}, from {health:?}"));
        self.ids += 1;
        let epoch = self.ids;
        let first = self.rng.u64(..=self.checks[check].interval);
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        let machine = Machine { epoch, health, changed: self.now, passes: true, row: 0 };
        let is_new = process.machines.insert(check, machine).is_none();
        self.agenda.put(self.now + first, Event::Probe((host, process.life), check, epoch));
        hold(is_new, Invariant::FleetActsOnce, self.now, || {
            format!("{host} is to probe {check}, which it probes")
        })
    }

    pub(super) fn probe(&mut self, who: Who, number: usize, epoch: u64) -> Step {
        let check = &self.checks[number];
        let view = check.view(who.0);
        let Some(process) = &mut self.hosts[who.0].process else { return Ok(()) };
        let Some(machine) = process.machines.get_mut(&number).filter(|machine| machine.epoch == epoch) else {
            return Ok(());
        };
        self.probes += 1;
        let passes = view == Health::Healthy;
        machine.row = if machine.passes == passes { machine.row + 1 } else { 1 };
        machine.passes = passes;

        let needed = if passes { check.rise } else { check.fall };
        if machine.health == Health::Unknown || machine.row >= needed {
            if machine.health != view {
                machine.changed = self.now;
            }
            machine.health = view;
        }
        let label = if passes { "pass" } else { "refused" };
        let finding = Finding { health: machine.health, streak: machine.row, label: label.into() };
        let bears_out = machine.health == view;
        let key = check.key;
        self.agenda.put(self.now + check.interval, Event::Probe(who, number, epoch));
        self.act(who.0, |node, now| node.found(key, finding, bears_out, now))
    }

    fn request(&mut self, host: usize, request: Request) {
        let mut request = request;
        if let Request::Register(record) | Request::Update(record) = &mut request
            && self.fault == Some(FleetFault::Believed)
        {
            record.abstains = None;
        }
        self.ids += 1;
        let id = self.ids;
        let latency = self.latency();
        let at = self.clock(host);
        let slot = &mut self.hosts[host];
        let Some(process) = &mut slot.process else { return };
        let who = (host, process.life);
        let pending = match &request {
            Request::Write(batch) => {
                let objects = batch.puts.len() + batch.deletes.len();
                process.writes.push_back((self.now, objects));
                Some(Pending::Write(batch.ticket))
            }
            Request::Revoke(_) => None,
            _ => Some(Pending::Other),
        };
        if let Some(pending) = pending {
            process.pending.insert(id, (pending, at));
            self.agenda.put(self.now + TIMEOUT, Event::TimedOut(who, id));
        }
        if matches!(request, Request::Update(_)) {
            // It has no answer but an error.
            process.pending.remove(&id);
        }
        if slot.is_up_cut {
            slot.held.push((who, id, request));
            return;
        }
        // In order; while there is no leader they wait.
        process.arrival = process.arrival.max(self.now + latency).max(self.etcd.headless_until) + 1;
        self.agenda.put(process.arrival, Event::Arrive(who, id, request));
    }

    /// What was held back arrives, before anything that is sent from now on.
    pub(super) fn release(&mut self, host: usize) {
        let held = std::mem::take(&mut self.hosts[host].held);
        for (who, id, request) in held {
            let Some(process) = &mut self.hosts[host].process else { return };
            process.arrival = process.arrival.max(self.now + MILLISECOND).max(self.etcd.headless_until) + 1;
            self.agenda.put(process.arrival, Event::Arrive(who, id, request));
        }
    }

    pub(super) fn answer(&mut self, who: Who, id: u64, said: StoreEvent) -> Step {
        let Some(process) = &mut self.hosts[who.0].process else { return Ok(()) };
        let Some((_, sent)) = process.pending.remove(&id) else { return Ok(()) };
        let said = match said {
            StoreEvent::Kept(term, _) => StoreEvent::Kept(term, sent),
            StoreEvent::NotWritten(ticket, _) if self.fault == Some(FleetFault::LostIsWritten) => {
                StoreEvent::Written(ticket)
            }
            said => said,
        };
        self.act(who.0, |node, now| node.store(said, now))
    }

    pub(super) fn timed_out(&mut self, who: Who, id: u64) -> Step {
        let Some(process) = &mut self.hosts[who.0].process else { return Ok(()) };
        let Some((pending, _)) = process.pending.remove(&id) else { return Ok(()) };
        let is_lost = self.fault == Some(FleetFault::LostIsWritten);
        let said = match pending {
            Pending::Write(ticket) if is_lost => StoreEvent::Written(ticket),
            Pending::Write(ticket) => StoreEvent::NotWritten(ticket, "no answer".into()),
            Pending::Other => StoreEvent::Failed("no answer".into()),
        };
        self.act(who.0, |node, now| node.store(said, now))
    }

    pub(super) fn pump(&mut self, who: Who) -> Step {
        let is_cut = self.hosts[who.0].is_down_cut;
        let is_whole = self.rng.bool();
        let Some(process) = &mut self.hosts[who.0].process else { return Ok(()) };
        if process.stalled_until > self.now {
            self.agenda.put(process.stalled_until, Event::Pump(who));
            return Ok(());
        }
        let Some(revision) = process.watch.filter(|_| !is_cut && !process.is_silent) else { return Ok(()) };
        let latest = self.etcd.revision;
        if revision >= latest {
            return Ok(());
        }
        let Some(changes) = self.etcd.since(revision) else { return self.reread(who) };
        process.watch = Some(latest);
        let batches = if is_whole { vec![changes.concat()] } else { changes };
        for changes in batches {
            self.act(who.0, |node, now| node.store(StoreEvent::Changes(changes), now))?;
        }
        Ok(())
    }

    /// The watch has a gap.
    pub(super) fn reread(&mut self, who: Who) -> Step {
        let Some(process) = &mut self.hosts[who.0].process else { return Ok(()) };
        if process.stalled_until > self.now {
            return Ok(());
        }
        if self.fault == Some(FleetFault::GapsAreSilent) && process.watch.is_some() {
            process.watch = Some(self.etcd.revision);
            return Ok(());
        }
        (process.watch, process.well_since) = (None, self.now);
        self.agenda.put(self.now + self.rng.u64(1..2000) * MILLISECOND, Event::Read(who));
        self.act(who.0, |node, now| node.store(StoreEvent::Deaf, now))
    }

    pub(super) fn progress(&mut self, who: Who) -> Step {
        self.agenda.put(self.now + 3 * SECOND, Event::Progress(who));
        self.pump(who)?;
        let is_cut = self.hosts[who.0].is_cut() || self.etcd.headless_until > self.now;
        let Some(process) = &self.hosts[who.0].process else { return Ok(()) };
        let is_current = process.watch == Some(self.etcd.revision) && !process.is_silent && !is_cut;
        if is_current || self.fault == Some(FleetFault::AlwaysQuiet) {
            return self.act(who.0, |node, now| node.store(StoreEvent::Quiet, now));
        }
        Ok(())
    }

    /// What is read is what there is when the question arrives.
    pub(super) fn read(&mut self, who: Who) {
        let slot = &mut self.hosts[who.0];
        let is_cut = slot.is_cut() || self.etcd.headless_until > self.now;
        let Some(process) = slot.process.as_mut().filter(|process| process.life == who.1) else { return };
        if is_cut {
            return self.agenda.put(self.now + SECOND, Event::Read(who));
        }
        process.reads += 1;
        let all = self.etcd.keys.iter().map(|(key, (value, _))| (key.clone(), value.clone())).collect();
        let read = Event::Snapshot(who, process.reads, self.etcd.revision, all);
        let at = self.now + self.rng.u64(1..200) * MILLISECOND;
        self.agenda.put(at, read);
    }

    pub(super) fn snapshot(
        &mut self,
        who: Who,
        round: u64,
        revision: u64,
        entries: Vec<(String, Vec<u8>)>,
    ) -> Step {
        if self.hosts[who.0].is_down_cut {
            self.agenda.put(self.now + SECOND, Event::Read(who));
            return Ok(());
        }
        let Some(process) = &mut self.hosts[who.0].process else { return Ok(()) };
        if process.reads != round {
            return Ok(());
        }
        (process.watch, process.well_since) = (Some(revision), self.now);
        self.act(who.0, |node, now| node.store(StoreEvent::Snapshot(entries), now))?;
        self.pump(who)
    }

    pub(super) fn running(&self) -> BTreeSet<usize> {
        (0..self.hosts.len()).filter(|host| self.hosts[*host].process.is_some()).collect()
    }
}
