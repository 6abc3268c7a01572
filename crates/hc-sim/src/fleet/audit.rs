//! What consumers of each node hear, held against what the nodes see.

use hc_fleet::{Assignment, Basis, NodeRecord, Quorum, Seat, Slot};
use hc_types::Health;

use super::{HOSTS, World};
use crate::clock::{Nanos, SECOND};
use crate::invariant::{Invariant, Step, hold};

/// For so long what a node has seen may still count: a state machine, a lease, and writes that fail.
const WINDOW: Nanos = 75 * SECOND;
/// Shorter than this a fleet may be smaller without it counting. It is looked at once a second, and nodes
/// go by fewer opinions after three.
const MOMENT: Nanos = SECOND;
/// A lease, the second within which the store notices that it has ended, and the time of a lease more
/// after a change of the leader.
const TAKEN_OVER: Nanos = 27 * SECOND;
/// Until a node takes itself for cut off, has begun with all checks, and a little more.
const ALONE: Nanos = 30 * SECOND;

#[derive(Debug, Default)]
pub(super) struct Seen {
    /// When there were last at most so many nodes whose opinions count, for more than a moment.
    few: [Option<Nanos>; HOSTS + 1],
    /// Since when that is so.
    few_since: [Option<Nanos>; HOSTS + 1],
    /// Since when nobody probes a check.
    idle_since: Vec<Option<Nanos>>,
    /// Hosts whose name is in the store and does not abstain, at a revision.
    stored: ([bool; HOSTS], u64),
}

impl World {
    /// A consumer hears of a check.
    pub(super) fn hear(&mut self, host: usize, number: usize, health: Health, basis: Basis) -> Step {
        let now = self.now;
        hold(health != Health::Unknown, Invariant::FleetNothingBeforeAVerdict, now, || {
            format!("{host} tells unknown of {number}")
        })?;
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        let before = process.told[number].replace((health, basis));
        let (place, count) = (u64::try_from(number).unwrap_or(0), self.told);
        self.told += 1;
        self.digest =
            (self.digest ^ now ^ place << 32 ^ count).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        let check = &self.checks[number];
        let is_true = check.steady.is_none_or(|steady| steady == health);
        hold(is_true, Invariant::FleetNoFalseVerdict, now, || {
            format!("{host} tells {health:?} ({basis:?}) of {number}, which never was")
        })?;
        if before.is_some_and(|before| before.0 == health) {
            return Ok(());
        }
        let is_own = basis == Basis::Alone && check.was(host, health, WINDOW, now);
        // Where all abstain verdicts stand, and a node that begins takes them from the others, or from what
        // its life before has left in the store.
        let is_theirs = before.is_none() && basis == Basis::Held && self.was_told(host, number, health);
        hold(
            is_own || is_theirs || self.is_possible(number, health),
            Invariant::FleetVerdictIsPossible,
            now,
            || format!("{host} tells {health:?} ({basis:?}) of {number}: {check:?}"),
        )
    }

    /// Whether consumers of another running node hear this of a check, or heard it of the life before of
    /// this one.
    fn was_told(&self, host: usize, number: usize, health: Health) -> bool {
        self.hosts.iter().enumerate().any(|(other, slot)| {
            let told = match &slot.process {
                Some(process) if other != host => process.told.get(number),
                _ => slot.told_before.get(number),
            };
            told.is_some_and(|told| told.is_some_and(|told| told.0 == health))
        })
    }

    /// Whether the rule may come to this with what running nodes have seen lately.
    fn is_possible(&self, number: usize, health: Health) -> bool {
        let (check, now) = (&self.checks[number], self.now);
        let ran = |host: &usize| {
            let slot = &self.hosts[*host];
            slot.process.is_some() || now < slot.ran + WINDOW
        };
        let saw =
            |health| (0..HOSTS).filter(ran).filter(|host| check.was(*host, health, WINDOW, now)).count();
        let (up, down) = (saw(Health::Healthy), saw(Health::Unhealthy));
        let was_few =
            |nodes: usize| self.seen.few.get(nodes).copied().flatten().is_some_and(|at| now < at + WINDOW);
        let opinions = usize::from(check.policy.opinions);
        let fewest = (1..opinions).find(|nodes| was_few(*nodes)).unwrap_or(opinions);
        (fewest..=opinions).any(|wanted| {
            (0..=up.min(wanted)).any(|healthy| {
                let unhealthy = down.min(wanted - healthy);
                (0..=unhealthy).any(|unhealthy| {
                    let count = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
                    let (healthy, unhealthy) = (count(healthy), count(unhealthy));
                    let wanted = count(wanted);
                    let verdict = check.policy.verdict(wanted, healthy, unhealthy);
                    // In a tie of all what stood before stands.
                    let is_tie = check.policy.quorum == Quorum::Majority && healthy + unhealthy == wanted;
                    verdict == Some(health) || (verdict.is_none() && is_tie)
                })
            })
        })
    }

    /// Every second.
    pub(super) fn audit(&mut self) -> Step {
        let now = self.now;
        if self.seen.stored.1 != self.etcd.revision {
            let stored = std::array::from_fn(|host| self.abstains_in_store(host) == Some(false));
            self.seen.stored = (stored, self.etcd.revision);
        }
        let stored = self.seen.stored.0;
        let count = (0..HOSTS).filter(|host| self.counts(*host) && stored[*host]).count();
        for nodes in 0..=HOSTS {
            if count > nodes {
                self.seen.few_since[nodes] = None;
            } else if now >= self.seen.few_since[nodes].get_or_insert(now).saturating_add(MOMENT) {
                self.seen.few[nodes] = Some(now);
            }
        }
        self.audit_probers(count)?;
        self.audit_alone()?;
        self.audit_writes()
    }

    fn counts(&self, host: usize) -> bool {
        let slot = &self.hosts[host];
        let is_well = |process: &super::process::Process| process.is_joined && !process.abstains;
        !slot.is_cut() && slot.process.as_ref().is_some_and(is_well)
    }

    /// While nothing new happens a check is without probes for no longer than a lease takes to end.
    fn audit_probers(&mut self, nodes: usize) -> Step {
        self.seen.idle_since.resize(self.checks.len(), None);
        for number in 0..self.checks.len() {
            let probes = |host: usize| {
                let process = self.hosts[host].process.as_ref();
                self.counts(host) && process.is_some_and(|process| process.probes(number))
            };
            let has_all = !self.lacking.iter().any(|(_, check)| *check == number);
            if nodes == 0 || !has_all || (0..HOSTS).any(probes) || self.etcd.is_full {
                self.seen.idle_since[number] = None;
                continue;
            }
            let since = *self.seen.idle_since[number].get_or_insert(self.now);
            let since = since.max(self.calm).max(self.etcd.headless_until);
            hold(self.now <= since + TAKEN_OVER, Invariant::FleetTakesOver, self.now, || {
                format!("nobody probes {number}")
            })?;
        }
        Ok(())
    }

    /// A node that has been cut off for long tells what it sees, where all see the same.
    fn audit_alone(&self) -> Step {
        for (host, slot) in self.hosts.iter().enumerate().filter(|(_, slot)| slot.is_down_cut) {
            let Some(process) = &slot.process else { continue };
            for (number, check) in self.checks.iter().enumerate() {
                let since = slot.link_since.max(check.since()).max(process.well_since);
                let since = since.max(process.stalled_until);
                let bound = since + ALONE + check.detection();
                // What had been outvoted when the node was cut off does not count until it changes.
                let is_news = process.changed(number).is_none_or(|at| at > slot.link_since)
                    || check.since() + ALONE + check.detection() < slot.link_since;
                if process.abstains
                    || !is_news
                    || self.now <= bound
                    || !check.is_same_for_all()
                    || self.lacking.contains(&(host, number))
                {
                    continue;
                }
                let told = process.told[number];
                let right = told == Some((check.view(host), Basis::Alone));
                hold(right, Invariant::FleetAloneSeesForItself, self.now, || {
                    format!("{host} is cut off, and tells {told:?} of {number}: {check:?}")
                })?;
            }
        }
        Ok(())
    }

    /// Within ten seconds a node writes what is allowed, and all together where nothing happens.
    fn audit_writes(&mut self) -> Step {
        let now = self.now;
        let mut all = 0;
        for slot in &mut self.hosts {
            let Some(process) = &mut slot.process else { continue };
            while process.writes.front().is_some_and(|(at, _)| at + 10 * SECOND < now) {
                process.writes.pop_front();
            }
            let written: usize = process.writes.iter().map(|(_, objects)| objects).sum();
            // Deletions of whole runs, and the last object of a batch, may come on top.
            let most = 11 * super::process::RATE as usize + 16;
            hold(written <= most, Invariant::FleetWritesAreBounded, now, || {
                format!("{} has written {written} objects in ten seconds", slot.name)
            })?;
            all += written;
        }
        let is_calm = !self.is_wild && now > self.calm + 60 * SECOND;
        let most = 11 * super::process::RATE as usize;
        hold(!is_calm || all <= most, Invariant::FleetWritesAreBounded, now, || {
            format!("the fleet has written {all} objects in ten seconds")
        })
    }

    /// What the store has of a host's name; `None` if nothing.
    pub(super) fn abstains_in_store(&self, host: usize) -> Option<bool> {
        let key = format!("nodes/{}", self.hosts[host].name);
        let record = self.etcd.keys.get(&key).and_then(|(value, _)| NodeRecord::read(value).ok());
        record.map(|record| record.abstains.is_some())
    }

    /// After a time in which nothing happened everything is as it should be.
    pub(super) fn audit_calm(&mut self) -> Step {
        let now = self.now;
        let is_joined =
            |host: &usize| self.hosts[*host].process.as_ref().is_some_and(|process| process.is_joined);
        let joined: Vec<usize> = (0..HOSTS).filter(is_joined).collect();
        for host in self.running() {
            let name = &self.hosts[host].name;
            let has_place = joined.iter().any(|other| self.hosts[*other].name == *name);
            hold(has_place, Invariant::FleetSettles, now, || format!("{host} is no member"))?;
            let process = self.hosts[host].process.as_ref();
            let is_apart = process.is_some_and(|process| process.node.is_cut_off());
            hold(!is_apart, Invariant::FleetSettles, now, || format!("{host} takes itself for cut off"))?;
        }
        let eligible: Vec<usize> = joined.into_iter().filter(|host| self.counts(*host)).collect();
        if eligible.is_empty() {
            return Ok(());
        }
        let seat = |host: &usize| {
            let slot = &self.hosts[*host];
            Seat { name: slot.name.clone(), zone: slot.zone.as_str().into(), capacity: slot.capacity }
        };
        let assignment = Assignment::new(eligible.iter().map(seat));
        (0..self.checks.len()).try_for_each(|number| self.audit_check(number, &eligible, &assignment))
    }

    fn audit_check(&self, number: usize, eligible: &[usize], assignment: &Assignment) -> Step {
        let (check, now) = (&self.checks[number], self.now);
        let wanted = check.policy.wanted(eligible.len());
        let order = assignment.order(Slot::of(check.key));
        let host_of = |seat: &u16| {
            eligible.iter().copied().find(|host| self.hosts[*host].name == *assignment.name(*seat))
        };
        let has = |host: &usize| !self.lacking.contains(&(*host, number));
        if self.lacking.iter().any(|(_, lacked)| *lacked == number) {
            // Of a check that not all have, somebody who has it stands in.
            let probes = |host: &usize| {
                self.hosts[*host].process.as_ref().is_some_and(|process| process.probes(number))
            };
            let somebody = eligible.iter().any(probes) || !eligible.iter().any(has);
            return hold(somebody, Invariant::FleetSharesChecks, now, || {
                format!("nobody stands in for {number}")
            });
        }
        let in_order = order.iter().filter_map(host_of);
        let probers: Vec<usize> = in_order.take(wanted.into()).collect();
        let says = |health| {
            let count = probers.iter().filter(|host| check.view(**host) == health).count();
            u8::try_from(count).unwrap_or(u8::MAX)
        };
        let verdict = check.policy.verdict(wanted, says(Health::Healthy), says(Health::Unhealthy));
        let is_complete = probers.len() == usize::from(wanted);
        let mut tied = None;
        for host in self.running() {
            let Some(process) = &self.hosts[host].process else { continue };
            let told = process.told[number];
            let right = match verdict {
                Some(health) => told == Some((health, Basis::Fleet)),
                None if is_complete => {
                    let health = told.map(|told| told.0);
                    health == *tied.get_or_insert(health)
                }
                None => true,
            };
            hold(right, Invariant::FleetAgrees, now, || {
                let explained = process.node.explain(check.key);
                format!("{host} tells {told:?} of {number}, and not {verdict:?}: {explained:?} {check:?}")
            })?;
            let is_prober = probers.contains(&host);
            hold(
                process.abstains || process.probes(number) == is_prober,
                Invariant::FleetSharesChecks,
                now,
                || {
                    let explained = process.node.explain(check.key);
                    format!("{host} probes {number}: {}, and {probers:?} should: {explained:?}", !is_prober)
                },
            )?;
            let explained = process.node.explain(check.key);
            let voters = explained.into_iter().flat_map(|explained| explained.voters);
            let counted = voters.filter(|voter| voter.counts).count();
            hold(counted == probers.len(), Invariant::FleetCountsTheLiving, now, || {
                let explained = process.node.explain(check.key);
                format!(
                    "{host} counts {counted} opinions of {number}, and {probers:?} have one: {explained:?}"
                )
            })?;
        }
        Ok(())
    }
}
