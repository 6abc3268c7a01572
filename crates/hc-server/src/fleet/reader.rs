//! What readers see of the fleet.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use hc_api::{FleetNode, FleetState, OpinionState, VerdictState};
use hc_fleet::{Assignment, Basis, Explanation, Node, NodeName, NodeRecord, Note, Seat, Slot, Voter};
use hc_types::CheckKey;

use super::lock;

/// Figures that a scrape reads without asking the node.
#[derive(Debug, Default)]
pub(crate) struct FleetFigures {
    pub(crate) members: AtomicUsize,
    pub(crate) abstaining: AtomicUsize,
    pub(crate) checks: AtomicUsize,
    pub(crate) probed: AtomicUsize,
    pub(crate) abstains: AtomicBool,
    pub(crate) is_cut_off: AtomicBool,
    pub(crate) failed_requests: AtomicU64,
    pub(crate) leases_lost: AtomicU64,
    pub(crate) objects_written: AtomicU64,
}

impl FleetFigures {
    pub(super) fn set(&self, node: &Node, checks: usize, probed: usize) {
        let members = || node.members();
        self.members.store(members().count(), Relaxed);
        self.abstaining.store(members().filter(|(_, record)| record.abstains.is_some()).count(), Relaxed);
        self.checks.store(checks, Relaxed);
        self.probed.store(probed, Relaxed);
        self.is_cut_off.store(node.is_cut_off(), Relaxed);
    }

    pub(super) fn noted(&self, note: &Note) {
        match note {
            Note::StoreFailed(_) => _ = self.failed_requests.fetch_add(1, Relaxed),
            Note::LeaseLost => _ = self.leases_lost.fetch_add(1, Relaxed),
            _ => {}
        }
    }
}

/// Reads what the node knows.
#[derive(Clone, Debug)]
pub(crate) struct FleetReader {
    name: NodeName,
    node: Arc<Mutex<Node>>,
    figures: Arc<FleetFigures>,
}

impl FleetReader {
    pub(super) fn new(name: NodeName, node: Arc<Mutex<Node>>) -> Self {
        Self { name, node, figures: Arc::default() }
    }

    pub(crate) fn figures(&self) -> Arc<FleetFigures> {
        self.figures.clone()
    }

    /// The fleet as this node sees it.
    pub(crate) fn state(&self) -> FleetState {
        let members: Vec<(NodeName, NodeRecord)> = {
            let node = lock(&self.node);
            node.members().map(|(name, record)| (name.clone(), record.clone())).collect()
        };
        let slots = first_slots(&members);
        let node = |(name, record): &(NodeName, NodeRecord)| {
            let mut node = FleetNode::new(name.as_str(), record.capacity, record.program.as_str());
            node.zone.clone_from(&record.zone);
            node.abstains.clone_from(&record.abstains);
            node.slots = slots.get(name).copied().unwrap_or_default();
            node
        };
        let nodes = members.iter().map(node).collect();
        let figures = &self.figures;
        let mut state = FleetState::new(self.name.as_str(), figures.is_cut_off.load(Relaxed), nodes);
        state.checks = number(figures.checks.load(Relaxed));
        state.probed = number(figures.probed.load(Relaxed));
        state
    }

    /// What the fleet makes of a check. `None` of one that it has not been told of yet.
    pub(crate) fn verdict(&self, key: CheckKey) -> Option<VerdictState> {
        let Explanation { verdict, basis, wanted, voters, .. } = lock(&self.node).explain(key)?;
        let basis = match basis {
            Basis::Fleet => "fleet",
            Basis::Held => "held",
            Basis::Alone => "alone",
        };
        let says = |voter: &Voter| voter.node == self.name && voter.opinion.is_some();
        let mut state = VerdictState::new(verdict, basis, wanted, voters.iter().any(says));
        state.opinions = voters
            .into_iter()
            .map(|Voter { node, opinion, counts, .. }| {
                let said = OpinionState::new(node.as_str());
                match opinion {
                    Some(opinion) => {
                        said.with_opinion(opinion.health, &*opinion.label, opinion.streak, counts)
                    }
                    None => said,
                }
            })
            .collect();
        Some(state)
    }

    /// The figures for metrics.
    pub(crate) fn scrape(&self) -> hc_metrics::Fleet {
        let figures = &self.figures;
        hc_metrics::Fleet {
            nodes: number(figures.members.load(Relaxed)),
            abstaining: number(figures.abstaining.load(Relaxed)),
            abstains: figures.abstains.load(Relaxed),
            cut_off: figures.is_cut_off.load(Relaxed),
            checks: number(figures.checks.load(Relaxed)),
            probed: number(figures.probed.load(Relaxed)),
            leases_lost: figures.leases_lost.load(Relaxed),
            failed_requests: figures.failed_requests.load(Relaxed),
            objects_written: figures.objects_written.load(Relaxed),
        }
    }

    /// What is wrong with this node's part in the fleet, in words.
    pub(crate) fn trouble(&self) -> Option<String> {
        let is_cut_off = self.figures.is_cut_off.load(Relaxed);
        is_cut_off.then(|| "this node is cut off from the fleet: its verdicts are its own".to_owned())
    }
}

/// Of how many slots each node is the first.
fn first_slots(members: &[(NodeName, NodeRecord)]) -> BTreeMap<NodeName, u32> {
    let seats = members.iter().filter(|(_, record)| record.abstains.is_none());
    let seats = seats.map(|(name, record)| Seat {
        name: name.clone(),
        zone: record.zone.as_str().into(),
        capacity: record.capacity,
    });
    let assignment = Assignment::new(seats);
    let mut slots = BTreeMap::new();
    for slot in Slot::all() {
        if let Some(first) = assignment.order(slot).first() {
            *slots.entry(assignment.name(*first).clone()).or_default() += 1;
        }
    }
    slots
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
