//! How many nodes of a fleet give an opinion of a check, and what their opinions amount to.

use std::fmt;
use std::str::FromStr;

use crate::Health;

/// How many healthy opinions make a check healthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Quorum {
    /// One.
    Any,
    /// More than half of them. Half and half is no verdict.
    #[default]
    Majority,
    /// Every one.
    All,
    /// So many, and all of them where there are fewer nodes than that.
    AtLeast(u8),
}

/// `any`, `majority`, `all`, or a number.
impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Majority => f.write_str("majority"),
            Self::All => f.write_str("all"),
            Self::AtLeast(number) => fmt::Display::fmt(number, f),
        }
    }
}

/// The text is no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a rule is 'any', 'majority', 'all' or a number of opinions from 1 to 15")]
pub struct QuorumError;

impl FromStr for Quorum {
    type Err = QuorumError;

    fn from_str(text: &str) -> Result<Self, QuorumError> {
        match text {
            "any" => Ok(Self::Any),
            "majority" => Ok(Self::Majority),
            "all" => Ok(Self::All),
            number => match number.parse() {
                Ok(number @ 1..=OpinionPolicy::MOST_OPINIONS) => Ok(Self::AtLeast(number)),
                _ => Err(QuorumError),
            },
        }
    }
}

/// How a check is judged by the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpinionPolicy {
    /// How many nodes probe it; 1 by default.
    pub opinions: u8,
    /// What their opinions amount to.
    pub quorum: Quorum,
}

/// What a check says of that itself; what it does not say is the same for all checks of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct OpinionKeys {
    /// How many nodes probe it.
    pub opinions: Option<u8>,
    /// What their opinions amount to.
    pub quorum: Option<Quorum>,
}

impl OpinionKeys {
    /// How the check is judged where others are judged like this.
    #[must_use]
    pub fn policy(self, others: OpinionPolicy) -> OpinionPolicy {
        OpinionPolicy {
            opinions: self.opinions.unwrap_or(others.opinions),
            quorum: self.quorum.unwrap_or(others.quorum),
        }
    }
}

impl Default for OpinionPolicy {
    fn default() -> Self {
        Self { opinions: 1, quorum: Quorum::Majority }
    }
}

impl OpinionPolicy {
    /// The most nodes that may probe one check.
    pub const MOST_OPINIONS: u8 = 15;

    /// How many opinions are wanted of a fleet in which so many nodes have opinions that count.
    #[must_use]
    pub fn wanted(self, nodes: usize) -> u8 {
        let nodes = u8::try_from(nodes).unwrap_or(u8::MAX);
        self.opinions.clamp(1, Self::MOST_OPINIONS).min(nodes)
    }

    /// The verdict, or `None` while those that are missing could still decide it, or it is a tie:
    /// then the verdict before stands. `healthy` and `unhealthy` are opinions that are there, of
    /// [`wanted`](Self::wanted) ones.
    ///
    /// ```
    /// use hc_types::{OpinionPolicy, Quorum};
    /// use hc_types::Health::{Healthy, Unhealthy};
    ///
    /// let policy = OpinionPolicy { opinions: 3, quorum: Quorum::Majority };
    /// assert_eq!(policy.verdict(3, 2, 0), Some(Healthy));
    /// assert_eq!(policy.verdict(3, 1, 1), None);
    /// assert_eq!(policy.verdict(3, 1, 2), Some(Unhealthy));
    /// // Never down because nobody says anything.
    /// assert_eq!(policy.verdict(3, 0, 0), None);
    /// ```
    #[must_use]
    pub fn verdict(self, wanted: u8, healthy: u8, unhealthy: u8) -> Option<Health> {
        // So many healthy ones are enough, and so many unhealthy ones.
        let (up, down) = match self.quorum {
            Quorum::Any => (1, wanted),
            Quorum::Majority => (wanted / 2 + 1, wanted / 2 + 1),
            Quorum::All => (wanted, 1),
            Quorum::AtLeast(number) => {
                let up = number.clamp(1, wanted.max(1));
                (up, wanted.saturating_sub(up) + 1)
            }
        };
        if healthy > 0 && healthy >= up {
            Some(Health::Healthy)
        } else if unhealthy > 0 && unhealthy >= down {
            Some(Health::Unhealthy)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULES: [Quorum; 6] = [
        Quorum::Any,
        Quorum::Majority,
        Quorum::All,
        Quorum::AtLeast(1),
        Quorum::AtLeast(2),
        Quorum::AtLeast(9),
    ];

    proptest! {
        /// Whatever is missing could not have changed a verdict; without an unhealthy opinion
        /// nothing is down, and the other way round.
        #[test]
        fn absence_decides_nothing(rule in 0_usize..6, wanted in 0_u8..=15, healthy: u8, unhealthy: u8) {
            let healthy = healthy % (wanted + 1);
            let unhealthy = unhealthy % (wanted - healthy + 1);
            let policy = OpinionPolicy { opinions: wanted, quorum: RULES[rule] };
            let verdict = policy.verdict(wanted, healthy, unhealthy);
            prop_assert!(unhealthy > 0 || verdict != Some(Health::Unhealthy));
            prop_assert!(healthy > 0 || verdict != Some(Health::Healthy));
            let missing = wanted - healthy - unhealthy;
            if verdict.is_some() {
                for up in 0..=missing {
                    prop_assert_eq!(policy.verdict(wanted, healthy + up, unhealthy + missing - up), verdict);
                }
            }
            let is_tie = policy.quorum == Quorum::Majority && healthy == unhealthy;
            prop_assert_eq!(verdict.is_none() && missing == 0, wanted == 0 || (missing == 0 && is_tie));
        }
    }

    #[test]
    fn rules_are_written_as_they_are_read() {
        for rule in RULES {
            assert_eq!(rule.to_string().parse(), Ok(rule));
        }
        for wrong in ["", "most", "0", "16", "-1"] {
            assert_eq!(wrong.parse::<Quorum>(), Err(QuorumError));
        }
    }
}
