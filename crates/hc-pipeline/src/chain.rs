//! Stages one behind the other.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use hc_types::{CheckId, CheckSpec, Evidence, Health, Incarnation, Progress, Status, StatusUpdate};
use hc_view::CheckView;

use crate::effects::Effects;
use crate::overrides::Overrides;
use crate::quorum::Quorum;
use crate::stage::Stage;

/// The stages of a pipeline, the first one first.
#[derive(Default)]
pub(crate) struct Chain(Vec<Link>);

/// A stage.
pub(crate) enum Link {
    Stage(Box<dyn Stage>),
    /// The one that operators talk to.
    Overrides(Box<Overrides>),
    /// The one that the node of a fleet talks to.
    Quorum(Box<Quorum>),
}

impl Link {
    fn get(&self) -> &dyn Stage {
        match self {
            Self::Stage(stage) => &**stage,
            Self::Overrides(overrides) => &**overrides,
            Self::Quorum(quorum) => &**quorum,
        }
    }

    fn get_mut(&mut self) -> &mut dyn Stage {
        match self {
            Self::Stage(stage) => &mut **stage,
            Self::Overrides(overrides) => &mut **overrides,
            Self::Quorum(quorum) => &mut **quorum,
        }
    }
}

/// What has left the last stage, and which stage is the reason where it is not what the probes say.
#[derive(Default)]
pub(crate) struct Passed {
    pub(crate) updates: Vec<(StatusUpdate, &'static str)>,
    pub(crate) held_by: &'static str,
}

impl Chain {
    /// A stage before all others.
    pub(crate) fn put_first(&mut self, link: Link) {
        self.0.insert(0, link);
    }

    /// A stage behind all others.
    pub(crate) fn put_last(&mut self, link: Link) {
        self.0.push(link);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.0.iter().all(|link| link.get().is_idle())
    }

    pub(crate) fn overrides(&self) -> Option<&Overrides> {
        self.0.iter().find_map(|link| match link {
            Link::Overrides(overrides) => Some(&**overrides),
            _ => None,
        })
    }

    pub(crate) fn overrides_mut(&mut self) -> Option<&mut Overrides> {
        self.0.iter_mut().find_map(|link| match link {
            Link::Overrides(overrides) => Some(&mut **overrides),
            _ => None,
        })
    }

    pub(crate) fn quorum(&self) -> Option<&Quorum> {
        self.0.iter().find_map(|link| match link {
            Link::Quorum(quorum) => Some(&**quorum),
            _ => None,
        })
    }

    pub(crate) fn quorum_mut(&mut self) -> Option<&mut Quorum> {
        self.0.iter_mut().find_map(|link| match link {
            Link::Quorum(quorum) => Some(&mut **quorum),
            _ => None,
        })
    }

    /// The clock on the wall shows this.
    pub(crate) fn tick(&mut self, wall: SystemTime) {
        if let Some(overrides) = self.overrides_mut() {
            overrides.tick(wall);
        }
    }

    /// Lets an update go through all stages.
    pub(crate) fn update(&mut self, update: &StatusUpdate, now: Instant, out: &mut Effects) -> Passed {
        let mut passed = Passed::default();
        let mut held_by = None;
        let mut updates = vec![update.clone()];
        for index in 0..self.0.len() {
            let stage = self.0[index].get_mut();
            updates.into_iter().for_each(|update| stage.update(update, now, out));
            updates = std::mem::take(&mut out.pass);
            if held_by.is_none() && !updates.iter().any(|passed| is_unchanged(passed, update)) {
                held_by = Some(stage.name());
            }
            self.aside(index, now, out, &mut passed);
        }
        passed.held_by = held_by.unwrap_or_default();
        passed.updates.extend(updates.into_iter().map(|update| (update, passed.held_by)));
        passed
    }

    /// The life of a check has begun, and that of its id before has ended.
    pub(crate) fn begin(
        &mut self,
        id: CheckId,
        incarnation: Incarnation,
        spec: &Arc<CheckSpec>,
        now: Instant,
        out: &mut Effects,
    ) -> Passed {
        let mut passed = self.forget(id, now, out);
        let began = self.each(now, out, |stage, out| stage.begin(id, incarnation, spec, now, out));
        passed.updates.extend(began.updates);
        passed
    }

    /// A set of checks is in effect.
    pub(crate) fn in_effect(&mut self, now: Instant, out: &mut Effects) -> Passed {
        self.each(now, out, |stage, out| stage.in_effect(now, out))
    }

    /// The life of a check has ended.
    pub(crate) fn forget(&mut self, id: CheckId, now: Instant, out: &mut Effects) -> Passed {
        self.each(now, out, |stage, out| stage.forget(id, now, out))
    }

    /// Time has come to `now`.
    pub(crate) fn expire(&mut self, now: Instant, out: &mut Effects) -> Passed {
        self.each(now, out, |stage, out| stage.expire(now, out))
    }

    /// Calls the stage of overrides.
    pub(crate) fn overrule(
        &mut self,
        now: Instant,
        out: &mut Effects,
        step: impl FnOnce(&mut Overrides, &mut Effects),
    ) -> Passed {
        let mut passed = Passed::default();
        let at = self.0.iter().position(|link| matches!(link, Link::Overrides(_)));
        if let Some((index, overrides)) = at.zip(self.overrides_mut()) {
            step(overrides, out);
            self.behind(index, now, out, &mut passed);
        }
        passed
    }

    /// Consumers hear this health of a check that stands so, as far as the stages behind the fleet's
    /// let them.
    pub(crate) fn tell(
        &mut self,
        check: &CheckView,
        health: Health,
        now: Instant,
        out: &mut Effects,
    ) -> Passed {
        let mut passed = Passed::default();
        if let Some(index) = self.place_of_quorum() {
            Quorum::tell(check, health, out);
            self.behind(index, now, out, &mut passed);
        }
        passed
    }

    /// The stages before the fleet's begin with a check that is healthy: its first failure is one like
    /// others to them.
    pub(crate) fn begin_healthy(&mut self, check: &CheckView, now: Instant, out: &mut Effects) {
        let CheckView { id, incarnation, spec, status, .. } = check;
        let update = StatusUpdate {
            id: *id,
            incarnation: *incarnation,
            spec: Arc::clone(spec),
            status: Status { health: Health::Healthy, held: None, ..status.clone() },
            transition: false,
            reportable: true,
            progress: Progress::default(),
            evidence: Evidence::default(),
        };
        for index in 0..self.place_of_quorum().unwrap_or_default() {
            self.0[index].get_mut().update(update.clone(), now, out);
            out.pass.clear();
        }
    }

    /// The stages before the fleet's forget a check that is not probed here any more.
    pub(crate) fn rest(&mut self, id: CheckId, now: Instant, out: &mut Effects) {
        for index in 0..self.place_of_quorum().unwrap_or_default() {
            self.0[index].get_mut().forget(id, now, out);
        }
    }

    fn place_of_quorum(&self) -> Option<usize> {
        self.0.iter().position(|link| matches!(link, Link::Quorum(_)))
    }

    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.0.iter().filter_map(|link| link.get().next_due()).min()
    }

    /// Calls each stage; what it passes on goes through the stages behind it first.
    fn each(
        &mut self,
        now: Instant,
        out: &mut Effects,
        mut step: impl FnMut(&mut dyn Stage, &mut Effects),
    ) -> Passed {
        let mut passed = Passed::default();
        for index in 0..self.0.len() {
            step(self.0[index].get_mut(), out);
            self.behind(index, now, out, &mut passed);
        }
        passed
    }

    /// Brings what a stage has passed on through the stages behind it.
    fn behind(&mut self, index: usize, now: Instant, out: &mut Effects, passed: &mut Passed) {
        let mut updates = std::mem::take(&mut out.pass);
        let by = self.0[index].get().name();
        self.aside(index, now, out, passed);
        if updates.is_empty() {
            return;
        }
        for next in index + 1..self.0.len() {
            let stage = self.0[next].get_mut();
            updates.into_iter().for_each(|update| stage.update(update, now, out));
            updates = std::mem::take(&mut out.pass);
            self.aside(next, now, out, passed);
        }
        passed.updates.extend(updates.into_iter().map(|update| (update, by)));
    }

    /// What a stage has decided goes past the stages behind it, and all others hear of it.
    fn aside(&mut self, index: usize, now: Instant, out: &mut Effects, passed: &mut Passed) {
        if out.decided.is_empty() && out.overruled.is_empty() {
            return;
        }
        let by = self.0[index].get().name();
        passed.updates.extend(std::mem::take(&mut out.decided).into_iter().map(|update| (update, by)));
        for (id, word) in std::mem::take(&mut out.overruled) {
            for other in (0..self.0.len()).filter(|other| *other != index) {
                self.0[other].get_mut().overruled(id, word, now, out);
                self.behind(other, now, out, passed);
            }
        }
    }
}

/// Whether this is the update, as it came. Stages may change whether it is a transition.
pub(crate) fn is_unchanged(passed: &StatusUpdate, update: &StatusUpdate) -> bool {
    let key = |update: &StatusUpdate| (update.id, update.incarnation);
    key(passed) == key(update) && passed.status == update.status
}
