//! How the manager runs.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;
use std::time::Duration;

/// Settings of a manager. All of them are fixed for its life.
///
/// ```
/// use std::num::NonZeroUsize;
/// use hc_manager::ManagerConfig;
///
/// let config = ManagerConfig::default().shards(NonZeroUsize::MIN).remember(std::time::Duration::ZERO);
/// assert_eq!(config.shards.get(), 1);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ManagerConfig {
    /// Threads that run probes. Default: one for each processor that the process may use. More than
    /// that gains nothing; one alone is enough for some ten thousand probes a second.
    pub shards: NonZeroUsize,
    /// Whether each shard's thread stays on one processor: the first shard on the first of those
    /// that the process may use, and so on, from the first again where there are more shards.
    /// Default false: the kernel moves threads to processors that are free.
    pub pinned: bool,
    /// Probes in flight at once, over all shards; each shard has an equal part, and one at least.
    /// Default 4096. It must leave the process enough file descriptors. Checks that are due beyond
    /// it wait, the one due first at the head: they run late, which
    /// [`ManagerStats::lateness`](crate::ManagerStats::lateness) shows, and do not fail.
    pub max_in_flight: NonZeroUsize,
    /// First probes of new checks that are started in a second. Default 5000. Many new checks at
    /// once are spread evenly at this rate, but none waits for longer than its interval.
    pub first_probes_per_second: NonZeroUsize,
    /// How long the health of a removed check, or of one from an earlier process, is remembered.
    /// Default 60 s, zero turns it off. A check with the same target and probe that comes back in
    /// time, under whatever id, goes on where it was.
    pub remember: Duration,
    /// How long a check keeps its state while this machine has no way to its backend (a local fault
    /// of [`FaultClass::SharedWithTraffic`](hc_types::FaultClass)). Default 10 s, and never less
    /// than two intervals of the check. After that it is unhealthy, since forwarded traffic is lost
    /// as well.
    pub hold_unreachable: Duration,
    /// How long the shards may take to end. Default 2 s. A shard that takes longer is an error, and
    /// its thread is left behind.
    pub grace: Duration,
}

impl Default for ManagerConfig {
    fn default() -> Self {
        Self {
            shards: available_parallelism().unwrap_or(NonZeroUsize::MIN),
            pinned: false,
            max_in_flight: const { NonZeroUsize::new(4096).expect("4096 is not 0") },
            first_probes_per_second: const { NonZeroUsize::new(5000).expect("5000 is not 0") },
            remember: Duration::from_secs(60),
            hold_unreachable: Duration::from_secs(10),
            grace: Duration::from_secs(2),
        }
    }
}

impl ManagerConfig {
    /// With this `shards`.
    #[must_use]
    pub fn shards(mut self, shards: NonZeroUsize) -> Self {
        self.shards = shards;
        self
    }

    /// With this `pinned`.
    #[must_use]
    pub fn pinned(mut self, pinned: bool) -> Self {
        self.pinned = pinned;
        self
    }

    /// With this `max_in_flight`.
    #[must_use]
    pub fn max_in_flight(mut self, max_in_flight: NonZeroUsize) -> Self {
        self.max_in_flight = max_in_flight;
        self
    }

    /// With this `first_probes_per_second`.
    #[must_use]
    pub fn first_probes_per_second(mut self, first_probes_per_second: NonZeroUsize) -> Self {
        self.first_probes_per_second = first_probes_per_second;
        self
    }

    /// With this `remember`.
    #[must_use]
    pub fn remember(mut self, remember: Duration) -> Self {
        self.remember = remember;
        self
    }

    /// With this `hold_unreachable`.
    #[must_use]
    pub fn hold_unreachable(mut self, hold_unreachable: Duration) -> Self {
        self.hold_unreachable = hold_unreachable;
        self
    }

    /// With this `grace`.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }
}
