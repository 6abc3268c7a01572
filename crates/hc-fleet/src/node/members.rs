//! The other nodes, as the store tells of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use hc_types::CheckKey;

use super::{Node, Note};
use crate::codec::Object;
use crate::heard::Heard;
use crate::opinion::{Place, first_of, place};
use crate::store::Key;
use crate::{Assignment, NodeName, NodeRecord, Seat, Slot};

/// A node that is registered.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) record: NodeRecord,
    /// It was not there any more when the store was read anew.
    pub(super) missing_since: Option<Instant>,
}

impl Node {
    /// The store was read anew. A node that is missing is counted for a while, without opinions: a
    /// store that was wiped fills again within a second or two, and nothing is to move for that.
    pub(super) fn snapshot(&mut self, entries: Vec<(String, Vec<u8>)>, now: Instant) {
        (self.is_synced, self.heard_at) = (true, now);
        self.fewer_since = Some(now);
        let mut objects = Vec::new();
        let mut there = BTreeSet::new();
        self.heard.clear();
        for (key, value) in entries {
            match Key::read(&key) {
                Key::Node(name) => {
                    there.insert(name.clone());
                    self.meet(name, &value, now);
                }
                Key::Object(name) => objects.push((name, key, value)),
                Key::Other => {}
            }
        }
        if self.has_seen_itself && !there.contains(&self.config.name) {
            self.lose(now, now);
        }
        for (name, member) in &mut self.members {
            if !there.contains(name) {
                member.missing_since.get_or_insert(now);
            }
        }
        let mut changed = Vec::new();
        for (name, key, value) in objects {
            self.hear(&name, &key, &value, &mut changed);
        }
        self.reseat(now);
        self.review_all(now);
    }

    pub(super) fn changes(&mut self, changes: Vec<(String, Option<Vec<u8>>)>, now: Instant) {
        // After a long silence they may be old, and what a node hears in passing is not to be told. That
        // nothing is missing any more the store has to say.
        if now < self.heard_at + self.config.ttl {
            self.heard_at = now;
        }
        let mut changed = Vec::new();
        for (key, value) in changes {
            match (Key::read(&key), value) {
                (Key::Node(name), Some(value)) => {
                    let touched = self.checks_of(&name);
                    self.meet(name, &value, now);
                    changed.extend(touched);
                    self.reseat(now);
                }
                (Key::Node(name), None) => {
                    changed.extend(self.checks_of(&name));
                    self.part_with(&name, now);
                }
                (Key::Object(name), Some(value)) => self.hear(&name, &key, &value, &mut changed),
                _ => {}
            }
        }
        changed.sort_unstable();
        changed.dedup();
        changed.into_iter().for_each(|key| self.review(place(key), now));
    }

    /// The checks of which a node has an opinion.
    fn checks_of(&self, name: &NodeName) -> Vec<CheckKey> {
        self.heard.get(name).map(|heard| heard.keys().collect()).unwrap_or_default()
    }

    /// A node is registered, or says something else of itself.
    fn meet(&mut self, name: NodeName, value: &[u8], now: Instant) {
        let record = match NodeRecord::read(value) {
            Ok(record) => record,
            Err(error) => return self.log(Note::Unreadable(format!("nodes/{name}"), error.to_string())),
        };
        if name == self.config.name {
            let is_of_this_term = self.is_mine(&name, &record) && self.link.lease() == Some(record.term);
            if is_of_this_term {
                self.has_seen_itself = true;
            } else if self.has_seen_itself {
                self.lose(now, now);
            }
        }
        if self.is_mine(&name, &record) {
            self.heard.remove(&name);
        } else if self.heard.get(&name).is_none_or(|heard| heard.term() != record.term) {
            self.heard.insert(name.clone(), Heard::new(record.term));
        }
        let before =
            self.members.insert(name.clone(), Member { record: record.clone(), missing_since: None });
        match before {
            None => self.log(Note::Member(name, true)),
            Some(before) if before.record.abstains != record.abstains => {
                self.log(Note::Abstains(name, record.abstains));
            }
            Some(_) => {}
        }
    }

    /// Whether a record is this node's, of this term or of an earlier one. Under its name there may be
    /// that of another process, which is another node.
    fn is_mine(&self, name: &NodeName, record: &NodeRecord) -> bool {
        *name == self.config.name && record.instance == self.config.record.instance
    }

    /// A node is gone: its lease has ended.
    fn part_with(&mut self, name: &NodeName, now: Instant) {
        self.heard.remove(name);
        if *name == self.config.name && self.has_seen_itself {
            self.lose(now, now);
        }
        if self.members.remove(name).is_some() {
            self.log(Note::Member(name.clone(), false));
            self.reseat(now);
        }
    }

    /// Those who are missing are gone after a while, and so are the opinions of those who went.
    pub(super) fn bury(&mut self, now: Instant) {
        let settle = self.config.settle;
        // Only what was heard since says that nobody has come back.
        let is_over = |since: Instant| since + settle <= now && since + settle <= self.heard_at;
        if self.fewer_since.is_some_and(is_over) {
            (self.counted, self.fewer_since) = (self.eligible.len(), None);
            if self.counted < usize::from(self.most_opinions) {
                self.review_all(now);
            }
        }
        let is_over = |since: Instant| since + settle <= now && since + settle <= self.heard_at;
        let is_gone = |member: &Member| member.missing_since.is_some_and(is_over);
        let gone: Vec<NodeName> =
            self.members.iter().filter(|(_, member)| is_gone(member)).map(|(name, _)| name.clone()).collect();
        gone.iter().for_each(|name| self.part_with(name, now));
    }

    /// Takes an object with opinions of another node.
    fn hear(&mut self, name: &NodeName, key: &str, value: &[u8], changed: &mut Vec<CheckKey>) {
        let Some(heard) = self.heard.get_mut(name) else { return };
        match Object::decode(value) {
            Ok(object) if object.head.term == heard.term() => heard.apply(object, changed),
            // Of an earlier life.
            Ok(_) => {}
            Err(error) => self.log(Note::Unreadable(key.into(), error.to_string())),
        }
    }

    pub(super) fn has_others(&self) -> bool {
        self.members.iter().any(|(name, member)| !self.is_mine(name, &member.record))
    }

    /// Shares the checks anew among the nodes whose opinions count, and looks at those for which
    /// that makes a difference.
    pub(super) fn reseat(&mut self, now: Instant) {
        // Of this node itself, what it says and not what the store has of it by now.
        let abstains = |name: &NodeName, member: &Member| {
            let is_mine = self.is_mine(name, &member.record);
            if is_mine { self.abstains() } else { member.record.abstains.is_some() }
        };
        let seats = self.members.iter().filter(|(name, member)| !abstains(name, member));
        let seat = |(name, member): (&NodeName, &Member)| Seat {
            name: name.clone(),
            zone: member.record.zone.as_str().into(),
            capacity: member.record.capacity,
        };
        let eligible = Assignment::new(seats.map(seat));
        let nodes = u64::try_from(self.members.len()).unwrap_or(u64::MAX).max(1);
        self.publisher.allow(u64::from(self.config.writes_per_second) * 1000 / nodes, now);
        if eligible.len() >= self.counted {
            (self.counted, self.fewer_since) = (eligible.len(), None);
        } else if eligible.len() < self.eligible.len() {
            // One more went: that it comes back at once is waited for as for the one before.
            self.fewer_since = Some(now);
        } else {
            self.fewer_since.get_or_insert(now);
        }
        let mine = self.members.get(&self.config.name);
        let is_seated = mine.is_some_and(|member| self.is_mine(&self.config.name, &member.record));
        let me = if is_seated { eligible.place(&self.config.name) } else { None };
        // A node that is one again has probed for itself, and may rest wherever it stands in an order.
        let is_new = self.me.is_some() != me.is_some();
        if eligible == self.eligible && !is_new {
            return;
        }
        if eligible.is_empty() && !self.members.is_empty() {
            self.log(Note::AllAbstain);
        }
        let before = std::mem::replace(&mut self.eligible, eligible);
        self.me = me;
        let orders = std::mem::take(&mut self.orders);
        let most = usize::from(self.most_opinions);
        if is_new || before.len().min(self.eligible.len()) < most || self.apart_since.is_some() {
            return self.review_all(now);
        }
        let same: Vec<Option<u16>> =
            (0..u16::MAX).take(before.len()).map(|seat| self.eligible.place(before.name(seat))).collect();
        for (slot, old) in orders {
            let new = self.order(slot);
            let moved = old
                .iter()
                .take(most)
                .map(|seat| same[usize::from(*seat)])
                .ne(new.iter().take(most).map(|seat| Some(*seat)));
            if moved {
                self.review_slot(slot, now);
            }
        }
    }

    pub(super) fn order(&mut self, slot: Slot) -> Arc<[u16]> {
        let eligible = &self.eligible;
        self.orders.entry(slot).or_insert_with(|| eligible.order(slot).into()).clone()
    }

    fn review_slot(&mut self, slot: Slot, now: Instant) {
        let Some(first) = first_of(slot.number()) else { return };
        let of_slot = self.checks.range(first..).take_while(|((of, _), _)| *of == slot);
        let places: Vec<Place> = of_slot.map(|(place, _)| *place).collect();
        places.into_iter().for_each(|place| self.review(place, now));
    }

    pub(super) fn review_all(&mut self, now: Instant) {
        let places: Vec<Place> = self.checks.keys().copied().collect();
        places.into_iter().for_each(|place| self.review(place, now));
    }
}
