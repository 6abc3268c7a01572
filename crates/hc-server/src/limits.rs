//! What the operating system lets this process have.

use crate::admin;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors kept for everything but shards and probes: connections of hc-proxy and readers,
/// logs, libraries, snapshots, and the admin API.
const RESERVED: u64 = 64 + admin::DESCRIPTORS;

/// Descriptors of a shard beside its probes: three of its runtime, one to wait for connections, two
/// that watch paths, two for ICMP, and one to look a route up.
const PER_SHARD: u64 = 9;

/// Probes in flight that an unlimited process still is given.
const CEILING: u64 = 65_536;

/// Connections that outlive their probes (`max_lingering` of hc-checkers), where there is no
/// shortage.
const LINGERING: usize = 512;

/// Sockets that a shard keeps to connect them again (`max_idle` of hc-checkers), where there is no
/// shortage.
const IDLE: usize = 64;

/// What descriptors are for, those of the rest of the process left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// Probes in flight.
    pub(crate) in_flight: usize,
    /// Connections of marked probes that their peers have yet to close.
    pub(crate) lingering: usize,
    /// Sockets of probes that have ended, to be connected again.
    pub(crate) idle: usize,
}

/// Raises the limit of open files as far as the process may, and says how many descriptors probes
/// can have at once.
///
/// `shards`: the threads that probe. `beside`: descriptors that are kept for what not every server
/// has. With very few descriptors half of them stay for the rest of the process, and one probe at a
/// time can always run.
pub(crate) fn descriptors(shards: usize, beside: u64) -> Descriptors {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // Allowed without privileges; if it fails, the old limit is the one that counts.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
    for_probes(getrlimit(Resource::Nofile).current, shards, beside)
}

/// `None` is no limit.
fn for_probes(limit: Option<u64>, shards: usize, beside: u64) -> Descriptors {
    let limit = limit.unwrap_or(u64::MAX);
    let most_idle = IDLE.saturating_mul(shards);
    let shards = u64::try_from(shards).unwrap_or(u64::MAX);
    let reserved = RESERVED.saturating_add(beside).saturating_add(shards.saturating_mul(PER_SHARD));
    let free = limit.saturating_sub(reserved.min(limit / 2)).clamp(1, CEILING);
    let free = usize::try_from(free).unwrap_or(usize::MAX);
    let lingering = (free / 8).min(LINGERING);
    let idle = (free / 8).min(most_idle);
    Descriptors { in_flight: free - lingering - idle, lingering, idle }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_get_what_is_left() {
        let split = |limit, shards| {
            let Descriptors { in_flight, lingering, idle } = for_probes(limit, shards, 0);
            (in_flight, lingering, idle)
        };
        assert_eq!(split(Some(8192), 2), (7142, 512, 128));
        assert_eq!(split(Some(8192), 128), (5305, 512, 831));
        assert_eq!(split(Some(64), 2), (24, 4, 4));
        assert_eq!(split(Some(1), 2), (1, 0, 0));
        assert_eq!(split(None, 2), (64_896, 512, 128));
    }
}
