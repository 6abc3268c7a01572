//! What a sample says of the group that it was taken from.

use std::collections::BTreeMap;
use std::time::Instant;

use hc_types::CheckId;

use crate::GuardConfig;
use crate::guard::later;

/// Rounds in which the same checks are probed again.
#[derive(Debug)]
pub(crate) struct Recheck {
    /// Whether each failed in this round; `None` until it has answered.
    sample: BTreeMap<CheckId, Option<bool>>,
    /// Rounds that must still fail.
    left: u32,
    /// Start of the next round, between two.
    next: Option<Instant>,
}

/// What a recheck says so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Nothing yet.
    Open,
    /// The sample failed in every round.
    Fails,
    /// It did not, or all of it was removed.
    Recovers,
}

impl Recheck {
    /// A recheck whose first round begins now. Of `failed`, which is sorted, the sample is taken
    /// evenly.
    pub(crate) fn new(failed: &[CheckId], config: &GuardConfig) -> Self {
        let size = config.sample.get().min(failed.len());
        let sample = (0..size).filter_map(|place| failed.get(place * failed.len() / size));
        Self { sample: sample.map(|id| (*id, None)).collect(), left: config.rounds.get(), next: None }
    }

    pub(crate) fn sample(&self) -> impl Iterator<Item = CheckId> + '_ {
        self.sample.keys().copied()
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.next
    }

    pub(crate) fn begin_round(&mut self) {
        self.next = None;
        self.sample.values_mut().for_each(|answer| *answer = None);
    }

    /// A probe of a check has ended with a verdict; of no interest unless the check is in the
    /// sample.
    pub(crate) fn answer(
        &mut self,
        id: CheckId,
        failed: bool,
        now: Instant,
        config: &GuardConfig,
    ) -> Decision {
        match self.sample.get_mut(&id) {
            Some(answer) => *answer = Some(failed),
            None => return Decision::Open,
        }
        self.judge(now, config)
    }

    /// A check is no more.
    pub(crate) fn leave(&mut self, id: CheckId, now: Instant, config: &GuardConfig) -> Decision {
        match self.sample.remove(&id) {
            Some(_) => self.judge(now, config),
            None => Decision::Open,
        }
    }

    fn judge(&mut self, now: Instant, config: &GuardConfig) -> Decision {
        let size = self.sample.len();
        if size == 0 {
            return Decision::Recovers;
        }
        if self.next.is_some() || self.sample.values().any(Option::is_none) {
            return Decision::Open;
        }
        let failing = self.sample.values().filter(|answer| **answer == Some(true)).count();
        if !config.exceeded(failing, size) {
            return Decision::Recovers;
        }
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            return Decision::Fails;
        }
        self.next = Some(later(now, config.round_pause));
        Decision::Open
    }
}
