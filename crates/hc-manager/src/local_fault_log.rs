//! Local faults, told once each instead of once a probe.

use std::sync::Arc;

use hc_types::{LocalFault, Outcome};
use tracing::warn;

use crate::schedule::Nanos;
use crate::stats::{Gauges, label_index};

/// An episode ends when its fault has held no check for this long. Faults that come and go faster
/// are one episode.
const QUIET: Nanos = 10_000_000_000;

#[derive(Debug)]
struct Ongoing {
    label: usize,
    since: Nanos,
    latest: Nanos,
    probes: u64,
    held: usize,
}

/// The local faults of one shard that are going on, by label. Logs the begin and the end of each.
#[derive(Debug)]
pub(crate) struct LocalFaultLog {
    shard: usize,
    gauges: Arc<Gauges>,
    ongoing: Vec<Ongoing>,
}

impl LocalFaultLog {
    pub(crate) fn new(shard: usize, gauges: Arc<Gauges>) -> Self {
        Self { shard, gauges, ongoing: Vec::new() }
    }

    /// A probe ended inconclusive by `fault`; its check was held by `before` until now.
    pub(crate) fn hold(&mut self, fault: LocalFault, before: Option<LocalFault>, now: Nanos) {
        if let Some(before) = before {
            self.release(before);
        }
        let label = label_index(fault.label());
        let index = self.ongoing.iter().position(|episode| episode.label == label).unwrap_or_else(|| {
            warn!(
                shard = self.shard,
                label = fault.label(),
                fault = %fault,
                "probes are inconclusive because of this machine; their checks keep their state"
            );
            self.gauges.episode_began(label);
            self.ongoing.push(Ongoing { label, since: now, latest: now, probes: 0, held: 0 });
            self.ongoing.len() - 1
        });
        let episode = &mut self.ongoing[index];
        episode.latest = now;
        episode.probes += 1;
        episode.held += 1;
        self.gauges.episode(label, true, episode.held);
    }

    /// A check that `fault` held has a verdict again, or is no more.
    pub(crate) fn release(&mut self, fault: LocalFault) {
        let label = label_index(fault.label());
        if let Some(episode) = self.ongoing.iter_mut().find(|episode| episode.label == label) {
            episode.held = episode.held.saturating_sub(1);
            self.gauges.episode(label, true, episode.held);
        }
    }

    /// Ends the episodes that are over.
    pub(crate) fn expire(&mut self, now: Nanos) {
        let Self { shard, gauges, ongoing } = self;
        ongoing.retain(|episode| {
            let goes_on = episode.held > 0 || now < episode.latest.saturating_add(QUIET);
            if !goes_on {
                warn!(
                    shard = *shard,
                    label = Outcome::LABELS[episode.label],
                    probes = episode.probes,
                    seconds = (episode.latest - episode.since) / 1_000_000_000,
                    "probes are conclusive again"
                );
                gauges.episode(episode.label, false, 0);
            }
            goes_on
        });
    }

    /// When an episode may end.
    pub(crate) fn next(&self) -> Option<Nanos> {
        let over = self.ongoing.iter().filter(|episode| episode.held == 0);
        over.map(|episode| episode.latest.saturating_add(QUIET)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::ManagerStats;

    const SECOND: Nanos = 1_000_000_000;

    fn ongoing(gauges: &Gauges) -> Vec<(&'static str, usize)> {
        let stats = ManagerStats::collect(std::iter::once(gauges), 0);
        stats.episodes.iter().map(|episode| (episode.label, episode.held)).collect()
    }

    #[test]
    fn an_episode_lasts_while_it_holds_a_check_and_a_little_longer() {
        let gauges = Arc::new(Gauges::new());
        let mut episodes = LocalFaultLog::new(0, Arc::clone(&gauges));
        assert_eq!(episodes.next(), None);
        episodes.hold(LocalFault::Ports, None, 0);
        episodes.hold(LocalFault::Ports, None, SECOND);
        episodes.hold(LocalFault::Ports, Some(LocalFault::Ports), 2 * SECOND);
        assert_eq!(ongoing(&gauges), [("local_ports", 2)]);
        episodes.expire(100 * SECOND);
        assert_eq!(episodes.next(), None);
        episodes.hold(LocalFault::Late, Some(LocalFault::Ports), 100 * SECOND);
        assert_eq!(ongoing(&gauges), [("local_ports", 1), ("local_late", 1)]);
        episodes.release(LocalFault::Ports);
        episodes.expire(100 * SECOND);
        assert_eq!(ongoing(&gauges), [("local_late", 1)]);
        episodes.release(LocalFault::Late);
        assert_eq!(episodes.next(), Some(110 * SECOND));
        episodes.expire(109 * SECOND);
        assert_eq!(ongoing(&gauges), [("local_late", 0)]);
        episodes.expire(110 * SECOND);
        assert_eq!(ongoing(&gauges), []);
        assert_eq!(episodes.next(), None);
        episodes.hold(LocalFault::Late, None, 111 * SECOND);
        let stats = ManagerStats::collect(std::iter::once(&*gauges), 0);
        let begun: Vec<_> = stats.episodes_begun.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(begun, [&("local_ports", 1), &("local_late", 2)]);
        assert!(stats.episodes_begun.iter().all(|(label, _)| label.starts_with("local_")));
    }
}
