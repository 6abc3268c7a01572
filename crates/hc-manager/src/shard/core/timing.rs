//! Other names and other timing for checks that run, and the grids that follow from it.

use std::sync::Arc;
use std::time::Duration;

use hc_types::CheckSpec;
use tracing::debug;

use super::{Record, ShardCore};
use crate::phases::Phase;
use crate::plan::Check;
use crate::schedule::{Grid, Nanos, nanos};

impl ShardCore {
    pub(super) fn rename(&mut self, slot: u32, check: Check, phase: Phase, after: Nanos, now: Nanos) {
        let Some(record) = self.records.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        debug!(id = %check.id, before = %record.id, "check goes on under another id");
        record.id = check.id;
        record.incarnation = check.incarnation.0.into();
        record.told = false;
        let is_delayed = record.awaits_start() && !check.spec.start_delay().is_zero();
        self.retime(slot, check.spec, phase, after, now);
        // The new id may not be paused.
        self.unpark(slot, now.saturating_add(after));
        // Only now, so that it carries the spec that goes with the new id.
        self.announce(slot, true);
        // A probe in flight is as good as a new one.
        if let Some(due) = self.timers.armed_at(slot).filter(|_| !is_delayed) {
            self.timers.arm(slot, due.min(now.saturating_add(after)));
        }
    }

    pub(super) fn retime(&mut self, slot: u32, spec: Arc<CheckSpec>, phase: Phase, after: Nanos, now: Nanos) {
        let Some(record) = self.records.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let before = record.grid();
        let delay = record.spec.start_delay();
        record.spec = spec;
        record.phase = phase;
        let armed = self.timers.armed_at(slot);
        let latest = now.saturating_add(after);
        let new_delay = record.spec.start_delay();
        if record.awaits_start() && (delay, new_delay) != (Duration::ZERO, Duration::ZERO) {
            // It began when its first probe was due without a delay.
            if let Some(armed) = armed.filter(|_| delay != new_delay) {
                let due = armed.saturating_sub(nanos(delay)).saturating_add(nanos(new_delay));
                self.timers.arm(slot, if due > now { due } else { latest });
            }
            return;
        }
        let grid = record.grid();
        if (before.origin, before.interval) == (grid.origin, grid.interval) {
            return;
        }
        let latest = armed.map_or(latest, |armed| armed.min(latest));
        let due = record.schedule.retime(now, &grid, latest);
        match armed {
            // In flight: what comes after it follows from the schedule.
            None => {}
            // A probe that is tried again soon stays so.
            Some(armed) if record.tries() > 0 => self.timers.arm(slot, due.min(armed)),
            Some(_) => self.timers.arm(slot, due),
        }
    }
}

impl Record {
    /// Where its probes are due, as it stands now.
    pub(super) fn grid(&self) -> Grid {
        Grid::of(&self.spec, self.phase, self.known.machine.pace())
    }

    /// Whether nothing is known of it and its first probe has not started: the time of a start
    /// delay.
    fn awaits_start(&self) -> bool {
        !self.schedule.has_started() && !self.known.has_verdict()
    }
}
