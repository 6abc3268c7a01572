//! The latest changes of health, in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use hc_types::{CheckId, CheckSpec, Health, Outcome};

/// A change of health, as a probe brought it about.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// Its number: the first one of a process is 1, the next 2.
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

/// Some transitions, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Transitions {
    /// Which process counted: numbers of another epoch mean nothing in this one.
    pub epoch: u64,
    /// The transitions.
    pub transitions: Vec<Transition>,
    /// How many between the number that was asked for and the first of these are no longer kept.
    pub missed: u64,
    /// The number to go on after.
    pub last: u64,
}

/// Keeps the latest so many transitions.
#[derive(Debug)]
pub(crate) struct Journal {
    epoch: u64,
    kept: VecDeque<Transition>,
    capacity: usize,
    /// The number of the latest one.
    last: u64,
    /// How many of all were to healthy.
    to_healthy: u64,
}

impl Journal {
    pub(crate) fn new(epoch: u64, capacity: usize) -> Self {
        Self { epoch, kept: VecDeque::new(), capacity, last: 0, to_healthy: 0 }
    }

    /// Adds a transition and gives it its number. The oldest is dropped when there is no room for it.
    pub(crate) fn push(&mut self, transition: Transition) {
        self.last += 1;
        self.to_healthy += u64::from(transition.to == Health::Healthy);
        if self.kept.len() >= self.capacity {
            self.kept.pop_front();
        }
        if self.capacity > 0 {
            self.kept.push_back(Transition { sequence: self.last, ..transition });
        }
    }

    /// How many there were: to healthy, and to unhealthy. No check becomes unknown.
    pub(crate) fn to(&self) -> (u64, u64) {
        (self.to_healthy, self.last - self.to_healthy)
    }

    /// The latest of one check, at most `most`, oldest first.
    pub(crate) fn of(&self, id: CheckId, most: usize) -> Vec<Transition> {
        let latest = self.kept.iter().rev().filter(|transition| transition.id == id).take(most);
        let mut latest: Vec<Transition> = latest.cloned().collect();
        latest.reverse();
        latest
    }

    /// Transitions that were dropped so far.
    fn dropped(&self) -> u64 {
        self.last - self.kept.len() as u64
    }

    /// At most `most` transitions behind number `after`.
    pub(crate) fn after(&self, after: u64, most: usize) -> Transitions {
        let dropped = self.dropped();
        let skip = usize::try_from(after.saturating_sub(dropped)).unwrap_or(usize::MAX);
        let transitions: Vec<_> = self.kept.iter().skip(skip).take(most).cloned().collect();
        let missed = dropped.saturating_sub(after);
        let last = transitions.last().map_or(after.clamp(dropped, self.last), |latest| latest.sequence);
        Transitions { epoch: self.epoch, transitions, missed, last }
    }
}
