//! The targets on any toolchain: over the kept corpus, and over mutations of it under one seed.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and tells its seed")]

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use hc_fuzz_targets::{Corpus, Mutator, TARGETS, Target};

/// Mutations that each target gets.
const MUTATIONS: usize = 1000;
/// `HC_FUZZ_SEED` is another one.
const SEED: u64 = 0x5ee5_a320;
/// `docs/fuzzing.md` promises that the corpus stays small.
const MOST_INPUTS: usize = 300;
const MOST_BYTES: usize = 2 * 1024 * 1024;

/// The kept inputs of a target.
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let corpus = Corpus::load(target.name).unwrap_or_else(|error| panic!("{}: {error}", target.name));
    corpus.inputs().map(<[u8]>::to_vec).collect()
}

/// Runs a target, and says with which input it failed.
fn run(target: &Target, input: &[u8], which: &str) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err() {
        panic!("{} fails with {which}: {}", target.name, hc_types::quote(input));
    }
}

#[test]
fn the_corpus_passes() {
    for target in TARGETS {
        run(target, b"", "no input");
        for (number, input) in corpus(target).iter().enumerate() {
            run(target, input, &format!("line {} of its corpus", number + 1));
        }
    }
}

#[test]
fn mutations_of_the_corpus_pass() {
    let seed =
        std::env::var("HC_FUZZ_SEED").map_or(SEED, |seed| seed.parse().expect("HC_FUZZ_SEED is a number"));
    println!("seed {seed}");
    for (number, target) in (0..).zip(TARGETS) {
        let corpus = corpus(target);
        let mut mutator = Mutator::new(seed ^ number);
        for turn in 0..MUTATIONS {
            run(target, &mutator.next(&corpus), &format!("mutation {turn} of seed {seed}"));
        }
    }
}

#[test]
fn the_corpus_is_small() {
    let mut bytes = 0;
    for target in TARGETS {
        let corpus = corpus(target);
        assert!((1..=MOST_INPUTS).contains(&corpus.len()), "{}: {} inputs", target.name, corpus.len());
        bytes += corpus.iter().map(Vec::len).sum::<usize>();
    }
    assert!(bytes < MOST_BYTES, "{bytes} bytes");
}

/// A corpus of a target that was renamed would otherwise be kept and never run.
#[test]
fn each_corpus_has_its_target() {
    let directory = Corpus::file("any");
    let files: BTreeSet<PathBuf> =
        fs::read_dir(directory.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files, TARGETS.iter().map(|target| Corpus::file(target.name)).collect());
}

/// A file that was edited by hand stays in the order in which `fold` writes it.
#[test]
fn each_corpus_is_as_fold_writes_it() {
    for target in TARGETS {
        let text = fs::read_to_string(Corpus::file(target.name)).unwrap();
        assert!(Corpus::load(target.name).unwrap().to_string() == text, "{}", target.name);
    }
}
