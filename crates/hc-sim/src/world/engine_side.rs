//! What reaches the engine, and what it makes of it.

use hc_types::{Failure, Health, Outcome};

use crate::clock::{self, SECOND};
use crate::context::{EngineConn, Event};
use crate::engine::{Engine, Told};
use crate::invariant::{Invariant, Step, hold};
use crate::server::{Batched, Item};
use crate::world::World;

/// What is to go wrong with calls and acknowledgements to come.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    /// So many calls are answered by an error.
    pub(crate) fail: u32,
    /// The next call is answered so much later.
    pub(crate) delay: u64,
    pub(crate) lose_ack: bool,
    pub(crate) repeat_ack: bool,
}

impl World<'_> {
    pub(crate) fn start_engine(&mut self) {
        self.engine_lives += 1;
        let life = self.engine_lives;
        let engine = Engine::start(life, self.engine_base, &self.wanted, self.ctx.now, &mut self.ctx.rng);
        self.ctx.trace(|| format!("engine: process {life} starts, ids from {}", self.engine_base));
        self.engine = Some(engine);
        self.engine_stalled_until = 0;
    }

    pub(crate) fn at_engine(&mut self, event: Event) -> Step {
        let (Some(engine), ctx) = (&mut self.engine, &mut self.ctx) else { return Ok(()) };
        match event {
            Event::Asked { conn, number } if conn.engine == engine.life => {
                let set = engine.answer(ctx.now);
                let at = ctx.soon();
                ctx.agenda.put(at, Event::Fetched { conn, number, set });
                Ok(())
            }
            Event::Call { conn, call, batch } if conn.engine == engine.life => {
                self.called(conn, call, &batch)
            }
            _ => Ok(()),
        }
    }

    /// `HealthState`: the engine acts, then answers.
    fn called(&mut self, conn: EngineConn, call: u32, batch: &Batched) -> Step {
        let failing = self.calls.fail > 0;
        self.calls.fail = self.calls.fail.saturating_sub(1);
        // An engine that answers with an error may have taken the batch or not.
        if !failing || self.ctx.rng.bool() {
            for item in &batch.items {
                self.told(item)?;
            }
        }
        let delay = std::mem::take(&mut self.calls.delay);
        if failing || delay > 0 {
            self.ctx.trouble(self.ctx.now, self.ctx.now + delay + 5 * SECOND);
        }
        let at = self.ctx.soon() + delay;
        self.ctx.agenda.put(at, Event::Answer { conn, call, taken: !failing });
        Ok(())
    }

    fn told(&mut self, item: &Item) -> Step {
        let (Some(engine), ctx) = (&mut self.engine, &mut self.ctx) else { return Ok(()) };
        let Item { id, spec, status, life } = item;
        ctx.told += 1;
        ctx.digest(id.0 ^ status.failures << 32 ^ status.successes);
        // Dropped by the engine, which logs it.
        let Some((subject, meant)) = engine.meaning(*id) else { return Ok(()) };
        hold(meant.same_key(spec), Invariant::IdsMeanTheSame, ctx.now, || {
            format!("{id} means {}, and the engine is told of {}", meant.target(), spec.target())
        })?;
        let known = status.health != Health::Unknown && status.last_check.is_some() && ctx.probed[subject];
        hold(known, Invariant::NothingBeforeAProbe, ctx.now, || format!("{id} is told {status:?}"))?;
        let before = engine.hear(*id, status, *life, ctx.now);
        if before.as_ref().is_none_or(|before| before.health != status.health) {
            ctx.trace(|| format!("engine: {id} ({}) is {}", spec.target(), status.health));
        }
        let Some(Told { health, at, life: before, counted }) = before else { return Ok(()) };
        // Calls that an engine finds when it goes on are worked off in any order.
        let in_order = !self.engine_reorders(at);
        let ctx = &mut self.ctx;
        let grows = before != *life || counted <= status.failures + status.successes;
        hold(grows || !in_order, Invariant::CountersGrow, ctx.now, || {
            format!("{id}: {counted}, then {status:?}")
        })?;
        let backend = &ctx.truth.backends[subject];
        // A probe that began before it turned over may still have been on its way when the status
        // before was told.
        let slowest = clock::nanos(spec.timeout().max(status.duration)) + SECOND;
        let long_ago = ctx.outages.good(backend.since, at, 0) > slowest;
        let turned = match (health, status.health) {
            // Out of reach from here is not down, but what cannot be reached must not get traffic
            // either.
            (Health::Healthy, Health::Unhealthy) => {
                let out_of_reach = matches!(status.outcome, Some(Outcome::Fail(Failure::PathDown { .. })));
                // It was, since the status before was told, and has not passed often enough since.
                let had_outage = ctx.outages.good(at, ctx.now, 0) < ctx.now - at;
                let rises = matches!(status.outcome, Some(Outcome::Pass(_))) && spec.timing().rise > 1;
                ctx.truth.is_up(subject) && !out_of_reach && !(rises && had_outage)
            }
            (Health::Unhealthy, Health::Healthy) => !ctx.truth.is_up(subject),
            _ => false,
        };
        let falsely = turned && long_ago && ctx.truth.is_plain(subject) && in_order;
        hold(!falsely, Invariant::NoFalseTransition, ctx.now, || {
            format!("{id} ({}) has not changed, and becomes {status:?}", spec.target())
        })
    }

    /// Whether the engine stood still so lately that what it was told at `at` may have come out of
    /// order.
    fn engine_reorders(&self, at: u64) -> bool {
        self.engine_stalled_until > 0 && at < self.engine_stalled_until + SECOND
    }
}
