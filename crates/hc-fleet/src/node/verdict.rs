//! What consumers of this node hear of a check.

use std::time::Instant;

use hc_types::{CheckKey, Health};

use super::{Action, Check, Node};
use crate::opinion::{Place, place};
use crate::{NodeName, Opinion};

/// On what a verdict rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// On the opinions of the fleet.
    Fleet,
    /// They decide nothing now, since too few are there or half is against half: it is the verdict
    /// before.
    Held,
    /// The node is cut off: it is its own, or what stood before.
    Alone,
}

/// The opinions of a check, as they count now.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) wanted: u8,
    pub(super) healthy: u8,
    pub(super) unhealthy: u8,
    pub(super) has_mine: bool,
    /// The verdict of the first node that has one.
    first: Option<Health>,
    /// That node is this one.
    leads: bool,
    /// The first opinion is this node's.
    begins: bool,
}

impl Tally {
    pub(super) fn is_complete(&self) -> bool {
        self.wanted > 0 && self.healthy + self.unhealthy == self.wanted
    }
}

/// A node's part in the verdict on a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    /// The node.
    pub node: NodeName,
    /// What it says; `None` while it says nothing.
    pub opinion: Option<Opinion>,
    /// Whether its opinion counts.
    pub counts: bool,
}

/// Why the verdict on a check is what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What consumers of this node hear.
    pub verdict: Health,
    /// On what it rests.
    pub basis: Basis,
    /// How many opinions are wanted.
    pub wanted: u8,
    /// Nodes that have an opinion or should have one, in the order of the slot; then those that
    /// abstain.
    pub voters: Vec<Voter>,
}

impl Node {
    /// What consumers of this node hear of a check and why. `None` of one that it does not have.
    #[must_use]
    pub fn explain(&self, key: CheckKey) -> Option<Explanation> {
        let place = place(key);
        let check = self.checks.get(&place)?;
        let wanted = check.policy.wanted(self.counted);
        let order = self.eligible.order(place.0);
        let mut counted = 0;
        let mut voters = Vec::new();
        for (rank, seat) in (0..).zip(order.iter()) {
            let opinion = self.said(*seat, &place, check);
            let counts = opinion.is_some() && counted < wanted;
            counted += u8::from(counts);
            if opinion.is_some() || rank < wanted {
                voters.push(Voter { node: self.eligible.name(*seat).clone(), opinion, counts });
            }
        }
        let silent = self.heard.iter().filter(|(name, _)| self.eligible.place(name).is_none());
        voters.extend(silent.filter_map(|(name, heard)| {
            let opinion = heard.get(&place).cloned()?;
            Some(Voter { node: name.clone(), opinion: Some(opinion), counts: false })
        }));
        Some(Explanation { verdict: check.verdict, basis: check.basis, wanted, voters })
    }

    /// The opinion of one of the nodes whose opinions count.
    fn said(&self, seat: u16, place: &Place, check: &Check) -> Option<Opinion> {
        if Some(seat) == self.me {
            return check.has_opinion().then(|| check.opinion());
        }
        let opinion = self.heard.get(self.eligible.name(seat))?.get(place)?;
        (opinion.health != Health::Unknown).then(|| opinion.clone())
    }

    pub(super) fn tally(&mut self, place: &Place) -> Option<Tally> {
        let order = self.order(place.0);
        let check = self.checks.get(place)?;
        let mut tally = Tally { wanted: check.policy.wanted(self.counted), ..Tally::default() };
        for seat in order.iter() {
            let is_me = Some(*seat) == self.me;
            let (health, verdict) = if is_me {
                // Without an opinion nothing of this node is in the store.
                if check.has_opinion() {
                    (check.own.health, check.fleet_verdict())
                } else {
                    (Health::Unknown, Health::Unknown)
                }
            } else {
                let heard = self.heard.get(self.eligible.name(*seat)).and_then(|heard| heard.get(place));
                heard.map_or((Health::Unknown, Health::Unknown), |opinion| (opinion.health, opinion.verdict))
            };
            if tally.first.is_none() && verdict != Health::Unknown {
                (tally.first, tally.leads) = (Some(verdict), is_me);
            }
            if health != Health::Unknown && tally.healthy + tally.unhealthy == 0 {
                tally.begins = is_me;
            }
            if health != Health::Unknown && tally.healthy + tally.unhealthy < tally.wanted {
                tally.healthy += u8::from(health == Health::Healthy);
                tally.unhealthy += u8::from(health == Health::Unhealthy);
                tally.has_mine |= is_me;
            }
            if tally.first.is_some() && tally.is_complete() {
                break;
            }
        }
        Some(tally)
    }

    /// Looks at a check anew: whether this node is to probe it, and what its consumers hear.
    pub(super) fn review(&mut self, place: Place, now: Instant) {
        if self.apart_since.is_some() {
            return self.review_alone(place);
        }
        let Some(tally) = self.tally(&place) else { return };
        self.share(place, &tally, now);
        let Some(check) = self.checks.get(&place) else { return };
        let (health, basis) = match check.policy.verdict(tally.wanted, tally.healthy, tally.unhealthy) {
            Some(health) => (health, Basis::Fleet),
            None => match self.said_by_others(&place, check, &tally) {
                Some(health) => (health, Basis::Held),
                // A tie, and nobody knows what stood before: the first one goes by itself, and the others
                // by it.
                None if tally.begins && tally.is_complete() => match check.verdict {
                    Health::Unknown => (check.own.health, Basis::Held),
                    verdict => (verdict, Basis::Held),
                },
                None if check.basis == Basis::Alone => (check.verdict, Basis::Alone),
                None => (check.verdict, Basis::Held),
            },
        };
        self.tell(place, health, basis);
        self.publish_verdict(place, now);
    }

    /// The verdict of another node, where the opinions decide nothing.
    ///
    /// What a node has written of a verdict may be older than the opinions of others that this node has
    /// heard since. So it counts only where this node knows nothing, and in a tie of all opinions: there
    /// two nodes that have heard of the same changes in another order would tell different things for as
    /// long as it lasts.
    fn said_by_others(&self, place: &Place, check: &Check, tally: &Tally) -> Option<Health> {
        let first = tally.first.filter(|_| !tally.leads);
        if check.fleet_verdict() == Health::Unknown {
            let heard = self.heard.values().filter_map(|heard| heard.get(place));
            let mut others = heard.map(|opinion| opinion.verdict);
            // Of those who abstain, too.
            first.or_else(|| others.find(|verdict| *verdict != Health::Unknown))
        } else {
            first.filter(|_| tally.is_complete())
        }
    }

    /// Others may go by the verdict that this node has written, also when those before it in the order are
    /// gone, so it must be the one that it tells.
    fn publish_verdict(&mut self, place: Place, now: Instant) {
        let Some(check) = self.checks.get(&place) else { return };
        let is_other = |published: &Opinion| published.verdict != check.fleet_verdict();
        if self.publisher.get(place.1).is_some_and(is_other) {
            self.publish(place, now);
        }
    }

    /// While the node is cut off its own probes count, if they can be believed and say something
    /// new.
    pub(super) fn review_alone(&mut self, place: Place) {
        let Some(check) = self.checks.get(&place) else { return };
        let has = check.is_probed && check.is_fresh && !check.is_overruled;
        let health =
            if has && self.config.record.abstains.is_none() { check.own.health } else { check.verdict };
        self.tell(place, health, Basis::Alone);
    }

    fn tell(&mut self, place: Place, health: Health, basis: Basis) {
        let Some(check) = self.checks.get_mut(&place) else { return };
        if (check.verdict, check.basis) != (health, basis) {
            (check.verdict, check.basis) = (health, basis);
            if health != Health::Unknown {
                self.actions.push(Action::Tell(place.1, health, basis));
            }
        }
    }
}
