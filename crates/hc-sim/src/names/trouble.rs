//! What goes wrong with names, resolver, backends and process.

use super::files::Written;
use super::process::{Process, Start};
use super::zone::{LONGEST_WAIT, Mood, lock};
use super::{CALM, Event, World};
use crate::clock::{Nanos, SECOND, nanos};
use crate::invariant::Step;

impl World {
    fn is_calm(&self) -> bool {
        self.now + CALM >= self.end
    }

    /// Something is wrong until then.
    fn note(&mut self, until: Nanos) {
        self.calm = self.calm.max(until);
    }

    pub(super) fn flip(&mut self, ip: std::net::IpAddr) {
        if self.is_calm() {
            return;
        }
        if let Some(backend) = self.backends.get_mut(&ip) {
            (backend.is_up, backend.since) = (!backend.is_up, self.now);
        }
        self.plan_flip(ip);
    }

    pub(super) fn change(&mut self, host: usize) {
        if self.is_calm() {
            return;
        }
        lock(&self.zone).change(host, self.now);
        self.plan_change(host);
    }

    /// The resolver is in a bad mood for a while.
    pub(super) fn sour(&mut self) {
        if self.is_calm() {
            return;
        }
        let length = self.rng.u64(1..90) * SECOND;
        lock(&self.zone).mood = Mood::bad(&mut self.rng);
        self.moods += 1;
        self.note(self.now + length);
        self.agenda.put(self.now + length, Event::Well(self.moods));
        self.again(Event::Mood, 90);
    }

    /// Questions that are under way may still wait for their answers.
    pub(super) fn recover(&mut self) {
        lock(&self.zone).mood = Mood::Well;
        self.note(self.now + LONGEST_WAIT + nanos(self.names.retry));
    }

    /// The machine lacks descriptors for a while.
    pub(super) fn lack(&mut self) {
        if self.is_calm() {
            return;
        }
        self.faults_until = self.now + self.rng.u64(1..30) * SECOND;
        self.note(self.faults_until + SECOND);
        self.again(Event::Faults, 200);
    }

    /// The file is edited, and read again at once.
    pub(super) fn edit(&mut self) -> Step {
        if self.is_calm() {
            return Ok(());
        }
        self.again(Event::Edit, 60);
        let hosts = lock(&self.zone).hosts.len();
        if self.rng.u8(..3) == 0 {
            // Somebody takes all checks of a name out, and thinks again.
            let host = self.rng.usize(..hosts);
            let out = self.file.checks.extract_if(.., |check| check.host == host).collect();
            let back = self.now + self.rng.u64(SECOND / 10..3 * SECOND);
            self.agenda.put(back, Event::PutBack(out));
        } else {
            self.file.edit(hosts, &self.pool, self.now, &mut self.rng);
        }
        self.reload()
    }

    pub(super) fn put_back(&mut self, mut checks: Vec<Written>) -> Step {
        checks.iter_mut().for_each(|check| check.since = self.now);
        self.file.checks.extend(checks);
        self.reload()
    }

    fn reload(&mut self) -> Step {
        self.follow();
        if let Some(process) = &mut self.process {
            process.replace(self.file.read(), self.now)?;
        }
        // Names that stay in the file have their addresses at once.
        self.audit_set()
    }

    /// The model follows the names of the file.
    fn follow(&mut self) {
        let hosts = self.file.checks.iter().map(|check| check.host).collect();
        let questions = lock(&self.zone).questions;
        self.model.follow(&hosts, questions);
        self.wanted = self.file.wanted(|host| self.model.addresses(host));
    }

    pub(super) fn crash(&mut self) {
        if self.is_calm() {
            return;
        }
        self.again(Event::Crash, 200);
        // It may be down already.
        if self.process.take().is_none() {
            return;
        }
        let back = self.now + self.rng.u64(SECOND / 10..20 * SECOND);
        self.note(back);
        self.agenda.put(back, Event::Start);
    }

    /// A process starts, with what the last one has written down.
    pub(super) fn start(&mut self) -> Step {
        self.lives += 1;
        let mut process = Process::start(Start {
            life: self.lives,
            now: self.now,
            origin: self.origin.into_std(),
            zone: &self.zone,
            names: &self.names,
            checks: self.file.read(),
            remembered: self.snapshot.clone(),
            fault: self.fault,
        });
        self.model = super::Model::new(self.names.confirmations);
        self.follow();
        process.announce(self.now)?;
        self.process = Some(process);
        self.agenda.put(self.now + 5 * SECOND, Event::Snapshot { life: self.lives });
        Ok(())
    }

    pub(super) fn write(&mut self, life: u32) {
        if let Some(process) = self.process.as_mut().filter(|process| process.life == life) {
            self.snapshot = process.export(self.now);
            self.agenda.put(self.now + 5 * SECOND, Event::Snapshot { life });
        }
    }
}
