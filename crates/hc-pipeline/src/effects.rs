//! What follows from a step of a stage.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use hc_types::{CheckId, Override, StatusUpdate};
use hc_view::OverrideChange;
use tracing::{info, warn};

use crate::Group;
use crate::stage::Word;

/// What is to be done, in this order. Steps add to it.
#[derive(Debug, Default)]
pub struct Effects {
    /// Statuses for the next stage, or for consumers after the last one, in order.
    pub pass: Vec<StatusUpdate>,
    /// Checks to be probed at once.
    pub probe: BTreeSet<CheckId>,
    /// What the log says.
    pub events: Vec<Event>,
    /// Statuses for consumers that no stage behind may hold.
    pub(crate) decided: Vec<StatusUpdate>,
    /// Whose word consumers hear of these checks from now on, for all other stages.
    pub(crate) overruled: Vec<(CheckId, Word)>,
    /// Checks that have just been muted, with the number of the override: it is to know what
    /// consumers have.
    pub(crate) muted: Vec<(CheckId, u64)>,
    /// What happened to overrides, for the journal.
    pub(crate) changes: Vec<OverrideChange>,
}

/// Something that a stage has done and an operator should know.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Too many of its checks failed at once: their verdicts are held, a sample is probed. The
    /// alarm stands from here on.
    Tripped {
        /// The group.
        group: Group,
        /// Verdicts held.
        failed: usize,
        /// Healthy checks before that.
        size: usize,
        /// The share of them that had to be exceeded.
        share: f64,
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
    /// The sample passes, or few enough checks are down by now: the next probe of each held check
    /// decides.
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
    /// A gateway is down: failures of checks that depend on it are held.
    GatewayDown {
        /// The gateway.
        gateway: CheckId,
        /// Its name.
        name: Arc<str>,
    },
    /// The gateway is up again: the next probe of each check behind it decides.
    GatewayBack {
        /// The gateway.
        gateway: CheckId,
        /// Its name.
        name: Arc<str>,
        /// Failures that are still held.
        awaiting: usize,
    },
    /// A gateway has said nothing in time: the failures of checks behind it are told.
    GatewaySilent {
        /// So many of them.
        checks: usize,
    },
    /// The window of an override has begun, or is over until the next one.
    OverrideWindow {
        /// Whether it stands now.
        is_open: bool,
        /// The override.
        order: Box<Override>,
    },
    /// An override is over.
    OverrideOver {
        /// Why.
        over: Over,
        /// The override.
        order: Box<Override>,
    },
}

/// Why an override is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Over {
    /// Its time is.
    Expired,
}

impl Event {
    /// Writes it to the log.
    pub(crate) fn log(self) {
        match self {
            Self::Tripped { group, failed, size, share } => {
                warn!(%group, failed, size, share, "many checks failed at once: their verdicts are held");
            }
            Self::Released { group, verdicts, cause } => {
                warn!(%group, verdicts, %cause, "held verdicts are told");
            }
            Self::Recovered { group, awaiting } => {
                info!(%group, awaiting, "failures are in doubt: the next probe of each held check decides");
            }
            Self::Ended { group } => info!(%group, "few enough checks are down: the alarm is over"),
            Self::GatewayDown { gateway, name } => {
                warn!(%gateway, %name, "a gateway is down: failures of checks that depend on it are held");
            }
            Self::GatewayBack { gateway, name, awaiting } => {
                info!(%gateway, %name, awaiting, "a gateway is up again: the next probe of each held check decides");
            }
            Self::GatewaySilent { checks } => {
                warn!(
                    checks,
                    "a gateway has said nothing in time: the failures of checks behind it are told"
                );
            }
            Self::OverrideWindow { is_open: true, order } => {
                let Override { title, ruling, by, reason, .. } = &*order;
                info!(check = %title, kind = ruling.label(), %by, %reason, "the window of an override begins");
            }
            Self::OverrideWindow { is_open: false, order } => {
                let Override { title, ruling, by, reason, .. } = &*order;
                info!(check = %title, kind = ruling.label(), %by, %reason, "the window of an override is over");
            }
            Self::OverrideOver { over: Over::Expired, order } => {
                let Override { title, ruling, by, reason, .. } = &*order;
                info!(check = %title, kind = ruling.label(), %by, %reason, "an override has expired");
            }
        }
    }
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
