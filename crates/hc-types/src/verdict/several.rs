//! What the outcomes of several addresses mean for the check of their name.

use std::net::IpAddr;

use super::{is_silence, may_be_caused_by_stall};
use crate::{AddressFailure, Failure, FaultClass, HostName, LocalFault, Outcome, ProbeResult, Rule};

/// What the results of the addresses of a name amount to. `results` are in the order of
/// [`HostName::addresses`]; the evidence is that of the address that decided.
///
/// With [`Rule::Any`] one pass passes, and without one a single inconclusive probe makes all
/// inconclusive: that address might have passed. With [`Rule::All`] one failure fails, and without
/// one an inconclusive probe is inconclusive. Without an address it is [`LocalFault::Unresolved`].
///
/// Of several failures the one is named on which the verdict rests: the best proven one where one
/// is enough, the worst proven one where all are needed. So what is known later, such as a stall of
/// the checker, takes the verdict back if and only if it takes back what the verdict rests on. Of
/// several local faults it is that which holds the check as long as all of them do.
#[must_use]
pub fn of_several(host: &HostName, results: Vec<ProbeResult>) -> ProbeResult {
    let failed = results.iter().filter(|result| matches!(result.outcome, Outcome::Fail(_))).count();
    let of = results.len();
    let decisive = decisive(host.rule(), &results);
    let addressed = host.addresses().iter().zip(results);
    let Some((address, result)) = decisive.and_then(|index| addressed.into_iter().nth(index)) else {
        return Outcome::from(LocalFault::Unresolved).into();
    };
    let ProbeResult { outcome, evidence } = result;
    let outcome = match outcome {
        Outcome::Fail(failure) => several_failed(*address, failure, failed, of).into(),
        other => other,
    };
    ProbeResult { outcome, evidence }
}

fn several_failed(address: IpAddr, failure: Failure, failed: usize, of: usize) -> Failure {
    let count = |number| u16::try_from(number).unwrap_or(u16::MAX);
    Failure::OfAddress(Box::new(AddressFailure { address, failure, failed: count(failed), of: count(of) }))
}

/// The result on which the verdict rests.
fn decisive(rule: Rule, results: &[ProbeResult]) -> Option<usize> {
    let best = |rank: &dyn Fn(&Outcome) -> Option<u8>| {
        let ranked =
            results.iter().enumerate().filter_map(|(index, result)| Some((rank(&result.outcome)?, index)));
        // Of equal ones the first.
        ranked.max_by_key(|(rank, index)| (*rank, usize::MAX - index)).map(|(_, index)| index)
    };
    let pass = |outcome: &Outcome| matches!(outcome, Outcome::Pass(_)).then_some(0);
    match rule {
        Rule::Any => best(&pass)
            .or_else(|| best(&|outcome| fault_of(outcome, FaultClass::OwnAlone)))
            .or_else(|| best(&|outcome| proof(outcome).map(|proof| u8::MAX - proof))),
        Rule::All => best(&proof)
            .or_else(|| best(&|outcome| fault_of(outcome, FaultClass::SharedWithTraffic)))
            .or_else(|| best(&pass)),
    }
}

/// How well a failure is proven: nothing of ours can have caused it; the peer is proven silent; or
/// neither.
fn proof(outcome: &Outcome) -> Option<u8> {
    let Outcome::Fail(failure) = outcome else { return None };
    Some(match may_be_caused_by_stall(failure) {
        false => 2,
        true => u8::from(is_silence(outcome)),
    })
}

/// A local fault; those of this class come first.
fn fault_of(outcome: &Outcome, first: FaultClass) -> Option<u8> {
    let Outcome::Inconclusive(fault) = outcome else { return None };
    Some(u8::from(fault.class() == first))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Phase;
    use crate::verdict::with_stall;

    const PASS: Outcome = Outcome::PASS;
    const REFUSED: Outcome = Outcome::Fail(Failure::Refused);
    const TIMEOUT: Outcome = Outcome::Fail(Failure::timeout(Phase::Response));
    const SILENT: Outcome = Outcome::Fail(Failure::silence(Phase::Connect));
    const PORTS: Outcome = Outcome::Inconclusive(LocalFault::Ports);
    const NO_ROUTE: Outcome = Outcome::Inconclusive(LocalFault::NoRoute);

    fn of(rule: Rule, outcomes: &[Outcome]) -> Outcome {
        let ips = (1..=outcomes.len()).map(|n| IpAddr::from([192, 0, 2, u8::try_from(n).unwrap()]));
        let host = HostName::new("h.example", ips, rule);
        of_several(&host, outcomes.iter().cloned().map(ProbeResult::from).collect()).outcome
    }

    /// The failure of the address `n`, of so many.
    fn failed(n: u8, failure: &Outcome, failed: u16, of: u16) -> Outcome {
        let Outcome::Fail(failure) = failure.clone() else { unreachable!("a failure") };
        let address = [192, 0, 2, n].into();
        Failure::OfAddress(Box::new(AddressFailure { address, failure, failed, of })).into()
    }

    #[test]
    fn the_table_of_any() {
        for (outcomes, expected) in [
            (vec![PASS], PASS),
            (vec![REFUSED, PORTS, PASS], PASS),
            (vec![REFUSED, PORTS], PORTS),
            (vec![NO_ROUTE, PORTS, REFUSED], PORTS), // that with ports is held for longer
            (vec![NO_ROUTE, NO_ROUTE], NO_ROUTE),
            (vec![REFUSED], failed(1, &REFUSED, 1, 1)),
            (vec![REFUSED, SILENT, REFUSED], failed(2, &SILENT, 3, 3)),
            (vec![REFUSED, SILENT, TIMEOUT], failed(3, &TIMEOUT, 3, 3)), // the worst proven
            (vec![], LocalFault::Unresolved.into()),
        ] {
            assert_eq!(of(Rule::Any, &outcomes), expected, "{outcomes:?}");
        }
    }

    #[test]
    fn the_table_of_all() {
        for (outcomes, expected) in [
            (vec![PASS, PASS], PASS),
            (vec![PASS, REFUSED, PORTS], failed(2, &REFUSED, 1, 3)),
            (vec![PASS, PORTS], PORTS),
            (vec![PORTS, NO_ROUTE, PASS], NO_ROUTE), // traffic cannot reach all of them either
            (vec![TIMEOUT, SILENT, PASS, REFUSED], failed(4, &REFUSED, 3, 4)), // the best proven
            (vec![TIMEOUT, SILENT], failed(2, &SILENT, 2, 2)),
            (vec![], LocalFault::Unresolved.into()),
        ] {
            assert_eq!(of(Rule::All, &outcomes), expected, "{outcomes:?}");
        }
    }

    /// A stall takes a verdict back where it may have caused a failure that the verdict needs.
    #[test]
    fn a_stall_counts_for_what_the_verdict_rests_on() {
        let second = Duration::from_secs(1);
        let stalled = |rule, outcomes: &[Outcome]| with_stall(of(rule, outcomes), second, second);
        let late = Outcome::from(LocalFault::Late);
        assert_eq!(stalled(Rule::Any, &[REFUSED, TIMEOUT]), late);
        assert_eq!(stalled(Rule::Any, &[REFUSED, REFUSED]), failed(1, &REFUSED, 2, 2));
        assert_eq!(stalled(Rule::All, &[TIMEOUT, REFUSED]), failed(2, &REFUSED, 2, 2));
        assert_eq!(stalled(Rule::All, &[TIMEOUT, PASS]), late);
        assert!(is_silence(&of(Rule::Any, &[REFUSED, SILENT])));
        assert!(!is_silence(&of(Rule::Any, &[TIMEOUT, SILENT])));
        assert!(is_silence(&of(Rule::All, &[TIMEOUT, SILENT])));
    }
}
