//! What the consumer has, held against the names, the backends and the model.

use std::net::IpAddr;

use hc_types::{CheckId, CheckStatus, Health, Incarnation};

use super::World;
use super::files::Wanted;
use super::model::together;
use super::zone::{Host, LONGEST_ANSWER, LONGEST_NEGATIVE, lock};
use crate::clock::{Nanos, SECOND, nanos};
use crate::invariant::{Invariant, Step, hold};

/// Beyond what is promised: the delay of a batch, the pause after one that failed, the pause
/// between two looks.
const SLACK: Nanos = 6 * SECOND;

#[derive(Debug)]
pub(super) struct Told {
    health: Health,
    /// Whose counters these are.
    life: (u32, Option<Incarnation>),
    counted: u64,
}

impl World {
    /// Batches that are due go to the consumer, which takes most of them.
    pub(super) fn deliver(&mut self) -> Step {
        while let Some(process) = &mut self.process
            && let Some(batch) = process.take_batch(self.now)
        {
            let is_taken = self.rng.u8(..10) > 0;
            process.delivered(is_taken, self.now);
            // Of a batch without an answer nobody knows whether it arrived.
            if is_taken || self.rng.bool() {
                batch.statuses.iter().try_for_each(|status| self.hear(status))?;
            }
        }
        Ok(())
    }

    fn hear(&mut self, CheckStatus { id, spec, status }: &CheckStatus) -> Step {
        let now = self.now;
        let wanted = self.wanted.get(id);
        hold(wanted.is_some(), Invariant::RemovedIsNotTold, now, || {
            format!("{id} ({}) is told {:?}, and is no more", spec.target(), status.health)
        })?;
        let Some(Wanted { name, place, .. }) = wanted else { return Ok(()) };
        hold(status.health != Health::Unknown, Invariant::NothingBeforeAProbe, now, || name.clone())?;
        let rise = self.file.checks[*place].rise;
        let right = status.health == Health::Healthy || self.found.speaks_against(spec.key(), rise);
        hold(right, Invariant::ResolverIsNoVerdict, now, || {
            format!("{name} is told {status:?}, and no probe of it has failed")
        })?;
        let process = self.process.as_ref();
        let life = (self.lives, process.and_then(|process| process.incarnation(*id)));
        let counted = status.failures + status.successes;
        let told = Told { health: status.health, life, counted };
        let before = self.told.insert(*id, told);
        let goes_on = before.is_none_or(|before| before.life != life || before.counted <= counted);
        hold(goes_on, Invariant::HealthIsKept, now, || format!("{name} has begun again: {status:?}"))?;
        self.told_count += 1;
        self.digest =
            (self.digest ^ id.0 ^ now ^ counted << 32).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        Ok(())
    }

    /// The checks that run are those of the last addresses.
    pub(super) fn audit_set(&mut self) -> Step {
        let Some(process) = &mut self.process else { return Ok(()) };
        let probed = process.probed();
        let same = probed.len() == self.wanted.len()
            && self.wanted.iter().all(|(id, wanted)| probed.get(id) == Some(&wanted.addresses));
        hold(same, Invariant::LastAddressesStand, self.now, || {
            format!("{probed:?} run, and the resolver has said {:?}", self.wanted)
        })
    }

    /// The checks that run are those of the last addresses, and what has stood for long enough has
    /// arrived.
    pub(super) fn audit(&mut self) -> Step {
        self.audit_set()?;
        let Some(process) = &mut self.process else { return Ok(()) };
        let (probed, now, born) = (process.probed(), self.now, process.born);
        let zone = lock(&self.zone);
        let truth = self.file.wanted(|host| zone.hosts.get(host).map(|host| &host.addresses));
        let calm = self.calm.max(born);
        let settled: Vec<bool> = self
            .file
            .checks
            .iter()
            .map(|check| {
                let since = calm.max(check.since).max(zone.hosts[check.host].since);
                now > since + self.longest(&zone.hosts[check.host])
            })
            .collect();
        drop(zone);
        for (id, wanted) in truth.iter().filter(|(_, wanted)| settled[wanted.place]) {
            let right = probed.get(id) == Some(&wanted.addresses);
            hold(right, Invariant::AddressesAreFollowed, now, || {
                format!("{wanted:?} is so for long, and probed is {:?}", probed.get(id))
            })?;
            self.audit_health(*id, wanted)?;
        }
        let gone = self.wanted.iter().find(|(id, wanted)| settled[wanted.place] && !truth.contains_key(id));
        hold(gone.is_none(), Invariant::AddressesAreFollowed, now, || format!("{gone:?} is no more for long"))
    }

    /// How long other addresses may take to come into effect: what is kept by the resolver, then by
    /// us, and the answers; of a name that vanishes several are needed.
    fn longest(&self, host: &Host) -> Nanos {
        let names = &self.names;
        let kept = if host.is_cached { nanos(host.ttl) } else { 0 };
        let age = host.ttl.max(LONGEST_NEGATIVE).clamp(names.min_age, names.max_age);
        let again = (nanos(names.retry) + LONGEST_ANSWER) * u64::from(names.confirmations);
        kept + nanos(age) + again + SLACK
    }

    /// A check whose addresses and backends have not changed for long is known for what it is.
    fn audit_health(&self, id: CheckId, wanted: &Wanted) -> Step {
        let check = &self.file.checks[wanted.place];
        let up = |ip: &IpAddr| self.backends.get(ip).map(|backend| backend.is_up);
        let truth = match check.rule {
            None => wanted.addresses.first().and_then(up),
            Some(rule) => together(rule, &wanted.addresses.iter().map(up).collect::<Vec<_>>()),
        };
        let flipped =
            wanted.addresses.iter().filter_map(|ip| self.backends.get(ip)).map(|one| one.since).max();
        let Some(truth) = truth else { return Ok(()) };
        let results = u64::from(check.rise.max(check.retries + 1)) + 1;
        let detection = results * nanos(check.interval) + nanos(check.timeout) + SLACK;
        let zone = lock(&self.zone);
        let host = &zone.hosts[check.host];
        let born = self.process.as_ref().map_or(0, |process| process.born);
        let known = self.calm.max(born).max(check.since).max(host.since) + self.longest(host);
        let since = known.max(flipped.unwrap_or(0));
        drop(zone);
        let told = self.told.get(&id).map(|told| told.health);
        let truth = if truth { Health::Healthy } else { Health::Unhealthy };
        let right = self.now <= since + detection || told == Some(truth);
        hold(right, Invariant::AddressesAreFollowed, self.now, || {
            format!("{wanted:?} is {truth} for long, and told {told:?}")
        })
    }

    /// After minutes in which nothing happened.
    pub(super) async fn audit_end(&mut self) -> Step {
        self.settle(None).await?;
        hold(self.process.is_some(), Invariant::Quiescence, self.now, || "no process runs".into())?;
        self.audit()
    }
}
