//! Which addresses each name has, and when it is asked for again: the decisions, without a clock or
//! a socket.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::{Answer, ResolveError};

/// How long answers are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamesConfig {
    /// A name is asked for again no sooner than this after an answer, however short its TTL.
    /// Default 5 s.
    pub min_age: Duration,
    /// A name is asked for again no later than this after an answer, however long its TTL. Default
    /// 5 min.
    pub max_age: Duration,
    /// How long after a failure a name is asked for again. Default 5 s.
    pub retry: Duration,
    /// So many answers in a row that a name has no address end its last ones. Default 3.
    pub confirmations: u32,
}

impl Default for NamesConfig {
    fn default() -> Self {
        Self {
            min_age: Duration::from_secs(5),
            max_age: Duration::from_secs(300),
            retry: Duration::from_secs(5),
            confirmations: 3,
        }
    }
}

/// Another set of addresses of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The name.
    pub name: Arc<str>,
    /// All its addresses; none when it has none any more.
    pub addresses: BTreeSet<IpAddr>,
}

/// Why the addresses of a name may be out of date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Since the first failure in a row.
    pub since: Instant,
    /// The latest failure, in words.
    pub problem: String,
}

#[derive(Debug)]
struct Entry {
    addresses: BTreeSet<IpAddr>,
    /// When it is to be asked for; `None` while it is.
    next: Option<Instant>,
    trouble: Option<Trouble>,
    /// Answers in a row that there is no address.
    absent: u32,
}

/// Names and their addresses.
#[derive(Debug)]
pub struct Names {
    config: NamesConfig,
    entries: BTreeMap<Arc<str>, Entry>,
}

impl Names {
    /// No names yet.
    #[must_use]
    pub fn new(config: NamesConfig) -> Self {
        Self { config, entries: BTreeMap::new() }
    }

    /// These names are followed from now on, and no others. What is known of those that stay is
    /// kept; new ones are due at once.
    pub fn set(&mut self, names: impl IntoIterator<Item = Arc<str>>, now: Instant) {
        let mut before = std::mem::take(&mut self.entries);
        for name in names {
            let entry = before.remove(&name).unwrap_or_else(|| Entry {
                addresses: BTreeSet::new(),
                next: Some(now),
                trouble: None,
                absent: 0,
            });
            self.entries.insert(name, entry);
        }
    }

    /// When the next name is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.entries.values().filter_map(|entry| entry.next).min()
    }

    /// The names that are due. Each must be given to [`answered`](Self::answered) before it is due
    /// again.
    pub fn due(&mut self, now: Instant) -> Vec<Arc<str>> {
        let due = self.entries.iter_mut().filter(|(_, entry)| entry.next.is_some_and(|next| next <= now));
        due.map(|(name, entry)| {
            entry.next = None;
            name.clone()
        })
        .collect()
    }

    /// What came of asking for a name. `Some` when its addresses are others now. Ignored for a name
    /// that is not followed any more.
    pub fn answered(
        &mut self,
        name: &str,
        answer: Result<Answer, ResolveError>,
        now: Instant,
    ) -> Option<Change> {
        let (name, _) = self.entries.get_key_value(name)?;
        let name = name.clone();
        let config = &self.config;
        let entry = self.entries.get_mut(&name)?;
        let within = |age: Duration| age.clamp(config.min_age, config.max_age.max(config.min_age));
        let addresses = match answer {
            Ok(Answer { addresses, valid_for }) if !addresses.is_empty() => {
                (entry.trouble, entry.absent) = (None, 0);
                entry.next = Some(now + within(valid_for));
                addresses
            }
            Ok(Answer { valid_for, .. }) => {
                entry.absent = entry.absent.saturating_add(1);
                let is_confirmed = entry.absent >= config.confirmations;
                entry.note("the name has no address".to_owned(), now);
                entry.next = Some(now + if is_confirmed { within(valid_for) } else { config.retry });
                if !is_confirmed {
                    return None;
                }
                BTreeSet::new()
            }
            Err(error) => {
                entry.absent = 0;
                entry.note(error.to_string(), now);
                entry.next = Some(now + config.retry);
                return None;
            }
        };
        if addresses == entry.addresses {
            return None;
        }
        entry.addresses.clone_from(&addresses);
        Some(Change { name, addresses })
    }

    /// The addresses of all names that have any, the last that were known.
    pub fn known(&self) -> impl Iterator<Item = Change> {
        let known = self.entries.iter().filter(|(_, entry)| !entry.addresses.is_empty());
        known.map(|(name, entry)| Change { name: name.clone(), addresses: entry.addresses.clone() })
    }

    /// The addresses of a name, the last that were known.
    #[must_use]
    pub fn addresses(&self, name: &str) -> Option<&BTreeSet<IpAddr>> {
        self.entries.get(name).map(|entry| &entry.addresses)
    }

    /// Names whose addresses may be out of date, or that have none.
    pub fn troubles(&self) -> impl Iterator<Item = (&Arc<str>, &Trouble)> {
        self.entries.iter().filter_map(|(name, entry)| Some((name, entry.trouble.as_ref()?)))
    }
}

impl Entry {
    fn note(&mut self, problem: String, now: Instant) {
        let since = self.trouble.as_ref().map_or(now, |trouble| trouble.since);
        self.trouble = Some(Trouble { since, problem });
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test needs some time to start from")]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn answer(addresses: &[[u8; 4]], seconds: u64) -> Result<Answer, ResolveError> {
        let addresses = addresses.iter().map(|ip| IpAddr::from(*ip)).collect();
        Ok(Answer { addresses, valid_for: Duration::from_secs(seconds) })
    }

    fn away() -> Result<Answer, ResolveError> {
        Err(ResolveError::Unavailable("timed out".to_owned()))
    }

    fn one_name() -> (Names, Instant) {
        let now = Instant::now();
        let mut names = Names::new(NamesConfig::default());
        names.set(["h".into()], now);
        assert_eq!(names.due(now), ["h".into()]);
        assert!(names.due(now).is_empty() && names.next_due().is_none(), "it is being asked for");
        (names, now)
    }

    #[test]
    fn a_name_is_asked_for_again_when_its_answer_is_old() {
        for (ttl, age) in [(0, 5), (60, 60), (86_400, 300)] {
            let (mut names, now) = one_name();
            assert!(names.answered("h", answer(&[[1, 1, 1, 1]], ttl), now).is_some());
            assert_eq!(names.next_due(), Some(now + age * SECOND));
            assert!(names.due(now + age * SECOND - Duration::from_nanos(1)).is_empty());
            assert_eq!(names.due(now + age * SECOND).len(), 1);
        }
    }

    #[test]
    fn only_other_addresses_are_a_change() {
        let (mut names, now) = one_name();
        let change = names.answered("h", answer(&[[1, 1, 1, 1], [2, 2, 2, 2]], 60), now).unwrap();
        assert_eq!(change.addresses.len(), 2);
        assert_eq!(
            names.answered("h", answer(&[[2, 2, 2, 2], [1, 1, 1, 1]], 60), now),
            None,
            "in another order"
        );
        let change = names.answered("h", answer(&[[2, 2, 2, 2]], 60), now).unwrap();
        assert_eq!(change.addresses, [IpAddr::from([2, 2, 2, 2])].into());
    }

    #[test]
    fn without_a_resolver_the_last_addresses_stand() {
        let (mut names, now) = one_name();
        names.answered("h", answer(&[[1, 1, 1, 1]], 60), now);
        for n in 1..1000 {
            assert_eq!(names.answered("h", away(), now + n * SECOND), None);
        }
        assert_eq!(names.addresses("h").unwrap().len(), 1);
        let (_, trouble) = names.troubles().next().unwrap();
        assert_eq!((trouble.since, trouble.problem.contains("timed out")), (now + SECOND, true));
        names.answered("h", answer(&[[1, 1, 1, 1]], 60), now);
        assert_eq!(names.troubles().count(), 0);
    }

    #[test]
    fn that_there_is_no_address_must_be_said_three_times_in_a_row() {
        let (mut names, now) = one_name();
        names.answered("h", answer(&[[1, 1, 1, 1]], 60), now);
        for said in [answer(&[], 60), answer(&[], 60), away(), answer(&[], 60), answer(&[], 60)] {
            assert_eq!(names.answered("h", said, now), None);
            assert_eq!(names.next_due(), Some(now + 5 * SECOND), "soon again");
        }
        let change = names.answered("h", answer(&[], 60), now).unwrap();
        assert!(change.addresses.is_empty());
        assert_eq!(names.next_due(), Some(now + 60 * SECOND));
        assert_eq!(names.answered("h", answer(&[], 60), now), None, "nothing new");
    }

    #[test]
    fn names_come_and_go() {
        let (mut names, now) = one_name();
        names.answered("h", answer(&[[1, 1, 1, 1]], 60), now);
        names.set(["h".into(), "i".into()], now);
        assert_eq!(names.due(now), ["i".into()]);
        names.set(["h".into()], now);
        assert_eq!(names.answered("i", answer(&[[1, 1, 1, 1]], 60), now), None, "nobody wants it any more");
        assert_eq!(names.addresses("h").unwrap().len(), 1);
        assert_eq!(names.addresses("i"), None);
    }
}
