//! The targets on any toolchain: over the kept corpus, and over mutations of it under one seed.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and tells its seed")]

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use hc_fuzz_targets::{Mutator, TARGETS, Target};

/// Mutations that each target gets.
const MUTATIONS: usize = 1000;
/// `HC_FUZZ_SEED` is another one.
const SEED: u64 = 0x5ee5_a320;
/// `docs/fuzzing.md` promises that the corpus stays small.
const MOST_FILES: usize = 300;
const MOST_BYTES: usize = 2 * 1024 * 1024;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// The kept inputs of a target, in the order of their names.
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let directory = fuzz().join("corpus").join(target.name);
    let mut files: Vec<PathBuf> = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
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
            run(target, input, &format!("file {number} of its corpus"));
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
        assert!((1..=MOST_FILES).contains(&corpus.len()), "{}: {} files", target.name, corpus.len());
        bytes += corpus.iter().map(Vec::len).sum::<usize>();
    }
    assert!(bytes < MOST_BYTES, "{bytes} bytes");
}

#[test]
fn each_target_has_its_binary() {
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    let names: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
    let binaries: BTreeSet<&str> = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")?.strip_suffix(".rs\""))
        .collect();
    assert_eq!(names, binaries);
    for name in names {
        let source = fs::read_to_string(fuzz().join("fuzz_targets").join(name).with_extension("rs")).unwrap();
        assert!(source.contains(&format!("hc_fuzz_targets::{name}(data)")), "{name}");
    }
}
