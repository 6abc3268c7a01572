//! How much later than due probes start.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::schedule::Nanos;

/// Buckets for each power of two, so that a bucket is at most an eighth of its value wide.
const PER_OCTAVE: usize = 8;

/// Microseconds below this have a bucket each.
const EXACT: u64 = 16;

/// Up to 2^37 microseconds, which is more than a day; what is above counts as that.
const BUCKETS: usize = 16 + 33 * PER_OCTAVE;

/// A histogram of delays between the instant a probe was due and its start.
///
/// Quantiles are exact to an eighth, and to a microsecond; the largest delay is exact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lateness {
    counts: Vec<u64>,
    sum: Nanos,
    max: Nanos,
}

impl Lateness {
    /// Delays counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The delay that a share `quantile` (0 to 1) of all delays does not exceed; zero when there
    /// are none.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Duration {
        let count = self.count();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and the count"
        )]
        let rank = ((count as f64 * quantile.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, in_bucket) in self.counts.iter().enumerate() {
            seen += in_bucket;
            if seen >= rank {
                return Duration::from_micros(upper_bound(bucket)).min(self.max());
            }
        }
        Duration::ZERO
    }

    /// Half of all delays are at most this.
    #[must_use]
    pub fn p50(&self) -> Duration {
        self.quantile(0.50)
    }

    /// 99 of 100 delays are at most this.
    #[must_use]
    pub fn p99(&self) -> Duration {
        self.quantile(0.99)
    }

    /// How many delays were at most `limit`; those that cannot be told from it by an eighth may be
    /// among them or not.
    #[must_use]
    pub fn at_most(&self, limit: Duration) -> u64 {
        let limit = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
        let below = self.counts.iter().enumerate().take_while(|(bucket, _)| upper_bound(*bucket) <= limit);
        below.map(|(_, count)| count).sum()
    }

    /// All delays together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum)
    }

    /// The largest delay.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }
}

/// The same, while it is being counted.
#[derive(Debug)]
pub(crate) struct LatenessGauge {
    counts: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    max: AtomicU64,
}

impl LatenessGauge {
    pub(crate) fn new() -> Self {
        let counts = [const { AtomicU64::new(0) }; BUCKETS];
        Self { counts, sum: AtomicU64::new(0), max: AtomicU64::new(0) }
    }

    pub(crate) fn record(&self, late: Nanos) {
        self.counts[bucket(late / 1000)].fetch_add(1, Relaxed);
        self.sum.fetch_add(late, Relaxed);
        self.max.fetch_max(late, Relaxed);
    }

    pub(crate) fn reset(&self) {
        self.counts.iter().for_each(|count| count.store(0, Relaxed));
        self.sum.store(0, Relaxed);
        self.max.store(0, Relaxed);
    }

    pub(crate) fn add_to(&self, lateness: &mut Lateness) {
        lateness.counts.resize(BUCKETS, 0);
        for (sum, count) in lateness.counts.iter_mut().zip(&self.counts) {
            *sum += count.load(Relaxed);
        }
        lateness.sum = lateness.sum.wrapping_add(self.sum.load(Relaxed));
        lateness.max = lateness.max.max(self.max.load(Relaxed));
    }
}

fn bucket(micros: u64) -> usize {
    if micros < EXACT {
        return usize::try_from(micros).unwrap_or_default();
    }
    let octave = micros.ilog2() as usize - 4;
    // The three bits after the leading one.
    let within = usize::try_from(micros >> (octave + 1)).unwrap_or_default() - PER_OCTAVE;
    (16 + octave * PER_OCTAVE + within).min(BUCKETS - 1)
}

/// The largest number of microseconds in a bucket.
fn upper_bound(bucket: usize) -> u64 {
    if bucket < 16 {
        return bucket as u64;
    }
    let (octave, within) = ((bucket - 16) / PER_OCTAVE, (bucket - 16) % PER_OCTAVE);
    (((PER_OCTAVE + within + 1) as u64) << (octave + 1)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_one_another() {
        for index in 1..BUCKETS {
            let (below, above) = (upper_bound(index - 1), upper_bound(index));
            assert_eq!((bucket(below + 1), bucket(above)), (index, index));
            assert!(index < 16 || (above - below) * 8 <= below + 1, "{index}");
        }
        assert_eq!(bucket(u64::MAX / 1000), BUCKETS - 1);
    }

    #[test]
    fn quantiles_and_reset() {
        let gauge = LatenessGauge::new();
        for millis in 1..=1000 {
            gauge.record(millis * 1_000_000);
        }
        let mut lateness = Lateness::default();
        gauge.add_to(&mut lateness);
        gauge.add_to(&mut lateness); // two shards
        assert_eq!(lateness.count(), 2000);
        let near = |got: Duration, millis: u64| {
            let expected = Duration::from_millis(millis);
            assert!(got >= expected && got <= expected * 9 / 8, "{got:?}");
        };
        near(lateness.p50(), 500);
        near(lateness.p99(), 990);
        assert_eq!(lateness.quantile(1.0), Duration::from_secs(1));
        assert_eq!(lateness.max(), Duration::from_secs(1));
        assert_eq!(lateness.sum(), Duration::from_millis(1000 * 1001));
        let about =
            |millis| lateness.at_most(Duration::from_millis(millis)).abs_diff(2 * millis) <= millis / 4;
        assert!(about(100) && about(500) && about(1000));
        assert_eq!((lateness.at_most(Duration::ZERO), lateness.at_most(Duration::MAX)), (0, 2000));
        gauge.reset();
        let mut lateness = Lateness::default();
        gauge.add_to(&mut lateness);
        assert_eq!((lateness.count(), lateness.p99(), lateness.max()), (0, Duration::ZERO, Duration::ZERO));
    }
}
