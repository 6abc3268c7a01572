//! Which addresses each name has, and when it is asked for again: the decisions, without a clock or
//! a socket.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hc_types::impossible_backend;

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
    /// So many answers in a row without an address that a backend can have end a name's last ones.
    /// Default 3. That is also how some resolvers block a name: they answer 0.0.0.0.
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

/// A name that is to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name.
    pub name: Arc<str>,
    /// Which of all questions it is.
    number: u64,
}

#[derive(Debug)]
struct Entry {
    addresses: BTreeSet<IpAddr>,
    /// When it is to be asked for; `None` while it is.
    next: Option<Instant>,
    /// The number of the latest question.
    asked: u64,
    trouble: Option<Trouble>,
    /// Answers in a row without an address that a backend can have.
    absent: u32,
}

/// Names and their addresses.
#[derive(Debug)]
pub struct Names {
    config: NamesConfig,
    entries: BTreeMap<Arc<str>, Entry>,
    /// Questions so far.
    questions: u64,
}

impl Names {
    /// No names yet.
    #[must_use]
    pub fn new(config: NamesConfig) -> Self {
        Self { config, entries: BTreeMap::new(), questions: 0 }
    }

    /// These names are followed from now on, and no others. What is known of those that stay is
    /// kept; new ones are due at once.
    pub fn set(&mut self, names: impl IntoIterator<Item = Arc<str>>, now: Instant) {
        let mut before = std::mem::take(&mut self.entries);
        for name in names {
            let entry = before.remove(&name).unwrap_or_else(|| Entry {
                addresses: BTreeSet::new(),
                next: Some(now),
                asked: 0,
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

    /// The names that are due. Each question must be given to [`answered`](Self::answered) before
    /// its name is due again.
    pub fn due(&mut self, now: Instant) -> Vec<Question> {
        let questions = &mut self.questions;
        let due = self.entries.iter_mut().filter(|(_, entry)| entry.next.is_some_and(|next| next <= now));
        due.map(|(name, entry)| {
            *questions += 1;
            (entry.next, entry.asked) = (None, *questions);
            Question { name: name.clone(), number: *questions }
        })
        .collect()
    }

    /// What came of asking for a name. `Some` when its addresses are others now.
    ///
    /// Ignored for a name that is not followed any more, and for one that was given up and is
    /// followed again: that one has been asked for anew, and the answer to the older question may
    /// come later than the other and be out of date.
    pub fn answered(
        &mut self,
        question: &Question,
        answer: Result<Answer, ResolveError>,
        now: Instant,
    ) -> Option<Change> {
        let name = question.name.clone();
        let config = &self.config;
        let entry = self.entries.get_mut(&name).filter(|entry| entry.asked == question.number)?;
        let within = |age: Duration| age.clamp(config.min_age, config.max_age.max(config.min_age));
        let addresses = match answer {
            Ok(Answer { addresses, valid_for }) if addresses.iter().any(is_possible) => {
                (entry.trouble, entry.absent) = (None, 0);
                entry.next = Some(now + within(valid_for));
                addresses
            }
            Ok(Answer { addresses, valid_for }) => {
                entry.absent = entry.absent.saturating_add(1);
                let is_confirmed = entry.absent >= config.confirmations;
                entry.note(why_absent(&addresses), now);
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

fn is_possible(ip: &IpAddr) -> bool {
    impossible_backend(ip.to_canonical()).is_none()
}

/// What is wrong with an answer without a possible address.
fn why_absent(addresses: &BTreeSet<IpAddr>) -> String {
    let first = addresses.first().map(|ip| (ip, impossible_backend(ip.to_canonical())));
    match first {
        Some((ip, Some(reason))) => format!("the name has no address of a backend: {ip} is {reason}"),
        _ => "the name has no address".to_owned(),
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

    /// A name, asked for once.
    struct One {
        names: Names,
        question: Question,
        now: Instant,
    }

    impl One {
        fn new() -> Self {
            let now = Instant::now();
            let mut names = Names::new(NamesConfig::default());
            names.set(["h".into()], now);
            let question = names.due(now).pop().unwrap();
            assert_eq!(&*question.name, "h");
            assert!(names.due(now).is_empty() && names.next_due().is_none(), "it is being asked for");
            Self { names, question, now }
        }

        /// This is answered now, or a while later.
        fn answered(&mut self, answer: Result<Answer, ResolveError>, later: Duration) -> Option<Change> {
            self.names.answered(&self.question, answer, self.now + later)
        }
    }

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn a_name_is_asked_for_again_when_its_answer_is_old() {
        for (ttl, age) in [(0, 5), (60, 60), (86_400, 300)] {
            let mut one = One::new();
            assert!(one.answered(answer(&[[1, 1, 1, 1]], ttl), NOW).is_some());
            assert_eq!(one.names.next_due(), Some(one.now + age * SECOND));
            assert!(one.names.due(one.now + age * SECOND - Duration::from_nanos(1)).is_empty());
            assert_eq!(one.names.due(one.now + age * SECOND).len(), 1);
        }
    }

    #[test]
    fn only_other_addresses_are_a_change() {
        let mut one = One::new();
        let change = one.answered(answer(&[[1, 1, 1, 1], [2, 2, 2, 2]], 60), NOW).unwrap();
        assert_eq!(change.addresses.len(), 2);
        assert_eq!(one.answered(answer(&[[2, 2, 2, 2], [1, 1, 1, 1]], 60), NOW), None, "in another order");
        let change = one.answered(answer(&[[2, 2, 2, 2]], 60), NOW).unwrap();
        assert_eq!(change.addresses, [IpAddr::from([2, 2, 2, 2])].into());
    }

    #[test]
    fn without_a_resolver_the_last_addresses_stand() {
        let mut one = One::new();
        one.answered(answer(&[[1, 1, 1, 1]], 60), NOW);
        for n in 1..1000 {
            assert_eq!(one.answered(away(), n * SECOND), None);
        }
        assert_eq!(one.names.addresses("h").unwrap().len(), 1);
        let (_, trouble) = one.names.troubles().next().unwrap();
        assert_eq!((trouble.since, trouble.problem.contains("timed out")), (one.now + SECOND, true));
        one.answered(answer(&[[1, 1, 1, 1]], 60), NOW);
        assert_eq!(one.names.troubles().count(), 0);
    }

    #[test]
    fn that_there_is_no_address_must_be_said_three_times_in_a_row() {
        let mut one = One::new();
        one.answered(answer(&[[1, 1, 1, 1]], 60), NOW);
        for said in [answer(&[], 60), answer(&[], 60), away(), answer(&[], 60), answer(&[], 60)] {
            assert_eq!(one.answered(said, NOW), None);
            assert_eq!(one.names.next_due(), Some(one.now + 5 * SECOND), "soon again");
        }
        let change = one.answered(answer(&[], 60), NOW).unwrap();
        assert!(change.addresses.is_empty());
        assert_eq!(one.names.next_due(), Some(one.now + 60 * SECOND));
        assert_eq!(one.answered(answer(&[], 60), NOW), None, "nothing new");
    }

    /// As a resolver answers that blocks a name.
    #[test]
    fn addresses_that_no_backend_has_are_none() {
        let mut one = One::new();
        one.answered(answer(&[[1, 1, 1, 1]], 60), NOW);
        let mapped = || {
            let addresses = ["::ffff:0.0.0.0".parse().unwrap(), "ff02::1".parse().unwrap()].into();
            Ok(Answer { addresses, valid_for: 60 * SECOND })
        };
        for said in [answer(&[[0, 0, 0, 0]], 60), mapped()] {
            assert_eq!(one.answered(said, NOW), None);
        }
        let (_, trouble) = one.names.troubles().next().unwrap();
        assert!(trouble.problem.contains("no address of a backend: ::ffff:0.0.0.0 is the unspecified"));
        // Beside one that is possible they are for whoever makes checks of them to refuse.
        let change = one.answered(answer(&[[0, 0, 0, 0], [2, 2, 2, 2]], 60), NOW).unwrap();
        assert_eq!(change.addresses.len(), 2);
        for _ in 1..3 {
            assert_eq!(one.answered(answer(&[[0, 0, 0, 0]], 60), NOW), None);
        }
        assert!(one.answered(answer(&[[0, 0, 0, 0]], 60), NOW).unwrap().addresses.is_empty());
    }

    #[test]
    fn names_come_and_go() {
        let mut one = One::new();
        one.answered(answer(&[[1, 1, 1, 1]], 60), NOW);
        one.names.set(["h".into(), "i".into()], one.now);
        let other = one.names.due(one.now).pop().unwrap();
        assert_eq!(&*other.name, "i");
        one.names.set(["h".into()], one.now);
        let answer = answer(&[[1, 1, 1, 1]], 60);
        assert_eq!(one.names.answered(&other, answer, one.now), None, "nobody wants it any more");
        assert_eq!(one.names.addresses("h").unwrap().len(), 1);
        assert_eq!(one.names.addresses("i"), None);
    }

    /// Given up and wanted again while it was being asked for: the older answer comes last.
    #[test]
    fn an_answer_from_before_a_name_was_wanted_again_does_not_count() {
        let mut one = One::new();
        one.names.set([], one.now);
        one.names.set(["h".into()], one.now);
        let new = one.names.due(one.now).pop().unwrap();
        assert_eq!(one.answered(answer(&[[1, 1, 1, 1]], 60), NOW), None, "a newer one is under way");
        assert!(one.names.answered(&new, answer(&[[2, 2, 2, 2]], 60), one.now).is_some());
        assert_eq!(one.answered(answer(&[[1, 1, 1, 1]], 60), SECOND), None);
        assert_eq!(one.names.addresses("h"), Some(&[IpAddr::from([2, 2, 2, 2])].into()));
        assert_eq!(one.names.next_due(), Some(one.now + 60 * SECOND));
    }
}
