//! The latest changes in order: of health, and of what operators say.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::SystemTime;

use hc_types::{CheckId, CheckSpec, Health, Operator, Outcome, Override, Subject};

/// A change of health, as a probe brought it about.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// Its number: the first change of a process is 1, the next 2. Changes of overrides are counted
    /// with those of health.
    pub sequence: u64,
    /// Start of the probe.
    pub at: SystemTime,
    /// The check.
    pub id: CheckId,
    /// What is checked.
    pub spec: Arc<CheckSpec>,
    /// The health before.
    pub from: Health,
    /// The health since.
    pub to: Health,
    /// What the probe found.
    pub outcome: Option<Outcome>,
}

/// What happened to an override.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OverrideStep {
    /// Somebody asked for it. It takes the place of the one before of its kind, if the check had
    /// one.
    Set,
    /// It stands from now on: its beginning, or its part of the week, has come.
    Opened,
    /// Its part of the week is over until the next one.
    Closed,
    /// Somebody ended it.
    Withdrawn(Operator),
    /// Its time is over.
    Expired,
}

/// A change of what operators say of checks.
#[derive(Clone, Debug, PartialEq)]
pub struct OverrideChange {
    /// Its number, as that of a [`Transition`].
    pub sequence: u64,
    /// When it happened.
    pub at: SystemTime,
    /// What happened.
    pub step: OverrideStep,
    /// The override.
    pub order: Arc<Override>,
    /// Whether it stands after that.
    pub is_open: bool,
    /// When that changes, if time alone does it.
    pub next: Option<SystemTime>,
    /// The checks that run and that it is of.
    pub checks: Arc<[CheckId]>,
}

/// Some changes, of each kind oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Transitions {
    /// Which process counted: numbers of another epoch mean nothing in this one.
    pub epoch: u64,
    /// The changes of health.
    pub transitions: Vec<Transition>,
    /// The changes of overrides that lie between them by their numbers.
    pub overrides: Vec<OverrideChange>,
    /// How many between the number that was asked for and the last of these are no longer kept.
    pub missed: u64,
    /// The number to go on after.
    pub last: u64,
}

/// Some changes of overrides, oldest first. They are counted by themselves here, not with those of
/// health, so that a reader of these alone learns how many it has missed.
#[derive(Clone, Debug, PartialEq)]
pub struct OverrideChanges {
    /// The changes.
    pub changes: Vec<OverrideChange>,
    /// How many before them, after the count that was asked for, are no longer kept.
    pub missed: u64,
    /// How many there were up to the last of these: the count to go on after.
    pub last: u64,
}

/// Keeps the latest so many changes of each kind: a thousand overrides that one request sets do not
/// drive out what is known of health, nor checks that flap what operators said.
#[derive(Debug)]
pub(crate) struct Journal {
    epoch: u64,
    kept: VecDeque<Transition>,
    overrides: VecDeque<OverrideChange>,
    /// A hash of the subject of each of them: who looks for those of one reads these alone, and
    /// shards wait meanwhile.
    subjects: VecDeque<u64>,
    capacity: usize,
    /// The number of the latest one.
    last: u64,
    /// How many changes of overrides there were.
    of_overrides: u64,
    /// How many changes of health there were: to healthy, and to unhealthy. No check becomes
    /// unknown.
    to: (u64, u64),
}

impl Journal {
    pub(crate) fn new(epoch: u64, capacity: usize) -> Self {
        Self {
            epoch,
            kept: VecDeque::new(),
            overrides: VecDeque::new(),
            subjects: VecDeque::new(),
            capacity,
            last: 0,
            of_overrides: 0,
            to: (0, 0),
        }
    }

    /// Adds a transition and gives it its number. The oldest is dropped when there is no room for
    /// it.
    pub(crate) fn push(&mut self, transition: Transition) {
        self.last += 1;
        let (healthy, unhealthy) = &mut self.to;
        *if transition.to == Health::Healthy { healthy } else { unhealthy } += 1;
        push(&mut self.kept, Transition { sequence: self.last, ..transition }, self.capacity);
    }

    /// The same for a change of an override.
    pub(crate) fn push_override(&mut self, change: OverrideChange) {
        self.last += 1;
        self.of_overrides += 1;
        push(&mut self.subjects, hash(&change.order.subject), self.capacity);
        push(&mut self.overrides, OverrideChange { sequence: self.last, ..change }, self.capacity);
    }

    /// How many changes of health there were: to healthy, and to unhealthy.
    pub(crate) fn to(&self) -> (u64, u64) {
        self.to
    }

    /// How many changes of overrides there were.
    pub(crate) fn of_overrides(&self) -> u64 {
        self.of_overrides
    }

    /// The latest changes of health of one check, at most `most`, oldest first.
    pub(crate) fn of(&self, id: CheckId, most: usize) -> Vec<Transition> {
        let latest = self.kept.iter().rev().filter(|transition| transition.id == id).take(most);
        let mut latest: Vec<Transition> = latest.cloned().collect();
        latest.reverse();
        latest
    }

    /// The latest changes of overrides of this subject, at most `most`, oldest first. Those that
    /// were of the check under another id, or while it did not run, are among them.
    pub(crate) fn overrides_of(&self, subject: &Subject, most: usize) -> Vec<OverrideChange> {
        let wanted = hash(subject);
        let all = self.subjects.iter().zip(&self.overrides).rev();
        let of_it = all.filter(|(known, change)| **known == wanted && change.order.subject == *subject);
        let mut latest: Vec<OverrideChange> = of_it.map(|(_, change)| change.clone()).take(most).collect();
        latest.reverse();
        latest
    }

    /// At most `most` changes behind number `after`.
    pub(crate) fn after(&self, after: u64, most: usize) -> Transitions {
        let mut transitions = behind(&self.kept, after, |one| one.sequence).peekable();
        let mut overrides = behind(&self.overrides, after, |one| one.sequence).peekable();
        let (mut of_health, mut of_overrides) = (Vec::new(), Vec::new());
        // Where nothing is kept of what is behind, there is nothing to go through.
        let is_end = transitions.peek().is_none() && overrides.peek().is_none();
        let mut last = if is_end { self.last } else { after };
        while of_health.len() + of_overrides.len() < most {
            let is_override = match (transitions.peek(), overrides.peek()) {
                (None, None) => break,
                (Some(_), None) => false,
                (None, Some(_)) => true,
                (Some(transition), Some(change)) => change.sequence < transition.sequence,
            };
            if is_override {
                of_overrides.extend(overrides.next().cloned());
            } else {
                of_health.extend(transitions.next().cloned());
            }
            let latest = (of_health.last(), of_overrides.last());
            last = latest.0.map_or(0, |one| one.sequence).max(latest.1.map_or(0, |one| one.sequence));
        }
        let found = (of_health.len() + of_overrides.len()) as u64;
        let missed = last.saturating_sub(after).saturating_sub(found);
        Transitions { epoch: self.epoch, transitions: of_health, overrides: of_overrides, missed, last }
    }

    /// At most `most` changes of overrides after the first `after` of them.
    pub(crate) fn overrides_after(&self, after: u64, most: usize) -> OverrideChanges {
        // A count of another process, or made up, is taken for that of the latest.
        let after = after.min(self.of_overrides);
        let dropped = self.of_overrides - self.overrides.len() as u64;
        let missed = dropped.saturating_sub(after);
        let known = usize::try_from(after.saturating_sub(dropped)).unwrap_or(usize::MAX);
        let changes: Vec<OverrideChange> = self.overrides.iter().skip(known).take(most).cloned().collect();
        let last = after + missed + changes.len() as u64;
        OverrideChanges { changes, missed, last }
    }
}

fn hash(subject: &Subject) -> u64 {
    let mut hasher = DefaultHasher::new();
    subject.hash(&mut hasher);
    hasher.finish()
}

/// Adds one in the place of the oldest, where there is no room for both.
fn push<T>(kept: &mut VecDeque<T>, one: T, capacity: usize) {
    if kept.len() >= capacity {
        kept.pop_front();
    }
    if capacity > 0 {
        kept.push_back(one);
    }
}

/// Those with a number above `after`.
fn behind<T>(kept: &VecDeque<T>, after: u64, sequence: impl Fn(&T) -> u64) -> impl Iterator<Item = &T> {
    kept.range(kept.partition_point(|one| sequence(one) <= after)..)
}
