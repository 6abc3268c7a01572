//! A turn of a shard's loop, as `shard/task.rs` of hc-manager drives it.

use std::collections::HashMap;

use hc_manager::stepped::{Flight, Stepped};
use hc_types::{Failure, LocalFault, Outcome, Phase, StatusUpdate};

use super::Server;
use crate::clock::{MILLISECOND, Nanos, SECOND, nanos};
use crate::context::{Context, Event};
use crate::invariant::{Invariant, Step, hold};
use crate::reference::{InFlight, Place};
use crate::truth::Probe;

/// Probes started in one turn.
const STARTS_PER_TURN: usize = 64;

/// So many silences in a row count, whatever was lost, if they have taken so long, in milliseconds:
/// a shard keeps no smaller ones.
const PROOF: u32 = 3;
const PROOF_TIME: u64 = 2000;

fn milliseconds(at: Nanos) -> u64 {
    at / MILLISECOND
}

#[derive(Debug, Default)]
pub(super) struct Shard {
    pub(super) stalled_until: Nanos,
    /// Stalls, the latest last: begin and end.
    stalls: Vec<(Nanos, Nanos)>,
    pub(super) flights: HashMap<Flight, Place>,
    /// The most checks that it has had.
    pub(super) most_checks: usize,
    /// When it was last as busy as it may be.
    full: Option<Nanos>,
}

impl Shard {
    pub(super) fn stall(&mut self, until: Nanos) {
        self.stalled_until = self.stalled_until.max(until);
    }

    /// How long it stood still since `from`.
    fn lost(&self, from: Nanos, to: Nanos) -> Nanos {
        let overlap = |(begin, end): &(Nanos, Nanos)| end.min(&to).saturating_sub(*begin.max(&from));
        self.stalls.iter().rev().take_while(|(_, end)| *end > from).map(overlap).sum()
    }
}

impl Server {
    /// A shard begins to stand still at `from`; for its books.
    pub(crate) fn note_stall(&mut self, shard: Option<usize>, from: Nanos, until: Nanos) {
        for (index, own) in self.shards.iter_mut().enumerate() {
            if shard.is_none_or(|shard| shard == index) {
                let from = own.stalls.last().map_or(from, |(_, end)| from.max(*end));
                if from < until {
                    own.stalls.push((from, until));
                }
                if own.stalls.len() > 2048 {
                    own.stalls.drain(..1024);
                }
            }
        }
    }

    /// One turn; a probe may have ended.
    pub(crate) fn turn(
        &mut self,
        shard: usize,
        landing: Option<(Flight, Probe)>,
        ctx: &mut Context<'_>,
    ) -> Step {
        let now = ctx.now - self.born;
        self.note_fullness(shard, ctx);
        self.manager.shards()[shard].begin_turn(now);
        if let Some((flight, probe)) = landing {
            self.land(shard, flight, probe, ctx)?;
        }
        loop {
            for _ in 0..STARTS_PER_TURN {
                if !self.start_probe(shard, ctx)? {
                    break;
                }
            }
            self.record(shard, ctx)?;
            let core = &mut self.manager.shards()[shard];
            core.end_turn(now);
            if !core.can_start() {
                break;
            }
            core.begin_turn(now);
        }
        self.note_fullness(shard, ctx);
        Ok(())
    }

    /// While no more probes may be in flight, lateness is what is meant to happen.
    pub(super) fn note_fullness(&mut self, shard: usize, ctx: &mut Context<'_>) {
        let most = self.setup.manager.max_in_flight.get() / self.setup.manager.shards;
        let own = &mut self.shards[shard];
        if own.flights.len() >= most.max(1) {
            own.full = Some(ctx.now - self.born);
            ctx.trouble(ctx.now, ctx.now + 2 * SECOND);
        }
    }

    fn start_probe(&mut self, shard: usize, ctx: &mut Context<'_>) -> Step<bool> {
        let now = ctx.now - self.born;
        let wall = ctx.wall();
        let Some((flight, spec)) = self.manager.shards()[shard].start(now, wall) else { return Ok(false) };
        let place = self.reference.place(&spec);
        let Some(run) = place.and_then(|place| self.reference.runs.get_mut(&place)) else {
            hold(false, Invariant::OneProbeAtATime, ctx.now, || {
                format!("a removed check is probed: {spec:?}")
            })?;
            return Ok(true);
        };
        hold(run.flight.is_none(), Invariant::OneProbeAtATime, ctx.now, || {
            format!("a second probe of {run:?}")
        })?;
        let own = &mut self.shards[shard];
        let excuse = own.stalls.last().map_or(0, |(_, end)| (end.min(&ctx.now)).saturating_sub(self.born));
        let excuse = excuse.max(own.full.unwrap_or(0));
        let early = run.earliest_start().is_some_and(|earliest| now < earliest);
        hold(!early, Invariant::StartDelay, ctx.now, || format!("{run:?} is probed at {now}"))?;
        let late = run.latest_start().is_some_and(|latest| latest.max(excuse) < now);
        hold(!late, Invariant::NoLongGap, ctx.now, || format!("{run:?} is probed at {now}"))?;
        let dues: Vec<_> = run.standings.iter().map(|standing| standing.due).collect();
        hold(run.starts_on_time(now, excuse), Invariant::OnTheGrid, ctx.now, || {
            format!("started at {now}, but {run:?} was due at {dues:?}")
        })?;
        let local = ctx.now < ctx.faults_until && ctx.rng.u8(..100) < ctx.fault_share;
        let (subject, timeout) = (run.subject, spec.timeout());
        let probe = if local {
            ctx.faults.strike(&mut ctx.rng)
        } else {
            ctx.truth.probe(subject, timeout, &mut ctx.rng)
        };
        let honest = !local && ctx.truth.is_up(subject) && ctx.truth.is_plain(subject);
        ctx.trace(|| {
            format!(
                "server: {} probed, will be {} in {} ms",
                run.id,
                probe.outcome.label(),
                probe.takes / MILLISECOND
            )
        });
        run.start(InFlight { flight, started: now, wall, timeout, honest });
        own.flights.extend(place.map(|place| (flight, place)));
        ctx.probes += 1;
        ctx.agenda.put(ctx.now + probe.takes, Event::Land { life: self.life, shard, flight, probe });
        Ok(true)
    }

    /// Hands in a probe that has ended, and holds what the shard makes of it against the reference.
    fn land(&mut self, shard: usize, flight: Flight, probe: Probe, ctx: &mut Context<'_>) -> Step {
        let now = ctx.now - self.born;
        // Dropped, with its check.
        let Some(place) = self.shards[shard].flights.remove(&flight) else { return Ok(()) };
        let Some(run) = self.reference.runs.get_mut(&place) else { return Ok(()) };
        let Some(begun) = run.flight.clone() else { return Ok(()) };
        let timeout = nanos(begun.timeout);
        let mut outcome = probe.outcome;
        // Read after its deadline: asked too late for an answer, or the answer was lost while the
        // whole machine stood still, which does not happen each time.
        let overdue = now > begun.started + timeout && !matches!(outcome, Outcome::Inconclusive(_));
        if overdue && outcome != Failure::silence(Phase::Connect).into() && ctx.rng.bool() {
            let lost = run.silences() + 1 < PROOF && ctx.rng.bool();
            outcome = if lost { Failure::silence } else { Failure::timeout }(Phase::Connect).into();
        }
        let proven = run.hear(&outcome, &begun) >= PROOF
            && milliseconds(now) - milliseconds(run.silent_since()) >= PROOF_TIME;
        let lost = self.shards[shard].lost(ctx.now - (now - begun.started), ctx.now);
        let split = self.shards[shard].lost_is_split(ctx.now - (now - begun.started));
        let late = |manager: &Stepped| if lost > 0 { manager.stats().ended("local_late") } else { 0 };
        let late_before = late(&self.manager);
        let core = &mut self.manager.shards()[shard];
        let before = core.updates().len();
        core.complete(flight, outcome.clone(), begun.started, now);
        let said: Option<StatusUpdate> = core.updates().get(before).cloned();
        let update = said.clone().filter(|update| update.reportable);
        let single = core.updates().len() <= before + 1;
        let excused = late(&self.manager) > late_before;
        ctx.trace(|| {
            let (label, lost) = (outcome.label(), lost / MILLISECOND);
            let told = update.as_ref().map(|update| update.status.health);
            format!("server: {} is {label}, lost {lost} ms, excused {excused}: {told:?}", run.id)
        });
        hold(single, Invariant::StatusIsTrue, ctx.now, || "two statuses of one probe".into())?;
        let failed = matches!(outcome, Outcome::Fail(_));
        hold(!failed || !begun.honest || excused, Invariant::NoFalseFailure, ctx.now, || {
            format!("{outcome:?} of {run:?} counts, {} ms lost", lost / MILLISECOND)
        })?;
        let limit = (20 * MILLISECOND).max(timeout / 10);
        let right = match &outcome {
            Outcome::Inconclusive(_) => true,
            Outcome::Fail(failure) if *failure != Failure::Refused => {
                // Up to 10 ms of a stall count as the loop's rest, and short ones may not count at
                // all.
                let must_not_count = lost > limit + 10 * MILLISECOND && !split && !proven;
                if excused { lost > limit && !proven } else { !must_not_count }
            }
            _ => !excused,
        };
        hold(right, Invariant::VerdictsOnly, ctx.now, || {
            format!(
                "{outcome:?} of {run:?}, {} ms lost, excused {excused}, came to {update:?}",
                lost / MILLISECOND
            )
        })?;
        let fault = match outcome {
            _ if excused => Some(LocalFault::Late),
            Outcome::Inconclusive(fault) => Some(fault),
            _ => None,
        };
        if let Some(fault) = fault {
            let (counts_as, news) = run.held(fault, &begun, now, nanos(self.setup.manager.hold_unreachable));
            let Some(failure) = counts_as else {
                return hold(run.told_held(update.as_ref(), news), Invariant::StatusIsTrue, ctx.now, || {
                    format!("{update:?} after {fault:?} of {run:?}")
                });
            };
            outcome = failure;
        }
        ctx.probed[run.subject] = true;
        let names = |update: &StatusUpdate| (update.id, update.incarnation) == (run.id, run.incarnation);
        let named = update.as_ref().is_none_or(names);
        let shown = format!("{:?}", run.standings);
        let judged = run.judged(&outcome, &begun, now, update.as_ref());
        hold(named && judged, Invariant::StatusIsTrue, ctx.now, || {
            format!("{update:?} after {outcome:?} of a check that was {shown}")
        })?;
        let follows = said.as_ref().is_some_and(|said| run.stands_so(said));
        hold(follows, Invariant::RiseAndFall, ctx.now, || {
            format!("{said:?} after {outcome:?} of a check that was {shown}, {:?}", run.spec)
        })
    }
}

impl Shard {
    /// Several short stalls since then: what counts of each is uncertain.
    fn lost_is_split(&self, from: Nanos) -> bool {
        self.stalls.iter().rev().take_while(|(_, end)| *end > from).count() > 1
    }
}
