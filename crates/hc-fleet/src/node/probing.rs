//! Which checks this node probes, and what it finds.

use std::sync::Arc;
use std::time::Instant;

use hc_types::{CheckKey, Health};

use super::verdict::Tally;
use super::{Action, Node, RETRY};
use crate::Slot;
use crate::opinion::{Place, place};

/// What the probes of this node find of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The state of the check by this node's own probes.
    pub health: Health,
    /// Results in a row that bear it out.
    pub streak: u32,
    /// The fixed word of the latest result (`Outcome::label`).
    pub label: Arc<str>,
}

impl Finding {
    /// Nothing yet.
    pub(super) fn none() -> Self {
        Self { health: Health::Unknown, streak: 0, label: Arc::default() }
    }
}

impl Node {
    /// A probe of a check has ended. `bears_out`: its result is the reason for the health, as a
    /// pass is for a healthy check. A result that does not bear the health out, such as one failure
    /// of several that are needed, changes nothing of what is published.
    ///
    /// Only of checks that the node was asked to probe, and only of probes that began after that.
    pub fn found(&mut self, key: CheckKey, finding: Finding, bears_out: bool, now: Instant) {
        let place = place(key);
        let Some(check) = self.checks.get_mut(&place).filter(|check| check.is_probed) else { return };
        if finding.health == Health::Unknown || (!bears_out && !check.is_fresh) {
            return;
        }
        let is_news =
            !check.is_fresh || check.own.health != finding.health || check.own.label != finding.label;
        if check.own.health != finding.health {
            (check.own_since, check.is_overruled) = (now, false);
        }
        check.is_fresh = true;
        check.own = finding;
        if is_news {
            self.review(place, now);
            self.publish(place, now);
            self.tick(now);
        }
    }

    /// Writes this node's opinion, unless it is taking it back.
    pub(super) fn publish(&mut self, place: Place, now: Instant) {
        let Some(check) = self.checks.get(&place) else { return };
        let has = check.has_opinion() && !self.leaving.contains(&place);
        if has && self.apart_since.is_none() {
            self.publisher.set(place.1, check.opinion(), now);
        }
    }

    /// Begins or ends to probe a check, by its place in the order of nodes. A node goes on until
    /// those who take over have opinions, so there is no moment without one.
    pub(super) fn share(&mut self, place: Place, tally: &Tally, now: Instant) {
        let order = self.order(place.0);
        let rank = order.iter().position(|seat| Some(*seat) == self.me);
        let Some(check) = self.checks.get(&place) else { return };
        let is_assigned = rank.is_some_and(|rank| rank < usize::from(tally.wanted));
        let is_handed_over = tally.is_complete() && !tally.has_mine;
        if is_assigned && !check.is_probed {
            self.start(place);
        } else if is_assigned && self.leaving.remove(&place) {
            self.publish(place, now);
        } else if !is_assigned && check.is_probed && is_handed_over && !self.abstains() {
            self.leave_to_others(place, now);
        }
        let is_helpless = self.checks.get(&place).is_none_or(|check| check.is_probed);
        if is_helpless || tally.is_complete() || rank.is_none() {
            self.lacking.remove(&place);
        } else {
            self.lacking.entry(place).or_insert(now);
        }
    }

    fn start(&mut self, place: Place) {
        let Some(check) = self.checks.get_mut(&place) else { return };
        (check.is_probed, check.is_fresh, check.own) = (true, false, Finding::none());
        let known = check.verdict;
        self.actions.push(Action::Probe(place.1, known));
    }

    /// An opinion is taken back before its probes end, so that what is in the store is never old.
    fn leave_to_others(&mut self, place: Place, now: Instant) {
        if self.leaving.contains(&place) {
            return;
        }
        let is_written = self.publisher.get(place.1).is_some() && self.link.term().is_some();
        // Also where nothing of it is in the store now, or the next term would begin with it.
        self.publisher.withdraw(place.1, now);
        if is_written {
            self.leaving.insert(place);
        } else {
            self.rest(place);
        }
    }

    /// This node's own probes are not to be believed. It goes on with them, or it would not see when they
    /// are.
    pub(super) fn abstains(&self) -> bool {
        self.config.record.abstains.is_some()
    }

    pub(super) fn rest(&mut self, place: Place) {
        let Some(check) = self.checks.get_mut(&place).filter(|check| check.is_probed) else { return };
        (check.is_probed, check.is_fresh) = (false, false);
        check.own = Finding::none();
        self.actions.push(Action::Rest(place.1));
    }

    /// Probes out of turn what has lacked opinions for too long: those who should have one may not
    /// have the check, or hang. Nodes further behind in the order wait longer.
    pub(super) fn sweep(&mut self, now: Instant) {
        if now < self.swept + RETRY {
            return;
        }
        self.swept = now;
        let patience = self.config.patience;
        let late: Vec<Place> = self
            .lacking
            .iter()
            .filter(|(_, since)| **since + patience <= now)
            .map(|(place, _)| *place)
            .collect();
        for place in late {
            let order = self.order(place.0);
            let Some(rank) = order.iter().position(|seat| Some(*seat) == self.me) else { continue };
            let turns = u32::try_from(rank.min(8)).unwrap_or(8);
            let since = self.lacking.get(&place).copied().unwrap_or(now);
            if since + patience + patience / 4 * turns <= now {
                self.lacking.remove(&place);
                self.start(place);
            }
        }
    }

    /// When a node that is cut off begins to probe this check: slot by slot, so that a million
    /// checks do not begin at once.
    pub(super) fn turn_of(&self, place: Place) -> Option<Instant> {
        Some(self.apart_since? + self.config.spread * u32::from(place.0.number()) / u32::from(Slot::COUNT))
    }

    pub(super) fn go_on_alone(&mut self, now: Instant) {
        while let Some(place) = self.cursor
            && self.turn_of(place).is_some_and(|turn| turn <= now)
        {
            if self.checks.get(&place).is_some_and(|check| !check.is_probed) {
                self.start(place);
            }
            let next =
                self.checks.range((std::ops::Bound::Excluded(place), std::ops::Bound::Unbounded)).next();
            self.cursor = next.map(|(place, _)| *place);
        }
    }
}
