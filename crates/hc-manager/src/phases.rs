//! Where in its interval each check is probed.
//!
//! Checks that start together must not be probed together for ever: 400 checks of one backend would
//! reach it within the same few milliseconds of every interval. So every check gets a *phase*, a
//! fraction of its interval. Phases are the multiples of the golden ratio, modulo 1: any run of
//! consecutive multiples is spread evenly over the interval, whether it has three members or a
//! million. Checks get their multiples in the order of address, backend and port, so the checks of
//! one address, of one backend, and all of them together are each even.
//!
//! Example: 400 checks of 10 s on one backend have 4 probes in an average window of 100 ms, and 5
//! in the fullest one.
//!
//! A check with a fast or a down interval has a grid for each of its intervals. Its place in the
//! sequence is the same in all three, so neighbours that fail together are also spread evenly over
//! the interval that they follow then.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::IpAddr;

use hc_types::{CheckKey, CheckSpec, Pace};

use crate::schedule::{Nanos, nanos};

/// 2^64 divided by the golden ratio (Knuth, The Art of Computer Programming, volume 3, section
/// 6.4).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The intervals of a check. Those that have the same ones share a sequence of phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Intervals {
    steady: Nanos,
    changing: Nanos,
    down: Nanos,
}

impl Intervals {
    pub(crate) fn of(spec: &CheckSpec) -> Self {
        let [steady, changing, down] =
            [Pace::Steady, Pace::Changing, Pace::Down].map(|pace| nanos(spec.interval_at(pace)));
        Self { steady, changing, down }
    }

    /// Where the sequence of these checks begins, beside that of the checks that have one of these
    /// intervals alone: 0 for such. The intervals are far from the low bits, so that two sequences
    /// do not begin a few numbers apart.
    fn salt(&self) -> u64 {
        match (self.changing ^ self.steady, self.down ^ self.steady) {
            (0, 0) => 0,
            (changing, down) => self.steady.rotate_left(13) ^ changing.rotate_left(29) ^ down.rotate_left(43),
        }
    }
}

/// The place of a check in the sequence of the checks with its intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number(u32);

impl Number {
    pub(crate) fn phase(self, intervals: &Intervals) -> Phase {
        // Each interval begins its sequence elsewhere, so that the first checks of many intervals
        // are not in step.
        let begin = intervals.steady.wrapping_add(intervals.salt());
        Phase(begin.wrapping_add(u64::from(self.0)).wrapping_mul(GOLDEN))
    }
}

/// A fraction of an interval, in units of 2^-64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Phase(u64);

impl Phase {
    #[cfg(test)]
    pub(crate) const ZERO: Self = Self(0);

    /// How far behind the beginning of an interval the probes are, in nanoseconds: below
    /// `interval`.
    pub(crate) fn offset(self, interval: Nanos) -> Nanos {
        let offset = (u128::from(self.0) * u128::from(interval)) >> 64;
        u64::try_from(offset).unwrap_or_default()
    }
}

/// The numbers that are in use, for each kind of intervals.
#[derive(Debug, Default)]
pub(crate) struct Phases {
    sequences: HashMap<Intervals, Sequence>,
}

/// Numbers in use: those below `next` that are not free.
#[derive(Debug, Default)]
struct Sequence {
    next: u32,
    /// Numbers of checks that are gone. The lowest is given out first, so that the numbers in use
    /// stay nearly consecutive, and thereby even.
    free: BinaryHeap<Reverse<u32>>,
}

impl Phases {
    /// The number of one more check with these intervals.
    pub(crate) fn take(&mut self, intervals: Intervals) -> Number {
        let sequence = self.sequences.entry(intervals).or_default();
        if let Some(Reverse(number)) = sequence.free.pop() {
            return Number(number);
        }
        let number = sequence.next;
        sequence.next += 1;
        Number(number)
    }

    /// A check with these intervals and this number is gone.
    pub(crate) fn release(&mut self, intervals: Intervals, Number(number): Number) {
        let Some(sequence) = self.sequences.get_mut(&intervals) else { return };
        sequence.free.push(Reverse(number));
        if sequence.free.len() == sequence.next as usize {
            self.sequences.remove(&intervals);
        }
    }
}

/// The order in which checks get their phases: neighbours share an address, then a backend, then a
/// port.
pub(crate) fn neighbourhood(spec: &CheckSpec, key: CheckKey) -> impl Ord + use<> {
    let target = spec.target();
    let number = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => (4, u128::from(u32::from(ip))),
        IpAddr::V6(ip) => (6, u128::from(ip)),
    };
    (number(target.ip()), target.host().map(number), target.port(), key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn plain(interval: Nanos) -> Intervals {
        Intervals { steady: interval, changing: interval, down: interval }
    }

    /// That of one more check.
    fn offset(phases: &mut Phases, intervals: Intervals, interval: Nanos) -> Nanos {
        phases.take(intervals).phase(&intervals).offset(interval)
    }

    /// The largest share of these offsets in any window of 1 % of the interval, in thousandths.
    fn fullest(mut offsets: Vec<Nanos>, interval: Nanos) -> usize {
        offsets.sort_unstable();
        let next_round: Vec<Nanos> = offsets.iter().map(|offset| offset + interval).collect();
        let all = [offsets.clone(), next_round].concat();
        let within =
            |from: Nanos| all.iter().filter(|at| (from..from + interval / 100).contains(*at)).count();
        offsets.iter().map(|from| within(*from)).max().unwrap() * 1000 / offsets.len()
    }

    #[test]
    fn phases_are_even_for_all_checks_and_for_each_run_of_neighbours() {
        for interval in [SECOND, 10 * SECOND, 60 * SECOND] {
            let mut phases = Phases::default();
            let offsets: Vec<Nanos> =
                (0..4000).map(|_| offset(&mut phases, plain(interval), interval)).collect();
            assert!(offsets.iter().all(|offset| *offset < interval));
            assert!(fullest(offsets.clone(), interval) <= 11);
            for run in offsets.chunks(400) {
                assert!(fullest(run.to_vec(), interval) <= 15, "{}", fullest(run.to_vec(), interval));
            }
        }
    }

    /// At each pace: checks that fail together are even over the interval that they follow then.
    #[test]
    fn each_pace_has_an_even_grid_of_its_own() {
        let several = Intervals { steady: 10 * SECOND, changing: SECOND, down: 60 * SECOND };
        let mut phases = Phases::default();
        let taken: Vec<Number> = (0..4000).map(|_| phases.take(several)).collect();
        for interval in [several.steady, several.changing, several.down] {
            let offsets: Vec<Nanos> =
                taken.iter().map(|number| number.phase(&several).offset(interval)).collect();
            assert!(offsets.iter().all(|offset| *offset < interval));
            assert!(fullest(offsets.clone(), interval) <= 11);
            for run in offsets.chunks(400) {
                assert!(fullest(run.to_vec(), interval) <= 15);
            }
        }
        // Checks with the interval alone are not in step with them.
        let mut both: Vec<Nanos> =
            taken.iter().map(|number| number.phase(&several).offset(10 * SECOND)).collect();
        let alone = |_| offset(&mut phases, plain(10 * SECOND), 10 * SECOND);
        both.extend((0..4000).map(alone));
        assert!(fullest(both, 10 * SECOND) <= 12);
    }

    /// Backends come and go; the numbers in use stay those of the first ones, and thereby
    /// consecutive.
    #[test]
    fn phases_stay_consecutive_while_backends_are_replaced() {
        let interval = 10 * SECOND;
        let mut phases = Phases::default();
        let mut live: Vec<Number> = (0..400).map(|_| phases.take(plain(interval))).collect();
        for round in 0..200 {
            let from = (round * 37) % 380;
            for number in live.drain(from..from + 20) {
                phases.release(plain(interval), number);
            }
            live.extend((0..20).map(|_| phases.take(plain(interval))));
        }
        live.sort_unstable();
        assert_eq!(live, (0..400).map(Number).collect::<Vec<_>>());
    }

    #[test]
    fn a_phase_is_in_use_once_and_comes_back() {
        let mut phases = Phases::default();
        let taken: Vec<Number> = (0..3).map(|_| phases.take(plain(SECOND))).collect();
        assert_eq!(taken, [Number(0), Number(1), Number(2)]);
        phases.release(plain(SECOND), taken[2]);
        phases.release(plain(SECOND), taken[0]);
        assert_eq!(
            [phases.take(plain(SECOND)), phases.take(plain(SECOND)), phases.take(plain(SECOND))],
            [Number(0), Number(2), Number(3)]
        );
    }

    #[test]
    fn an_interval_that_nobody_uses_is_forgotten() {
        let mut phases = Phases::default();
        let (one, other) = (phases.take(plain(SECOND)), phases.take(plain(SECOND)));
        phases.release(plain(SECOND), one);
        phases.release(plain(SECOND), other);
        assert!(phases.sequences.is_empty());
    }
}
