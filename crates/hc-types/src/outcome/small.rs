//! The outcomes that most probes have, in four bytes.

use super::{Failure, Outcome, Phase, TimeoutEvidence, Unreachable};
use crate::{Pass, Stray};

/// An [`Outcome`] that needs no memory of its own, in four bytes, also inside an `Option`. Tables
/// with a row for each check keep it, and the others behind a pointer.
///
/// ```
/// use hc_types::{Outcome, Pass, SmallOutcome};
///
/// let small = SmallOutcome::of(&Outcome::PASS);
/// assert_eq!(small.map(Outcome::from), Some(Outcome::PASS));
/// let odd = Outcome::Pass(Pass::http(200, "200 All is well"));
/// assert_eq!(SmallOutcome::of(&odd), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmallOutcome(Small);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Small {
    Pass,
    Http(u16),
    Radius(u8),
    Refused,
    Timeout { phase: Phase, silent: bool, stray: Option<Stray> },
    Reset(Phase),
    Closed,
    Unreachable(Unreachable),
    DnsRcode(u16),
    RadiusCode(u8),
}

impl SmallOutcome {
    /// `None` for an outcome with a text or an answer, and for one that is no verdict.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Option<Self> {
        Some(Self(match outcome {
            Outcome::Pass(Pass::Plain) => Small::Pass,
            Outcome::Pass(pass @ Pass::Http { code, .. }) if *pass == Pass::usual_http(*code) => {
                Small::Http(*code)
            }
            Outcome::Pass(Pass::Radius(code)) => Small::Radius(*code),
            Outcome::Fail(failure) => match failure {
                Failure::Refused => Small::Refused,
                Failure::Timeout { phase, evidence: TimeoutEvidence { silent, stray, adapted: 0 } } => {
                    Small::Timeout { phase: *phase, silent: *silent, stray: *stray }
                }
                Failure::Reset(phase) => Small::Reset(*phase),
                Failure::Closed { heard: None } => Small::Closed,
                Failure::Unreachable(by) => Small::Unreachable(*by),
                Failure::DnsRcode(code) => Small::DnsRcode(*code),
                Failure::RadiusCode(code) => Small::RadiusCode(*code),
                _ => return None,
            },
            _ => return None,
        }))
    }
}

impl From<SmallOutcome> for Outcome {
    fn from(SmallOutcome(small): SmallOutcome) -> Self {
        match small {
            Small::Pass => Self::PASS,
            Small::Http(code) => Self::Pass(Pass::usual_http(code)),
            Small::Radius(code) => Self::Pass(Pass::Radius(code)),
            Small::Refused => Self::Fail(Failure::Refused),
            Small::Timeout { phase, silent, stray } => {
                let evidence = TimeoutEvidence { silent, stray, adapted: 0 };
                Self::Fail(Failure::Timeout { phase, evidence })
            }
            Small::Reset(phase) => Self::Fail(Failure::Reset(phase)),
            Small::Closed => Self::Fail(Failure::Closed { heard: None }),
            Small::Unreachable(by) => Self::Fail(Failure::Unreachable(by)),
            Small::DnsRcode(code) => Self::Fail(Failure::DnsRcode(code)),
            Small::RadiusCode(code) => Self::Fail(Failure::RadiusCode(code)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LocalFault;

    #[test]
    fn a_small_outcome_takes_four_bytes_and_comes_back_as_it_was() {
        assert_eq!(size_of::<Option<SmallOutcome>>(), 4);
        let stray = TimeoutEvidence { silent: true, ..TimeoutEvidence::stray(Stray::OtherIdentifier) };
        let phases = Phase::ALL.into_iter().flat_map(|phase| {
            let stray = Failure::Timeout { phase, evidence: stray };
            [Failure::timeout(phase), Failure::silence(phase), stray, Failure::Reset(phase)]
        });
        let unreachable = [Unreachable::Network, Unreachable::Host, Unreachable::Protocol];
        let others = [
            Failure::Refused,
            Failure::Closed { heard: None },
            Failure::DnsRcode(u16::MAX),
            Failure::RadiusCode(255),
        ];
        let failures = phases.chain(unreachable.map(Failure::Unreachable)).chain(others);
        let passes = [Pass::Plain, Pass::http(200, "200 OK"), Pass::http(503, "503 Service Unavailable")];
        let passes = passes.into_iter().chain([Pass::Radius(11)]).map(Outcome::from);
        for outcome in passes.chain(failures.map(Outcome::from)) {
            assert_eq!(SmallOutcome::of(&outcome).map(Outcome::from).as_ref(), Some(&outcome));
        }
    }

    #[test]
    fn what_has_a_text_is_not_small() {
        for outcome in [
            Outcome::Pass(Pass::http(200, "200 Fine")),
            Outcome::Pass(Pass::http(299, "299 OK")),
            Outcome::Pass(Pass::Plain.warned(Some("soon".into()))),
            Outcome::Fail(Failure::closed_after(b"a")),
            Outcome::Fail(Failure::Tls("no".into())),
            Outcome::Inconclusive(LocalFault::Late),
        ] {
            assert_eq!(SmallOutcome::of(&outcome), None, "{outcome:?}");
        }
    }
}
