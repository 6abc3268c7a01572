//! The node's registration, and whether it is cut off.

use std::time::Instant;

use hc_types::Health;

use super::{Action, Basis, Node, Note, RETRY};
use crate::{Request, StoreEvent, Term};

/// How the node stands with the store.
#[derive(Clone, Copy, Debug)]
pub(super) enum Link {
    /// It has no lease, and asks for one then.
    Out { again: Instant },
    /// It has asked for one.
    Asked { at: Instant },
    /// It has one and asks to be written as a member.
    Registering { term: Term, at: Instant, kept: Instant },
    /// It is a member. `kept` is when it asked for the latest life of its lease that it got, and
    /// `asked` when it asked last.
    Member { term: Term, kept: Instant, asked: Instant },
}

impl Link {
    pub(super) fn new(now: Instant) -> Self {
        Self::Out { again: now }
    }

    /// The lease that the node has, also if it does not know yet whether it is a member.
    pub(super) fn lease(&self) -> Option<Term> {
        match self {
            Self::Registering { term, .. } | Self::Member { term, .. } => Some(*term),
            Self::Out { .. } | Self::Asked { .. } => None,
        }
    }

    /// The lease under which the node is a member.
    pub(super) fn term(&self) -> Option<Term> {
        match self {
            Self::Member { term, .. } => Some(*term),
            _ => None,
        }
    }
}

impl Node {
    pub(super) fn link_event(&mut self, event: StoreEvent, now: Instant) {
        match (event, self.link) {
            (StoreEvent::Granted(term), Link::Asked { at }) => {
                self.link = Link::Registering { term, at: now, kept: at };
                self.config.record.term = term;
                // The key of this term may be heard before the answer to the request that writes it.
                self.has_seen_itself = false;
                self.updated = now;
                let record = self.config.record.clone();
                self.actions.push(Action::Store(Request::Register(record)));
            }
            // One that was given up meanwhile.
            (StoreEvent::Granted(term), _) => self.actions.push(Action::Store(Request::Revoke(term))),
            (StoreEvent::Registered(of, true), Link::Registering { term, kept, .. }) if of == term => {
                self.link = Link::Member { term, kept, asked: now };
                self.publisher.begin(term, now);
                self.log(Note::Joined);
            }
            (StoreEvent::Registered(of, false), Link::Registering { term, .. }) if of == term => {
                self.actions.push(Action::Store(Request::Revoke(term)));
                self.link = Link::Out { again: now + RETRY };
                self.log(Note::NameTaken);
            }
            (StoreEvent::Registered(of, true), _) if self.link.term() != Some(of) => {
                self.actions.push(Action::Store(Request::Revoke(of)));
            }
            (StoreEvent::Kept(of, sent), Link::Member { term, kept, asked }) if of == term => {
                self.link = Link::Member { term, kept: kept.max(sent), asked };
            }
            (StoreEvent::Lost(of), link) if link.lease() == Some(of) => self.lose(now, now),
            (StoreEvent::Failed(why), link) => {
                if matches!(link, Link::Asked { .. } | Link::Registering { .. }) {
                    self.give_up(now + RETRY);
                }
                self.log(Note::StoreFailed(why));
            }
            _ => {}
        }
    }

    /// The lease is gone, or has to be taken for that: another one is asked for, at once or then.
    /// Whatever may still be there of the old one is removed.
    pub(super) fn lose(&mut self, again: Instant, now: Instant) {
        if self.link.lease().is_some() {
            self.log(Note::LeaseLost);
        }
        self.give_up(again);
        self.publisher.end();
        // What was being taken back is gone with the lease.
        for place in std::mem::take(&mut self.leaving) {
            self.rest(place);
            self.review(place, now);
        }
    }

    /// Another lease is asked for then. The one before may be there, and the node's key with it, also
    /// where nobody has said so.
    fn give_up(&mut self, again: Instant) {
        if let Some(term) = self.link.lease() {
            self.actions.push(Action::Store(Request::Revoke(term)));
        }
        self.link = Link::Out { again };
    }

    /// What the node says of itself is written anew.
    pub(super) fn update(&mut self, now: Instant) {
        self.updated = now;
        self.actions.push(Action::Store(Request::Update(self.config.record.clone())));
    }

    /// When to do so again, since the store has something else: a request may get lost.
    fn update_due(&self) -> Option<Instant> {
        let record = &self.config.record;
        let stored = &self.members.get(&self.config.name)?.record;
        let is_old = stored.instance == record.instance && stored.abstains != record.abstains;
        (is_old && self.link.term().is_some()).then(|| self.updated + self.config.ttl / 3)
    }

    fn hears(&self, now: Instant) -> bool {
        self.is_synced && now < self.heard_at + self.config.ttl
    }

    /// When [`tick`](Self::tick) has something to do.
    #[must_use]
    pub fn due(&self) -> Instant {
        let ttl = self.config.ttl;
        let mut due = match self.link {
            Link::Out { again } if again > self.ticked => again,
            // Who does not hear the fleet does not join it.
            Link::Out { .. } => self.ticked + RETRY,
            Link::Asked { at } | Link::Registering { at, .. } => at + ttl,
            Link::Member { kept, asked, .. } => (asked + ttl / 3).min(kept + ttl),
        };
        let mut earlier = |at: Option<Instant>| due = at.map_or(due, |at| due.min(at));
        earlier(self.apart_since.is_none().then(|| self.heard_at + ttl));
        earlier(
            self.apart_since
                .is_none()
                .then_some(self.lonely_since)
                .flatten()
                .map(|at| at + self.config.settle),
        );
        earlier(self.publisher.due());
        earlier(self.update_due());
        // When the store is heard of again, if not now: then there is a tick, too.
        let settled = |since: Instant| Some(since + self.config.settle).filter(|at| *at > self.ticked);
        earlier(self.members.values().filter_map(|member| member.missing_since).filter_map(settled).min());
        earlier(self.fewer_since.and_then(settled));
        earlier(self.publisher.unwritten_since().map(|at| at + ttl));
        earlier(self.cursor.and_then(|place| self.turn_of(place)));
        earlier((!self.lacking.is_empty()).then(|| self.swept + RETRY));
        due
    }

    /// Time has come to `now`.
    pub fn tick(&mut self, now: Instant) {
        self.ticked = now;
        self.keep(now);
        self.bury(now);
        self.judge_apart(now);
        self.sweep(now);
        self.go_on_alone(now);
        if let Some(batch) = self.publisher.next(now) {
            self.actions.push(Action::Store(Request::Write(batch)));
        }
    }

    fn keep(&mut self, now: Instant) {
        if self.update_due().is_some_and(|due| due <= now) {
            self.update(now);
        }
        let ttl = self.config.ttl;
        match self.link {
            Link::Out { again } if again <= now && self.hears(now) => {
                self.link = Link::Asked { at: now };
                self.actions.push(Action::Store(Request::Grant));
            }
            Link::Asked { at } | Link::Registering { at, .. } if at + ttl <= now => self.give_up(now),
            // Nobody has heard of the lease for as long as it lives.
            Link::Member { kept, .. } if kept + ttl <= now => self.lose(now, now),
            Link::Member { term, kept, asked } if asked + ttl / 3 <= now => {
                self.link = Link::Member { term, kept, asked: now };
                self.actions.push(Action::Store(Request::KeepAlive(term)));
            }
            _ => {}
        }
    }

    pub(super) fn is_written(&mut self, ticket: u64, now: Instant) {
        self.publisher.written(ticket, now);
        let done: Vec<_> =
            self.leaving.iter().filter(|place| self.publisher.is_written(place.1)).copied().collect();
        for place in done {
            self.leaving.remove(&place);
            self.rest(place);
            self.review(place, now);
        }
    }

    /// Whether the node hears of the fleet, or goes on alone.
    fn judge_apart(&mut self, now: Instant) {
        let ttl = self.config.ttl;
        if self.publisher.unwritten_since().is_some_and(|since| since + ttl <= now) {
            // What others have of this node is old; without it they take over.
            self.lose(now + ttl, now);
        }
        let is_alone = self.link.term().is_none() && !self.has_others();
        self.lonely_since = is_alone.then(|| self.lonely_since.unwrap_or(now));
        let is_lonely = self.lonely_since.is_some_and(|since| since + self.config.settle <= now);
        let why = if self.heard_at + ttl <= now {
            Some("nothing was heard of the store for as long as a lease lives")
        } else if is_lonely {
            Some("the node could not join, and knows of no other node")
        } else {
            None
        };
        match (why, self.apart_since) {
            (Some(why), None) => self.part(why, now),
            (None, Some(_)) => self.come_back(now),
            _ => {}
        }
    }

    fn part(&mut self, why: &'static str, now: Instant) {
        self.apart_since = Some(now);
        self.cursor = self.checks.keys().next().copied();
        self.leaving.clear();
        self.lacking.clear();
        self.log(Note::CutOff(why));
        self.lose(now, now);
        self.publisher.clear();
        let ttl = self.config.ttl;
        for check in self.checks.values_mut() {
            // Others had the time to say the same, and did not. That they are not heard now is no news
            // of the backend; what was found since may be.
            let is_outvoted = check.basis == Basis::Fleet && check.own.health != check.verdict;
            check.is_overruled = is_outvoted && check.own_since + ttl <= self.heard_at;
        }
        self.review_all(now);
    }

    /// Opinions from before count no more: probes of this term must bear them out.
    fn come_back(&mut self, now: Instant) {
        self.apart_since = None;
        self.cursor = None;
        self.publisher.clear();
        for check in self.checks.values_mut() {
            (check.is_fresh, check.is_overruled) = (false, false);
            if check.verdict == Health::Unknown {
                check.basis = Basis::Held;
            }
        }
        self.log(Note::Back);
        self.review_all(now);
    }
}
