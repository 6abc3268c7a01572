//! What test runners did, counted: `cargo test` by its summary lines, `go test` by its JSON events.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;
use std::process::Command;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::command::{self, REPEATED};

/// Counts of tests, and the runners' own closing lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Ignored or skipped by the test itself.
    pub(crate) skipped: u64,
    /// Test programs that did not run to an end of their own: not built, crashed, timed out.
    pub(crate) broken: u64,
    /// The summary lines as the runners wrote them, without those of programs that have no tests.
    pub(crate) lines: Vec<String>,
    /// What failed tests said, for the end of the output.
    pub(crate) said: Vec<String>,
}

impl Tally {
    /// An error if anything failed.
    pub(crate) fn failures(&self) -> Result<()> {
        match (self.failed, self.broken) {
            (0, 0) => Ok(()),
            (0, broken) => bail!("{broken} test programs did not run to their end"),
            (failed, _) => bail!("{failed} tests failed"),
        }
    }

    /// Prints the totals, for a command that runs tests and nothing else. No test at all is a failure, too.
    pub(crate) fn verdict(&self) -> Result<()> {
        for line in &self.lines {
            println!("{line}");
        }
        println!("{self}");
        self.failures()?;
        if self.passed == 0 {
            bail!("no test ran");
        }
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.broken += other.broken;
        self.lines.extend(other.lines);
        self.said.extend(other.said);
    }
}

/// Runs `cargo test`, showing its output as it comes.
pub(crate) fn cargo_test(command: &mut Command) -> Result<Tally> {
    let mut output = CargoOutput::default();
    let succeeded = command::stream(command, |line| {
        println!("{line}");
        output.line(line);
    })?;
    output.end(succeeded);
    Ok(output.tally)
}

/// Runs `go test -json`, showing a line for each package and the output of the tests that fail.
pub(crate) fn go_test(command: &mut Command) -> Result<Tally> {
    let mut events = GoEvents::default();
    let succeeded = command::stream(command, |line| {
        for text in events.line(line) {
            print!("{text}");
        }
    })?;
    events.tally.settle(succeeded);
    Ok(events.tally)
}

/// Reads what `cargo test` prints.
#[derive(Default)]
struct CargoOutput {
    tally: Tally,
    /// What the test program that runs has said since it began.
    open: Vec<String>,
    /// What programs said that gave no result: they crashed, or a test of theirs runs the program once more.
    cut_off: Vec<String>,
}

impl CargoOutput {
    fn line(&mut self, line: &str) {
        if is_beginning(line) {
            self.cut_off();
        }
        let failed_before = self.tally.failed;
        self.tally.cargo_line(line);
        if !line.starts_with("test result: ") {
            // That a test passed explains no failure.
            if !line.is_empty() && !line.ends_with("... ok") {
                self.open.push(line.to_owned());
            }
            return;
        }
        if self.tally.failed > failed_before {
            self.tally.say(&self.open);
        }
        self.open.clear();
    }

    fn end(&mut self, succeeded: bool) {
        self.cut_off();
        self.tally.settle(succeeded);
        if self.tally.broken > 0 {
            self.tally.say(&self.cut_off);
        }
    }

    fn cut_off(&mut self) {
        self.cut_off.append(&mut self.open);
    }
}

/// Whether a test program begins here.
fn is_beginning(line: &str) -> bool {
    line.starts_with("running ") && (line.ends_with(" tests") || line.ends_with(" test"))
}

impl Tally {
    /// Keeps the last of what something that failed said.
    fn say(&mut self, lines: &[String]) {
        self.said.extend_from_slice(&lines[lines.len().saturating_sub(REPEATED)..]);
    }

    /// Takes a line such as `test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; …`.
    fn cargo_line(&mut self, line: &str) {
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        let mut any = 0;
        for part in counts.split("; ") {
            let Some((number, word)) = part.split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match word {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => continue,
            }
            any += number;
        }
        if any > 0 {
            self.lines.push(line.to_owned());
        }
    }

    /// A runner that failed without naming a failed test has not run everything.
    fn settle(&mut self, succeeded: bool) {
        if !succeeded && self.failed == 0 && self.broken == 0 {
            self.broken = 1;
        }
    }
}

/// Reads the events of `go test -json`.
#[derive(Default)]
struct GoEvents {
    tally: Tally,
    /// The output of tests that have not ended: shown if they fail, dropped if they pass.
    open: BTreeMap<(String, String), Vec<String>>,
    /// Whether a test of the package failed, which explains why the package did.
    failed_in: BTreeMap<String, bool>,
}

impl GoEvents {
    /// Takes one line and returns what to print of it.
    fn line(&mut self, line: &str) -> Vec<String> {
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            return vec![format!("{line}\n")];
        };
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        let (action, package, test, output) = (text("Action"), text("Package"), text("Test"), text("Output"));
        if test.is_empty() {
            self.package_event(&action, &package, output)
        } else {
            self.test_event(&action, package, test, output)
        }
    }

    fn package_event(&mut self, action: &str, package: &str, output: String) -> Vec<String> {
        match action {
            "output" => {
                let line = output.trim_end();
                if line.starts_with("ok  ") || line.starts_with("FAIL\t") {
                    self.tally.lines.push(line.to_owned());
                }
                // "PASS" and "FAIL" alone say nothing that the package's line does not say; "?" is a package without tests.
                let silent = ["PASS", "FAIL"].contains(&line) || line.starts_with("?   \t");
                if silent { Vec::new() } else { vec![output] }
            }
            "build-output" => vec![output],
            "fail" => {
                let unfinished = self.take_open(package);
                if !self.failed_in.get(package).copied().unwrap_or(false) {
                    self.tally.broken += 1;
                    self.say(&format!("{package} did not run to its end"), &unfinished);
                }
                unfinished
            }
            _ => Vec::new(),
        }
    }

    fn test_event(&mut self, action: &str, package: String, test: String, output: String) -> Vec<String> {
        let key = (package, test);
        match action {
            "output" => {
                self.open.entry(key).or_default().push(output);
                Vec::new()
            }
            "pass" => {
                self.tally.passed += 1;
                self.open.remove(&key);
                Vec::new()
            }
            "skip" => {
                self.tally.skipped += 1;
                self.open.remove(&key).unwrap_or_default()
            }
            "fail" => {
                self.tally.failed += 1;
                self.failed_in.insert(key.0.clone(), true);
                let output = self.open.remove(&key).unwrap_or_default();
                self.say(&format!("{} of {} failed", key.1, key.0), &output);
                output
            }
            _ => Vec::new(),
        }
    }

    /// Keeps what failed and the last of its output, whose lines end as they were written.
    fn say(&mut self, what: &str, output: &[String]) {
        self.tally.said.push(what.to_owned());
        let lines: Vec<String> = output.iter().map(|line| line.trim_end().to_owned()).collect();
        self.tally.say(&lines);
    }

    /// What the tests of a package said that never ended, as after a panic or a timeout.
    fn take_open(&mut self, package: &str) -> Vec<String> {
        let keys: Vec<_> = self.open.keys().filter(|(of, _)| of == package).cloned().collect();
        keys.into_iter().filter_map(|key| self.open.remove(&key)).flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_cargo(output: &str, passed: u64, failed: u64, skipped: u64, lines: usize) {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.cargo_line(line));
        assert_eq!(
            (tally.passed, tally.failed, tally.skipped, tally.lines.len()),
            (passed, failed, skipped, lines)
        );
    }

    #[test]
    fn counts_cargo_test() {
        check_cargo(
            "running 3 tests\n\
             test a ... ok\n\
             test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
             test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 5 filtered out; finished in 0.00s\n\
             test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
            6,
            2,
            1,
            2,
        );
    }

    #[test]
    fn what_a_failed_cargo_test_said_is_kept() {
        let mut output = CargoOutput::default();
        "running 1 test\n\
         test fine ... ok\n\
         test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
         running 2 tests\n\
         test fine ... ok\n\
         test bad ... FAILED\n\
         \n\
         the reason\n\
         test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n"
            .lines()
            .for_each(|line| output.line(line));
        assert_eq!(output.tally.said, ["running 2 tests", "test bad ... FAILED", "the reason"]);
    }

    #[track_caller]
    fn check_cut_off(succeeded: bool, broken: u64, said: &[&str]) {
        let mut output = CargoOutput::default();
        "running 2 tests\n\
         test bad ... memory allocation of 8 bytes failed\n\
         running 1 test\n\
         test fine ... ok\n\
         test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
         running 1 test\n"
            .lines()
            .for_each(|line| output.line(line));
        output.end(succeeded);
        assert_eq!((output.tally.passed, output.tally.broken), (1, broken));
        assert_eq!(output.tally.said, said);
    }

    #[test]
    fn what_a_crashed_cargo_test_program_said_is_kept() {
        let said = ["running 2 tests", "test bad ... memory allocation of 8 bytes failed", "running 1 test"];
        check_cut_off(false, 1, &said);
        // A test that runs its own program once more looks the same, and nothing is wrong.
        check_cut_off(true, 0, &[]);
    }

    #[test]
    fn text_of_a_test_is_no_result() {
        check_cargo("the test result: ok. 9 passed; 0 failed\n", 0, 0, 0, 0);
    }

    #[track_caller]
    fn check_go(events: &[&str], printed: &str, expected: (u64, u64, u64, u64)) {
        let mut go = GoEvents::default();
        let text: String = events.iter().flat_map(|event| go.line(event)).collect();
        assert_eq!(text, printed);
        let tally = &go.tally;
        assert_eq!((tally.passed, tally.failed, tally.skipped, tally.broken), expected);
        assert_eq!(tally.said.is_empty(), tally.failures().is_ok());
    }

    #[test]
    fn counts_go_tests_and_shows_only_what_failed() {
        check_go(
            &[
                r#"{"Action":"run","Package":"p","Test":"TestA"}"#,
                r#"{"Action":"output","Package":"p","Test":"TestA","Output":"quiet\n"}"#,
                r#"{"Action":"pass","Package":"p","Test":"TestA"}"#,
                r#"{"Action":"output","Package":"p","Test":"TestB","Output":"loud\n"}"#,
                r#"{"Action":"fail","Package":"p","Test":"TestB"}"#,
                r#"{"Action":"skip","Package":"p","Test":"TestC"}"#,
                r#"{"Action":"output","Package":"p","Output":"FAIL\n"}"#,
                r#"{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}"#,
                r#"{"Action":"fail","Package":"p"}"#,
            ],
            "loud\nFAIL\tp\t0.1s\n",
            (1, 1, 1, 0),
        );
    }

    #[test]
    fn a_package_that_does_not_build_or_crashes_is_broken() {
        check_go(
            &[
                r#"{"ImportPath":"p","Action":"build-output","Output":"p.go:1: no\n"}"#,
                r#"{"ImportPath":"p","Action":"build-fail"}"#,
                r#"{"Action":"fail","Package":"p","FailedBuild":"p"}"#,
                r#"{"Action":"output","Package":"q","Test":"TestA","Output":"panic\n"}"#,
                r#"{"Action":"fail","Package":"q"}"#,
                "not json",
            ],
            "p.go:1: no\npanic\nnot json\n",
            (0, 0, 0, 2),
        );
    }

    #[test]
    fn a_runner_that_fails_without_a_failed_test_is_broken() {
        let mut tally = Tally { passed: 3, ..Tally::default() };
        tally.settle(true);
        assert!(tally.failures().is_ok());
        tally.settle(false);
        assert!(tally.failures().is_err());
    }

    #[test]
    fn no_test_is_a_failure() {
        assert!(Tally::default().verdict().is_err());
        assert!(Tally { passed: 1, ..Tally::default() }.verdict().is_ok());
    }

    #[test]
    fn the_closing_line_is_plain() {
        let tally = Tally { passed: 12, ..Tally::default() };
        assert_eq!(tally.to_string(), "12 passed, 0 failed");
        assert_eq!(Tally { skipped: 2, ..tally }.to_string(), "12 passed, 0 failed, 2 skipped");
    }
}
