//! What goes wrong, and when it does not.

use fastrand::Rng;

use super::{Event, FleetFault, HOSTS, TWIN, World};
use crate::chaos::random_pause;
use crate::clock::{Nanos, SECOND};
use crate::invariant::Step;

/// How long after the last trouble everything must be as it should; longer where nodes lack checks, for
/// which others wait.
const SETTLED: Nanos = 90 * SECOND;
const PATIENCE: Nanos = 60 * SECOND;
/// How long after flips in a calm time they must be known: the slowest state machine, and writes.
const KNOWN: Nanos = 25 * SECOND;
/// How long a node has said that it abstains before its probes fail, and how long they have passed again
/// when it says that it does no longer.
const NOTICE: Nanos = 8 * SECOND;
const RECOVERY: Nanos = 30 * SECOND;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Cut,
    CutUp,
    CutDown,
    Kill,
    Leave,
    Stall,
    Silence,
    Break,
    Compact,
    Wipe,
    Revoke,
    Slow,
    Headless,
    Full,
    Flip,
    Blind,
    BlindToAll,
    Abstain,
    /// What an [`Abstain`](Self::Abstain) goes on to, if its number is that of the host's latest one.
    Sick(u64),
    Cured(u64),
    Believable(u64),
    Twin,
}

/// Each kind, and the mean of the seconds from one to the next in a simulation in which it happens.
const EVERY: [(Trouble, u64); 19] = [
    (Trouble::Cut, 60),
    (Trouble::CutUp, 90),
    (Trouble::CutDown, 90),
    (Trouble::Kill, 90),
    (Trouble::Leave, 120),
    (Trouble::Stall, 60),
    (Trouble::Silence, 60),
    (Trouble::Break, 40),
    (Trouble::Compact, 40),
    (Trouble::Wipe, 150),
    (Trouble::Revoke, 60),
    (Trouble::Slow, 120),
    (Trouble::Headless, 60),
    (Trouble::Full, 200),
    (Trouble::Flip, 15),
    (Trouble::Blind, 30),
    (Trouble::BlindToAll, 120),
    (Trouble::Abstain, 60),
    (Trouble::Twin, 120),
];

#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    /// Everything is mended.
    Calm,
    /// Everything must be as it should, and backends flip.
    Settled,
    /// That must be known.
    Known,
}

impl Trouble {
    /// In some simulations one thing goes wrong, in some everything; backends flip in most.
    pub(super) fn draw(rng: &mut Rng) -> Vec<(Self, Nanos)> {
        let likely = [1, 2, 5, 9][rng.usize(..4)];
        let pace = [1, 1, 3][rng.usize(..3)];
        let of = |(kind, seconds): (Self, u64)| (kind, seconds * pace * SECOND);
        let mut chosen: Vec<_> = EVERY.into_iter().filter(|_| rng.u64(..10) < likely).map(of).collect();
        if rng.u8(..4) > 0 && !chosen.iter().any(|(kind, _)| *kind == Self::Flip) {
            chosen.push((Self::Flip, 20 * SECOND));
        }
        chosen
    }
}

impl World {
    pub(super) fn stage(&mut self, stage: Stage) -> Step {
        match stage {
            Stage::Calm => {
                self.mend()?;
                let patience = if self.lacking.is_empty() { 0 } else { PATIENCE };
                self.agenda.put(self.now + SETTLED + patience, Event::Stage(Stage::Settled));
            }
            Stage::Settled => {
                self.audit_calm()?;
                for number in 0..self.checks.len() {
                    if self.rng.bool() {
                        self.checks[number].flip(self.now);
                    }
                }
                self.agenda.put(self.now + KNOWN, Event::Stage(Stage::Known));
            }
            Stage::Known => {
                self.audit_calm()?;
                self.trace(|| "trouble begins".into());
                self.is_wild = true;
                for (kind, mean) in self.kinds.clone() {
                    let pause = random_pause(mean, &mut self.rng);
                    self.agenda.put(self.now + pause, Event::Trouble(kind));
                }
                let length = self.rng.u64(60..400) * SECOND;
                self.agenda.put(self.now + length, Event::Stage(Stage::Calm));
            }
        }
        Ok(())
    }

    /// All that is wrong with store, links and processes ends. Some nodes stay away, some go on to
    /// abstain, and what a node cannot see it still does not.
    fn mend(&mut self) -> Step {
        self.trace(|| "all is mended".into());
        self.is_wild = false;
        self.calm = self.now;
        (self.etcd.is_slow, self.etcd.is_full, self.etcd.headless_until) = (false, false, 0);
        for host in 0..HOSTS {
            self.connect(host);
            self.hear_again(host)?;
            self.hosts[host].is_out = self.rng.u8(..8) == 0 && host != 0;
            if self.hosts[host].is_out || (host == TWIN && self.rng.bool()) {
                self.kill(host);
                self.cure(host);
            } else if host < self.size {
                let at = self.now + self.rng.u64(..5) * SECOND;
                self.agenda.put(at, Event::Start(host));
            }
        }
        Ok(())
    }

    pub(super) fn trouble(&mut self, kind: Trouble) -> Step {
        if !self.is_wild {
            return Ok(());
        }
        let again = self.kinds.iter().find(|(known, _)| *known == kind).map(|(_, mean)| *mean);
        if let Some(mean) = again {
            let pause = random_pause(mean, &mut self.rng);
            self.agenda.put(self.now + pause, Event::Trouble(kind));
        }
        let host = self.rng.usize(..self.size);
        let for_how_long = self.rng.u64(1..60) * SECOND;
        self.calm = self.now;
        self.trace(|| format!("{kind:?}, {host}, {:.0} s", for_how_long / SECOND));
        let is_going_on = self.begin_trouble(kind, host, for_how_long)?;
        if is_going_on {
            self.agenda.put(self.now + for_how_long, Event::Ends(kind, host));
        }
        Ok(())
    }

    /// Whether it is to end again.
    fn begin_trouble(&mut self, kind: Trouble, host: usize, for_how_long: Nanos) -> Step<bool> {
        let before = self.etcd.revision;
        match kind {
            Trouble::Cut | Trouble::CutUp | Trouble::CutDown => {
                let slot = &mut self.hosts[host];
                slot.is_up_cut |= kind != Trouble::CutDown;
                slot.is_down_cut |= kind != Trouble::CutUp;
                slot.link_since = self.now;
            }
            Trouble::Kill => {
                self.kill(host);
                self.cure(host);
            }
            Trouble::Leave => {
                self.act(host, |node, _| node.leave())?;
                self.kill(host);
                self.cure(host);
            }
            Trouble::Stall => {
                if let Some(process) = &mut self.hosts[host].process {
                    let until = self.now + for_how_long / 2;
                    process.stalled_until = process.stalled_until.max(until);
                }
                return Ok(false);
            }
            Trouble::Silence => {
                if let Some(process) = &mut self.hosts[host].process {
                    process.is_silent = true;
                }
            }
            Trouble::Break => {
                if let Some(who) = self.who(host) {
                    self.reread(who)?;
                }
                return Ok(false);
            }
            Trouble::Compact => {
                self.etcd.compact(self.etcd.kept());
                return Ok(false);
            }
            Trouble::Wipe => {
                self.etcd.wipe();
                for host in self.running() {
                    // A pump finds that what it knows is compacted, at once or at the next sign of life.
                    if let Some(who) = self.who(host).filter(|_| self.rng.bool()) {
                        self.pump(who)?;
                    }
                }
                return Ok(false);
            }
            Trouble::Revoke => {
                let terms: Vec<_> = self.etcd.leases.keys().copied().filter(|_| self.rng.bool()).collect();
                for term in terms {
                    self.etcd.end(term);
                }
                self.announce(before);
                return Ok(false);
            }
            Trouble::Slow => self.etcd.is_slow = true,
            Trouble::Headless => {
                self.etcd.headless_until = self.now + for_how_long / 10;
                let end = self.etcd.headless_until + super::etcd::TTL;
                self.etcd.leases.values_mut().for_each(|lease| *lease = end);
                return Ok(false);
            }
            Trouble::Full => self.etcd.is_full = true,
            Trouble::Flip => {
                let check = self.rng.usize(..self.checks.len());
                self.checks[check].flip(self.now);
                return Ok(false);
            }
            Trouble::Blind => {
                let check = self.rng.usize(..self.checks.len());
                let is_blind = self.rng.u8(..3) > 0;
                self.checks[check].blind(host, is_blind, self.now);
                return Ok(false);
            }
            Trouble::BlindToAll => {
                let now = self.now;
                self.checks.iter_mut().for_each(|check| check.blind(host, true, now));
            }
            Trouble::Abstain => {
                let Some(process) = self.hosts[host].process.as_mut().filter(|process| !process.abstains)
                else {
                    return Ok(false);
                };
                process.abstains = true;
                self.ids += 1;
                let number = self.ids;
                self.hosts[host].abstention = number;
                self.act(host, |node, now| node.abstain(Some("it is late".into()), now))?;
                self.agenda.put(self.now + NOTICE, Event::Ends(Trouble::Sick(number), host));
                return Ok(false);
            }
            Trouble::Twin => {
                self.start(TWIN)?;
                return Ok(false);
            }
            Trouble::Sick(_) | Trouble::Cured(_) | Trouble::Believable(_) => return Ok(false),
        }
        Ok(true)
    }

    pub(super) fn ends(&mut self, kind: Trouble, host: usize) -> Step {
        match kind {
            Trouble::Sick(number) | Trouble::Cured(number) | Trouble::Believable(number) => {
                let is_latest = self.hosts[host].abstention == number;
                let process = self.hosts[host].process.as_ref();
                return match process.filter(|process| process.abstains && is_latest) {
                    Some(_) => self.go_on_abstaining(kind, number, host),
                    None => Ok(()),
                };
            }
            _ if !self.is_wild => return Ok(()),
            _ => {}
        }
        self.calm = self.now;
        match kind {
            Trouble::Cut | Trouble::CutUp | Trouble::CutDown => self.connect(host),
            Trouble::Kill | Trouble::Leave => return self.start(host),
            Trouble::Silence => return self.hear_again(host),
            Trouble::Slow => self.etcd.is_slow = false,
            Trouble::Full => self.etcd.is_full = false,
            Trouble::BlindToAll => {
                let now = self.now;
                self.checks.iter_mut().for_each(|check| check.blind(host, false, now));
            }
            _ => {}
        }
        Ok(())
    }

    /// A node that has said that it is not to be believed is blind, also to what all others see. Where
    /// the store does not know yet that it abstains, its word would count. In a calm time it stays as it
    /// is.
    fn go_on_abstaining(&mut self, kind: Trouble, number: u64, host: usize) -> Step {
        let (now, process) = (self.now, self.hosts[host].process.as_ref());
        // Who stands still does not recover.
        let stands_still = process.is_some_and(|process| now < process.stalled_until + RECOVERY);
        if !self.is_wild || (stands_still && matches!(kind, Trouble::Believable(_))) {
            self.agenda.put(now + SECOND, Event::Ends(kind, host));
            return Ok(());
        }
        match kind {
            Trouble::Sick(_)
                if self.abstains_in_store(host) == Some(true) || self.fault == Some(FleetFault::Believed) =>
            {
                self.trace(|| format!("{host} is sick"));
                self.checks.iter_mut().for_each(|check| check.sicken(host, true, now));
                let for_how_long = self.rng.u64(10..200) * SECOND;
                self.agenda.put(now + for_how_long, Event::Ends(Trouble::Cured(number), host));
            }
            Trouble::Sick(_) | Trouble::Cured(_) => {
                self.cure(host);
                self.agenda.put(now + RECOVERY, Event::Ends(Trouble::Believable(number), host));
            }
            _ => {
                self.calm = now;
                if let Some(process) = &mut self.hosts[host].process {
                    process.abstains = false;
                }
                return self.act(host, |node, now| node.abstain(None, now));
            }
        }
        Ok(())
    }

    fn cure(&mut self, host: usize) {
        let now = self.now;
        self.checks.iter_mut().for_each(|check| check.sicken(host, false, now));
    }

    fn connect(&mut self, host: usize) {
        if !self.hosts[host].is_cut() {
            return;
        }
        let slot = &mut self.hosts[host];
        (slot.is_up_cut, slot.is_down_cut, slot.link_since) = (false, false, self.now);
        if self.rng.bool() {
            self.release(host);
        }
        self.hosts[host].held.clear();
        if let Some(who) = self.who(host) {
            self.agenda.put(self.now + self.rng.u64(..3) * SECOND, Event::Pump(who));
        }
    }

    /// A watch that was silent goes on, or is made anew.
    fn hear_again(&mut self, host: usize) -> Step {
        let goes_on = self.rng.bool();
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        if !std::mem::take(&mut process.is_silent) {
            return Ok(());
        }
        let who = (host, process.life);
        if goes_on { self.pump(who) } else { self.reread(who) }
    }
}
