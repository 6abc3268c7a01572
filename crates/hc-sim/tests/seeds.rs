//! A few seeds in every run of the tests; `cargo run --release -p hc-sim` runs as many as one
//! likes.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use hc_sim::{Fault, Invariant, Settings, run, run_stages};

const TEN_MINUTES: Settings = Settings { length: Duration::from_secs(600), checks: 40 };

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
}

#[test]
fn consumers_hear_what_operators_and_gateways_let_them() {
    let failed: Vec<_> = (0..60)
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
        let found = (0..20).filter_map(|seed| run_stages(seed, 1500, Some(fault)).err());
        let right = found.filter(|violation| violation.invariant == invariant).count();
        assert!(right >= 10, "{fault:?}: found under {right} of 20 seeds");
    }
}
