//! What the answers amount to, and what probes have found, worked out in the plainest way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hc_types::{CheckKey, Outcome, Rule};

use super::zone::{LIES, Said};

/// The last addresses of the names that are followed.
#[derive(Debug)]
pub(super) struct Model {
    confirmations: u32,
    known: BTreeMap<usize, Known>,
}

#[derive(Debug)]
struct Known {
    addresses: BTreeSet<IpAddr>,
    /// Answers in a row that there is none.
    absent: u32,
    /// Answers to this question and to those before it do not count: it was asked before the name
    /// was followed.
    after: u64,
}

impl Model {
    pub(super) fn new(confirmations: u32) -> Self {
        Self { confirmations, known: BTreeMap::new() }
    }

    /// These names are followed from now on; so many questions have been asked.
    pub(super) fn follow(&mut self, hosts: &BTreeSet<usize>, questions: u64) {
        self.known.retain(|host, _| hosts.contains(host));
        for host in hosts {
            let unknown = || Known { addresses: BTreeSet::new(), absent: 0, after: questions };
            self.known.entry(*host).or_insert_with(unknown);
        }
    }

    pub(super) fn hears(&mut self, said: &Said) {
        let Some(known) = self.known.get_mut(&said.host).filter(|known| said.question > known.after) else {
            return;
        };
        match &said.answer {
            Err(_) => known.absent = 0,
            Ok(answer) if answer.addresses.iter().all(|ip| LIES.contains(ip)) => {
                known.absent += 1;
                if known.absent >= self.confirmations {
                    known.addresses.clear();
                }
            }
            Ok(answer) => {
                known.absent = 0;
                known.addresses.clone_from(&answer.addresses);
            }
        }
    }

    pub(super) fn addresses(&self, host: usize) -> Option<&BTreeSet<IpAddr>> {
        self.known.get(&host).map(|known| &known.addresses)
    }
}

/// What a probe says of a backend; `None` if nothing.
pub(super) type Passes = Option<bool>;

pub(super) fn passes(outcome: &Outcome) -> Passes {
    match outcome {
        Outcome::Pass(_) => Some(true),
        Outcome::Fail(_) => Some(false),
        Outcome::Inconclusive(_) => None,
    }
}

/// What the addresses of a name come to under a rule.
pub(super) fn together(rule: Rule, addresses: &[Passes]) -> Passes {
    let decides = rule == Rule::Any;
    if addresses.contains(&Some(decides)) {
        return Some(decides);
    }
    let is_sure = !addresses.is_empty() && !addresses.contains(&None);
    is_sure.then_some(!decides)
}

/// The latest verdicts of each check, over all processes.
#[derive(Debug, Default)]
pub(super) struct Found(BTreeMap<CheckKey, u32>);

impl Found {
    pub(super) fn hears(&mut self, key: CheckKey, passes: Passes) {
        match (passes, self.0.get_mut(&key)) {
            (Some(false), _) => drop(self.0.insert(key, 0)),
            (Some(true), Some(passed)) => *passed += 1,
            _ => {}
        }
    }

    /// Whether a probe of it has failed, and fewer than `rise` have passed since.
    pub(super) fn speaks_against(&self, key: CheckKey, rise: u32) -> bool {
        self.0.get(&key).is_some_and(|passed| *passed < rise)
    }
}
