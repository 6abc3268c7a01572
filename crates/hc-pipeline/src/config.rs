//! When the guard steps in, and for how long.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use crate::Grouping;

/// Settings of a guard. All of them are fixed for its life.
#[derive(Clone, Debug, PartialEq)]
pub struct GuardConfig {
    /// A group trips when more than this share of its healthy checks fails within
    /// [`window`](Self::window). Default 0.5; from 1 on no group ever trips.
    pub share: f64,
    /// How long a lone failure waits for company before it is told, which is what a guard costs.
    /// Default 2 s. Zero makes only those failures count together that nobody had time to tell
    /// apart.
    pub window: Duration,
    /// A group with fewer healthy checks never trips. Default 5.
    pub min_group: usize,
    /// What belongs together. Default: all checks are one group. None turns the guard off:
    /// everything passes at once.
    pub groups: Vec<Grouping>,
    /// Held checks that are probed at once when a group trips. Default 8.
    pub sample: NonZeroUsize,
    /// Times in a row that the sample must fail before the verdicts are told. Default 3.
    pub rounds: NonZeroU32,
    /// From the last answer of one round to the start of the next. Default 1 s.
    pub round_pause: Duration,
    /// No verdict is held for longer. Default 30 s. Less than [`window`](Self::window) cuts that
    /// short.
    pub max_hold: Duration,
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self {
            share: 0.5,
            window: Duration::from_secs(2),
            min_group: 5,
            groups: vec![Grouping::All],
            sample: const { NonZeroUsize::new(8).expect("8 is not 0") },
            rounds: const { NonZeroU32::new(3).expect("3 is not 0") },
            round_pause: Duration::from_secs(1),
            max_hold: Duration::from_secs(30),
        }
    }
}
