//! Settings of the outbox.

use std::num::NonZeroUsize;
use std::time::Duration;

/// How news is told.
///
/// ```
/// use std::time::Duration;
/// use hc_notifier::NotifierConfig;
///
/// let config = NotifierConfig::default().batch_delay(Duration::ZERO);
/// assert_eq!(config.batch_size.get(), 100);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotifierConfig {
    /// How long the first news of a batch waits for more. Default 100 ms; zero sends each at once.
    pub batch_delay: Duration,
    /// At this many notifications a batch goes out at once; no batch holds more. Default 100; 1
    /// means 1.
    pub batch_size: NonZeroUsize,
    /// Every check is told again within this time, changed or not. Default 15 s. Seven eighths of
    /// it are planned with, so that the rest is left for the delivery.
    pub notify_interval: Duration,
}

impl Default for NotifierConfig {
    fn default() -> Self {
        Self {
            batch_delay: Duration::from_millis(100),
            batch_size: const { NonZeroUsize::new(100).expect("100 is not 0") },
            notify_interval: Duration::from_secs(15),
        }
    }
}

impl NotifierConfig {
    /// With this `batch_delay`.
    #[must_use]
    pub fn batch_delay(mut self, batch_delay: Duration) -> Self {
        self.batch_delay = batch_delay;
        self
    }

    /// With this `batch_size`.
    #[must_use]
    pub fn batch_size(mut self, batch_size: NonZeroUsize) -> Self {
        self.batch_size = batch_size;
        self
    }

    /// With this `notify_interval`.
    #[must_use]
    pub fn notify_interval(mut self, notify_interval: Duration) -> Self {
        self.notify_interval = notify_interval;
        self
    }
}
