//! Section `[metrics]`.

use serde::Deserialize;

/// Section `[metrics]`: which checks have series of their own. All checks are counted by kind in
/// any case.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// The most checks that have series of their own, eight each. Which ones stays the same while
    /// these run; the gauge `hc_check_series_left_out` counts the others. Default 1000.
    pub max_checks: usize,
    /// Whether all checks have series of their own, and not only those with `metrics = true` in
    /// files of checks. Checks of Seesaw's engine or a `cluster.pb` can ask in no other way.
    /// Default false.
    pub all_checks: bool,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self { max_checks: 1000, all_checks: false }
    }
}
