//! The health of what consumers know by a name of their own, such as a server of HAProxy.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hc_types::{CheckId, Health};

use crate::{Report, Template};

/// Which names there are, and the health of the checks behind each. A name is healthy when all its
/// checks are.
#[derive(Debug)]
pub(crate) struct Board {
    template: Template,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<Arc<str>, BTreeMap<CheckId, Health>>,
    checks: HashMap<CheckId, Arc<str>>,
}

impl Board {
    pub(crate) fn new(template: Template) -> Self {
        Self { template, state: Mutex::default() }
    }

    /// Takes the health of checks, and says which names they belong to.
    pub(crate) fn update(&self, reports: &[Report]) -> BTreeSet<Arc<str>> {
        let mut state = self.lock();
        let mut touched = BTreeSet::new();
        for report in reports {
            let Some(name) = self.template.render(report) else { continue };
            let name: Arc<str> = name.into();
            // A check that was renamed leaves its old place.
            if state.checks.get(&report.id).is_some_and(|known| *known != name) {
                touched.extend(state.forget(report.id));
            }
            state.checks.insert(report.id, name.clone());
            state.names.entry(name.clone()).or_default().insert(report.id, report.status.health);
            touched.insert(name);
        }
        touched
    }

    pub(crate) fn forget(&self, ids: &[CheckId]) -> BTreeSet<Arc<str>> {
        let mut state = self.lock();
        ids.iter().filter_map(|id| state.forget(*id)).collect()
    }

    /// `None` for a name without a check that has a verdict.
    pub(crate) fn health(&self, name: &str) -> Option<Health> {
        self.lock().names.get(name).and_then(together)
    }

    pub(crate) fn all(&self) -> Vec<(Arc<str>, Health)> {
        let state = self.lock();
        state.names.iter().filter_map(|(name, checks)| Some((name.clone(), together(checks)?))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget(&mut self, id: CheckId) -> Option<Arc<str>> {
        let name = self.checks.remove(&id)?;
        if let Some(checks) = self.names.get_mut(&name) {
            checks.remove(&id);
            if checks.is_empty() {
                self.names.remove(&name);
            }
        }
        Some(name)
    }
}

fn together(checks: &BTreeMap<CheckId, Health>) -> Option<Health> {
    let mut known = checks.values().filter(|health| **health != Health::Unknown).peekable();
    known.peek()?;
    let all_healthy = known.all(|health| *health == Health::Healthy);
    Some(if all_healthy { Health::Healthy } else { Health::Unhealthy })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::report;

    #[test]
    fn a_name_is_healthy_when_all_its_checks_are() {
        let board = Board::new("{label.server}".parse().unwrap());
        let of = |id, server, health| report(id, "n", &[("server", server)], health);
        assert_eq!(board.health("a"), None);
        board.update(&[
            of(1, "a", Health::Healthy),
            of(2, "a", Health::Unhealthy),
            of(3, "b", Health::Healthy),
        ]);
        assert_eq!(board.health("a"), Some(Health::Unhealthy));
        assert_eq!(board.health("b"), Some(Health::Healthy));
        board.update(&[of(2, "a", Health::Healthy)]);
        assert_eq!(board.health("a"), Some(Health::Healthy));
        // A check under another name, and one that is gone.
        let touched = board.update(&[of(2, "b", Health::Unhealthy)]);
        assert_eq!(touched.iter().map(|name| &**name).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(board.health("b"), Some(Health::Unhealthy));
        assert_eq!(board.forget(&[CheckId(1), CheckId(9)]).len(), 1);
        assert_eq!(board.health("a"), None);
        assert_eq!(board.all(), [("b".into(), Health::Unhealthy)]);
    }
}
