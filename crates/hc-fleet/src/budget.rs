//! A share of the writes that the store can bear.

use std::time::{Duration, Instant};

/// Thousandths of a write.
const ONE: u64 = 1000;

/// A bucket of tokens: so many writes a second, and as many at once as come in a second, at least
/// one.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Thousandths of a write a second.
    rate: u64,
    /// Thousandths of a write.
    tokens: u64,
    at: Instant,
}

impl Budget {
    /// One write a second.
    pub(crate) fn new(now: Instant) -> Self {
        Self { rate: ONE, tokens: ONE, at: now }
    }

    /// So many writes in 1,000 seconds from now on, at least one.
    pub(crate) fn allow(&mut self, rate: u64, now: Instant) {
        self.fill(now);
        self.rate = rate.max(1);
        self.tokens = self.tokens.min(self.most());
    }

    fn most(&self) -> u64 {
        self.rate.max(ONE)
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        let new = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX).saturating_mul(self.rate) / 1_000_000;
        // Without this what is less than a thousandth would be lost each time.
        if new > 0 {
            self.tokens = self.tokens.saturating_add(new).min(self.most());
            self.at = now;
        }
    }

    /// How many writes there may be now.
    pub(crate) fn left(&mut self, now: Instant) -> u64 {
        self.fill(now);
        self.tokens / ONE
    }

    pub(crate) fn spend(&mut self, writes: u64) {
        self.tokens = self.tokens.saturating_sub(writes.saturating_mul(ONE));
    }

    /// When there may be a write.
    pub(crate) fn next(&self) -> Instant {
        let missing = ONE.saturating_sub(self.tokens);
        self.at + Duration::from_micros((missing * 1_000_000).div_ceil(self.rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[allow(clippy::disallowed_methods, reason = "an Instant comes from nowhere else")]
    fn origin() -> Instant {
        Instant::now()
    }

    proptest! {
        /// However it is asked, over any time there are no more writes than its rate and one
        /// second's worth; and somebody who always wants to write comes near that.
        #[test]
        fn writes_are_bounded_and_flow(rate in 1_u64..60_000, pauses in proptest::collection::vec(0_u64..2_000_000, 1..200)) {
            let begin = origin();
            let mut budget = Budget::new(begin);
            budget.allow(rate, begin);
            let (mut now, mut spent) = (begin, 0);
            for pause in pauses {
                now += Duration::from_micros(pause);
                let left = budget.left(now);
                budget.spend(left);
                spent += left;
                let most = u128::from(rate) * (now - begin).as_micros() / 1_000_000 + u128::from(rate.max(ONE));
                prop_assert!(u128::from(spent * ONE) <= most, "{} {}", spent, most);
            }
            now = now.max(budget.next());
            prop_assert!(budget.left(now) >= 1);
        }
    }
}
