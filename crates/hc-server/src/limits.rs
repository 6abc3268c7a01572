//! What the operating system lets this process have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors kept for everything but probes: sockets, logs, libraries, snapshots.
const RESERVED: u64 = 64;

/// Probes in flight that an unlimited process still is given.
const CEILING: u64 = 65_536;

/// Raises the limit of open files as far as the process may, and says how many descriptors probes can have at once.
///
/// With very few descriptors half of them stay for the rest of the process, and one probe at a time can always run.
pub(crate) fn descriptors_for_probes() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // Allowed without privileges; if it fails, the old limit is the one that counts.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
    for_probes(getrlimit(Resource::Nofile).current)
}

/// `None` is no limit.
fn for_probes(limit: Option<u64>) -> usize {
    let limit = limit.unwrap_or(u64::MAX);
    let free = limit.saturating_sub(RESERVED.min(limit / 2)).clamp(1, CEILING);
    usize::try_from(free).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_get_what_is_left() {
        assert_eq!(for_probes(Some(8192)), 8128);
        assert_eq!(for_probes(Some(64)), 32);
        assert_eq!(for_probes(Some(1)), 1);
        assert_eq!(for_probes(None), 65_536);
    }
}
