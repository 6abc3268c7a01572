//! Nodes around a store, in virtual time.

use std::collections::VecDeque;

use super::*;
use crate::store::StoreEvent as Said;
use crate::{Batch, Term};

const STEP: Duration = Duration::from_millis(20);
/// How often a check is probed, in steps.
const INTERVAL: u64 = 50;

pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Spread over the slots, as digests are.
pub(super) fn key(number: u16) -> CheckKey {
    let mut bytes = [3; 16];
    bytes[1..3].copy_from_slice(&number.wrapping_mul(40_503).to_be_bytes());
    bytes[14..].copy_from_slice(&number.to_be_bytes());
    CheckKey::from_bytes(bytes)
}

pub(super) fn finding(health: Health) -> Finding {
    Finding { health, streak: 1, label: if health == Health::Healthy { "pass" } else { "refused" }.into() }
}

/// A process with a node, and its probes: two failures in a row make a check unhealthy.
struct Process {
    node: Node,
    machines: BTreeMap<CheckKey, (Health, u32)>,
    told: BTreeMap<CheckKey, (Health, Basis)>,
    tellings: usize,
    changes: usize,
    notes: Vec<Note>,
    inbox: VecDeque<(Instant, Said)>,
    is_cut: bool,
    is_deaf: bool,
    blind: BTreeSet<CheckKey>,
}

pub(super) struct Fleet {
    now: Instant,
    steps: u64,
    checks: Vec<(CheckKey, Policy)>,
    processes: BTreeMap<String, Process>,
    down: BTreeSet<CheckKey>,
    store: BTreeMap<String, (Vec<u8>, Term)>,
    leases: BTreeMap<Term, Instant>,
    terms: u64,
    instances: u32,
    refuses: bool,
    begun: usize,
    false_tellings: usize,
    gap: bool,
}

impl Fleet {
    /// All nodes have joined, and all checks are healthy.
    #[allow(clippy::disallowed_methods, reason = "an Instant comes from nowhere else")]
    pub(super) fn started(names: &[&str], checks: u16, policy: Policy) -> Self {
        let mut fleet = Self {
            now: Instant::now(),
            steps: 0,
            checks: (0..checks).map(|number| (key(number), policy)).collect(),
            processes: BTreeMap::new(),
            down: BTreeSet::new(),
            store: BTreeMap::new(),
            leases: BTreeMap::new(),
            terms: 100,
            instances: 0,
            refuses: false,
            begun: 0,
            false_tellings: 0,
            gap: false,
        };
        names.iter().for_each(|name| fleet.join(name));
        fleet.run(seconds(20));
        fleet.gap = false;
        fleet
    }

    pub(super) fn now(&self) -> Instant {
        self.now
    }

    pub(super) fn join(&mut self, name: &str) {
        self.instances += 1;
        let config = NodeConfig::new(NodeName::new(name).unwrap(), format!("process {}", self.instances));
        let mut node = Node::new(config, self.now);
        self.checks.iter().for_each(|(key, policy)| node.add(*key, *policy, self.now));
        let process = Process {
            node,
            machines: BTreeMap::new(),
            told: BTreeMap::new(),
            tellings: 0,
            changes: 0,
            notes: Vec::new(),
            inbox: VecDeque::new(),
            is_cut: false,
            is_deaf: false,
            blind: BTreeSet::new(),
        };
        self.processes.insert(name.into(), process);
        self.read_anew(name);
    }

    pub(super) fn kill(&mut self, name: &str) {
        self.processes.remove(name);
    }

    pub(super) fn leave(&mut self, name: &str) {
        self.act(name, Node::leave);
        self.processes.remove(name);
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.processes.keys().cloned().collect()
    }

    fn process(&mut self, name: &str) -> &mut Process {
        self.processes.get_mut(name).unwrap()
    }

    pub(super) fn node(&self, name: &str) -> &Node {
        &self.processes[name].node
    }

    pub(super) fn probes(&self, name: &str, key: CheckKey) -> bool {
        self.processes[name].machines.contains_key(&key)
    }

    pub(super) fn told(&self, name: &str) -> &BTreeMap<CheckKey, (Health, Basis)> {
        &self.processes[name].told
    }

    pub(super) fn tellings(&self, name: &str) -> usize {
        self.processes[name].tellings
    }

    /// How often consumers of a node have heard of another health than before.
    pub(super) fn changes_told(&self, name: &str) -> usize {
        self.processes[name].changes
    }

    pub(super) fn forget_tellings(&mut self) {
        self.processes.values_mut().for_each(|process| (process.tellings, process.changes) = (0, 0));
    }

    /// How often a check was told unhealthy whose backend was up.
    pub(super) fn false_tellings(&self) -> usize {
        self.false_tellings
    }

    pub(super) fn probes_begun(&self) -> usize {
        self.begun
    }

    pub(super) fn never_without_a_prober(&self) -> bool {
        !self.gap
    }

    pub(super) fn logged(&self, name: &str, is_it: impl Fn(&Note) -> bool) -> bool {
        self.processes[name].notes.iter().any(is_it)
    }

    pub(super) fn down(&mut self, key: CheckKey) {
        self.down.insert(key);
    }

    pub(super) fn blind(&mut self, name: &str, key: CheckKey) {
        self.process(name).blind.insert(key);
    }

    pub(super) fn see_again(&mut self) {
        self.processes.values_mut().for_each(|process| process.blind.clear());
    }

    pub(super) fn cut(&mut self, name: &str, is_cut: bool) {
        let now = self.now;
        let process = self.process(name);
        process.is_cut = is_cut;
        process.inbox.clear();
        if is_cut {
            process.inbox.push_back((now, Said::Deaf));
            self.deliver();
        } else {
            self.read_anew(name);
        }
    }

    pub(super) fn cut_all(&mut self, is_cut: bool) {
        self.names().iter().for_each(|name| self.cut(name, is_cut));
    }

    /// Nothing is heard, and everything else works.
    pub(super) fn deafen(&mut self, name: &str) {
        self.process(name).is_deaf = true;
    }

    pub(super) fn read_anew(&mut self, name: &str) {
        let all = self.store.iter().map(|(key, (value, _))| (key.clone(), value.clone())).collect();
        let at = self.now + STEP;
        let process = self.process(name);
        process.is_deaf = false;
        if !process.is_cut {
            process.inbox.push_back((at, Said::Snapshot(all)));
        }
    }

    pub(super) fn wipe(&mut self) {
        self.store.clear();
        self.leases.clear();
        self.names().iter().for_each(|name| self.read_anew(name));
    }

    pub(super) fn revoke_all(&mut self) {
        self.leases.values_mut().for_each(|end| *end = self.now);
    }

    pub(super) fn refuse_writes(&mut self, refuses: bool) {
        self.refuses = refuses;
    }

    pub(super) fn write(&mut self, key: &str, value: Vec<u8>) {
        self.store.insert(key.into(), (value.clone(), Term(0)));
        self.change(vec![(key.into(), Some(value))]);
    }

    pub(super) fn abstain(&mut self, name: &str, why: Option<String>) {
        let now = self.now;
        self.act(name, |node| node.abstain(why, now));
    }

    /// Does something to a node, and what follows.
    pub(super) fn act(&mut self, name: &str, act: impl FnOnce(&mut Node)) {
        let mut process = self.processes.remove(name).unwrap();
        act(&mut process.node);
        let actions = process.node.take_actions();
        self.processes.insert(name.into(), process);
        actions.into_iter().for_each(|action| self.do_it(name, action));
    }

    fn do_it(&mut self, name: &str, action: Action) {
        match action {
            Action::Store(request) => self.request(name, request),
            Action::Probe(key, from) => {
                self.begun += 1;
                assert!(self.process(name).machines.insert(key, (from, 0)).is_none(), "probed twice");
            }
            Action::Rest(key) => {
                self.process(name).machines.remove(&key).unwrap();
            }
            Action::Tell(key, health, basis) => {
                assert_ne!(health, Health::Unknown);
                self.false_tellings += usize::from(health == Health::Unhealthy && !self.down.contains(&key));
                let process = self.process(name);
                process.tellings += 1;
                let before = process.told.insert(key, (health, basis));
                process.changes += usize::from(before.is_some_and(|before| before.0 != health));
            }
            Action::Log(note) => self.process(name).notes.push(note),
        }
    }

    /// What etcd does.
    fn request(&mut self, name: &str, request: Request) {
        let (now, refuses) = (self.now, self.refuses);
        if self.processes[name].is_cut {
            return;
        }
        let answer = match request {
            Request::Grant if refuses => Said::Failed("no space".into()),
            Request::Grant => {
                self.terms += 1;
                self.leases.insert(Term(self.terms), now + seconds(10));
                Said::Granted(Term(self.terms))
            }
            Request::Register(record) => {
                let key = format!("nodes/{name}");
                let is_free = !self.store.contains_key(&key) && self.leases.contains_key(&record.term);
                if is_free {
                    self.put(vec![(key, record.to_bytes())], record.term);
                }
                Said::Registered(record.term, is_free)
            }
            Request::Update(record) => {
                self.put(vec![(format!("nodes/{name}"), record.to_bytes())], record.term);
                return;
            }
            Request::KeepAlive(term) => match self.leases.get_mut(&term) {
                Some(end) => {
                    *end = now + seconds(10);
                    Said::Kept(term, now)
                }
                None => Said::Lost(term),
            },
            Request::Revoke(term) => {
                self.end(term);
                return;
            }
            Request::Write(Batch { term, ticket, puts, deletes }) => {
                if refuses || !self.leases.contains_key(&term) {
                    Said::NotWritten(ticket, "no".into())
                } else {
                    let key = |object: &String| format!("opinions/{name}/{object}");
                    self.put(puts.into_iter().map(|(object, value)| (key(&object), value)).collect(), term);
                    let deletes: Vec<String> = deletes.iter().map(key).collect();
                    self.store.retain(|key, _| !deletes.iter().any(|gone| key.starts_with(gone)));
                    Said::Written(ticket)
                }
            }
        };
        self.process(name).inbox.push_back((now + STEP, answer));
    }

    fn put(&mut self, puts: Vec<(String, Vec<u8>)>, term: Term) {
        for (key, value) in &puts {
            self.store.insert(key.clone(), (value.clone(), term));
        }
        self.change(puts.into_iter().map(|(key, value)| (key, Some(value))).collect());
    }

    fn end(&mut self, term: Term) {
        self.leases.remove(&term);
        let gone: Vec<String> =
            self.store.iter().filter(|(_, (_, of))| *of == term).map(|(key, _)| key.clone()).collect();
        gone.iter().for_each(|key| {
            self.store.remove(key);
        });
        if !gone.is_empty() {
            self.change(gone.into_iter().map(|key| (key, None)).collect());
        }
    }

    fn change(&mut self, changes: Vec<(String, Option<Vec<u8>>)>) {
        let at = self.now + 2 * STEP;
        for process in self.processes.values_mut().filter(|process| !process.is_cut && !process.is_deaf) {
            process.inbox.push_back((at, Said::Changes(changes.clone())));
        }
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            self.steps += 1;
            let over: Vec<Term> =
                self.leases.iter().filter(|(_, end)| **end <= self.now).map(|(term, _)| *term).collect();
            over.into_iter().for_each(|term| self.end(term));
            self.deliver();
            self.probe();
            let now = self.now;
            for name in self.names() {
                if self.node(&name).due() <= now {
                    self.act(&name, |node| node.tick(now));
                    assert!(self.node(&name).due() > now, "{name} is due again at once");
                }
            }
            let is_probed = |(key, _): &(CheckKey, Policy)| {
                self.processes.values().any(|process| process.machines.contains_key(key))
            };
            self.gap |= !self.checks.iter().all(is_probed);
        }
    }

    fn deliver(&mut self) {
        for name in self.names() {
            let now = self.now;
            if self.steps.is_multiple_of(150) {
                let process = self.process(&name);
                if !process.is_cut && !process.is_deaf {
                    process.inbox.push_back((now, Said::Quiet));
                }
            }
            // In the order in which they were sent.
            while let Some(said) =
                self.process(&name).inbox.front().filter(|(at, _)| *at <= now).map(|(_, said)| said.clone())
            {
                self.process(&name).inbox.pop_front();
                self.act(&name, |node| node.store(said, now));
            }
        }
    }

    fn probe(&mut self) {
        for name in self.names() {
            let process = &self.processes[&name];
            let mut found = Vec::new();
            for (key, (health, failures)) in &process.machines {
                let phase = u64::from(key.to_bytes()[15]);
                if !(self.steps + phase).is_multiple_of(INTERVAL) {
                    continue;
                }
                let passes = !self.down.contains(key) && !process.blind.contains(key);
                let failures = if passes { 0 } else { failures + 1 };
                let now = match (*health, failures) {
                    (_, 0) => Health::Healthy,
                    (Health::Unknown, _) | (_, 2..) => Health::Unhealthy,
                    (before, _) => before,
                };
                found.push((*key, now, failures, passes == (now == Health::Healthy)));
            }
            let at = self.now;
            for (key, health, failures, bears_out) in found {
                if let Some(machine) = self.process(&name).machines.get_mut(&key) {
                    *machine = (health, failures);
                    self.act(&name, |node| node.found(key, finding(health), bears_out, at));
                }
            }
        }
    }
}
