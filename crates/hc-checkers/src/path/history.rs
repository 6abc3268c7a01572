//! The changes of the last second, and older ones that may concern a probe in flight.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::kernel::Change;

/// How long every change is kept. A probe that takes longer has registered its target by then.
const RECENT: Duration = Duration::from_secs(1);

/// How many changes of the last second are kept: as many as the kernel makes in it, five megabytes
/// in a flood and none at rest.
const MOST_RECENT: usize = 65_536;

/// How many older changes are kept for slow probes: half a megabyte.
const MOST_KEPT: usize = 8192;

/// A link that goes down so long after the one before is sudden,
const QUIET: Duration = Duration::from_secs(5);

/// and so are those that follow it within this time: a failing switch or card takes several.
const BURST: Duration = Duration::from_millis(300);

/// A change, and when it was made: not before `after`, when the queue was read, and before the next
/// reading.
#[derive(Clone, Debug)]
pub(super) struct Noted {
    pub(super) after: Instant,
    pub(super) before: Instant,
    pub(super) change: Change,
    /// Links have not been going down for a while.
    pub(super) is_sudden: bool,
}

/// What has changed, and the state of every link.
#[derive(Debug, Default)]
pub(super) struct History {
    recent: VecDeque<Noted>,
    /// Older changes that concern the target of a slow probe.
    kept: VecDeque<Noted>,
    /// The targets of slow probes, each with how many there are.
    slow: BTreeMap<IpAddr, usize>,
    /// Changes before this may be missing from `recent`, or from `kept`.
    forgotten: [Option<Instant>; 2],
    /// Every link, and whether it works.
    links: HashMap<u32, bool>,
    /// When links began to go down, and when the latest did.
    going_down: Option<(Instant, Instant)>,
}

impl History {
    /// Takes the next change.
    pub(super) fn note(&mut self, after: Instant, before: Instant, change: Change) {
        if let Change::Link { index, exists, works, .. } = change {
            let was = if exists { self.links.insert(index, works) } else { self.links.remove(&index) };
            // Renamed, counted, or new: nothing that a route can have led to.
            if was.is_none_or(|was| was == works) {
                return;
            }
        }
        if self.recent.len() >= MOST_RECENT
            && let Some(oldest) = self.recent.front()
        {
            // It may have been made as late as this: a probe can have begun since the reading
            // before.
            self.forgotten[0] = Some(oldest.before);
            self.age_first();
        }
        let is_sudden = match change {
            Change::Link { works: false, .. } => self.goes_down(before),
            _ => true,
        };
        self.recent.push_back(Noted { after, before, change, is_sudden });
    }

    /// A link goes down at `now`. Whether none did for a while.
    fn goes_down(&mut self, now: Instant) -> bool {
        let begun = match self.going_down {
            Some((begun, latest)) if now.duration_since(latest) <= QUIET => begun,
            _ => now,
        };
        self.going_down = Some((begun, now));
        now.duration_since(begun) <= BURST
    }

    /// The links as they are, in place of what was known of them.
    pub(super) fn set_links(&mut self, links: Vec<Change>) {
        self.links = links
            .into_iter()
            .filter_map(|link| match link {
                Change::Link { index, works, .. } => Some((index, works)),
                _ => None,
            })
            .collect();
    }

    pub(super) fn link_is_down(&self, index: u32) -> bool {
        self.links.get(&index) == Some(&false)
    }

    /// Drops what is too old.
    pub(super) fn age(&mut self, now: Instant) {
        while self.recent.front().is_some_and(|noted| now.duration_since(noted.before) > RECENT) {
            self.age_first();
        }
        if self.recent.is_empty() && self.recent.capacity() > MOST_KEPT {
            self.recent.shrink_to_fit();
        }
    }

    fn age_first(&mut self) {
        let Some(noted) = self.recent.pop_front() else { return };
        let concerns_slow = match &noted.change {
            Change::Route { to, .. } => self.slow.range(to.network()..=to.broadcast()).next().is_some(),
            _ => !self.slow.is_empty(),
        };
        if !concerns_slow {
            return;
        }
        if self.kept.len() >= MOST_KEPT
            && let Some(oldest) = self.kept.pop_front()
        {
            self.forgotten[1] = Some(oldest.before);
        }
        self.kept.push_back(noted);
    }

    /// Keeps from now on what concerns this target.
    pub(super) fn register(&mut self, target: IpAddr) {
        *self.slow.entry(target).or_default() += 1;
    }

    /// The end of [`register`](Self::register).
    pub(super) fn release(&mut self, target: IpAddr) {
        if let Some(count) = self.slow.get_mut(&target) {
            *count -= 1;
            if *count == 0 {
                self.slow.remove(&target);
            }
        }
        if self.slow.is_empty() {
            self.kept.clear();
        }
    }

    /// What may have changed after `begun`.
    pub(super) fn since(&self, begun: Instant) -> impl Iterator<Item = &Noted> {
        let newest_first = self.recent.iter().rev().chain(self.kept.iter().rev());
        newest_first.take_while(move |noted| noted.before >= begun)
    }

    /// Whether changes after `begun` may be missing, for a probe that is not registered.
    pub(super) fn may_lack_recent(&self, begun: Instant) -> bool {
        self.forgotten[0].is_some_and(|forgotten| forgotten >= begun)
    }

    /// Whether changes after `begun` may be missing, for a probe that is.
    pub(super) fn may_lack_kept(&self, begun: Instant) -> bool {
        self.forgotten[1].is_some_and(|forgotten| forgotten >= begun)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test needs some time to start from")]
mod tests {
    use ipnet::IpNet;

    use super::*;

    fn route(ip: [u8; 4], length: u8) -> Change {
        Change::Route { to: IpNet::new_assert(ip.into(), length), table: 254 }
    }

    fn link(works: bool) -> Change {
        Change::Link { index: 7, exists: true, works, is_port: false }
    }

    #[test]
    fn only_a_change_of_state_of_a_known_link_is_noted() {
        let (mut history, now) = (History::default(), Instant::now());
        for (works, noted) in [(true, 0), (true, 0), (false, 1), (false, 1), (true, 2)] {
            history.note(now, now, link(works));
            assert_eq!((history.recent.len(), history.link_is_down(7)), (noted, !works));
        }
        history.note(now, now, Change::Link { index: 7, exists: false, works: false, is_port: false });
        assert_eq!(history.recent.len(), 3);
        assert!(history.links.is_empty(), "a link that is gone takes no memory");
    }

    #[test]
    fn old_changes_stay_for_slow_probes_alone() {
        let (mut history, begun) = (History::default(), Instant::now());
        history.register([10, 1, 2, 3].into());
        history.note(begun, begun, route([10, 1, 0, 0], 16));
        history.note(begun, begun, route([10, 2, 0, 0], 16));
        assert_eq!(history.since(begun).count(), 2);
        history.age(begun + 2 * RECENT);
        assert_eq!(history.since(begun).count(), 1);
        history.release([10, 1, 2, 3].into());
        assert_eq!(history.since(begun).count(), 0);
    }

    #[test]
    fn a_flood_of_changes_takes_bounded_memory_and_loses_none_that_matters() {
        let (mut history, begun) = (History::default(), Instant::now());
        history.register([10, 0, 0, 1].into());
        history.note(begun, begun, route([10, 0, 0, 0], 24));
        for n in 0..100_000_u32 {
            let [a, b, c, d] = n.to_be_bytes();
            history.note(begun, begun, route([20 + a, b, c, d], 32));
        }
        assert!(history.recent.len() <= MOST_RECENT && history.kept.len() <= MOST_KEPT);
        let covers = |noted: &&Noted| matches!(noted.change, Change::Route { to, .. } if to.contains(&std::net::IpAddr::from([10, 0, 0, 1])));
        assert_eq!(history.since(begun).filter(covers).count(), 1);
        assert!(history.may_lack_recent(begun) && !history.may_lack_kept(begun));
        history.age(begun + 2 * RECENT);
        assert!(history.recent.capacity() <= MOST_KEPT, "a flood that is over takes no memory");
    }

    /// The queue was read before the probe began, and next after a flood: what the flood pushed out
    /// was made after the probe began.
    #[test]
    fn a_change_pushed_out_by_a_flood_may_have_been_made_as_late_as_its_reading() {
        let (mut history, read_before) = (History::default(), Instant::now());
        let begun = read_before + Duration::from_millis(50);
        let read = begun + Duration::from_millis(200);
        for n in 0..=u32::try_from(MOST_RECENT).unwrap() {
            let [a, b, c, d] = n.to_be_bytes();
            history.note(read_before, read, route([20 + a, b, c, d], 32));
        }
        assert!(history.may_lack_recent(begun));
        assert!(!history.may_lack_recent(read + Duration::from_millis(1)));
    }
}
