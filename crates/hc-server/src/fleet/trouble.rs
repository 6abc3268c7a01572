//! Whether this node's own probes are to be believed.

use std::sync::Arc;
use std::time::Duration;

use hc_manager::{Manager, ManagerStats};
use hc_pipeline::GuardFigures;
use tokio::time::Instant;

/// A probe that begins so late is no sign of a backend.
const LATE: Duration = Duration::from_secs(2);

/// How long nothing must be wrong until opinions count again.
const CALM: Duration = Duration::from_secs(10);

/// Looks at the figures of this machine.
pub(super) struct Trouble {
    manager: Manager,
    guard: Option<Arc<GuardFigures>>,
    /// The latest, and until when it counts.
    latest: Option<(String, Instant)>,
}

impl Trouble {
    pub(super) fn new(manager: Manager, guard: Option<Arc<GuardFigures>>) -> Self {
        Self { manager, guard, latest: None }
    }

    /// Why opinions of this node are not to count, of a node that probes so many checks and has no
    /// way to the backends of so many of them.
    pub(super) fn look(&mut self, probed: usize, blind: usize) -> Option<String> {
        let stats = self.manager.stats();
        let alarms = self.guard.as_ref().map_or(0, |guard| guard.alarms());
        let now = Instant::now();
        if let Some(why) = of_figures(&stats, alarms, probed, blind) {
            self.latest = Some((why, now + CALM));
        }
        self.latest.take_if(|(_, until)| *until <= now);
        self.latest.as_ref().map(|(why, _)| why.clone())
    }
}

/// The words have no figures in them: others read them, and each change is written to the store.
fn of_figures(stats: &ManagerStats, alarms: usize, probed: usize, blind: usize) -> Option<String> {
    let is_much = |part: usize| part > 0 && part.saturating_mul(10) >= probed;
    let held = stats.held();
    let held_most = held.iter().max_by_key(|(_, checks)| **checks);
    let lateness = &stats.recent.lateness;
    let late = lateness.count() - lateness.at_most(LATE);
    if alarms > 0 {
        Some("too many of its checks failed at once: its guard holds them".to_owned())
    } else if is_much(held.values().sum()) {
        held_most.map(|(label, _)| format!("its probes say nothing because of the machine: {label}"))
    } else if is_much(blind) {
        Some("it has no way to many backends".to_owned())
    } else if late >= 10 && late.saturating_mul(10) >= lateness.count() {
        Some("its probes begin seconds late".to_owned())
    } else {
        None
    }
}
