//! Section `[guard]`.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use serde::Deserialize;

use super::values;

/// What belongs together when checks fail at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupConfig {
    /// All checks are one group.
    All,
    /// Backends in the same network are a group.
    Subnet,
    /// Checks of the same type are a group.
    CheckType,
}

/// Section `[guard]`: what happens when many checks fail at once.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuardConfig {
    /// Whether there is a guard. Default: no, since it delays every verdict by `window`.
    pub enabled: bool,
    /// A group trips when more than this share of its healthy checks fails within `window`. Default
    /// 0.5.
    #[serde(deserialize_with = "values::share")]
    pub share: f64,
    /// How long each verdict waits for company before it is told. Default 2 s.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// A group with fewer healthy checks never trips. Default 5.
    pub min_group: NonZeroUsize,
    /// What belongs together. Default: all checks are one group.
    #[serde(deserialize_with = "values::not_empty")]
    pub groups: Vec<GroupConfig>,
    /// Length of the prefix that makes a subnet of IPv4 backends. Default 24.
    #[serde(deserialize_with = "values::prefix_v4")]
    pub subnet_v4: u8,
    /// Length of the prefix that makes a subnet of IPv6 backends. Default 64.
    #[serde(deserialize_with = "values::prefix_v6")]
    pub subnet_v6: u8,
    /// Failed checks of a group that are probed again at once. Default 8.
    pub sample: NonZeroUsize,
    /// Times in a row that the sample must fail. Default 3.
    pub rounds: NonZeroU32,
    /// Pause between two of them. Default 1 s.
    #[serde(with = "humantime_serde")]
    pub round_pause: Duration,
    /// No verdict is held for longer. Default 30 s.
    #[serde(deserialize_with = "values::above_zero")]
    pub max_hold: Duration,
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            share: 0.5,
            window: Duration::from_secs(2),
            min_group: const { NonZeroUsize::new(5).expect("5 is not 0") },
            groups: vec![GroupConfig::All],
            subnet_v4: 24,
            subnet_v6: 64,
            sample: const { NonZeroUsize::new(8).expect("8 is not 0") },
            rounds: const { NonZeroU32::new(3).expect("3 is not 0") },
            round_pause: Duration::from_secs(1),
            max_hold: Duration::from_secs(30),
        }
    }
}
