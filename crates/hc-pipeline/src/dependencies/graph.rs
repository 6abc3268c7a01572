//! Which check depends on which, and where each of them stands.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hc_types::{CheckId, CheckSpec, Health, Known, StatusUpdate};

use super::Dependencies;

/// How long a failure waits for a gateway of which nothing is known, at least and at most.
const LEAST: Duration = Duration::from_secs(5);
const MOST: Duration = Duration::from_secs(60);

/// A check that depends on others.
#[derive(Debug)]
pub(super) struct Dependant {
    pub(super) on: Vec<CheckId>,
    /// What was passed on last.
    pub(super) told: Health,
    pub(super) held: Option<Held>,
}

/// A failure that is held.
#[derive(Debug)]
pub(super) struct Held {
    /// The latest status.
    pub(super) update: StatusUpdate,
    /// When the probe ended that made the check unhealthy.
    pub(super) since: SystemTime,
    pub(super) wait: Wait,
    /// When waiting for an answer is over.
    pub(super) due: Option<Instant>,
}

/// What a held failure waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Nothing yet: it has just come.
    New,
    /// For a probe of a gateway.
    Answer,
    /// For a gateway to be up.
    Down,
    /// For the next probe of its check, which decides.
    NextProbe,
}

/// A check that others depend on.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) name: Arc<str>,
    pub(super) behind: BTreeSet<CheckId>,
    pub(super) spec: Option<Arc<CheckSpec>>,
    /// By its probes.
    pub(super) health: Health,
    /// Start of the latest probe that passed.
    pub(super) passed: Option<SystemTime>,
    /// Start of the probe with which it became healthy, while it is.
    pub(super) up_since: Option<SystemTime>,
    /// The log has said that it is down.
    pub(super) alarm: bool,
}

impl Gateway {
    fn new(name: Arc<str>) -> Self {
        Self {
            name,
            behind: BTreeSet::new(),
            spec: None,
            health: Health::Unknown,
            passed: None,
            up_since: None,
            alarm: false,
        }
    }

    /// How long to wait for its answer: it is asked once a second, and may fail as often as its
    /// retries say before it is down.
    pub(super) fn patience(&self) -> Duration {
        let needed = self.spec.as_ref().map(|spec| {
            let times = spec.retries().saturating_add(1);
            (spec.timeout() + super::AGAIN).saturating_mul(times)
        });
        needed.unwrap_or_default().clamp(LEAST, MOST)
    }
}

impl Dependencies {
    /// Takes over what the names say. Dependants that are none any more have no gateways.
    pub(super) fn rebuild(&mut self, all: Known) {
        self.dependants.values_mut().for_each(|known| known.on.clear());
        let mut gateways: HashMap<CheckId, Gateway> = HashMap::new();
        for (id, metadata) in all {
            let mut on = Vec::new();
            // A name that no check has at present holds nothing.
            for (gateway, name) in
                metadata.depends_on.iter().filter_map(|name| Some((self.names.id_of(name)?, name)))
            {
                let known = gateways.entry(gateway).or_insert_with(|| {
                    let known = self.gateways.remove(&gateway);
                    let known = known.map(|known| Gateway { behind: BTreeSet::new(), ..known });
                    known.unwrap_or_else(|| Gateway::new((**name).into()))
                });
                known.behind.insert(id);
                on.push(gateway);
            }
            let fresh = || Dependant { on: Vec::new(), told: Health::Unknown, held: None };
            self.dependants.entry(id).or_insert_with(fresh).on = on;
        }
        self.gateways = gateways;
        // Those of which nothing is held need not be looked at.
        self.dependants.retain(|_, known| !known.on.is_empty() || known.held.is_some());
    }
}
