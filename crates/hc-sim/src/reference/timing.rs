//! When the probes of a check are due.

use std::sync::Arc;

use hc_types::{CheckSpec, Jitter};

use super::{Run, Standing};
use crate::clock::{MILLISECOND, Nanos, nanos};

/// The intervals of a check: the usual one, that of one that changes, and that of one that is down.
pub(super) fn intervals(spec: &CheckSpec) -> [Nanos; 3] {
    let timing = spec.timing();
    [Some(timing.interval), timing.fast_interval, timing.down_interval]
        .map(|own| nanos(own.unwrap_or(timing.interval)))
}

fn longest_delay(spec: &CheckSpec, interval: Nanos) -> Nanos {
    match spec.jitter() {
        Jitter::None => 0,
        Jitter::Percent(share) => interval / 100 * u64::from(share) + interval % 100 * u64::from(share) / 100,
        Jitter::Time(time) => nanos(time),
    }
}

/// The number that decides on a delay, as hc-manager's schedule documents it.
fn scattered(number: u64) -> u64 {
    let mut number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    for (shift, factor) in [(30, 0xbf58_476d_1ce4_e5b9), (27, 0x94d0_49bb_1331_11eb)] {
        number = (number ^ (number >> shift)).wrapping_mul(factor);
    }
    number ^ (number >> 31)
}

impl Run {
    fn retry_pause(&self, interval: Nanos) -> Nanos {
        (100 * MILLISECOND)
            .checked_shl((self.tries - 1).min(20))
            .map_or(interval, |pause| pause.min(interval))
    }

    /// No probe of it has started, and nothing is known of it.
    fn awaits_start(&self, standing: &Standing) -> bool {
        self.started.is_none() && !standing.is_something()
    }

    /// Keeps the standings whose probe may start at `now`, when nothing else is late than up to
    /// `excuse`. Whether there are any.
    pub(crate) fn starts_on_time(&mut self, now: Nanos, excuse: Nanos) -> bool {
        self.standings.retain(|standing| standing.due <= now && now <= standing.due.max(excuse));
        !self.standings.is_empty()
    }

    /// Until when the next probe must start, whatever the grid is: the interval in force and the
    /// jitter after the latest start, or the end of that probe. `None` before the first and after
    /// another timing.
    pub(crate) fn latest_start(&self) -> Option<Nanos> {
        let started = self.started.filter(|started| *started >= self.since)?;
        let longest = |standing: &Standing| {
            let interval = intervals(&self.spec)[standing.pace()];
            interval + longest_delay(&self.spec, interval)
        };
        let gap = self.standings.iter().map(longest).max()?;
        Some((started + gap).max(self.ended))
    }

    /// When the start delay of a check that awaits its first probe is over.
    pub(crate) fn earliest_start(&self) -> Option<Nanos> {
        let awaits = self.standings.iter().all(|standing| self.awaits_start(standing));
        awaits.then(|| self.began + nanos(self.spec.start_delay()))
    }

    /// Plans the next probe, after one that ended at `ended`: the grid point after its start, or
    /// its end if it took longer; or sooner where it was inconclusive.
    pub(super) fn plan(&mut self, ended: Nanos) {
        let mut standings = std::mem::take(&mut self.standings);
        for standing in &mut standings {
            let pace = standing.pace();
            let interval = intervals(&self.spec)[pace];
            let started = self.started.unwrap_or(ended);
            let (point, delay) = self.grid_after(started, pace);
            let soon = point - started < (250 * MILLISECOND).min(interval / 4);
            standing.due = (point + if soon { interval / 2 } else { 0 } + delay).max(ended);
            if self.tries > 0 {
                standing.due = standing.due.min(ended + self.retry_pause(interval));
            }
        }
        self.standings = standings;
    }

    /// The first grid point after an instant, and by how much its probe is delayed.
    fn grid_after(&self, instant: Nanos, pace: usize) -> (Nanos, Nanos) {
        let (interval, offset) = (intervals(&self.spec)[pace], self.offsets[pace]);
        let round = instant - instant % interval;
        let points = [round + offset, round + interval + offset];
        let point = points.into_iter().find(|at| *at > instant).unwrap_or(0);
        let longest = longest_delay(&self.spec, interval);
        if longest == 0 {
            return (point, 0);
        }
        let share = scattered(offset ^ scattered((point - offset) / interval));
        let delay = (u128::from(share) * (u128::from(longest) + 1)) >> 64;
        (point, u64::try_from(delay).expect("at most the jitter"))
    }

    /// Another timing, and another name if it is `renamed`.
    pub(super) fn retime(
        &mut self,
        spec: &Arc<CheckSpec>,
        offsets: [Nanos; 3],
        after: Nanos,
        now: Nanos,
        renamed: bool,
    ) {
        let mut standings = std::mem::take(&mut self.standings);
        let before = std::mem::replace(&mut self.spec, Arc::clone(spec));
        let old_offsets = std::mem::replace(&mut self.offsets, offsets);
        for standing in standings.iter_mut().filter(|_| self.flight.is_none()) {
            let pace = standing.pace();
            let [old, new] = [nanos(before.start_delay()), nanos(spec.start_delay())];
            if self.awaits_start(standing) && (old, new) != (0, 0) {
                let due = standing.due - old + new;
                if old != new {
                    standing.due = if due > now { due } else { now + after };
                }
                if renamed && new == 0 {
                    standing.due = standing.due.min(now + after);
                }
                continue;
            }
            let interval = intervals(spec)[pace];
            if intervals(&before)[pace] != interval || old_offsets[pace] != offsets[pace] {
                let latest = standing.due.min(now + after);
                let next = self.started.and_then(|started| {
                    let (point, delay) = self.grid_after(started, pace);
                    [point + delay, started + interval].into_iter().find(|due| *due > now)
                });
                let next = next.unwrap_or(latest);
                standing.due = if self.tries > 0 { next.min(standing.due) } else { next };
            }
            if renamed {
                standing.due = standing.due.min(now + after);
            }
        }
        self.standings = standings;
    }
}
