//! Where in its interval each check is probed.
//!
//! Checks that start together must not be probed together for ever: 400 checks of one backend would reach it within the
//! same few milliseconds of every interval. So every check gets a *phase*, a fraction of its interval. Phases are the
//! multiples of the golden ratio, modulo 1: any run of consecutive multiples is spread evenly over the interval, whether
//! it has three members or a million. Checks get their multiples in the order of address, backend and port, so the
//! checks of one address, of one backend, and all of them together are each even.
//!
//! Example: 400 checks of 10 s on one backend have 4 probes in an average window of 100 ms, and 5 in the fullest one.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::IpAddr;

use hc_types::{CheckKey, CheckSpec};

use crate::schedule::Nanos;

/// 2^64 divided by the golden ratio (Knuth, The Art of Computer Programming, volume 3, section 6.4).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The place of a check in the sequence of the checks with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Phase(u32);

impl Phase {
    /// How far behind the beginning of an interval the probes are, in nanoseconds: below `interval`.
    pub(crate) fn offset(self, interval: Nanos) -> Nanos {
        // Each interval begins its sequence elsewhere, so that the first checks of many intervals are not in step either.
        let fraction = interval.wrapping_add(u64::from(self.0)).wrapping_mul(GOLDEN);
        let offset = (u128::from(fraction) * u128::from(interval)) >> 64;
        u64::try_from(offset).unwrap_or_default()
    }
}

/// The phases that are in use, for each interval.
#[derive(Debug, Default)]
pub(crate) struct Phases {
    by_interval: HashMap<Nanos, Sequence>,
}

/// Numbers in use: those below `next` that are not free.
#[derive(Debug, Default)]
struct Sequence {
    next: u32,
    /// Numbers of checks that are gone. The lowest is given out first, so that the numbers in use stay nearly
    /// consecutive, and thereby even.
    free: BinaryHeap<Reverse<u32>>,
}

impl Phases {
    /// A phase for one more check with this interval.
    pub(crate) fn take(&mut self, interval: Nanos) -> Phase {
        let sequence = self.by_interval.entry(interval).or_default();
        if let Some(Reverse(number)) = sequence.free.pop() {
            return Phase(number);
        }
        let number = sequence.next;
        sequence.next += 1;
        Phase(number)
    }

    /// A check with this interval and phase is gone.
    pub(crate) fn release(&mut self, interval: Nanos, Phase(number): Phase) {
        let Some(sequence) = self.by_interval.get_mut(&interval) else { return };
        sequence.free.push(Reverse(number));
        if sequence.free.len() == sequence.next as usize {
            self.by_interval.remove(&interval);
        }
    }
}

/// The order in which checks get their phases: neighbours share an address, then a backend, then a port.
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
            let offsets: Vec<Nanos> = (0..4000).map(|_| phases.take(interval).offset(interval)).collect();
            assert!(offsets.iter().all(|offset| *offset < interval));
            assert!(fullest(offsets.clone(), interval) <= 11);
            for run in offsets.chunks(400) {
                assert!(fullest(run.to_vec(), interval) <= 15, "{}", fullest(run.to_vec(), interval));
            }
        }
    }

    /// Backends come and go; the numbers in use stay those of the first ones, and thereby consecutive.
    #[test]
    fn phases_stay_consecutive_while_backends_are_replaced() {
        let interval = 10 * SECOND;
        let mut phases = Phases::default();
        let mut live: Vec<Phase> = (0..400).map(|_| phases.take(interval)).collect();
        for round in 0..200 {
            let from = (round * 37) % 380;
            for phase in live.drain(from..from + 20) {
                phases.release(interval, phase);
            }
            live.extend((0..20).map(|_| phases.take(interval)));
        }
        live.sort_unstable();
        assert_eq!(live, (0..400).map(Phase).collect::<Vec<_>>());
    }

    #[test]
    fn a_phase_is_in_use_once_and_comes_back() {
        let mut phases = Phases::default();
        let taken: Vec<Phase> = (0..3).map(|_| phases.take(SECOND)).collect();
        assert_eq!(taken, [Phase(0), Phase(1), Phase(2)]);
        phases.release(SECOND, taken[2]);
        phases.release(SECOND, taken[0]);
        assert_eq!(
            [phases.take(SECOND), phases.take(SECOND), phases.take(SECOND)],
            [Phase(0), Phase(2), Phase(3)]
        );
    }

    #[test]
    fn an_interval_that_nobody_uses_is_forgotten() {
        let mut phases = Phases::default();
        let (one, other) = (phases.take(SECOND), phases.take(SECOND));
        phases.release(SECOND, one);
        phases.release(SECOND, other);
        assert!(phases.by_interval.is_empty());
    }
}
