//! What consumers have, held against a model that knows nothing of the stages.

use hc_types::Health::{Healthy, Unhealthy};
use hc_types::{Health, Ruling};

use super::said::Said;
use super::{BOUND, CHECKS, Check, SECOND, World, gateways};
use crate::clock::nanos;
use crate::invariant::{Invariant, Step, hold};

impl World {
    pub(super) fn reported(&self, check: &Check) -> Option<Health> {
        self.table.check(check.id?)?.reported_health()
    }

    fn said(&self, check: u64, kind: &'static str) -> Option<Ruling> {
        self.all_said(check, kind).find(|said| said.stands(self.now)).map(|said| said.ruling)
    }

    /// What was said once, and what is said for a part of each week: they stand side by side.
    fn all_said(&self, check: u64, kind: &'static str) -> impl Iterator<Item = &Said> {
        [false, true].into_iter().filter_map(move |is_weekly| self.said.get(&(check, kind, is_weekly)))
    }

    /// Mutes that count at the same time keep the same: what consumers had when the first of them
    /// began to.
    fn keep(&mut self, check: u64) {
        let now = self.now;
        let before = self.all_said(check, "mute").filter(|said| said.stands(now)).find_map(|said| said.kept);
        let is_forced = self.said(check, "force").is_some();
        let known = self.check(check).clone();
        let kept = before.or(self.reported(&known).filter(|_| !is_forced));
        for is_weekly in [false, true] {
            if let Some(said) = self.said.get_mut(&(check, "mute", is_weekly)) {
                // A weekly mute keeps another health each time.
                said.kept = kept.filter(|_| said.stands(now));
            }
        }
    }

    fn kept(&self, check: u64) -> Option<Health> {
        self.all_said(check, "mute").find_map(|said| said.kept)
    }

    /// Whether one of these stands, or stood a moment ago: the end of an override is heard after
    /// it.
    fn is_or_was_said(&self, check: u64, kinds: &[&'static str]) -> bool {
        let stands = |said: &Said| said.stands(self.now) || said.stands(self.now - SECOND);
        kinds.iter().any(|kind| self.all_said(check, kind).any(stands))
    }

    /// Does something, and holds against the invariants what consumers hear because of it.
    pub(super) fn audited(&mut self, what: &str, act: impl FnOnce(&mut Self)) -> Step {
        let before: Vec<Option<Health>> = self.checks.iter().map(|check| self.reported(check)).collect();
        let shut: Vec<bool> = (0..CHECKS).map(|gateway| self.is_shut(gateway)).collect();
        act(self);
        let is_shut = |gateway: &&u64| {
            let before = usize::try_from(**gateway).ok().and_then(|at| shut.get(at));
            before.is_some_and(|before| *before) && self.is_shut(**gateway)
        };
        let behind: Vec<Option<&u64>> =
            (0..CHECKS).map(|check| gateways(check).iter().find(is_shut)).collect();
        let ruled: Vec<bool> =
            (0..CHECKS).map(|check| self.is_or_was_said(check, &["force", "mute"])).collect();
        let is_blink = self.blink.is_some_and(|until| self.now <= until);
        for ((((number, check), before), behind), is_ruled) in
            (0..).zip(&mut self.checks).zip(before).zip(behind).zip(ruled)
        {
            let reported = check.id.and_then(|id| self.table.check(id)?.reported_health());
            // Or consumers have it already: somebody forced it before its first probe.
            let is_told = !is_ruled && before == Some(Unhealthy);
            check.let_through |= check.truth == Some(Unhealthy) && (behind.is_none() || is_told);
            let is_news = reported == Some(Unhealthy) && before.is_some() && before != reported;
            let right = !is_news || is_ruled || check.let_through || behind.is_none();
            hold(right, Invariant::BehindAGateway, nanos(self.now), || {
                format!("{what}: check {number} is told to be down behind {behind:?}, {check:?}")
            })?;
            hold(!is_news || !is_blink, Invariant::MassFailuresAreHeld, nanos(self.now), || {
                format!("{what}: check {number} is told to be down, and all others were, too")
            })?;
        }
        Ok(())
    }

    /// Whether the probes of a gateway have found that it is down, and nobody says otherwise.
    fn is_shut(&self, gateway: u64) -> bool {
        let is_said = self.is_or_was_said(gateway, &["force", "pause"]);
        let known = usize::try_from(gateway).ok().and_then(|at| self.checks.get(at));
        !is_said && known.is_some_and(|known| known.id.is_some() && known.truth == Some(Unhealthy))
    }

    /// What consumers have is what the model says.
    pub(super) fn audit(&mut self) -> Step {
        for number in 0..CHECKS {
            let check = self.check(number).clone();
            self.keep(number);
            let Some(id) = check.id else { continue };
            let (reported, now) = (self.reported(&check), nanos(self.now));
            hold(reported != Some(Health::Unknown), Invariant::NothingBeforeAProbe, now, || {
                format!("check {number}")
            })?;
            let is_paused = self.said(number, "pause").is_some();
            hold(self.paused.contains(id) == is_paused, Invariant::OverridesAreHeard, now, || {
                format!("check {number} is paused: {is_paused}, {:?}", self.said)
            })?;
            let (forced, muted) = (self.said(number, "force"), self.said(number, "mute"));
            if let Some(Ruling::Force(health)) = forced {
                hold(reported == Some(health), Invariant::OverridesAreHeard, now, || {
                    format!("check {number} is forced {health}, consumers have {reported:?}")
                })?;
            } else if muted.is_some() {
                let kept = self.kept(number);
                hold(reported == kept, Invariant::OverridesAreHeard, now, || {
                    format!("check {number} is muted at {kept:?}, consumers have {reported:?}")
                })?;
            }
            let is_free = forced.is_none() && muted.is_none() && !is_paused;
            let gateways_are_calm = self.is_calm_above(number);
            if !is_free || !gateways_are_calm {
                let now = self.now;
                self.check(number).calm = now;
            }
            let is_calm = self.now - self.check(number).calm > BOUND;
            let truth = check.truth;
            hold(!is_calm || reported == truth, Invariant::TruthReturns, now, || {
                format!("check {number}: consumers have {reported:?}, probes find {truth:?}")
            })?;
        }
        Ok(())
    }

    /// All gateways run, are up, and nobody says anything of them.
    fn is_calm_above(&self, check: u64) -> bool {
        gateways(check).iter().all(|gateway| {
            let index = usize::try_from(*gateway).unwrap_or_default();
            let is_said = ["force", "mute", "pause"].iter().any(|kind| self.said(*gateway, kind).is_some());
            let known = &self.checks[index];
            !is_said && (known.id.is_none() || known.truth == Some(Healthy)) && self.is_calm_above(*gateway)
        })
    }

    /// After minutes in which nothing happened: consumers have the truth of every check whose
    /// gateways are up.
    pub(super) fn at_the_end(&self) -> Step {
        for (number, check) in (0..).zip(&self.checks).filter(|(_, check)| check.id.is_some()) {
            let reported = self.reported(check);
            let right = !self.is_calm_above(number) || reported == check.truth;
            hold(right, Invariant::Quiescence, nanos(self.now), || {
                format!("check {number}: {reported:?}, {check:?}")
            })?;
        }
        let is_idle = self.stages.overrides().is_some_and(|overrides| overrides.standings().is_empty());
        hold(is_idle, Invariant::Quiescence, nanos(self.now), || "overrides stand for ever".into())
    }
}
