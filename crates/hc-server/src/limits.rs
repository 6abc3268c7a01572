//! What the operating system lets this process have.

use crate::admin;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors kept for everything but shards and probes: connections of hc-proxy and readers,
/// logs, libraries, snapshots, and the admin API.
const RESERVED: u64 = 64 + admin::DESCRIPTORS;

/// Descriptors of a shard beside its probes: three of its runtime, one to wait for connections, two
/// that watch paths, two for ICMP, and one to look a route up.
const PER_SHARD: u64 = 9;

/// Descriptors of a shard whose checks may be half-open ones, for each family: a raw socket, one to
/// look routes up, and eight ports.
pub(crate) const HALF_OPEN: u64 = 20;

/// Probes in flight that an unlimited process still is given.
const CEILING: u64 = 65_536;

/// Connections that outlive their probes (`max_lingering` of hc-checkers), where there is no
/// shortage.
const LINGERING: usize = 512;

/// Sockets that a shard keeps to connect them again (`max_idle` of hc-checkers), where there is no
/// shortage.
const IDLE: usize = 64;

/// Connections of HTTP probes that are kept for the next one (`max_kept` of hc-checkers), where
/// there is no shortage and nothing else is asked for.
const KEPT: usize = 1024;

/// What descriptors are for, those of the rest of the process left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// Probes in flight.
    pub(crate) in_flight: usize,
    /// Connections of marked probes that their peers have yet to close.
    pub(crate) lingering: usize,
    /// Sockets of probes that have ended, to be connected again.
    pub(crate) idle: usize,
    /// Connections of HTTP probes that are kept for the next one.
    pub(crate) kept: usize,
}

/// Raises the limit of open files as far as the process may, and says how many descriptors probes
/// can have at once.
///
/// `shards`: the threads that probe. `kept`: how many connections are to be kept between probes, if
/// that is said; they get half of all at most. `beside`: descriptors that are kept for what not every server
/// has. With very few descriptors half of them stay for the rest of the process, and one probe at a
/// time can always run.
pub(crate) fn descriptors(shards: usize, kept: Option<usize>, beside: u64) -> Descriptors {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // Allowed without privileges; if it fails, the old limit is the one that counts.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
    for_probes(getrlimit(Resource::Nofile).current, shards, kept, beside)
}

/// `None` is no limit.
fn for_probes(limit: Option<u64>, shards: usize, kept: Option<usize>, beside: u64) -> Descriptors {
    let limit = limit.unwrap_or(u64::MAX);
    let most_idle = IDLE.saturating_mul(shards);
    let shards = u64::try_from(shards).unwrap_or(u64::MAX);
    let reserved = RESERVED.saturating_add(beside).saturating_add(shards.saturating_mul(PER_SHARD));
    let free = limit.saturating_sub(reserved.min(limit / 2)).clamp(1, CEILING);
    let free = usize::try_from(free).unwrap_or(usize::MAX);
    let lingering = (free / 8).min(LINGERING);
    let idle = (free / 8).min(most_idle);
    let kept = kept.map_or((free / 8).min(KEPT), |wanted| wanted.min(free / 2));
    Descriptors { in_flight: free - lingering - idle - kept, lingering, idle, kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_get_what_is_left() {
        let split_for = |limit, shards, kept| {
            let Descriptors { in_flight, lingering, idle, kept } = for_probes(limit, shards, kept, 0);
            (in_flight, lingering, idle, kept)
        };
        let split = |limit, shards| split_for(limit, shards, None);
        assert_eq!(split(Some(8192), 2), (6170, 512, 128, 972));
        assert_eq!(split(Some(8192), 128), (4474, 512, 831, 831));
        assert_eq!(split(Some(64), 2), (20, 4, 4, 4));
        assert_eq!(split(Some(1), 2), (1, 0, 0, 0));
        assert_eq!(split(None, 2), (63_872, 512, 128, 1024));
        assert_eq!(split_for(Some(8192), 2, Some(0)), (7142, 512, 128, 0));
        assert_eq!(split_for(Some(8192), 2, Some(100_000)), (3251, 512, 128, 3891));
        assert_eq!(split_for(Some(1), 2, Some(9)), (1, 0, 0, 0));
    }
}
