//! A few seeds in every run of the tests; `cargo xtask sim` runs as many as one likes, and a
//! hundred of each simulation in CI.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use hc_sim::{
    Fault, FleetFault, Invariant, NamesFault, ProxyFlaw, Settings, run, run_fleet, run_names, run_stages,
};

const TEN_MINUTES: Settings = Settings { length: Duration::from_secs(600), checks: 40, flaw: None };

#[test]
fn every_invariant_holds_under_a_few_seeds() {
    let failed: Vec<_> = (0..20)
        .filter_map(|seed| {
            run(seed, &TEN_MINUTES, None).err().map(|violation| format!("seed {seed}: {violation}"))
        })
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn a_seed_is_one_run_only() {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let summaries =
        [run(7, &TEN_MINUTES, Some(&mut first)).unwrap(), run(7, &TEN_MINUTES, Some(&mut second)).unwrap()];
    assert_eq!(summaries[0], summaries[1]);
    assert!(first == second, "two traces of one seed differ");
    assert!(!first.is_empty());
    let names = [(); 2].map(|()| run_names(7, HALF_AN_HOUR, None).unwrap());
    assert_eq!(names[0], names[1]);
}

#[test]
fn consumers_hear_what_operators_and_gateways_let_them() {
    let failed: Vec<_> = (0..20)
        .filter_map(|seed| {
            run_stages(seed, 3000, None).err().map(|violation| format!("seed {seed}: {violation}"))
        })
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Each of these faults is found under nearly every seed.
#[test]
fn what_is_left_out_on_purpose_is_found() {
    for (fault, invariant) in [
        (Fault::NoDependencies, Invariant::BehindAGateway),
        (Fault::NothingExpires, Invariant::OverridesAreHeard),
        (Fault::ForgottenAtRestart, Invariant::OverridesAreHeard),
        (Fault::NoGuard, Invariant::MassFailuresAreHeld),
        (Fault::ForgottenZone, Invariant::OverridesAreHeard),
    ] {
        let found = (0..8).filter_map(|seed| run_stages(seed, 1500, Some(fault)).err());
        let right = found.filter(|violation| violation.invariant == invariant).count();
        assert!(right >= 4, "{fault:?}: found under {right} of 8 seeds");
    }
}

/// What hc-proxy keeps and tells again is held against the truth, too.
#[test]
fn what_hc_proxy_keeps_wrongly_is_found() {
    for (flaw, invariants) in [
        (ProxyFlaw::TellsNothing, &[Invariant::Refresh][..]),
        (ProxyFlaw::TellsWhatWas, &[Invariant::CountersGrow, Invariant::NoFalseTransition]),
        (ProxyFlaw::AcknowledgesFailures, &[Invariant::Refresh]),
    ] {
        let settings = Settings { flaw: Some(flaw), ..TEN_MINUTES };
        // One of them needs a transition while the engine is slow in the middle of a refresh.
        let found = (0..80).find_map(|seed| run(seed, &settings, None).err());
        let right = found.as_ref().is_some_and(|violation| invariants.contains(&violation.invariant));
        assert!(right, "{flaw:?}: {found:#?}");
    }
}

const HALF_AN_HOUR: Duration = Duration::from_secs(1800);

#[test]
fn names_are_followed_and_a_resolver_is_no_verdict() {
    let failed: Vec<_> = (0..10)
        .filter_map(|seed| {
            run_names(seed, HALF_AN_HOUR, None).err().map(|violation| format!("seed {seed}: {violation}"))
        })
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Each of these faults is found under most seeds.
#[test]
fn what_is_done_wrongly_with_names_is_found() {
    for (fault, invariants) in [
        (NamesFault::AwayClears, &[Invariant::LastAddressesStand][..]),
        (NamesFault::RemovedStay, &[Invariant::LastAddressesStand, Invariant::RemovedIsNotTold]),
        (NamesFault::NewIds, &[Invariant::HealthIsKept]),
        (NamesFault::UnresolvedFails, &[Invariant::ResolverIsNoVerdict]),
        (NamesFault::RulesSwapped, &[Invariant::AnyAndAll]),
        (NamesFault::Unanswered, &[Invariant::AddressesAreFollowed]),
    ] {
        let found = (0..8).filter_map(|seed| run_names(seed, HALF_AN_HOUR, Some(fault)).err());
        let found: Vec<_> = found.map(|violation| violation.invariant).collect();
        let right = found.iter().filter(|invariant| invariants.contains(invariant)).count();
        assert!(right >= 4, "{fault:?}: {found:?}");
    }
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_fleet_agrees_and_takes_nothing_down() {
    let failed: Vec<_> = (0..10)
        .filter_map(|seed| {
            run_fleet(seed, HOUR, None, false).err().map(|violation| format!("seed {seed}: {violation}"))
        })
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let twice = [(); 2].map(|()| run_fleet(3, HOUR, None, false).unwrap());
    assert_eq!(twice[0], twice[1]);
}

/// Each of these faults is found under a part of the seeds: most need trouble of one kind.
#[test]
fn what_is_done_wrongly_between_node_and_store_is_found() {
    use Invariant::{
        FleetAgrees, FleetAloneSeesForItself, FleetCountsTheLiving, FleetNoFalseVerdict, FleetSharesChecks,
        FleetTakesOver, FleetVerdictIsPossible,
    };
    for (fault, invariants) in [
        (FleetFault::Believed, &[FleetNoFalseVerdict][..]),
        (
            FleetFault::LostIsWritten,
            &[FleetAgrees, FleetNoFalseVerdict, FleetSharesChecks, FleetVerdictIsPossible],
        ),
        (FleetFault::GapsAreSilent, &[FleetAgrees, FleetCountsTheLiving, FleetSharesChecks]),
        (FleetFault::AlwaysQuiet, &[FleetAloneSeesForItself]),
        (FleetFault::LeasesStay, &[FleetTakesOver, FleetSharesChecks]),
    ] {
        let found = (0..40).filter_map(|seed| run_fleet(seed, HOUR, Some(fault), false).err());
        let found: Vec<_> = found.map(|violation| violation.invariant).collect();
        let right = found.iter().filter(|invariant| invariants.contains(invariant)).count();
        assert!(right >= 5, "{fault:?}: {found:?}");
    }
}
