//! Outages of everything at once, which the guard is there for.

use std::time::Duration;

use super::{CHECKS, World};
use crate::invariant::Step;

/// How long after the beginning of a short outage nobody may have been told of it: less than the
/// guard's longest hold.
const QUIET: Duration = Duration::from_secs(20);

impl World {
    /// All checks run, and their backends are up.
    pub(super) fn mend(&mut self) {
        self.blink = None;
        for check in 0..CHECKS {
            self.check(check).is_up = true;
            if self.check(check).id.is_none() {
                self.begin(check);
            }
        }
        self.in_effect();
    }

    /// Every probe of this second fails, and then all pass again: consumers hear nothing of it. All
    /// checks must have been healthy for a while.
    pub(super) fn blink(&mut self) -> Step {
        self.blink = Some(self.now + QUIET);
        self.set_all(false);
        (0..CHECKS).try_for_each(|check| self.probe(check))?;
        self.set_all(true);
        Ok(())
    }

    /// All are down until further notice, and consumers must hear of it.
    pub(super) fn all_down(&mut self) {
        self.set_all(false);
    }

    fn set_all(&mut self, is_up: bool) {
        self.checks.iter_mut().for_each(|check| check.is_up = is_up);
    }
}
