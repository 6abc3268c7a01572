//! `cargo xtask fuzz run|fold TARGET`: libFuzzer over a kept corpus, and what it found back into
//! the corpus.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::command;
use crate::workspace::Workspace;

/// Where coverage is counted, as libFuzzer wants it. These are options of code generation, so a
/// stable compiler takes them; only the address sanitizer would need another one.
const COVERAGE: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
    // One unit and no LTO: the tables of several units do not survive the linker's removal of
    // unused sections.
    "-Ccodegen-units=1",
    "-Cdebug-assertions",
];

/// What `cargo xtask fuzz` does.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[arg(value_enum)]
    action: Action,
    /// A target of `crates/hc-fuzz-targets`.
    target: String,
    /// Options of libFuzzer, for `run`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Action {
    /// Fuzz until it is interrupted, finds something, or an option ends it.
    Run,
    /// Make what covers all that was found the kept corpus.
    Fold,
}

/// `cargo xtask fuzz`.
pub(crate) fn main(options: Options) -> Result<()> {
    let workspace = Workspace::load()?;
    let directory = workspace.target().join("fuzz");
    let fuzzer = Fuzzer { directory, workspace: &workspace, target: options.target };
    match options.action {
        Action::Run => fuzzer.run(&options.options),
        Action::Fold => fuzzer.fold(),
    }
}

struct Fuzzer<'a> {
    workspace: &'a Workspace,
    target: String,
    /// Of everything that is made here.
    directory: PathBuf,
}

impl Fuzzer<'_> {
    /// Fuzzes until it is interrupted, finds something, or an option ends it. New inputs go to the
    /// working corpus.
    fn run(&self, options: &[OsString]) -> Result<()> {
        let program = self.build()?;
        let working = self.working()?;
        self.corpus("expand", &working)?;
        let findings = self.directory.join("findings").join(&self.target);
        fs::create_dir_all(&findings).with_context(|| findings.display().to_string())?;
        let mut prefix = OsString::from("-artifact_prefix=");
        prefix.push(findings.join(""));
        command::run(self.fuzz(&program).arg(prefix).args(options).arg(working))
    }

    /// Makes the smallest set of the working and the kept inputs that covers what all of them
    /// cover, and keeps it.
    fn fold(&self) -> Result<()> {
        let program = self.build()?;
        let working = self.working()?;
        self.corpus("expand", &working)?;
        let merged = tempfile::tempdir_in(&self.directory).context("cannot make a directory")?;
        command::run(
            self.fuzz(&program).args(["-merge=1", "-set_cover_merge=1"]).arg(merged.path()).arg(working),
        )?;
        self.corpus("fold", merged.path())
    }

    /// Builds the fuzz binary apart from everything else: all that it is made of is compiled to
    /// count coverage.
    fn build(&self) -> Result<PathBuf> {
        let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let mut cargo = self.workspace.cargo();
        cargo.args(["build", "--release", "--package", "hc-fuzz", "--target", &triple]);
        cargo.arg("--target-dir").arg(&self.directory);
        cargo.env("RUSTFLAGS", COVERAGE.join(" ")).env("CARGO_PROFILE_RELEASE_LTO", "false");
        command::run(&mut cargo)?;
        Ok(self.directory.join(triple).join("release/hc-fuzz"))
    }

    fn working(&self) -> Result<PathBuf> {
        let working = self.directory.join("corpus").join(&self.target);
        fs::create_dir_all(&working).with_context(|| working.display().to_string())?;
        Ok(working)
    }

    fn fuzz(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("FUZZ_TARGET", &self.target).current_dir(&self.directory);
        command
    }

    /// Between the kept corpus and a directory of files.
    fn corpus(&self, action: &str, directory: &Path) -> Result<()> {
        let mut cargo = self.workspace.cargo();
        cargo.args(["run", "--quiet", "--package", "hc-fuzz-targets", "--example", "corpus", "--"]);
        command::run(cargo.args([action, &self.target]).arg(directory))
    }
}
