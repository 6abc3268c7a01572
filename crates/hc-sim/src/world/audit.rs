//! What the engine believes, held against the truth.

use std::time::Duration;

use hc_types::{CheckId, Health};

use crate::clock::{Nanos, SECOND, nanos};
use crate::context::Event;
use crate::invariant::{Invariant, Step, hold};
use crate::truth::State;
use crate::world::World;

/// So many silences in a row may be excused by lost time before one counts.
const EXCUSES: Nanos = 2;

/// With short timeouts, silence has to take so long.
const PROOF_TIME: Nanos = 2 * SECOND;

/// Beyond what is promised: ways of a few milliseconds each, and the pause between two looks.
const SLACK: Nanos = 2 * SECOND;

impl World<'_> {
    /// Looks at every check that the engine knows, and again in a second.
    pub(crate) fn audit(&mut self) -> Step {
        self.ctx.agenda.put(self.ctx.now + SECOND, Event::Audit);
        self.look()
    }

    fn look(&self) -> Step {
        let now = self.ctx.now;
        let (Some(server), Some(engine), Some(proxy)) = (&self.server, &self.engine, &self.proxy) else {
            return Ok(());
        };
        let still = self.engine_stalled_until.max(proxy.stalled_until).max(server.stands_still(None));
        if still > now || self.ctx.faults_until > now {
            return Ok(());
        }
        let began = engine.began.max(server.born);
        for id in engine.ids() {
            let Some((subject, meant, from)) = engine.entry(id) else { continue };
            let run = server.run_of(id).filter(|run| run.spec == *meant);
            let Some(run) = run else {
                let good = self.ctx.outages.good(began.max(from), now, 0);
                hold(good <= self.fetch_interval + 5 * SECOND, Invariant::RunningIsDesired, now, || {
                    format!("{id} does not run")
                })?;
                continue;
            };
            if run.is_changing() {
                continue;
            }
            // Probes are apart by the interval in force and its jitter; which one that is depends
            // on what came before.
            let apart = |interval: Duration| nanos(interval + meant.jitter().of(interval));
            let (interval, timeout) = (apart(meant.longest_interval()), nanos(meant.timeout()));
            let cycle = interval.max(timeout);
            let usual = apart(meant.interval()).max(timeout);
            let results = (u64::from(meant.retries()) + 1).max(u64::from(meant.rise()));
            let delay = nanos(meant.start_delay()) + timeout + nanos(server.batch_delay());
            // The first of them may be a down interval away.
            let promised = cycle + usual * (results - 1) + delay;
            let since = began.max(server.born + run.since);
            let told = engine.told.get(&id);
            let extra = cycle + timeout;
            let backend = &self.ctx.truth.backends[subject];
            if let Some(hunger) = &self.starvation {
                let since = since.max(backend.since).max(hunger.from);
                // One that is under way, those that lost time excuses, and as many as must fail.
                let promised = (timeout + 2 * hunger.still + interval)
                    * (1 + EXCUSES + u64::from(meant.retries()) + 1)
                    + nanos(meant.start_delay())
                    + PROOF_TIME;
                let clear = self.ctx.blackouts.good(since, now, 0) == now - since;
                let silent = backend.state == State::Silent;
                if clear && silent && now - since > promised + SLACK {
                    let believed = told.map(|told| told.health);
                    hold(believed == Some(Health::Unhealthy), Invariant::FlipsAreTold, now, || {
                        format!(
                            "{id} is silent since {}, and believed {believed:?} under {hunger:?}",
                            backend.since
                        )
                    })?;
                }
            }
            let turned = since.max(backend.since).max(self.ctx.cut_until);
            let good = self.ctx.outages.good(turned, now, extra);
            if self.ctx.truth.is_plain(subject) && good > promised + SLACK {
                let truth = if self.ctx.truth.is_up(subject) { Health::Healthy } else { Health::Unhealthy };
                let believed = told.map(|told| told.health);
                hold(believed == Some(truth), Invariant::FlipsAreTold, now, || {
                    format!(
                        "{id} ({}) is {truth} since {} and believed {believed:?}",
                        meant.target(),
                        backend.since
                    )
                })?;
            }
            // Under a new name, or by a new process, it is told when a probe has borne out what was
            // remembered.
            let first = if told.is_some_and(|told| told.at >= since) { 0 } else { promised };
            let good = self.ctx.outages.good(told.map_or(since, |told| told.at.max(since)), now, extra);
            hold(good <= nanos(server.notify_interval()) + first + SLACK, Invariant::Refresh, now, || {
                format!("{id} was told at {:?}", told.map(|told| told.at))
            })?;
        }
        Ok(())
    }

    /// When nothing has gone wrong for long, everybody agrees.
    pub(crate) fn audit_end(&self) -> Step {
        self.look()?;
        let now = self.ctx.now;
        let (Some(server), Some(engine)) = (&self.server, &self.engine) else {
            return hold(false, Invariant::Quiescence, now, || "a process does not run".into());
        };
        let ids: Vec<CheckId> = engine.ids().collect();
        hold(ids.len() == server.desired.len(), Invariant::Quiescence, now, || {
            format!("{} checks are wanted, {} are known", ids.len(), server.desired.len())
        })?;
        if !server.is_told(now) {
            return Ok(());
        }
        for id in ids {
            let told = engine.told.get(&id).map(|told| told.health);
            let found = server
                .run_of(id)
                .and_then(|run| run.standings.first())
                .map(|standing| standing.status.health);
            hold(told == found, Invariant::Quiescence, now, || {
                format!("{id} is {found:?}, and told {told:?}")
            })?;
        }
        Ok(())
    }
}
