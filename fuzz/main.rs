//! Runs the target that the environment variable `FUZZ_TARGET` names: under libFuzzer in a program
//! that is built with `--cfg fuzzing`, as `cargo xtask fuzz` does, and otherwise over the files
//! named on the command line.
#![cfg_attr(fuzzing, no_main)]

use std::sync::LazyLock;

use hc_fuzz_targets::{TARGETS, Target};

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names the target");
    TARGETS.iter().find(|target| target.name == name).expect("FUZZ_TARGET is a target of hc-fuzz-targets")
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (TARGET.run)(data));

#[cfg(not(fuzzing))]
fn main() {
    for file in std::env::args_os().skip(1) {
        let input = std::fs::read(&file).expect("the argument is a file that can be read");
        (TARGET.run)(&input);
    }
}
