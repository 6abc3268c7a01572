//! What follows from a step of the guard.

use std::collections::BTreeSet;
use std::fmt;

use hc_types::{CheckId, StatusUpdate};

use crate::Group;

/// What is to be done, in this order. Steps add to it.
#[derive(Debug, Default)]
pub struct Actions {
    /// Statuses to pass on, in order.
    pub pass: Vec<StatusUpdate>,
    /// Checks to be probed at once.
    pub probe: BTreeSet<CheckId>,
    /// What an operator should hear.
    pub events: Vec<Event>,
}

/// News of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Too many of its checks failed at once: their verdicts are held, a sample is probed. The alarm stands from here on.
    Tripped {
        /// The group.
        group: Group,
        /// Verdicts held.
        failed: usize,
        /// Healthy checks before that.
        size: usize,
    },
    /// The held verdicts are told. The alarm stands until few enough checks are down.
    Released {
        /// The group.
        group: Group,
        /// Verdicts told.
        verdicts: usize,
        /// Why.
        cause: Cause,
    },
    /// The sample passes, or few enough checks are down by now: the next probe of each held check decides.
    Recovered {
        /// The group.
        group: Group,
        /// Verdicts that are still held.
        awaiting: usize,
    },
    /// Few enough checks are down: the alarm is over.
    Ended {
        /// The group.
        group: Group,
    },
}

/// Why held verdicts are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The sample failed in every round.
    Confirmed,
    /// One of them had been held for as long as any may be.
    MaxHold,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Confirmed => "the sample fails again",
            Self::MaxHold => "held for as long as allowed",
        })
    }
}
