//! One shard's checks and everything decided about them, without a clock, a thread or a socket.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use hc_types::{
    AdaptiveTimeout, CheckId, CheckSpec, Health, Outcome, PassTimes, ProbeResult, StatusUpdate, verdict,
};
use tracing::debug;

use crate::check_state::CheckState;
use crate::config::ManagerConfig;
use crate::flaps::Flaps;
use crate::holding::Holding;
use crate::local_fault_log::LocalFaultLog;
use crate::plan::Order;
use crate::recently_removed::{RecentlyRemoved, Tombstone};
use crate::schedule::{Nanos, Schedule, nanos};
use crate::stall::StallDetector;
use crate::stats::Gauges;
use crate::timers::Timers;

mod flight;
mod record;
mod timing;

pub(crate) use self::flight::{FlightId, ProbeReport, Start};
use self::record::{Ended, Record};

/// Where a check stands.
#[cfg(any(test, feature = "stepped"))]
pub(crate) type Standing = (hc_types::CheckId, Arc<CheckSpec>, hc_types::Status);

#[derive(Debug)]
struct Flight {
    slot: u32,
    /// All stalls before it began.
    stalled: Nanos,
    wall: SystemTime,
    /// The deadline that it was given; the check may have got another one meanwhile.
    timeout: Duration,
}

/// The table of one shard.
#[derive(Debug)]
pub(crate) struct ShardCore {
    records: Vec<Option<Record>>,
    timers: Timers,
    flights: HashMap<FlightId, Flight>,
    next_flight: NonZeroU64,
    max_in_flight: usize,
    checks: usize,
    recently_removed: RecentlyRemoved,
    hold_unreachable: Nanos,
    /// Between two first probes that are due at once.
    first_probe_gap: Nanos,
    stalls: StallDetector,
    local_faults: LocalFaultLog,
    flaps: Flaps,
    /// Of the checks, by slot, whose timeout adapts.
    pass_times: HashMap<u32, PassTimes>,
    gauges: Arc<Gauges>,
    updates: Vec<StatusUpdate>,
}

impl ShardCore {
    pub(crate) fn new(shard: usize, config: &ManagerConfig, gauges: Arc<Gauges>) -> Self {
        Self {
            records: Vec::new(),
            timers: Timers::default(),
            flights: HashMap::new(),
            next_flight: NonZeroU64::MIN,
            max_in_flight: (config.max_in_flight.get() / config.shards).max(1),
            checks: 0,
            recently_removed: RecentlyRemoved::new(nanos(config.remember)),
            hold_unreachable: nanos(config.hold_unreachable),
            first_probe_gap: 1_000_000_000 * config.shards.get() as Nanos
                / config.first_probes_per_second.get() as Nanos,
            stalls: StallDetector::default(),
            local_faults: LocalFaultLog::new(shard, Arc::clone(&gauges)),
            flaps: Flaps::default(),
            pass_times: HashMap::new(),
            gauges,
            updates: Vec::new(),
        }
    }

    /// A turn of the loop begins. To be called before the probes that ended are handed in: it finds
    /// out whether time was lost while they were in flight.
    pub(crate) fn begin_turn(&mut self, now: Nanos) {
        if let Some(length) = self.stalls.tick(now) {
            self.gauges.stalled(now, length);
            debug!(milliseconds = length / 1_000_000, "this shard stood still");
        }
        self.timers.advance(now);
        self.recently_removed.expire(now);
        self.local_faults.expire(now);
        while let Some((slot, changes)) = self.flaps.expire(now) {
            if let Some(record) = self.records.get(slot as usize).and_then(Option::as_ref) {
                record.log_flaps(changes);
            }
        }
    }

    /// The turn that began at `now` is over.
    pub(crate) fn end_turn(&mut self, now: Nanos) {
        self.stalls.rest(now, !self.flights.is_empty());
        self.gauges.checks.store(self.checks, Relaxed);
        self.gauges.in_flight.store(self.flights.len(), Relaxed);
        self.gauges.waiting.store(self.timers.due_count(), Relaxed);
    }

    /// When the next turn is due. `None` while there is nothing to wait for but orders and reports
    /// of probes.
    pub(crate) fn next_wake(&self) -> Option<Nanos> {
        let flaps = self.flaps.next();
        [self.timers.next(), self.stalls.expected(), self.local_faults.next(), flaps]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether a probe could be started now.
    pub(crate) fn can_start(&self) -> bool {
        self.timers.due_count() > 0 && self.flights.len() < self.max_in_flight
    }

    /// The next probe to start, if one is due and there is room for it. A check that `is_paused`
    /// names is due no more until [`probe_now`](Self::probe_now).
    pub(crate) fn start(
        &mut self,
        now: Nanos,
        wall: SystemTime,
        is_paused: impl Fn(CheckId) -> bool,
    ) -> Option<Start> {
        if self.flights.len() >= self.max_in_flight {
            return None;
        }
        let (due, slot, record) = loop {
            let (due, slot) = self.timers.take_due()?;
            let record = self.records[slot as usize].as_mut()?;
            if !is_paused(record.id) {
                break (due, slot, record);
            }
            record.parked = true;
            // Nothing finds out whether a local fault of a check that is not probed is over.
            if let Some(held) = record.held().map(Holding::fault) {
                record.release();
                self.local_faults.release(held);
            }
        };
        record.schedule.start(now);
        let flight = FlightId(self.next_flight);
        self.next_flight = self.next_flight.saturating_add(1);
        record.flight = Some(flight);
        let spec = Arc::clone(&record.spec);
        let stalled = self.stalls.stalled();
        let timeout = record.timeout(|| self.pass_times.get(&slot));
        self.flights.insert(flight, Flight { slot, stalled, wall, timeout });
        self.gauges.started(now, now.saturating_sub(due));
        Some(Start { flight, spec, timeout })
    }

    /// A probe ended. Ignored when its check is no more.
    pub(crate) fn complete(&mut self, report: ProbeReport) {
        let ProbeReport { flight, result: ProbeResult { outcome, evidence }, began, ended } = report;
        let Some(Flight { slot, stalled, wall, timeout }) = self.flights.remove(&flight) else { return };
        let Some(record) = self.records.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        record.flight = None;
        let stalled = Duration::from_nanos(self.stalls.stalled().saturating_sub(stalled));
        let counts = record.is_proven_silent(&outcome, began, ended);
        let mut outcome = if counts { outcome } else { verdict::with_stall(outcome, stalled, timeout) };
        let local = if let Outcome::Inconclusive(fault) = outcome { Some(fault) } else { None };
        let before = record.held().map(Holding::fault);
        if let Some(fault) = local {
            outcome = record.hold(fault, wall, ended, self.hold_unreachable);
        }
        self.gauges.ended(ended, &outcome);
        let duration = Duration::from_nanos(ended.saturating_sub(began));
        debug!(id = %record.id, label = outcome.label(), ?duration, "probe ended");
        if record.spec.adaptive_timeout() == AdaptiveTimeout::Apply && matches!(outcome, Outcome::Pass(_)) {
            self.pass_times.entry(slot).or_default().pass(duration);
        }
        if let Some(fault) = local {
            self.local_faults.hold(fault, before, ended);
        } else {
            record.release();
            if let Some(fault) = before {
                self.local_faults.release(fault);
            }
        }
        let (transition, reportable) = if matches!(outcome, Outcome::Inconclusive(_)) {
            // Not news, but the next refresh says since when it is held.
            let is_new = before.is_none_or(|before| Some(before) != local);
            (false, is_new && record.known.is_confirmed())
        } else {
            let flaps = &mut self.flaps;
            let transition = record.judge(outcome, wall, duration, || flaps.note(slot, ended));
            (transition, record.known.is_confirmed())
        };
        // Only now: the interval follows from the health and from the latest results.
        let due = match local {
            Some(_) => record.schedule.retry(ended, &record.grid(), record.tries()),
            None => record.schedule.next(ended, &record.grid()),
        };
        let next = wall + Duration::from_nanos(due.saturating_sub(began));
        let of_probe = Some(Ended { started: wall, next, evidence });
        self.updates.push(record.update(transition, reportable, of_probe));
        self.timers.arm(slot, due);
    }

    /// Carries out orders at `now`. Probes in flight whose check is no more are put into
    /// `cancelled`.
    pub(crate) fn apply(&mut self, orders: Vec<Order>, now: Nanos, cancelled: &mut Vec<FlightId>) {
        for order in orders {
            match order {
                Order::Add { slot, check, phase, after, known } => {
                    let record = Record::new(check, phase);
                    self.add(slot, record, now.saturating_add(after), known, now);
                }
                Order::Move { slot, check, phase, after } => self.rename(slot, check, phase, after, now),
                Order::Retime { slot, spec, phase, after } => {
                    self.retime(slot, spec, phase, after, now);
                    self.announce(slot, false);
                }
                Order::Remove { slot } => cancelled.extend(self.remove(slot, now)),
            }
        }
    }

    /// Makes the check of this slot due now, a start delay notwithstanding. Its grid stays, and a
    /// probe in flight is as good as a new one.
    pub(crate) fn probe_now(&mut self, slot: u32, now: Nanos) {
        self.unpark(slot, now);
        if let Some(due) = self.timers.armed_at(slot).filter(|due| *due > now) {
            debug!(slot, early = ?Duration::from_nanos(due - now), "a probe is brought forward");
            self.timers.arm(slot, now);
        }
    }

    /// These checks are paused no more, and begin with this health, if it is known: see
    /// [`Manager::resume`](crate::Manager::resume).
    pub(crate) fn resume(&mut self, checks: Vec<(u32, Health)>, now: Nanos) {
        let mut wait = 0;
        for (slot, health) in checks {
            let Some(record) = self.records.get_mut(slot as usize).and_then(Option::as_mut) else { continue };
            record.known.begin_with(health);
            if !std::mem::take(&mut record.parked) {
                continue;
            }
            let grid = record.grid();
            // As if none had been probed: the latest start was before the pause.
            let next = Schedule::NEW.next(now, &grid);
            let due = if record.known.has_verdict() { next } else { next.min(now.saturating_add(wait)) };
            wait = wait.saturating_add(self.first_probe_gap);
            self.timers.arm(slot, due);
        }
    }

    /// A check that was paused is due at `due`.
    fn unpark(&mut self, slot: u32, due: Nanos) {
        let record = self.records.get_mut(slot as usize).and_then(Option::as_mut);
        if record.is_some_and(|record| std::mem::take(&mut record.parked)) {
            self.timers.arm(slot, due);
        }
    }

    pub(crate) fn gauges(&self) -> &Gauges {
        &self.gauges
    }

    /// What was found and is not handed out yet.
    pub(crate) fn updates(&mut self) -> &mut Vec<StatusUpdate> {
        &mut self.updates
    }

    /// Statuses from slot `from` on, of `most` slots at most, and the slot to go on from unless
    /// that was all.
    #[cfg(any(test, feature = "stepped"))]
    pub(crate) fn statuses(&self, from: usize, most: usize) -> (Vec<Standing>, Option<usize>) {
        self.page(from, most, |record| Some((record.id, Arc::clone(&record.spec), record.status())))
    }

    /// The same for what is known, of checks with a verdict.
    pub(crate) fn known(
        &self,
        from: usize,
        most: usize,
    ) -> (Vec<(Arc<CheckSpec>, CheckState)>, Option<usize>) {
        self.page(from, most, |Record { spec, known, .. }| {
            known.has_verdict().then(|| (Arc::clone(spec), known.clone()))
        })
    }

    /// The same for checks that were removed and are remembered; by entry instead of by slot.
    pub(crate) fn remembered(&self, from: u64, most: usize) -> (Vec<Tombstone>, Option<u64>) {
        self.recently_removed.page(from, most)
    }

    fn page<T>(
        &self,
        from: usize,
        most: usize,
        row: impl FnMut(&Record) -> Option<T>,
    ) -> (Vec<T>, Option<usize>) {
        let until = from.saturating_add(most).min(self.records.len());
        let rows = self.records.get(from..until).unwrap_or_default();
        (rows.iter().flatten().filter_map(row).collect(), (until < self.records.len()).then_some(until))
    }

    fn add(
        &mut self,
        slot: u32,
        mut record: Record,
        first: Nanos,
        known: Option<Box<CheckState>>,
        now: Nanos,
    ) {
        // What this process saw is newer than what the one before left.
        if let Some(Tombstone { known, since, .. }) = self.recently_removed.recall(&record.spec, now) {
            // As fresh as that of a check that ran on. If it is older, the first probe is heard
            // before anything is told.
            let interval = record.spec.interval_at(known.machine.pace());
            let fresh = now.saturating_sub(*since) <= nanos(interval);
            record.known = if fresh { known.clone() } else { known.clone().unconfirmed() };
            self.updates.push(record.update(false, record.known.is_confirmed(), None));
        } else if let Some(known) = known {
            record.known = *known;
            self.updates.push(record.update(false, false, None));
        }
        // Of what has a health, the next probe is one like the others.
        let known = record.known.has_verdict();
        let delay = if known { Duration::ZERO } else { record.spec.start_delay() };
        debug!(id = %record.id, address = %record.spec.place(), "check begins");
        let index = slot as usize;
        if self.records.len() <= index {
            self.records.resize_with(index + 1, || None);
        }
        self.records[index] = Some(record);
        self.checks += 1;
        self.recently_removed.make_room(self.checks);
        self.timers.arm(slot, first.saturating_add(nanos(delay)));
    }

    /// An update that comes from a change of the set; consumers get it if it is `reportable` and
    /// certain.
    fn announce(&mut self, slot: u32, reportable: bool) {
        if let Some(record) = self.records.get_mut(slot as usize).and_then(Option::as_mut) {
            let reportable = reportable && record.known.is_confirmed();
            self.updates.push(record.update(false, reportable, None));
        }
    }

    fn remove(&mut self, slot: u32, now: Nanos) -> Option<FlightId> {
        let record = self.records.get_mut(slot as usize)?.take()?;
        self.checks -= 1;
        self.timers.disarm(slot);
        if let Some(held) = record.held() {
            self.local_faults.release(held.fault());
        }
        debug!(id = %record.id, address = %record.spec.place(), "check ends");
        record.log_flaps(self.flaps.forget(slot));
        self.pass_times.remove(&slot);
        self.recently_removed.remember(record.spec, record.known, now);
        let flight = record.flight?;
        self.flights.remove(&flight).map(|_| flight)
    }
}

#[cfg(test)]
mod tests;
