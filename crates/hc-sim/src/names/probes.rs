//! Probes of one address, and of all addresses of a name.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hc_manager::stepped::Flight;
use hc_types::{CheckSpec, Failure, HostName, LocalFault, Outcome, Phase, Rule, verdict};

use super::model::{Passes, passes, together};
use super::{Event, NamesFault, SHARDS, World};
use crate::clock::{MILLISECOND, Nanos, nanos};
use crate::invariant::{Invariant, Step, hold};

/// A probe that is going to end.
#[derive(Debug)]
pub(super) struct Landing {
    life: u32,
    shard: usize,
    flight: Flight,
    began: Nanos,
    spec: Arc<CheckSpec>,
    outcome: Outcome,
    /// What it says of the backends, by the model.
    found: Passes,
}

impl World {
    /// The process does what is due.
    pub(super) fn act(&mut self) -> Step {
        for shard in 0..SHARDS.get() {
            self.turn(shard, None)?;
        }
        self.deliver()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + Duration::from_nanos(self.now)
    }

    fn turn(&mut self, shard: usize, landing: Option<Landing>) -> Step {
        let (now, wall) = (self.now, self.wall());
        let Some(process) = &mut self.process else { return Ok(()) };
        process.begin_turn(shard, now);
        if let Some(Landing { flight, began, spec, outcome, found, .. }) = landing
            && process.complete(shard, flight, outcome, [began, now])
        {
            self.found.hears(spec.key(), found);
        }
        while let Some(process) = &mut self.process
            && let Some((flight, spec)) = process.start_probe(shard, now, wall)
        {
            let life = process.life;
            let (takes, outcome, found) = self.probe(&spec)?;
            self.probes += 1;
            let landing = Landing { life, shard, flight, began: now, spec, outcome, found };
            self.agenda.put(now + takes, Event::Land(landing));
        }
        if let Some(process) = &mut self.process {
            process.end_turn(shard, now);
        }
        Ok(())
    }

    pub(super) fn land(&mut self, landing: Landing) -> Step {
        match &self.process {
            Some(process) if process.life == landing.life => self.turn(landing.shard, Some(landing)),
            _ => Ok(()),
        }
    }

    /// How long a probe takes, what it comes to by the rules of the code, and by the model.
    fn probe(&mut self, spec: &CheckSpec) -> Step<(Nanos, Outcome, Passes)> {
        let own = [spec.target().ip()];
        let addresses = spec.host_name().map_or(&own[..], HostName::addresses);
        let results: Vec<(Nanos, Outcome)> =
            addresses.iter().map(|ip| self.probe_address(*ip, spec.timeout())).collect();
        let takes = results.iter().map(|(takes, _)| *takes).max().unwrap_or(MILLISECOND);
        let each: Vec<Passes> = results.iter().map(|(_, outcome)| passes(outcome)).collect();
        let mut outcomes = results.into_iter().map(|(_, outcome)| outcome);
        let Some(host) = spec.host_name() else {
            let outcome = outcomes.next().unwrap_or(Outcome::PASS);
            return Ok((takes, outcome, each.first().copied().flatten()));
        };
        let swapped = self.fault == Some(NamesFault::RulesSwapped);
        let judged = match (swapped, host.rule()) {
            (false, _) => host.clone(),
            (true, Rule::Any) => HostName::new(host.name(), addresses.iter().copied(), Rule::All),
            (true, Rule::All) => HostName::new(host.name(), addresses.iter().copied(), Rule::Any),
        };
        let mut outcome = verdict::of_several(&judged, outcomes.map(Into::into).collect()).outcome;
        let found = together(host.rule(), &each);
        hold(passes(&outcome) == found, Invariant::AnyAndAll, self.now, || {
            format!("{outcome:?} of {each:?} under {}", host.rule())
        })?;
        if self.fault == Some(NamesFault::UnresolvedFails) && addresses.is_empty() {
            outcome = Failure::Refused.into();
        }
        Ok((takes, outcome, found))
    }

    fn probe_address(&mut self, ip: IpAddr, timeout: Duration) -> (Nanos, Outcome) {
        let timeout = nanos(timeout);
        let answer = self.rng.u64(MILLISECOND..timeout / 2);
        if self.now < self.faults_until && self.rng.u8(..3) == 0 {
            return (MILLISECOND, LocalFault::Descriptors.into());
        }
        match self.backends.get(&ip) {
            Some(backend) if backend.is_up => (answer, Outcome::PASS),
            Some(_) if self.rng.bool() => (answer, Failure::Refused.into()),
            _ => (timeout, Failure::silence(Phase::Connect).into()),
        }
    }
}
