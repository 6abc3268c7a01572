//! The checks, what they probe, and what each node can see of it.

use fastrand::Rng;
use hc_fleet::{Policy, Quorum};
use hc_types::{CheckKey, Health};

use super::HOSTS;
use crate::clock::{MILLISECOND, Nanos};

#[derive(Debug)]
pub(super) struct Check {
    pub(super) key: CheckKey,
    pub(super) policy: Policy,
    pub(super) interval: Nanos,
    pub(super) rise: u32,
    pub(super) fall: u32,
    /// What it is from beginning to end, for all nodes; `None` if it changes.
    pub(super) steady: Option<Health>,
    is_up: bool,
    is_blind: [bool; HOSTS],
    /// Nodes that see nothing at all, and say that they are not to be believed.
    is_sick: [bool; HOSTS],
    /// What each node sees, and since when.
    views: [(Health, Nanos); HOSTS],
}

impl Check {
    pub(super) fn draw(number: usize, rng: &mut Rng) -> Self {
        let mut bytes = [0_u8; 16];
        bytes.iter_mut().for_each(|byte| *byte = rng.u8(..));
        let opinions = [1, 1, 2, 3, 3, 3, 5][rng.usize(..7)];
        let quorum = match rng.u8(..8) {
            0 => Quorum::Any,
            1 => Quorum::All,
            2 => Quorum::AtLeast(rng.u8(1..=opinions)),
            _ => Quorum::Majority,
        };
        let steady = match number % 3 {
            0 => Some(if rng.u8(..4) == 0 { Health::Unhealthy } else { Health::Healthy }),
            _ => None,
        };
        let is_up = steady.map_or(rng.u8(..4) > 0, |health| health == Health::Healthy);
        let view = if is_up { Health::Healthy } else { Health::Unhealthy };
        Self {
            key: CheckKey::from_bytes(bytes),
            policy: Policy { opinions, quorum },
            interval: rng.u64(1000..4000) * MILLISECOND,
            rise: rng.u32(1..3),
            fall: rng.u32(1..4),
            steady,
            is_up,
            is_blind: [false; HOSTS],
            is_sick: [false; HOSTS],
            views: [(view, 0); HOSTS],
        }
    }

    pub(super) fn view(&self, host: usize) -> Health {
        self.views[host].0
    }

    /// The longest until a state machine follows what it sees.
    pub(super) fn detection(&self) -> Nanos {
        self.interval * u64::from(self.rise.max(self.fall) + 1)
    }

    /// Whether a node has seen it so within some time.
    pub(super) fn was(&self, host: usize, health: Health, window: Nanos, now: Nanos) -> bool {
        let (view, since) = self.views[host];
        view == health || now < since + window
    }

    /// Since when all is as it is.
    pub(super) fn since(&self) -> Nanos {
        self.views.iter().map(|(_, since)| *since).max().unwrap_or(0)
    }

    pub(super) fn is_same_for_all(&self) -> bool {
        self.views.iter().all(|(view, _)| *view == self.views[0].0)
    }

    pub(super) fn flip(&mut self, now: Nanos) {
        self.is_up ^= self.steady.is_none();
        self.look(now);
    }

    pub(super) fn blind(&mut self, host: usize, is_blind: bool, now: Nanos) {
        self.is_blind[host] = is_blind && self.steady.is_none();
        self.look(now);
    }

    pub(super) fn sicken(&mut self, host: usize, is_sick: bool, now: Nanos) {
        self.is_sick[host] = is_sick;
        self.look(now);
    }

    fn look(&mut self, now: Nanos) {
        for (host, view) in self.views.iter_mut().enumerate() {
            let sees = self.is_up && !self.is_blind[host] && !self.is_sick[host];
            let health = if sees { Health::Healthy } else { Health::Unhealthy };
            if view.0 != health {
                *view = (health, now);
            }
        }
    }
}
