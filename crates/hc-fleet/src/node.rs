//! One node of a fleet: all of its decisions, and no I/O.

mod link;
mod members;
mod probing;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hc_types::{CheckKey, Health};

use crate::heard::Heard;
use crate::node::link::Link;
use crate::node::members::Member;
use crate::opinion::{Place, place};
use crate::publish::Publisher;
use crate::{Assignment, NodeName, NodeRecord, Opinion, Policy, Request, Slot, StoreEvent, Term};

pub use self::probing::Finding;
pub use self::verdict::{Basis, Explanation, Voter};

/// How a node behaves. Which values nodes of one fleet have in common is said where it matters.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its name; no other node of the fleet may have it.
    pub name: NodeName,
    /// What it says of itself. `abstains` and `term` are filled in by the node.
    pub record: NodeRecord,
    /// How long the store keeps a node that it does not hear of, and how long a node goes on without
    /// hearing of the store until it takes itself for cut off. Default 10 s.
    pub ttl: Duration,
    /// How long a node is still counted that is missing when the store is read anew, and how long
    /// rules are for as many opinions as before when there are fewer nodes: the store may have been
    /// wiped, or leases revoked, and nodes are about to register again. Default 3 s.
    pub settle: Duration,
    /// How long a check may lack opinions until a node that needs it probes it out of turn. Default
    /// 30 s.
    pub patience: Duration,
    /// Within what time a node that is cut off begins to probe what others have probed for it.
    /// Default 10 s.
    pub spread: Duration,
    /// How long changes are collected before they are written. Default 100 ms.
    pub batch: Duration,
    /// How long it takes until every change in the log is in a base object. Default 10 min.
    pub refresh: Duration,
    /// Objects that the whole fleet writes in a second; each node has its part. The same on all
    /// nodes. Default 50.
    pub writes_per_second: u32,
}

impl NodeConfig {
    /// A node with this name, of this process, and the defaults.
    #[must_use]
    pub fn new(name: NodeName, instance: String) -> Self {
        let record = NodeRecord {
            zone: String::new(),
            capacity: 1,
            program: env!("CARGO_PKG_VERSION").into(),
            instance,
            term: Term::default(),
            abstains: None,
        };
        Self {
            name,
            record,
            ttl: Duration::from_secs(10),
            settle: Duration::from_secs(3),
            patience: Duration::from_secs(30),
            spread: Duration::from_secs(10),
            batch: Duration::from_millis(100),
            refresh: Duration::from_secs(600),
            writes_per_second: 50,
        }
    }
}

/// What a node wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Ask the store.
    Store(Request),
    /// Probe this check from now on. Its state machine begins with this health, if it is known, so
    /// that one failed probe does not take down what the fleet finds healthy.
    Probe(CheckKey, Health),
    /// Probe it no longer.
    Rest(CheckKey),
    /// Consumers of this node are to hear this of the check, or it rests on something else now.
    Tell(CheckKey, Health, Basis),
    /// Something for the log.
    Log(Note),
}

/// Something that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// The node belongs to the fleet now.
    Joined,
    /// Its lease is gone; it asks for another one.
    LeaseLost,
    /// Another process has its name.
    NameTaken,
    /// The node neither hears of the fleet nor reaches it: it goes on alone. In words why.
    CutOff(&'static str),
    /// It hears the fleet again.
    Back,
    /// Another node has joined, or left.
    Member(NodeName, bool),
    /// Another node says why its opinions do not count, or that they do.
    Abstains(NodeName, Option<String>),
    /// No node has opinions that count.
    AllAbstain,
    /// A value in the store cannot be read; its key and why.
    Unreadable(String, String),
    /// Asking the store has failed; in words.
    StoreFailed(String),
}

/// One node: it hears what happens and says what is to be done.
///
/// Every call may add [actions](Self::take_actions). Time is passed in and must not run backwards.
/// [`tick`](Self::tick) is to be called at [`due`](Self::due).
#[derive(Debug)]
pub struct Node {
    config: NodeConfig,
    checks: BTreeMap<Place, Check>,
    // The way to the store.
    link: Link,
    /// Nothing that is heard now has gaps.
    is_synced: bool,
    heard_at: Instant,
    /// Since when the node neither is a member nor knows of one.
    lonely_since: Option<Instant>,
    /// The node goes on alone since then.
    apart_since: Option<Instant>,
    /// The node's own key was heard in this term, so when it is gone, it is.
    has_seen_itself: bool,
    /// When the node has last written its key.
    updated: Instant,
    // The others.
    members: BTreeMap<NodeName, Member>,
    heard: BTreeMap<NodeName, Heard>,
    /// Nodes whose opinions count, and their orders of slots.
    eligible: Assignment,
    orders: BTreeMap<Slot, Arc<[u16]>>,
    /// This node, if it is one of them.
    me: Option<u16>,
    /// For how many nodes' opinions rules are: of those who went a moment ago some may be back at
    /// once, as after a wipe of the store, and one who is left must not decide alone meanwhile.
    counted: usize,
    /// Since when there are fewer.
    fewer_since: Option<Instant>,
    /// The most opinions that any check has wanted.
    most_opinions: u8,
    publisher: Publisher,
    /// Checks that lack opinions, and since when.
    lacking: BTreeMap<Place, Instant>,
    swept: Instant,
    ticked: Instant,
    /// Checks that rest as soon as their withdrawal is written.
    leaving: BTreeSet<Place>,
    /// Up to where a node that is cut off has begun to probe; `None` when it has with all.
    cursor: Option<Place>,
    actions: Vec<Action>,
}

/// A check that consumers of this node need.
#[derive(Clone, Debug)]
struct Check {
    policy: Policy,
    verdict: Health,
    basis: Basis,
    is_probed: bool,
    /// What this node's own probes find.
    own: Finding,
    /// When that became so.
    own_since: Instant,
    /// A probe of this node has borne that out since it was asked to probe, or joined.
    is_fresh: bool,
    /// When the node was cut off its own opinion had been outvoted for a while: it waits for news.
    is_overruled: bool,
}

impl Node {
    /// A node that knows nothing yet.
    #[must_use]
    pub fn new(config: NodeConfig, now: Instant) -> Self {
        Self {
            publisher: Publisher::new(config.batch, config.refresh, now),
            config,
            checks: BTreeMap::new(),
            link: Link::new(now),
            is_synced: false,
            heard_at: now,
            lonely_since: Some(now),
            apart_since: None,
            has_seen_itself: false,
            updated: now,
            counted: Policy::MOST_OPINIONS.into(),
            fewer_since: Some(now),
            most_opinions: 1,
            members: BTreeMap::new(),
            heard: BTreeMap::new(),
            eligible: Assignment::default(),
            orders: BTreeMap::new(),
            me: None,
            lacking: BTreeMap::new(),
            swept: now,
            ticked: now,
            leaving: BTreeSet::new(),
            cursor: None,
            actions: Vec::new(),
        }
    }

    /// What is to be done, in order. Each is returned once.
    #[must_use]
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// Consumers of this node need a check, or it is judged by another rule. The nodes of a fleet
    /// should have the same checks and rules: one that lacks a check gives no opinion of it.
    pub fn add(&mut self, key: CheckKey, policy: Policy, now: Instant) {
        let place = place(key);
        let check = self.checks.entry(place).or_insert_with(|| Check {
            policy,
            verdict: Health::Unknown,
            basis: Basis::Held,
            is_probed: false,
            own: Finding::none(),
            own_since: now,
            is_fresh: false,
            is_overruled: false,
        });
        check.policy = policy;
        self.most_opinions = self.most_opinions.max(policy.opinions);
        self.review(place, now);
    }

    /// Nobody here needs it any more.
    pub fn remove(&mut self, key: CheckKey, now: Instant) {
        let place = place(key);
        if self.checks.remove(&place).is_some_and(|check| check.is_probed) {
            self.actions.push(Action::Rest(key));
        }
        self.publisher.withdraw(key, now);
        self.lacking.remove(&place);
        self.leaving.remove(&place);
    }

    /// Something that the store says.
    pub fn store(&mut self, event: StoreEvent, now: Instant) {
        match event {
            StoreEvent::Snapshot(entries) => self.snapshot(entries, now),
            StoreEvent::Changes(changes) if self.is_synced => self.changes(changes, now),
            StoreEvent::Changes(_) => {}
            StoreEvent::Quiet => self.heard_at = if self.is_synced { now } else { self.heard_at },
            StoreEvent::Deaf => self.is_synced = false,
            StoreEvent::Written(ticket) => self.is_written(ticket, now),
            StoreEvent::NotWritten(ticket, why) => {
                self.publisher.failed(ticket, now + RETRY);
                self.log(Note::StoreFailed(why));
            }
            other => self.link_event(other, now),
        }
        self.tick(now);
    }

    /// This node's own probes are not to be believed now, and why in words; or they are again. While
    /// that is so its opinions count nowhere.
    pub fn abstain(&mut self, why: Option<String>, now: Instant) {
        if self.config.record.abstains == why {
            return;
        }
        self.config.record.abstains = why;
        if self.link.term().is_some() {
            self.update(now);
        }
        self.reseat(now);
        if self.me.is_none() {
            // What it went on with it may leave to others now.
            self.review_all(now);
        }
        self.tick(now);
    }

    /// The fleet is left in good order: others take over at once.
    pub fn leave(&mut self) {
        if let Some(term) = self.link.term() {
            self.actions.push(Action::Store(Request::Revoke(term)));
        }
    }

    /// Whether the node goes on alone.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        self.apart_since.is_some()
    }

    /// Whether it is this node's turn to do what one node of the fleet must do, such as to compact
    /// the store: it is the first in the order of slot 0.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.me.is_some()
            && Slot::new(0).map(|slot| self.eligible.order(slot).first().copied()) == Some(self.me)
    }

    /// The nodes of the fleet as this one hears of them, and what they say of themselves.
    pub fn members(&self) -> impl Iterator<Item = (&NodeName, &NodeRecord)> {
        self.members.iter().map(|(name, member)| (name, &member.record))
    }

    /// How many checks this node probes now.
    #[must_use]
    pub fn probed(&self) -> usize {
        self.checks.values().filter(|check| check.is_probed).count()
    }

    fn log(&mut self, note: Note) {
        self.actions.push(Action::Log(note));
    }
}

/// How long after an attempt that failed the next one is made.
const RETRY: Duration = Duration::from_secs(1);

impl Check {
    /// Whether this node has something to say of it.
    fn has_opinion(&self) -> bool {
        self.is_probed && self.is_fresh
    }

    /// The fleet's verdict, if this node knows one.
    fn fleet_verdict(&self) -> Health {
        if self.basis == Basis::Alone { Health::Unknown } else { self.verdict }
    }

    /// What this node has to say of it.
    fn opinion(&self) -> Opinion {
        Opinion {
            health: self.own.health,
            verdict: self.fleet_verdict(),
            number: 0,
            streak: self.own.streak,
            label: self.own.label.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
