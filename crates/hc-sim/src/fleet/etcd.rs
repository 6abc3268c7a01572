//! The store: keys under leases, revisions, and what has changed with each.

use std::collections::{BTreeMap, VecDeque};

use hc_fleet::{Batch, Request, StoreEvent, Term};

use super::{Event, FleetFault, Who, World};
use crate::clock::{Nanos, SECOND};

pub(super) const TTL: Nanos = 10 * SECOND;
/// Changes that can be read again.
const KEPT: usize = 400;

type Change = (String, Option<Vec<u8>>);

#[derive(Debug, Default)]
pub(super) struct Etcd {
    pub(super) keys: BTreeMap<String, (Vec<u8>, Term)>,
    pub(super) leases: BTreeMap<Term, Nanos>,
    pub(super) revision: u64,
    /// What was changed with each revision since the one that was compacted.
    log: VecDeque<(u64, Vec<Change>)>,
    pub(super) compacted: u64,
    terms: u64,
    /// A write takes a second.
    pub(super) is_slow: bool,
    /// It takes no writes: its quota is full.
    pub(super) is_full: bool,
    /// There is no leader until then.
    pub(super) headless_until: Nanos,
}

impl Etcd {
    fn commit(&mut self, changes: Vec<Change>) {
        self.revision += 1;
        self.log.push_back((self.revision, changes));
        if self.log.len() > KEPT {
            self.compact(1);
        }
    }

    pub(super) fn compact(&mut self, number: usize) {
        for (revision, _) in self.log.drain(..number.min(self.log.len())) {
            self.compacted = revision;
        }
    }

    pub(super) fn kept(&self) -> usize {
        self.log.len()
    }

    /// What came after a revision; `None` if that is compacted.
    pub(super) fn since(&self, revision: u64) -> Option<Vec<Vec<Change>>> {
        let of = |(_, changes): &(u64, Vec<Change>)| changes.clone();
        let later = self.log.iter().filter(|(number, _)| *number > revision).map(of);
        (revision >= self.compacted).then(|| later.collect())
    }

    fn put(&mut self, key: String, value: Vec<u8>, term: Term) -> Change {
        self.keys.insert(key.clone(), (value.clone(), term));
        (key, Some(value))
    }

    /// Deletes what is under a lease. Whether there was something.
    pub(super) fn end(&mut self, term: Term) -> bool {
        self.leases.remove(&term);
        let gone: Vec<String> =
            self.keys.iter().filter(|(_, (_, of))| *of == term).map(|(key, _)| key.clone()).collect();
        gone.iter().for_each(|key| drop(self.keys.remove(key)));
        let is_change = !gone.is_empty();
        if is_change {
            self.commit(gone.into_iter().map(|key| (key, None)).collect());
        }
        is_change
    }

    pub(super) fn wipe(&mut self) {
        self.keys.clear();
        self.leases.clear();
        self.log.clear();
        // All who watch have to read it anew.
        self.revision += 1000;
        self.compacted = self.revision;
    }

    fn write(&mut self, name: &str, batch: Batch) -> StoreEvent {
        let Batch { term, ticket, puts, deletes } = batch;
        if self.is_full || !self.leases.contains_key(&term) {
            return StoreEvent::NotWritten(ticket, "the lease is gone, or the quota full".into());
        }
        let key = |object: &String| format!("opinions/{name}/{object}");
        let deletes: Vec<String> = deletes.iter().map(key).collect();
        let is_gone = |key: &String| deletes.iter().any(|gone| key.starts_with(gone));
        let gone: Vec<String> = self.keys.keys().filter(|key| is_gone(key)).cloned().collect();
        gone.iter().for_each(|key| drop(self.keys.remove(key)));
        let mut changes: Vec<Change> = gone.into_iter().map(|key| (key, None)).collect();
        for (object, value) in puts {
            let change = self.put(key(&object), value, term);
            changes.push(change);
        }
        self.commit(changes);
        StoreEvent::Written(ticket)
    }
}

impl World {
    /// The store does what it is asked for, all or nothing, and answers.
    pub(super) fn arrive(&mut self, who: Who, id: u64, request: Request) {
        let name = self.hosts[who.0].name.clone();
        let key = format!("nodes/{name}");
        let before = self.etcd.revision;
        let failed = |why: &str| StoreEvent::Failed(why.into());
        let etcd = &mut self.etcd;
        let answer = match request {
            Request::Grant if etcd.is_full => failed("no space"),
            Request::Grant => {
                etcd.terms += 1;
                let term = Term(etcd.terms);
                etcd.leases.insert(term, self.now + TTL);
                self.agenda.put(self.now + TTL, Event::Expire(term));
                StoreEvent::Granted(term)
            }
            Request::Register(record) if !etcd.leases.contains_key(&record.term) || etcd.is_full => {
                failed("no such lease, or no space")
            }
            Request::Register(record) => {
                let is_free = etcd.keys.get(&key).is_none_or(|(_, term)| *term == record.term);
                if is_free {
                    let change = etcd.put(key, record.to_bytes(), record.term);
                    etcd.commit(vec![change]);
                }
                StoreEvent::Registered(record.term, is_free)
            }
            Request::Update(record) => {
                if etcd.keys.get(&key).is_some_and(|(_, term)| *term == record.term) && !etcd.is_full {
                    let change = etcd.put(key, record.to_bytes(), record.term);
                    etcd.commit(vec![change]);
                }
                return self.announce(before);
            }
            Request::KeepAlive(term) => match etcd.leases.get_mut(&term) {
                Some(end) => {
                    *end = self.now + TTL;
                    StoreEvent::Kept(term, self.origin)
                }
                None => StoreEvent::Lost(term),
            },
            Request::Revoke(term) => {
                etcd.end(term);
                return self.announce(before);
            }
            Request::Write(batch) => etcd.write(name.as_str(), batch),
        };
        self.announce(before);
        if !self.hosts[who.0].is_down_cut {
            let at = self.now + self.latency() / 2;
            self.agenda.put(at, Event::Answer(who, id, answer));
        }
    }

    /// Those who watch hear of changes.
    pub(super) fn announce(&mut self, before: u64) {
        if self.etcd.revision == before {
            return;
        }
        for host in 0..self.hosts.len() {
            if let Some(process) = &self.hosts[host].process {
                let who = (host, process.life);
                let at = self.now + self.rng.u64(1..40) * SECOND / 1000;
                self.agenda.put(at, Event::Pump(who));
            }
        }
    }

    pub(super) fn expire(&mut self, term: Term) {
        let Some(end) = self.etcd.leases.get(&term).copied() else { return };
        let end = end.max(self.etcd.headless_until + TTL * u64::from(self.etcd.headless_until > self.now));
        if end > self.now {
            self.agenda.put(end, Event::Expire(term));
        } else if self.fault != Some(FleetFault::LeasesStay) {
            let before = self.etcd.revision;
            self.trace(|| format!("lease {term} ends"));
            self.etcd.end(term);
            self.announce(before);
        }
    }
}
